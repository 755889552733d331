"""Sample cache: the recordings of corpora, decoded once to one rate and channel count."""

import json
import os
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any, Literal, final

import numpy as np
from jaxtyping import Float, Float32

from weft.audio.audio import BLOCK_SAMPLES, Audio
from weft.data.cache import (
    Digest,
    FileDigests,
    atomic_file,
    remove_partial_files,
    settings_digest,
)
from weft.data.manifest import Entry, Manifest
from weft.errors import AudioFormatError, ConfigError, OutputError, ShapeError

_VERSION = 1  # of the way samples are made: another number, another key
_LARGEST_HEADER = 1 << 16
_READ_SAMPLES = BLOCK_SAMPLES
_INT16_PEAK = 32767
_DTYPES = {"int16": ("I16", np.dtype("<i2")), "float16": ("F16", np.dtype("<f2"))}


@final
@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """How samples are stored."""

    sample_rate: int
    """In Hz, > 0; recordings of other rates are resampled (soxr, highest quality)."""
    num_channels: int = 1
    """1: the mean of the channels. 2: stereo; mono is doubled, of more than two the mean is."""
    dtype: Literal["int16", "float16"] = "int16"
    """int16: error at most peak / 65000 of the recording, whatever the sample's level.
    float16: error at most 1/2000 of each sample, or 2^-24 of the peak where that is more."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.sample_rate <= 0:
            raise ConfigError(f"sample_rate must be > 0 Hz, got {self.sample_rate}")
        if self.num_channels not in (1, 2):
            raise ConfigError(f"num_channels must be 1 or 2, got {self.num_channels}")
        if self.dtype not in _DTYPES:
            raise ConfigError(f"dtype must be int16 or float16, got {self.dtype!r}")


@final
@dataclass(frozen=True, kw_only=True)
class CachedEntry:
    """One recording in the cache."""

    corpus: str
    """Name of its corpus."""
    entry: Entry
    """The file it comes from, with label, caption, split and licence."""
    digest: Digest
    """Of the file's bytes; first part of keys in a `FeatureCache`."""
    path: Path
    """Where its samples are."""
    num_samples: int
    """Samples a channel at the cache's rate, >= 1."""
    scale: float
    """Largest magnitude, > 0: what the largest stored number stands for."""
    offset: int
    """Bytes before the first sample."""


@final
class SampleCache:
    """Recordings of one rate and channel count, read from memory-mapped files.

    Nothing stays open between reads, so it may be pickled, forked and shared by processes.
    """

    def __init__(
        self,
        config: CacheConfig,
        entries: Sequence[CachedEntry],
        unreadable: Sequence[tuple[Entry, str]] = (),
    ) -> None:
        """Hold what `make_sample_cache` or `open_sample_cache` found."""
        self.config = config
        self.entries = tuple(entries)
        self.unreadable = tuple(unreadable)
        """Files that were left out, and why."""

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def duration_s(self) -> float:
        """Length of all recordings together, in seconds."""
        return sum(entry.num_samples for entry in self.entries) / self.config.sample_rate

    def read(
        self, index: int, start: int = 0, stop: int | None = None
    ) -> Float32[np.ndarray, "c n"]:
        """Return samples [start, stop) of a recording; only these are read.

        Args:
            index: of the recording, in [0, len).
            start: first sample.
            stop: one past the last; unless told, the recording's end.

        Raises:
            ShapeError: the recording or the range is not there.
            AudioFormatError: the file vanished since the cache was opened.
        """
        if not 0 <= index < len(self.entries):
            raise ShapeError(f"recording {index} asked for, the cache has {len(self.entries)}")
        entry = self.entries[index]
        stop = entry.num_samples if stop is None else stop
        if not 0 <= start <= stop <= entry.num_samples:
            raise ShapeError(
                f"samples {start}-{stop} of {entry.entry.file} asked for, it has "
                f"0-{entry.num_samples}"
            )
        dtype = _DTYPES[self.config.dtype][1]
        shape = (entry.num_samples, self.config.num_channels)
        try:
            stored = np.memmap(entry.path, dtype, "r", entry.offset, shape)[start:stop]
        except (OSError, ValueError) as error:
            raise AudioFormatError(
                f"the cached samples of {entry.entry.file} ({entry.path}) are gone: {error}; make "
                "the cache again"
            ) from error
        step = entry.scale / _INT16_PEAK if self.config.dtype == "int16" else entry.scale
        return np.multiply(stored.T, np.float32(step), dtype=np.float32, order="C")


