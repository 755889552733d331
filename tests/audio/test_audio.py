import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.audio.audio import Audio, AudioFormat, Patch
from weft.errors import ShapeError

RAMP = np.arange(200.0)[None]


@given(
    st.lists(st.tuples(st.integers(0, 190), st.integers(0, 10)), max_size=12),
    st.integers(0, 200),
    st.integers(0, 200),
)
def test_reading_a_range_is_reading_all_and_cutting(
    places: list[tuple[int, int]], first: int, second: int
) -> None:
    audio = Audio.from_samples(RAMP, 100)
    whole = RAMP.copy()
    for value, (start, length) in enumerate(places):
        patch = Patch(start=start, samples=np.full((1, length), -1.0 - value))
        audio = audio.patched([patch])
        whole[:, start : start + length] = -1.0 - value
    start, stop = sorted((first, second))
    assert np.array_equal(audio.read(start, stop), whole[:, start:stop])
    blocks = [samples for _, samples in audio.blocks(17)]
    assert np.array_equal(np.concatenate(blocks, axis=1), whole)


def test_an_edit_leaves_the_audio_it_was_made_from() -> None:
    audio = Audio.from_samples(RAMP, 100)
    audio.patched([Patch(start=5, samples=np.zeros((1, 5)))])
    audio.samples[:] = 0
    assert np.array_equal(audio.samples, RAMP)


def test_samples_given_are_copied() -> None:
    given_samples = RAMP.copy()
    audio = Audio.from_samples(given_samples, 100)
    given_samples[:] = 0
    assert np.array_equal(audio.samples, RAMP)


def test_one_axis_is_one_channel() -> None:
    assert Audio.from_samples(np.zeros(10, dtype=np.float32), 100).num_channels == 1


@pytest.mark.parametrize("shape", [(1000, 2), (0, 5), (2, 2, 5)])
def test_axes_the_wrong_way_round_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="channels, samples"):
        Audio.from_samples(np.zeros(shape), 100)


def test_a_rate_must_be_positive() -> None:
    with pytest.raises(ShapeError, match="sample_rate"):
        Audio.from_samples(RAMP, 0)


@pytest.mark.parametrize(
    "patch",
    [
        Patch(start=0, samples=np.zeros((2, 5))),
        Patch(start=198, samples=np.zeros((1, 5))),
        Patch(start=-1, samples=np.zeros((1, 5))),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(patch: Patch) -> None:
    with pytest.raises(ShapeError, match="a patch"):
        Audio.from_samples(RAMP, 100).patched([patch])


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 4), (0, 201)])
def test_a_range_outside_the_recording_is_refused(start: int, stop: int) -> None:
    with pytest.raises(ShapeError, match="asked for"):
        Audio.from_samples(RAMP, 100).read(start, stop)


def test_formats_know_whether_they_lose() -> None:
    assert AudioFormat(container="OGG", subtype="VORBIS").is_lossy
    assert AudioFormat(container="MP3", subtype="MPEG_LAYER_III").is_lossy
    assert not AudioFormat(container="FLAC", subtype="PCM_16").is_lossy
    assert AudioFormat().is_float
