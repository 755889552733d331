"""Filling gaps sample by sample: levels, channels, drafts, draws, and what is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tiny_waveform import FOLDED, NUM, OCTAVES, RATE, make_network, make_window
from weft.audio.levels import level_db
from weft.canvas.canvas import Region, Window
from weft.canvas.compose import compose
from weft.errors import ConfigError
from weft.rng import Rng
from weft.sampling.guidance import GuidanceConfig
from weft.sampling.steps_gaussian import GaussianSamplerConfig
from weft.sampling.waveform_filler import SoftTimeMask, WaveformFiller
from weft.sampling.waveform_settings import WaveformFillerConfig

_STEPS = GaussianSamplerConfig(steps=3)


def _filler(
    network: object = None,
    *,
    guidance: GuidanceConfig | None = None,
    sampler: GaussianSamplerConfig = _STEPS,
    **settings: object,
) -> WaveformFiller:
    return WaveformFiller(
        network or make_network(),  # type: ignore[arg-type]
        sample_rate=RATE,
        sampler=sampler,
        guidance=guidance,
        config=WaveformFillerConfig(**settings),  # type: ignore[arg-type]
    )


def _fill(
    filler: WaveformFiller, *windows: Window, takes: int = 1, seed: int = 0
) -> list[list[np.ndarray]]:
    found = filler.fill(windows, num_takes=takes, rng=Rng(seed))
    return [[fill.samples for fill in fills] for fills in found]


@pytest.mark.parametrize("config", [FOLDED, OCTAVES], ids=["folded", "octaves"])
@pytest.mark.parametrize(("channels", "rate"), [(1, RATE), (2, 11025)])
def test_fills_have_the_shape_of_the_gap_at_any_rate(
    config: object, channels: int, rate: int
) -> None:
    window = make_window(channels=channels, rate=rate)
    filler = _filler(make_network(config))  # type: ignore[arg-type]
    (fill,) = filler.fill([window], num_takes=1, rng=Rng(0))[0]
    assert fill.samples.shape == (channels, window.gap.num_samples)
    assert np.isfinite(fill.samples).all()
    assert fill.details["network_calls"] in (3.0, 6.0)  # for each part of the channels
    assert 0 <= fill.confidence <= 1
    assert compose(window, fill).shape == fill.samples.shape


def test_draws_depend_on_the_seed_and_the_place_but_not_on_the_batch() -> None:
    window = make_window()
    moved = replace(window, start=5000)
    filler = _filler(batch_size=3)
    together = _fill(filler, window, moved, takes=2)
    alone = _fill(filler, moved, takes=2)
    for one, other in zip(together[1], alone[0], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert not np.allclose(together[0][0], together[1][0], atol=1e-3)
    assert not np.allclose(alone[0][0], alone[0][1], atol=1e-3)
    assert np.array_equal(alone[0][0], _fill(filler, moved, takes=2)[0][0])
    assert not np.allclose(alone[0][0], _fill(filler, moved, takes=2, seed=1)[0][0], atol=1e-3)


def test_a_fill_scales_with_the_recording() -> None:
    loud, soft = make_window(level=0.4), make_window(level=0.004)
    filler = _filler()
    np.testing.assert_allclose(
        _fill(filler, loud)[0][0], 100 * _fill(filler, soft)[0][0], atol=1e-3
    )


class _Recorder:
    """Watches what a network is given."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.inputs: list[torch.Tensor] = []
        network.register_forward_pre_hook(lambda _, given: self.inputs.append(given[0].detach()))


def test_known_sound_reaches_the_network_at_variance_one_and_its_true_places() -> None:
    network, window = make_network(), make_window()
    watched = _Recorder(network)
    sampler = GaussianSamplerConfig(steps=2, first_time=0.02)  # next to no noise
    guidance = GuidanceConfig(step_size=0.0, consistency="clean")
    _fill(_filler(network, sampler=sampler, guidance=guidance), window)
    given = watched.inputs[0][0, :, 0].double().numpy()
    num = window.samples.shape[1]
    low = window.gap.start - (NUM - window.gap.num_samples) // 2
    whole = window.samples[0]
    wanted = whole / np.sqrt(np.mean(whole[window.known] ** 2))
    shown = min(NUM, num - max(0, low))
    part = wanted[max(0, low) : max(0, low) + shown]
    known = window.known[max(0, low) : max(0, low) + shown]
    assert np.abs(given[:shown][known] - part[known]).max() < 0.05


def test_a_network_of_two_channels_gets_both_with_their_own_levels() -> None:
    network = make_network(num_channels=2)
    watched = _Recorder(network)
    window = make_window(channels=2)
    window = replace(window, samples=window.samples * np.array([[1.0], [0.25]]))
    guidance = GuidanceConfig(step_size=0.0, consistency="clean")
    found = _fill(_filler(network, guidance=guidance), window)[0][0]
    assert found.shape[0] == 2
    given = watched.inputs[-1]
    assert given.shape == (1, NUM, 2)
    levels = [float(given[0, :500, k].square().mean().sqrt()) for k in range(2)]
    assert levels[1] / levels[0] == pytest.approx(0.25, rel=0.1)
    odd = _fill(_filler(network), make_window(channels=3))[0][0]
    assert odd.shape[0] == 3


