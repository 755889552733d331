"""Corpora: recordings by name or by folder, opened as experiments need them."""

import os
from pathlib import Path

from weft.audio.audio import Audio
from weft.audio.resample import resample, to_mono
from weft.data.datasets import DATASETS, detect_dataset, read_dataset
from weft.data.manifest import MANIFEST_NAME, Entry, Manifest, read_manifest
from weft.errors import ConfigError

DATA_VARIABLE = "WEFT_DATA"
"""Environment variable that names the folder of the corpora."""

_FOLDERS = {
    "music": ("music",),
    "piano": ("piano", "piano_rendered"),
    "environment": ("environment",),
    "speech": ("speech",),
    "sounds": ("sounds", "sounds_labelled"),
    **{name: dataset.folders for name, dataset in DATASETS.items()},
}


def names() -> tuple[str, ...]:
    """Return the names by which corpora may be called."""
    return tuple(_FOLDERS)


def find_corpus(corpus: str, *, root: Path | None = None) -> Manifest:
    """Find a corpus.

    A folder that holds a dataset as its authors ship it is read as that dataset, see
    `weft.data.datasets`.

    Args:
        corpus: a folder, ``NAME=FOLDER`` to call it something in tables, or one of the names of
            `names`, which is looked for below ``root``. Where NAME is that of a dataset, the folder
            must hold this dataset.
        root: folder of the corpora; unless told, what the environment variable `DATA_VARIABLE`
            names.

    Raises:
        ConfigError: there is no such folder, or a name is given and no root is known.
        AudioFormatError: the manifest, or a dataset's metadata, is not usable.
    """
    if not corpus:
        raise ConfigError("a corpus needs a name or a folder, got an empty text")
    name, equals, folder = corpus.partition("=")
    if equals and name and not Path(corpus).is_dir():
        return _read_folder(Path(folder), name)
    if corpus not in _FOLDERS:
        if not Path(corpus).is_dir():
            raise ConfigError(
                f"{corpus!r} is neither a folder nor a corpus; corpora are {', '.join(_FOLDERS)}"
            )
        return _read_folder(Path(corpus), None)
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
            return _read_folder(candidate, corpus)
    hint = "; make it with 'weft data render-piano'" if corpus == "piano" else ""
    raise ConfigError(
        f"no corpus {corpus!r} below {root}: looked for "
        f"{', '.join(str(c.name) for c in candidates)}{hint}"
    )


def _read_folder(folder: Path, name: str | None) -> Manifest:
    """Read a folder as its manifest, as the dataset it is or ought to be, or as a list of files."""
    is_named = name in DATASETS and not (folder / MANIFEST_NAME).is_file()
    if is_named or detect_dataset(folder) is not None:
        return read_dataset(folder, dataset=name if is_named else None, name=name)
    return read_manifest(folder, name=name)


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
