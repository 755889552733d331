"""What one 300 ms gap costs, in files of one minute and of one hour.

    python benchmarks/inpaint.py [--minutes 1 60] [--runs 3]

Prints one Markdown table: the whole process of `weft inpaint`, start of Python included, beside two
references in the same run: `cp` of the same file, and reading and writing it whole through
soundfile. Rows are medians; figures are the operating system's account of the finished process.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

RATE = 44100
WHOLE = (
    "import sys, soundfile as f; x, r = f.read(sys.argv[1], dtype='int16'); "
    "f.write(sys.argv[2], x, r, subtype='PCM_16')"
)


def make_file(path: Path, minutes: float) -> None:
    """Write music of this length, 16-bit stereo WAV, in a process of its own.

    A child's peak memory counts what this process held when it began, so this one stays small.
    """
    command = [sys.executable, __file__, "--make", str(path), str(minutes)]
    subprocess.run(command, check=True)


def write_music(path: Path, minutes: float) -> None:
    """Write music of this length in constant memory."""
    import numpy as np
    import soundfile

    from weft.audio.synth import song

    piece = (song(60.0, RATE, seed=2).T * 32767).astype(np.int16)
    with soundfile.SoundFile(path, "w", RATE, 2, subtype="PCM_16") as file:
        for _ in range(int(minutes)):
            file.write(piece)


def measure(command: list[str]) -> tuple[float, float, float]:
    """Run a command; return CPU seconds, wall seconds and peak memory in MB."""
    started = os.times().elapsed
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(command)} failed; run it by hand")
    wall = os.times().elapsed - started
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 60])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--make", nargs=2, metavar=("FILE", "MINUTES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        write_music(Path(options.make[0]), float(options.make[1]))
        return
    weft = str(Path(sys.executable).with_name("weft"))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"numpy {version('numpy')}, weft {version('weft')}; seed 7, "
        f"medians of {options.runs} runs\n"
    )
    print("| file | command | CPU s | wall s | peak MB | CPU, ratio to `cp` |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for minutes in options.minutes:
            source, target = Path(folder) / "in.wav", Path(folder) / "out.wav"
            make_file(source, minutes)
            start = minutes * 30.0
            inpaint = [weft, "inpaint", str(source), "-o", str(target), "--overwrite", "--quiet"]
            inpaint += ["--seed", "7", "--gap", f"{start}-{start + 0.3}"]
            rows = {
                "`cp`": ["cp", str(source), str(target)],
                "read and write with soundfile": [
                    sys.executable,
                    "-c",
                    WHOLE,
                    str(source),
                    str(target),
                ],
                "`weft inpaint --model lpc`": [*inpaint, "--model", "lpc"],
                "`weft inpaint --model similarity`": [*inpaint, "--model", "similarity"],
                "`weft inpaint` (auto)": inpaint,
            }
            copy_cpu = 0.0
            for name, command in rows.items():
                runs = [measure(command) for _ in range(options.runs)]
                cpu, wall, peak = (statistics.median(column) for column in zip(*runs, strict=True))
                copy_cpu = copy_cpu or max(cpu, 0.01)
                print(
                    f"| {minutes:g} min, {source.stat().st_size / 1e6:.0f} MB | {name} | {cpu:.2f} "
                    f"| {wall:.2f} | {peak:.0f} | {cpu / copy_cpu:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
