"""Styles: the embedder as a network, losses of references and tags, and what sounds measure."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tiny_latents import HOP, RATE, BlockLatents
from tiny_tokens import BlockCodec
from weft.audio.audio import Audio
from weft.canvas.style import Style
from weft.canvas.tags import known_tags
from weft.codecs.base import LatentCodec
from weft.errors import AudioFormatError, CheckpointError, ConfigError
from weft.metrics.embedders.corpus_ssl import CorpusSsl, clip_statistics, load
from weft.process.gaussian import GaussianProcess
from weft.process.sequence import EncodedCanvas
from weft.sampling.fill_gaussian import fill_gaussian
from weft.sampling.guidance import EmbedderLoss, GuidanceConfig
from weft.sampling.steps_gaussian import GaussianSamplerConfig
from weft.sampling.style import (
    REFERENCE_STRENGTH,
    TAG_STRENGTH,
    StyleGuide,
    StyleMeter,
    class_odds,
    style_losses,
)
from weft.sampling.style_embedder import LEVEL_DB, StyleEmbedder, StyleVector, levelled, pool
from weft.sampling.style_head import (
    StyleHead,
    StyleHeadConfig,
    read_style_head,
    write_style_head,
)


@pytest.fixture(scope="module")
def embedder() -> CorpusSsl:
    return load()


def _sound(seed: int, rate: int, seconds: float) -> np.ndarray:
    """Decaying chords in noise, at -20 dB."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    sound = 0.02 * rng.standard_normal(len(time))
    for start in np.arange(0, seconds, 0.4):
        after = np.maximum(time - start, 0)
        for hz in rng.uniform(100, 3000, 3):
            sound += (time >= start) * np.exp(-8 * after) * np.sin(2 * np.pi * hz * after)
    return np.asarray(0.1 * sound / np.sqrt(np.mean(sound**2)))


def _hiss(seconds: float = 2.0, rate: int = RATE) -> Audio:
    noise = np.random.default_rng(5).standard_normal((1, round(seconds * rate)))
    return Audio.from_samples(0.05 * noise, rate)


def _chords(seconds: float = 2.0) -> Audio:
    return Audio.from_samples(_sound(0, RATE, seconds)[None], RATE)


# ---- The embedder ----


@pytest.mark.parametrize("seconds", [0.4, 2.0, 4.6])
def test_it_hears_what_the_embedder_hears(embedder: CorpusSsl, seconds: float) -> None:
    sound = _sound(1, 16000, seconds)
    wanted = embedder.frames(sound[None], 16000)
    found = StyleEmbedder(embedder, 16000)(torch.from_numpy(sound)[None].float())[0]
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) < 1e-3  # measured: 5e-5


def test_it_hears_other_rates_nearly_alike(embedder: CorpusSsl) -> None:
    sound = _sound(1, 44100, 2.0)
    wanted = embedder.frames(sound[None], 44100).mean(dim=0)
    ear = StyleEmbedder(embedder, 44100)
    found = pool(ear(torch.from_numpy(sound)[None].float())).mean[0]
    other = embedder.frames(_hiss().samples, RATE).mean(dim=0)
    assert float((found - wanted).norm()) < 0.05 * float((other - wanted).norm())


def test_loudness_is_not_heard(embedder: CorpusSsl) -> None:
    ear = StyleEmbedder(embedder, RATE)
    sound = torch.from_numpy(_sound(2, RATE, 1.5))[None].float()
    soft, loud = (pool(ear(gain * sound)).mean for gain in (0.2, 1.0))
    # The floor of -60 dB leaves a trace.
    assert float((soft - loud).norm()) < 0.02 * float(loud.norm())


def test_gradients_have_no_part_along_the_level(embedder: CorpusSsl) -> None:
    ear = StyleEmbedder(embedder, RATE)
    sound = torch.from_numpy(_sound(2, RATE, 1.0))[None].float().requires_grad_()
    (gradient,) = torch.autograd.grad(pool(ear(sound)).mean.square().sum(), sound)
    along = float(
        (gradient * sound.detach()).sum().abs() / (gradient.norm() * sound.detach().norm())
    )
    assert float(gradient.norm()) > 0
    assert along < 1e-3


def test_the_gradient_is_the_slope(embedder: CorpusSsl) -> None:
    ear = StyleEmbedder(embedder, RATE)
    sound = torch.from_numpy(_sound(2, RATE, 1.0))[None].float()
    target = pool(ear(torch.from_numpy(_sound(3, RATE, 1.0))[None].float())).mean

    def distance(samples: Tensor) -> Tensor:
        return (pool(ear(samples)).mean - target).norm()

    leaf = sound.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(distance(leaf), leaf)
    way = gradient / gradient.norm()
    step = 3e-2
    slope = (distance(sound + step * way) - distance(sound - step * way)) / (2 * step)
    assert float(slope) == pytest.approx(float(gradient.norm()), rel=0.05)


