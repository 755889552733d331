"""The folder of a trained codec: weights, settings, and the card that says what they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weft.checkpoint import digest_of
from weft.codecs.wavtokenizer import WavTokenizer, num_parameters, write_codec
from weft.data.manifest import Manifest
from weft.train.recipes.card import attribution_lines, curve_rows, data_rows, distance_row
from weft.train.recipes.codec_check import GAP_MS, Distances, Place
from weft.version import __version__

_CARD = """# {name}

A codec: mono sound at {sample_rate} Hz as {frame_rate:g} tokens a second of {codebook_size} kinds,
{bit_rate:.0f} bits a second, and back.

- encoder {encoder:.2f} M parameters, decoder {decoder:.2f} M, codebook {codebook_size} x {width}
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

{verdict} Codes in use, as a perplexity: {perplexity:.0f} of {codebook_size}.

## Data

| corpus | recordings in train | hours | licences |
|---|---:|---:|---|
{data}

## Limits

It passes nothing above {top_hz} Hz. One codebook at this rate says what a sound is like, not which
samples it has: waves come back with other phases. No speech was in training.

## Attribution

The weights were learned from recordings (train split) of these authors; titles are in brackets.

{attribution}
"""


def passes_gate(distances: Mapping[str, Distances]) -> bool:
    """Whether the codec's round trip in gaps is nearer to the truth than linear prediction."""
    ours, theirs = distances[CODEC].lsd.mean(), distances[LINEAR].lsd.mean()
    return bool(ours < theirs)


CODEC = "codec, gap in tokens"
CODEC_ALL = "codec, all in tokens"
LINEAR = "linear prediction"


def write_folder(
    folder: Path,
    codec: WavTokenizer,
    *,
    places: Sequence[Place],
    distances: Mapping[str, Distances],
    perplexity: float,
    manifests: Sequence[Manifest],
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Write weights, settings and card.

    Args:
        folder: exists.
        codec: in eval mode.
        places: the gaps that the codec was measured on.
        distances: by kind of fill; `CODEC` and `LINEAR` among them.
        perplexity: of the codes on the valid split.
        manifests: of the corpora it was trained on.
        settings: of the recipe.
        history: lines of the training log.
    """
    facts = {
        "weft": __version__,
        "passes_gate": passes_gate(distances),
        "valid_gap_lsd": {name: float(found.lsd.mean()) for name, found in distances.items()},
        "settings": dict(settings),
    }
    write_codec(folder, codec, facts=facts)
    text = _card(folder, codec, places, distances, perplexity, manifests, settings, history)
    (folder / "README.md").write_text(text, encoding="utf-8")


def _card(
    folder: Path,
    codec: WavTokenizer,
    places: Sequence[Place],
    distances: Mapping[str, Distances],
    perplexity: float,
    manifests: Sequence[Manifest],
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> str:
    is_adversarial = settings["objective"]["adversarial_from"] >= 0
    prefix = "generator/" if is_adversarial else ""
    names = [f"{prefix}{name}" for name in ("loss", "mel", "stft", "commitment")]
    lines = [line for line in history if all(name in line for name in names)]
    corpora = sorted({place.corpus for place in places})
    rate = codec.sample_rate / codec.hop_length
    seconds = float(lines[-1].get("seconds", 0)) if lines else 0.0
    verdict = "nearer" if passes_gate(distances) else "NOT nearer"
    return _CARD.format(
        name=folder.name,
        sample_rate=codec.sample_rate,
        top_hz=codec.sample_rate // 2,
        frame_rate=rate,
        codebook_size=codec.codebook_size,
        bit_rate=rate * np.log2(codec.codebook_size),
        encoder=num_parameters(codec.encoder) / 1e6,
        decoder=num_parameters(codec.decoder) / 1e6,
        width=codec.config.quantiser.width,
        digest=digest_of(folder),
        version=__version__,
        steps=lines[-1]["step"] if lines else 0,
        crop_s=settings["crop_s"],
        minutes=f", {seconds / 60:.0f} minutes" if seconds else "",
        adversarial=(
            f"from step {settings['objective']['adversarial_from']}" if is_adversarial else "none"
        ),
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
        verdict=f"The round trip of what belongs into the gap is {verdict} than linear prediction.",
        perplexity=perplexity,
        data="\n".join(data_rows(manifests)),
        attribution="\n".join(attribution_lines(manifests)),
    )
