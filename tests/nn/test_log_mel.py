"""Log-mel frames as tensors."""

import numpy as np
import pytest
import torch

from weft.audio.spectral import mel_filterbank, stft
from weft.errors import ConfigError
from weft.nn.log_mel import LogMel, LogMelConfig


def _db(mel: LogMel, frames: torch.Tensor) -> torch.Tensor:
    return frames * mel.config.scale_db + mel.config.mean_db


def test_frames_match_the_spectra_of_the_rim() -> None:
    mel = LogMel(LogMelConfig())
    samples = np.random.default_rng(0).standard_normal((1, 8000)) * 0.1
    padded = np.pad(samples, ((0, 0), (256, 256)))
    power = np.abs(stft(padded, n_fft=512, hop_length=160, center=False)) ** 2
    bands = mel_filterbank(16000, 512, 64) @ power * (16000 / 512) * 4 / 256**2
    expected = 10 * np.log10(bands + 1e-10)
    found = _db(mel, mel(torch.from_numpy(samples).float()))[0].numpy()
    assert found.shape == (64, mel.num_frames(8000))
    np.testing.assert_allclose(found, expected[0], atol=0.01)


def test_a_gain_shifts_the_level_of_loud_bands_by_itself() -> None:
    mel = LogMel(LogMelConfig())
    noise = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    shift = _db(mel, mel(noise)) - _db(mel, mel(noise * 0.1))
    assert torch.allclose(shift, torch.full_like(shift, 20.0), atol=0.01)


def test_silence_has_the_level_of_the_floor() -> None:
    mel = LogMel(LogMelConfig())
    assert torch.allclose(_db(mel, mel(torch.zeros(1, 4000))), torch.tensor(-100.0), atol=1e-3)


def test_pieces_of_padded_samples_give_the_frames_of_the_whole() -> None:
    mel = LogMel(LogMelConfig())
    samples = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    whole = mel(samples)
    padded = mel.pad(samples)
    piece = mel(padded[:, 40 * 160 : 59 * 160 + 512], is_padded=True)
    assert torch.allclose(piece, whole[:, :, 40:60], atol=1e-5)


@pytest.mark.parametrize(
    "bad",
    [
        {"sample_rate": 0},
        {"n_fft": 511},
        {"hop_length": 0},
        {"num_mels": 0},
        {"floor_db": 1.0},
        {"scale_db": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        LogMelConfig(**bad)  # type: ignore[arg-type]
