"""Times and regions as people write them on a command line.

A time is seconds (``12.3``), minutes or hours and seconds (``1:02.5``, ``1:00:02.5``),
milliseconds (``550ms``) or samples (``44100s``). A region is two times (``12.3-12.85``), a time and
a length (``12.3+0.55``), or reaches to an end of the recording (``start-0.5``, ``12.3-end``).
"""

import re
from fractions import Fraction

from weft.canvas.canvas import Region
from weft.errors import RegionError

TIME_FORMS = (
    "seconds (12.3), m:ss.mmm (1:02.5), h:mm:ss.mmm, milliseconds (550ms), samples (44100s)"
)
REGION_FORMS = (
    "A-B (12.3-12.85), A+LENGTH (12.3+0.55), start-B or A-end, where a time is " + TIME_FORMS
)

_MAX_CHARACTERS = 80
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−", "-"))
_NUMBER = re.compile(r"(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)")
_TIME = re.compile(rf"(?:(?:([0-9]+):)?([0-9]+):)?({_NUMBER.pattern})\s*(ms|s)?")


def parse_time(text: str, *, sample_rate: int) -> int:
    """Return the sample nearest to a time; halves round up.

    Args:
        text: a time, see above; a decimal comma counts as a point.
        sample_rate: in Hz.

    Raises:
        RegionError: the text is not a time, or is negative or not finite.

    Example:
        >>> parse_time("1:02.5", sample_rate=1000), parse_time("44100s", sample_rate=8000)
        (62500, 44100)
    """
    return _parse_time(text, text, 0, sample_rate)


def parse_region(text: str, *, sample_rate: int, num_samples: int) -> Region:
    """Return the region that a text names; it may end beyond the recording.

    Args:
        text: a region, see above.
        sample_rate: in Hz.
        num_samples: length of the recording, which ``end`` stands for.

    Raises:
        RegionError: not a region, the end is before the start, or no sample is covered.

    Example:
        >>> parse_region("0.5 + 250ms", sample_rate=8000, num_samples=80000)
        Region(start=4000, stop=6000, low_hz=None, high_hz=None, label='')
    """
    shown = text.strip()
    if len(shown) > _MAX_CHARACTERS:
        raise RegionError(
            f"region {shown[:_MAX_CHARACTERS]!r}…: {len(shown)} characters are too many for one "
            f"region; allowed: {REGION_FORMS}"
        )
    plain = shown.translate(_DASHES)
    signs = [match.start() for match in re.finditer(r"[-+]", plain)]
    if not plain:
        raise RegionError(f"an empty text is not a region; allowed: {REGION_FORMS}")
    if len(signs) != 1 or signs[0] in (0, len(plain) - 1):
        raise RegionError(_explain_signs(shown, plain, signs))
    (cut,) = signs
    start = _parse_end(shown, plain[:cut], 0, sample_rate, {"start": 0})
    if plain[cut] == "+":
        length = _parse_time(shown, plain[cut + 1 :], cut + 1, sample_rate)
        stop = start + length
    else:
        stop = _parse_end(shown, plain[cut + 1 :], cut + 1, sample_rate, {"end": num_samples})
    return checked_region(start, stop, what=f"region {shown!r}", sample_rate=sample_rate)


def checked_region(
    start: int,
    stop: int,
    *,
    what: str,
    sample_rate: int,
    low_hz: float | None = None,
    high_hz: float | None = None,
    label: str = "",
) -> Region:
    """Return a region, or say in ``what``'s name why it is none.

    Raises:
        RegionError: the end is before the start, or no sample is covered.
    """
    if stop < start:
        raise RegionError(
            f"{what}: it ends at {format_time(stop, sample_rate)}, before it starts at "
            f"{format_time(start, sample_rate)}; swap the two, or write START+LENGTH for a length"
        )
    if stop == start:
        raise RegionError(
            f"{what}: it covers no sample; a sample lasts {1000 / sample_rate:.3g} ms at "
            f"{sample_rate} Hz, so make the region at least that long"
        )
    return Region(start=start, stop=stop, low_hz=low_hz, high_hz=high_hz, label=label)


