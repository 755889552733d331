"""The folder of a trained token model: codec, network, settings, and the card that describes it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weft.codecs.wavtokenizer import WavTokenizer
from weft.data.manifest import Manifest
from weft.sampling.token_model import TokenModelConfig, write_token_model
from weft.train.recipes.card import attribution_lines, curve_rows, data_rows
from weft.train.recipes.tokens_module import TokensModule
from weft.version import __version__

_CURVES = ("loss", "cross_entropy", "accuracy", "learning_rate")

_CARD = """# Token model

Fills gaps in sound with tokens: a codec turns sound into {frame_rate:g} tokens a second, a
transformer draws the tokens of a gap from those on both sides, and the codec turns them into sound.

- sound: one channel at a time, {sample_rate} Hz; above {top_hz} Hz a fill is silent
- codec: {codebook_size} tokens, {num_codec:,} parameters, digest `{codec_digest}`
- network: {num_network:,} parameters, width {width}, {num_layers} layers; trained on windows of
  {num_frames} tokens ({window_s:.1f} s)
- output of the network: {prediction}
- weft {version}
{random}
## Training

{steps} steps{minutes}; objective {objective}, hidden tokens drawn as `{spans}`.

| step | loss, nats a token | cross-entropy, nats a hidden token | accuracy | learning rate |
|---:|---:|---:|---:|---:|
{curve}

## What it knows

On {num_valid} windows of {window_s:.1f} s of the valid split, the gap in the middle. Nats a token,
lower is better. *At once*: the whole gap is hidden. *One by one*: true tokens are revealed in a
random order, so that the sum is the likelihood of the gap. *Bigram* and *unigram*: what counting
the tokens of the train split gives; the bigram knows both neighbours of the gap. Guessing evenly
gives {even:.2f}.

| gap | one by one | at once | bigram | unigram | right at once | fills: distance, dB |
|---:|---:|---:|---:|---:|---:|---:|
{gaps}

The distance is that of log-mel spectra in the gap between a drawn fill and the codec's own round
trip of the true sound, so the codec's losses are not in it; one draw a window.

## Data

The network learned from the train split of these corpora; what the codec learned from is in its
own card.

| corpus | recordings in train | hours | licences |
|---|---:|---:|---|
{data}

## Limits

A fill can be no better than the codec's round trip of the true sound. The data above are few, and
all that it knows: what a gap held and its surroundings do not tell is invented after them. Gaps
longer than a third of a window were seldom seen in training.

## Attribution

The weights were learned from recordings (train split) of these authors; titles are in brackets.

{attribution}
"""

_RANDOM = """
The codec has random weights: this model is good for tests of the machinery and for nothing else.
"""


def write_folder(
    folder: Path,
    module: TokensModule,
    codec: WavTokenizer,
    *,
    figures: Mapping[str, float],
    manifests: Sequence[Manifest],
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Write the model and its card.

    Args:
        folder: exists.
        module: trained, on the CPU.
        codec: what its tokens belong to.
        figures: of the valid split.
        manifests: of the corpora it was trained on.
        settings: of the recipe, those of an opened one.
        history: lines of the training log.
    """
    lines = [line for line in history if "loss" in line]
    facts = {
        "weft": __version__,
        "steps": int(lines[-1]["step"]) if lines else 0,
        "settings": dict(settings),
        "valid": dict(figures),
    }
    config = TokenModelConfig(
        codec=codec.config,
        network=module.network.config,
        prediction=module.head.prediction,
        name="weft-tokens",
    )
    write_token_model(folder, config=config, codec=codec, network=module.network, facts=facts)
    text = _card(module, codec, figures, manifests, settings, lines)
    (folder / "README.md").write_text(text, encoding="utf-8")


def _card(
    module: TokensModule,
    codec: WavTokenizer,
    figures: Mapping[str, float],
    manifests: Sequence[Manifest],
    settings: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
) -> str:
    """Return the card."""
    network = module.network.config
    seconds = float(lines[-1].get("seconds", 0)) if lines else 0.0
    frame_rate = codec.sample_rate / codec.hop_length
    return _CARD.format(
        frame_rate=frame_rate,
        sample_rate=codec.sample_rate,
        top_hz=codec.sample_rate // 2,
        codebook_size=codec.codebook_size,
        codec_digest=settings["codec"],
        num_codec=sum(p.numel() for p in codec.parameters()),
        num_network=sum(p.numel() for p in module.network.parameters()),
        width=network.width,
        num_layers=network.num_layers,
        num_frames=network.num_frames,
        window_s=network.num_frames / frame_rate,
        prediction=module.head.prediction,
        version=__version__,
        random="" if settings["is_codec_trained"] else _RANDOM,
        steps=lines[-1]["step"] if lines else 0,
        minutes=f", {seconds / 60:.0f} minutes" if seconds else "",
        objective=module.config.objective,
        spans=module.process.spans.kind,
        curve="\n".join(curve_rows(lines, _CURVES)),
        num_valid=int(figures["num_crops"]),
        even=figures["uniform_nll"],
        gaps="\n".join(_gap_row(figures, gap_ms) for gap_ms in settings["gap_ms"]),
        data="\n".join(data_rows(manifests)),
        attribution="\n".join(attribution_lines(manifests)),
    )


def _gap_row(figures: Mapping[str, float], gap_ms: float) -> str:
    """Return the row of a table."""
    one_by_one, at_once, bigram, unigram, accuracy, distance = (
        figures[f"{name}_{gap_ms:g}ms"]
        for name in (
            "any_order_nll",
            "nll",
            "bigram_nll",
            "unigram_nll",
            "accuracy",
            "log_mel_db",
        )
    )
    return (
        f"| {gap_ms:g} ms | {one_by_one:.3f} | {at_once:.3f} | {bigram:.3f} | {unigram:.3f} | "
        f"{accuracy:.1%} | {distance:.2f} |"
    )
