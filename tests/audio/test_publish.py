"""Publishing: all or nothing, whatever happens."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from weft.audio.publish import check_output, publish
from weft.errors import AudioFormatError, OutputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, "no hard links here")


def test_the_file_appears_whole_and_nothing_else_does(tmp_path: Path) -> None:
    with publish(tmp_path / "a.txt") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".weft-")
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt, SystemExit, AudioFormatError])
def test_any_exception_leaves_nothing(tmp_path: Path, raised: type[BaseException]) -> None:
    def work() -> None:
        with publish(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise raised

    with pytest.raises(raised):
        work()
    assert names(tmp_path) == []


def test_an_existing_file_is_left_alone_without_overwrite(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(OutputError, match="exists"), publish(tmp_path / "a.txt"):
        pytest.fail("the block must not run")
    with pytest.raises(OutputError, match="exists"):
        check_output(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_appears_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", no_links)

    def work() -> None:
        with publish(tmp_path / "a.txt") as temporary:
            temporary.write_text("mine")
            (tmp_path / "a.txt").write_text("theirs")

    with pytest.raises(OutputError, match="exists"):
        work()
    assert (tmp_path / "a.txt").read_text() == "theirs"
    assert names(tmp_path) == ["a.txt"]


def test_without_hard_links_the_file_still_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    with publish(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_of_many_writers_without_overwrite_one_wins(tmp_path: Path) -> None:
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        try:
            with publish(tmp_path / "a.txt") as temporary:
                temporary.write_text(str(number))
                barrier.wait()
            outcomes.append(str(number))
        except OutputError:
            pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [(tmp_path / "a.txt").read_text()]
    assert names(tmp_path) == ["a.txt"]


def test_overwriting_keeps_the_permissions(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "a.txt").chmod(0o640)
    with publish(tmp_path / "a.txt", overwrite=True) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with publish(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "there" / "real.txt")
    with publish(tmp_path / "link.txt", overwrite=True) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "there" / "real.txt").read_text() == "new"


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    for path, said in [
        (tmp_path / "no" / "a.txt", "no directory"),
        (tmp_path, "is a directory"),
        (Path("/dev/null"), "not a regular file"),
        (tmp_path / ("x" * 300), "name"),
    ]:
        with pytest.raises(OutputError, match=said) as caught, publish(path, overwrite=True):
            pass
        assert caught.value.exit_status == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory_and_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "a.txt").chmod(0o444)
    with (
        pytest.raises(OutputError, match="write-protected"),
        publish(tmp_path / "a.txt", overwrite=True),
    ):
        pass
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(OutputError, match="permission"), publish(tmp_path / "b.txt"):
            pass
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")],
)
def test_errors_of_the_system_are_translated(tmp_path: Path, number: int, said: str) -> None:
    def work() -> None:
        with publish(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError, match=said):
        work()
    assert names(tmp_path) == []


KILLED = """
import sys, time
from pathlib import Path
from weft.audio.publish import publish
with publish(Path(sys.argv[1]), overwrite=True) as temporary:
    with temporary.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
            print("written", flush=True)
"""


def test_a_killed_writer_leaves_the_old_file_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    arguments = [sys.executable, "-c", KILLED, str(tmp_path / "a.txt")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "a.txt").read_text() == "old"
    assert all(name == "a.txt" or name.startswith(".weft-") for name in names(tmp_path))
