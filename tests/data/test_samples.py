import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file

from weft.audio.synth import song
from weft.data import samples as samples_module
from weft.data.corpora import open_entry
from weft.data.manifest import read_manifest, write_manifest
from weft.data.samples import CacheConfig, make_sample_cache, open_sample_cache
from weft.errors import AudioFormatError, ConfigError, ShapeError

RATE = 16000


@pytest.fixture
def corpus(tmp_path):
    """A loud stereo file at another rate, a quiet mono one, one over full scale, one silent."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    stereo = song(1.5, 22050, seed=1).T
    soundfile.write(folder / "a.wav", stereo, 22050, subtype="FLOAT")
    soundfile.write(folder / "b.flac", 0.003 * stereo[:, :1], RATE, subtype="PCM_24")
    soundfile.write(folder / "c.wav", 2.5 * stereo[::-1], 22050, subtype="FLOAT")
    soundfile.write(folder / "d.wav", np.zeros((500, 1)), RATE)
    return read_manifest(folder, name="tones")


def files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("dtype", ["int16", "float16"])
def test_samples_are_those_of_the_opened_file_within_the_stated_error(
    corpus, tmp_path, dtype, num_channels, monkeypatch
):
    monkeypatch.setattr(samples_module, "_READ_SAMPLES", 5000)
    config = CacheConfig(sample_rate=RATE, num_channels=num_channels, dtype=dtype)
    cache = make_sample_cache([corpus], tmp_path / "cache", config)
    for index, entry in enumerate(corpus.entries):
        wanted = open_entry(entry, sample_rate=RATE, is_mono=num_channels == 1).samples
        found = cache.read(index)
        assert found.dtype == np.float32
        assert found.shape == (num_channels, wanted.shape[1])
        peak = np.abs(wanted).max()
        bound = peak / 65000
        if dtype == "float16":
            bound = np.maximum(np.abs(wanted) / 2000, peak * 2.0**-24)
        assert np.all(np.abs(found - wanted) <= bound)
        assert cache.entries[index].scale == pytest.approx(peak or 1.0, rel=1e-6)


def test_more_than_two_channels_become_their_mean_on_both_sides(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    four = np.random.default_rng(0).uniform(-0.5, 0.5, (400, 4))
    soundfile.write(folder / "a.wav", four, RATE, subtype="DOUBLE")
    config = CacheConfig(sample_rate=RATE, num_channels=2)
    found = make_sample_cache([read_manifest(folder)], tmp_path / "cache", config).read(0)
    np.testing.assert_allclose(found, np.stack([four.mean(axis=1)] * 2), atol=2e-5)


def test_a_range_is_that_part_of_the_whole(corpus, tmp_path):
    cache = make_sample_cache([corpus], tmp_path / "cache", CacheConfig(sample_rate=RATE))
    np.testing.assert_array_equal(cache.read(0, 100, 230), cache.read(0)[:, 100:230])
    assert cache.read(0, 7, 7).shape == (1, 0)


@pytest.mark.parametrize(("index", "start", "stop"), [(4, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 3, 2)])
def test_what_is_not_there_cannot_be_read(corpus, tmp_path, index, start, stop):
    cache = make_sample_cache([corpus], tmp_path / "cache", CacheConfig(sample_rate=RATE))
    with pytest.raises(ShapeError):
        cache.read(index, start, stop)


def test_a_second_run_decodes_nothing_and_finds_the_same(corpus, tmp_path, monkeypatch):
    config = CacheConfig(sample_rate=RATE)
    first = make_sample_cache([corpus], tmp_path / "cache", config)
    monkeypatch.setattr(samples_module, "_decode", lambda *a: pytest.fail("decoded again"))
    again = make_sample_cache([corpus], tmp_path / "cache", config)
    opened = open_sample_cache([corpus], tmp_path / "cache", config)
    assert again.entries == opened.entries == first.entries


def test_a_file_replaced_by_one_of_the_same_name_is_decoded_again(corpus, tmp_path):
    config = CacheConfig(sample_rate=RATE)
    before = make_sample_cache([corpus], tmp_path / "cache", config).read(1)
    path = corpus.entries[1].path
    status = path.stat()
    soundfile.write(path, np.full((before.shape[1], 1), 0.25), RATE, subtype="PCM_24")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ConfigError, match="1 of 4 recordings are not in the cache.*b.flac"):
        open_sample_cache([corpus], tmp_path / "cache", config)
    after = make_sample_cache([corpus], tmp_path / "cache", config).read(1)
    np.testing.assert_allclose(after, 0.25, atol=1e-5)


def test_settings_do_not_share_samples_but_equal_files_do(corpus, tmp_path):
    folder = tmp_path / "cache"
    mono = make_sample_cache([corpus], folder, CacheConfig(sample_rate=RATE))
    stereo = make_sample_cache([corpus], folder, CacheConfig(sample_rate=RATE, num_channels=2))
    slow = make_sample_cache([corpus], folder, CacheConfig(sample_rate=RATE // 2))
    assert len({e.path for c in (mono, stereo, slow) for e in c.entries}) == 12
    copy = corpus.root.parent / "copy"
    corpus.root.rename(copy)
    moved = make_sample_cache([read_manifest(copy)], folder, CacheConfig(sample_rate=RATE))
    assert [e.path for e in moved.entries] == [e.path for e in mono.entries]


def test_a_damaged_file_of_the_cache_is_made_again(corpus, tmp_path):
    config = CacheConfig(sample_rate=RATE)
    cache = make_sample_cache([corpus], tmp_path / "cache", config)
    path = cache.entries[0].path
    content = path.read_bytes()
    for damaged in (content[:-2], b"", content[:4], b"\xff" * 64):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match="1 of 4"):
            open_sample_cache([corpus], tmp_path / "cache", config)
        make_sample_cache([corpus], tmp_path / "cache", config)
        assert path.read_bytes() == content


def test_a_killed_run_is_taken_up_where_it_was(corpus, tmp_path, monkeypatch):
    config = CacheConfig(sample_rate=RATE)
    done = []

    def stop_at_two(num_done, num_files):
        done.append((num_done, num_files))
        if num_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_sample_cache([corpus], tmp_path / "cache", config, on_progress=stop_at_two)
    decoded = []
    decode = samples_module._decode
    monkeypatch.setattr(
        samples_module, "_decode", lambda job, d: (decoded.append(job.entry.file), decode(job, d))
    )
    make_sample_cache([corpus], tmp_path / "cache", config)
    assert done == [(1, 4), (2, 4)]
    assert decoded == ["c.wav", "d.wav"]


def test_two_processes_make_what_one_makes(corpus, tmp_path):
    config = CacheConfig(sample_rate=RATE)
    one = make_sample_cache([corpus], tmp_path / "one", config)
    two = make_sample_cache([corpus], tmp_path / "two", config, num_jobs=2)
    # Digests of files are kept beside the samples only once the files are seconds old.
    first, second = (
        [p.name for p in files(tmp_path / name) if p.suffix == ".safetensors"]
        for name in ("one", "two")
    )
    assert len(first) == 4
    assert first == second
    for index in range(4):
        np.testing.assert_array_equal(one.read(index), two.read(index))


def test_files_that_cannot_be_read_are_named_or_left_out(corpus, tmp_path):
    corpus.entries[0].path.write_bytes(b"no sound")
    soundfile.write(corpus.entries[3].path, np.zeros((0, 1)), RATE)
    config = CacheConfig(sample_rate=RATE)
    with pytest.raises(AudioFormatError, match=r"a\.wav"):
        make_sample_cache([corpus], tmp_path / "cache", config)
    cache = make_sample_cache([corpus], tmp_path / "cache", config, skip_unreadable=True)
    assert [e.entry.file for e in cache.entries] == ["b.flac", "c.wav"]
    assert [entry.file for entry, why in cache.unreadable] == ["a.wav", "d.wav"]
    assert "no samples" in cache.unreadable[1][1]
    opened = open_sample_cache([corpus], tmp_path / "cache", config, skip_unreadable=True)
    assert opened.entries == cache.entries
    nothing = replace(corpus, entries=(corpus.entries[0],))
    with pytest.raises(ConfigError, match="none of 1 files"):
        make_sample_cache([nothing], tmp_path / "cache", config, skip_unreadable=True)


def test_only_the_split_asked_for_is_taken(corpus, tmp_path):
    rows = [
        {"file": entry.file, "split": split, "label": split.upper()}
        for entry, split in zip(corpus.entries, ("train", "test", "train", "valid"), strict=True)
    ]
    write_manifest(corpus.root, rows)
    manifest = read_manifest(corpus.root)
    cache = make_sample_cache(
        [manifest], tmp_path / "cache", CacheConfig(sample_rate=RATE), split="train"
    )
    assert [e.entry.label for e in cache.entries] == ["TRAIN", "TRAIN"]


def test_the_files_are_safetensors_and_only_they_remain(corpus, tmp_path):
    cache = make_sample_cache([corpus], tmp_path / "cache", CacheConfig(sample_rate=RATE))
    stored = load_file(cache.entries[0].path)["samples"]
    assert (stored.dtype, stored.shape) == (np.int16, (cache.entries[0].num_samples, 1))
    assert np.abs(stored).max() == 32767
    assert {p.suffix for p in files(tmp_path / "cache" / "samples")} == {".safetensors"}


def test_a_pickled_cache_reads_the_same(corpus, tmp_path):
    cache = make_sample_cache([corpus], tmp_path / "cache", CacheConfig(sample_rate=RATE))
    again = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(again.read(0), cache.read(0))


def test_a_file_that_vanished_is_named(corpus, tmp_path):
    cache = make_sample_cache([corpus], tmp_path / "cache", CacheConfig(sample_rate=RATE))
    cache.entries[0].path.unlink()
    with pytest.raises(AudioFormatError, match=r"a\.wav.*make the cache again"):
        cache.read(0)


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"sample_rate": 0}, "sample_rate"), ({"sample_rate": 1, "num_channels": 3}, "num_channels")],
)
def test_settings_out_of_range_are_refused(settings, field):
    with pytest.raises(ConfigError, match=field):
        CacheConfig(**settings)
    with pytest.raises(ConfigError, match="at least one corpus"):
        make_sample_cache([], Path("nowhere"), CacheConfig(sample_rate=1))
