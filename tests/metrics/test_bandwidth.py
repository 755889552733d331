import numpy as np
import pytest
from scipy import signal

from weft.audio.resample import resample
from weft.audio.spectral import stft
from weft.audio.synth import song
from weft.errors import AudioFormatError, ConfigError, ShapeError
from weft.metrics import audiosr_cutoff_hz, measure_cutoff_hz, replace_low_band

RATE = 48000


def noise(seed, num_samples=2 * RATE, channels=1):
    return 0.1 * np.random.default_rng(seed).standard_normal((channels, num_samples))


def tilted(seed):
    return signal.lfilter([1], [1, -0.97], 0.2 * noise(seed))


SOURCES = {"white": noise(0), "tilted": tilted(0), "song": song(3.0, RATE, seed=1)[:1]}

# Ratio of the measured to the filter's own cut-off; the last bin counted may lie on its slope.
FAMILIES = {
    "chebyshev": (lambda hz: signal.cheby1(8, 0.5, hz, fs=RATE, output="sos"), 0.97, 1.10),
    "elliptic": (lambda hz: signal.ellip(8, 0.5, 60, hz, fs=RATE, output="sos"), 0.97, 1.06),
    "butterworth": (lambda hz: signal.butter(8, hz, fs=RATE, output="sos"), 0.97, 1.25),
    "bessel": (lambda hz: signal.bessel(8, hz, fs=RATE, norm="mag", output="sos"), 1.0, 2.5),
}


@pytest.mark.parametrize("source", list(SOURCES))
@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("cutoff_hz", [4000, 6000, 8000, 12000])
def test_a_low_pass_is_found_within_the_tolerance_of_its_family(source, family, cutoff_hz):
    design, least, most = FAMILIES[family]
    low = signal.sosfilt(design(cutoff_hz), SOURCES[source], axis=1)
    assert least <= measure_cutoff_hz(low, RATE) / cutoff_hz <= most


@pytest.mark.parametrize("source", list(SOURCES))
@pytest.mark.parametrize("rate", [8000, 12000, 16000, 24000])
def test_a_low_rate_stays_visible_after_resampling_and_16_bits(source, rate):
    low = resample(resample(SOURCES[source], RATE, rate), rate, RATE)
    low = np.round(low * 32768) / 32768
    assert 0.85 <= measure_cutoff_hz(low, RATE) / (rate / 2) <= 1


@pytest.mark.parametrize("source", list(SOURCES))
def test_a_full_band_recording_ends_at_half_the_rate(source):
    assert measure_cutoff_hz(SOURCES[source], RATE) == RATE / 2


def test_holes_of_a_lossy_codec_below_its_shelf_are_inside_the_band():
    # As an MP3 has them: nothing over 16 kHz, and from 10 kHz on each frame keeps a part only.
    rng = np.random.default_rng(2)
    bins_hz, _, spectrum = signal.stft(tilted(1), RATE, nperseg=1152, noverlap=576)
    spectrum[:, bins_hz >= 16000] = 0
    holes = (bins_hz[:, None] > 10000) & (rng.random(spectrum.shape[1:]) < 0.7)
    spectrum[:, holes] = 0
    coded = signal.istft(spectrum, RATE, nperseg=1152, noverlap=576)[1]
    assert measure_cutoff_hz(coded, RATE) == pytest.approx(16000, rel=0.06)


def test_a_band_in_the_middle_of_the_spectrum_that_is_missing_is_not_the_end():
    notched = signal.sosfilt(
        signal.butter(8, [5000, 9000], "bandstop", fs=RATE, output="sos"), noise(0)
    )
    assert measure_cutoff_hz(notched, RATE) == RATE / 2


def test_a_spectrum_that_falls_ever_faster_by_itself_has_no_break():
    # 25 to 32 dB within the last octave, as a soft piano has; no filter did it.
    x = 30 * noise(0, 16000)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(16000, 1 / 8000) / 125, 1))
    dull = np.fft.irfft(np.fft.rfft(x) * 10 ** (-3.5 * octaves**2 / 20), n=16000)
    assert measure_cutoff_hz(dull, 8000) == 4000


def test_one_full_band_channel_makes_the_recording_full_band():
    low = signal.sosfilt(FAMILIES["chebyshev"][0](4000), noise(0), axis=1)
    assert measure_cutoff_hz(np.concatenate([low, noise(1)]), RATE) == RATE / 2


def test_gain_does_not_move_the_cut_off():
    low = signal.sosfilt(FAMILIES["chebyshev"][0](6000), noise(0), axis=1)
    loud, soft = (measure_cutoff_hz(gain * low, RATE) for gain in (1, 0.03))
    assert soft == pytest.approx(loud, rel=0.02)


def test_long_recordings_are_measured_in_pieces_without_a_change():
    # 9 s are two pieces; a frame at the border is counted once, so both halves weigh the same.
    x = noise(0, 9 * RATE)
    low = signal.sosfilt(FAMILIES["chebyshev"][0](6000), x, axis=1)
    whole, half = measure_cutoff_hz(low, RATE), measure_cutoff_hz(low[:, : 4 * RATE], RATE)
    assert whole == pytest.approx(half, rel=0.02)
    late = np.concatenate([low[:, : 7 * RATE], x[:, 7 * RATE :]], axis=1)
    early = np.concatenate([x[:, : 2 * RATE], low[:, 2 * RATE :]], axis=1)
    assert measure_cutoff_hz(late, RATE) == RATE / 2
    assert measure_cutoff_hz(early, RATE) == RATE / 2


