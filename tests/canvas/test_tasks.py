import math
from collections.abc import Callable

import numpy as np
import pytest

from weft.audio.audio import Audio, AudioFormat
from weft.audio.beats import find_beats
from weft.audio.fades import constant_power_crossfade
from weft.audio.synth import brush
from weft.canvas import Region, continuation, generate, inpaint, regenerate, transition
from weft.canvas.tasks import to_region
from weft.errors import ConfigError, QualityWarning, RegionError

AUDIO = Audio.from_samples(np.zeros((1, 1000)), 1000)


def test_seconds_become_the_nearest_samples() -> None:
    assert inpaint(AUDIO, [(0.1004, 0.2006)]).gaps == (Region(start=100, stop=201),)


def test_overlapping_gaps_become_one() -> None:
    assert inpaint(AUDIO, [(0.3, 0.5), (0.1, 0.4)]).gaps == (Region(start=100, stop=500),)


@pytest.mark.parametrize(
    ("gap", "message"),
    [
        ((0.5, 0.4), "after it starts"),
        ((0.5, 0.5), "after it starts"),
        ((math.nan, 0.4), "finite"),
        ((0.5, math.inf), "finite"),
        ((-0.1, 0.4), ">= 0"),
        ((0.5, 1.2), "beyond the end"),
        (Region(start=990, stop=1001), "beyond the end"),
    ],
)
def test_a_gap_that_makes_no_sense_is_named(
    gap: Region | tuple[float, float], message: str
) -> None:
    with pytest.raises(RegionError, match=message):
        inpaint(AUDIO, [gap])


def test_no_gap_is_refused() -> None:
    with pytest.raises(RegionError, match="no gap"):
        inpaint(AUDIO, [])


def test_a_gap_over_everything_is_refused() -> None:
    with pytest.raises(RegionError, match="whole recording"):
        inpaint(AUDIO, [(0.0, 1.0)])


@pytest.mark.parametrize("gap", [(0.5,), ("a", "b"), 3.0, None])
def test_what_is_no_pair_of_numbers_is_named(gap: object) -> None:
    unchecked = getattr(to_region, "__wrapped__", to_region)  # past the type hook of the tests
    with pytest.raises(RegionError, match="pair of seconds"):
        unchecked(gap, AUDIO)


FORMAT = AudioFormat(subtype="PCM_16")
DRAW = np.random.default_rng(0).standard_normal((2, 2, 1000))
ONE, OTHER = (Audio.from_samples(part, 1000, format=FORMAT) for part in DRAW)


@pytest.mark.parametrize("before", [False, True])
def test_a_continued_recording_holds_the_whole_recording_and_an_empty_gap(before: bool) -> None:
    canvas = continuation(ONE, 0.25, before=before)
    (gap,) = canvas.gaps
    known = Region(start=250, stop=1250) if before else Region(start=0, stop=1000)
    assert gap == (Region(start=0, stop=250) if before else Region(start=1000, stop=1250))
    assert np.array_equal(canvas.audio.read(known.start, known.stop), ONE.samples)
    assert not canvas.audio.read(gap.start, gap.stop).any()
    assert (canvas.draft_strength, canvas.is_loop) == (None, False)
    assert canvas.audio.format == FORMAT


def test_a_loop_is_said_to_be_one() -> None:
    assert continuation(ONE, 0.25, loop=True).is_loop


def test_regions_to_be_made_anew_keep_what_stands_there_as_a_draft() -> None:
    canvas = regenerate(ONE, [(0.3, 0.5), (0.1, 0.4)], 0.4)
    assert canvas.gaps == (Region(start=100, stop=500),)
    assert canvas.draft_strength == 0.4
    assert canvas.audio is ONE
    assert regenerate(ONE, [(0.0, 1.0)]).num_unknown == 1000


def test_a_transition_is_the_first_recording_a_crossfade_and_the_second() -> None:
    canvas = transition(ONE, OTHER, 0.4)
    assert canvas.gaps == (Region(start=600, stop=1000),)
    assert canvas.draft_strength == 0.85
    expected = constant_power_crossfade(ONE.samples, OTHER.samples, 400)
    assert np.array_equal(canvas.audio.samples, expected)
    assert canvas.audio.format == FORMAT


def test_recordings_may_overlap_whole() -> None:
    assert transition(ONE, OTHER, 1.0).audio.num_samples == 1000


