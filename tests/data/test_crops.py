from collections import Counter

import numpy as np
import pytest
import soundfile

from weft.data.crops import CropConfig, CropSource
from weft.data.manifest import read_manifest, write_manifest
from weft.data.samples import CacheConfig, make_sample_cache
from weft.errors import ConfigError
from weft.rng import Rng

RATE = 8000
LENGTH = 100


def write_corpus(folder, sounds):
    """Write sounds of ``n``; the label of each is its name."""
    folder.mkdir()
    for name, sound in sounds.items():
        soundfile.write(folder / f"{name}.wav", sound, RATE, subtype="FLOAT")
    write_manifest(folder, [{"file": f"{name}.wav", "label": name} for name in sounds])
    return read_manifest(folder, name=folder.name)


def ramp(num_samples, first=0.1, last=0.9):
    return np.linspace(first, last, num_samples)


@pytest.fixture
def cache(tmp_path):
    """Two corpora: 12 + 5 + 1 crops' worth of music, 4 crops' worth of rain."""
    music = write_corpus(
        tmp_path / "music", {"a": ramp(1250), "b": ramp(500), "short": ramp(30, 0.2, 0.3)}
    )
    rain = write_corpus(tmp_path / "rain", {"drops": -ramp(430)})
    return make_sample_cache([music, rain], tmp_path / "cache", CacheConfig(sample_rate=RATE))


def draw_all(source, seed=0):
    return [source.draw(i, Rng(seed).child(i)) for i in range(len(source))]


def test_an_epoch_has_as_many_crops_as_fit_and_one_of_each_short_file(cache):
    source = CropSource(cache, CropConfig(num_samples=LENGTH))
    assert len(source) == 12 + 5 + 1 + 4
    assert source.counts == {"music": 18, "rain": 4}
    labels = Counter(crop.source.entry.label for crop in draw_all(source))
    assert labels == {"a": 12, "b": 5, "short": 1, "drops": 4}


def test_a_crop_holds_the_samples_it_says_it_holds(cache):
    source = CropSource(cache, CropConfig(num_samples=LENGTH))
    for index, crop in enumerate(draw_all(source)):
        assert crop.samples.shape == (1, LENGTH)
        assert crop.samples.dtype == np.float32
        assert cache.entries[crop.recording] is crop.source
        np.testing.assert_array_equal(source.crop(index, Rng(0).child(index)), crop.samples)
        if crop.source.num_samples >= LENGTH:
            wanted = cache.read(crop.recording, crop.start, crop.start + LENGTH)
            np.testing.assert_array_equal(crop.samples, wanted)


def test_equal_streams_give_equal_crops_and_others_do_not(cache):
    source = CropSource(cache, CropConfig(num_samples=LENGTH))
    first, again, other = ([crop.start for crop in draw_all(source, seed)] for seed in (3, 3, 4))
    assert first == again
    assert sum(a != b for a, b in zip(first, other, strict=True)) > 15