def test_silence_has_no_band():
    silence = np.zeros((1, RATE))
    rounding = np.round(noise(0) * 1e-4) / 32768
    assert measure_cutoff_hz(silence, RATE) == 0
    assert measure_cutoff_hz(rounding, RATE) == 0
    assert audiosr_cutoff_hz(silence, RATE) == 0


def test_a_few_samples_have_a_cut_off():
    assert measure_cutoff_hz(noise(0, 100), RATE) > 0


def test_the_rule_of_audiosr_is_a_share_of_magnitudes_and_follows_the_tilt():
    # White noise: 98.5 % of equal magnitudes lie under 98.5 % of the band. Tilted: less.
    assert audiosr_cutoff_hz(SOURCES["white"], RATE) == pytest.approx(0.985 * 24000, rel=2e-3)
    x = tilted(0)
    magnitudes = np.cumsum(np.abs(stft(x, n_fft=2048, hop_length=480)).sum(axis=(0, 2)))
    last = max(i for i in range(1025) if magnitudes[i] < 0.985 * magnitudes[-1])
    assert audiosr_cutoff_hz(x, RATE) == last / 1024 * 24000
    steep = signal.lfilter([1], [1, -0.99], signal.lfilter([1], [1, -0.99], noise(0)))
    assert measure_cutoff_hz(steep, RATE) == RATE / 2
    assert audiosr_cutoff_hz(steep, RATE) < 15000


@pytest.mark.parametrize("rule", [measure_cutoff_hz, audiosr_cutoff_hz])
def test_what_cannot_be_measured_is_named(rule):
    broken = noise(0)
    broken[0, 3] = np.inf
    with pytest.raises(AudioFormatError):
        rule(broken, RATE)
    with pytest.raises(ShapeError):
        rule(np.zeros((1, 0)), RATE)
    with pytest.raises(ConfigError, match="sample_rate"):
        rule(noise(0), 0)


# Replacing the low band


def band_level_db(x, low_hz, high_hz):
    power = np.abs(np.fft.rfft(x)) ** 2
    hz = np.fft.rfftfreq(x.shape[1], 1 / RATE)
    return 10 * np.log10(power[:, (hz >= low_hz) & (hz < high_hz)].sum() + 1e-30)


@pytest.mark.parametrize("num_samples", [1, 100, 2047, 2048, 5000, 48001])
def test_an_estimate_that_has_the_low_band_comes_back_bit_for_bit(num_samples):
    x = noise(0, num_samples, channels=2)
    assert np.array_equal(replace_low_band(x, x, RATE, 8000.0), x)


@pytest.mark.parametrize("num_samples", [1, 100, 2048, 5001])
def test_a_cut_off_at_half_the_rate_gives_the_known_recording(num_samples):
    x, y = noise(0, num_samples), noise(1, num_samples)
    assert np.allclose(replace_low_band(x, y, RATE, RATE / 2), x, atol=1e-12)


def test_the_band_below_is_the_known_one_and_the_band_above_the_estimates():
    x, y = noise(0), noise(1)
    z = replace_low_band(x, y, RATE, 8000.0)
    own = band_level_db(x, 0, 7900)
    assert band_level_db(z - x, 0, 7900) < own - 40
    assert band_level_db(z - y, 8100, 24000) < own - 40
    assert band_level_db(z - x, 8100, 24000) > own - 10


def test_level_is_left_alone():
    # AudioSR would divide the copied band by a ratio of energies; here it is the known one as is.
    x = noise(0)
    z = replace_low_band(x, 0.5 * x, RATE, 12000.0)
    assert band_level_db(z, 0, 11800) == pytest.approx(band_level_db(x, 0, 11800), abs=0.01)
    assert band_level_db(z, 12200, 24000) == pytest.approx(
        band_level_db(x, 12200, 24000) - 20 * np.log10(2), abs=0.01
    )


def test_a_transition_fades_between_the_two():
    x, y = noise(0), 0 * noise(0)
    sharp, soft = (replace_low_band(x, y, RATE, 8000.0, transition_hz=t) for t in (0.0, 4000.0))
    middle = [band_level_db(z, 5900, 6100) - band_level_db(x, 5900, 6100) for z in (sharp, soft)]
    assert middle == pytest.approx([0, -20 * np.log10(2)], abs=0.2)


@pytest.mark.parametrize(
    ("cutoff_hz", "transition_hz"),
    [(0.0, 0.0), (24001.0, 0.0), (float("nan"), 0.0), (8000.0, -1.0), (100.0, 200.0)],
)
def test_bands_outside_their_range_are_refused(cutoff_hz, transition_hz):
    with pytest.raises(ConfigError, match="_hz must be in"):
        replace_low_band(noise(0), noise(1), RATE, cutoff_hz, transition_hz=transition_hz)


def test_signals_that_do_not_match_are_refused():
    with pytest.raises(ShapeError):
        replace_low_band(noise(0), noise(0)[:, 1:], RATE, 8000.0)
    with pytest.raises(AudioFormatError):
        replace_low_band(noise(0), noise(0) * np.nan, RATE, 8000.0)
