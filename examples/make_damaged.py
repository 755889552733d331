"""Make the damaged recording of the demo: our own synthesizer, with holes cut into it.

    python examples/make_damaged.py

Writes damaged.flac and damaged.txt (an Audacity label file) beside this script.
"""

from pathlib import Path

import numpy as np

import weft
from weft.audio.audio import AudioFormat
from weft.audio.synth import song

HERE = Path(__file__).parent
RATE = 32000
GAPS_S = ((3.02, 3.06), (5.4, 5.52), (7.9, 8.2), (10.1, 10.55))


def main() -> None:
    samples = song(13.0, RATE, seed=1)
    rng = np.random.default_rng(1)
    labels = []
    for number, (start_s, stop_s) in enumerate(GAPS_S, 1):
        start, stop = round(start_s * RATE), round(stop_s * RATE)
        samples[:, start:stop] = 0
        crackle = rng.random(stop - start) < 0.004
        samples[:, start:stop][:, crackle] = rng.uniform(-0.4, 0.4, crackle.sum())
        labels.append(f"{start_s:.6f}\t{stop_s:.6f}\tdropout {number}\n")
    damaged = weft.Audio.from_samples(
        samples, RATE, format=AudioFormat(container="FLAC", subtype="PCM_16")
    )
    damaged.write(HERE / "damaged.flac", overwrite=True)
    (HERE / "damaged.txt").write_text("".join(labels), encoding="utf-8")


if __name__ == "__main__":
    main()
