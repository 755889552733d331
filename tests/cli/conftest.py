"""Running the command line, in this process or in another."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import pytest
from sounds import RATE, tones

from weft.audio.audio import Audio, AudioFormat
from weft.cli.main import main


@final
@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Runner = Callable[..., Ran]


@pytest.fixture
def weft(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Run a command line in this process."""
    monkeypatch.delenv("WEFT_DEBUG", raising=False)

    def run(*arguments: str | Path) -> Ran:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run


@pytest.fixture
def spawn() -> Runner:
    """Run a command line in a process of its own."""

    def run(*arguments: str | Path, **options: Any) -> Ran:
        code = options.pop("code", "import sys; from weft.cli.main import main; sys.exit(main())")
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "OMP_NUM_THREADS": "1", "WEFT_DEBUG": ""},
            **options,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def take(tmp_path: Path) -> Path:
    """One second of a chord, 16 kHz stereo, 16-bit WAV."""
    path = tmp_path / "take3.wav"
    format = AudioFormat(container="WAV", subtype="PCM_16")
    Audio.from_samples(tones(), RATE, format=format).write(path)
    return path
