import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from weft.cli.main import main
from weft.evaluate.cost import measure


@pytest.fixture
def folder(tmp_path):
    recordings = tmp_path / "noises"
    recordings.mkdir()
    for i in range(2):
        samples = 0.1 * np.random.default_rng(i).standard_normal(4 * 8000)
        soundfile.write(recordings / f"{i}.wav", samples, 8000)
    return recordings


def gaps(folder, *options):
    base = (
        "--model",
        "crossfade",
        "--data",
        str(folder),
        "--rate",
        "8000",
        "--gap-ms",
        "20",
        "--embedder",
        "none",
    )
    return main(["evaluate", "gaps", *base, *options])


def test_results_journal_and_markdown_are_written(folder, tmp_path, capsys):
    out, md = tmp_path / "r.json", tmp_path / "r.md"
    assert gaps(folder, "-o", str(out), "--markdown", str(md), "--versus", "silence") == 0
    result = json.loads(out.read_text())
    assert result["schema"] == "weft.evaluate/2"
    assert [row["row"] for row in result["rows"]] == ["original", "vorbis", "silence", "crossfade"]
    assert result["num_changed_outside"] == 0
    assert (tmp_path / "r.journal.jsonl").is_file()
    assert md.read_text().startswith("# Filled gaps")
    assert "crossfade" in capsys.readouterr().out


def test_json_on_stdout_is_one_object(folder, capsys):
    assert gaps(folder, "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"]


def test_an_output_that_exists_is_kept_unless_told(folder, tmp_path):
    out = tmp_path / "r.json"
    out.write_text("mine")
    assert gaps(folder, "-o", str(out)) == 4
    assert out.read_text() == "mine"
    assert not (tmp_path / "r.journal.jsonl").exists()
    assert gaps(folder, "-o", str(out), "--overwrite") == 0
    assert gaps(folder, "-o", str(out), "--resume") == 0


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (("--gap-ms", "x"), 2),
        (("--model", "nosuch"), 5),
        (("--model", "lpc,"), 2),
        (("--data", "/no/such/folder"), 2),
        (("--versus", "lpc"), 2),
        (("--resume",), 2),
        (("-o", "/no/such/folder/r.json"), 4),
        (("--jobs", "0"), 2),
    ],
)
def test_what_cannot_be_done_has_its_exit_status_and_no_traceback(folder, options, status, capsys):
    assert gaps(folder, *options) == status
    assert "Traceback" not in capsys.readouterr().err


def test_a_command_that_fails_at_once_leaves_nothing_behind(folder, tmp_path):
    assert gaps(folder, "--model", "nosuch", "-o", str(tmp_path / "r.json")) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["noises"]


def test_corpora_are_listed(folder, capsys):
    assert main(["data", "list", str(folder), "--json"]) == 0
    (corpus,) = json.loads(capsys.readouterr().out)["corpora"]
    assert (corpus["name"], corpus["num_files"]) == ("noises", 2)


def test_credits_are_printed(folder, capsys):
    (folder / "manifest.csv").write_text("file,author,title,licence\n0.wav,Ann,Song,CC-BY-4.0\n")
    assert main(["data", "attribution", str(folder)]) == 0
    assert "Song by Ann, CC-BY-4.0" in capsys.readouterr().out


def test_rendering_without_its_folders_is_a_usage_error(tmp_path, capsys):
    folders = ("--midi", str(tmp_path / "m"), "--samples", str(tmp_path), "--out")
    status = main(["data", "render-piano", *folders, str(tmp_path / "out")])
    assert status == 2
    assert not (tmp_path / "out").exists()


def test_the_verbs_import_no_numerical_package():
    code = (
        "import sys, typer; from weft.cli import data, evaluate; app = typer.Typer();"
        "data.register(app); evaluate.register(app);"
        "print([m for m in ('numpy', 'scipy', 'torch', 'soundfile') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_cost_counts_processor_time_and_memory():
    def work():
        block = np.ones(25_000_000)
        return float(sum(np.sqrt(block).sum() for _ in range(3)))

    _, idle = measure(lambda: None)
    result, cost = measure(work)
    assert result == 75_000_000
    assert cost.cpu_s > idle.cpu_s
    assert cost.peak_mb > idle.peak_mb + 150 or not cost.is_peak_own
    _, after = measure(lambda: None)
    assert after.peak_mb < cost.peak_mb - 150 or not cost.is_peak_own


def test_embedders_are_listed_with_what_is_looked_for(tmp_path, capsys):
    assert main(["evaluate", "embedders", "--weights", str(tmp_path), "--json"]) == 0
    found = {e["name"]: e for e in json.loads(capsys.readouterr().out)["embedders"]}
    assert found["corpus-ssl"]["is_found"]
    assert not found["vggish"]["is_found"]
    assert found["vggish"]["files"]


def test_every_protocol_states_its_options(capsys):
    for name in ("infill", "continuation", "regenerate", "transition", "unconditional"):
        assert main(["evaluate", name, "--help"]) == 0
        assert "--train-clips" in capsys.readouterr().out


def test_the_page_stands_for_itself_and_the_tables_name_their_command(folder, tmp_path):
    page, md = tmp_path / "r.html", tmp_path / "r.md"
    options = ("--html", str(page), "--markdown", str(md), "--limit", "1", "--gaps-per-file", "1")
    assert gaps(folder, *options) == 0
    assert "<audio" in page.read_text()
    assert "weft evaluate gaps" in md.read_text()
    assert str(tmp_path) not in md.read_text()


@pytest.mark.parametrize(
    ("name", "options", "status"),
    [
        ("upsample", ("--family", "moog"), 2),
        ("upsample", ("--cutoff-hz", "high"), 2),
        ("infill", ("--clip-s", "0.1"), 2),
        ("generate", (), 2),  # these recordings have no captions
        ("gaps", ("--embedder", "nosuch"), 2),
        ("gaps", ("--measure", "pesq"), 2),
    ],
)
def test_what_a_protocol_cannot_do_is_a_usage_error(folder, name, options, status, capsys):
    base = ("--data", str(folder), "--rate", "8000")
    embedder = () if "--embedder" in options else ("--embedder", "none")
    assert main(["evaluate", name, *base, *embedder, *options]) == status
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks processes up in /proc")
def test_a_killed_experiment_leaves_no_process_behind(tmp_path):
    code = """
import os, signal, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from weft.evaluate.runner import follow_parent
if __name__ == "__main__":
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=follow_parent) as pool:
        worker = pool.submit(os.getpid).result()
        pool.submit(time.sleep, 60)
        print(worker, flush=True)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert result.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while is_running(int(result.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
