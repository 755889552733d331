"""The folder of a trained latent model: weights, settings, and the card."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weft.codecs.vae import Vae, num_parameters
from weft.data.manifest import Manifest
from weft.sampling.latent_model import LatentModelConfig, write_latent_model
from weft.sampling.latent_settings import LatentFillerConfig, LatentSampling
from weft.sampling.steps_gaussian import GaussianSamplerConfig
from weft.train.recipes.card import attribution_lines, curve_rows, data_rows
from weft.train.recipes.latent_memory import PATCH_FRAMES, Memory
from weft.train.recipes.latent_module import LatentModule
from weft.version import __version__

SAMPLING = LatentSampling(sampler=GaussianSamplerConfig(kind="ddim", steps=8, spacing="logit"))
"""Chosen on the valid split: as near as DDPM with a draft, nearer and louder without."""
FREE = LatentSampling(sampler=GaussianSamplerConfig(kind="heun", steps=25, first_time=0.98))
"""Without the gains, which `fit_gains` finds for a network. Chosen on the valid split: latents of
nothing that DDPM makes in 50 steps have 0.5 times the deviation of real ones, DDIM in 25 steps 0.6
times, these 0.75, with gains 0.85. Later times than the first, training saw too seldom."""
FILLER = LatentFillerConfig(
    draft_start=0.65,
    fallback_start=0.35,
    piece_ms=1200.0,
    detail_range=(0.5, 0.8),
    detail_doubt=0.5,
    num_candidates=1,
    sure_score=-12.3,
    sure_slope=0.162,
    sure_floor=-15.0,
    sure_draft=3.61,
)
"""Chosen on the valid split. Started from its draft a fill is nearer to the truth, in level too,
than started from noise, and the less the extrapolation is changed where nothing was found, the
nearer: 1.67 from noise, 1.39, 1.37 and 1.35 from 0.65, 0.5 and 0.35 (gaps of 2 s). One draft: the
network's loss did not rank several better than the search.
Confidence by ``benchmarks/fit_confidence.py``: the probability of a log-spectral distance below 1.
"""
SUMMARY = "fills gaps and makes drafts anew by diffusion on latents, in full band"

_CARD = """# {name}

{summary}.

- network {network:.2f} M parameters, codec {codec:.2f} M (`CODEC.md`)
- windows of {window_s:.2f} s, {frame_rate:.4g} latents a second
- weft {version}

## Training

{steps} steps{minutes}. The network is told what is known, and of gaps that the similarity search
was asked about it is given a draft {draft_share:.0f} % of the time.

Where nothing is known, its estimates are multiplied by {low_gain:.2f} to {high_gain:.2f}, as fitted
to windows of the train split.

| step | {columns} |
|---:|{rules}|
{curve}

## What it does to gaps

{num_gaps} gaps of {low_ms:g} to {high_ms:g} ms in the valid split (which no step saw), mean of the
channels, without the joining and the ranking that a filler adds. Log-spectral distance in the gap,
in log10 of power; level is the median over the truth's.

| filled by | LSD | level |
|---|---:|---:|
{rows}

## Does it repeat what it was trained on?

{num_made} stretches of {patch_ms:.0f} ms that it made of nothing, and {num_unseen} of the valid
split, each compared with every stretch of the train split. Distance to the nearest, a root mean
square over latents of unit variance: {made:.2f} (median of what it made; least {least:.2f}) and
{unseen:.2f} (of unseen recordings). Nearer than the nearest hundredth of unseen sound:
{nearer:.1f} % of what it made. Dull sound is near to everything: read this with the levels.

## Data

| corpus | recordings in train | hours | licences |
|---|---:|---:|---|
{data}

## Limits

It was trained for minutes on a processor. What it makes of nothing is a texture, not music. No
speech was in training.

## Attribution

The weights were learned from recordings (train split) of these authors; titles are in brackets.