def make_sample_cache(
    manifests: Sequence[Manifest],
    folder: Path,
    config: CacheConfig,
    *,
    split: str | None = None,
    skip_unreadable: bool = False,
    num_jobs: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> SampleCache:
    """Decode what is not in the cache yet, and open it.

    A recording that goes over full scale, as decoded lossy files may, is divided by its peak, as
    `weft.data.corpora.open_entry` does; others keep their level. Nothing is ever clipped. Memory is
    constant in the length of the files.

    Args:
        manifests: of the corpora.
        folder: of the cache; made if needed, shared by all settings.
        config: how samples are stored.
        split: train, valid or test; None takes all files.
        skip_unreadable: leave out files that cannot be read or are empty, and list them in
            `SampleCache.unreadable`, rather than fail.
        num_jobs: processes.
        on_progress: called with the files done and their number.

    Raises:
        ConfigError: a corpus has no such split, or nothing is left.
        AudioFormatError: a file cannot be read or is empty.
        OutputError: the cache cannot be written.
    """
    if num_jobs < 1:
        raise ConfigError(f"num_jobs must be >= 1, got {num_jobs}")
    if folder.is_dir():
        remove_partial_files(folder)
    jobs = [_Job(folder, config, corpus, entry) for corpus, entry in _listed(manifests, split)]
    found: list[CachedEntry] = []
    unreadable: list[tuple[Entry, str]] = []
    for done, (job, result) in enumerate(zip(jobs, _run(jobs, num_jobs), strict=True), 1):
        if isinstance(result, CachedEntry):
            found.append(result)
        elif skip_unreadable:
            unreadable.append((job.entry, str(result)))
        else:
            raise result
        if on_progress is not None:
            on_progress(done, len(jobs))
    if not found:
        raise ConfigError(f"none of {len(jobs)} files can be read; the first: {unreadable[0][1]}")
    return SampleCache(config, found, unreadable)


def open_sample_cache(
    manifests: Sequence[Manifest],
    folder: Path,
    config: CacheConfig,
    *,
    split: str | None = None,
    skip_unreadable: bool = False,
) -> SampleCache:
    """Open a cache that `make_sample_cache` made; nothing is decoded.

    Args:
        manifests: of the corpora.
        folder: of the cache.
        config: how samples are stored.
        split: train, valid or test; None takes all files.
        skip_unreadable: leave out files that are not in the cache.

    Raises:
        ConfigError: a recording is not in the cache, or has changed since it was made.
    """
    found: list[CachedEntry] = []
    missing: list[tuple[Entry, str]] = []
    for corpus, entry in _listed(manifests, split):
        job = _Job(folder, config, corpus, entry)
        try:
            cached = job.find(job.file_digest())
        except AudioFormatError:
            cached = None
        if cached is not None:
            found.append(cached)
        else:
            missing.append((entry, "not in the cache"))
    if (missing and not skip_unreadable) or not found:
        raise ConfigError(
            f"{len(missing)} of {len(missing) + len(found)} recordings are not in the cache "
            f"{folder}, the first is {missing[0][0].path}; make the cache again"
        )
    return SampleCache(config, found, missing)


def _listed(manifests: Sequence[Manifest], split: str | None) -> list[tuple[str, Entry]]:
    listed = [(m.name, entry) for m in manifests for entry in m.select(split)]
    if not listed:
        raise ConfigError("a sample cache needs at least one corpus with files")
    return listed


@final
@dataclass(frozen=True)
class _Job:
    """One recording to find or to decode."""

    folder: Path
    config: CacheConfig
    corpus: str
    entry: Entry

    def file_digest(self) -> Digest:
        """Digest of the file's bytes."""
        return FileDigests(self.folder / "digests").digest(self.entry.path)

    def path(self, digest: Digest) -> Path:
        """Where the samples belong."""
        key = settings_digest({"version": _VERSION, "file": digest, **asdict(self.config)})
        return self.folder / "samples" / key[:2] / f"{key}.safetensors"

    def find(self, digest: Digest) -> CachedEntry | None:
        """Return the recording if it is there, whole."""
        path = self.path(digest)
        try:
            with path.open("rb") as handle:
                size = os.fstat(handle.fileno()).st_size
                (num_bytes,) = struct.unpack("<Q", handle.read(8))
                header = json.loads(handle.read(num_bytes)) if num_bytes < _LARGEST_HEADER else {}
            shape = header["samples"]["shape"]
            scale = float(header["__metadata__"]["scale"])
            is_whole = size == 8 + num_bytes + shape[0] * shape[1] * 2
        except (OSError, ValueError, KeyError, TypeError, struct.error):
            return None
        if not is_whole or shape[0] < 1 or shape[1] != self.config.num_channels:
            return None
        return CachedEntry(
            corpus=self.corpus,
            entry=self.entry,
            digest=digest,
            path=path,
            num_samples=shape[0],
            scale=scale,
            offset=8 + num_bytes,
        )


def _find_or_make(job: _Job) -> CachedEntry | AudioFormatError:
    """Return the recording, decoded if need be, or why it cannot be."""
    try:
        digest = job.file_digest()
        cached = job.find(digest)
        if cached is not None:
            return cached
        _decode(job, digest)
        cached = job.find(digest)
    except AudioFormatError as error:
        return error
    if cached is None:
        raise OutputError(f"what was written to {job.path(digest)} is not there any more")
    return cached


def _run(jobs: Sequence[_Job], num_jobs: int) -> Iterator[CachedEntry | AudioFormatError]:
    """Yield the recordings in order."""
    if num_jobs == 1 or len(jobs) < 2:
        yield from map(_find_or_make, jobs)
        return
    with ProcessPoolExecutor(min(num_jobs, len(jobs)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(_find_or_make, jobs, chunksize=4)


def _decode(job: _Job, digest: Digest) -> None:
    """Decode one file into the cache.

    The largest sample is known only at the end, so samples go to a temporary file as 32-bit floats
    first.
    """
    from weft.audio.read import read_audio

    path = job.path(digest)
    audio = read_audio(job.entry.path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent) as raw:
            source_peak = peak = 0.0
            num_samples = 0
            for block_peak, block in _converted(audio, job.config):
                source_peak = max(source_peak, block_peak)
                peak = max(peak, float(np.abs(block).max(initial=0.0)))
                num_samples += block.shape[1]
                raw.write(np.ascontiguousarray(block.T, dtype=np.float32).tobytes())
            if num_samples == 0:
                raise AudioFormatError(f"{job.entry.path} holds no samples")
            if job.file_digest() != digest:
                raise AudioFormatError(f"{job.entry.path} changed while it was read; run again")
            raw.seek(0)
            gain = 1 / max(1.0, source_peak)
            with atomic_file(path) as handle:
                _store(raw, handle, job.config, num_samples, gain, peak * gain or 1.0)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"cannot keep the samples of {job.entry.path} in {path.parent}: "
            f"{error.strerror or error}; free space there or choose another folder for the cache"
        ) from error


def _converted(
    audio: Audio, config: CacheConfig
) -> Iterator[tuple[float, Float[np.ndarray, "c n"]]]:
    """Yield the largest magnitude of each decoded block, and the block at the cache's rate."""
    import soxr

    stream: Any = None
    if audio.sample_rate != config.sample_rate:
        stream = soxr.ResampleStream(
            audio.sample_rate, config.sample_rate, config.num_channels, "float64", "VHQ"
        )
    for start, block in audio.blocks(_READ_SAMPLES):
        mixed = _mixed(block, config.num_channels)
        if stream is not None:
            is_last = start + block.shape[1] >= audio.num_samples
            interleaved = np.ascontiguousarray(mixed.T)
            mixed = stream.resample_chunk(interleaved, last=is_last).reshape(
                -1, config.num_channels
            )
            mixed = mixed.T
        yield float(np.abs(block).max(initial=0.0)), mixed


def _mixed(block: Float[np.ndarray, "c n"], num_channels: int) -> Float[np.ndarray, "m n"]:
    if block.shape[0] == num_channels:
        return block
    mean: np.ndarray = block.mean(axis=0, keepdims=True)
    return np.repeat(mean, num_channels, axis=0)


def _store(
    raw: IO[bytes],
    handle: IO[bytes],
    config: CacheConfig,
    num_samples: int,
    gain: float,
    scale: float,
) -> None:
    """Write 32-bit floats as stored numbers, in the layout of safetensors."""
    name, dtype = _DTYPES[config.dtype]
    num_values = num_samples * config.num_channels
    header = {
        "__metadata__": {"scale": repr(scale), "sample_rate": str(config.sample_rate)},
        "samples": {
            "dtype": name,
            "shape": [num_samples, config.num_channels],
            "data_offsets": [0, num_values * 2],
        },
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # samples start at a multiple of eight bytes
    handle.write(struct.pack("<Q", len(text)) + text)
    while block := raw.read(1 << 20):
        values = np.frombuffer(block, np.float32).astype(np.float64) * (gain / scale)
        if config.dtype == "int16":
            values = np.rint(np.clip(values, -1, 1) * _INT16_PEAK)
        handle.write(values.astype(dtype).tobytes())
