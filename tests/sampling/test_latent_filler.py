from dataclasses import replace

import numpy as np
import pytest
import torch

from tiny_latents import (
    HOP,
    RATE,
    SCALE,
    TO_X0,
    BlockLatents,
    draft_of,
    make_dit,
    make_knowing,
    make_vae,
    sure_of,
)
from weft.audio.audio import Audio
from weft.audio.levels import level_db
from weft.canvas import inpaint
from weft.canvas.canvas import Region, Window
from weft.canvas.style import Style
from weft.canvas.tags import known_tags
from weft.canvas.windows import context_samples, read_window
from weft.classical.matching import SimilarityConfig, find_candidates
from weft.codecs.base import LatentCodec
from weft.errors import ConfigError, UnsupportedCanvasError
from weft.nn.dit import Dit
from weft.process.gaussian import GaussianProcess
from weft.rng import Rng
from weft.sampling.latent_filler import LatentFiller
from weft.sampling.latent_settings import GUIDED, LatentFillerConfig, LatentSampling
from weft.sampling.latent_sound import LatentSound
from weft.sampling.latent_takes import crop
from weft.sampling.steps_gaussian import GaussianSamplerConfig

PLAIN = LatentFillerConfig(
    draft="none",
    search_ms=500.0,
    window_ms=500.0,
    long_window_ms=800.0,
    long_gap_ms=150.0,
    max_gap_ms=300.0,
    guard=0,
    extension_frames=0,
    match_gain_db=0.0,
    edge_ms=0.0,
    num_candidates=1,
    level_range_db=(-100.0, 20.0),
)
TWO_STEPS = LatentSampling(sampler=GaussianSamplerConfig(kind="ddim", steps=2))


def make_filler(
    config: LatentFillerConfig = PLAIN,
    *,
    codec: LatentCodec | None = None,
    network: Dit | None = None,
    process: GaussianProcess = TO_X0,
    sampling: LatentSampling = TWO_STEPS,
) -> LatentFiller:
    codec = codec or BlockLatents()
    network = network or make_dit(codec.num_features, spread=0.1)
    return LatentFiller(codec, network, process, config=config, sampling=sampling)


def sound(rate: int, channels: int, seconds: float = 0.8) -> Audio:
    rng = np.random.default_rng(rate)
    noise = rng.standard_normal((channels, round(rate * seconds)))
    walk = np.cumsum(noise - noise.mean(axis=1, keepdims=True), axis=1)
    return Audio.from_samples(0.3 * walk / np.abs(walk).max(), rate)


def window_of(audio: Audio, filler: LatentFiller, start: int, stop: int) -> Window:
    gap = Region(start=start, stop=stop)
    context = context_samples(filler, gap, audio.sample_rate, num_channels=audio.num_channels)
    return read_window(audio, gap, [], context)


def drafted(window: Window, draft: np.ndarray, strength: float) -> Window:
    return replace(window, draft=draft, draft_strength=strength)


@pytest.mark.filterwarnings("ignore::weft.errors.BandwidthWarning")
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (22051, 3), (44100, 2)])
def test_the_driver_keeps_its_promises_at_any_rate_with_any_channels(
    rate: int, channels: int
) -> None:
    from weft.card import ModelCard
    from weft.model import Model
    from weft.zoo import able

    audio = sound(rate, channels, 0.9)
    times = [(0.0, 0.03), (0.1, 0.105), (0.107, 0.11), (0.2, 0.65), (0.87, 0.9)]
    canvas = inpaint(audio, times)
    config = replace(PLAIN, guard=2, extension_frames=2, draft="similarity", edge_ms=5.0)
    config = replace(config, num_candidates=2, match_gain_db=6.0)
    filler = make_filler(config, codec=make_vae(), process=GaussianProcess())
    model = Model(filler, ModelCard(name="weft-latent", summary="s", good_for="tests"), able)
    result = model.fill(canvas, seed=3)
    inside = np.zeros(audio.num_samples, dtype=bool)
    for gap in canvas.gaps:
        inside[gap.start : gap.stop] = True
    assert np.array_equal(result.best.samples[:, ~inside], audio.samples[:, ~inside])
    assert result.proof.is_identical
    assert np.isfinite(result.best.samples).all()
    assert [gap.takes[0].model for gap in result.gaps] == ["weft-latent"] * len(times)
    assert float(result.gaps[3].takes[0].details["pieces"]) == 2
    if channels == 1:
        assert np.array_equal(result.best.samples, model.fill(canvas, seed=3).best.samples)
        assert not np.array_equal(result.best.samples, model.fill(canvas, seed=4).best.samples)


