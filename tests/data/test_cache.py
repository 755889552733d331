import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from weft.data import cache as cache_module
from weft.data.cache import (
    FeatureCache,
    FileDigests,
    atomic_file,
    remove_partial_files,
    settings_digest,
)
from weft.errors import AudioFormatError, ConfigError, OutputError

SOURCE, MAKER = "0123456789abcdef", "fedcba9876543210"


def make_old(path, seconds=60):
    """Set back both times of a file that a user may set."""
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
def later(monkeypatch):
    """Let ten seconds pass for the cache, so that files written just now count as settled."""
    now = time.time
    monkeypatch.setattr(cache_module.time, "time", lambda: now() + 10)


def test_settings_have_one_digest_in_any_order_and_another_for_each_value():
    digest = settings_digest({"rate": 24000, "channels": 1})
    assert digest == settings_digest({"channels": 1, "rate": 24000})
    assert digest != settings_digest({"rate": 24000, "channels": 2})


@pytest.mark.parametrize("value", [object(), float("nan")])
def test_settings_that_json_cannot_hold_are_refused(value):
    with pytest.raises(ConfigError, match="must be JSON"):
        settings_digest({"value": value})


def test_a_digest_follows_the_bytes_and_not_the_name(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"one")
    (tmp_path / "c").write_bytes(b"two")
    digests = FileDigests(tmp_path / "digests")
    a, b, c = (digests.digest(tmp_path / name) for name in "abc")
    assert a == b != c


def test_an_unchanged_file_is_read_once(tmp_path, later, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = FileDigests(tmp_path / "digests").digest(path)
    monkeypatch.setattr(cache_module, "_hash", lambda path: pytest.fail("read again"))
    assert FileDigests(tmp_path / "digests").digest(path) == first


def test_a_file_replaced_by_one_of_the_same_size_and_time_gets_another_digest(tmp_path, later):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    make_old(path)
    digests = FileDigests(tmp_path / "digests")
    first = digests.digest(path)
    (tmp_path / "new").write_bytes(b"two")
    os.utime(tmp_path / "new", ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    (tmp_path / "new").replace(path)
    assert digests.digest(path) != first


def test_a_file_written_over_with_its_size_and_time_kept_gets_another_digest(tmp_path, later):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    make_old(path)
    status = path.stat()
    digests = FileDigests(tmp_path / "digests")
    first = digests.digest(path)
    time.sleep(0.02)  # longer than the clock's step
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_ino == status.st_ino
    assert digests.digest(path) != first


def test_digests_need_no_folder_that_can_be_written(tmp_path, later):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "file").write_bytes(b"")
    blocked = FileDigests(tmp_path / "file" / "digests")
    assert blocked.digest(tmp_path / "a") == FileDigests(tmp_path).digest(tmp_path / "a")


def test_a_file_that_changed_just_now_is_not_trusted_to_have_settled(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    FileDigests(tmp_path / "digests").digest(path)
    assert not (tmp_path / "digests").exists()


def test_a_damaged_stamp_is_ignored(tmp_path, later):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    digests = FileDigests(tmp_path / "digests")
    first = digests.digest(path)
    (stamp,) = (tmp_path / "digests").rglob("*.json")
    for text in ("", "[]", '{"state": 3}'):
        stamp.write_text(text)
        assert digests.digest(path) == first


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AudioFormatError, match="nowhere.wav"):
        FileDigests(tmp_path).digest(tmp_path / "nowhere.wav")


def test_arrays_come_back_with_their_type_and_shape(tmp_path):
    arrays = {
        "vectors": np.arange(6.0).reshape(2, 3).T,
        "codes": np.array([1, 2], np.int16),
        "known": np.array([True, False]),
        "half": np.array(0.5, np.float16),
    }
    FeatureCache(tmp_path).put(SOURCE, MAKER, arrays)
    found = FeatureCache(tmp_path).get(SOURCE, MAKER)
    assert found is not None
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_arrays_of_another_source_or_maker_are_not_found(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.put(SOURCE, MAKER, {"a": np.zeros(1)})
    assert cache.get(MAKER, SOURCE) is None
    assert cache.get(SOURCE, SOURCE) is None


def test_arrays_are_made_once(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"a": np.ones(2)}

    for _ in range(3):
        found = FeatureCache(tmp_path).get_or_make(SOURCE, MAKER, make)
        np.testing.assert_array_equal(found["a"], np.ones(2))
    assert len(made) == 1


def test_a_damaged_entry_is_made_again(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.put(SOURCE, MAKER, {"a": np.ones(100)})
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-8])
    assert cache.get(SOURCE, MAKER) is None
    assert cache.get_or_make(SOURCE, MAKER, lambda: {"a": np.zeros(1)})["a"].shape == (1,)


@pytest.mark.parametrize("digest", ["", "../../../../x", "0123", "ABCDEF0123456789"])
def test_a_key_that_is_no_digest_is_refused(tmp_path, digest):
    with pytest.raises(ConfigError, match="hexadecimal"):
        FeatureCache(tmp_path).get(digest, MAKER)
    with pytest.raises(ConfigError, match="hexadecimal"):
        FeatureCache(tmp_path).put(SOURCE, digest, {"a": np.zeros(1)})


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.array([1j])])
def test_arrays_that_hold_no_plain_numbers_are_refused(tmp_path, array):
    with pytest.raises(ConfigError, match="must hold numbers"):
        FeatureCache(tmp_path).put(SOURCE, MAKER, {"a": array})
    with pytest.raises(ConfigError, match="at least one"):
        FeatureCache(tmp_path).put(SOURCE, MAKER, {})


def test_readers_see_whole_entries_while_many_write(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.put(SOURCE, MAKER, {"a": np.zeros(5000)})

    def write(value):
        cache.put(SOURCE, MAKER, {"a": np.full(5000, float(value))})
        found = cache.get(SOURCE, MAKER)
        return found is not None and len(set(found["a"])) == 1

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, range(60)))
    assert not list(tmp_path.rglob(".partial-*"))


def test_a_file_whose_writing_fails_does_not_appear(tmp_path):
    def write_half():
        with atomic_file(tmp_path / "a" / "b") as handle:
            handle.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert list((tmp_path / "a").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(OutputError, match="choose another folder"),
        atomic_file(tmp_path / "file" / "b"),
    ):
        pass


def test_only_old_remains_of_killed_runs_are_removed(tmp_path):
    for name in (".partial-old", ".partial-new", "kept"):
        (tmp_path / name).write_bytes(b"")
    make_old(tmp_path / ".partial-old", 7200)
    make_old(tmp_path / "kept", 7200)
    assert remove_partial_files(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == {".partial-new", "kept"}
