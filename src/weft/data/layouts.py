"""Layouts: how the authors of each dataset lay out its folder.

Each has a function that tells the folder and one that lists its entries, with the number of files
that the metadata names and that nobody can be blamed for missing.
"""

import re
from pathlib import Path

from weft.data.manifest import AUDIO_SUFFIXES, Entry
from weft.data.tables import (
    Row,
    inside,
    json_rows,
    opened_csv,
    rows,
    some,
    spdx,
    to_duration,
    to_split,
)
from weft.errors import AudioFormatError, ConfigError

Loaded = tuple[list[Entry], int]
"""Entries, and how many more there should be."""

VCTK_TEST_SPEAKERS = ("p360", "p361", "p362", "p363", "p364", "p374", "p376", "s5")
"""Speakers of the test split: the last eight, as published work on super-resolution has it."""

_FMA_SUBSETS = {
    "fma_full": ("", "small", "medium", "large"),
    "fma_large": ("", "small", "medium", "large"),
    "fma_medium": ("small", "medium"),
    "fma_small": ("small",),
}
_FMA_COLUMNS = {
    "track_id",
    "set.split",
    "set.subset",
    "track.title",
    "track.duration",
    "track.genre_top",
    "track.license",
    "artist.id",
    "artist.name",
}
_AUDIOCAPS_TABLES = {"train": "train", "val": "valid", "test": "test"}
_ESC_CREDIT = re.compile(
    r"\[(?P<clip>\d-\d+-[A-Z])\b[^\]]*\]:\s*clip derived from (?P<title>.*) "
    r"\((?P<source>https?://[^)]*)\) by (?P<author>.*) \[[^\]]*\]\s*$"
)


def is_musicnet(folder: Path) -> bool:
    """Whether recordings lie beside labels or metadata."""
    has_sound = (folder / "train_data").is_dir() or (folder / "test_data").is_dir()
    has_labels = (folder / "train_labels").is_dir() or (folder / "test_labels").is_dir()
    return has_sound and (has_labels or (folder / "musicnet_metadata.csv").is_file())


def load_musicnet(folder: Path) -> Loaded:
    """Read MusicNet: train and test by folder, no valid; labels are the ensembles."""
    places = (folder, folder.parent, folder.parent.parent)
    table = next(filter(Path.is_file, (place / "musicnet_metadata.csv" for place in places)), None)
    if table is None:
        raise ConfigError(
            f"no musicnet_metadata.csv in {folder} or above it; it is a file of its own beside the "
            "archive of the recordings"
        )
    sounds = {
        path.stem: split
        for split in ("train", "test")
        for path in (folder / f"{split}_data").glob("*.wav")
    }
    numbered: dict[int, Entry] = {}
    for where, row in rows(table, ("id", "composer", "composition", "ensemble")):
        if not row["id"].isdecimal():
            raise AudioFormatError(f"{where}: the id must be a number, got {row['id']!r}")
        # A recording that is nowhere is looked for in train, so that the error names it.
        split = sounds.pop(row["id"], "train")
        file = f"{split}_data/{row['id']}.wav"
        numbered[int(row["id"])] = Entry(
            file=file,
            path=folder / file,
            split=split,
            licence="CC-BY-4.0",
            author=row["composer"],
            title=", ".join(filter(None, (row["composition"], row.get("movement")))),
            category="music",
            label=row["ensemble"],
            duration_s=to_duration(row.get("seconds", ""), where),
            extra=some(row, "id", "composer", "source", "transcriber", "catalog_name"),
        )
    if sounds:
        raise AudioFormatError(
            f"{table} does not know {len(sounds)} recordings of {folder}, the first is "
            f"{min(sounds)}.wav; get the metadata that belongs to them"
        )
    return [numbered[number] for number in sorted(numbered)], 0


def _maestro_tables(folder: Path) -> list[Path]:
    """Return the tables of all versions there are, newest first, CSV before JSON."""
    found = [p for p in folder.glob("maestro-v*.*") if p.suffix in (".csv", ".json")]
    by_name = sorted(found, key=lambda p: p.suffix)
    return sorted(by_name, key=lambda p: p.stem, reverse=True)


def is_maestro(folder: Path) -> bool:
    """Whether there is a table of MAESTRO."""
    return bool(_maestro_tables(folder))


