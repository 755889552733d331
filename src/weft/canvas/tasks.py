"""Tasks: what a user asks for, as a canvas. A task only says what is missing."""

import math
from collections.abc import Sequence

from weft.audio.audio import Audio, AudioFormat
from weft.audio.joined import CrossfadeSource, JoinedSource, PartSource, SilentSource
from weft.canvas.beat_edges import snap_to_beats
from weft.canvas.canvas import Canvas, Region, merge_regions
from weft.errors import ConfigError, RegionError

STRENGTH = 0.85
"""How far a draft may be changed. Source: Levy et al. 2023, Controllable music production with
diffusion models and guidance gradients, table 2 (k)."""
MAX_SECONDS = 86_400.0
"""Longest stretch that is added to a recording, or made from nothing: a day."""


def to_region(gap: Region | tuple[float, float], audio: Audio) -> Region:
    """Turn a range of seconds into samples, to the nearest sample; regions pass as they are.

    Raises:
        RegionError: not a pair, not finite, reversed, shorter than a sample, or outside the audio.
    """
    if not isinstance(gap, Region):
        try:
            start_s, stop_s = (float(value) for value in gap)
        except (TypeError, ValueError):
            raise RegionError(
                f"a gap is a pair of seconds (start, stop) or a Region, got {gap!r}"
            ) from None
        if not (math.isfinite(start_s) and math.isfinite(stop_s)) or start_s < 0:
            raise RegionError(f"a gap needs finite times >= 0 s, got {start_s} s to {stop_s} s")
        start, stop = round(start_s * audio.sample_rate), round(stop_s * audio.sample_rate)
        if stop <= start:
            raise RegionError(
                f"a gap must end after it starts, by at least one sample at {audio.sample_rate} Hz;"
                f" got {start_s:g} s to {stop_s:g} s"
            )
        gap = Region(start=start, stop=stop)
    if gap.stop > audio.num_samples:
        raise RegionError(
            f"the gap at {gap.start / audio.sample_rate:.3f}-{gap.stop / audio.sample_rate:.3f} s "
            f"reaches beyond the end of the recording, {audio.duration_s:.3f} s "
            f"({audio.num_samples} samples); shorten it"
        )
    return gap


def inpaint(
    audio: Audio,
    gaps: Sequence[Region | tuple[float, float]],
    *,
    text: str | None = None,
) -> Canvas:
    """Say that some regions of a recording are to be filled from what is around them.

    Args:
        audio: the recording.
        gaps: seconds (start, stop) or regions in samples; in any order, overlapping ones are one.
        text: what should be heard there, for models that take text.

    Returns:
        A canvas whose gaps are empty: what the recording holds there is not used.

    Raises:
        RegionError: no gap, a gap outside the recording, or nothing known beside the gaps.

    Example:
        >>> import numpy as np
        >>> song = Audio.from_samples(np.zeros((2, 1000)), 1000)
        >>> [gap.start for gap in inpaint(song, [(0.5, 0.6), (0.1, 0.2)]).gaps]
        [100, 500]
    """
    regions = merge_regions([to_region(gap, audio) for gap in gaps])
    if not regions:
        raise RegionError("no gap was given; name at least one, such as (12.3, 12.85) in seconds")
    if sum(region.num_samples for region in regions) >= audio.num_samples:
        raise RegionError(
            f"the gaps cover the whole recording ({audio.duration_s:.3f} s): nothing is left to "
            "fill from; leave some of it outside"
        )
    return Canvas(audio=audio, gaps=regions, text=text)


def continuation(
    audio: Audio, seconds: float, *, before: bool = False, loop: bool = False
) -> Canvas:
    """Say that a recording is to go on.

    Args:
        audio: the recording.
        seconds: length of what is added, > 0, at most a day.
        before: whether it is added in front of the recording instead of after its end.
        loop: whether the whole is to be played in a circle: what is added then leads from the end
            of the recording back to its beginning.

    Returns:
        A canvas of the recording and one empty gap.

    Raises:
        ConfigError: ``seconds`` cannot be used.
        RegionError: the recording is empty.

    Example:
        >>> import numpy as np
        >>> song = Audio.from_samples(np.ones((2, 1000)), 1000)
        >>> longer = continuation(song, 0.5)
        >>> longer.audio.num_samples, longer.gaps[0].start
        (1500, 1000)
    """
    num_added = _to_samples(seconds, audio.sample_rate)
    _check_sound(audio, "nothing to go on from")
    added = SilentSource(audio.num_channels, num_added, audio.sample_rate, audio.format)
    whole = PartSource(audio, 0, audio.num_samples)
    start = 0 if before else audio.num_samples
    return Canvas(
        audio=Audio(JoinedSource([added, whole] if before else [whole, added])),
        gaps=(Region(start=start, stop=start + num_added),),
        is_loop=loop,
    )


def regenerate(
    audio: Audio,
    regions: Sequence[Region | tuple[float, float]],
    strength: float = STRENGTH,
) -> Canvas:
    """Say that some regions are to be made anew, starting from what stands there.

    Args:
        audio: the recording.
        regions: seconds (start, stop) or regions in samples; in any order, overlapping ones are
            one. They may cover the whole recording.
        strength: how far the sound may change, in [0, 1]: 0 keeps it as it is, 1 keeps nothing.

    Returns:
        A canvas whose gaps hold a draft.

    Raises:
        RegionError: no region, or one outside the recording.
        ConfigError: ``strength`` outside its range.

    Example:
        >>> import numpy as np
        >>> song = Audio.from_samples(np.ones((2, 1000)), 1000)
        >>> regenerate(song, [(0.5, 0.6)], 0.5).draft_strength
        0.5
    """
    merged = merge_regions([to_region(region, audio) for region in regions])
    if not merged:
        raise RegionError("no region was given; name at least one, such as (3.0, 5.0) in seconds")
    return Canvas(audio=audio, gaps=merged, draft_strength=check_strength(strength))


