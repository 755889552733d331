from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from oracles.gaussian_process import GaussianField, make_field
from weft.errors import ConfigError, DivergenceError, ShapeError
from weft.process.gaussian import CosineSchedule, FlowSchedule, GaussianProcess, TableSchedule
from weft.process.sequence import EncodedCanvas
from weft.rng import Rng
from weft.sampling.consistency import Measurement
from weft.sampling.fill_gaussian import FilledSequence, draft_time, fill_gaussian
from weft.sampling.guidance import GuidanceConfig, ReconstructionLoss, Weighted
from weft.sampling.measure import LowPass, TimeMask
from weft.sampling.steps_gaussian import GaussianSamplerConfig

FIELD = make_field(24, reach=6.0)
PROCESS = GaussianProcess()
KINDS = ["ddpm", "ddim", "dpmpp-2m", "euler", "heun"]
FORMS = ["clean", "noised", "x0", "end"]


def canvas_of(num_items: int = 2, *, num_frames: int = 24, seed: int = 0) -> EncodedCanvas:
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.standard_normal((num_items, num_frames, 3)))
    known = torch.ones(num_items, num_frames, dtype=torch.bool)
    known[:, 8:16] = False
    return EncodedCanvas(
        x=x,
        known=known,
        valid=torch.ones_like(known),
        draft=torch.from_numpy(rng.standard_normal(x.shape)),
    )


def streams(number: int, seed: int = 0) -> list[np.random.Generator]:
    return [Rng(seed).stream(i) for i in range(number)]


def reconstruct(canvas: EncodedCanvas) -> list[Weighted]:
    mask = TimeMask(known=canvas.known)
    return [Weighted(loss=ReconstructionLoss(operator=mask, target=mask.apply(canvas.x)))]


@dataclass
class Network:
    """The ideal denoiser, which keeps what it was called with."""

    of: GaussianField = FIELD
    schedule: object = field(default_factory=CosineSchedule)
    times: list[float] = field(default_factory=list)
    with_gradient: list[bool] = field(default_factory=list)
    seen: list[Tensor] = field(default_factory=list)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.times.append(float(t[0]))
        self.with_gradient.append(x.requires_grad and torch.is_grad_enabled())
        self.seen.append(x.detach())
        return self.of.denoise_fn(self.schedule)(x, t)


