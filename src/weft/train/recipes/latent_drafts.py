"""Drafts: what the similarity search would put into gaps of the training recordings.

They are found once, for gaps drawn once; a network that is trained with them learns when to believe
them. No codec is needed, so one set of drafts serves all of them whose frames are as long.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import final

import numpy as np
from jaxtyping import Float32, Int64

from weft.audio.audio import Audio
from weft.canvas.canvas import Region
from weft.canvas.windows import read_window
from weft.classical.matching import SimilarityConfig, find_candidates
from weft.classical.similarity import confidence, make_edges, render
from weft.data.cache import Digest, FeatureCache, settings_digest
from weft.data.samples import CachedEntry, SampleCache
from weft.errors import ConfigError
from weft.rng import Rng

_VERSION = 1  # of the way drafts are made: another number, another key


@final
@dataclass(frozen=True, kw_only=True)
class DraftConfig:
    """How many gaps, how long, and how many drafts each."""

    num_gaps: Mapping[str, int] = field(default_factory=lambda: {"music": 1800, "piano": 1000})
    """Gaps of each corpus' train split, each >= 0, in proportion to durations."""
    num_valid_gaps: int = 12
    """Gaps of each recording of the valid split, >= 1."""
    gap_ms: tuple[float, float] = (40.0, 1000.0)
    """Shortest and longest, in (1, 10000]; lengths are drawn evenly on a logarithmic scale."""
    num_candidates: int = 3
    """Drafts of a gap, the best first, in [1, 16]; fewer where fewer are found."""
    context_s: float = 20.0
    """How much of the recording is searched on each side, in [1, 600] s."""
    frame_samples: int = 512
    """Gaps begin at multiples of this: the codec's hop, >= 1."""

    def __post_init__(self) -> None:
        if not all(count >= 0 for count in self.num_gaps.values()) or self.num_valid_gaps < 1:
            raise ConfigError(
                "num_gaps must be >= 0 and num_valid_gaps >= 1, got "
                f"{dict(self.num_gaps)} and {self.num_valid_gaps}"
            )
        low, high = self.gap_ms
        if not 1 < low <= high <= 10_000:
            raise ConfigError(f"gap_ms must be two lengths in (1, 10000], got {self.gap_ms}")
        if not 1 <= self.num_candidates <= 16 or self.frame_samples < 1:
            raise ConfigError(
                "num_candidates must be in [1, 16] and frame_samples >= 1, got "
                f"{self.num_candidates} and {self.frame_samples}"
            )
        if not 1 <= self.context_s <= 600:
            raise ConfigError(f"context_s must be in [1, 600] s, got {self.context_s}")


@final
@dataclass(frozen=True, kw_only=True)
class DraftedGap:
    """A gap and what could stand in it."""

    start: int
    """First sample in the recording."""
    drafts: tuple[Float32[np.ndarray, "c g"], ...]
    """Joined to the gap's sides, the best first; perhaps none."""
    confidences: tuple[float, ...]
    """How sure the search is of each, in [0, 1]."""
    num_samples: int
    """Length of the gap."""

    @property
    def stop(self) -> int:
        """One past its last sample."""
        return self.start + self.num_samples


