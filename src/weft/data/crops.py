"""Crops: short pieces of recordings, drawn for training or fixed for validation."""

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, final

import numpy as np
from jaxtyping import Float32

from weft.data.samples import CachedEntry, SampleCache
from weft.errors import ConfigError
from weft.rng import Rng


@final
@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """Which pieces are drawn."""

    num_samples: int
    """Length of a crop at the cache's rate, >= 1."""
    min_level_db: float = -60.0
    """Crops of a lower rms, in dB of full scale over all channels, are drawn again; -inf never
    draws again."""
    num_tries: int = 8
    """Draws at most, >= 1; when all are too quiet, the loudest is taken."""
    short: Literal["loop", "pad"] = "loop"
    """What fills a crop of a recording that is shorter: the recording again, from its beginning, or
    silence around it."""
    weights: Mapping[str, float] | None = None
    """Share of each corpus in an epoch, by name, each > 0, in any unit; None: by duration."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.num_samples < 1:
            raise ConfigError(f"num_samples of a crop must be >= 1, got {self.num_samples}")
        if self.num_tries < 1:
            raise ConfigError(f"num_tries must be >= 1, got {self.num_tries}")
        if not self.min_level_db < np.inf:
            raise ConfigError(f"min_level_db must be below inf dB, got {self.min_level_db}")
        if self.short not in ("loop", "pad"):
            raise ConfigError(f"short must be 'loop' or 'pad', got {self.short!r}")
        for corpus, weight in (self.weights or {}).items():
            if not 0 < weight < np.inf:
                raise ConfigError(f"the weight of {corpus!r} must be > 0 and finite, got {weight}")


@final
@dataclass(frozen=True, kw_only=True)
class Crop:
    """A piece of a recording and where it comes from."""

    samples: Float32[np.ndarray, "c n"]
    """The sound."""
    source: CachedEntry
    """The recording: ``source.corpus``, ``source.entry.label``, ``source.entry.caption`` …"""
    recording: int
    """Its position in the cache."""
    start: int
    """First sample in the recording; negative where silence stands ahead of a short one."""
    num_valid: int
    """Samples of a channel that come from the recording: fewer than ``n`` where silence was added,
    all of them where a short recording was looped."""


@final
class CropSource:
    """Crops over a sample cache.

    An epoch has as many crops as fit into the recordings end to end; a recording shorter than a
    crop counts as one. The number of a crop decides its corpus, and without weights its recording
    and the part of it too, so that an epoch covers every recording evenly; where exactly it begins
    is drawn. With weights a corpus may get more or fewer crops than fit into it, and goes through
    its recordings as evenly as their number allows.
    """

    def __init__(self, cache: SampleCache, config: CropConfig) -> None:
        """Lay out the crops of an epoch.

        Raises:
            ConfigError: the weights do not name exactly the corpora of the cache.
        """
        self.cache = cache
        self.config = config
        self._recordings: dict[str, list[int]] = {}
        for index, entry in enumerate(cache.entries):
            self._recordings.setdefault(entry.corpus, []).append(index)
        self._ends = {
            corpus: list(accumulate(self._num_fitting(i) for i in indices))
            for corpus, indices in self._recordings.items()
        }
        natural = {corpus: ends[-1] for corpus, ends in self._ends.items()}
        shares = natural if config.weights is None else config.weights
        if set(shares) != set(natural):
            raise ConfigError(
                f"weights must name each corpus once, {', '.join(natural)}; got {', '.join(shares)}"
            )
        self._counts = _allot(sum(natural.values()), {c: float(shares[c]) for c in natural})
        self._corpus_ends = list(accumulate(self._counts.values()))

    def __len__(self) -> int:
        return self._corpus_ends[-1]

    @property
    def counts(self) -> dict[str, int]:
        """Crops of each corpus in an epoch."""
        return dict(self._counts)

    def crop(self, index: int, rng: Rng) -> Float32[np.ndarray, "c n"]:
        """Draw crop ``index`` and return its samples; see `draw`."""
        return self.draw(index, rng).samples

    def draw(self, index: int, rng: Rng) -> Crop:
        """Draw crop ``index`` of an epoch.

        Args:
            index: in [0, len).
            rng: of this crop in this epoch; equal ones give equal crops.

        Raises:
            ConfigError: the index is out of range.
        """
        stream = rng.stream()
        recording, part, num_parts = self._place(index, float(stream.random()))
        best: Crop | None = None
        best_level = -np.inf
        floor = 10 ** (self.config.min_level_db / 10)
        for attempt in range(self.config.num_tries):
            # The first draw covers the recording evenly, others look for sound anywhere in it.
            at = (part + stream.random()) / num_parts if attempt == 0 else stream.random()
            crop = self._cut(recording, float(at))
            level = float(np.mean(np.square(crop.samples, dtype=np.float64)))
            if best is None or level > best_level:
                best, best_level = crop, level
            if level >= floor:
                return crop
        assert best is not None
        return best

    def fixed(self, index: int) -> Crop:
        """Return crop ``index`` as it is for validation: always the same, whatever its level.

        Args:
            index: in [0, len).

        Raises:
            ConfigError: the index is out of range.
        """
        recording, part, num_parts = self._place(index, 0.5)
        return self._cut(recording, (part + 0.5) / num_parts)

    def _num_fitting(self, recording: int) -> int:
        return max(1, self.cache.entries[recording].num_samples // self.config.num_samples)

    def _place(self, index: int, draw: float) -> tuple[int, int, int]:
        """Return recording, part of it, and number of its parts."""
        if not 0 <= index < len(self):
            raise ConfigError(f"crop {index} asked for, an epoch has {len(self)}")
        which = bisect.bisect_right(self._corpus_ends, index)
        corpus = tuple(self._counts)[which]
        count = self._counts[corpus]
        within = index - (self._corpus_ends[which] - count)
        ends = self._ends[corpus]
        # With as many crops as fit, this is ``within`` for every draw.
        slot = min(int((within + draw) * ends[-1] / count), ends[-1] - 1)
        position = bisect.bisect_right(ends, slot)
        num_parts = ends[position] - (ends[position - 1] if position else 0)
        return self._recordings[corpus][position], slot - (ends[position] - num_parts), num_parts

    def _cut(self, recording: int, at: float) -> Crop:
        """Cut a crop out of a recording; ``at`` in [0, 1) says where among all places it fits."""
        source = self.cache.entries[recording]
        length = self.config.num_samples
        spare = source.num_samples - length
        if spare >= 0:
            start = int(at * (spare + 1))
            samples = self.cache.read(recording, start, start + length)
            num_valid = length
        elif self.config.short == "loop":
            start = 0
            whole = self.cache.read(recording)
            samples = np.take(whole, np.arange(length), axis=1, mode="wrap")
            num_valid = length
        else:
            start = -int(at * (-spare + 1))
            whole = self.cache.read(recording)
            samples = np.zeros((whole.shape[0], length), np.float32)
            samples[:, -start : -start + whole.shape[1]] = whole
            num_valid = whole.shape[1]
        return Crop(
            samples=samples,
            source=source,
            recording=recording,
            start=start,
            num_valid=num_valid,
        )


def _allot(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Divide a number by shares: each gets one at least, largest remainders are rounded up."""
    whole = sum(shares.values())
    exact = {corpus: total * share / whole for corpus, share in shares.items()}
    counts = {corpus: max(1, int(value)) for corpus, value in exact.items()}
    missing = total - sum(counts.values())
    by_remainder = sorted(exact, key=lambda c: int(exact[c]) - exact[c])
    for corpus in by_remainder[: max(0, missing)]:
        counts[corpus] += 1
    return counts
