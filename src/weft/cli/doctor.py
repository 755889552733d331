"""``weft doctor``: whether this installation works."""

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from weft.cli.console import Screen, bytes_text, current_screen
from weft.errors import WeftError
from weft.version import __version__

CORE = ("numpy", "scipy", "soundfile", "soxr", "torch", "typer", "rich")
OPTIONAL = {
    "matplotlib": "pictures (--report, --html): pip install 'weft[plots]'",
    "mido": "rendering training data: pip install 'weft[data]'",
    "tensorboard": "curves of training: pip install 'weft[train]'",
    "visqol-python": "ViSQOL (--measure visqol): pip install 'weft[eval]'",
    "transformers": "embedders of CLAP and EnCodec: pip install 'weft[published]'",
}
MIN_SNR_DB = 20.0
"""What the self-test must reach; a sum of two tones is predicted far better."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("doctor")(doctor)


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check versions, optional parts, memory, disk, and fill a gap as a test.

    Ends with status 5 if something that Weft needs does not work.
    """
    screen = current_screen()
    packages = {name: _version(name) for name in (*CORE, *OPTIONAL)}
    facts: dict[str, Any] = {
        "weft": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": packages,
        "ffmpeg": shutil.which("ffmpeg"),
        "processors": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "free_memory_bytes": _free_memory(),
        "free_disk_bytes": shutil.disk_usage(Path.cwd()).free,
    }
    problems = [f"{name} is not installed" for name in CORE if packages[name] is None]
    tests = {
        "files": _attempt(_test_files),
        "filling a gap": _attempt(_test_fill),
    }
    problems += [f"{name}: {text}" for name, (ok, text) in tests.items() if not ok]
    _show(screen, facts, tests, problems)
    screen.emit({**facts, "tests": {name: text for name, (_, text) in tests.items()},
                 "problems": problems})  # fmt: skip
    if problems:
        raise typer.Exit(WeftDoctorFinding.exit_status)


class WeftDoctorFinding(WeftError):
    """Something that Weft needs does not work."""

    exit_status = 5


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _free_memory() -> int | None:
    """Return the memory that programs can still use, None where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _attempt(test: Callable[[], str]) -> tuple[bool, str]:
    """Run a test and return whether it passed, and what it found."""
    try:
        return True, test()
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"


def _test_files() -> str:
    """Read back what libsndfile and Weft write."""
    import tempfile

    import numpy as np
    import soundfile

    from weft.audio.audio import Audio
    from weft.audio.read import read_audio

    noise = np.round(np.random.default_rng(0).uniform(-1, 1, (2, 500)) * 2**15) / 2**16
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.wav", "a.flac"):
            path = Path(folder, name)
            Audio.from_samples(noise, 8000).write(path)
            if not np.array_equal(read_audio(path).samples, noise):
                raise WeftDoctorFinding(f"{name} did not come back as it was written")
    return f"WAV and FLAC come back bit for bit (libsndfile {soundfile.__libsndfile_version__})"


def _test_fill() -> str:
    """Fill a gap in two tones, and compare it with what stood there."""
    import numpy as np

    from weft import api
    from weft.audio.audio import Audio
    from weft.canvas.canvas import Region

    n = np.arange(32000)
    tones = 0.3 * np.sin(n * 0.1) + 0.2 * np.sin(n * 0.173 + 1)
    noisy = tones + 1e-4 * np.random.default_rng(0).standard_normal(len(n))
    gap = Region(start=16000, stop=16480)
    started = time.perf_counter()
    result = api.inpaint(Audio.from_samples(noisy, 16000), [gap], model="lpc")
    seconds = time.perf_counter() - started
    error = result.best.samples[0, gap.start : gap.stop] - tones[gap.start : gap.stop]
    signal = tones[gap.start : gap.stop]
    snr_db = 10 * np.log10((signal**2).sum() / ((error**2).sum() + 1e-30))
    if not snr_db >= MIN_SNR_DB:
        raise WeftDoctorFinding(f"the fill has an SNR of {snr_db:.1f} dB, expected {MIN_SNR_DB:g}")
    if not result.proof.is_identical:
        raise WeftDoctorFinding(str(result.proof))
    return f"30 ms of two tones filled in {seconds:.2f} s, SNR {snr_db:.0f} dB"


def _show(
    screen: Screen,
    facts: dict[str, Any],
    tests: dict[str, tuple[bool, str]],
    problems: list[str],
) -> None:
    memory = facts["free_memory_bytes"]
    rows = [
        ("weft", f"{facts['weft']}, Python {facts['python']}, {facts['platform']}"),
        ("python", sys.executable),
        *((name, version or _missing(name)) for name, version in facts["packages"].items()),
        ("ffmpeg", facts["ffmpeg"] or "not found; only needed to read M4A and AAC"),
        ("processors", f"{facts['processors']}, OMP_NUM_THREADS {facts['threads'] or 'not set'}"),
        ("free memory", "unknown" if memory is None else bytes_text(memory)),
        ("free disk", bytes_text(facts["free_disk_bytes"])),
        *((f"test: {name}", ("ok: " if ok else "FAILED: ") + text)
          for name, (ok, text) in tests.items()),
    ]  # fmt: skip
    screen.table(("part", "found"), rows)
    if problems:
        screen.say(f"{len(problems)} problems: " + "; ".join(problems), style="bold red")
    else:
        screen.say("all is well", style="green")


def _missing(name: str) -> str:
    return f"not installed; {OPTIONAL[name]}" if name in OPTIONAL else "NOT INSTALLED"
