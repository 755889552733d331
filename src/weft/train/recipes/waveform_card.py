"""The folder of a trained model of samples: weights, settings, and the card of what they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from weft.checkpoint import digest_of
from weft.data.manifest import Manifest
from weft.sampling.waveform_filler import WaveformNetwork
from weft.sampling.waveform_model import WaveformModelConfig, write_waveform_model
from weft.train.recipes.card import attribution_lines, curve_rows, data_rows
from weft.train.recipes.codec_check import GAP_MS, Place
from weft.train.recipes.waveform_check import GapFigures
from weft.version import __version__

_CARD = """# {name}

An unconditional diffusion model of sound, sample by sample, at {sample_rate} Hz. It was never told
of gaps: what is known enters while sampling, by guidance and by consistency.

- {network}: {num_parameters:.2f} M parameters, hears {window_s:.2f} s at once
- process: {schedule} schedule, predicts {prediction}
- digest of weights and settings: `{digest}`
- weft {version}

A research model for comparison: small, and trained for a short while.

## Training

{steps} steps on crops of {window_s:.2f} s{minutes}. Loss: mean squared error of {prediction} at
times drawn evenly.

| step | loss |
|---:|---:|
{curve}

Error at fixed times on {num_crops} crops of the valid split (always predicting 0 would give about
1): {errors}.

## Gaps of {gap_ms:g} ms

{num_places} gaps in recordings of the valid split (which no step saw), {gap_steps} steps for a
fill. Log-spectral distance in log10 of power; level of the fill over the truth in dB; plus or minus
is 1.96 standard errors over gaps.

| filled by | LSD | level |
|---|---:|---:|
{rows}

## Data

| corpus | recordings in train | hours | licences |
|---|---:|---:|---|
{data}

## Limits

It fills nothing above {top_hz} Hz. No speech was in training.

## Attribution

The weights were learned from recordings (train split) of these authors; titles are in brackets.

{attribution}
"""


def write_folder(
    folder: Path,
    network: WaveformNetwork,
    config: WaveformModelConfig,
    *,
    errors: Mapping[float, Float[np.ndarray, " n"]],
    fills: Mapping[str, GapFigures],
    places: Sequence[Place],
    manifests: Sequence[Manifest],
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Write weights, settings and card.

    Args:
        folder: exists.
        network: in eval mode.
        config: of the model.
        errors: of denoising, by time.
        fills: figures by kind of fill.
        places: the gaps that were filled.
        manifests: of the corpora it was trained on.
        settings: of the recipe.
        history: lines of the training log.
    """
    lines = [line for line in history if "loss" in line]
    facts = {
        "weft": __version__,
        "steps": lines[-1]["step"] if lines else 0,
        "valid_loss": {f"{time:g}": float(found.mean()) for time, found in errors.items()},
        "valid_gap_lsd": {name: float(found.lsd.mean()) for name, found in fills.items()},
        "settings": dict(settings),
    }
    write_waveform_model(folder, config=config, network=network, facts=facts)
    seconds = float(lines[-1].get("seconds", 0)) if lines else 0.0
    text = _CARD.format(
        name=config.name,
        sample_rate=config.sample_rate,
        top_hz=config.sample_rate // 2,
        network=_KINDS[config.kind],
        num_parameters=sum(value.numel() for value in network.parameters()) / 1e6,
        window_s=network.num_samples / config.sample_rate,
        schedule=config.process.schedule,
        prediction=config.process.prediction,
        digest=digest_of(folder),
        version=__version__,
        steps=facts["steps"],
        minutes=f", {seconds / 60:.0f} minutes" if seconds else "",
        curve="\n".join(curve_rows(lines, ["loss"])),
        num_crops=len(next(iter(errors.values()))),
        errors=", ".join(f"{found.mean():.3f} at t = {t:g}" for t, found in errors.items()),
        gap_ms=GAP_MS,
        num_places=len(places),
        gap_steps=settings["gap_steps"],
        rows="\n".join(_row(name, found) for name, found in fills.items()),
        data="\n".join(data_rows(manifests)),
        attribution="\n".join(attribution_lines(manifests)),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


_KINDS = {
    "waveform": "U-Net over folded samples",
    "cqt": "U-Net over octaves of a constant-Q transform",
}


def _row(name: str, found: GapFigures) -> str:
    return f"| {name} | {_mean(found.lsd)} | {_mean(found.level_db)} |"


def _mean(values: Float[np.ndarray, " n"]) -> str:
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{values.mean():.2f} +- {error:.2f}"
