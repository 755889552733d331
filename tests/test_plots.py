"""The report picture."""

import io

import numpy as np
import pytest

from weft import api
from weft.audio.audio import ArraySource, Audio, AudioFormat, Source
from weft.canvas.canvas import Region
from weft.plots import draw_report

Image = pytest.importorskip("PIL.Image")


def picture(result, title="take"):
    with Image.open(io.BytesIO(draw_report(result, title=title))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def filled(samples, gaps, rate=16000, model="lpc"):
    return api.inpaint(Audio.from_samples(samples, rate), gaps, model=model)


def noise(num_samples=16000, channels=2):
    return 0.1 * np.random.default_rng(0).standard_normal((channels, num_samples))


def test_the_gap_is_dark_before_and_bright_after():
    samples = noise()
    samples[:, 8000:10000] = 0
    shown = picture(filled(samples, [Region(start=8000, stop=10000)], model="noise"))
    height, width = shown.shape[:2]
    middle = shown[:, round(0.45 * width) : round(0.55 * width)].mean(axis=(1, 2))
    before, after = middle[round(0.25 * height)], middle[round(0.55 * height)]
    assert before < 30
    assert after > 90


@pytest.mark.parametrize(
    "gaps",
    [
        [Region(start=0, stop=800)],
        [Region(start=15000, stop=16000)],
        [Region(start=8000, stop=8001)],
        [Region(start=1000 * i, stop=1000 * i + 16) for i in range(1, 12)],
        [Region(start=1, stop=15999)],
    ],
)
def test_any_gaps_can_be_drawn(gaps):
    assert picture(filled(noise(), gaps)).shape == (1110, 1950, 3)


@pytest.mark.parametrize(("rate", "num_samples"), [(100, 50), (8000, 3), (192_000, 40_000)])
def test_any_rate_and_length_can_be_drawn(rate, num_samples):
    result = filled(noise(num_samples, 3), [Region(start=1, stop=2)], rate=rate)
    assert picture(result).std() > 5


def test_silence_and_odd_titles_can_be_drawn():
    result = filled(np.zeros((1, 8000)), [(0.1, 0.2)])
    picture(result, title="$\\frac{1}{ " + "長い" * 60)


def test_the_same_result_gives_the_same_picture():
    result = filled(noise(), [(0.5, 0.6)])
    assert draw_report(result, title="a") == draw_report(result, title="a")
    assert draw_report(result, title="a") != draw_report(result, title="b")


class Watched(Source):
    """Remembers what was read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.num_read = 0

    sample_rate = property(lambda self: self._source.sample_rate)
    num_channels = property(lambda self: self._source.num_channels)
    num_samples = property(lambda self: self._source.num_samples)
    format = property(lambda self: self._source.format)
    path = property(lambda self: self._source.path)

    def read(self, start: int, stop: int) -> np.ndarray:
        self.num_read += stop - start
        return self._source.read(start, stop)


def test_only_windows_around_the_gaps_are_read():
    source = Watched(ArraySource(noise(1_000_000), 16000, AudioFormat()))
    result = api.inpaint(Audio(source), [(30.0, 30.1)], model="lpc")
    source.num_read = 0
    draw_report(result, title="long")
    assert source.num_read < 20_000
