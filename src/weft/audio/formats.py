"""Which format a file is written in: the same, or the nearest that loses nothing."""

from pathlib import Path

from weft.audio.audio import Audio, AudioFormat
from weft.audio.read import FileSource
from weft.errors import ConfigError

CONTAINERS = {
    ".wav": "WAV",
    ".wave": "WAV",
    ".bwf": "WAV",
    ".rf64": "RF64",
    ".w64": "W64",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".aifc": "AIFF",
    ".caf": "CAF",
    ".flac": "FLAC",
}
"""File name endings that can be written, and what they stand for."""
LOSSY_SUFFIXES = {".mp3", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".wma", ".webm"}

_WAV = {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
SUBTYPES = {
    "WAV": _WAV,
    "WAVEX": _WAV,
    "RF64": _WAV,
    "W64": _WAV,
    "AIFF": _WAV | {"PCM_S8"},
    "CAF": _WAV - {"PCM_U8"} | {"PCM_S8"},
    "FLAC": {"PCM_S8", "PCM_16", "PCM_24"},
}
"""Sample encodings of each container that is written without libsndfile, and of FLAC."""

_BITS = {
    "PCM_S8": 8,
    "PCM_U8": 8,
    "PCM_16": 16,
    "PCM_24": 24,
    "PCM_32": 32,
    "ULAW": 16,
    "ALAW": 16,
    "ALAC_16": 16,
    "ALAC_20": 20,
    "ALAC_24": 24,
    "ALAC_32": 32,
}
_HOLDS_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "FLOAT": 25, "PCM_32": 32}
_PREFERENCE = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
_FAMILIES = {"WAV": {"WAV", "WAVEX", "RF64"}}


def holds_exactly(source: AudioFormat, target: AudioFormat) -> bool:
    """Return whether every sample of ``source`` comes back from ``target`` as it was.

    Example:
        >>> holds_exactly(AudioFormat(subtype="PCM_24"), AudioFormat(subtype="FLOAT"))
        True
        >>> holds_exactly(AudioFormat(subtype="FLOAT"), AudioFormat(subtype="PCM_24"))
        False
    """
    if target.is_lossy:
        return False
    if target.subtype == "DOUBLE" or (target.subtype == source.subtype and not source.is_lossy):
        return True
    bits = _BITS.get(source.subtype)
    if bits is None or source.is_lossy:
        return target.subtype == "FLOAT" and source.subtype != "DOUBLE"
    return _HOLDS_BITS.get(target.subtype, _BITS.get(target.subtype, 0)) >= bits and (
        target.subtype not in {"ULAW", "ALAW"}
    )


def is_writable(format: AudioFormat) -> bool:
    """Return whether a file of this format can be written without a loss of its own."""
    if format.is_lossy:
        return False
    if format.container in SUBTYPES and format.subtype in SUBTYPES[format.container]:
        return True
    import soundfile

    return format.container in soundfile.available_formats() and soundfile.check_format(
        format.container, format.subtype, format.endian
    )


def default_format(audio: Audio) -> AudioFormat:
    """Return the format in which ``audio`` is written unless told otherwise.

    It is the source's own. A source that was compressed with a loss is written as 32-bit float WAV,
    which holds what was decoded exactly; compressing it again would change every sample.

    Example:
        >>> import numpy as np
        >>> mp3 = AudioFormat(container="MP3", subtype="MPEG_LAYER_III")
        >>> default_format(Audio.from_samples(np.zeros(9), 8000, format=mp3)).subtype
        'FLOAT'
    """
    return audio.format if is_writable(audio.format) else AudioFormat()


def default_suffix(format: AudioFormat) -> str:
    """Return the usual ending of a file's name, with its dot.

    Example:
        >>> default_suffix(AudioFormat(container="RF64", subtype="PCM_24"))
        '.wav'
    """
    known = {"WAVEX": ".wav", "RF64": ".wav", "AIFF": ".aiff"}
    known |= {container: suffix for suffix, container in reversed(CONTAINERS.items())} | known
    return known.get(format.container, f".{format.container.lower()}")


def format_for_path(path: str | Path, audio: Audio) -> AudioFormat:
    """Return the format that the ending of ``path`` asks for, with nothing lost if it allows that.

    Args:
        path: where the audio is to be written.
        audio: what is to be written.

    Raises:
        ConfigError: the ending names a lossy format, or none that is known.

    Example:
        >>> import numpy as np
        >>> format_for_path("a.flac", Audio.from_samples(np.zeros(9), 8000)).subtype
        'PCM_24'
    """
    own, suffix = default_format(audio), Path(path).suffix.lower()
    if suffix in LOSSY_SUFFIXES:
        raise ConfigError(
            f"{Path(path).name}: {suffix} would compress the whole recording again, and change all "
            f"of it; write {default_suffix(own)} or .flac, and compress that with a tool of your "
            "choice"
        )
    container = CONTAINERS.get(suffix)
    if container is None:
        source_suffix = audio.path.suffix.lower() if audio.path is not None else ""
        if suffix == source_suffix and isinstance(audio.source, FileSource):
            return own
        raise ConfigError(
            f"{Path(path).name}: the ending {suffix!r} is not known; use one of "
            f"{', '.join(CONTAINERS)}"
        )
    if own.container in _FAMILIES.get(container, {container}):
        return own
    return AudioFormat(container=container, subtype=nearest_subtype(audio.format, container))


def nearest_subtype(source: AudioFormat, container: str) -> str:
    """Return the smallest sample encoding of ``container`` that loses nothing, or the finest.

    Args:
        source: how the samples are stored now.
        container: a key of `SUBTYPES`.

    Example:
        >>> nearest_subtype(AudioFormat(subtype="PCM_U8"), "FLAC")
        'PCM_S8'
        >>> nearest_subtype(AudioFormat(subtype="FLOAT"), "FLAC")
        'PCM_24'
    """
    offered = SUBTYPES[container]
    if source.subtype in offered and not source.is_lossy:
        return source.subtype
    choices = [subtype for subtype in _PREFERENCE if subtype in offered]
    for subtype in choices:
        if holds_exactly(source, AudioFormat(container=container, subtype=subtype)):
            return subtype
    return choices[-1]