def beating(period: int, first: int, num_samples: int, seed: int) -> Audio:
    sound = 1e-3 * np.random.default_rng(seed).standard_normal((1, num_samples))
    for at in range(first, num_samples - 1600, period):
        sound[0, at : at + 1600] += 0.3 * brush(0.2, 8000, seed=at)
    return Audio.from_samples(sound, 8000)


def test_edges_of_a_transition_move_to_beats_that_fall_together() -> None:
    first, second = beating(4000, 1500, 100_000, 1), beating(4000, 700, 90_000, 2)
    canvas = transition(first, second, 2.2, snap_beats=True)
    (gap,) = canvas.gaps
    assert gap.num_samples == pytest.approx(4 * 4000, abs=8)  # 17,600 asked for
    assert (gap.start - 1500 + 2000) % 4000 - 2000 == pytest.approx(0, abs=120)
    rest = canvas.audio.num_samples - gap.stop
    entry = second.num_samples - rest
    assert (entry - 700 + 2000) % 4000 - 2000 == pytest.approx(0, abs=120)
    assert np.array_equal(canvas.audio.read(0, gap.start), first.read(0, gap.start))
    assert np.array_equal(
        canvas.audio.read(gap.stop, canvas.audio.num_samples),
        second.read(entry, second.num_samples),
    )
    beats = find_beats(canvas.audio.read(gap.start, gap.stop), 8000)
    assert beats is None or beats.period == pytest.approx(4000, rel=0.02)


def test_an_edge_without_beats_stays() -> None:
    noise = Audio.from_samples(np.random.default_rng(4).standard_normal((1, 80_000)), 8000)
    with pytest.warns(QualityWarning, match=r"no beat was found in the (first|second) recording"):
        canvas = transition(noise, noise, 2.0, snap_beats=True)
    assert canvas.gaps == (Region(start=64_000, stop=80_000),)


def test_a_canvas_from_nothing_is_all_gap() -> None:
    canvas = generate(0.5, 8000, 2)
    assert canvas.gaps == (Region(start=0, stop=4000),)
    assert not canvas.audio.samples.any()
    assert (canvas.audio.num_channels, canvas.audio.sample_rate) == (2, 8000)


EMPTY = Audio.from_samples(np.zeros((2, 0)), 1000)
SLOW = Audio.from_samples(DRAW[0], 500)
MONO = Audio.from_samples(DRAW[0][:1], 1000)


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: continuation(ONE, 0.0), ConfigError, "seconds must be > 0"),
        (lambda: continuation(ONE, -1.0), ConfigError, "seconds must be > 0"),
        (lambda: continuation(ONE, math.nan), ConfigError, "seconds must be > 0"),
        (lambda: continuation(ONE, 1e9), ConfigError, "at most 86,400"),
        (lambda: continuation(ONE, 1e-5), ConfigError, "less than one sample at 1000 Hz"),
        (lambda: continuation(EMPTY, 1.0), RegionError, "holds no samples: nothing to go on from"),
        (lambda: regenerate(ONE, []), RegionError, "no region was given"),
        (lambda: regenerate(ONE, [(0.1, 1.2)]), RegionError, "beyond the end"),
        (lambda: regenerate(ONE, [(0.1, 0.2)], 1.1), ConfigError, r"strength must be in \[0, 1\]"),
        (lambda: regenerate(ONE, [(0.1, 0.2)], math.nan), ConfigError, "strength"),
        (lambda: transition(ONE, OTHER, 0.5, -0.1), ConfigError, "strength must be"),
        (lambda: transition(ONE, OTHER, 0.0), ConfigError, "seconds must be > 0"),
        (
            lambda: transition(ONE, OTHER, 1.2),
            RegionError,
            "the first recording is 1.000 s long, shorter than the transition of 1.2 s",
        ),
        (lambda: transition(ONE, EMPTY, 0.5), RegionError, "the second recording holds no samples"),
        (
            lambda: transition(ONE, SLOW, 0.5),
            ConfigError,
            "has 2 channels at 1000 Hz, the second has 2 channels at 500 Hz.*--match",
        ),
        (lambda: transition(MONO, ONE, 0.5), ConfigError, "1 channel at 1000 Hz"),
        (lambda: generate(0.0), ConfigError, "seconds must be > 0"),
        (lambda: generate(1.0, 0), ConfigError, "sample_rate must be in 1000-768,000"),
        (lambda: generate(1.0, 8000, 65), ConfigError, "num_channels must be in 1-64"),
    ],
)
def test_tasks_that_make_no_sense_are_refused(
    make: Callable[[], object], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        make()