def test_statistics_are_those_that_the_class_head_learned_from() -> None:
    frames = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 9, 4))).float()
    found = pool(frames)
    wanted = clip_statistics(frames[0])
    assert torch.allclose(torch.cat([found.mean, found.deviation], dim=1)[0], wanted, atol=1e-5)


def test_frames_count_where_latents_are_unknown(embedder: CorpusSsl) -> None:
    ear = StyleEmbedder(embedder, RATE)  # 80 samples: 10 ms; frames of 40 ms
    unknown = torch.zeros(2, 200, dtype=torch.bool)
    unknown[0, 40:90] = True
    weights = ear.frame_weights(unknown, HOP)
    assert weights.shape == (2, 50)
    assert weights[0, 10:22].tolist() == pytest.approx([4.0] * 12)
    assert float(weights[0, 22]) == pytest.approx(2.0)
    assert float(weights.sum()) == pytest.approx(50.0)
    sound = torch.from_numpy(_sound(4, RATE, 2.0)).float().repeat(2, 1)
    frames = ear(sound)
    heard = pool(frames, weights).mean
    assert torch.allclose(heard[1], frames[1].mean(dim=0), atol=1e-5)  # nothing unknown: all count
    assert not torch.allclose(heard[0], heard[1], atol=1e-2)


def test_the_level_is_measured_where_it_counts() -> None:
    sound = torch.cat([torch.full((1, 40), 0.5), torch.full((1, 40), 0.05)], dim=1)
    found = levelled(sound, torch.tensor([[0.0, 1.0]]))
    assert float(found[0, -1]) == pytest.approx(10 ** (LEVEL_DB / 20), rel=1e-2)


# ---- Losses ----


def test_a_reference_is_at_no_distance_from_itself() -> None:
    codec, reference = BlockLatents(), _chords()
    (weighted,) = style_losses(Style(references=(reference,)), codec)
    own = codec.encode(torch.from_numpy(reference.samples)[None].float())
    other = codec.encode(torch.from_numpy(_hiss().samples)[None].float())
    assert isinstance(weighted.loss, EmbedderLoss)
    assert float(weighted.loss.distance(own)) < 0.05 * float(weighted.loss.distance(other))


def test_references_go_through_the_codec() -> None:
    """What the codec loses is not asked for."""
    codec, reference = BlockLatents(loss=0.3), _chords()
    seen: list[Tensor] = codec.encoded
    (weighted,) = style_losses(Style(references=(reference,)), codec)
    assert len(seen) == 1
    level = float(seen[0].square().mean().sqrt())
    assert 20 * np.log10(level) == pytest.approx(LEVEL_DB, abs=0.1)
    assert weighted.loss.targets.shape == (1, 192)


def test_only_what_is_unknown_is_heard() -> None:
    codec, num = BlockLatents(), 2 * RATE
    time = np.arange(num) / RATE
    tones = 0.05 * sum(np.sin(2 * np.pi * hz * time) for hz in (220.0, 277.0, 330.0))[None]
    first = codec.encode(torch.from_numpy(tones)[None].float())
    mixed = codec.encode(torch.from_numpy(_hiss().samples)[None].float())
    mixed[:, :100] = first[:, :100]
    style = Style(references=(Audio.from_samples(tones, RATE),))
    known = torch.zeros(1, 200, dtype=torch.bool)
    known[:, 100:] = True
    (weighted,) = style_losses(style, codec, known)
    (other,) = style_losses(style, codec, ~known)
    near, far = (float(found.loss.distance(mixed)) for found in (weighted, other))
    assert near < 0.7 * far


@pytest.mark.parametrize("wanted", ["piano", "weather and fire"])
def test_tags_have_the_odds_of_their_class(embedder: CorpusSsl, wanted: str) -> None:
    sound = _sound(6, 16000, 2.0)
    logits = torch.from_numpy(embedder.embed(sound[None], 16000).logits)
    number = known_tags().index(wanted)
    probability = logits.softmax(dim=0)[number]
    heard = pool(StyleEmbedder(embedder, 16000)(torch.from_numpy(sound)[None].float()))
    assert embedder.head is not None
    odds = class_odds(heard, embedder.head, torch.tensor([number]))
    assert float(odds[0, 0]) == pytest.approx(float(torch.logit(probability)), abs=0.02)