def fill(
    canvas: EncodedCanvas,
    *,
    kind: str = "ddpm",
    steps: int = 6,
    network=None,
    seed: int = 0,
    process: GaussianProcess = PROCESS,
    losses: list[Weighted] | tuple[Weighted, ...] = (),
    strength: float = 1.0,
    is_literal_start: bool = False,
    measurement: Measurement | None = None,
    **guidance,
) -> FilledSequence:
    return fill_gaussian(
        canvas,
        network or Network(schedule=process.schedule),
        process,
        sampler=GaussianSamplerConfig(kind=kind, steps=steps),
        guidance=GuidanceConfig(**guidance),
        rngs=streams(len(canvas.x), seed),
        losses=losses,
        strength=strength,
        is_literal_start=is_literal_start,
        measurement=measurement,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_known_frames_come_back_bit_for_bit(kind, form):
    canvas = canvas_of()
    found = fill(canvas, kind=kind, consistency=form, losses=reconstruct(canvas)).x
    assert torch.equal(found[canvas.known], canvas.x[canvas.known])
    assert bool(found.isfinite().all())
    assert not torch.equal(found, canvas.x)
    assert not found.requires_grad


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", [FlowSchedule(), TableSchedule()], ids=["flow", "table"])
def test_every_sampler_fills_with_every_schedule(kind, schedule):
    canvas = canvas_of()
    process = GaussianProcess(schedule=schedule)
    found = fill(canvas, kind=kind, process=process, losses=reconstruct(canvas)).x
    assert bool(found.isfinite().all())
    assert float(found.abs().max()) < 20


def test_what_stands_at_unknown_frames_is_not_read():
    canvas = canvas_of()
    other = replace(canvas, x=torch.where(canvas.known[..., None], canvas.x, torch.nan))
    assert torch.equal(
        fill(canvas, losses=reconstruct(canvas)).x, fill(other, losses=reconstruct(canvas)).x
    )


@pytest.mark.parametrize("kind", ["ddpm", "heun"])
@pytest.mark.parametrize("form", FORMS)
def test_an_item_draws_the_same_in_every_batch(kind, form):
    canvas = canvas_of(3)
    whole = fill(canvas, kind=kind, consistency=form, resampling=2).x
    part = EncodedCanvas(x=canvas.x[1:2], known=canvas.known[1:2], valid=canvas.valid[1:2])
    alone = fill_gaussian(
        part,
        Network(),
        PROCESS,
        sampler=GaussianSamplerConfig(kind=kind, steps=6),
        guidance=GuidanceConfig(consistency=form, resampling=2),
        rngs=streams(3)[1:2],
    ).x
    assert torch.allclose(whole[1:2], alone, atol=1e-12)


def test_padding_changes_nothing_and_comes_back_as_given():
    canvas = canvas_of(1)

    def padded_network(x: Tensor, t: Tensor) -> Tensor:
        assert not bool(x[:, 24:].any())
        return torch.nn.functional.pad(Network()(x[:, :24], t), (0, 0, 0, 5), value=7.0)

    def pad(x: Tensor, value: float = 0) -> Tensor:
        return torch.cat([x, torch.full((1, 5, *x.shape[2:]), value).to(x)], dim=1)

    longer = EncodedCanvas(x=pad(canvas.x, 3.0), known=pad(canvas.known), valid=pad(canvas.valid))
    found = fill(longer, network=padded_network, resampling=2).x
    assert torch.allclose(found[:, :24], fill(canvas, resampling=2).x, atol=1e-12)
    assert torch.equal(found[:, 24:], longer.x[:, 24:])


@pytest.mark.parametrize(
    ("kind", "resampling", "calls"),
    [
        ("ddpm", 1, 6),
        ("ddim", 1, 6),
        ("heun", 1, 11),  # two a step, but in the step to the clean end
        ("ddpm", 3, 1 + 4 * 3 + 1),  # not in the first step from pure noise, and not in the last
        ("heun", 2, 2 + 4 * 4 + 1),
        ("dpmpp-2m", 3, 1 + 4 * 3 + 1),  # its memory of the last step does not outlive added noise
    ],
)
def test_calls_are_counted(kind, resampling, calls):
    network = Network()
    found = fill(canvas_of(), kind=kind, resampling=resampling, network=network)
    assert found.num_calls == len(network.times) == calls


def test_a_canvas_without_unknown_frames_makes_no_call():
    canvas = canvas_of()
    whole = replace(canvas, known=torch.ones_like(canvas.known))
    found = fill(whole)
    assert found.num_calls == 0
    assert torch.equal(found.x, canvas.x)


@pytest.mark.parametrize(("step_size", "expected"), [(0.0, False), (0.1, True)])
def test_a_step_size_of_zero_takes_no_gradients(step_size, expected):
    canvas, network = canvas_of(), Network()
    fill(canvas, network=network, losses=reconstruct(canvas), step_size=step_size)
    assert set(network.with_gradient) == {expected}


def test_no_losses_take_no_gradients_even_within_enable_grad():
    network = Network()
    with torch.enable_grad():
        found = fill(canvas_of(), network=network)
    assert not any(network.with_gradient)
    assert not found.x.requires_grad


def test_guidance_works_where_gradients_are_off_and_leaves_parameters_alone():
    canvas = canvas_of()
    gain = torch.nn.Parameter(torch.ones(1).double())

    def network(x: Tensor, t: Tensor) -> Tensor:
        return gain * Network()(x, t)

    with torch.no_grad():
        found = fill(canvas, network=network, losses=reconstruct(canvas), step_size=0.1).x
    assert gain.grad is None
    assert not torch.equal(found, fill(canvas, network=network).x)


def test_guidance_within_inference_mode_is_refused():
    canvas = canvas_of()
    with torch.inference_mode(), pytest.raises(ConfigError, match="inference_mode"):
        fill(canvas, losses=reconstruct(canvas))
    with torch.inference_mode():
        assert fill(canvas).num_calls == 6


def test_ddpm_moves_by_the_step_size_times_the_gradient():
    # One step from t = 1 to 0 is the estimate less the gradient; 50 / steps = 50.
    canvas = canvas_of(1)
    canvas = replace(canvas, known=torch.zeros_like(canvas.known))
    mask = TimeMask(known=torch.ones_like(canvas.known))
    losses = [Weighted(loss=ReconstructionLoss(operator=mask, target=canvas.x), weight=2.0)]
    plain = fill(canvas, steps=1, network=lambda x, t: 0.25 * x).x
    guided = fill(canvas, steps=1, network=lambda x, t: 0.25 * x, losses=losses, step_size=0.01).x
    assert torch.allclose(
        guided, plain - 0.01 * 50 * 2 * 0.25 * torch.sign(plain - canvas.x), atol=1e-12
    )


@pytest.mark.parametrize("kind", ["ddim", "dpmpp-2m", "euler"])
def test_other_samplers_move_by_that_times_both_noise_scales(kind):
    canvas = canvas_of(1)
    canvas = replace(canvas, known=torch.zeros_like(canvas.known))
    mask = TimeMask(known=torch.ones_like(canvas.known))
    losses = [Weighted(loss=ReconstructionLoss(operator=mask, target=canvas.x))]
    sampler = GaussianSamplerConfig(kind=kind, steps=1, first_time=0.7, last_time=0.4)

    def run(**extra) -> Tensor:
        return fill_gaussian(
            canvas,
            lambda x, t: 0.25 * x,
            PROCESS,
            sampler=sampler,
            guidance=GuidanceConfig(step_size=0.01),
            rngs=streams(1),
            **extra,
        ).x

    start = streams(1)[0].standard_normal((24, 3))
    sign = torch.sign(0.25 * torch.from_numpy(start)[None] - canvas.x)
    move = 0.01 * 50 * np.sin(0.7 * np.pi / 2) * np.sin(0.4 * np.pi / 2) * 0.25 * sign
    assert torch.allclose(run(losses=losses), run() - move, atol=1e-12)


def test_heun_moves_by_the_mean_of_both_gradients():
    canvas = canvas_of(1)
    canvas = replace(canvas, known=torch.zeros_like(canvas.known))
    mask = TimeMask(known=torch.ones_like(canvas.known))
    losses = [Weighted(loss=ReconstructionLoss(operator=mask, target=canvas.x + 100))]
    sampler = GaussianSamplerConfig(kind="heun", steps=1, first_time=0.7, last_time=0.4)

    def run(**extra) -> Tensor:
        return fill_gaussian(
            canvas,
            lambda x, t: (1 + 4 * t[:, None, None]) * (x - x.detach()),  # 0, but with a gradient
            PROCESS,
            sampler=sampler,
            guidance=GuidanceConfig(step_size=0.01),
            rngs=streams(1),
            **extra,
        ).x

    sin, cos = (f(np.pi / 2 * np.array([0.7, 0.4])) for f in (np.sin, np.cos))
    first, second = (0.01 * 50 * sin[0] * sin[1] * (1 + 4 * t) for t in (0.7, 0.4))
    total = sin + cos
    # The velocity at the end is that of a sequence which the first gradient has already moved.
    onward = first * (1 - sin[0] * total[1] / (sin[1] * total[0]))
    expected = (first + second + onward) / 2
    assert torch.allclose(run(losses=losses), run() + expected, atol=1e-12)


def test_guidance_of_all_steps_together_does_not_grow_with_their_number():
    canvas = canvas_of(1)
    canvas = replace(canvas, known=torch.zeros_like(canvas.known))
    mask = TimeMask(known=torch.ones_like(canvas.known))
    losses = [Weighted(loss=ReconstructionLoss(operator=mask, target=canvas.x + 50))]
    moved = []
    for steps in (25, 100):
        # The network changes nothing: what moves is guidance, through estimates like x itself.
        plain, guided = (
            fill(canvas, kind="ddim", steps=steps, losses=use, network=lambda x, t: 1.0 * x).x
            for use in ((), losses)
        )
        moved.append(float((guided - plain).mean()))
    assert moved[0] == pytest.approx(moved[1], rel=0.1)
    assert moved[0] > 0.3


@given(strength=st.floats(0.01, 0.99))
def test_a_draft_starts_where_noise_has_its_strength(strength):
    expected = 2 / np.pi * np.arctan(strength / (1 - strength))
    assert draft_time(strength, CosineSchedule()) == pytest.approx(expected, abs=1e-9)
    assert draft_time(strength, FlowSchedule()) == pytest.approx(strength, abs=1e-9)


def test_strengths_zero_and_one_are_the_ends_of_time():
    assert draft_time(0.0, CosineSchedule()) == 0
    assert draft_time(1.0, CosineSchedule()) == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_strength_zero_returns_the_draft_bit_for_bit(dtype):
    canvas = canvas_of()
    canvas = replace(canvas, x=canvas.x.to(dtype), draft=canvas.draft.to(dtype))
    found = fill(canvas, strength=0.0)
    assert found.num_calls == 0
    assert torch.equal(found.x, torch.where(canvas.known[..., None], canvas.x, canvas.draft))


def test_a_draft_is_started_from_its_time_with_its_scale():
    canvas, network = canvas_of(1), Network()
    found = fill(canvas, network=network, strength=0.5, steps=10)
    assert network.times == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1])
    assert found.num_calls == 5
    drawn = torch.from_numpy(streams(1)[0].standard_normal((24, 3)))
    expected = (canvas.draft[0] + drawn) * 0.5**0.5
    unknown = canvas.unknown[0]
    assert torch.allclose(network.seen[0][0, unknown], expected[unknown])