def make_drafts(
    cache: SampleCache,
    features: FeatureCache,
    config: DraftConfig,
    *,
    is_valid: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Find drafts that are not in the cache of features yet.

    Args:
        cache: recordings.
        features: gets the drafts.
        config: which gaps.
        is_valid: whether it is the valid split, all of whose recordings get as many gaps.
        on_progress: called with the recordings done and their number.

    Raises:
        OutputError: drafts cannot be kept.
    """
    counts = _counts(cache, config, is_valid=is_valid)
    for index, entry in enumerate(cache.entries):
        if counts[index]:
            features.get_or_make(
                entry.digest,
                _maker(cache, config, counts[index]),
                lambda i=index: _drafts_of(cache, i, counts[i], config),  # type: ignore[misc]
            )
        if on_progress is not None:
            on_progress(index + 1, len(cache.entries))


def open_drafts(
    cache: SampleCache, features: FeatureCache, config: DraftConfig, *, is_valid: bool = False
) -> list[list[DraftedGap]]:
    """Return the gaps of each recording of a cache, in order of time.

    Raises:
        ConfigError: some are not in the cache of features.
    """
    counts = _counts(cache, config, is_valid=is_valid)
    found: list[list[DraftedGap]] = []
    for index, entry in enumerate(cache.entries):
        if not counts[index]:
            found.append([])
            continue
        arrays = features.get(entry.digest, _maker(cache, config, counts[index]))
        if arrays is None:
            raise ConfigError(
                f"the drafts of {entry.entry.path} are not in the cache {features.folder}; "
                "prepare it again"
            )
        found.append(_unpack(arrays))
    return found


def _counts(cache: SampleCache, config: DraftConfig, *, is_valid: bool) -> list[int]:
    """Return how many gaps each recording gets."""
    longest = round(config.gap_ms[1] * cache.config.sample_rate / 1000)
    usable = [max(0, entry.num_samples - 3 * longest) for entry in cache.entries]
    counts = []
    for entry, num_samples in zip(cache.entries, usable, strict=True):
        total = sum(
            n for e, n in zip(cache.entries, usable, strict=True) if e.corpus == entry.corpus
        )
        wanted = config.num_gaps.get(entry.corpus, 0)
        if is_valid:
            counts.append(config.num_valid_gaps if wanted and num_samples else 0)
        else:
            counts.append(round(wanted * num_samples / total) if total else 0)
    return counts


def _maker(cache: SampleCache, config: DraftConfig, count: int) -> Digest:
    settings = asdict(config)
    for name in ("num_gaps", "num_valid_gaps"):
        settings.pop(name)
    return settings_digest(
        {
            "drafts": _VERSION,
            "count": count,
            "sample_rate": cache.config.sample_rate,
            "num_channels": cache.config.num_channels,
            "search": asdict(SimilarityConfig()),
            **settings,
        }
    )


def draw_gaps(
    entry: CachedEntry, count: int, sample_rate: int, config: DraftConfig
) -> Int64[np.ndarray, "g 2"]:
    """Return start and length of gaps, in samples: a function of the recording's bytes.

    Each lies in its own stretch of the recording, further from both ends than the longest gap.
    """
    stream = Rng(int(entry.digest[:8], 16)).stream(count)
    low, high = np.log(np.array(config.gap_ms) * sample_rate / 1000)
    lengths = np.exp(stream.uniform(low, high, count)).round().astype(np.int64)
    longest = round(config.gap_ms[1] * sample_rate / 1000)
    spare = entry.num_samples - 3 * longest
    places = longest + (np.arange(count) + stream.random(count)) / count * spare
    starts = (places // config.frame_samples).astype(np.int64) * config.frame_samples
    return np.stack([starts, lengths], axis=1)


def _drafts_of(
    cache: SampleCache, index: int, count: int, config: DraftConfig
) -> dict[str, np.ndarray]:
    """Search for every gap of a recording."""
    entry, rate = cache.entries[index], cache.config.sample_rate
    search = SimilarityConfig(context_ms=1000 * config.context_s)
    context = round(config.context_s * rate)
    gaps = draw_gaps(entry, count, rate, config)
    pieces: list[np.ndarray] = []
    confidences = np.zeros((count, config.num_candidates), np.float32)
    for row, (start, length) in enumerate(gaps.tolist()):
        first = max(0, start - context)
        last = min(entry.num_samples, start + length + context)
        sound = Audio.from_samples(cache.read(index, first, last), rate)
        gap = Region(start=start - first, stop=start - first + length)
        window = read_window(sound, gap, [], last - first)
        found = find_candidates(window, search, config.num_candidates)
        edges = make_edges(window, search)
        for k, candidate in enumerate(found):
            confidences[row, k] = confidence(candidate)
            pieces.append(render(window, candidate, search, edges).astype(np.float16))
    shape = (cache.config.num_channels, 0)
    drafts = np.concatenate([np.zeros(shape, np.float16), *pieces], axis=1)
    return {"gaps": gaps, "confidences": confidences, "drafts": drafts}


def _unpack(arrays: Mapping[str, np.ndarray]) -> list[DraftedGap]:
    """Return gaps from what `_drafts_of` keeps."""
    found, position = [], 0
    for (start, length), sure in zip(arrays["gaps"].tolist(), arrays["confidences"], strict=True):
        drafts = []
        for _ in range(int((sure > 0).sum())):
            piece = arrays["drafts"][:, position : position + length]
            drafts.append(piece.astype(np.float32))
            position += length
        found.append(
            DraftedGap(
                start=start,
                num_samples=length,
                drafts=tuple(drafts),
                confidences=tuple(float(value) for value in sure[sure > 0]),
            )
        )
    return found
