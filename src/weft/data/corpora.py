"""Corpora: recordings by name or by folder, opened as experiments need them."""

import os
from pathlib import Path

from weft.audio.audio import Audio
from weft.audio.resample import resample, to_mono
from weft.data.manifest import Entry, Manifest, read_manifest
from weft.errors import ConfigError

DATA_VARIABLE = "WEFT_DATA"
"""Environment variable that names the folder of the corpora."""

_FOLDERS = {
    "music": ("music",),
    "piano": ("piano", "piano_rendered"),
    "environment": ("environment",),
    "speech": ("speech",),
    "sounds": ("sounds", "sounds_labelled"),
}


def names() -> tuple[str, ...]:
    """Return the names by which corpora may be called."""
    return tuple(_FOLDERS)


def find_corpus(corpus: str, *, root: Path | None = None) -> Manifest:
    """Find a corpus.

    Args:
        corpus: a folder, ``NAME=FOLDER`` to call it something in tables, or one of the names of
            `names`, which is looked for below ``root``.
        root: folder of the corpora; unless told, what the environment variable `DATA_VARIABLE`
            names.

    Raises:
        ConfigError: there is no such folder, or a name is given and no root is known.
        AudioFormatError: the manifest is not usable.
    """
    if not corpus:
        raise ConfigError("a corpus needs a name or a folder, got an empty text")
    name, equals, folder = corpus.partition("=")
    if equals and name and not Path(corpus).is_dir():
        return read_manifest(folder, name=name)
    if corpus not in _FOLDERS:
        if not Path(corpus).is_dir():
            raise ConfigError(
                f"{corpus!r} is neither a folder nor a corpus; corpora are {', '.join(_FOLDERS)}"
            )
        return read_manifest(corpus)
    if root is None:
        variable = os.environ.get(DATA_VARIABLE)
        if not variable:
            raise ConfigError(
                f"where is the corpus {corpus!r}? Name the folder of corpora with --root or the "
                f"environment variable {DATA_VARIABLE}, or give the folder itself"
            )
        root = Path(variable)
    candidates = [root / folder for folder in _FOLDERS[corpus]]
    for candidate in candidates:
        if candidate.is_dir():
            return read_manifest(candidate, name=corpus)
    hint = "; make it with 'weft data render-piano'" if corpus == "piano" else ""
    raise ConfigError(
        f"no corpus {corpus!r} below {root}: looked for "
        f"{', '.join(str(c.name) for c in candidates)}{hint}"
    )


def open_entry(
    entry: Entry,
    *,
    sample_rate: int | None = None,
    is_mono: bool = False,
    is_whole: bool = False,
) -> Audio:
    """Open a file of a corpus, ready for an experiment.

    Where anything is asked for, the whole file is decoded into memory, and a recording that goes
    over full scale, as decoded lossy files may, is divided by its peak; others keep their level.

    Args:
        entry: the file.
        sample_rate: resample to this rate, in Hz; None keeps the file's.
        is_mono: mix the channels down to their mean.
        is_whole: decode into memory though nothing is to be changed.

    Raises:
        AudioFormatError: the file cannot be read.
        ConfigError: the rate is not positive.
    """
    from weft.audio.read import read_audio

    audio = read_audio(entry.path)
    if sample_rate is None and not is_mono and not is_whole:
        return audio
    samples = audio.samples
    peak = max(float(samples.max(initial=0.0)), -float(samples.min(initial=0.0)))
    if peak > 1:
        samples /= peak
    if is_mono:
        samples = to_mono(samples)
    rate = sample_rate or audio.sample_rate
    return Audio.from_samples(resample(samples, audio.sample_rate, rate), rate)
