import numpy as np
import pytest
from scipy import signal

from weft.audio.spectral import hann_window, hz_to_mel, mel_filterbank, mel_to_hz, stft
from weft.errors import ConfigError

NOISE = np.random.default_rng(0).standard_normal((2, 5000))


def test_the_transform_is_that_of_scipy() -> None:
    reference = signal.ShortTimeFFT(hann_window(512), 128, fs=1.0, fft_mode="onesided")
    ours = stft(NOISE, n_fft=512, hop_length=128)
    theirs = np.stack([reference.stft(channel) for channel in NOISE])
    # Frames that lie inside the signal; scipy starts two frames earlier, outside it.
    offset = -reference.p_min
    inner = slice(2, 5000 // 128 - 2)
    shifted = theirs[..., inner.start + offset : inner.stop + offset]
    assert np.allclose(np.abs(ours[..., inner]), np.abs(shifted), atol=1e-9)


def test_a_tone_stands_in_its_bin() -> None:
    tone = np.cos(2 * np.pi * 32 / 512 * np.arange(4096))[None]
    power = np.abs(stft(tone, n_fft=512, hop_length=256)) ** 2
    assert set(power[0].argmax(axis=0).tolist()) == {32}
    assert power[0, 32, 4] == pytest.approx((512 / 4) ** 2, rel=1e-6)


def test_frames_without_centring_begin_where_they_say() -> None:
    frames = stft(NOISE, n_fft=64, hop_length=16, center=False)
    assert frames.shape == (2, 33, (5000 - 64) // 16 + 1)
    assert np.allclose(frames[:, :, 3], np.fft.rfft(NOISE[:, 48:112] * hann_window(64)))


def test_an_odd_window_has_no_nyquist_bin_and_is_centred_on_multiples_of_the_hop() -> None:
    frames = stft(NOISE, n_fft=511, hop_length=100, pad_mode="constant")
    assert frames.shape == (2, 256, (5000 - 1) // 100 + 1)
    at = 20 * 100 - 255
    assert np.allclose(frames[:, :, 20], np.fft.rfft(NOISE[:, at : at + 511] * hann_window(511)))


def test_ends_are_reflected_or_silent() -> None:
    padded = np.pad(NOISE, ((0, 0), (256, 256)))
    silent = stft(NOISE, n_fft=512, hop_length=128, pad_mode="constant")
    assert np.allclose(silent, stft(padded, n_fft=512, hop_length=128, center=False))
    reflected = stft(NOISE, n_fft=512, hop_length=128)
    assert np.array_equal(silent[..., 2:37], reflected[..., 2:37])
    assert not np.allclose(silent[..., 0], reflected[..., 0])


@pytest.mark.parametrize("length", [1, 10, 255, 256, 257])
def test_a_signal_shorter_than_a_window_gives_frames(length: int) -> None:
    assert np.isfinite(stft(NOISE[:, :length], n_fft=512, hop_length=128)).all()


@pytest.mark.parametrize(("n_fft", "hop"), [(1, 10), (0, 10), (512, 0)])
def test_impossible_transforms_are_refused(n_fft: int, hop: int) -> None:
    with pytest.raises(ConfigError, match="n_fft"):
        stft(NOISE, n_fft=n_fft, hop_length=hop)


def test_mel_and_hz_are_inverse() -> None:
    frequency = np.geomspace(20.0, 20000.0, 50)
    assert np.allclose(mel_to_hz(hz_to_mel(frequency)), frequency)
    assert float(hz_to_mel(np.array([1000.0]))[0]) == pytest.approx(15)


def test_mel_filters_have_unit_area_and_cover_the_band() -> None:
    filters = mel_filterbank(24000, 2048, 80)
    area = filters.sum(axis=1) * 24000 / 2048
    assert np.allclose(area[30:], 1, atol=0.02)
    inside = filters.sum(axis=0)[20:1000]
    assert (inside > 0).all()


def test_a_band_over_half_the_rate_is_refused() -> None:
    with pytest.raises(ConfigError, match="12000 Hz"):
        mel_filterbank(24000, 2048, 80, 0.0, 13000.0)
