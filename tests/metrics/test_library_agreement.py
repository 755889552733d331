"""Our metrics beside those of libraries and of plain transcriptions in torch.

This is the only test file of the metrics that imports torch, which takes a few seconds.
"""

import numpy as np
import pytest
import torch
from scipy import signal
from scipy.spatial import distance

from weft.audio.spectral import mel_filterbank, stft
from weft.canvas.canvas import Region
from weft.metrics import (
    APBWE,
    AUDIOTOOLS,
    DAC,
    UNIVERSR,
    log_spectral_distance,
    lsd_split,
    mel_distance,
    si_sdr_db,
    snr_db,
)

RATE = 48000
WHOLE = [Region(start=0, stop=24000)]


def pair(num_channels=1, offset=0.0):
    """A tilted noise and a damaged copy: other gain, other noise, partly silent."""
    rng = np.random.default_rng(4)
    x = signal.lfilter([1], [1, -0.9], 0.05 * rng.standard_normal((num_channels, 24000))) + offset
    y = 0.7 * x + 0.02 * rng.standard_normal((num_channels, 24000)) + 2 * offset
    y[:, 9000:15000] = 0
    return x, y


def tensors(*arrays):
    return [torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]


def magnitude(x, n_fft, hop):
    window = torch.hann_window(n_fft, dtype=torch.float64)
    return torch.stft(x, n_fft, hop, window=window, return_complex=True).abs()


# Ratios of samples


def test_snr_is_that_of_torchmetrics():
    from torchmetrics.functional.audio import signal_noise_ratio

    x, y = pair()
    theirs = signal_noise_ratio(*tensors(y[0], x[0]))
    assert snr_db(x, y, WHOLE) == pytest.approx(float(theirs), abs=1e-9)


@pytest.mark.parametrize("zero_mean", [True, False])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_si_sdr_is_that_of_torchmetrics(zero_mean, offset):
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    x, y = pair(offset=offset)
    theirs = scale_invariant_signal_distortion_ratio(*tensors(y[0], x[0]), zero_mean=zero_mean)
    assert si_sdr_db(x, y, WHOLE, zero_mean=zero_mean) == pytest.approx(float(theirs), abs=1e-9)


def test_means_matter_to_si_sdr():
    x, y = pair(offset=0.1)
    assert abs(si_sdr_db(x, y, WHOLE) - si_sdr_db(x, y, WHOLE, zero_mean=False)) > 1


@pytest.mark.parametrize("zero_mean", [True, False])
def test_si_sdr_is_that_of_auraloss(zero_mean):
    from auraloss.time import SISDRLoss

    x, y = pair(offset=0.1)
    loss = SISDRLoss(zero_mean=zero_mean)(*tensors(y[None], x[None]))
    assert si_sdr_db(x, y, WHOLE, zero_mean=zero_mean) == pytest.approx(-float(loss), abs=1e-5)


def test_two_channels_share_a_scale_here_and_have_their_own_in_torchmetrics():
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    x, _ = pair(num_channels=2)
    y = x * np.array([[1.0], [0.5]])
    assert scale_invariant_signal_distortion_ratio(*tensors(y, x), zero_mean=True).min() > 100
    assert si_sdr_db(x, y, WHOLE) < 20


def test_snr_agrees_with_distances_of_scipy():
    x, y = pair()
    ratio = distance.sqeuclidean(x[0], np.zeros(24000)) / distance.sqeuclidean(x[0], y[0])
    assert snr_db(x, y, WHOLE) == pytest.approx(10 * np.log10(ratio), abs=1e-9)


# Spectra


@pytest.mark.parametrize(("n_fft", "hop"), [(2048, 512), (512, 128), (32, 8), (2229, 480)])
def test_the_transform_is_that_of_torch(n_fft, hop):
    x, _ = pair(num_channels=2)
    theirs = magnitude(*tensors(x), n_fft, hop).numpy()
    assert np.allclose(np.abs(stft(x, n_fft=n_fft, hop_length=hop)), theirs, atol=1e-9)


def test_magnitudes_differ_as_the_stft_loss_of_auraloss_says():
    from auraloss.freq import STFTLoss

    x, y = pair()
    loss = STFTLoss(2048, 512, 2048, w_sc=0.0, w_log_mag=1.0, w_lin_mag=1.0, eps=1e-10)
    loss.window = loss.window.double()
    magnitudes = [np.abs(stft(z, n_fft=2048, hop_length=512)) for z in (x, y)]
    linear = np.abs(magnitudes[0] - magnitudes[1]).mean()
    logs = [np.log(np.maximum(m, 1e-5)) for m in magnitudes]  # its eps is one of power
    expected = linear + np.abs(logs[0] - logs[1]).mean()
    assert float(loss(*tensors(y[None], x[None]))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("config", "n_fft", "hop", "clamp"), [(APBWE, 2048, 512, 1e-8), (UNIVERSR, 1024, 256, 1e-6)]
)
def test_log_spectral_distances_are_those_of_the_published_formula(config, n_fft, hop, clamp):
    x, y = pair()
    logs = [magnitude(z, n_fft, hop).square().clamp(clamp).log10() for z in tensors(x, y)]
    difference = (logs[0] - logs[1]).square()
    theirs = difference.mean(dim=1).sqrt().mean()
    ours = log_spectral_distance(x, y, config=config)
    assert ours == pytest.approx(float(theirs), rel=1e-9)
    first_high = 6000 * n_fft // RATE
    bands = (difference[:, :first_high], difference[:, first_high:])
    split = lsd_split(x, y, RATE, 6000.0, config)
    assert split == pytest.approx([float(band.mean(dim=1).sqrt().mean()) for band in bands])


@pytest.mark.parametrize("num_mels", [5, 80, 150, 320])
@pytest.mark.parametrize("rate", [24000, 44100])
def test_mel_filters_are_those_of_transformers(num_mels, rate):
    from transformers.audio_utils import mel_filter_bank

    n_fft = {5: 32, 80: 512, 150: 2048, 320: 2048}[num_mels]
    theirs = mel_filter_bank(
        n_fft // 2 + 1, num_mels, 0.0, rate / 2, rate, norm="slaney", mel_scale="slaney"
    )
    assert np.allclose(mel_filterbank(rate, n_fft, num_mels), theirs.T, atol=1e-12)


@pytest.mark.parametrize(
    ("config", "scales", "power", "magnitude_weight"),
    [
        (AUDIOTOOLS, ((150, 2048), (80, 512)), 2.0, 1.0),
        (DAC, tuple((5 * 2**i, 32 * 2**i) for i in range(7)), 1.0, 0.0),
    ],
    ids=["audiotools", "dac"],
)
def test_mel_distances_are_those_of_a_transcription(config, scales, power, magnitude_weight):
    from transformers.audio_utils import mel_filter_bank

    x, y = pair(num_channels=2)
    expected = 0.0
    for num_mels, window in scales:
        filters = torch.from_numpy(
            mel_filter_bank(
                window // 2 + 1, num_mels, 0.0, 12000.0, 24000, norm="slaney", mel_scale="slaney"
            )
        )
        mels = [magnitude(z, window, window // 4).transpose(1, 2) @ filters for z in tensors(x, y)]
        logs = [mel.clamp(1e-5).pow(power).log10() for mel in mels]
        l1 = torch.nn.functional.l1_loss
        expected += float(l1(*logs) + magnitude_weight * l1(*mels))
    assert mel_distance(x, y, 24000, config=config) == pytest.approx(expected, rel=1e-9)