def format_time(num_samples: int, sample_rate: int) -> str:
    """Return a time as people read it: ``12.300 s`` or ``1:02.500``.

    Example:
        >>> format_time(98400, 8000), format_time(500000, 8000), format_time(30000000, 8000)
        ('12.300 s', '1:02.500', '1:02:30.000')
    """
    milliseconds = round(1000 * num_samples / sample_rate)
    minutes, rest = divmod(milliseconds, 60_000)
    if not minutes:
        return f"{rest / 1000:.3f} s"
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 1000:06.3f}"
    return f"{hours}:{minutes:02}:{seconds}" if hours else f"{minutes}:{seconds}"


def _parse_end(shown: str, part: str, at: int, sample_rate: int, words: dict[str, int]) -> int:
    """Return the sample of one end of a region: a time or one of ``words``."""
    word = part.strip().lower()
    return words[word] if word in words else _parse_time(shown, part, at, sample_rate)


def _parse_time(shown: str, part: str, at: int, sample_rate: int) -> int:
    """Return the nearest sample of the time ``part``, which begins at ``at`` of ``shown``."""
    word = part.strip()
    where = f" at character {at + 1 + len(part) - len(part.lstrip())}" if part != shown else ""
    prefix = f"{shown[:_MAX_CHARACTERS]!r}: " if part != shown else ""
    if word.lower().lstrip("+-") in {"nan", "inf", "infinity"}:
        raise RegionError(f"{prefix}{word!r}{where} is not a time that can be reached")
    match = _TIME.fullmatch(word) if len(word) <= _MAX_CHARACTERS else None
    if match is None:
        if word.startswith("-") and _TIME.fullmatch(word[1:].strip()):
            raise RegionError(f"{prefix}{word!r}{where} is negative; a recording begins at 0")
        raise RegionError(
            f"{prefix}{word[:_MAX_CHARACTERS]!r}{where} is not a time; allowed: {TIME_FORMS}"
        )
    hours, minutes, number, unit = match.groups()
    value = Fraction(number.replace(",", ".").rstrip("."))
    if unit is not None and minutes is not None:
        raise RegionError(f"{prefix}{word!r}{where} mixes minutes and {unit}; leave one out")
    if unit == "s":
        if value.denominator != 1 or not number.isdigit():
            raise RegionError(
                f"{prefix}{word!r}{where}: s counts whole samples; leave the s out for seconds"
            )
        return int(value)
    if unit == "ms":
        value /= 1000
    if minutes is not None:
        if value >= 60 or (hours is not None and int(minutes) >= 60):
            raise RegionError(
                f"{prefix}{word!r}{where}: after a colon only 0 to 59 is allowed; "
                "write 1:30 or 90 for ninety seconds"
            )
        value += 60 * int(minutes) + 3600 * int(hours or 0)
    return int(value * sample_rate + Fraction(1, 2))


def _explain_signs(shown: str, plain: str, signs: list[int]) -> str:
    """Return why a text without exactly one inner sign is not a region."""
    what = f"region {shown!r}"
    if not signs:
        if _TIME.fullmatch(plain):
            return (
                f"{what}: one time is only a point; write an end ({shown}-END) or a length "
                f"({shown}+0.2)"
            )
        return f"{what}: no - or + in it; allowed: {REGION_FORMS}"
    if signs[0] == 0:
        rest = shown[1:].strip() or "0.5"
        if len(signs) == 1:
            return (
                f"{what}: the sign at character 1 can mean two things; write start-{rest} for "
                f"the beginning up to {rest}, times cannot be negative"
            )
        return f"{what}: the time at character 1 is negative; a recording begins at 0"
    if len(signs) == 1:
        return f"{what}: nothing follows the sign at character {len(plain)}; write {shown}end"
    if signs[1] == signs[0] + 1 or plain[signs[0] : signs[1]].strip() in ("-", "+"):
        return (
            f"{what}: the time at character {signs[1] + 1} is negative; "
            "times and lengths cannot be negative"
        )
    return (
        f"{what}: a second sign at character {signs[1] + 1}; give one region at a time, each with "
        f"its own option; allowed: {REGION_FORMS}"
    )
