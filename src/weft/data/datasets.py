"""Datasets: folders as their authors ship them, read as corpora.

Nothing is opened or decoded: metadata is read, and it is looked which files are there. Splits are
the authors', and where they have none, what published work does. The order of the entries depends
on metadata and files' names only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from weft.data.layouts import (
    Loaded,
    is_audiocaps,
    is_esc50,
    is_fma,
    is_maestro,
    is_musicnet,
    is_vctk,
    load_audiocaps,
    load_esc50,
    load_fma,
    load_maestro,
    load_musicnet,
    load_vctk,
)
from weft.data.manifest import MANIFEST_NAME, Entry, Manifest, check_files
from weft.errors import AudioFormatError, ConfigError

_MAX_WRAPPED = 16


@final
@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One dataset that can be read."""

    title: str
    """What its authors call it."""
    looked_for: str
    """What tells its folder."""
    folders: tuple[str, ...]
    """Names that its folder usually has below a folder of corpora."""
    find_fn: Callable[[Path], bool]
    """Whether a folder is one."""
    load_fn: Callable[[Path], Loaded]
    """Entries of a folder, and how many files its metadata names beyond them."""


DATASETS: Mapping[str, Dataset] = {
    "musicnet": Dataset(
        title="MusicNet",
        looked_for="train_data/ and test_data/ with musicnet_metadata.csv",
        folders=("musicnet", "MusicNet"),
        find_fn=is_musicnet,
        load_fn=load_musicnet,
    ),
    "maestro": Dataset(
        title="MAESTRO",
        looked_for="maestro-v*.csv or maestro-v*.json",
        folders=("maestro", "maestro-v3.0.0", "maestro-v2.0.0"),
        find_fn=is_maestro,
        load_fn=load_maestro,
    ),
    "fma": Dataset(
        title="FMA",
        looked_for="fma_metadata/tracks.csv beside fma_small/ or another subset",
        folders=("fma",),
        find_fn=is_fma,
        load_fn=load_fma,
    ),
    "audiocaps": Dataset(
        title="AudioCaps",
        looked_for="train.csv, val.csv or test.csv with columns youtube_id and caption",
        folders=("audiocaps", "AudioCaps"),
        find_fn=is_audiocaps,
        load_fn=load_audiocaps,
    ),
    "vctk": Dataset(
        title="VCTK 0.92",
        looked_for="wav48_silence_trimmed/, which version 0.80 has not",
        folders=("vctk", "VCTK", "VCTK-Corpus-0.92"),
        find_fn=is_vctk,
        load_fn=load_vctk,
    ),
    "esc50": Dataset(
        title="ESC-50",
        looked_for="meta/esc50.csv",
        folders=("esc50", "ESC-50", "ESC-50-master"),
        find_fn=is_esc50,
        load_fn=load_esc50,
    ),
}
"""Datasets by the names that `weft.data.corpora.find_corpus` knows them by."""


def detect_dataset(folder: str | Path) -> str | None:
    """Return which dataset a folder holds, None where it holds none that is known.

    A folder around one dataset's folder, as archives unpack, counts as well. A folder with a
    manifest is what its manifest says, whatever else it holds.
    """
    found = _find(Path(folder), DATASETS)
    return found[0] if found is not None else None


def read_dataset(
    folder: str | Path, *, dataset: str | None = None, name: str | None = None
) -> Manifest:
    """Read a dataset's folder as a corpus.

    Args:
        folder: as unpacked, or a folder around it.
        dataset: key of `DATASETS`; unless told, what `detect_dataset` says.
        name: what tables call it; the dataset's key unless told.

    Raises:
        ConfigError: there is no such folder or dataset, or the layout is not the one expected.
        AudioFormatError: the metadata cannot be read, or names files that are missing.
    """
    root = Path(folder)
    if dataset is not None and dataset not in DATASETS:
        raise ConfigError(f"no dataset {dataset!r}; datasets are {', '.join(DATASETS)}")
    if not root.is_dir():
        raise ConfigError(f"no folder {root}; give the folder of a dataset as it was unpacked")
    wanted = DATASETS if dataset is None else {dataset: DATASETS[dataset]}
    found = _find(root, wanted)
    if found is None:
        names = sorted(path.name for path in root.iterdir())
        raise ConfigError(
            f"{root} is not laid out as expected; looked for "
            + "; ".join(f"{known.looked_for} ({known.title})" for known in wanted.values())
            + f"; it holds {', '.join(names[:8]) or 'nothing'}{' …' if len(names) > 8 else ''}"
        )
    kind, base = found
    entries, num_missing = DATASETS[kind].load_fn(base)
    if not entries:
        which = f"none of the {num_missing} files that it names is there" if num_missing else ""
        raise AudioFormatError(
            f"{base} offers no sound: the metadata of {DATASETS[kind].title} was read, and "
            f"{which or 'it names no file'}; unpack or fetch them too"
        )
    check_files(entries)
    return Manifest(name=name or kind, root=base, entries=tuple(entries), num_missing=num_missing)


def captions(entry: Entry) -> tuple[str, ...]:
    """Return all captions of an entry; AudioCaps has five of each clip of valid and test."""
    several = entry.extra.get("captions", "")
    return tuple(several.split("\n")) if several else tuple(filter(None, [entry.caption]))


def _find(folder: Path, wanted: Mapping[str, Dataset]) -> tuple[str, Path] | None:
    """Return which dataset there is, and where: the folder, or one folder in it."""
    if not folder.is_dir() or (folder / MANIFEST_NAME).is_file():
        return None
    for kind, dataset in wanted.items():
        if dataset.find_fn(folder):
            return kind, folder
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    if len(inner) > _MAX_WRAPPED:
        return None
    found = [
        (kind, path) for path in inner for kind, dataset in wanted.items() if dataset.find_fn(path)
    ]
    return found[0] if len(found) == 1 else None
