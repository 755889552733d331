import numpy as np
import pytest

from weft.audio.spectral import mel_filterbank
from weft.canvas.canvas import Region
from weft.errors import ConfigError
from weft.metrics import AUDIOTOOLS, DAC, MelDistanceConfig, mel_distance

RATE = 24000


def noise(seed, num_samples=RATE):
    return 0.1 * np.random.default_rng(seed).standard_normal((1, num_samples))


def test_the_default_scales_are_summed():
    x, y = noise(0), noise(1)
    parts = [
        mel_distance(x, y, RATE, config=MelDistanceConfig(num_mels=(m,), n_ffts=(w,)))
        for m, w in ((150, 2048), (80, 512))
    ]
    assert mel_distance(x, y, RATE) == pytest.approx(sum(parts))


def test_a_gain_of_20_db_is_two_decades_of_squared_magnitude_in_each_scale():
    logs_only = MelDistanceConfig(magnitude_weight=0.0)
    x = noise(0)
    assert mel_distance(x, 0.1 * x, RATE, config=logs_only) == pytest.approx(4, abs=1e-6)


def test_the_magnitude_term_is_linear_in_gain():
    magnitudes = MelDistanceConfig(log_weight=0.0)
    x = noise(0)
    half, quarter = (mel_distance(x, g * x, RATE, config=magnitudes) for g in (0.5, 0.75))
    assert half == pytest.approx(2 * quarter)


def test_both_terms_agree_with_a_plain_transcription():
    x, y = noise(0, 6000), noise(1, 6000)
    expected = 0.0
    for num_mels, n_fft in ((150, 2048), (80, 512)):
        window = np.hanning(n_fft + 1)[:-1]
        mels = []
        for signal in (x[0], y[0]):
            padded = np.pad(signal, n_fft // 2, mode="reflect")
            frames = [
                np.abs(np.fft.rfft(window * padded[i : i + n_fft]))
                for i in range(0, len(padded) - n_fft + 1, n_fft // 4)
            ]
            mels.append(mel_filterbank(RATE, n_fft, num_mels) @ np.stack(frames, axis=1))
        logs = [np.log10(np.clip(mel, 1e-5, None) ** 2) for mel in mels]
        expected += np.abs(mels[0] - mels[1]).mean() + np.abs(logs[0] - logs[1]).mean()
    assert mel_distance(x, y, RATE) == pytest.approx(expected, rel=1e-9)


def test_gaps_limit_what_counts():
    x = noise(0)
    y = x.copy()
    y[:, 10000:12000] = 0
    gap = [Region(start=10000, stop=12000)]
    assert mel_distance(x, y, RATE, [Region(start=18000, stop=20000)]) == 0
    assert mel_distance(x, y, RATE, gap) > 3 * mel_distance(x, y, RATE)


@pytest.mark.parametrize(
    "bad",
    [{"num_mels": (80,)}, {"n_ffts": (2047, 512)}, {"floor": 0.0}, {"log_weight": -1.0}],
)
def test_a_setting_outside_its_range_is_refused(bad):
    with pytest.raises(ConfigError):
        MelDistanceConfig(**bad)


def test_a_rate_of_zero_is_refused():
    with pytest.raises(ConfigError, match="0 Hz"):
        mel_distance(noise(0), noise(0), 0)


def test_the_seven_scales_are_those_of_dac():
    x, y = noise(0), noise(1)
    parts = [
        mel_distance(
            x,
            y,
            RATE,
            config=MelDistanceConfig(
                num_mels=(5 * 2**i,), n_ffts=(32 * 2**i,), log_power=1.0, magnitude_weight=0.0
            ),
        )
        for i in range(7)
    ]
    assert mel_distance(x, y, RATE, config=DAC) == pytest.approx(sum(parts))
    assert min(parts) > 0


def test_the_log_of_dac_is_that_of_magnitude_not_of_power():
    # A low tone is far above the floor only in its own filters; noise is everywhere.
    x = noise(0)
    assert mel_distance(x, 0.1 * x, RATE, config=DAC) == pytest.approx(7, abs=0.01)


@pytest.mark.parametrize("config", [AUDIOTOOLS, DAC], ids=lambda config: config.name)
def test_every_preset_is_ideal_for_equal_signals_and_finite_for_silence(config):
    x, silence = noise(0), np.zeros((1, RATE))
    assert mel_distance(x, x, RATE, config=config) == 0
    assert mel_distance(silence, silence, RATE, config=config) == 0
    assert 1 < mel_distance(x, silence, RATE, config=config) < 100


def test_loudness_is_not_normalised():
    x = noise(0)
    assert mel_distance(x, 0.5 * x, RATE) > 1
