"""Rendering: a folder of MIDI performances becomes a corpus of rendered piano."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, final

import numpy as np
from jaxtyping import Float

from weft.data.manifest import (
    MANIFEST_NAME,
    Entry,
    attribution,
    check_files,
    read_manifest,
    write_manifest,
)
from weft.data.piano import Instrument, peak_gain, read_midi, render, without_lead
from weft.errors import ConfigError, OutputError

MIDI_SUFFIXES = frozenset({".mid", ".midi"})
SAMPLE_RATE = 44100
"""Of what is rendered, in Hz."""

_VERSION = 2  # part of every work's key: raise it when the sound of the renderer changes
_BLOCK_SAMPLES = 1 << 18


@final
@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """How works are rendered."""

    bits: Literal[16, 24] = 16
    """Bits a sample."""
    container: Literal["flac", "wav"] = "flac"
    """Format, and ending, of the files."""
    peak_db: float = -3.0
    """Level of the largest sample of each work, in dB of full scale, in [-60, 0]. One gain a work:
    dynamics stay, and nothing clips."""

    def __post_init__(self) -> None:
        if self.bits not in (16, 24):
            raise ConfigError(f"bits must be 16 or 24, got {self.bits}")
        if self.container not in ("flac", "wav"):
            raise ConfigError(f"container must be flac or wav, got {self.container!r}")
        if not -60 <= self.peak_db <= 0:
            raise ConfigError(f"peak_db must be in [-60, 0] dB, got {self.peak_db}")


@final
@dataclass(frozen=True, kw_only=True)
class RenderedWork:
    """One rendered performance."""

    row: dict[str, object]
    """Its line in the manifest."""
    was_done: bool
    """Whether it stood there already."""


def render_folder(
    midi: Path,
    samples: Path,
    out: Path,
    *,
    split: str | None = None,
    limit: int | None = None,
    num_jobs: int = 1,
    config: RenderConfig | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[RenderedWork, ...]:
    """Render performances to audio files with a manifest.

    The manifest is rewritten after every work, so a killed run loses the work in hand; works whose
    MIDI file, samples and settings are unchanged are skipped. Works of other splits rendered into
    the same folder before stay in the manifest. Silence before the first note is cut to half a
    second, and a work ends with its last note. The same input gives the same files.

    Args:
        midi: folder of MIDI files, with or without a manifest.
        samples: folder of piano notes, see `weft.data.piano`.
        out: folder of the corpus; made if need be.
        split: only works of this split.
        limit: only so many works, the first ones.
        num_jobs: processes.
        config: format and level.
        on_progress: called with (works done, works in all).

    Returns:
        The works asked for, in the order of the MIDI manifest.

    Raises:
        ConfigError: a folder or split is not there, or a setting is outside its range.
        MissingDependencyError: mido is not installed.
        AudioFormatError: a MIDI file or a note cannot be read.
        OutputError: a file cannot be written.
    """
    config = config or RenderConfig()
    if num_jobs < 1 or (limit is not None and limit < 1):
        raise ConfigError(f"num_jobs and limit must be >= 1, got {num_jobs} and {limit}")
    works = read_manifest(midi, suffixes=MIDI_SUFFIXES).select(split)[:limit]
    check_files(works)
    Instrument(samples)
    credit = _sample_credit(samples)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {out}: {error}") from error
    rows = _existing_rows(out)
    jobs = [_Job(entry, samples, out, credit, config) for entry in works]
    finished = [
        RenderedWork(row=rows[job.file], was_done=True) if job.is_done(rows) else None
        for job in jobs
    ]
    todo = [i for i, work in enumerate(finished) if work is None]
    done = len(jobs) - len(todo)
    for i, row in zip(todo, _run([jobs[i] for i in todo], num_jobs), strict=True):
        finished[i] = RenderedWork(row=row, was_done=False)
        rows[jobs[i].file] = row
        write_manifest(out, [rows[file] for file in sorted(rows)])
        done += 1
        if on_progress is not None:
            on_progress(done, len(jobs))
    _write_attribution(out)
    return tuple(work for work in finished if work is not None)


@final
@dataclass(frozen=True)
class _Job:
    """One work to render."""

    entry: Entry
    samples: Path
    out: Path
    credit: tuple[str, str]
    config: RenderConfig

    @property
    def file(self) -> str:
        """Name of the audio file."""
        return f"{Path(self.entry.file).stem}.{self.config.container}"

    @property
    def key(self) -> str:
        """Digest of all that the sound depends on but the notes' own samples."""
        notes = sorted((p.name, p.stat().st_size) for p in self.samples.glob("*_v*"))
        settings = [_VERSION, SAMPLE_RATE, asdict(self.config), notes]
        digest = hashlib.sha256(json.dumps(settings).encode())
        digest.update(self.entry.path.read_bytes())
        return digest.hexdigest()[:16]

    def is_done(self, rows: dict[str, dict[str, object]]) -> bool:
        """Whether the file stands there, made in this way."""
        row = rows.get(self.file)
        return (
            row is not None
            and row.get("render_key") == self.key
            and (self.out / self.file).is_file()
        )


