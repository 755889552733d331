"""The folder of a trained style head: weights, settings, and the card that says what they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weft.codecs.vae import num_parameters
from weft.data.manifest import Manifest
from weft.sampling.style_head import StyleHead, write_style_head
from weft.train.recipes.card import attribution_lines, curve_rows, data_rows
from weft.version import __version__

CHECK_TIME = 0.5
"""Time whose estimates are checked beside clean latents."""

_CARD = """# {name}

Hears style in the latents of a codec: guidance by recordings and tags then needs no way back
through the codec's decoder.

- {num} parameters; one frame of {num_dims} features for 4 latents
- learned from the embedder `{embedder}`
- weft {version}

## Training

{steps} steps on {num_train} pieces of the train split.

| step | {columns} |
|---:|{rules}|
{curve}

## How near it comes

{num_valid} pieces of the valid split, which no step saw. Cosine similarity of predicted and true
embeddings, both without their mean over pieces, and the share of the variance that is explained.

| latents | cosine | mean | deviation |
|---|---:|---:|---:|
| clean | {cosine:.3f} | {explained_mean:.3f} | {explained_deviation:.3f} |
| estimated at t = {time:g} | {cosine_noisy:.3f} | {explained_mean_noisy:.3f} | \
{explained_deviation_noisy:.3f} |

## Data

| corpus | recordings in train | hours | licences |
|---|---:|---:|---|
{data}

## Limits

It serves the latents of the codec that it was trained with, and no others of the same size. No
speech was in training.

## Attribution

The weights were learned from recordings (train split) of these authors; titles are in brackets.

{attribution}
"""


def write_folder(
    folder: Path,
    head: StyleHead,
    *,
    figures: Mapping[str, float],
    num_pieces: tuple[int, int],
    manifests: Sequence[Manifest],
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Write a trained head and its card.

    Args:
        folder: exists; gets the model.
        head: trained.
        figures: of the valid split.
        num_pieces: of the train split and of the valid split.
        manifests: of the corpora.
        settings: of the recipe, as JSON.
        history: lines of the training log.
    """
    facts = {"weft": __version__, "valid": dict(figures), "settings": dict(settings)}
    write_style_head(folder, head, facts=facts)
    columns = ("loss", "mean", "deviation", "frames")
    lines = [line for line in history if all(column in line for column in columns)]
    num_train, num_valid = num_pieces
    card = _CARD.format(
        name=folder.name,
        num=f"{num_parameters(head):,}",
        num_dims=head.config.num_dims,
        embedder=head.config.embedder,
        version=__version__,
        steps=lines[-1]["step"] if lines else 0,
        num_train=num_train,
        num_valid=num_valid,
        columns=" | ".join(columns),
        rules="---:|" * (len(columns) - 1) + "---:",
        curve="\n".join(curve_rows(lines, columns)),
        time=CHECK_TIME,
        data="\n".join(data_rows(manifests)),
        attribution="\n".join(attribution_lines(manifests)),
        **figures,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