@pytest.mark.parametrize("rate", [8000, 44100, 22051])
def test_a_fill_lies_where_its_latents_say_to_a_fraction_of_a_sample(rate: int) -> None:
    def truth(time: np.ndarray) -> np.ndarray:
        waves = [(0.3, 230, 0.0), (0.2, 310, 0.5)]
        return np.stack([a * np.sin(2 * np.pi * hz * time + phase) for a, hz, phase in waves])

    samples = truth(np.arange(rate) / rate)
    sounds = LatentSound(BlockLatents(), replace(PLAIN, channels="separate"))
    for start_s, stop_s in ((0.4003, 0.4998), (0.0, 0.03), (0.95, 1.0)):
        start, stop = round(start_s * rate), round(stop_s * rate)
        window = window_of(Audio.from_samples(samples, rate), make_filler(), start, stop)
        encoded = sounds.encode(window, 50)
        assert encoded is not None
        framed = encoded.framed
        k = framed.layout.start + np.arange(framed.layout.num_frames * HOP)
        parts = framed.directions.T @ truth(window.start / rate + k / RATE)
        latents = sounds.codec.encode(torch.from_numpy(parts).float()[:, None])
        known = torch.from_numpy(framed.layout.known)
        assert torch.allclose(
            encoded.latents[:, known], latents[:, known], atol=0.1
        )  # a sample's shift: 0.5
        decoded = [sounds.decode_part(encoded, i, latents[i : i + 1], [None])[0] for i in range(2)]
        found = sounds.to_gap(encoded, decoded, None)
        # The resampler hears where the recording ends, and a filter's edge at its beginning.
        inner = slice(40 * rate // RATE, -40 * rate // RATE)
        assert np.abs(found - samples[:, start:stop])[:, inner].max() < 1e-3


def test_no_encoder_hears_the_hole_nor_the_other_side() -> None:
    codec = BlockLatents()
    filler = make_filler(codec=codec)
    window = window_of(sound(RATE, 1), filler, 3000, 3333)
    filler.fill([window], num_takes=1, rng=Rng(0))
    before, after = (samples[0, 0].double().numpy() for samples in codec.encoded)
    known, offset = window.samples[0], window.start
    assert np.allclose(before, known[: 3000 - offset][-len(before) :], atol=1e-6)
    start = 3000 + -(-333 // HOP) * HOP - offset
    assert np.allclose(after, known[start : start + len(after)], atol=1e-6)


def test_the_network_is_told_what_is_known_and_of_drafts() -> None:
    seen: list[torch.Tensor] = []

    def answer(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        assert condition is not None
        seen.append(condition)
        return torch.zeros_like(x)

    codec = BlockLatents()
    audio = sound(RATE, 1)
    filler = make_filler(replace(PLAIN, guard=2), codec=codec, network=make_knowing(answer))
    window = window_of(audio, filler, 3040, 3040 + 5 * HOP)
    draft = np.full((1, 5 * HOP), 0.05)
    filler.fill([drafted(window, draft, 0.7)], num_takes=1, rng=Rng(0))
    (condition,) = seen[0]
    flags = condition[:, HOP]
    assert int((flags == 0).sum()) == 9
    assert torch.equal(sure_of(seen[0])[0] > 0, flags == 0)
    assert sure_of(seen[0]).max() == pytest.approx(0.3)
    inside = draft_of(seen[0])[0][flags == 0]
    assert torch.allclose(inside[2:-2], torch.full((5, HOP), 0.5), atol=1e-4)
    guards = inside[:2].flatten().double().numpy() * 0.1  # the sound itself stands there
    assert np.allclose(guards, audio.samples[0, 3040 - 2 * HOP : 3040], atol=1e-5)
    assert not condition[flags == 0][:, :HOP].any()


def test_several_takes_have_other_drafts_and_the_last_one_has_none() -> None:
    seen: list[torch.Tensor] = []

    def answer(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        assert condition is not None
        seen.append(condition)
        return draft_of(condition)

    time = np.arange(4 * RATE) / RATE
    beats = np.sin(2 * np.pi * 300 * time) * np.exp(-8 * (time % 0.5)) * (1 + (time % 1 > 0.5))
    config = replace(PLAIN, draft="similarity", search_ms=2000.0, num_candidates=4)
    filler = make_filler(config, network=make_knowing(answer))
    audio = Audio.from_samples(0.2 * beats[None], RATE)
    window = window_of(audio, filler, 15200, 16000)
    (fills,) = filler.fill([window], num_takes=4, rng=Rng(0))
    sure = sure_of(seen[0])
    assert (sure.amax(dim=1) > 0).tolist() == [True, True, True, False]
    assert not torch.equal(draft_of(seen[0])[0], draft_of(seen[0])[1])
    assert [fill.details["draft"] for fill in fills].count("none") == 1
    scores = [float(fill.details["score_db"]) for fill in fills]
    assert scores == sorted(scores, reverse=True)
    sures = [fill.confidence for fill in fills]
    assert sures == sorted(sures, reverse=True)
    # Only one take is wanted: it is the best of the same four.
    best = filler.fill([window], num_takes=1, rng=Rng(0))[0]
    assert len(best) == 1
    assert np.array_equal(best[0].samples, fills[0].samples)


def test_confidence_rises_with_the_trust_of_the_search_in_its_draft() -> None:
    config = replace(PLAIN, draft="similarity", search_ms=2000.0, sure_slope=1e-6, sure_draft=4.0)
    time = np.arange(4 * RATE) / RATE
    again = np.sin(2 * np.pi * 300 * time) * np.exp(-8 * (time % 0.5))
    never = np.random.default_rng(0).standard_normal(len(time))
    sures = []
    for sounds in (again, never):
        audio = Audio.from_samples(0.2 * sounds[None], RATE)
        filler = make_filler(config)
        window = window_of(audio, filler, 15200, 15600)
        (fill,) = filler.fill([window], num_takes=1, rng=Rng(0))[0]
        trust = float(fill.details["draft_confidence"])
        assert fill.confidence == pytest.approx(1 / (1 + np.exp(-4 * (trust - 0.5))), abs=1e-3)
        sures.append(fill.confidence)
    assert sures[0] > sures[1] + 0.05


@pytest.mark.parametrize(("detail", "is_whole"), [(1.0, True), (0.0, False)])
def test_where_the_network_keeps_a_draft_its_own_samples_come_back(
    detail: float, is_whole: bool
) -> None:
    codec = BlockLatents(loss=0.3)

    def answer(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        assert condition is not None
        return draft_of(condition)

    config = replace(PLAIN, detail=detail)
    filler = make_filler(config, codec=codec, network=make_knowing(answer))
    audio = sound(RATE, 2)
    window = window_of(audio, filler, 3000, 3777)
    draft = audio.samples[:, 1000:1777].copy()
    fill = filler.fill([drafted(window, draft, 0.6)], num_takes=1, rng=Rng(0))[0][0]
    share = 1.0 if is_whole else 0.7
    assert np.allclose(fill.samples, share * draft, atol=2e-3)
    assert float(fill.details["detail"]) == pytest.approx(detail)


@pytest.mark.parametrize(
    ("confidences", "doubt", "is_draft"),
    [((0.0,), 0.0, True), (None, 0.0, False), ((0.0,), 0.3, False), ((1.0,), 0.3, True)],
)
def test_a_found_draft_replaces_what_is_near_to_it_and_a_users_does_not(
    confidences: tuple[float] | None, doubt: float, is_draft: bool
) -> None:
    audio = sound(RATE, 1)
    config = replace(PLAIN, detail_range=(0.2, 0.3), detail_doubt=doubt)
    sounds = LatentSound(BlockLatents(), config)
    window = window_of(audio, make_filler(), 3000, 3777)
    encoded = sounds.encode(window, 50)
    assert encoded is not None
    (draft,) = sounds.encode_drafts(encoded, [audio.samples[:, 1000:1777]], confidences=confidences)
    filled = encoded.latents[:1].clone()
    filled[:, draft.first : draft.stop] = draft.latents
    exact = sounds.decode_part(encoded, 0, filled, [draft])[0]
    filled[:, draft.first : draft.stop] += 0.1
    heard = sounds.decode_part(encoded, 0, filled, [draft])[0]
    difference = sounds.hear_part(encoded, heard) - sounds.hear_part(encoded, exact)
    assert bool(np.abs(difference).max() < 1e-6) is is_draft


def test_where_the_network_leaves_a_draft_none_of_it_comes_back() -> None:
    codec = BlockLatents(loss=0.3)
    network = make_knowing(lambda x, t, condition: torch.full_like(x, 2.0))
    filler = make_filler(codec=codec, network=network)
    window = window_of(sound(RATE, 1), filler, 3000, 3777)
    rng = np.random.default_rng(0)
    draft = 0.2 * rng.standard_normal((1, 777))
    fill = filler.fill([drafted(window, draft, 0.9)], num_takes=1, rng=Rng(0))[0][0]
    assert float(fill.details["detail"]) == 0
    assert np.allclose(fill.samples, 0.2 * 0.7, atol=1e-6)


def test_strength_zero_returns_the_draft_without_a_call() -> None:
    network = make_knowing(lambda x, t, condition: pytest.fail("the network was called"))
    filler = make_filler(network=network)
    window = window_of(sound(RATE, 2), filler, 3000, 3400)
    draft = np.random.default_rng(0).standard_normal((2, 400))
    (fills,) = filler.fill([drafted(window, draft, 0.0)], num_takes=3, rng=Rng(0))
    assert len(fills) == 1
    assert np.array_equal(fills[0].samples, draft)
    assert fills[0].is_joined


def test_strength_says_how_far_a_fill_is_from_its_draft() -> None:
    """A network that believes its input returns a draft with as much noise as was mixed in."""
    network = make_knowing(lambda x, t, condition: x)
    filler = make_filler(replace(PLAIN, detail=0.0), network=network)
    window = window_of(sound(RATE, 1), filler, 3000, 3400)
    draft = 0.1 * np.random.default_rng(0).standard_normal((1, 400))
    far = []
    for strength in (0.1, 0.5, 0.9, 1.0):
        fill = filler.fill([drafted(window, draft, strength)], num_takes=1, rng=Rng(0))[0][0]
        far.append(1 - np.corrcoef(fill.samples[0], draft[0])[0, 1])
    assert far == sorted(far)
    assert far[0] < 0.05
    assert far[-1] > 0.7


@pytest.mark.parametrize("is_before", [True, False])
def test_a_draft_beside_another_gap_is_changed_all_the_same(is_before: bool) -> None:
    filler = make_filler(replace(PLAIN, guard=2, extension_frames=4))
    window = window_of(sound(RATE, 2), filler, 3000, 3800)
    known = window.known.copy()
    gap = window.gap
    known[gap.start - 700 : gap.start] &= not is_before
    known[gap.stop : gap.stop + 700] &= is_before
    crowded = replace(window, known=known, samples=window.samples * known)
    draft = 0.1 * np.random.default_rng(0).standard_normal((2, 800))
    fill = filler.fill([drafted(crowded, draft, 0.6)], num_takes=1, rng=Rng(0))[0][0]
    assert np.isfinite(fill.samples).all()
    assert not np.array_equal(fill.samples, draft)


def _beats() -> Audio:
    time = np.arange(4 * RATE) / RATE
    beats = np.sin(2 * np.pi * 300 * time) * np.exp(-8 * (time % 0.5)) * (1 + (time % 1 > 0.5))
    return Audio.from_samples(0.2 * beats[None], RATE)


def test_a_take_may_start_from_what_the_search_found_and_one_without_a_draft_from_noise() -> None:
    """A network that believes its input returns what it starts from, and the noise in it."""
    seen: list[torch.Tensor] = []

    def answer(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        assert condition is not None
        seen.append(condition)
        return x

    found = {}
    for start in (0.1, 1.0):
        seen.clear()
        config = replace(
            PLAIN, draft="similarity", search_ms=2000.0, num_candidates=2, draft_start=start
        )
        steps = LatentSampling(sampler=GaussianSamplerConfig(kind="ddim", steps=40))
        filler = make_filler(config, network=make_knowing(answer), sampling=steps)
        window = window_of(_beats(), filler, 15200, 16000)
        fills = filler.fill([window], num_takes=2, rng=Rng(0))[0]
        calls = {fill.details["draft"]: fill.details["network_calls"] for fill in fills}
        assert calls["none"] == 40
        assert calls["similarity"] == (3 if start < 1 else 40)
        (own,) = (fill for fill in fills if fill.details["draft"] == "similarity")
        truth = _beats().samples[:, 15200:16000]
        found[start] = np.corrcoef(own.samples[0], truth[0])[0, 1]
    assert found[0.1] > 0.9 > 0.5 > found[1.0]


@pytest.mark.parametrize(("start", "draft", "calls"), [(0.1, "extrapolated", 3), (1.0, "none", 40)])
def test_where_nothing_is_found_a_fill_may_start_from_the_extrapolation(
    start: float, draft: str, calls: int
) -> None:
    """The network believes its input, and is not told where that comes from."""
    told: list[float] = []

    def answer(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        assert condition is not None
        told.append(float(sure_of(condition).max() + draft_of(condition).abs().max()))
        return x

    time = np.arange(RATE // 4) / RATE
    audio = Audio.from_samples(0.2 * np.sin(2 * np.pi * 300 * time)[None], RATE)
    config = replace(PLAIN, draft="similarity", search_ms=100.0, fallback_start=start)
    steps = LatentSampling(sampler=GaussianSamplerConfig(kind="ddim", steps=40))
    filler = make_filler(config, network=make_knowing(answer), sampling=steps)
    window = window_of(audio, filler, 800, 1200)
    assert find_candidates(window, SimilarityConfig(context_ms=100.0), 1) == []
    fill = filler.fill([window], num_takes=1, rng=Rng(0))[0][0]
    assert fill.details["draft"] == draft
    assert fill.details["network_calls"] == calls
    assert max(told) == 0
    likeness = np.corrcoef(fill.samples[0], audio.samples[0, 800:1200])[0, 1]
    assert likeness > 0.9 if start < 1 else likeness < 0.5


def test_what_nothing_is_known_of_starts_from_noise_whatever_the_settings() -> None:
    config = replace(PLAIN, draft="similarity", fallback_start=0.2)
    filler = make_filler(config)
    gap = Region(start=0, stop=1200)
    window = Window(
        samples=np.zeros((1, 1200)),
        known=np.zeros(1200, dtype=bool),
        gap=gap,
        start=0,
        sample_rate=RATE,
    )
    fill = filler.fill([window], num_takes=1, rng=Rng(0))[0][0]
    assert fill.details["draft"] == "none"


def test_frames_of_other_gaps_start_from_noise_of_full_variance() -> None:
    seen: list[torch.Tensor] = []

    def answer(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        seen.append(x)
        return x

    filler = make_filler(network=make_knowing(answer))
    window = window_of(sound(RATE, 1), filler, 3000, 3400)
    known = window.known.copy()
    known[window.gap.start - 1200 : window.gap.start - 400] = False
    crowded = replace(window, known=known, samples=window.samples * known)
    draft = np.zeros((1, 400))
    filler.fill([drafted(crowded, draft, 0.2)], num_takes=1, rng=Rng(0))
    spread = seen[0][0].std(dim=1)
    assert int((spread > 0.6).sum()) >= 1200 // HOP // 2
    assert float(spread[spread > 0.6].mean()) == pytest.approx(1.0, abs=0.15)


def test_a_loud_draft_stays_loud_between_soft_sides() -> None:
    def answer(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        assert condition is not None
        return draft_of(condition)

    filler = make_filler(network=make_knowing(answer))
    audio = Audio.from_samples(0.01 * sound(RATE, 1).samples, RATE)
    window = window_of(audio, filler, 3000, 3800)
    draft = 0.2 * np.random.default_rng(0).standard_normal((1, 800))
    fill = filler.fill([drafted(window, draft, 0.5)], num_takes=1, rng=Rng(0))[0][0]
    assert abs(level_db(fill.samples) - level_db(draft)) < 0.5
    network = make_knowing(lambda x, t, condition: torch.ones_like(x))
    held = make_filler(network=network).fill([window], num_takes=1, rng=Rng(0))[0][0]
    plain = make_filler(network=network).fill(
        [drafted(window, draft, 1.0)], num_takes=1, rng=Rng(0)
    )[0][0]
    assert level_db(held.samples) < level_db(plain.samples) - 5  # the sides', not the draft's


def test_fills_do_not_depend_on_the_windows_beside_them() -> None:
    audio = sound(RATE, 2)
    filler = make_filler(replace(PLAIN, batch_size=3, num_candidates=2))
    windows = [window_of(audio, filler, a, b) for a, b in ((100, 260), (2000, 2333), (4000, 4330))]
    together = filler.fill(windows, num_takes=2, rng=Rng(5))
    for window, fills in zip(windows, together, strict=True):
        alone = filler.fill([window], num_takes=2, rng=Rng(5))[0]
        assert len(fills) == len(alone) == 2
        for fill, other in zip(fills, alone, strict=True):
            assert np.allclose(fill.samples, other.samples, atol=1e-6)
    elsewhere = replace(windows[1], start=windows[1].start + 1)
    moved = filler.fill([elsewhere], num_takes=2, rng=Rng(5))[0]
    assert not np.allclose(moved[0].samples, together[1][0].samples, atol=1e-3)


def test_guided_fills_tell_the_network_nothing_and_use_what_is_known() -> None:
    """A network that shrinks all frames to their mean is guided to the mean that is known."""
    seen: list[object] = []

    def answer(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        seen.append(condition)
        return x.mean(dim=1, keepdim=True).expand_as(x)

    config = replace(PLAIN, mode="guided", draft="similarity")
    audio = Audio.from_samples(np.full((1, RATE), 0.1), RATE)
    levels = []
    for step_size in (0.0, 0.1):
        sampling = replace(GUIDED, guidance=replace(GUIDED.guidance, step_size=step_size))
        sampling = replace(sampling, sampler=replace(sampling.sampler, steps=20))
        sampling = replace(sampling, guidance=replace(sampling.guidance, consistency="end"))
        filler = make_filler(config, network=make_knowing(answer), sampling=sampling)
        window = window_of(audio, filler, 3000, 3400)
        fill = filler.fill([window], num_takes=1, rng=Rng(1))[0][0]
        assert fill.details["network_calls"] == 20
        levels.append(float(np.abs(fill.samples - 0.1).mean()))
    assert set(seen) == {None}
    assert levels[1] < 0.5 * levels[0]


def test_a_network_without_a_condition_can_only_be_guided() -> None:
    network = make_dit(is_told=False)
    with pytest.raises(ConfigError, match="mode='guided'"):
        make_filler(network=network)
    filler = make_filler(replace(PLAIN, mode="guided"), network=network)
    window = window_of(sound(RATE, 1), filler, 3000, 3400)
    assert np.isfinite(filler.fill([window], num_takes=1, rng=Rng(0))[0][0].samples).all()


def test_codec_and_network_must_be_made_for_each_other() -> None:
    with pytest.raises(ConfigError, match="80 features and the network 64"):
        make_filler(network=make_dit(64))
    with pytest.raises(ConfigError, match="takes 2 channels together"):
        make_filler(codec=BlockLatents(num_channels=2))


def test_something_comes_from_nothing_alike_in_all_channels() -> None:
    filler = make_filler(network=make_knowing(lambda x, t, condition: x))
    window = Window(
        samples=np.zeros((2, 2000)),
        known=np.zeros(2000, dtype=bool),
        gap=Region(start=0, stop=2000),
        start=0,
        sample_rate=RATE,
    )
    assert filler.can_generate
    fill = filler.fill([window], num_takes=1, rng=Rng(0))[0][0]
    assert fill.samples.shape == (2, 2000)
    assert np.array_equal(fill.samples[0], fill.samples[1])
    assert -35 < level_db(fill.samples) < -15
    draft = 0.1 * np.random.default_rng(0).standard_normal((2, 2000))
    own = filler.fill([drafted(window, draft, 0.3)], num_takes=1, rng=Rng(0))[0][0]
    assert not np.array_equal(own.samples[0], own.samples[1])


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_without_sound_to_encode_a_gap_is_still_filled_and_confidence_says_so(
    level: float,
) -> None:
    audio = Audio.from_samples(np.full((2, 1000), level), RATE)
    filler = make_filler()
    fills = filler.fill([window_of(audio, filler, 20, 970)], num_takes=2, rng=Rng(0))[0]
    assert len(fills) == 1
    assert fills[0].samples.shape == (2, 950)
    assert fills[0].confidence == (0.05 if level else 0.0)
    assert "fallback" in fills[0].details


def test_one_known_side_is_enough() -> None:
    filler = make_filler(replace(PLAIN, guard=2, edge_ms=5.0))
    audio = sound(RATE, 2)
    for start, stop in ((0, 1200), (audio.num_samples - 1200, audio.num_samples)):
        window = window_of(audio, filler, start, stop)
        fill = filler.fill([window], num_takes=1, rng=Rng(0))[0][0]
        assert fill.details["network_calls"] == 2
        assert np.isfinite(fill.samples).all()
        assert "fallback" not in fill.details


def test_noise_fills_up_what_a_fill_lacks_of_its_sides() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, RATE))
    network = make_knowing(lambda x, t, condition: torch.zeros_like(x))
    levels = []
    for share in (0.0, 1.0):
        filler = make_filler(replace(PLAIN, noise_share=share), network=network)
        window = window_of(Audio.from_samples(noise, RATE), filler, 3000, 3800)
        fill = filler.fill([window], num_takes=1, rng=Rng(0))[0][0]
        levels.append(level_db(fill.samples[:, 200:-200]))
    assert levels[0] < -60
    assert abs(levels[1] + 20) < 2


def test_a_style_is_refused_by_a_model_that_follows_none() -> None:
    filler = make_filler()
    window = window_of(sound(RATE, 1), filler, 3000, 3400)
    style = Style(tags=("rain",))
    assert not filler.uses_style
    with pytest.raises(UnsupportedCanvasError, match="follows no style"):
        filler.fill([replace(window, style=style)], num_takes=1, rng=Rng(0))
    asked: list[object] = []

    def losses(style: Style, codec: LatentCodec, known: torch.Tensor) -> tuple[()]:
        asked.append((style, codec, bool(known.any()), bool(known.all())))
        return ()

    codec = BlockLatents()
    other = LatentFiller(
        codec, make_dit(), TO_X0, config=PLAIN, sampling=TWO_STEPS, style_losses=losses
    )
    assert other.uses_style
    other.fill([replace(window, style=style), window], num_takes=1, rng=Rng(0))
    assert asked == [(style, codec, True, False)]
    assert other.tags == known_tags()
    assert filler.tags == ()
    stereo = window_of(sound(RATE, 2), other, 3000, 3400)
    other.fill([replace(stereo, style=style)], num_takes=1, rng=Rng(0))
    assert len(asked) == 2  # once more, for the loudest part alone


@pytest.mark.parametrize(("weight", "draft", "calls"), [(0.0, "similarity", 2), (1.0, "none", 7)])
def test_a_style_that_pulls_copies_nothing_and_takes_the_many_steps(
    weight: float, draft: str, calls: int
) -> None:
    config = replace(PLAIN, draft="similarity", search_ms=2000.0)
    filler = LatentFiller(
        BlockLatents(),
        make_dit(),
        TO_X0,
        config=config,
        sampling=TWO_STEPS,
        pulled=LatentSampling(sampler=GaussianSamplerConfig(steps=7)),
        style_losses=lambda style, codec, known: (),
    )
    window = window_of(_beats(), filler, 15200, 16000)
    styled = replace(window, style=Style(tags=("rain",), weight=weight))
    fill = filler.fill([styled], num_takes=1, rng=Rng(0))[0][0]
    assert fill.details["draft"] == draft
    assert fill.details["network_calls"] == calls


@pytest.mark.parametrize(("weight", "level"), [(0.0, -24.0), (1.0, -21.0)])
def test_a_fill_that_a_style_pulls_is_as_loud_as_its_sides(weight: float, level: float) -> None:
    rng = np.random.default_rng(0)
    audio = Audio.from_samples(0.1 * rng.standard_normal((1, 6400)), RATE)
    softer = torch.from_numpy(0.063 * rng.standard_normal((1, 400, HOP)) / SCALE).float()
    filler = LatentFiller(
        BlockLatents(),
        make_knowing(lambda x, t, condition: softer[:, : x.shape[1]].expand_as(x)),
        TO_X0,
        config=PLAIN,
        sampling=TWO_STEPS,
        pulled=TWO_STEPS,
        style_losses=lambda style, codec, known: (),
    )
    window = window_of(audio, filler, 3000, 3800)
    styled = replace(window, style=Style(tags=("rain",), weight=weight))
    fill = filler.fill([styled], num_takes=1, rng=Rng(0))[0][0]
    assert abs(level_db(fill.samples) - level) < 0.4


def test_steps_may_be_chosen() -> None:
    filler = make_filler().with_steps(5)
    window = window_of(sound(RATE, 1), filler, 3000, 3400)
    fill = filler.fill([window], num_takes=1, rng=Rng(0))[0][0]
    assert fill.details["network_calls"] == 5
    assert fill.max_hz == RATE / 2
    with pytest.raises(ConfigError, match="steps"):
        make_filler().with_steps(0)


def test_what_is_not_changed_stays_as_it_was() -> None:
    filler = make_filler()
    other = filler.changed(config=replace(PLAIN, guard=1), pulled=GUIDED)
    assert (other.config.guard, other.pulled) == (1, GUIDED)
    for name in ("codec", "network", "process", "sampling", "free", "name", "uses_style"):
        assert getattr(other, name) == getattr(filler, name), name


def nothing(num_samples: int) -> Window:
    return Window(
        samples=np.zeros((1, num_samples)),
        known=np.zeros(num_samples, dtype=bool),
        gap=Region(start=0, stop=num_samples),
        start=0,
        sample_rate=RATE,
    )


def test_estimates_get_the_gains_of_the_steps_they_are_made_for() -> None:
    codec = BlockLatents()
    plain, scaled = (
        LatentFiller(
            codec,
            make_dit(codec.num_features, spread=0.1),
            TO_X0,
            config=PLAIN,
            sampling=TWO_STEPS,
            free=LatentSampling(sampler=GaussianSamplerConfig(kind="ddim", steps=7), gains=gains),
        )
        for gains in ((), ((0.2, 1.5),))
    )
    windows = [nothing(2000), window_of(sound(RATE, 1), plain, 3000, 3400)]
    before, after = (
        [takes[0].samples for takes in filler.fill(windows, num_takes=1, rng=Rng(0))]
        for filler in (plain, scaled)
    )
    assert np.std(after[0]) > 1.2 * np.std(before[0])
    assert np.array_equal(after[1], before[1])


def test_gains_are_read_between_their_times_and_beyond_them() -> None:
    sampling = LatentSampling(gains=((0.5, 1.0), (0.9, 2.0)))
    scaled = sampling.scaled(lambda x, t: x)
    t = torch.tensor([0.1, 0.5, 0.7, 0.9, 1.0])
    found = scaled(torch.ones(5, 2, 3), t)
    torch.testing.assert_close(found[:, 1, 2], torch.tensor([1.0, 1.0, 1.5, 2.0, 2.0]))
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    "gains",
    [
        ((0.5, 1.0), (0.5, 1.1)),
        ((0.9, 1.0), (0.5, 1.1)),
        ((1.1, 1.0),),
        ((0.5, 0.0),),
        ((0.5, 11.0),),
    ],
)
def test_gains_that_make_no_sense_are_refused(gains: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ConfigError, match="rising times in"):
        LatentSampling(gains=gains)


def test_where_nothing_is_known_steps_are_the_free_ones() -> None:
    codec = BlockLatents()
    filler = LatentFiller(
        codec,
        make_dit(codec.num_features, spread=0.1),
        TO_X0,
        config=PLAIN,
        sampling=TWO_STEPS,
        free=LatentSampling(sampler=GaussianSamplerConfig(kind="ddim", steps=7)),
    )
    empty = nothing(2000)
    windows = [empty, window_of(sound(RATE, 1), filler, 3000, 3400)]
    calls = [
        takes[0].details["network_calls"] for takes in filler.fill(windows, num_takes=1, rng=Rng(0))
    ]
    assert calls == [7, 2]
    chosen = filler.with_steps(5)
    assert chosen.fill([empty], num_takes=1, rng=Rng(0))[0][0].details["network_calls"] == 5


def test_long_gaps_get_long_sequences() -> None:
    lengths: list[int] = []

    def answer(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        lengths.append(x.shape[1])
        return x

    filler = make_filler(network=make_knowing(answer))
    audio = sound(RATE, 1, 3.0)
    for gap in (1200, 1201):
        window = window_of(audio, filler, 12000, 12000 + gap)
        filler.fill([window], num_takes=1, rng=Rng(0))
    assert [lengths[0], lengths[-1]] == [50, 80]


def test_a_round_trip_keeps_rate_length_and_place() -> None:
    filler = make_filler()
    slow = sound(RATE, 2, 6.0)
    assert filler.round_trip is not None
    assert np.abs(filler.round_trip(slow.samples, RATE) - slow.samples).max() < 1e-5
    time = np.arange(33333) / 44100
    tone = 0.3 * np.sin(2 * np.pi * 500 * time)[None]
    decoded = filler.round_trip(tone, 44100)
    assert decoded.shape == tone.shape
    assert np.abs(decoded - tone)[:, 500:-500].max() < 1e-3


def test_a_window_is_cut_around_its_gap() -> None:
    filler = make_filler()
    window = window_of(sound(RATE, 1), filler, 3000, 3400)
    near = crop(window, 100)
    assert near.start + near.gap.start == 3000
    assert near.samples.shape == (1, 600)
    assert np.array_equal(near.before(100), window.before(100))
    whole = crop(window, 10**6)
    assert np.array_equal(whole.samples, window.samples)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detail": 1.1}, "detail must be in"),
        ({"detail_range": (0.9, 0.3)}, "detail_range must be two distances"),
        ({"max_gap_ms": 5000.0}, "a gap of 5000 ms gets a sequence of 4400 ms"),
        ({"long_gap_ms": 3000.0, "max_gap_ms": 2500.0}, "a gap of 2500 ms gets a sequence"),
        ({"num_candidates": 0}, "num_candidates must be in"),
        ({"noise_share": float("nan")}, "noise_share must be in"),
        ({"guard": 9}, "guard must be in"),
        ({"sure_slope": 0.0}, "sure_slope must be in"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LatentFillerConfig(**change)  # type: ignore[arg-type]