def test_a_literal_start_is_as_printed():
    canvas, network = canvas_of(1), Network()
    found = fill(canvas, network=network, strength=0.85, is_literal_start=True, consistency="clean")
    drawn = torch.from_numpy(streams(1)[0].standard_normal((24, 3)))
    expected = 0.85 * drawn + 0.15 * canvas.draft[0]
    unknown = canvas.unknown[0]
    assert network.times[0] == 1
    assert found.num_calls == 6
    assert torch.allclose(network.seen[0][0, unknown], expected[unknown])
    assert torch.equal(network.seen[0][0, ~unknown], canvas.x[0, ~unknown])


@pytest.mark.parametrize("form", ["clean", "noised"])
def test_known_frames_enter_every_call(form):
    canvas, network = canvas_of(1), Network()
    fill(canvas, network=network, consistency=form, steps=200)
    seen = torch.stack([x[canvas.known] for x in network.seen])  # steps m d
    alpha = torch.cos(torch.pi / 2 * torch.tensor(network.times))[:, None, None].double()
    truth = canvas.x[canvas.known]
    if form == "clean":
        assert bool((seen == truth).all())
        return
    left = (seen - alpha * truth) / (1 - alpha**2).sqrt()  # fresh standard normal noise each time
    assert float(left.mean()) == pytest.approx(0, abs=0.04)
    assert float(left.std()) == pytest.approx(1, abs=0.04)
    assert abs(float((left[1:] * left[:-1]).mean())) < 0.04


