from dataclasses import replace

import numpy as np
import pytest
import torch

from tiny_tokens import HOP, RATE, BlockCodec, make_codec, make_network
from weft.audio.audio import Audio
from weft.audio.levels import level_db
from weft.canvas import inpaint
from weft.canvas.canvas import Region, Window
from weft.canvas.style import Style
from weft.canvas.windows import context_samples, read_window
from weft.card import ModelCard
from weft.codecs.base import TokenCodec
from weft.errors import BandwidthWarning, ConfigError, QualityWarning
from weft.model import Model
from weft.rng import Rng
from weft.sampling.particles import ParticleConfig
from weft.sampling.steps_masked import MaskedSamplerConfig
from weft.sampling.token_filler import TokenFiller, nearest_symbols
from weft.sampling.token_settings import TokenFillerConfig
from weft.sampling.token_sound import TokenSound

CARD = ModelCard(name="weft-tokens", summary="draws tokens", good_for="tests")
PLAIN = TokenFillerConfig(
    guard=0, extension_frames=0, match_gain_db=0.0, edge_ms=0.0, level_range_db=(-100.0, 20.0)
)


def make_filler(
    config: TokenFillerConfig = PLAIN, codec: TokenCodec | None = None, **network: int
) -> TokenFiller:
    codec = codec or BlockCodec()
    size = network.pop("codebook_size", codec.codebook_size)
    # Two calls a batch: the type hooks make calls dear.
    sampler = MaskedSamplerConfig(steps=2)
    return TokenFiller(codec, make_network(size, **network), config=config, sampler=sampler)


def sound(rate: int, channels: int, seconds: float = 0.8) -> Audio:
    rng = np.random.default_rng(rate)
    noise = rng.standard_normal((channels, round(rate * seconds)))
    walk = np.cumsum(noise - noise.mean(axis=1, keepdims=True), axis=1)
    return Audio.from_samples(0.3 * walk / np.abs(walk).max(), rate)


def window_of(audio: Audio, filler: TokenFiller, start: int, stop: int) -> Window:
    gap = Region(start=start, stop=stop)
    context = context_samples(filler, gap, audio.sample_rate, num_channels=audio.num_channels)
    return read_window(audio, gap, [], context)


@pytest.mark.filterwarnings("ignore::weft.errors.BandwidthWarning")
@pytest.mark.parametrize(
    ("rate", "channels"), [(8000, 1), (11025, 1), (22051, 3), (44100, 2), (96000, 2)]
)
def test_the_driver_keeps_its_promises_at_any_rate_with_any_channels(
    rate: int, channels: int
) -> None:
    audio = sound(rate, channels, 0.4)
    times = [(0.0, 0.03), (0.1, 0.105), (0.107, 0.11), (0.13, 0.2), (0.202, 0.203), (0.37, 0.4)]
    canvas = inpaint(audio, times)
    model = Model(make_filler(replace(PLAIN, guard=1, match_gain_db=6.0)), CARD)
    result = model.fill(canvas, seed=3)
    inside = np.zeros(audio.num_samples, dtype=bool)
    for gap in canvas.gaps:
        inside[gap.start : gap.stop] = True
    assert np.array_equal(result.best.samples[:, ~inside], audio.samples[:, ~inside])
    assert result.proof.is_identical
    assert np.isfinite(result.best.samples).all()
    assert [gap.takes[0].model for gap in result.gaps] == ["weft-tokens"] * len(times)
    again = model.fill(canvas, seed=3).best.samples
    assert np.array_equal(result.best.samples, again)
    assert not np.array_equal(again, model.fill(canvas, seed=4).best.samples)


@pytest.mark.filterwarnings("ignore::weft.errors.BandwidthWarning")
def test_a_published_kind_of_codec_fills_stereo_with_joined_edges() -> None:
    audio = sound(44100, 2, 0.5)
    filler = make_filler(TokenFillerConfig(extension_frames=1), make_codec())
    result = Model(filler, CARD).fill(inpaint(audio, [(0.2, 0.27)]), takes=2)
    assert result.proof.is_identical
    assert len(result.takes) == 2
    step = np.abs(np.diff(result.best.samples, axis=1))
    start, stop = round(0.2 * 44100), round(0.27 * 44100)
    assert step[:, [start - 1, stop - 1]].max() < 3 * step[:, :start].max()