{attribution}
"""

_ROWS = (
    ("network, started from a draft", "gap_lsd_started", "gap_level_db_started"),
    ("network, told of a draft", "gap_lsd_drafted", "gap_level_db_drafted"),
    ("network alone", "gap_lsd_plain", "gap_level_db_plain"),
    ("similarity, the best draft", "gap_lsd_draft", ""),
    ("linear prediction", "gap_lsd_lpc", ""),
    ("truth through the codec", "gap_lsd_round_trip", ""),
)


def write_folder(
    folder: Path,
    module: LatentModule,
    codec: Vae,
    *,
    figures: Mapping[str, float],
    num_gaps: int,
    memory: Memory,
    free: LatentSampling,
    manifests: Sequence[Manifest],
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Write weights, settings and card.

    Args:
        folder: exists.
        module: in eval mode.
        codec: what its latents are of.
        figures: of the valid split.
        num_gaps: gaps that they are of.
        memory: how near what it makes comes to the train split.
        free: how it makes sound of nothing.
        manifests: of the corpora it was trained on.
        settings: of the recipe.
        history: lines of the training log.
    """
    config = LatentModelConfig(
        codec=codec.config,
        network=module.network.config,
        process=module.process,
        sampling=SAMPLING,
        free=free,
        filler=FILLER,
        name=folder.name,
        summary=SUMMARY,
        good_for="gaps from 50 ms to seconds in music; regenerate, transition, continue",
        sources=(
            "Levy et al. 2023, Controllable music production with diffusion models and guidance "
            "gradients",
        ),
    )
    facts = {"weft": __version__, "valid": dict(figures), "settings": dict(settings)}
    write_latent_model(folder, config=config, codec=codec, network=module.network, facts=facts)
    (folder / "README.md").write_text(
        _card(
            folder.name,
            module,
            codec,
            figures,
            num_gaps,
            memory,
            free,
            manifests,
            settings,
            history,
        ),
        encoding="utf-8",
    )


def _card(
    name: str,
    module: LatentModule,
    codec: Vae,
    figures: Mapping[str, float],
    num_gaps: int,
    memory: Memory,
    free: LatentSampling,
    manifests: Sequence[Manifest],
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> str:
    columns = ("loss", "drafted", "plain", "free")
    lines = [line for line in history if all(column in line for column in columns)]
    seconds = float(lines[-1].get("seconds", 0)) if lines else 0.0
    frame_rate = codec.sample_rate / codec.hop_length
    low_ms, high_ms = settings["drafts"]["gap_ms"]
    rows = []
    for title, lsd, level in _ROWS:
        shown = f"{figures[level]:+.1f} dB" if level else ""
        rows.append(f"| {title} | {figures[lsd]:.2f} | {shown} |")
    return _CARD.format(
        name=name,
        summary=SUMMARY,
        network=num_parameters(module.network) / 1e6,
        codec=num_parameters(codec) / 1e6,
        window_s=settings["num_frames"] / frame_rate,
        frame_rate=frame_rate,
        version=__version__,
        steps=lines[-1]["step"] if lines else 0,
        minutes=f", {seconds / 60:.0f} minutes" if seconds else "",
        low_gain=min(gain for _, gain in free.gains),
        high_gain=max(gain for _, gain in free.gains),
        draft_share=100 * (1 - settings["draft_dropout"]),
        columns=" | ".join(columns),
        rules="---:|" * (len(columns) - 1) + "---:",
        curve="\n".join(curve_rows(lines, columns)),
        num_gaps=num_gaps,
        num_made=len(memory.made),
        num_unseen=len(memory.unseen),
        patch_ms=1000 * PATCH_FRAMES / frame_rate,
        made=float(np.median(memory.made)),
        least=float(memory.made.min()),
        unseen=float(np.median(memory.unseen)),
        nearer=100 * memory.share_nearer,
        low_ms=low_ms,
        high_ms=high_ms,
        rows="\n".join(rows),
        data="\n".join(data_rows(manifests)),
        attribution="\n".join(attribution_lines(manifests)),
    )
