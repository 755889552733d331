"""Measures: the metrics that the protocols have in common."""

from collections.abc import Sequence

import numpy as np

from weft import metrics
from weft.canvas.canvas import Region
from weft.evaluate.protocol import Measure
from weft.metrics.pairs import Estimate
from weft.shapes import Samples

JUMP_BAR_DB = 1.0
"""Steps of level at a seam beyond the known sound's own that count as none."""

LEVEL_BAR_DB = 6.0
"""A fill this near in level to the original or its surroundings does not stick out."""

ODG_S, ODG_SIDE_S = 2.0, 0.5
"""Sound that PEAQ hears around an edit, and the least on each side."""

GAP_MEASURES: tuple[Measure, ...] = (
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
    Measure(
        name="level_mismatch_db",
        title="level mismatch dB",
        better="lower",
        digits=1,
        note="level of the fill against the original's or the surroundings', the nearer one",
        is_shown=False,
    ),
    Measure(
        name="click_db",
        title="click dB",
        better="lower",
        digits=1,
        note="largest prediction error at a seam against those of the original",
        is_shown=False,
    ),
)

SEAM_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="no_jump",
        title="no jump",
        better="higher",
        digits=2,
        note=f"share of edits at whose seams the 20 ms level steps by at most {JUMP_BAR_DB:g} dB "
        "more than anywhere in the known second on either side",
    ),
    Measure(
        name="jump_db",
        title="jump dB",
        better="lower",
        digits=1,
        note="step of the 20 ms level at the worse seam, beyond the largest beside it",
        is_shown=False,
    ),
)
"""Of edits that have no true answer: what `measure_seams` returns."""

_EXTRA = {
    "odg": Measure(
        name="odg",
        title="ODG (PEAQ basic)",
        better="higher",
        digits=2,
        note="PEAQ basic at 48 kHz of 2 s around the edit (long edits: and 0.5 s on both sides; "
        "where all is edited, of the clip), mean of the channels that differ; -3.98 to 0.22, equal "
        "signals have 0.17",
    ),
    "visqol": Measure(
        name="visqol",
        title="ViSQOL",
        better="higher",
        digits=2,
        note="MOS-LQO, audio mode, of the edited stretch and 0.5 s on both sides; 1 to 4.73",
    ),
}


def extra_measures(extras: Sequence[str]) -> tuple[Measure, ...]:
    """Return the columns of measures that were asked for."""
    return tuple(_EXTRA[name] for name in extras)


def measure_extras(
    reference: Samples,
    estimate: Estimate,
    sample_rate: int,
    extras: Sequence[str],
    edited: Region | None = None,
) -> dict[str, float]:
    """Return the measures that were asked for.

    Args:
        reference: the excerpt as it was.
        estimate: the excerpt as it came back.
        sample_rate: in Hz.
        extras: their names.
        edited: what was edited, in samples of the excerpt; None: all.

    Raises:
        MissingDependencyError: a package that one of them needs is not installed.
    """
    values: dict[str, float] = {}
    whole = Region(start=0, stop=reference.shape[1])
    if "odg" in extras:
        heard = _around(edited, whole, sample_rate) if edited else whole
        heard_truth, heard_answer = (
            side[:, heard.start : heard.stop] for side in (reference, estimate)
        )
        values["odg"] = odg_of_damaged(heard_truth, heard_answer, sample_rate)
    if "visqol" in extras:
        from weft.metrics.visqol import visqol_gap

        values["visqol"] = visqol_gap(reference, estimate, sample_rate, edited or whole)
    return values


def odg_of_damaged(reference: Samples, estimate: Estimate, sample_rate: int) -> float:
    """Return the mean objective difference grade of the channels that differ.

    An untouched channel would average a damaged one away.

    Args:
        reference: the excerpt as it was.
        estimate: the excerpt as it came back.
        sample_rate: in Hz.
    """
    from weft.metrics.peaq import odg_at

    differs = (reference != estimate).any(axis=1)
    chosen = np.flatnonzero(differs) if differs.any() else np.array([0])
    grades = [odg_at(reference[[i]], estimate[[i]], sample_rate) for i in chosen]
    return float(np.mean(grades))


def _around(edited: Region, whole: Region, sample_rate: int) -> Region:
    """Return what PEAQ hears: in longer excerpts it no longer tells holes apart by their length."""
    missing = round(ODG_S * sample_rate) - edited.num_samples
    side = max(-(-missing // 2), round(ODG_SIDE_S * sample_rate))
    return Region(
        start=max(whole.start, edited.start - side), stop=min(whole.stop, edited.stop + side)
    )


def measure_seams(estimate: Estimate, gap: Region, sample_rate: int) -> dict[str, float]:
    """Return the measures of an edit's seams that need no truth.

    Args:
        estimate: the excerpt as it came back.
        gap: what was edited, in samples of the excerpt.
        sample_rate: in Hz.
    """
    jump = metrics.seam_jump_db(estimate, [gap], sample_rate)
    return {"jump_db": jump, "no_jump": float(jump <= JUMP_BAR_DB)}


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