def load_maestro(folder: Path) -> Loaded:
    """Read MAESTRO of any version: the authors' splits, in which no work is twice."""
    table = _maestro_tables(folder)[0]
    read_fn = rows if table.suffix == ".csv" else json_rows
    columns = ("canonical_composer", "canonical_title", "split", "audio_filename")
    entries = [
        Entry(
            file=row["audio_filename"],
            path=inside(folder, row["audio_filename"], where),
            split=to_split(row["split"], where),
            licence="CC-BY-NC-SA-4.0",
            author=row["canonical_composer"],
            title=row["canonical_title"],
            category="piano",
            duration_s=to_duration(row.get("duration", ""), where),
            extra=some(row, "year", "midi_filename"),
        )
        for where, row in read_fn(table, columns)
    ]
    return entries, 0


def _fma_sound(folder: Path) -> Path | None:
    """Return the folder of the largest subset there is."""
    if folder.name in _FMA_SUBSETS and (folder.parent / "fma_metadata").is_dir():
        return folder
    return next((folder / name for name in _FMA_SUBSETS if (folder / name).is_dir()), None)


def is_fma(folder: Path) -> bool:
    """Whether there is a subset of FMA, or this is one beside its metadata."""
    return _fma_sound(folder) is not None


def load_fma(folder: Path) -> Loaded:
    """Read FMA: the largest subset, the authors' splits; labels are the top genres."""
    sound = _fma_sound(folder) or folder
    places = (sound.parent / "fma_metadata" / "tracks.csv", sound.parent / "tracks.csv")
    table = next(filter(Path.is_file, places), None)
    if table is None:
        raise ConfigError(
            f"no fma_metadata/tracks.csv beside {sound}; it comes in fma_metadata.zip"
        )
    numbered: dict[int, Entry] = {}
    for where, row in _fma_rows(table):
        if row.get("set.subset", "") not in _FMA_SUBSETS[sound.name]:
            continue
        track = int(row["track_id"])
        path = sound / f"{track // 1000:03d}" / f"{track:06d}.mp3"
        licence = row.get("track.license", "")
        # The table has the length of the whole track, the clips have 30 s.
        duration = row.get("track.duration", "") if sound.name == "fma_full" else ""
        numbered[track] = Entry(
            file=path.relative_to(folder).as_posix(),
            path=path,
            split=to_split(row["set.split"], where),
            licence=spdx(licence),
            author=row.get("artist.name", ""),
            title=row.get("track.title", ""),
            category="music",
            label=row.get("track.genre_top", ""),
            duration_s=to_duration(duration, where),
            extra=some(
                {
                    "track_id": row["track_id"],
                    "artist_id": row.get("artist.id", ""),
                    "licence_text": licence,
                },
                *("track_id", "artist_id", "licence_text"),
            ),
        )
    return [numbered[track] for track in sorted(numbered)], 0


def _fma_rows(table: Path) -> list[tuple[str, Row]]:
    """Return the rows of a table whose header has three lines, as ``group.column``."""
    listed = []
    with opened_csv(table) as reader:
        header: list[list[str]] = [next(reader, []) for _ in range(3)]
        groups, columns, third = header
        names = [f"{group}.{column}" for group, column in zip(groups, columns, strict=False)]
        if third[:1] != ["track_id"] or "set.split" not in names or "set.subset" not in names:
            raise AudioFormatError(
                f"{table} has not the three header lines of FMA's tracks.csv: groups, columns, "
                "track_id; get it from fma_metadata.zip"
            )
        names[0] = "track_id"
        kept = [i for i, name in enumerate(names) if name in _FMA_COLUMNS]
        for line in reader:
            where = f"{table}, line {reader.line_num}"
            if len(line) != len(names) or not line[0].isdecimal():
                raise AudioFormatError(f"{where}: not the row of a track; get the file again")
            listed.append((where, {names[i]: line[i].strip() for i in kept}))
    return listed


def _audiocaps_tables(folder: Path) -> dict[str, Path]:
    """Return the tables of captions by split."""
    for place in (folder, folder / "dataset", folder / "csv"):
        found = {split: place / f"{name}.csv" for name, split in _AUDIOCAPS_TABLES.items()}
        found = {split: path for split, path in found.items() if path.is_file()}
        if found and all(_has_captions(path) for path in found.values()):
            return found
    return {}