def test_with_x0_known_frames_enter_the_estimate():
    canvas, network = canvas_of(1), Network()
    fill(canvas, network=network, consistency="x0", kind="ddim", steps=4)
    # Of a step from pure noise: known frames mixed with just that noise.
    start, second = (x[canvas.known] for x in network.seen[:2])
    angle = torch.tensor(0.75 * torch.pi / 2).double()
    expected = angle.cos() * canvas.x[canvas.known] + angle.sin() * start
    assert torch.allclose(second, expected, atol=1e-6)


def test_a_measured_low_band_is_kept():
    canvas = canvas_of(2)
    canvas = replace(canvas, known=torch.zeros_like(canvas.known))
    operator = LowPass(taps=(0.1, 0.25, 0.3, 0.25, 0.1), decimation=2)
    known = Measurement(operator=operator, y=operator.apply(canvas.x))
    for form in FORMS:
        found = fill(canvas, measurement=known, consistency=form).x
        assert float((operator.apply(found) - known.y).abs().max()) < 1e-9
    assert float((operator.apply(fill(canvas).x) - known.y).abs().max()) > 0.1


def test_consistency_none_keeps_nothing():
    canvas = canvas_of()
    found = fill(canvas, consistency="none").x
    assert not bool((found == canvas.x).any())


