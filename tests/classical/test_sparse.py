"""A-SPAIN and the learned transform."""

import numpy as np
import pytest

from weft.audio.spectral import hann_window
from weft.audio.synth import harmonic_tones
from weft.canvas.canvas import Region, Window
from weft.classical.sparse import (
    ASpain,
    ASpainConfig,
    _segment_starts,
    _Transform,
    learn_rotations,
    sparsify,
)
from weft.errors import ConfigError
from weft.rng import Rng

RATE = 16000
FILLERS = [ASpain(), ASpain(ASpainConfig(learned=True))]


def filler_name(filler: ASpain) -> str:
    return filler.name


def window_of(samples: np.ndarray, start: int, length: int, context: int = 3200) -> Window:
    first, last = max(0, start - context), min(samples.shape[1], start + length + context)
    known = np.ones(last - first, dtype=bool)
    known[start - first : start - first + length] = False
    return Window(
        samples=np.where(known, samples[:, first:last], 0.0),
        known=known,
        gap=Region(start=start - first, stop=start - first + length),
        start=first,
        sample_rate=RATE,
    )


def filled(filler: ASpain, window: Window) -> np.ndarray:
    ((fill,),) = filler.fill([window], num_takes=2, rng=Rng(0))
    assert np.isfinite(fill.samples).all()
    assert 0 <= fill.confidence <= 1
    assert fill.model == filler.name
    return fill.samples


def snr_db(original: np.ndarray, estimate: np.ndarray) -> float:
    return float(10 * np.log10((original**2).sum() / ((original - estimate) ** 2).sum()))


def chord(duration_s: float = 1.0) -> np.ndarray:
    return harmonic_tones((261.63, 392.0), duration_s, RATE, floor_db=-60.0, seed=1)


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("learned", [False, True])
def test_the_transform_is_a_parseval_frame(num_channels, learned):
    rng = np.random.default_rng(0)
    transform = _Transform(96, 2)
    if learned:
        transform = transform.learned(rng.standard_normal((5, num_channels, 96)), 3)
    segments = rng.standard_normal((4, num_channels, 96))
    coefficients = transform.forward(segments)
    assert coefficients.shape == (4, num_channels, 97)
    np.testing.assert_allclose(transform.inverse(coefficients), segments, atol=1e-12)
    np.testing.assert_allclose(
        (np.abs(coefficients) ** 2).sum(axis=(1, 2)), (segments**2).sum(axis=(1, 2))
    )
    # The inverse is the adjoint: <F x, z> = <x, F* z> over the reals.
    other = rng.standard_normal(coefficients.shape) + 1j * rng.standard_normal(coefficients.shape)
    other[..., [0, -1]] = other[..., [0, -1]].real if not learned else other[..., [0, -1]]
    left = (coefficients.conj() * other).real.sum()
    assert left == pytest.approx((segments * transform.inverse(other)).sum())


def test_rotations_are_unitary_banded_and_make_spectra_sparser():
    frames = np.stack([chord()[:, start : start + 1024] for start in range(0, 8192, 512)])
    transform = _Transform(1024, 2)
    spectra = transform.forward(frames * hann_window(1024)).reshape(16, -1).T.copy()
    before = spectra.copy()
    matrix = learn_rotations(spectra, 4)
    dense = matrix.toarray()
    np.testing.assert_allclose(dense @ dense.conj().T, np.eye(1025), atol=1e-12)
    np.testing.assert_allclose(dense @ before, spectra, atol=1e-12)
    rows, columns = np.nonzero(np.abs(dense) > 1e-14)
    assert np.abs(rows - columns).max() <= 4
    # Measured 0.66.
    assert np.abs(spectra).sum() < 0.8 * np.abs(before).sum()


def test_known_samples_of_a_segment_stay_and_tones_are_restored():
    tone = np.cos(2 * np.pi * 12.25 * np.arange(512) / 512) * hann_window(512)
    known = np.ones(512, dtype=bool)
    known[240:290] = False
    damaged = np.where(known, tone, 0.0)[None, None]
    restored, count = sparsify(damaged, known[None], _Transform(512, 2), ASpainConfig())
    np.testing.assert_array_equal(restored[0, 0, known], tone[known])
    assert snr_db(tone[~known], restored[0, 0, ~known]) > 25
    assert count < 60  # one main lobe of the window, not the 513 bins