def test_strength_zero_gives_the_draft_back() -> None:
    window = make_window(channels=2)
    num = window.gap.num_samples
    draft = 0.1 * np.sin(np.arange(2 * num).reshape(2, num) / 3.0)
    window = replace(window, draft=draft, draft_strength=0.0)
    found = _fill(_filler(edge_ms=0.0), window)[0][0]
    np.testing.assert_allclose(found, draft, atol=2e-3)
    whole = _fill(_filler(edge_ms=0.0), replace(window, draft_strength=1.0))[0][0]
    assert np.abs(whole - draft).max() > 0.02


def test_windows_in_which_nothing_is_known_are_filled_at_the_level_that_is_set() -> None:
    num = NUM // 2
    window = Window(
        samples=np.zeros((2, num)),
        known=np.zeros(num, dtype=bool),
        gap=Region(start=0, stop=num),
        start=0,
        sample_rate=RATE,
    )
    filler = _filler(make_network(std=None), empty_level_db=-30.0)
    found = _fill(filler, window)[0][0]
    # With v = 0 a step keeps the estimate at alpha x: what is left of the noise is below 1.
    assert -60 < level_db(found) < -29
    assert filler.can_generate
    assert filler.uses_draft


def test_beside_silence_linear_prediction_fills() -> None:
    window = make_window(level=0.0)
    (fill,) = _filler().fill([window], num_takes=3, rng=Rng(0))[0]
    assert "fallback" in fill.details
    assert fill.confidence <= 0.05


def test_guidance_calls_for_gradients_and_moves_the_fill() -> None:
    window = make_window()
    plain = _filler(guidance=GuidanceConfig(step_size=0.0), edge_ms=0.0)
    guided = _filler(guidance=GuidanceConfig(step_size=0.05), edge_ms=0.0)
    moved = np.abs(_fill(plain, window)[0][0] - _fill(guided, window)[0][0]).max()
    assert moved > 1e-5


def test_the_best_of_several_candidates_comes_first() -> None:
    window = make_window()
    filler = _filler(num_candidates=4)
    fills = filler.fill([window], num_takes=4, rng=Rng(0))[0]
    sure = [fill.confidence for fill in fills]
    assert sure == sorted(sure, reverse=True)
    (best,) = filler.fill([window], num_takes=1, rng=Rng(0))[0]
    assert np.array_equal(best.samples, fills[0].samples)


def test_an_edge_fades_from_the_estimate_to_what_is_known() -> None:
    known = torch.tensor([[True] * 6 + [False] * 2 + [True] * 2])
    mask = SoftTimeMask(known=known, num_edge=3)
    found = mask.project(torch.zeros(1, 10, 1), torch.ones(1, 10, 1))[0, :, 0]
    rise = torch.sin(torch.pi / 2 * torch.arange(1, 4) / 4) ** 2
    wanted = torch.cat([torch.ones(3), rise.flip(0), torch.zeros(2), rise[:2]])
    torch.testing.assert_close(found, wanted)
    hard = SoftTimeMask(known=known, num_edge=0)
    assert torch.equal(
        hard.project(torch.zeros(1, 10, 1), torch.ones(1, 10, 1))[0, :, 0], known[0].float()
    )
    whole = SoftTimeMask(known=torch.ones(1, 4, dtype=torch.bool), num_edge=3)
    assert torch.equal(
        whole.project(torch.zeros(1, 4, 1), torch.ones(1, 4, 1)), torch.ones(1, 4, 1)
    )


def test_an_edge_is_used_where_the_estimate_is_kept_consistent() -> None:
    window = make_window()
    guidance = GuidanceConfig(step_size=1.0, normalisation="dps", consistency="x0")
    sampler = GaussianSamplerConfig(kind="heun", steps=2, first_time=0.999)
    soft = _filler(make_network(OCTAVES), guidance=guidance, sampler=sampler, edge_samples=50)
    hard = _filler(make_network(OCTAVES), guidance=guidance, sampler=sampler)
    assert not np.allclose(_fill(soft, window)[0][0], _fill(hard, window)[0][0], atol=1e-6)
    with pytest.raises(ConfigError, match="an edge needs consistency x0"):
        _filler(edge_samples=50)


def test_facts() -> None:
    filler = _filler(max_gap_share=0.25)
    assert filler.max_gap_ms == 1000 * (NUM // 4) / RATE
    assert filler.context_ms(50.0) == 1000 * NUM / RATE
    assert filler.max_hz == RATE / 2
    assert filler.num_parameters == sum(p.numel() for p in make_network().parameters())
    assert filler.with_steps(7).sampler.steps == 7


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_gap_share": 0.0}, "max_gap_share"),
        ({"empty_level_db": 1.0}, "empty_level_db"),
        ({"least_part_db": 0.0}, "least_part_db"),
        ({"edge_samples": -1}, "edge_samples"),
        ({"num_candidates": 0}, "num_candidates"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WaveformFillerConfig(**changed)  # type: ignore[arg-type]