def test_crops_of_an_epoch_cover_a_recording_evenly(cache):
    source = CropSource(cache, CropConfig(num_samples=LENGTH))
    starts = [crop.start for crop in draw_all(source) if crop.source.entry.label == "a"]
    spare = 1250 - LENGTH + 1
    assert [12 * start // spare for start in starts] == list(range(12))


def test_first_and_last_samples_are_reached(cache):
    source = CropSource(cache, CropConfig(num_samples=400))
    starts = [source.draw(3, Rng(0).child(epoch)) for epoch in range(600)]
    drops = [crop.start for crop in starts if crop.source.entry.label == "short"]
    assert not drops  # the crop's number decides the recording
    starts = [source.draw(5, Rng(0).child(epoch)).start for epoch in range(600)]
    assert (min(starts), max(starts)) == (0, 30)


def test_a_short_recording_is_looped_from_its_beginning(cache):
    crop = next(
        c
        for c in draw_all(CropSource(cache, CropConfig(num_samples=LENGTH)))
        if c.source.entry.label == "short"
    )
    whole = cache.read(crop.recording)
    np.testing.assert_array_equal(crop.samples, np.tile(whole, 4)[:, :LENGTH])
    assert (crop.start, crop.num_valid) == (0, LENGTH)


def test_a_short_recording_is_padded_at_a_drawn_place(cache):
    source = CropSource(cache, CropConfig(num_samples=LENGTH, short="pad"))
    starts = set()
    for epoch in range(300):
        crop = source.draw(17, Rng(0).child(epoch))
        before = -crop.start
        starts.add(before)
        assert (crop.source.entry.label, crop.num_valid) == ("short", 30)
        np.testing.assert_array_equal(
            crop.samples[:, before : before + 30], cache.read(crop.recording)
        )
        assert np.count_nonzero(crop.samples) == 30
    assert (min(starts), max(starts)) == (0, LENGTH - 30)


def test_weights_share_an_epoch_and_visit_every_recording(cache):
    config = CropConfig(num_samples=LENGTH, weights={"music": 1.0, "rain": 1.0})
    source = CropSource(cache, config)
    assert source.counts == {"music": 11, "rain": 11}
    epochs = [crop for seed in range(30) for crop in draw_all(source, seed)]
    corpora = Counter(crop.source.corpus for crop in epochs)
    assert corpora == {"music": 330, "rain": 330}
    labels = Counter(crop.source.entry.label for crop in epochs)
    # Shares of music by the crops that fit: 12, 5 and 1 of 18.
    assert labels["a"] == pytest.approx(220, abs=12)
    assert labels["b"] == pytest.approx(92, abs=12)
    assert labels["short"] == pytest.approx(18, abs=10)


def test_every_corpus_gets_a_crop_however_small_its_weight(cache):
    config = CropConfig(num_samples=LENGTH, weights={"music": 1e9, "rain": 1.0})
    assert CropSource(cache, config).counts == {"music": 21, "rain": 1}


@pytest.mark.parametrize("weights", [{"music": 1.0}, {"music": 1.0, "rain": 1.0, "x": 1.0}, {}])
def test_weights_must_name_the_corpora(cache, weights):
    with pytest.raises(ConfigError, match="each corpus once, music, rain"):
        CropSource(cache, CropConfig(num_samples=LENGTH, weights=weights))


@pytest.fixture
def patchy(tmp_path):
    """A recording that is silent but for its last twentieth."""
    sound = np.zeros(20 * LENGTH)
    sound[-LENGTH:] = 0.5
    manifest = write_corpus(tmp_path / "patchy", {"a": sound})
    return make_sample_cache([manifest], tmp_path / "cache", CacheConfig(sample_rate=RATE))


def test_silence_is_drawn_again(patchy):
    def share(num_tries):
        config = CropConfig(num_samples=LENGTH, num_tries=num_tries)
        source = CropSource(patchy, config)
        crops = [c for seed in range(20) for c in draw_all(source, seed)]
        return np.mean([bool(crop.samples.any()) for crop in crops])

    # A window meets the sound from 5.2 % of the places: 1 - .948^12 = .47, and .05 in one draw.
    assert share(1) == pytest.approx(0.05, abs=0.01)
    assert share(12) == pytest.approx(0.47, abs=0.08)


def test_the_loudest_of_the_draws_is_taken_when_all_are_too_quiet(patchy):
    def levels(num_tries, floor):
        config = CropConfig(num_samples=LENGTH, num_tries=num_tries, min_level_db=floor)
        source = CropSource(patchy, config)
        crops = [c for seed in range(8) for c in draw_all(source, seed)]
        return np.mean([np.mean(crop.samples**2) for crop in crops])

    assert levels(12, 20.0) > 4 * levels(1, 20.0)
    assert levels(12, -np.inf) == levels(1, -np.inf)


def test_a_silent_recording_still_gives_crops(tmp_path):
    manifest = write_corpus(tmp_path / "silent", {"a": np.zeros(250)})
    cache = make_sample_cache([manifest], tmp_path / "cache", CacheConfig(sample_rate=RATE))
    (first, second) = draw_all(CropSource(cache, CropConfig(num_samples=LENGTH)))
    assert not first.samples.any()
    assert not second.samples.any()


def test_fixed_crops_are_always_the_same_and_in_the_middle_of_their_part(cache):
    source = CropSource(cache, CropConfig(num_samples=LENGTH))
    starts = [source.fixed(i).start for i in range(12)]
    assert starts == [int((k + 0.5) / 12 * 1151) for k in range(12)]


@pytest.mark.parametrize("index", [-1, 22])
def test_a_crop_outside_the_epoch_is_refused(cache, index):
    source = CropSource(cache, CropConfig(num_samples=LENGTH))
    for draw in (lambda: source.draw(index, Rng(0)), lambda: source.fixed(index)):
        with pytest.raises(ConfigError, match="an epoch has 22"):
            draw()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"num_samples": 0}, "num_samples"),
        ({"num_tries": 0}, "num_tries"),
        ({"min_level_db": np.nan}, "min_level_db"),
        ({"weights": {"a": 0.0}}, "weight of 'a'"),
        ({"weights": {"a": np.inf}}, "weight of 'a'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, field):
    with pytest.raises(ConfigError, match=field):
        CropConfig(**{"num_samples": 1, **settings})