def transition(
    first: Audio,
    second: Audio,
    seconds: float,
    strength: float = STRENGTH,
    *,
    snap_beats: bool = False,
) -> Canvas:
    """Say that one recording is to lead into another.

    The end of the first and the beginning of the second overlap; what is heard there starts from a
    constant-power cross-fade of the two.

    Args:
        first: what is heard first.
        second: what is heard then, of the same rate and channels (`weft.audio.convert.converted`
            brings it there).
        seconds: length of the overlap, > 0, at most as long as the shorter recording.
        strength: how far the cross-fade may be changed, in [0, 1]: 0 keeps it as it is.
        snap_beats: move both edges to beats, so that the overlap is a whole number of the first
            recording's beats; less than a beat of the first one's end and of the second one's
            beginning is then left out. An edge beside which no beat is found stays.

    Returns:
        A canvas of the first recording, a gap with the draft, and the second recording.

    Raises:
        ConfigError: the recordings differ in rate or channels, or a number is outside its range.
        RegionError: a recording is empty, or shorter than the overlap.

    Example:
        >>> import numpy as np
        >>> one = Audio.from_samples(np.ones((1, 3000)), 1000)
        >>> joined = transition(one, one, 1.0)
        >>> joined.audio.num_samples, joined.gaps[0].start, joined.gaps[0].stop
        (5000, 2000, 3000)
    """
    check_strength(strength)
    check_alike(first, second)
    overlap = _to_samples(seconds, first.sample_rate)
    for audio, what in ((first, "the first recording"), (second, "the second recording")):
        _check_sound(audio, "there is nothing to lead to or from", what)
        if overlap > audio.num_samples:
            raise RegionError(
                f"{_name(audio, what)} is {audio.duration_s:.3f} s long, shorter than the "
                f"transition of {seconds:g} s; ask for {audio.duration_s:.3f} s at the most"
            )
    edge, entry = first.num_samples - overlap, overlap
    if snap_beats:
        edge, entry, overlap = snap_to_beats(first, second, overlap)
    draft = CrossfadeSource(
        PartSource(first, edge, edge + overlap), PartSource(second, entry - overlap, entry)
    )
    parts = [PartSource(first, 0, edge), draft, PartSource(second, entry, second.num_samples)]
    return Canvas(
        audio=Audio(JoinedSource(parts)),
        gaps=(Region(start=edge, stop=edge + overlap),),
        draft_strength=strength,
    )


def generate(seconds: float, sample_rate: int = 44100, num_channels: int = 2) -> Canvas:
    """Say that all is to be made from nothing.

    Args:
        seconds: length, > 0, at most a day.
        sample_rate: in Hz, in 1000-768,000.
        num_channels: in 1-64.

    Returns:
        A canvas in which nothing is known; its format is 32-bit float WAV.

    Raises:
        ConfigError: a number outside its range.

    Example:
        >>> generate(2.0, 8000, 1).num_unknown
        16000
    """
    for name, value, low, high in (
        ("sample_rate", sample_rate, 1000, 768_000),
        ("num_channels", num_channels, 1, 64),
    ):
        if not low <= value <= high:
            raise ConfigError(f"{name} must be in {low}-{high:,}, got {value}")
    num_samples = _to_samples(seconds, sample_rate)
    return Canvas(
        audio=Audio(SilentSource(num_channels, num_samples, sample_rate, AudioFormat())),
        gaps=(Region(start=0, stop=num_samples),),
    )


def check_strength(strength: float) -> float:
    """Return a strength that can be used.

    Raises:
        ConfigError: it is outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ConfigError(
            f"strength must be in [0, 1], got {strength:g}; 0 keeps what is there, 1 changes all"
        )
    return strength


def check_alike(first: Audio, second: Audio) -> None:
    """Raise unless two recordings can be joined.

    Raises:
        ConfigError: they differ in rate or channels.
    """
    ours, theirs = (
        f"{audio.num_channels} channel{'s' * (audio.num_channels > 1)} at {audio.sample_rate} Hz"
        for audio in (first, second)
    )
    if ours != theirs:
        raise ConfigError(
            f"{_name(first, 'the first recording')} has {ours}, "
            f"{_name(second, 'the second')} has {theirs}; convert the second one with --match "
            "(weft.audio.convert.converted in Python), or both with an editor"
        )


def _to_samples(seconds: float, sample_rate: int) -> int:
    """Return a length in samples, at least one."""
    if not 0 < seconds <= MAX_SECONDS:
        raise ConfigError(f"seconds must be > 0 and at most {MAX_SECONDS:,.0f}, got {seconds:g}")
    num_samples = round(seconds * sample_rate)
    if num_samples < 1:
        raise ConfigError(
            f"{seconds:g} s are less than one sample at {sample_rate} Hz; ask for at least "
            f"{1 / sample_rate:.2g} s"
        )
    return num_samples


def _check_sound(audio: Audio, problem: str, what: str = "the recording") -> None:
    if audio.num_samples == 0:
        raise RegionError(f"{_name(audio, what)} holds no samples: {problem}")


def _name(audio: Audio, otherwise: str) -> str:
    """Return the name of a recording's file, or what it is called otherwise."""
    return audio.path.name if audio.path is not None else otherwise