def test_a_tag_costs_the_logarithm_of_its_probability(embedder: CorpusSsl) -> None:
    codec = BlockLatents()
    (weighted,) = style_losses(Style(tags=("piano",), weight=2.0), codec)
    latents = codec.encode(torch.from_numpy(_chords().samples)[None].float()).repeat(3, 1, 1)
    distance = weighted.loss.distance(latents)
    assert distance.shape == (3,)
    heard = pool(StyleEmbedder(embedder, RATE)(codec.decode(latents)[:1, 0]))
    assert embedder.head is not None
    statistics = torch.cat([heard.mean, heard.deviation], dim=1)
    logits = statistics @ embedder.head.weight.float().T + embedder.head.bias.float()
    number = known_tags().index("piano")
    assert float(distance[0]) == pytest.approx(
        -float(logits.log_softmax(dim=1)[0, number]), rel=1e-3
    )
    assert weighted.weight == 2.0 * TAG_STRENGTH
    assert torch.equal(weighted.loss.squared_distance(latents), distance)


def test_references_and_tags_are_losses_of_their_own_and_no_weight_is_none() -> None:
    codec = BlockLatents()
    both = Style(references=(_chords(), _hiss()), tags=("piano",), weight=0.5)
    losses = style_losses(both, codec)
    assert [weighted.weight for weighted in losses] == [
        0.5 * REFERENCE_STRENGTH,
        0.5 * TAG_STRENGTH,
    ]
    assert isinstance(losses[0].loss, EmbedderLoss)
    assert losses[0].loss.targets.shape == (2, 192)
    assert style_losses(Style(tags=("piano",), weight=0.0), codec) == ()


def test_guidance_goes_to_the_reference_and_keeps_what_is_known() -> None:
    codec = BlockLatents()
    num_frames = 120
    known = torch.zeros(1, num_frames, dtype=torch.bool)
    known[:, :20] = True
    x = torch.zeros(1, num_frames, HOP)
    style = Style(references=(_chords(),))

    def denoise(noisy: Tensor, t: Tensor) -> Tensor:
        """White latents of unit variance."""
        return noisy * torch.cos(torch.pi / 2 * t)[:, None, None]

    found = []
    losses = style_losses(style, codec, known)
    for step_size in (0.0, 0.5):
        filled = fill_gaussian(
            EncodedCanvas(x=x, known=known, valid=torch.ones_like(known)),
            denoise,
            GaussianProcess(),
            sampler=GaussianSamplerConfig(kind="ddim", steps=6),
            guidance=GuidanceConfig(step_size=step_size),
            losses=losses,
            rngs=[np.random.default_rng(0)],
        )
        assert torch.equal(filled.x[known], x[known])
        found.append(float(losses[0].loss.distance(filled.x)))
    assert found[1] < 0.9 * found[0]  # without guidance: white noise


# ---- What cannot be heard ----


def test_unknown_tags_are_refused_with_the_nearest_names() -> None:
    with pytest.raises(ConfigError, match="did you mean 'piano'"):
        style_losses(Style(tags=("paino",)), BlockLatents())


def test_references_without_sound_are_refused() -> None:
    silent = Audio.from_samples(np.zeros((1, 2 * RATE)), RATE)
    with pytest.raises(ConfigError, match="silent"):
        style_losses(Style(references=(silent,)), BlockLatents())


def test_references_shorter_than_a_second_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"0\.90 s long, but .* at least 1 s"):
        style_losses(Style(references=(_chords(0.9),)), BlockLatents())
    assert style_losses(Style(references=(_chords(1.0),)), BlockLatents())


def test_references_that_are_not_finite_are_refused() -> None:
    broken = _chords().samples.copy()
    broken[0, 9000] = np.nan
    with pytest.raises(AudioFormatError, match="NaN"):
        style_losses(Style(references=(Audio.from_samples(broken, RATE),)), BlockLatents())


def test_silent_pieces_of_a_reference_are_passed_over() -> None:
    sound = np.concatenate([_sound(0, RATE, 4.0), np.zeros(4 * RATE)])[None]
    (whole,) = style_losses(Style(references=(Audio.from_samples(sound, RATE),)), BlockLatents())
    (half,) = style_losses(Style(references=(_chords(4.0),)), BlockLatents())
    assert isinstance(whole.loss, EmbedderLoss)
    assert isinstance(half.loss, EmbedderLoss)
    assert torch.allclose(whole.loss.targets, half.loss.targets, atol=1e-3)


def test_references_of_other_rates_and_channels_are_heard_alike() -> None:
    sound = _sound(0, 44100, 2.0)
    found = []
    for samples, rate in ((sound[None], 44100), (np.stack([sound, sound]), 44100)):
        (weighted,) = style_losses(
            Style(references=(Audio.from_samples(samples, rate),)), BlockLatents()
        )
        assert isinstance(weighted.loss, EmbedderLoss)
        found.append(weighted.loss.targets)
    assert torch.allclose(found[0], found[1], atol=1e-4)


