"""Restore the damaged recording of the demo from Python.

python examples/python_api.py
"""

import tempfile
from pathlib import Path

import weft

HERE = Path(__file__).parent


def main() -> None:
    song = weft.read(HERE / "damaged.flac")
    result = weft.inpaint(song, [(3.02, 3.06), (7.9, 8.2)], takes=3, seed=7)
    for gap in result.gaps:
        chosen = gap.takes[0]
        seconds = gap.region.start / song.sample_rate
        print(f"{seconds:6.2f} s: {chosen.model}, confidence {chosen.confidence:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        written = result.best.write(Path(folder) / "restored.flac")
        print(written.proof)


if __name__ == "__main__":
    main()