_instrument: tuple[Path, Instrument] | None = None  # one a process: its cache spans works


def _render_work(job: _Job) -> dict[str, object]:
    """Render and write one work; return its line of the manifest."""
    global _instrument
    if _instrument is None or _instrument[0] != job.samples:
        _instrument = (job.samples, Instrument(job.samples, sample_rate=SAMPLE_RATE))
    mix = render(without_lead(read_midi(job.entry.path)), _instrument[1])
    mix *= peak_gain(mix, job.config.peak_db)
    _write(job.out / job.file, mix, job.config)
    entry = job.entry
    author, licence = job.credit
    return {
        "file": job.file,
        "category": "piano_rendered",
        "source_repo": entry.extra.get("source_repo", ""),
        "source_path": entry.extra.get("source_path", "") or entry.file,
        "licence": " AND ".join(dict.fromkeys(filter(None, (entry.licence, licence)))),
        "author": "; ".join(
            filter(None, (entry.author, f"piano notes: {author}" if author else ""))
        ),
        "title": entry.title,
        "duration_s": f"{len(mix) / SAMPLE_RATE:.2f}",
        "label": entry.label,
        "caption": entry.caption,
        "split": entry.split,
        "sample_rate": SAMPLE_RATE,
        "channels": 2,
        "render_key": job.key,
    }


def _run(jobs: Sequence[_Job], num_jobs: int) -> Iterator[dict[str, object]]:
    """Yield the lines of the works in order."""
    if num_jobs == 1 or len(jobs) < 2:
        yield from map(_render_work, jobs)
        return
    with ProcessPoolExecutor(min(num_jobs, len(jobs)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(_render_work, jobs)


def _write(path: Path, mix: Float[np.ndarray, "n 2"], config: RenderConfig) -> None:
    """Write a work atomically."""
    import soundfile

    handle, temporary = tempfile.mkstemp(
        prefix=".render-", suffix=f".{config.container}", dir=path.parent
    )
    os.close(handle)
    try:
        with soundfile.SoundFile(
            temporary,
            "w",
            samplerate=SAMPLE_RATE,
            channels=2,
            format=config.container.upper(),
            subtype=f"PCM_{config.bits}",
        ) as sink:
            for start in range(0, len(mix), _BLOCK_SAMPLES):
                sink.write(mix[start : start + _BLOCK_SAMPLES])
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except (OSError, soundfile.SoundFileError) as error:
        raise OutputError(f"cannot write {path}: {error}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _existing_rows(out: Path) -> dict[str, dict[str, object]]:
    """Return the manifest's lines of works rendered before."""
    import csv

    path = out / MANIFEST_NAME
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as handle:
        rows = [dict(row) for row in csv.DictReader(handle)]
    return {row["file"]: row for row in rows if row.get("file") and (out / row["file"]).is_file()}


def _sample_credit(samples: Path) -> tuple[str, str]:
    """Return author and licence of the notes, as their manifest states them."""
    if not (samples / MANIFEST_NAME).is_file():
        return "", ""
    entries = read_manifest(samples).entries
    authors = dict.fromkeys(entry.author for entry in entries if entry.author)
    licences = dict.fromkeys(entry.licence for entry in entries if entry.licence)
    return ", ".join(authors), " AND ".join(licences)


def _write_attribution(out: Path) -> None:
    text = attribution([read_manifest(out)], note="rendered to audio")
    try:
        (out / "ATTRIBUTION").write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {out / 'ATTRIBUTION'}: {error}") from error