# ---- The head ----


def _head(codec: LatentCodec) -> StyleHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = StyleHeadConfig(
            sample_rate=codec.sample_rate,
            hop_length=codec.hop_length,
            num_features=codec.num_features,
            width=8,
            num_layers=1,
        )
        return StyleHead(config).eval().requires_grad_(False)


def test_a_head_needs_no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, reference = BlockLatents(), _chords()

    def refuse(self: BlockLatents, latents: Tensor) -> Tensor:
        raise AssertionError("the decoder was called")

    monkeypatch.setattr(BlockLatents, "decode", refuse)
    guide = StyleGuide(head=_head(codec))
    own = codec.encode(torch.from_numpy(reference.samples)[None].float()).requires_grad_()
    losses = guide(Style(references=(reference,), tags=("piano",)), codec)
    for weighted in losses:
        (gradient,) = torch.autograd.grad(weighted.loss.distance(own).sum(), own)
        assert bool(gradient.isfinite().all())
    other = codec.encode(torch.from_numpy(_hiss().samples)[None].float())
    loss = losses[0].loss
    assert float(loss.distance(own.detach())) < 0.3 * float(loss.distance(other))


@pytest.mark.parametrize("num", [1, 3, 8, 189])
def test_a_head_hears_any_length(num: int) -> None:
    codec = BlockLatents()
    head = _head(codec)
    frames = head(torch.zeros(2, num, HOP))
    assert frames.shape == (2, -(-num // 4), 192)
    heard = head.hear(torch.zeros(2, num, HOP), torch.ones(2, num))
    assert heard.mean.shape == heard.deviation.shape == (2, 192)


def test_a_head_hears_where_it_is_told_to() -> None:
    codec = BlockLatents()
    head = _head(codec)
    latents = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 64, HOP))).float()
    changed = latents.clone()
    changed[:, :20] = 0
    weights = torch.zeros(1, 64)
    weights[:, 48:] = 1
    assert torch.allclose(head.hear(latents, weights).mean, head.hear(changed, weights).mean)
    assert not torch.allclose(head.hear(latents).mean, head.hear(changed).mean, atol=1e-3)


def test_a_head_for_another_codec_is_refused() -> None:
    guide = StyleGuide(head=StyleHead(StyleHeadConfig()))
    with pytest.raises(ConfigError, match="another codec"):
        guide(Style(tags=("piano",)), BlockLatents())


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    head = _head(BlockLatents())
    write_style_head(tmp_path, head)
    again = read_style_head(tmp_path)
    latents = torch.ones(1, 12, HOP)
    assert again.config == head.config
    assert torch.allclose(again(latents), head(latents), atol=1e-2)
    text = (tmp_path / "model.json").read_text().replace('"width": 8', '"width": 8000000')
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(CheckpointError, match="width must be whole"):
        read_style_head(tmp_path)


def test_the_published_size_is_below_half_a_million() -> None:
    assert sum(p.numel() for p in StyleHead(StyleHeadConfig()).parameters()) == 437_832


# ---- The measure ----


def test_the_measure_tells_near_from_far() -> None:
    codec = BlockCodec()  # its tokens are levels: of the sound only those are left
    style = Style(references=(_chords(),))
    meter = StyleMeter(style, codec)
    codes = codec.encode(torch.from_numpy(_chords().samples).float()).codes
    own = codec.decode(codec.embed(codes))
    other = torch.from_numpy(_hiss().samples).float()
    known = torch.zeros(2, codes.shape[1], dtype=torch.bool)
    near, far = meter(torch.cat([own, other]), known).tolist()
    assert near < 0.1 * far


def test_the_measure_of_a_tag_is_its_cross_entropy() -> None:
    codec = BlockCodec()
    meter = StyleMeter(Style(tags=("hi-hat",)), codec)
    sound = torch.from_numpy(_hiss(1.0).samples).float()
    known = torch.zeros(1, sound.shape[1] // codec.hop_length, dtype=torch.bool)
    heard = pool(StyleEmbedder(load(), RATE)(sound))
    head = load().head
    assert head is not None
    odds = class_odds(heard, head, torch.tensor([known_tags().index("hi-hat")]))
    wanted = -torch.nn.functional.logsigmoid(odds)[0, 0]
    assert float(meter(sound, known)) == pytest.approx(float(wanted), rel=1e-4)


def test_pooling_is_over_what_has_weight() -> None:
    frames = torch.tensor([[[1.0], [3.0], [100.0]]])
    heard = pool(frames, torch.tensor([[1.0, 1.0, 0.0]]))
    assert isinstance(heard, StyleVector)
    assert float(heard.mean) == pytest.approx(2.0)
    assert float(heard.deviation) == pytest.approx(1.0, abs=1e-4)
