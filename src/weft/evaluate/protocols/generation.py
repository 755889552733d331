"""Generation: clips from nothing, or from a text, judged as sets.

* ``unconditional``: clips of 5 s, as many as are cut from the recordings they are compared with.
* ``generate``: one sound for each caption of the split, as long as the sound it describes, 10 s at
  the most.

Rows that need no model: ``original``; ``vorbis``, the same through a lossy codec; ``noise``, with
the original's own mean spectrum; and ``train clip`` (``retrieval`` for texts): a recording of the
train split, the one whose caption is nearest. The last is the bar that a model which merely
remembers its training data reaches.

Source: clips of 5 s and statistics against the train split: Levy et al. 2023, Controllable music
    production with diffusion models and guidance gradients, section 4. One sound a caption, paired
    divergence: the AudioCaps protocol of Huang et al. 2025, IMPACT.
"""

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from weft.audio.audio import Audio
from weft.audio.resample import resample
from weft.canvas.canvas import Canvas, Region
from weft.data.corpora import open_entry
from weft.data.manifest import Entry, Manifest
from weft.errors import ConfigError
from weft.evaluate.positions import PositionConfig, draw_gaps
from weft.evaluate.protocol import (
    ORIGINAL,
    Case,
    Job,
    Measured,
    Protocol,
    Row,
    RunConfig,
    Spot,
    values_of,
)
from weft.evaluate.protocols.gaps import VORBIS
from weft.evaluate.solvers import Filled, FillFn
from weft.evaluate.vorbis import vorbis_round_trip
from weft.metrics.pairs import Estimate
from weft.rng import Rng
from weft.shapes import Samples

NOISE = "noise"
_TRAIN = {"unconditional": "train clip", "generate": "retrieval"}


@final
@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """What is generated."""

    kind: Literal["unconditional", "generate"]
    """From nothing or from captions."""
    clip_s: float = 5.0
    """Length of unconditional clips; longest sound from a caption; in [0.5, 60]."""
    clips_per_file: int = 3
    """Clips of each recording that is compared with, >= 1; captions have one."""

    def __post_init__(self) -> None:
        if not 0.5 <= self.clip_s <= 60:
            raise ConfigError(f"clip_s must be in [0.5, 60] s, got {self.clip_s}")
        if self.clips_per_file < 1:
            raise ConfigError(f"clips_per_file must be >= 1, got {self.clips_per_file}")


