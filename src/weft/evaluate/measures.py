"""Measures: the metrics that every row of a gap experiment has."""

from dataclasses import dataclass
from typing import Literal, final

from weft import metrics
from weft.canvas.canvas import Region
from weft.metrics.pairs import Estimate
from weft.shapes import Samples

LEVEL_BAR_DB = 6.0
"""A fill this near in level to the original or its surroundings does not stick out."""


@final
@dataclass(frozen=True, kw_only=True)
class Measure:
    """One column of a table."""

    name: str
    """Key in results."""
    title: str
    """Heading, with unit."""
    better: Literal["higher", "lower"]
    """Which values are better."""
    digits: int
    """Decimals shown."""
    note: str
    """What it is, in a line."""


MEASURES: tuple[Measure, ...] = (
    Measure(
        name="lsd_gap",
        title="LSD gap",
        better="lower",
        digits=2,
        note="log-spectral distance, log10 of power, frames centred in the gap",
    ),
    Measure(
        name="lsd_excerpt",
        title="LSD excerpt",
        better="lower",
        digits=3,
        note="the same over the whole excerpt; depends on its length",
    ),
    Measure(
        name="snr_db",
        title="SNR dB",
        better="higher",
        digits=1,
        note="in the gap; silence has 0; says little beyond 50 to 100 ms",
    ),
    Measure(
        name="si_sdr_db",
        title="SI-SDR dB",
        better="higher",
        digits=1,
        note="in the gap, zero mean, limited to +-100",
    ),
    Measure(
        name="mel_gap",
        title="mel gap",
        better="lower",
        digits=2,
        note="mel distance (audiotools settings), frames centred in the gap",
    ),
    Measure(
        name="mel_excerpt",
        title="mel excerpt",
        better="lower",
        digits=3,
        note="the same over the whole excerpt; depends on its length",
    ),
    Measure(
        name="level_step_db",
        title="level step dB",
        better="lower",
        digits=1,
        note="step of the 20 ms level at the worse seam, beyond the original's own",
    ),
    Measure(
        name="level_fits",
        title="level fits",
        better="higher",
        digits=2,
        note=f"share of gaps within {LEVEL_BAR_DB:g} dB of the original's or surroundings' level",
    ),
    Measure(
        name="no_click",
        title="no click",
        better="higher",
        digits=2,
        note=f"share of gaps whose seams stay within {metrics.CLICK_DB:g} dB of the original's "
        "own prediction errors",
    ),
)


def measure_gap(
    reference: Samples,
    estimate: Estimate,
    gap: Region,
    sample_rate: int,
) -> dict[str, float]:
    """Return all measures of one filled gap.

    Args:
        reference: the excerpt as it was.
        estimate: the excerpt with the gap filled.
        gap: in samples of the excerpt.
        sample_rate: in Hz.

    Raises:
        ShapeError: channels or lengths differ.
        AudioFormatError: a sample is NaN or infinite.
    """
    gaps = [gap]
    level = metrics.level_mismatch_db(reference, estimate, gaps, sample_rate)
    click = metrics.seam_click_db(reference, estimate, gaps, sample_rate)
    return {
        "lsd_gap": metrics.log_spectral_distance(reference, estimate, gaps, config=metrics.GAP),
        "lsd_excerpt": metrics.log_spectral_distance(reference, estimate, config=metrics.EXCERPT),
        "snr_db": metrics.snr_db(reference, estimate, gaps),
        "si_sdr_db": metrics.si_sdr_db(reference, estimate, gaps),
        "mel_gap": metrics.mel_distance(reference, estimate, sample_rate, gaps),
        "mel_excerpt": metrics.mel_distance(reference, estimate, sample_rate),
        "level_step_db": metrics.seam_level_step_db(reference, estimate, gaps, sample_rate),
        "level_mismatch_db": level,
        "level_fits": float(level <= LEVEL_BAR_DB),
        "click_db": click,
        "no_click": float(click <= metrics.CLICK_DB),
    }