def _has_captions(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            header = handle.readline(4096)
    except OSError:
        return False
    return b"youtube_id" in header and b"caption" in header


def is_audiocaps(folder: Path) -> bool:
    """Whether there are tables of captions of videos."""
    return bool(_audiocaps_tables(folder))


def load_audiocaps(folder: Path) -> Loaded:
    """Read AudioCaps: one entry a clip, with all its captions.

    The authors ship captions only, and videos vanish, so clips without a file are left out and
    counted. Files are found anywhere below the folder by the names ``ID_START``, ``YID_START``,
    ``ID`` and ``YID``, with any ending of sound.
    """
    sounds: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in AUDIO_SUFFIXES:
            sounds.setdefault(path.stem, path)
    entries: dict[Path, Entry] = {}
    num_missing = 0
    for split, table in _audiocaps_tables(folder).items():
        clips: dict[tuple[str, str], list[Row]] = {}
        for _, row in rows(table, ("youtube_id", "start_time", "caption")):
            clips.setdefault((row["youtube_id"], row["start_time"]), []).append(row)
        for (video, start), captions in clips.items():
            stems = (f"{video}_{start}", f"Y{video}_{start}", video, f"Y{video}")
            found = next((sounds[stem] for stem in stems if stem in sounds), None)
            if found is None:
                num_missing += 1
                continue
            if found in entries:
                raise AudioFormatError(
                    f"{found} stands for two clips of the video {video}; name the files "
                    "ID_START.wav"
                )
            entries[found] = _audiocaps_entry(folder, found, split, captions)
    return list(entries.values()), num_missing


def _audiocaps_entry(folder: Path, path: Path, split: str, captions: list[Row]) -> Entry:
    texts = [" ".join(row["caption"].split()) for row in captions]
    return Entry(
        file=path.relative_to(folder).as_posix(),
        path=path,
        split=split,
        licence="captions for academic use only; sound of the owners of the videos",
        category="sounds",
        caption=texts[0],
        source=f"youtube.com/watch?v={captions[0]['youtube_id']}",
        extra={
            **some(captions[0], "youtube_id", "start_time"),
            "audiocap_ids": " ".join(row.get("audiocap_id", "") for row in captions),
            "captions": "\n".join(texts),
        },
    )


def is_vctk(folder: Path) -> bool:
    """Whether there is the sound of version 0.92."""
    return (folder / "wav48_silence_trimmed").is_dir()


def load_vctk(folder: Path) -> Loaded:
    """Read VCTK 0.92: the first microphone; test is `VCTK_TEST_SPEAKERS`, the rest train.

    Labels are the speakers, captions what they read; p315 has no texts.
    """
    sounds = sorted((folder / "wav48_silence_trimmed").glob("*/*_mic1.flac"))
    if not sounds:
        raise AudioFormatError(
            f"{folder / 'wav48_silence_trimmed'} has no files SPEAKER/SPEAKER_NUMBER_mic1.flac; "
            "unpack VCTK-Corpus-0.92.zip again"
        )
    entries = []
    for path in sounds:
        speaker = path.parent.name
        text = folder / "txt" / speaker / f"{path.stem.removesuffix('_mic1')}.txt"
        entries.append(
            Entry(
                file=path.relative_to(folder).as_posix(),
                path=path,
                split="test" if speaker in VCTK_TEST_SPEAKERS else "train",
                licence="CC-BY-4.0",
                author="Yamagishi, Veaux and MacDonald",
                title="CSTR VCTK Corpus 0.92",
                category="speech",
                label=speaker,
                caption=" ".join(_text(text).split()) if text.is_file() else "",
            )
        )
    return entries, 0


def is_esc50(folder: Path) -> bool:
    """Whether there is the table of ESC-50."""
    return (folder / "meta" / "esc50.csv").is_file()


def load_esc50(folder: Path) -> Loaded:
    """Read ESC-50: fold 5 is test as in published work, fold 4 valid, the others train.

    No recording has clips in two folds. Titles and authors are those of the file LICENSE, where it
    is there.
    """
    lines = _text(folder / "LICENSE").splitlines() if (folder / "LICENSE").is_file() else []
    credits_by_clip = {m["clip"]: m for m in map(_ESC_CREDIT.search, lines) if m is not None}
    entries = []
    for where, row in rows(folder / "meta" / "esc50.csv", ("filename", "fold", "category")):
        if row["fold"] not in ("1", "2", "3", "4", "5"):
            raise AudioFormatError(f"{where}: the fold must be 1 to 5, got {row['fold']!r}")
        credit = credits_by_clip.get("-".join(row["filename"].split("-")[:3]))
        file = f"audio/{row['filename']}"
        entries.append(
            Entry(
                file=file,
                path=inside(folder, file, where),
                split={"5": "test", "4": "valid"}.get(row["fold"], "train"),
                licence="CC-BY-3.0" if row.get("esc10") == "True" else "CC-BY-NC-3.0",
                author=credit["author"] if credit else "",
                title=credit["title"] if credit else "",
                source=credit["source"] if credit else "",
                category="sounds",
                label=row["category"],
                extra=some(row, "fold", "target", "esc10", "src_file"),
            )
        )
    return entries, 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise AudioFormatError(f"cannot read {path}: {error.strerror or error}") from error