def test_segments_without_any_known_sample_stay_empty():
    segments = np.zeros((2, 1, 64))
    known = np.zeros((2, 64), dtype=bool)
    known[0] = True
    restored, count = sparsify(segments, known, _Transform(64, 2), ASpainConfig())
    assert not restored.any()
    assert count == 0


@pytest.mark.parametrize(("start", "stop"), [(5000, 5001), (5000, 5333), (5000, 6200)])
def test_every_sample_of_the_gap_lies_in_four_segments(start, stop):
    starts = _segment_starts(start, stop, 400)
    positions = np.arange(start, stop)[:, None]
    assert (((positions >= starts) & (positions < starts + 400)).sum(axis=1) == 4).all()


def test_tones_are_restored_and_the_learned_transform_helps():
    samples = chord()
    window, original = window_of(samples, 7000, 320), samples[:, 7000:7320]
    plain, learned = (snr_db(original, filled(filler, window)) for filler in FILLERS)
    # Measured 36.5 and 48.2 dB.
    assert plain > 34
    assert learned > plain + 8


@pytest.mark.parametrize("filler", FILLERS, ids=filler_name)
def test_gain_and_channels(filler):
    mono = chord()
    stereo = np.concatenate([mono, mono])
    fill = filled(filler, window_of(stereo, 7000, 160))
    np.testing.assert_array_equal(fill[0], fill[1])
    quieter = filled(filler, window_of(2.0**-10 * stereo, 7000, 160))
    np.testing.assert_allclose(quieter, 2.0**-10 * fill, rtol=1e-9)


@pytest.mark.parametrize("filler", FILLERS, ids=filler_name)
def test_the_stereo_image_survives(filler):
    left, right = chord(), harmonic_tones((330.0,), 1.0, RATE, floor_db=-60.0, seed=2)
    samples = np.concatenate([left + 0.3 * right, 0.5 * left - right])
    fill, original = filled(filler, window_of(samples, 7000, 240)), samples[:, 7000:7240]
    assert abs(np.corrcoef(fill)[0, 1] - np.corrcoef(original)[0, 1]) < 0.05
    levels = [10 * np.log10((part**2).mean(axis=1)) for part in (fill, original)]
    assert np.abs(levels[0] - levels[1]).max() < 1


@pytest.mark.parametrize("filler", FILLERS, ids=filler_name)
def test_silence_ends_and_tiny_windows(filler):
    assert not filled(filler, window_of(np.zeros((2, 8000)), 3000, 100)).any()
    samples = chord(0.3)
    for start in (0, samples.shape[1] - 80):
        filled(filler, window_of(samples, start, 80))
    assert np.abs(filled(filler, window_of(np.ones((1, 3)), 1, 1))).max() <= 2
    assert not filled(filler, window_of(np.ones((1, 5)), 0, 5)).any()


@pytest.mark.parametrize("filler", FILLERS, ids=filler_name)
def test_other_unknown_samples_are_not_taken_as_known(filler):
    samples = chord()
    window = window_of(samples, 7000, 100)
    known = window.known.copy()
    known[window.gap.stop + 300 : window.gap.stop + 380] = False
    damaged = np.where(known, window.samples, 1e6)
    hidden = Window(
        samples=damaged, known=known, gap=window.gap, start=window.start, sample_rate=RATE
    )
    assert snr_db(samples[:, 7000:7100], filled(filler, hidden)) > 15


def test_a_fill_does_not_depend_on_its_batch():
    samples = chord()
    windows = [window_of(samples, 5000, 50), window_of(samples, 9000, 130)]
    together = FILLERS[0].fill(windows, num_takes=1, rng=Rng(0))
    for window, fills in zip(windows, together, strict=True):
        np.testing.assert_array_equal(fills[0].samples, filled(FILLERS[0], window))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("redundancy", 0),
        ("sparsity_step", 0),
        ("relax_every", 0),
        ("num_layers", 0),
        ("window_ms", 0.0),
        ("tolerance", float("inf")),
        ("learned_windows", 0.5),
    ],
)
def test_settings_out_of_range_are_named(field, value):
    with pytest.raises(ConfigError, match=field):
        ASpainConfig(**{field: value})
