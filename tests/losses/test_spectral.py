"""Distances of spectra that codecs are trained with."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from weft.errors import ConfigError, ShapeError
from weft.losses.spectral import (
    DAC_MEL,
    WAVTOKENIZER_MEL,
    MelDistanceLoss,
    MelLossConfig,
    MultiResolutionStftLoss,
    StftLossConfig,
)
from weft.metrics.mel import DAC, mel_distance

LOSSES = {
    "wavtokenizer": MelDistanceLoss(WAVTOKENIZER_MEL),
    "dac": MelDistanceLoss(replace(DAC_MEL, sample_rate=24000)),
    "stft": MultiResolutionStftLoss(StftLossConfig()),
}
ALL = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


def pair(num_items: int = 3, num_samples: int = 6000) -> tuple[torch.Tensor, torch.Tensor]:
    """Coloured noise of several levels, and an estimate that is off in gain and in noise."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((num_items, num_samples + 8))
    reference = np.stack([np.convolve(row, np.hanning(9), "valid") for row in white])
    reference *= 0.1 / 4 ** np.arange(num_items)[:, None]
    estimate = 0.8 * reference + 0.01 * rng.standard_normal(reference.shape)
    return torch.from_numpy(estimate).float(), torch.from_numpy(reference).float()


def torchaudio_filters(sample_rate: int, n_fft: int, num_mels: int) -> torch.Tensor:
    """Triangles by the formula of torchaudio's documentation, bin by bin."""

    def to_hz(mel: float) -> float:
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)

    top = 2595.0 * np.log10(1.0 + sample_rate / 2 / 700.0)
    points = [to_hz(top * i / (num_mels + 1)) for i in range(num_mels + 2)]
    filters = torch.zeros(n_fft // 2 + 1, num_mels, dtype=torch.float64)
    for f in range(n_fft // 2 + 1):
        hz = f * sample_rate / n_fft
        for m in range(num_mels):
            low, mid, high = points[m : m + 3]
            filters[f, m] = max(0.0, min((hz - low) / (mid - low), (high - hz) / (high - mid)))
    return filters


def test_wavtokenizer_setting_is_the_formula_of_its_code() -> None:
    estimate, reference = pair()
    filters = torchaudio_filters(24000, 1024, 100)

    def log_mel(x: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(1024, dtype=torch.float64)
        spectrum = torch.stft(x.double(), 1024, 256, window=window, return_complex=True)
        mel = spectrum.abs().transpose(1, 2) @ filters
        return torch.log(torch.clip(mel, min=1e-7))

    expected = (log_mel(estimate) - log_mel(reference)).abs().mean()
    # Measured: relative 1e-7.
    assert float(LOSSES["wavtokenizer"](estimate, reference)) == pytest.approx(
        float(expected), rel=1e-5
    )


def test_dac_setting_is_the_metric_of_that_name() -> None:
    estimate, reference = pair(1)
    expected = mel_distance(
        reference.double().numpy(), estimate.double().numpy(), 24000, config=DAC
    )
    # Measured: relative 1e-7.
    assert float(LOSSES["dac"](estimate, reference)) == pytest.approx(expected, rel=1e-5)


def test_resolutions_are_those_of_auraloss_for_one_item() -> None:
    from auraloss.freq import MultiResolutionSTFTLoss

    theirs = MultiResolutionSTFTLoss()
    for i in range(2):
        estimate, reference = (x[i : i + 1] for x in pair())
        expected = theirs(estimate[:, None], reference[:, None])
        # Measured: relative 1e-6.
        assert float(LOSSES["stft"](estimate, reference)) == pytest.approx(
            float(expected), rel=1e-5
        )


@pytest.mark.parametrize(
    ("base", "unit"), [("e", 1.0), ("10", 1 / np.log(10))], ids=["nepers", "decades"]
)
def test_a_gain_is_its_own_logarithm_in_every_scale(base, unit: float) -> None:
    _, reference = pair(2)
    config = MelLossConfig(
        n_ffts=(256, 1024), hop_lengths=(64, 256), num_mels=(20, 40), log_base=base
    )
    distance = MelDistanceLoss(config)(reference * 2, reference)
    assert float(distance) == pytest.approx(2 * np.log(2) * unit, rel=1e-3)


@ALL
def test_equal_sounds_are_at_zero_with_no_gradient(loss) -> None:
    _, reference = pair()
    estimate = reference.clone().requires_grad_()
    distance = loss(estimate, reference)
    distance.backward()
    assert float(distance.detach()) == 0
    assert not estimate.grad.any()


@ALL
@pytest.mark.parametrize("silent", ["estimate", "reference", "both", "half of the estimate"])
def test_gradients_are_finite_at_digital_silence(loss, silent: str) -> None:
    estimate, reference = pair()
    if silent in ("estimate", "both"):
        estimate = torch.zeros_like(estimate)
    if silent in ("reference", "both"):
        reference = torch.zeros_like(reference)
    if silent == "half of the estimate":
        estimate[:, 3000:] = 0
    estimate = estimate.requires_grad_()
    distance = loss(estimate, reference)
    distance.backward()
    assert torch.isfinite(distance)
    assert torch.isfinite(estimate.grad).all()
    if silent == "reference":
        assert estimate.grad.any()


@ALL
def test_an_item_adds_the_same_whatever_stands_beside_it(loss) -> None:
    estimate, reference = pair()
    alone = [float(loss(estimate[i : i + 1], reference[i : i + 1])) for i in range(3)]
    assert len({round(value, 3) for value in alone}) == 3
    assert float(loss(estimate, reference)) == pytest.approx(np.mean(alone), rel=1e-5)


@ALL
def test_the_reference_gets_no_gradient(loss) -> None:
    estimate, reference = (x.requires_grad_() for x in pair())
    loss(estimate, reference).backward()
    assert estimate.grad.any()
    assert reference.grad is None


@ALL
def test_a_step_against_the_gradient_lowers_the_loss(loss) -> None:
    estimate, reference = pair()
    estimate = estimate.requires_grad_()
    before = loss(estimate, reference)
    before.backward()
    step = 1e-4 * estimate.grad / estimate.grad.norm()
    after = loss(estimate.detach() - step, reference)
    expected = 1e-4 * float(estimate.grad.norm())
    assert float(before.detach() - after) == pytest.approx(expected, rel=0.2)


@ALL
def test_autocast_and_bfloat16_leave_the_value(loss) -> None:
    estimate, reference = (x.bfloat16() for x in pair())
    expected = loss(estimate.float(), reference.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(estimate, reference)
    assert found.dtype == torch.float32
    assert float(found) == float(expected)


@ALL
@pytest.mark.parametrize("num_samples", [1, 100, 511, 512, 513, 1025])
def test_sounds_shorter_than_a_window_have_a_distance(loss, num_samples: int) -> None:
    estimate, reference = (x[:, :num_samples] for x in pair())
    assert 0 < float(loss(estimate, reference)) < 100


def test_a_silent_reference_does_not_outweigh_the_batch() -> None:
    estimate, reference = pair(2)
    reference[1] = 0
    quiet = float(LOSSES["stft"](estimate[1:], reference[1:]))
    published = MultiResolutionStftLoss(StftLossConfig(quiet=0.0))
    # Measured: 64 against 5640.
    assert quiet < 100
    assert float(published(estimate[1:], reference[1:])) > 20 * quiet


def test_buffers_follow_the_module_and_stay_out_of_checkpoints() -> None:
    for loss in LOSSES.values():
        assert not loss.state_dict()
        assert not list(loss.parameters())
    double = MelDistanceLoss(WAVTOKENIZER_MEL).double()
    estimate, reference = (x.double() for x in pair())
    found = double(estimate, reference)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(
        float(LOSSES["wavtokenizer"](estimate.float(), reference.float())), rel=1e-5
    )


@ALL
def test_shapes_that_would_broadcast_are_refused(loss) -> None:
    estimate, reference = pair()
    with pytest.raises(ShapeError, match="one shape"):
        type(loss).forward.__wrapped__(loss, estimate, reference[:1])
    with pytest.raises(ShapeError, match="hold samples"):
        loss(estimate[:, :0], reference[:, :0])


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"sample_rate": 0}, "sample_rate"),
        ({"n_ffts": ()}, "n_ffts"),
        ({"n_ffts": (1023,)}, "n_ffts"),
        ({"n_ffts": (1 << 20,)}, "n_ffts"),
        ({"hop_lengths": (0,)}, "hop_lengths"),
        ({"hop_lengths": (256, 256)}, "hop_lengths"),
        ({"num_mels": (0,)}, "num_mels"),
        ({"num_mels": (514,)}, "num_mels"),
        ({"floor": 0.0}, "floor"),
    ],
)
def test_mel_settings_out_of_range_are_refused(bad, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        MelLossConfig(**bad)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"window_lengths": (600, 1200)}, "window_lengths"),
        ({"window_lengths": (600, 1200, 513)}, "window_lengths"),
        ({"hop_lengths": (120, 240, 0)}, "hop_lengths"),
        ({"convergence_weight": -1.0}, "convergence_weight"),
        ({"log_weight": float("nan")}, "log_weight"),
        ({"floor": 0.0}, "floor"),
        ({"quiet": -1.0}, "quiet"),
    ],
)
def test_stft_settings_out_of_range_are_refused(bad, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        StftLossConfig(**bad)