@pytest.mark.parametrize("rate", [8000, 24000, 44100, 22051])
def test_a_fill_lies_where_its_tokens_say_to_a_fraction_of_a_sample(rate: int) -> None:
    """Tokens that stand for the truth give the truth back, whatever the rates."""

    def truth(time: np.ndarray) -> np.ndarray:
        waves = [(0.3, 230, 0.0), (0.2, 310, 0.5)]
        return np.stack([a * np.sin(2 * np.pi * hz * time + phase) for a, hz, phase in waves])

    samples = truth(np.arange(rate) / rate)
    codec = BlockCodec()
    sounds = TokenSound(codec, replace(PLAIN, channels="separate"), 64)
    for start_s, stop_s in ((0.4003, 0.4998), (0.0, 0.03), (0.95, 1.0)):
        start, stop = round(start_s * rate), round(stop_s * rate)
        window = window_of(Audio.from_samples(samples, rate), make_filler(), start, stop)
        encoded = sounds.encode(window)
        assert encoded is not None
        num = encoded.layout.num_frames
        k = encoded.layout.start + np.arange(num * HOP)
        parts = encoded.framed.directions.T @ truth(window.start / rate + k / RATE)
        codec.table = torch.from_numpy(parts.reshape(-1, HOP)).float()
        tokens = [torch.arange(num) + num * i for i in range(len(parts))]
        decoded = sounds.decode(encoded, tokens)
        # The resampler hears where the recording ends, and a filter's edge at its beginning.
        inner = slice(40 * rate // RATE, -40 * rate // RATE)
        assert np.abs(decoded - samples[:, start:stop])[:, inner].max() < 1e-3


def test_no_encoder_hears_the_hole_nor_the_other_side() -> None:
    codec = BlockCodec()
    audio = sound(RATE, 1)
    filler = make_filler(codec=codec)
    window = window_of(audio, filler, 3000, 3333)
    filler.fill([window], num_takes=1, rng=Rng(0))
    before, after = codec.encoded
    offset = window.start
    known = window.samples[0]
    assert np.allclose(before[0], known[: 3000 - offset][-before.shape[1] :], atol=1e-6)
    start = 3000 + -(-333 // HOP) * HOP - offset
    assert np.allclose(after[0], known[start : start + after.shape[1]], atol=1e-6)
    assert before.shape[1] % HOP == after.shape[1] % HOP == 0


def test_runs_go_on_by_prediction_while_they_are_encoded() -> None:
    codec = BlockCodec()
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)
    filler = make_filler(replace(PLAIN, extension_frames=4, guard=1), codec)
    window = window_of(Audio.from_samples(tone[None], RATE), filler, 3000, 3333)
    filler.fill([window], num_takes=1, rng=Rng(0))
    before, after = (samples[0].numpy() for samples in codec.encoded)
    # One guard frame is real sound, three are predicted.
    stop = 3000 - HOP + 4 * HOP
    assert np.abs(before[-400:] - tone[stop - 400 : stop]).max() < 0.01
    start = 3000 + -(-333 // HOP) * HOP + HOP - 4 * HOP
    assert np.abs(after[:400] - tone[start : start + 400]).max() < 0.01


def test_known_frames_are_decoded_from_features_unless_tokens_are_wanted() -> None:
    audio = sound(RATE, 1)
    for known_frames, is_exact in (("features", True), ("tokens", False)):
        codec = BlockCodec()
        sounds = TokenSound(codec, replace(PLAIN, known_frames=known_frames), 64)
        encoded = sounds.encode(window_of(audio, make_filler(), 3000, 3320))
        assert encoded is not None
        (part,) = encoded.parts
        first, stop = encoded.layout.span(*encoded.layout.runs[0])
        decoded = codec.decode(part.features[None])[0, : stop - first].double().numpy()
        assert (
            np.allclose(decoded, encoded.framed.parts[0].signal[first:stop], atol=1e-6) == is_exact
        )


def test_fills_do_not_depend_on_the_windows_beside_them() -> None:
    audio = sound(RATE, 2)
    filler = make_filler(replace(PLAIN, batch_size=3))
    windows = [window_of(audio, filler, a, b) for a, b in ((100, 220), (2000, 2333), (4000, 4330))]
    together = filler.fill(windows, num_takes=2, rng=Rng(5))
    for window, fills in zip(windows, together, strict=True):
        alone = filler.fill([window], num_takes=2, rng=Rng(5))[0]
        assert len(fills) == len(alone) == 2
        for fill, other in zip(fills, alone, strict=True):
            assert np.allclose(fill.samples, other.samples, atol=1e-9)
    elsewhere = replace(windows[1], start=windows[1].start + 1)
    moved = filler.fill([elsewhere], num_takes=2, rng=Rng(5))[0]
    assert not np.array_equal(moved[0].samples, together[1][0].samples)


def test_takes_differ_and_the_likeliest_comes_first() -> None:
    filler = make_filler()
    window = window_of(sound(RATE, 1), filler, 3000, 3400)
    fills = filler.fill([window], num_takes=4, rng=Rng(1))[0]
    likely = [float(fill.details["log_prob"]) for fill in fills]
    assert likely == sorted(likely, reverse=True)
    assert len({fill.samples.tobytes() for fill in fills}) == 4
    assert [f.confidence for f in fills] == sorted((f.confidence for f in fills), reverse=True)
    wide = make_filler(replace(PLAIN, num_candidates=4))
    best = wide.fill([window], num_takes=1, rng=Rng(1))[0]
    assert len(best) == 1
    assert np.array_equal(best[0].samples, fills[0].samples)
    seams = make_filler(replace(PLAIN, ranking="seams"))
    assert len(seams.fill([window], num_takes=2, rng=Rng(1))[0]) == 2


def test_details_count_tokens_and_calls() -> None:
    config = replace(PLAIN, guard=2)
    filler = TokenFiller(BlockCodec(), make_network(), config=config)
    window = window_of(sound(RATE, 1), filler, 3000, 3000 + 5 * HOP)
    fill = filler.fill([window], num_takes=1, rng=Rng(1))[0][0]
    assert fill.details["tokens"] == 9
    assert fill.details["network_calls"] == 9
    assert fill.max_hz == RATE / 2
    assert make_filler().fill([window], num_takes=1, rng=Rng(1))[0][0].details["network_calls"] == 2


def test_panned_sound_stays_where_it_is() -> None:
    mono = sound(RATE, 1).samples
    filler = make_filler()
    window = window_of(Audio.from_samples(mono * [[0.6], [0.8]], RATE), filler, 3000, 3400)
    fill = filler.fill([window], num_takes=1, rng=Rng(1))[0][0].samples
    assert np.abs(fill).max() > 1e-3
    assert np.allclose(fill[0] / 0.6, fill[1] / 0.8)


def test_a_fill_is_no_wider_than_its_surroundings() -> None:
    rng = np.random.default_rng(2)
    middle, side = 0.3 * rng.standard_normal((2, RATE)) * [[1.0], [0.05]]
    audio = Audio.from_samples(np.stack([middle + side, middle - side]), RATE)
    filler = make_filler()
    fills = filler.fill([window_of(audio, filler, 3000, 3400)], num_takes=8, rng=Rng(1))[0]
    around = level_db((audio.samples[:1] - audio.samples[1:]) / 2)
    for fill in fills:
        assert level_db((fill.samples[:1] - fill.samples[1:]) / 2) < around + 2


def test_quiet_sound_reaches_the_codec_at_its_level_and_comes_back_quiet() -> None:
    quiet = Audio.from_samples(1e-3 * sound(RATE, 1).samples, RATE)
    codec = BlockCodec()
    filler = make_filler(replace(PLAIN, level_range_db=(-36.0, -12.0)), codec)
    fill = filler.fill([window_of(quiet, filler, 3000, 3400)], num_takes=1, rng=Rng(1))[0][0]
    heard = torch.cat([samples[0] for samples in codec.encoded])
    assert abs(level_db(heard[None].double().numpy()) + 36) < 0.1
    assert np.abs(fill.samples).max() < 0.02


def test_bands_that_a_codec_weakens_are_raised_in_the_gap() -> None:
    codec = BlockCodec()
    plain = codec.decode
    codec.decode = lambda features: 0.5 * plain(features)  # type: ignore[method-assign]
    audio = Audio.from_samples(np.full((1, RATE), 0.25), RATE)
    levels = []
    for most_db in (0.0, 12.0):
        sounds = TokenSound(codec, replace(PLAIN, match_gain_db=most_db), 64)
        encoded = sounds.encode(window_of(audio, make_filler(), 3000, 3400))
        assert encoded is not None
        codes = torch.full((encoded.layout.num_frames,), 54)
        levels.append(level_db(sounds.decode(encoded, [codes])[:, 100:-100]))
    assert 5 < levels[1] - levels[0] < 7


def test_the_network_never_sees_longer_sequences_than_it_learned_from() -> None:
    filler = make_filler(replace(PLAIN, guard=2), num_frames=32)
    lengths: set[int] = set()
    filler.network.register_forward_pre_hook(lambda _, inputs: lengths.add(inputs[0].shape[1]))
    audio = sound(RATE, 1)
    result = Model(filler, CARD).fill(inpaint(audio, [(0.0, 0.05), (0.2, 0.6), (0.79, 0.8)]))
    assert max(lengths) <= 32
    assert float(result.gaps[1].takes[0].details["pieces"]) > 4
    assert filler.max_gap_ms == (16 - 4 - 1) * 5.0


def test_a_window_longer_than_trained_is_said_to_be_poor() -> None:
    with pytest.warns(QualityWarning, match="learned from sequences of 64"):
        make_filler(replace(PLAIN, num_frames=100))


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_without_sound_to_encode_a_gap_is_still_filled_and_confidence_says_so(
    level: float,
) -> None:
    audio = Audio.from_samples(np.full((2, 500), level), RATE)
    filler = make_filler()
    fills = filler.fill([window_of(audio, filler, 20, 470)], num_takes=2, rng=Rng(0))[0]
    assert len(fills) == 1
    assert fills[0].samples.shape == (2, 450)
    assert fills[0].confidence == (0.05 if level else 0.0)
    assert "fallback" in fills[0].details


def nothing(num_samples: int, rate: int = RATE, channels: int = 1) -> Window:
    return Window(
        samples=np.zeros((channels, num_samples)),
        known=np.zeros(num_samples, dtype=bool),
        gap=Region(start=0, stop=num_samples),
        start=0,
        sample_rate=rate,
    )


def test_what_nothing_is_known_of_is_drawn_as_it_comes() -> None:
    filler = make_filler(replace(PLAIN, num_candidates=6))
    assert filler.can_generate
    window = nothing(4000, channels=2)
    takes = filler.fill([window], num_takes=6, rng=Rng(1))[0]
    first = takes[0]
    assert first.samples.shape == (2, 4000)
    assert (first.samples == first.samples[0]).all()
    assert level_db(first.samples) > -40
    assert "fallback" not in first.details
    assert len({take.samples.tobytes() for take in takes}) == 6
    # The likeliest is not preferred, neither among takes nor among candidates.
    assert first.details["log_prob"] < max(float(take.details["log_prob"]) for take in takes)
    sizes: list[int] = []
    filler.network.register_forward_hook(lambda network, given, put: sizes.append(len(given[0])))
    (alone,) = filler.fill([window], num_takes=1, rng=Rng(1))[0]
    assert np.array_equal(alone.samples, first.samples)
    assert {*sizes} == {1}  # the others are not drawn


def test_less_than_a_sample_of_the_codec_is_silence() -> None:
    fill = make_filler().fill([nothing(3, rate=96000)], num_takes=1, rng=Rng(0))[0][0]
    assert not fill.samples.any()
    assert fill.confidence == 0


def test_a_network_with_one_symbol_fewer_sees_the_nearest_token_instead() -> None:
    codec = BlockCodec(codebook_size=64)
    codec.levels[63] = codec.levels[20] * 1.01
    codec.table = codec.levels[:, None].repeat(1, HOP)
    assert nearest_symbols(codec, 63).tolist() == [*range(63), 20]
    assert nearest_symbols(codec, 64).tolist() == [*range(64)]
    filler = make_filler(codec=codec, codebook_size=63)
    seen: list[torch.Tensor] = []
    filler.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    level = float(codec.levels[63])
    audio = Audio.from_samples(np.full((1, RATE), level), RATE)
    filler.fill([window_of(audio, filler, 3000, 3400)], num_takes=1, rng=Rng(0))
    assert {*seen[0].flatten().tolist()} == {20, 63}  # 63 is the absorbing state
    assert int((seen[0] == 63).sum()) == 10


def test_codec_and_network_must_be_made_for_each_other() -> None:
    for size in (62, 65):
        with pytest.raises(ConfigError, match="64 tokens and the network"):
            make_filler(codebook_size=size)


def test_a_round_trip_keeps_rate_length_and_place() -> None:
    codec = BlockCodec()
    codec.embed = lambda codes: codec.encode(codec.encoded[-1]).features  # type: ignore[method-assign]
    filler = make_filler(codec=codec)
    slow = sound(RATE, 2, 1.2)
    assert filler.round_trip is not None
    assert np.abs(filler.round_trip(slow.samples, RATE) - slow.samples).max() < 1e-6
    time = np.arange(33333) / 44100
    tone = 0.3 * np.sin(2 * np.pi * 500 * time)[None]
    decoded = filler.round_trip(tone, 44100)
    assert decoded.shape == tone.shape
    assert np.abs(decoded - tone)[:, 500:-500].max() < 1e-3
    assert all(samples.shape[1] <= 64 * HOP for samples in codec.encoded)


def test_gaps_that_lose_their_treble_are_a_warning() -> None:
    noise = Audio.from_samples(0.1 * np.random.default_rng(0).standard_normal((1, 44100)), 44100)
    with pytest.warns(BandwidthWarning, match="1 of 1 gaps filled up to 4 kHz only"):
        Model(make_filler(), CARD).fill(inpaint(noise, [(0.5, 0.55)]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_frames", 8),
        ("max_gap_share", 0.0),
        ("guard", 9),
        ("extension_frames", -1),
        ("least_part_db", 0.0),
        ("level_range_db", (-10.0, -20.0)),
        ("match_gain_db", float("nan")),
        ("edge_ms", 1000.0),
        ("edge_span_ms", 0.0),
        ("num_candidates", 0),
        ("batch_size", 0),
        ("sure_log_prob", 1.0),
        ("sure_slope", 0.0),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        replace(PLAIN, **{name: value})


def test_a_style_is_followed_by_particles() -> None:
    """A codec whose tokens are hiss and a tone, an even network, and a tone for a reference."""
    codec = BlockCodec(hop_length=400, codebook_size=2)
    time = np.arange(RATE * 2) / RATE
    tone = 0.1 * np.sin(2 * np.pi * 800 * time)  # 40 turns a frame
    hiss = 0.1 * np.random.default_rng(0).standard_normal(400)
    codec.table = torch.from_numpy(np.stack([hiss, tone[:400]])).float()
    audio = sound(RATE, 1, 1.5)
    reference = Audio.from_samples(tone, RATE)  # at -20 dB, which is token 1
    filler = TokenFiller(
        codec,
        make_network(2, spread=0.0),
        config=PLAIN,
        sampler=MaskedSamplerConfig(steps=4),
        particles=ParticleConfig(num_particles=16, num_previews=2),
    )
    window = window_of(audio, filler, 4000, 8000)
    assert filler.uses_style
    assert "piano" in filler.tags
    distances = {}
    for weight in (1e-6, 100.0):
        styled = replace(window, style=Style(references=(reference,), weight=weight))
        ((fill,),) = filler.fill([styled], num_takes=1, rng=Rng(3))
        distances[weight] = float(fill.details["style_distance"])
    ((again,),) = filler.fill([styled], num_takes=1, rng=Rng(3))
    assert np.array_equal(fill.samples, again.samples)
    assert distances[100.0] < 0.9 * distances[1e-6]
    # Without any weight it is a plain fill.
    ((none,),) = filler.fill(
        [replace(window, style=Style(references=(reference,), weight=0.0))], num_takes=1, rng=Rng(3)
    )
    ((plain,),) = filler.fill([window], num_takes=1, rng=Rng(3))
    assert np.array_equal(none.samples, plain.samples)
    assert "style_distance" not in plain.details


def test_windows_beside_one_with_a_style_are_filled_as_without() -> None:
    filler = make_filler(replace(PLAIN, num_candidates=2))
    audio = sound(RATE, 1, 0.6)
    first, second = window_of(audio, filler, 1200, 1400), window_of(audio, filler, 3200, 3400)
    styled = replace(first, style=Style(tags=("piano",)))
    alone = filler.fill([second], num_takes=1, rng=Rng(0))
    beside = filler.fill([styled, second], num_takes=1, rng=Rng(0))
    assert [len(fills) for fills in beside] == [1, 1]
    assert np.array_equal(alone[0][0].samples, beside[1][0].samples)
