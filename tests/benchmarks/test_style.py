"""The benchmark of styles runs on any corpus, and asks for tags that there are."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from weft.audio.audio import Audio
from weft.data.manifest import write_manifest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "style.py", "weft-latent", "--references", "1", "--draws", "1"]
    return subprocess.run(
        [*command, *options], cwd=BENCHMARKS, capture_output=True, text=True, timeout=300
    )


def test_distances_to_a_reference_are_measured(tmp_path: Path) -> None:
    time = np.arange(3 * 44100) / 44100
    tone = 0.2 * np.sin(2 * np.pi * 220 * time) * np.exp(-3 * (time % 0.5))
    Audio.from_samples(tone[None], 44100).write(tmp_path / "tone.wav")
    write_manifest(
        tmp_path,
        [{"file": "tone.wav", "split": "valid", "licence": "CC0-1.0", "author": "nobody"}],
    )
    done = run(
        *("--data", str(tmp_path), "--seconds", "1.2", "--weights", "0"),
        *("--tasks", "from nothing"),
    )
    row = done.stdout.splitlines()[-1]
    assert row.startswith(f"| like {tmp_path} | from nothing | 0 |"), done.stderr
    assert float(row.split("|")[4]) > 0


def test_a_tag_that_there_is_not_is_refused_at_once() -> None:
    done = run("--tags", "oboe")
    assert done.returncode == 2
    assert "no tag 'oboe'" in done.stderr
