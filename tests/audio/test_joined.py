import mmap
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.audio import buffers
from weft.audio.audio import Audio, AudioFormat, Patch, Source
from weft.audio.buffers import new_samples, release
from weft.audio.fades import constant_power_crossfade, constant_power_gains
from weft.audio.joined import CrossfadeSource, JoinedSource, PartSource, SilentSource
from weft.errors import OutputError, ShapeError

RATE = 1000
FORMAT = AudioFormat(subtype="PCM_16")
DRAW = np.random.default_rng(3).standard_normal((2, 500))
SONG = Audio.from_samples(DRAW, RATE, format=FORMAT)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.data())
def test_a_joined_recording_reads_like_its_parts_put_together(
    lengths: list[int], data: st.DataObject
) -> None:
    edges = np.cumsum([0, *lengths])
    parts = [PartSource(SONG, int(a), int(b)) for a, b in pairwise(edges)]
    joined = Audio(JoinedSource(parts))
    assert joined.num_samples == edges[-1]
    start = data.draw(st.integers(0, int(edges[-1])))
    stop = data.draw(st.integers(start, int(edges[-1])))
    assert np.array_equal(joined.read(start, stop), DRAW[:, start:stop])


def test_a_joined_recording_has_the_format_of_its_first_part_and_no_path() -> None:
    joined = JoinedSource([PartSource(SONG, 0, 9), SilentSource(2, 5, RATE, AudioFormat())])
    assert (joined.format, joined.path, joined.sample_rate, joined.num_channels) == (
        FORMAT,
        None,
        RATE,
        2,
    )
    assert np.array_equal(joined.read(7, 12)[:, :2], DRAW[:, 7:9])
    assert not joined.read(9, 14).any()


def test_a_part_shows_patches_of_its_recording() -> None:
    edited = SONG.patched([Patch(start=100, samples=np.ones((2, 5)))])
    part = PartSource(edited, 98, 120)
    assert np.array_equal(part.read(0, 22), edited.read(98, 120))
    assert part.read(2, 7).all()


class CountingSource(Source):
    """Silence that knows how much of it was read."""

    def __init__(self, num_samples: int) -> None:
        self.inner = SilentSource(1, num_samples, RATE, FORMAT)
        self.num_read = 0

    sample_rate = RATE
    num_channels = 1
    format = FORMAT
    path: Path | None = None

    @property
    def num_samples(self) -> int:
        return self.inner.num_samples

    def read(self, start: int, stop: int) -> np.ndarray:
        self.num_read += stop - start
        return self.inner.read(start, stop)


def test_only_what_is_asked_for_is_read() -> None:
    parts = [CountingSource(1000) for _ in range(4)]
    Audio(JoinedSource(parts)).read(1990, 2005)
    assert [part.num_read for part in parts] == [0, 10, 5, 0]


def test_a_crossfade_reads_the_same_whole_or_in_stretches() -> None:
    one, other = PartSource(SONG, 0, 200), PartSource(SONG, 300, 500)
    faded = CrossfadeSource(one, other)
    whole = faded.read(0, 200)
    assert np.array_equal(whole, constant_power_crossfade(DRAW[:, :200], DRAW[:, 300:], 200))
    assert np.array_equal(np.concatenate([faded.read(0, 77), faded.read(77, 200)], axis=1), whole)


def test_gains_of_a_crossfade_keep_the_power() -> None:
    falling, rising = constant_power_gains(64)
    assert np.allclose(falling**2 + rising**2, 1)
    assert falling[0] > 0.99
    assert rising[-1] > 0.99
    assert np.array_equal(constant_power_gains(64, 10, 20)[1], rising[10:20])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: JoinedSource([]), "nothing to join"),
        (
            lambda: JoinedSource([SilentSource(1, 5, 8000, FORMAT), PartSource(SONG, 0, 5)]),
            "1 channels at 8000 Hz and 2 at 1000 Hz",
        ),
        (lambda: PartSource(SONG, 0, 501), "the recording has 0-500"),
        (
            lambda: CrossfadeSource(PartSource(SONG, 0, 5), PartSource(SONG, 0, 6)),
            "equal length, got 5 and 6",
        ),
        (lambda: SilentSource(0, 5, 8000, FORMAT), ">= 1 channels"),
    ],
)
def test_what_cannot_be_joined_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        make()


def test_few_samples_stand_in_memory_and_many_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "SPILL_BYTES", 800)
    small, large = new_samples(1, 100), new_samples(2, 100)
    assert not isinstance(small, np.memmap)
    assert isinstance(large, np.memmap)
    assert isinstance(large.base, mmap.mmap)
    assert not large.any()


def test_a_buffer_in_a_file_keeps_what_was_written_when_its_pages_are_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(buffers, "SPILL_BYTES", 0)
    buffer = new_samples(2, 50_000)
    buffer[:, 10_000:10_500] = DRAW
    release(buffer[:, 5:9])
    assert np.array_equal(buffer[:, 10_000:10_500], DRAW)
    edited = Audio.from_samples(np.zeros((2, 60_000)), RATE).patched(
        [Patch(start=100, samples=buffer)]
    )
    assert np.array_equal(edited.read(10_100, 10_600), DRAW)


def test_no_room_for_a_buffer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(buffers.os, "posix_fallocate", full)
    with pytest.raises(OutputError, match=r"no room for .* bytes .*No space left.*TMPDIR"):
        new_samples(1, 1 << 24)