@final
class Generation(Protocol):
    """Sound from nothing or from a text."""

    def __init__(self, run: RunConfig | None = None, *, config: GenerationConfig) -> None:
        is_free = config.kind == "unconditional"
        self.name = config.kind
        self.title = "Clips from nothing" if is_free else "Sounds from captions"
        self.run = run or RunConfig()
        self.config = config
        self.settings = (f"{'' if is_free else 'up to '}{config.clip_s:g} s",)
        self.own_settings = values_of(config, "clip_s", "clips_per_file")
        self.baselines = (
            Row(name=ORIGINAL, kind="reference"),
            Row(name=VORBIS, kind="reference"),
            Row(name=_TRAIN[config.kind], kind="baseline"),
            Row(name=NOISE, kind="baseline"),
        )
        self.measures = ()
        self.spots_per_job = config.clips_per_file if is_free else 1

    def jobs(self, corpora: Sequence[Manifest]) -> list[Job]:
        """Return each recording with one of the train split, where there is a train split."""
        jobs = []
        for corpus in corpora:
            train = corpus.select("train") if "train" in corpus.splits else ()
            nearest = Captions(train) if self.name == "generate" else None
            for entry in corpus.select(self.run.split)[: self.run.limit]:
                if nearest is not None and not entry.caption:
                    raise ConfigError(
                        f"{corpus.name}/{entry.file} has no caption to generate from; add a "
                        "'caption' column to its manifest, or choose captioned recordings"
                    )
                others = [e for e in train if e.path != entry.path]
                found: tuple[Entry, ...] = ()
                if others and nearest is not None:
                    found = (nearest.nearest(entry.caption),)
                elif others:
                    stream = Rng(self.run.seed).stream(zlib.crc32(entry.file.encode()))
                    found = (others[int(stream.integers(len(others)))],)
                jobs.append(Job(corpus=corpus.name, entries=(entry,), others=found))
        return jobs

    def cases(self, job: Job) -> Iterator[Case]:
        run, entry = self.run, job.entries[0]
        audio = open_entry(entry, sample_rate=run.sample_rate, is_mono=run.is_mono, is_whole=True)
        rate = audio.sample_rate
        train = self._train_audio(job, audio)
        for index, clip in enumerate(self._clips(job, audio)):
            truth = Audio.from_samples(audio.read(clip.start, clip.stop), rate)
            whole = Region(start=0, stop=truth.num_samples)
            silence = Audio.from_samples(np.zeros((truth.num_channels, truth.num_samples)), rate)
            extras = {}
            if train is not None:
                extras[_TRAIN[self.name]] = self._train_clip(train, truth, job, index)
            yield Case(
                corpus=job.corpus,
                file=entry.file,
                setting=self.settings[0],
                canvas=Canvas(
                    audio=silence,
                    gaps=(whole,),
                    text=entry.caption if self.name == "generate" else None,
                ),
                truth=truth,
                spots=(Spot(index=index, excerpt=whole),),
                extras=extras,
            )

    def baseline(self, row: str, case: Case) -> Audio:
        assert case.truth is not None
        if row == ORIGINAL:
            return case.truth
        if row == VORBIS:
            return vorbis_round_trip(case.truth)
        if row == NOISE:
            return spectrum_noise(
                case.truth, Rng(self.run.seed).child(zlib.crc32(case.file.encode()))
            )
        if row not in case.extras:
            raise ConfigError(
                f"{case.corpus} has no train split, so there is no row {row!r} for it"
            )
        return case.extras[row]

    def fill(self, fill_with: FillFn, case: Case) -> Filled:
        """Ask with a seed of the item's own: where nothing is known, equal seeds make one clip."""
        stream = Rng(self.run.seed).stream(zlib.crc32(case.file.encode()), case.spots[0].index)
        return fill_with(case.canvas, takes=self.run.takes, seed=int(stream.integers(2**31)))

    def measure(
        self, case: Case, spot: Spot, reference: Samples | None, estimate: Estimate
    ) -> Measured:
        return Measured(metrics={})

    def embedded_s(self, setting: str) -> float:
        return self.config.clip_s

    def _clips(self, job: Job, audio: Audio) -> tuple[Region, ...]:
        """Return which stretches of a recording are compared with."""
        length = round(self.config.clip_s * audio.sample_rate)
        if self.name == "generate":
            return (Region(start=0, stop=min(length, audio.num_samples)),)
        return draw_gaps(
            audio.samples,
            audio.sample_rate,
            gap_ms=1000 * self.config.clip_s,
            name=f"{job.corpus}/{job.entries[0].file}",
            seed=self.run.seed,
            config=PositionConfig(
                num_gaps=self.config.clips_per_file, separation_s=0.0, margin_s=0.1
            ),
        )

    def _train_audio(self, job: Job, like: Audio) -> Samples | None:
        """Return the recording of the train split, with the rate and channels of the other."""
        if not job.others:
            return None
        audio = open_entry(job.others[0], is_whole=True)
        samples = resample(audio.samples, audio.sample_rate, like.sample_rate)
        if samples.shape[0] != like.num_channels:
            samples = np.repeat(samples.mean(axis=0, keepdims=True), like.num_channels, axis=0)
        return samples

    def _train_clip(self, samples: Samples, truth: Audio, job: Job, index: int) -> Audio:
        """Return a clip of it; of a caption's, the beginning; repeated where it is too short."""
        length = truth.num_samples
        samples = np.tile(samples, (1, -(-length // samples.shape[1])))
        start = 0
        if self.name == "unconditional":
            stream = Rng(self.run.seed).stream(zlib.crc32(job.file.encode()), index)
            start = int(stream.integers(samples.shape[1] - length + 1))
        return Audio.from_samples(samples[:, start : start + length], truth.sample_rate)


def spectrum_noise(audio: Audio, rng: Rng) -> Audio:
    """Return Gaussian noise with the power spectrum of a recording, and nothing else of it.

    Phases are drawn anew for the whole recording, so what happens when is lost.

    Example:
        >>> tone = Audio.from_samples(np.sin(np.arange(4000) * 0.3)[None], 8000)
        >>> noise = spectrum_noise(tone, Rng(0))
        >>> bool(np.isclose((noise.samples**2).sum(), (tone.samples**2).sum()))
        True
    """
    spectrum = np.fft.rfft(audio.samples, axis=1)
    phase = rng.stream(0).uniform(0, 2 * np.pi, size=(1, spectrum.shape[1]))
    turned = spectrum * np.exp(1j * phase)
    turned[:, 0] = spectrum[:, 0]
    if audio.num_samples % 2 == 0:
        turned[:, -1] = spectrum[:, -1]
    return Audio.from_samples(np.fft.irfft(turned, audio.num_samples, axis=1), audio.sample_rate)


@final
class Captions:
    """Finds the recording whose caption is nearest to a text.

    Source: cosine of term frequencies weighted by inverse document frequency, Salton & Buckley
        1988.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = [entry for entry in entries if entry.caption]
        self._words = [Counter(_words(entry.caption)) for entry in self._entries]
        counts = Counter(word for words in self._words for word in words)
        total = len(self._entries)
        self._weights = {word: math.log((1 + total) / (1 + n)) + 1 for word, n in counts.items()}

    def nearest(self, text: str) -> Entry:
        """Return the entry whose caption is nearest; the first of equal ones.

        Raises:
            ConfigError: no entry has a caption.
        """
        if not self._entries:
            raise ConfigError("no recording of the train split has a caption to search in")
        wanted = self._vector(Counter(_words(text)))
        scores = [self._cosine(wanted, self._vector(words)) for words in self._words]
        return self._entries[int(np.argmax(scores))]

    def _vector(self, words: Counter[str]) -> dict[str, float]:
        return {word: n * self._weights.get(word, 0.0) for word, n in words.items()}

    @staticmethod
    def _cosine(a: dict[str, float], b: dict[str, float]) -> float:
        norm = math.hypot(*a.values()) * math.hypot(*b.values())
        return sum(value * b.get(word, 0.0) for word, value in a.items()) / norm if norm else 0.0


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())
