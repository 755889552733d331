"""The folder of a trained encoder: weights, settings, and the card that says what they are."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weft.data.classes import count_classes
from weft.data.manifest import Manifest
from weft.metrics.embedders.corpus_ssl import CorpusSsl, save_folder
from weft.train.recipes.card import attribution_lines, curve_rows, data_rows
from weft.train.recipes.ssl_probe import ProbeResult
from weft.version import __version__

_CURVES = ("loss", "frames", "mel", "feature_std", "effective_rank")

_CARD = """# {name}

An encoder of sound that learned without labels, and a linear class head over it, for metrics of
sets: Frechet distance, KL, inception score. Its numbers must never stand in one column with those
of another embedder.

- input: mono, {sample_rate} Hz, {num_mels} log-mel bands, level kept; above {top_hz} Hz it is deaf
- output: {width} features at {frame_rate:g} Hz; {windows}
- {num_classes} classes
- parameters of the encoder: {num_parameters}
- digest of weights and settings: `{digest}`
- weft {version}

## Training

{steps} steps on crops of {crop_s:g} s{hours}.

A student predicts, where frames are hidden from it, what a moving average of itself makes of the
whole crop (data2vec), and the hidden log-mel frames themselves. Three crops in ten were damaged
on purpose (low-pass, noise, clipping, gaps), so that damage is heard and not passed over. Labels
were used for the head only, which was fitted to frozen features afterwards.

| step | loss | hidden frames | log-mel | feature std | effective rank |
|---:|---:|---:|---:|---:|---:|
{curve}

Mean features of the {num_valid} valid recordings that have a class: standard deviation
{feature_std:.3f}, effective rank {effective_rank:.1f} of {width}.

## Class head

Accuracy on the {num_valid} valid recordings {accuracy:.1%} (plus or minus {margin:.1%} at 95 %),
true class among the best three {top3:.1%}, mean negative log probability {nll:.2f} nats. Guessing
evenly would give {even:.1%} and {guess:.2f} nats. The penalty ({penalty:g}) was chosen on these
recordings, which flatters a little.

| class | train | valid |
|---|---:|---:|
{classes}

## Data

| corpus | recordings in train | hours | licences |
|---|---:|---:|---|
{data}

## Limits

Little data: the features tell kinds of sound and kinds of damage apart, but know nothing like the
variety that embedders trained on millions of clips know. No speech was in training. Pitch and fine
timing leave weak traces. Several classes have few recordings, and many come from one library with
its own sound: the class head says how sharp and how alike sets are, not what a sound is for sure.

## Attribution

The weights were learned from recordings (train split) of these authors; titles are in brackets.

{attribution}
"""


def write_folder(
    folder: Path,
    embedder: CorpusSsl,
    *,
    probe: ProbeResult,
    figures: Mapping[str, float],
    manifests: Sequence[Manifest],
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> CorpusSsl:
    """Write weights, settings and card; return the embedder as a reader gets it.

    Args:
        folder: exists.
        embedder: with its head.
        probe: how the head does.
        figures: of the collapse check on the valid split.
        manifests: of the corpora it was trained on.
        settings: of the recipe.
        history: lines of the training log.
    """
    lines = [line for line in history if "loss" in line]
    steps = int(lines[-1]["step"]) if lines else 0
    written = save_folder(
        folder,
        embedder,
        training={
            "weft": __version__,
            "steps": steps,
            "settings": dict(settings),
            "valid": {
                "accuracy": probe.accuracy,
                "top3_accuracy": probe.top3_accuracy,
                "nll": probe.nll,
                **figures,
            },
        },
    )
    (folder / "README.md").write_text(
        _card(written, probe, figures, manifests, settings, lines), encoding="utf-8"
    )
    return written


def _card(
    embedder: CorpusSsl,
    probe: ProbeResult,
    figures: Mapping[str, float],
    manifests: Sequence[Manifest],
    settings: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
) -> str:
    """Return the card."""
    config = embedder.encoder.config
    window = embedder.window
    num_classes = len(embedder.class_names)
    counts = [_class_counts(manifests, split) for split in ("train", "valid")]
    num_valid = sum(counts[1].values())
    seconds = float(lines[-1].get("seconds", 0)) if lines else 0.0
    return _CARD.format(
        name=embedder.name,
        sample_rate=config.mel.sample_rate,
        top_hz=config.mel.sample_rate // 2,
        num_mels=config.mel.num_mels,
        width=config.width,
        frame_rate=config.frame_rate,
        windows=f"means of windows of {window.num_window / config.frame_rate:g} s, "
        f"{window.num_hop / config.frame_rate:g} s apart",
        num_classes=num_classes,
        num_valid=num_valid,
        margin=1.96 * math.sqrt(probe.accuracy * (1 - probe.accuracy) / max(1, num_valid)),
        even=1 / num_classes,
        num_parameters=f"{sum(p.numel() for p in embedder.encoder.parameters()):,}",
        digest=embedder.digest,
        version=__version__,
        steps=lines[-1]["step"] if lines else 0,
        crop_s=settings["crop_s"],
        hours=f", {seconds / 60:.0f} minutes" if seconds else "",
        curve="\n".join(curve_rows(lines, _CURVES)),
        feature_std=figures["feature_std"],
        effective_rank=figures["effective_rank"],
        accuracy=probe.accuracy,
        top3=probe.top3_accuracy,
        nll=probe.nll,
        guess=math.log(num_classes),
        penalty=probe.penalty,
        classes="\n".join(
            f"| {name} | {counts[0][name]} | {counts[1][name]} |" for name in counts[0]
        ),
        data="\n".join(data_rows(manifests)),
        attribution="\n".join(attribution_lines(manifests)),
    )


def _class_counts(manifests: Sequence[Manifest], split: str) -> dict[str, int]:
    """Return the recordings of each class in a split."""
    return count_classes(
        (manifest.name, entry.label) for manifest in manifests for entry in manifest.select(split)
    )
