"""The benchmarks of the latent model run, and name the sizes that the documents quote."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def rows_of(*command: str) -> dict[str, list[str]]:
    """Run a benchmark; return the cells of its tables' rows by all that names a row."""
    pytest.importorskip("diffusers")
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT / "benchmarks",
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {" ".join(cells[:-2]): cells[-2:] for cells in found}


def test_a_step_is_timed_beside_the_reference() -> None:
    rows = rows_of("latent_dit.py", "--size", "quick", "--lengths", "16", "--repetitions", "1")
    theirs = [ratio for name, (_, ratio) in rows.items() if "diffusers" in name]
    assert "1.00" in theirs
    ours = [cells for name, cells in rows.items() if "rotary" in name or "relative" in name]
    assert len(ours) >= 6  # of both tables
    assert all(float(seconds) >= 0 and float(ratio) > 0 for seconds, ratio in ours)


def test_decoding_is_timed_beside_the_reference() -> None:
    rows = rows_of("latent_decode.py", "--seconds", "0.1", "--repetitions", "1")
    shipped = next(name for name in rows if name.startswith("spectral, as shipped"))
    assert "5,898,882" in shipped
    assert float(rows[shipped][1]) > 0
