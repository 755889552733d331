"""The folder of a trained VAE: weights, settings, and the card that says what they are."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weft.checkpoint import digest_of
from weft.codecs.vae import Vae, num_parameters, write_vae
from weft.data.manifest import Manifest
from weft.train.recipes.card import attribution_lines, curve_rows, data_rows, distance_row
from weft.train.recipes.codec_check import GAP_MS, Distances, Place
from weft.train.recipes.vae_check import GATE_LSD, GATE_SNR_DB, gate_by_corpus
from weft.version import __version__

VAE = "VAE, round trip"
LINEAR = "linear prediction"

_CARD = """# {name}

A codec: sound at {sample_rate} Hz as {frame_rate:.4g} vectors of {num_features} numbers a second,
and back; {channels} at a time.

- encoder {encoder:.2f} M parameters, decoder {decoder:.2f} M
- digest of weights and settings: `{digest}`
- weft {version}

## Training

{steps} steps on crops of {crop_s:g} s{minutes}. Adversarial training: {adversarial}.

| step | {columns} |
|---:|{rules}|
{curve}

## What it does to gaps of {gap_ms:g} ms

{num_places} gaps in {num_recordings} recordings of the valid split (which no step saw), every one
filled with what the codec makes of the truth; linear prediction does not know the truth.
Log-spectral distance in the gap, in log10 of power, and signal-to-noise ratio; plus or minus is
1.96 standard errors over gaps.

| filled by | {corpora} | all, LSD | all, SNR |
|---|{corpus_rules}|---:|---:|
{rows}

Signal-to-noise ratio of the round trip: {snr}. Asked for was one of at least {gate_snr:g} dB, and a
distance of at most {gate_lsd:g}: {verdict}.

## Data

| corpus | recordings in train | hours | licences |
|---|---:|---:|---|
{data}

## Limits

What it cannot tell within a frame's numbers comes back duller or rougher: dense high sound first.
No speech was in training.

## Attribution

The weights were learned from recordings (train split) of these authors; titles are in brackets.

{attribution}
"""


def write_folder(
    folder: Path,
    vae: Vae,
    *,
    places: Sequence[Place],
    distances: Mapping[str, Distances],
    manifests: Sequence[Manifest],
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Write weights, settings and card.

    Args:
        folder: exists.
        vae: in eval mode.
        places: the gaps that the codec was measured on.
        distances: by kind of fill; `VAE` among them.
        manifests: of the corpora it was trained on.
        settings: of the recipe.
        history: lines of the training log.
    """
    gate = gate_by_corpus(distances[VAE], places)
    facts = {
        "weft": __version__,
        "passes_gate": gate,
        "valid_gap_lsd": {name: float(found.lsd.mean()) for name, found in distances.items()},
        "valid_gap_snr_db": {name: float(found.snr_db.mean()) for name, found in distances.items()},
        "settings": dict(settings),
    }
    write_vae(folder, vae, facts=facts)
    adversarial_from = settings["objective"]["adversarial_from"]
    prefix = "generator/" if adversarial_from >= 0 else ""
    names = [f"{prefix}{name}" for name in ("loss", "stft", "l1", "kl")]
    lines = [line for line in history if all(name in line for name in names)]
    seconds = float(lines[-1].get("seconds", 0)) if lines else 0.0
    corpora = sorted({place.corpus for place in places})
    text = _CARD.format(
        name=folder.name,
        sample_rate=vae.sample_rate,
        frame_rate=vae.sample_rate / vae.hop_length,
        num_features=vae.num_features,
        channels="one channel" if vae.num_channels == 1 else f"{vae.num_channels} channels",
        encoder=num_parameters(vae.encoder) / 1e6,
        decoder=num_parameters(vae.decoder) / 1e6,
        digest=digest_of(folder),
        version=__version__,
        steps=lines[-1]["step"] if lines else 0,
        crop_s=settings["crop_s"],
        minutes=f", {seconds / 60:.0f} minutes" if seconds else "",
        adversarial=f"from step {adversarial_from}" if adversarial_from >= 0 else "none",
        columns=" | ".join(name.removeprefix(prefix) for name in names),
        rules="---:|" * (len(names) - 1) + "---:",
        curve="\n".join(curve_rows(lines, names)),
        gap_ms=GAP_MS,
        num_places=len(places),
        num_recordings=len({(place.corpus, place.recording) for place in places}),
        corpora=" | ".join(f"{corpus}, LSD" for corpus in corpora),
        corpus_rules="|".join("---:" for _ in corpora),
        rows="\n".join(
            distance_row(name, found.lsd, found.snr_db, [place.corpus for place in places])
            for name, found in distances.items()
        ),
        snr=", ".join(_snr_by_corpus(distances[VAE], places)),
        gate_snr=GATE_SNR_DB,
        gate_lsd=GATE_LSD,
        verdict=", ".join(f"{c} {'passed' if good else 'NOT passed'}" for c, good in gate.items()),
        data="\n".join(data_rows(manifests)),
        attribution="\n".join(attribution_lines(manifests)),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _snr_by_corpus(found: Distances, places: Sequence[Place]) -> Iterator[str]:
    """Yield the mean of each corpus, in words."""
    where = np.array([place.corpus for place in places])
    for corpus in sorted({*where.tolist()}):
        yield f"{corpus} {found.snr_db[where == corpus].mean():.1f} dB"