@pytest.mark.parametrize(("variance", "expected"), [("posterior", 0.34), ("forward", 1.0)])
def test_few_steps_keep_the_variance_of_white_noise_if_its_own_is_counted(variance, expected):
    """The posterior's variance is that of known data; unit white noise needs the step forward's."""
    process = GaussianProcess(variance=variance)
    canvas = EncodedCanvas(
        x=torch.zeros(2, 3000, 3, dtype=torch.float64),
        known=torch.zeros(2, 3000, dtype=torch.bool),
        valid=torch.ones(2, 3000, dtype=torch.bool),
    )
    found = fill_gaussian(
        canvas,
        lambda x, t: process.schedule.alpha(t)[:, None, None] * x,
        process,
        sampler=GaussianSamplerConfig(kind="ddpm", steps=2, last_time=0.2),
        guidance=GuidanceConfig(step_size=0.0),
        rngs=streams(2),
    )
    assert float(found.x.var()) == pytest.approx(expected, abs=0.04)


def test_a_variance_that_only_the_network_knows_is_refused():
    with pytest.raises(ConfigError, match="learned variance"):
        fill(canvas_of(), process=GaussianProcess(variance="learned-range"))


def test_half_precision_is_sampled_in_single():
    canvas, network = canvas_of(), Network()
    half = replace(canvas, x=canvas.x.half(), draft=None)
    found = fill(half, network=network).x
    assert found.dtype == torch.float16
    assert network.seen[0].dtype == torch.float32


def test_misuse_is_refused():
    canvas = canvas_of()
    with pytest.raises(ConfigError, match="needs a draft"):
        fill(replace(canvas, draft=None), strength=0.5)
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match=r"strength must be in \[0, 1\]"):
            fill(canvas, strength=strength)
    measurement = Measurement(operator=LowPass(taps=(1.0,)), y=canvas.x)
    with pytest.raises(ConfigError, match="known frames beside a measurement"):
        fill(canvas, measurement=measurement)
    with pytest.raises(ShapeError, match="1 generators for 2 items"):
        fill_gaussian(
            canvas,
            Network(),
            PROCESS,
            sampler=GaussianSamplerConfig(),
            guidance=GuidanceConfig(),
            rngs=streams(1),
        )
    tokens = EncodedCanvas(
        x=torch.zeros(1, 4).long(), known=torch.zeros(1, 4).bool(), valid=torch.ones(1, 4).bool()
    )
    with pytest.raises(ShapeError, match="latents is needed"):
        fill(tokens)


def test_a_network_that_gives_nan_is_refused():
    with pytest.raises(DivergenceError, match="NaN"):
        fill(canvas_of(), network=lambda x, t: x * torch.nan)
    with pytest.raises(ShapeError, match="one vector a frame"):
        fill(canvas_of(), network=lambda x, t: x[:, :-1])
