"""Upsample: recordings without their high band, and models that bring one back.

The input is low-passed at a cut-off and has its full rate, so that everything is aligned. Rows that
need no model: ``original``, ``vorbis``, ``input`` and ``band copy``. Answers of models come twice:
as they are, and with the input's low band put in place of theirs.

Source: cut-offs, families of filters and the order 8 of Chebyshev's: the super-resolution protocol
    of AudioSR and its successors; see docs/evaluate.md for what they leave open.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, final

import numpy as np
from jaxtyping import Float

from weft.audio.audio import Audio
from weft.canvas.canvas import Canvas, Region
from weft.classical.band_copy import copy_band_up
from weft.data.corpora import open_entry
from weft.errors import ConfigError
from weft.evaluate.measures import extra_measures, measure_extras
from weft.evaluate.positions import PositionConfig, draw_gaps
from weft.evaluate.protocol import (
    ORIGINAL,
    Case,
    Job,
    Measure,
    Measured,
    Protocol,
    Row,
    RunConfig,
    Spot,
    values_of,
)
from weft.evaluate.protocols.gaps import VORBIS
from weft.evaluate.vorbis import vorbis_round_trip
from weft.metrics.bandwidth import measure_cutoff_hz, replace_low_band
from weft.metrics.lsd import (
    APBWE,
    SSR_EVAL,
    UNIVERSR,
    log_spectral_distance,
    lsd_split,
)
from weft.metrics.pairs import Estimate
from weft.metrics.snr import si_sdr_db
from weft.shapes import Samples

INPUT, BAND_COPY = "input", "band copy"
LOW_BAND = "low band replaced"
Family = Literal["chebyshev", "butterworth", "bessel", "elliptic"]
FAMILIES: tuple[Family, ...] = ("chebyshev", "butterworth", "bessel", "elliptic")

_MEASURES = (
    Measure(
        name="lsd_ssr_eval",
        title="LSD ssr_eval",
        better="lower",
        digits=2,
        note="log-spectral distance, settings of ssr_eval; never compare presets",
    ),
    Measure(
        name="lsd_low",
        title="LSD-LF",
        better="lower",
        digits=2,
        note="the same below the cut-off",
    ),
    Measure(
        name="lsd_high",
        title="LSD-HF",
        better="lower",
        digits=2,
        note="the same above the cut-off, up to half the rate",
    ),
    Measure(
        name="lsd_content",
        title="LSD-HF, content",
        better="lower",
        digits=2,
        note="the same between the cut-off and the measured end of the recording's content: "
        "above that, the floor decides",
    ),
    Measure(
        name="lsd_apbwe",
        title="LSD AP-BWE",
        better="lower",
        digits=2,
        note="settings of AP-BWE",
    ),
    Measure(
        name="lsd_universr",
        title="LSD UniverSR",
        better="lower",
        digits=2,
        note="settings of UniverSR",
    ),
    Measure(
        name="si_sdr_db",
        title="SI-SDR dB",
        better="higher",
        digits=1,
        note="of all samples; says something of the low band only",
    ),
)


@final
@dataclass(frozen=True, kw_only=True)
class UpsampleConfig:
    """What is taken away."""

    cutoff_hz: tuple[float, ...] = (4000.0, 6000.0, 8000.0, 12000.0)
    """Cut-offs of the low-pass, > 0; the literature calls them by twice that, the rate."""
    families: tuple[Family, ...] = ("chebyshev",)
    """Filters."""
    order: int = 8
    """Of the filters, in [1, 16]."""
    clip_s: float = 5.12
    """Length of a clip, in [1, 60]."""
    clips_per_file: int = 1
    """Clips of each recording, >= 1."""

    def __post_init__(self) -> None:
        if not self.cutoff_hz or not all(hz > 0 for hz in self.cutoff_hz):
            raise ConfigError(f"cutoff_hz must be > 0 Hz, at least one, got {self.cutoff_hz}")
        unknown = [name for name in self.families if name not in FAMILIES]
        if unknown or not self.families:
            raise ConfigError(
                f"families are {', '.join(FAMILIES)}; got {', '.join(self.families) or 'none'}"
            )
        if not 1 <= self.order <= 16:
            raise ConfigError(f"order must be in [1, 16], got {self.order}")
        if not 1 <= self.clip_s <= 60:
            raise ConfigError(f"clip_s must be in [1, 60] s, got {self.clip_s}")
        if self.clips_per_file < 1:
            raise ConfigError(f"clips_per_file must be >= 1, got {self.clips_per_file}")


@final
class Upsample(Protocol):
    """Recordings without their high band."""

    def __init__(self, run: RunConfig | None = None, config: UpsampleConfig | None = None) -> None:
        self.name = "upsample"
        self.title = "The band above a cut-off"
        self.run = run or RunConfig(sample_rate=48000)
        self.config = config = config or UpsampleConfig()
        rate = self.run.sample_rate
        if rate is None or max(config.cutoff_hz) >= rate / 2:
            raise ConfigError(
                "upsample needs one sample rate of more than twice the highest cut-off, "
                f"{max(config.cutoff_hz):g} Hz; got {rate or 'that of each file'}"
            )
        self._rate = rate
        self.settings = tuple(
            _setting(hz, name) for hz in config.cutoff_hz for name in config.families
        )
        self.own_settings = values_of(config, "order", "clip_s", "clips_per_file")
        self.baselines = (
            Row(name=ORIGINAL, kind="reference"),
            Row(name=VORBIS, kind="reference"),
            Row(name=INPUT, kind="baseline"),
            Row(name=BAND_COPY, kind="baseline"),
        )
        self.measures = (*_MEASURES, *extra_measures(self.run.extras))
        self.ranking = "lsd_ssr_eval"
        self.spots_per_job = len(self.settings) * config.clips_per_file

    @property
    def rows(self) -> tuple[Row, ...]:
        rows = []
        for row in super().rows:
            rows.append(row)
            if row.kind == "model":
                name = f"{row.name}, {LOW_BAND}"
                rows.append(Row(name=name, kind="model", model=row.model, variant=LOW_BAND))
        return tuple(rows)

    def cases(self, job: Job) -> Iterator[Case]:
        run, config = self.run, self.config
        (entry,) = job.entries
        audio = open_entry(entry, sample_rate=self._rate, is_mono=run.is_mono, is_whole=True)
        samples = audio.samples
        content_hz = measure_cutoff_hz(samples, self._rate)
        length = round(config.clip_s * self._rate)
        clips: tuple[Region, ...] = draw_gaps(
            samples,
            self._rate,
            gap_ms=1000 * config.clip_s,
            name=f"{job.corpus}/{job.file}",
            seed=run.seed,
            config=PositionConfig(num_gaps=config.clips_per_file, separation_s=0.0, margin_s=0.1),
        )
        if not clips and samples.shape[1]:
            clips = (Region(start=0, stop=min(length, samples.shape[1])),)
        for cutoff_hz in config.cutoff_hz:
            if content_hz <= 1.1 * cutoff_hz:
                continue  # next to nothing was above the cut-off, so nothing can be brought back
            for family in config.families:
                lower = low_pass(samples, self._rate, cutoff_hz, family, config.order)
                for index, clip in enumerate(clips):
                    truth, given = (
                        Audio.from_samples(part[:, clip.start : clip.stop], self._rate)
                        for part in (samples, lower)
                    )
                    yield Case(
                        corpus=job.corpus,
                        file=job.file,
                        setting=_setting(cutoff_hz, family),
                        canvas=Canvas(audio=given, gaps=(), low_band_hz=cutoff_hz),
                        truth=truth,
                        facts={"content_hz": content_hz},
                        spots=(Spot(index=index, excerpt=Region(start=0, stop=clip.num_samples)),),
                    )

    def baseline(self, row: str, case: Case) -> Audio:
        assert case.truth is not None
        given = case.canvas.audio
        if row == ORIGINAL:
            return case.truth
        if row == VORBIS:
            return vorbis_round_trip(case.truth)
        if row == BAND_COPY:
            filled = copy_band_up(given.samples, self._rate, _cutoff(case))
            return Audio.from_samples(filled, self._rate)
        return given

    def adapt(self, row: Row, case: Case, take: Audio) -> Audio:
        """Put the input's low band in place of the model's."""
        low = case.canvas.audio.samples
        return Audio.from_samples(
            replace_low_band(low, take.samples, self._rate, _cutoff(case)), self._rate
        )

    def measure(
        self, case: Case, spot: Spot, reference: Samples | None, estimate: Estimate
    ) -> Measured:
        assert reference is not None
        rate = self._rate
        low, high = lsd_split(reference, estimate, rate, _cutoff(case), SSR_EVAL)
        top_hz = min(case.facts["content_hz"], rate / 2)
        content = lsd_split(reference, estimate, rate, _cutoff(case), SSR_EVAL, top_hz=top_hz)
        values = {
            f"lsd_{name}": log_spectral_distance(
                reference, estimate, sample_rate=rate, config=preset
            )
            for name, preset in (("ssr_eval", SSR_EVAL), ("apbwe", APBWE), ("universr", UNIVERSR))
        }
        values |= {"lsd_low": low, "lsd_high": high, "lsd_content": content.high}
        whole = Region(start=0, stop=reference.shape[1])
        values["si_sdr_db"] = si_sdr_db(reference, estimate, [whole])
        return Measured(metrics=values | measure_extras(reference, estimate, rate, self.run.extras))

    def embedded_s(self, setting: str) -> float:
        return self.config.clip_s


def low_pass(
    samples: Samples, sample_rate: int, cutoff_hz: float, family: str, order: int
) -> Samples:
    """Take the band above a cut-off away, forwards and backwards, so that nothing is delayed.

    Args:
        samples: audio.
        sample_rate: in Hz.
        cutoff_hz: edge of the pass band, < sample_rate / 2.
        family: one of `FAMILIES`.
        order: of the filter; it acts twice.

    Example:
        >>> noise = np.random.default_rng(0).standard_normal((1, 48000))
        >>> low = low_pass(noise, 48000, 4000.0, "chebyshev", 8)
        >>> bool((low**2).mean() < 0.2 * (noise**2).mean())
        True
    """
    from scipy.signal import sosfiltfilt

    filtered: Float[np.ndarray, "c n"] = sosfiltfilt(
        _sections(sample_rate, cutoff_hz, family, order), samples, axis=1
    )
    return filtered


@lru_cache(maxsize=64)
def _sections(sample_rate: int, cutoff_hz: float, family: str, order: int) -> np.ndarray:
    """Return a filter's second-order sections."""
    from scipy import signal

    edge = cutoff_hz / (sample_rate / 2)
    if family == "chebyshev":
        return np.asarray(signal.cheby1(order, 0.05, edge, output="sos"))
    if family == "butterworth":
        return np.asarray(signal.butter(order, edge, output="sos"))
    if family == "bessel":
        return np.asarray(signal.bessel(order, edge, norm="mag", output="sos"))
    return np.asarray(signal.ellip(order, 0.05, 60, edge, output="sos"))


def _setting(cutoff_hz: float, family: str) -> str:
    return f"{cutoff_hz / 1000:g} kHz {family}"


def _cutoff(case: Case) -> float:
    cutoff_hz = case.canvas.low_band_hz
    assert cutoff_hz is not None and math.isfinite(cutoff_hz)  # noqa: PT018
    return cutoff_hz
