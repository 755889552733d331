"""Similarity fill: the right place is found, cut out, levelled and joined."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from weft.canvas.canvas import Region, Window
from weft.classical.matching import SimilarityConfig, find_candidates
from weft.classical.similarity import Similarity, render, self_similarity
from weft.errors import ConfigError
from weft.rng import Rng

RATE = 16_000


def make_window(
    samples: np.ndarray,
    gap: tuple[int, int],
    *,
    rate: int = RATE,
    unknown: Sequence[tuple[int, int]] = (),
    junk: float = 0.0,
    start: int = 0,
) -> Window:
    known = np.ones(samples.shape[1], bool)
    for low, high in (gap, *unknown):
        known[low:high] = False
    held = np.where(known, samples, junk)
    region = Region(start=gap[0], stop=gap[1])
    return Window(samples=held, known=known, gap=region, start=start, sample_rate=rate)


def make_tune(num_samples: int, seed: int = 0, channels: int = 1) -> np.ndarray:
    """Decaying notes of changing pitch over faint noise; no two stretches are alike."""
    rng = np.random.default_rng(seed)
    tune = np.zeros((channels, num_samples))
    for start in range(0, num_samples, 2000):
        time = np.arange(min(6000, num_samples - start)) / RATE
        pitch, pan = 110 * 2 ** (rng.integers(0, 36) / 12), rng.uniform(0.2, 1, (channels, 1))
        note = sum(
            np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6)) / k for k in range(1, 6)
        )
        tune[:, start : start + len(time)] += 0.1 * pan * note * np.exp(-8 * time)
    return tune + 0.001 * rng.standard_normal(tune.shape)


def snr_db(reference: np.ndarray, estimate: np.ndarray) -> float:
    return float(10 * np.log10((reference**2).sum() / ((reference - estimate) ** 2).sum()))


def only_fill(window: Window, num_takes: int = 1) -> np.ndarray:
    return Similarity().fill([window], num_takes=num_takes, rng=Rng(0))[0][0].samples


def test_a_hole_in_a_loop_is_filled_with_the_true_repeat() -> None:
    loop = make_tune(24_011)  # the period is no multiple of the hop
    song = np.tile(loop, 4)
    for gap in ((40_000, 44_800), (30_123, 30_923), (60_000, 72_000)):
        filled = only_fill(make_window(song, gap))
        assert snr_db(song[:, gap[0] : gap[1]], filled) > 30  # measured 50 to 70


@pytest.mark.parametrize("offset", [0, 1, 77, 159])
def test_a_planted_copy_is_found_at_the_exact_sample(offset: int) -> None:
    song = make_tune(160_000, seed=3)
    gap, source = (100_000, 104_000), 30_000 + offset
    song[:, source - 12_000 : source + 16_000] = song[:, gap[0] - 12_000 : gap[0] + 16_000]
    (best,) = find_candidates(make_window(song, gap), SimilarityConfig(), 1)
    assert (best.start, best.stop) == (source, source + 4000)
    assert min(best.correlation_before, best.correlation_after) > 0.999


def test_a_copy_of_another_length_is_spliced_to_the_length_of_the_gap() -> None:
    song = make_tune(160_000, seed=4)
    gap, source = (100_000, 106_400), 30_000
    before, after = song[:, gap[0] - 12_000 : gap[0]], song[:, gap[1] : gap[1] + 12_000]
    longer = 240
    song[:, source - 12_000 : source] = before
    song[:, source + 6400 + longer : source + 18_400 + longer] = after
    window = make_window(song, gap)
    (best,) = find_candidates(window, SimilarityConfig(), 1)
    assert (best.start, best.stop) == (source, source + 6400 + longer)
    assert render(window, best, SimilarityConfig()).shape == (1, 6400)


def test_a_quieter_copy_is_brought_to_level() -> None:
    song = make_tune(160_000, seed=5)
    gap, source = (100_000, 104_800), 30_000
    quiet = 10 ** (-9 / 20)
    song[:, source - 16_000 : source + 20_800] = quiet * song[:, gap[0] - 16_000 : gap[0] + 20_800]
    filled = only_fill(make_window(song, gap))
    wanted = song[:, gap[0] : gap[1]]
    step_db = 10 * np.log10((filled**2).sum() / (wanted**2).sum())
    assert abs(step_db) < 1  # 9 without matching
    assert snr_db(wanted, filled) > 20


def test_silence_is_not_amplified_into_noise() -> None:
    rng = np.random.default_rng(0)
    song = 1e-7 * rng.standard_normal((1, 5 * RATE))
    song[:, : 2 * RATE] = make_tune(2 * RATE)
    filled = only_fill(make_window(song, (4 * RATE, 4 * RATE + 3000)))
    assert np.sqrt((filled**2).mean()) < 1e-5


def test_the_stereo_image_is_kept() -> None:
    loop = make_tune(24_000, channels=2, seed=6)
    song = np.tile(loop, 4)
    gap = (50_000, 54_800)
    filled, wanted = only_fill(make_window(song, gap)), song[:, gap[0] : gap[1]]
    for measure in (lambda x: np.corrcoef(x)[0, 1], lambda x: (x[0] ** 2).sum() / (x**2).sum()):
        assert abs(measure(filled) - measure(wanted)) < 0.01


def test_channels_of_opposite_sign_are_still_heard() -> None:
    loop = make_tune(24_000, seed=7)
    song = np.tile(np.concatenate([loop, -loop]), 4)
    gap = (50_000, 54_800)
    assert snr_db(song[:, gap[0] : gap[1]], only_fill(make_window(song, gap))) > 30


@pytest.mark.parametrize("junk", [1e6, np.nan, np.inf])
def test_unknown_samples_are_never_read(junk: float) -> None:
    song = np.tile(make_tune(24_000, seed=8), 4)
    gap, others = (50_000, 54_800), ((20_000, 21_000), (49_000, 49_300), (70_000, 70_016))
    clean = make_window(song, gap, unknown=others)
    dirty = make_window(song, gap, unknown=others, junk=junk)
    takes = [Similarity().fill([w], num_takes=4, rng=Rng(0))[0] for w in (clean, dirty)]
    assert len(takes[0]) == len(takes[1])
    for one, other in zip(*takes, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)


def test_candidates_touch_no_unknown_sample() -> None:
    song = np.tile(make_tune(24_000, seed=9), 4)
    others = tuple((low, low + 200) for low in range(3000, 90_000, 9000))
    window = make_window(song, (50_000, 53_000), unknown=others)
    found = find_candidates(window, SimilarityConfig(), 20)
    assert len(found) >= 3
    for candidate in found:
        assert window.known[candidate.start : candidate.stop].all()


def test_takes_are_distinct_and_the_best_is_first() -> None:
    song = np.tile(make_tune(24_000, seed=10), 5)
    window = make_window(song, (60_000, 64_800), start=1600)
    takes = Similarity().fill([window], num_takes=4, rng=Rng(0))[0]
    assert len(takes) == 4
    spans = sorted((t.details["source_s"], t.details["source_length_s"]) for t in takes)
    for (one, length), (other, _) in pairwise(spans):
        assert float(one) + float(length) <= float(other) + 1e-9
    assert [t.confidence for t in takes] == sorted((t.confidence for t in takes), reverse=True)
    assert takes[0].details["source_s"] in {
        (60_000 + k * 24_000 + 1600) / RATE for k in (-2, -1, 1)
    }


def test_batch_and_order_change_nothing() -> None:
    song = np.tile(make_tune(24_000, seed=11), 4)
    windows = [make_window(song, (p, p + 3000)) for p in (30_000, 50_000, 70_001)]
    together = Similarity().fill(windows, num_takes=2, rng=Rng(1))
    backwards = Similarity().fill(windows[::-1], num_takes=2, rng=Rng(1))[::-1]
    alone = [Similarity().fill([w], num_takes=2, rng=Rng(1))[0] for w in windows]
    for a, b, c in zip(together, backwards, alone, strict=True):
        for x, y, z in zip(a, b, c, strict=True):
            np.testing.assert_array_equal(x.samples, y.samples)
            np.testing.assert_array_equal(x.samples, z.samples)


def test_shifting_the_window_shifts_nothing_in_the_fill() -> None:
    song = np.tile(make_tune(24_000, seed=12), 4)
    window = make_window(song, (50_000, 53_000))
    later = make_window(song[:, 160:], (49_840, 52_840), start=160)
    one, other = find_candidates(window, SimilarityConfig(), 1) + find_candidates(
        later, SimilarityConfig(), 1
    )
    assert (one.start, one.stop) == (other.start + 160, other.stop + 160)


@pytest.mark.parametrize("gap", [(50_000, 54_800), (50_000, 50_800)])
def test_seams_do_not_click(gap: tuple[int, int]) -> None:
    song = make_tune(160_000, seed=13)  # nothing repeats: the fill does not fit by itself
    filled = song.copy()
    filled[:, gap[0] : gap[1]] = only_fill(make_window(song, gap))
    for seam in gap:
        jumps = np.abs(np.diff(filled[0, seam - 4000 : seam + 4000], n=2))
        at_seam = jumps[3996:4002].max()
        assert at_seam <= np.quantile(jumps, 0.999)


def test_the_start_and_the_end_of_a_recording_are_filled_from_one_side() -> None:
    song = np.tile(make_tune(24_000, seed=14), 4)
    total = song.shape[1]
    for gap in ((0, 3000), (total - 3000, total)):
        filled = only_fill(make_window(song, gap))
        wanted = song[:, gap[0] : gap[1]]
        assert snr_db(wanted, filled) > 25


@pytest.mark.parametrize("num_samples", [1, 2, 10, 100, 1000, 4000])
@pytest.mark.parametrize("kind", ["noise", "silence", "dc"])
def test_short_material_falls_back(num_samples: int, kind: str) -> None:
    rng = np.random.default_rng(0)
    song = {
        "noise": 0.1 * rng.standard_normal((2, num_samples)),
        "silence": np.zeros((2, num_samples)),
        "dc": np.full((2, num_samples), 0.3),
    }[kind]
    gap = (num_samples // 3, max(num_samples // 3 + 1, 2 * num_samples // 3))
    fill = Similarity().fill([make_window(song, gap)], num_takes=3, rng=Rng(0))[0][0]
    assert fill.samples.shape == (2, gap[1] - gap[0])
    assert np.isfinite(fill.samples).all()
    assert np.abs(fill.samples).max() < 1
    if "fallback" in fill.details:
        assert fill.confidence <= 0.1


def test_a_window_without_known_samples_is_filled_with_silence_and_no_confidence() -> None:
    fill = Similarity().fill([make_window(np.ones((1, 50)), (0, 50))], num_takes=1, rng=Rng(0))[0][
        0
    ]
    assert not fill.samples.any()
    assert fill.confidence == 0


@pytest.mark.parametrize("rate", [8000, 22_050, 48_000, 192_000])
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_every_rate_and_number_of_channels(rate: int, channels: int) -> None:
    rng = np.random.default_rng(1)
    period = rate // 2
    tone = np.sin(2 * np.pi * 300 * np.arange(period) / rate)
    loop = 0.1 * tone * rng.uniform(0.5, 1, (channels, 1)) + 0.01 * rng.standard_normal(
        (channels, period)
    )
    song = np.tile(loop, 5)
    gap = (int(1.1 * rate), int(1.1 * rate) + max(40, rate // 20))
    filled = only_fill(make_window(song, gap, rate=rate))
    assert snr_db(song[:, gap[0] : gap[1]], filled) > 15


@pytest.mark.parametrize("gap_ms", [5, 20, 5000])
def test_gaps_of_five_milliseconds_and_of_five_seconds(gap_ms: int) -> None:
    song = np.tile(make_tune(24_000, seed=15), 12)
    gap = (100_000, 100_000 + gap_ms * RATE // 1000)
    filled = only_fill(make_window(song, gap))
    assert snr_db(song[:, gap[0] : gap[1]], filled) > 20


def test_an_offset_does_not_hide_what_repeats() -> None:
    song = np.tile(make_tune(24_000, seed=16), 4)
    gap = (50_000, 54_800)
    filled = only_fill(make_window(song + 0.8, gap)) - 0.8
    assert snr_db(song[:, gap[0] : gap[1]], filled) > 30


def test_band_limited_material_is_filled_at_its_level() -> None:
    rng = np.random.default_rng(2)
    spectrum = np.fft.rfft(rng.standard_normal((1, 160_000)))
    spectrum[:, spectrum.shape[1] // 4 :] = 0
    song = np.fft.irfft(spectrum, 160_000)
    gap = (80_000, 84_800)
    filled = only_fill(make_window(song, gap))
    step_db = 10 * np.log10((filled**2).mean() / (song**2).mean())
    assert abs(step_db) < 2
    high = np.fft.rfft(filled * np.hanning(4800))[:, 1200:]
    assert (np.abs(high) ** 2).sum() < 1e-3 * (np.abs(np.fft.rfft(filled)) ** 2).sum()


def test_confidence_is_higher_where_the_recording_repeats() -> None:
    loop, other = np.tile(make_tune(24_000, seed=17), 5), make_tune(120_000, seed=18)
    repeated, unique = (self_similarity(make_window(x, (60_000, 64_800))) for x in (loop, other))
    assert repeated > unique + 0.2


@pytest.mark.parametrize(
    "settings", [{"context_ms": 0.0}, {"hop_ms": 0.5}, {"level_share": 2.0}, {"num_examined": 0}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, float | int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        SimilarityConfig(**settings)
