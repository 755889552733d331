"""Synthesizer: sounds made from nothing, for demos and tests. No recording is needed."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from weft.shapes import Samples


def harmonic_tones(
    frequencies_hz: Sequence[float],
    duration_s: float,
    sample_rate: int,
    *,
    num_partials: int = 12,
    floor_db: float = -60.0,
    seed: int = 0,
) -> Samples:
    """Return a steady chord whose partials fall off as 1/k, over a floor of white noise; mono.

    Args:
        frequencies_hz: fundamental of each note.
        duration_s: length.
        sample_rate: in Hz; partials above half of it are left out.
        num_partials: of each note.
        floor_db: level of the noise relative to that of the chord.
        seed: of phases and noise.

    Example:
        >>> harmonic_tones([220.0, 275.0], 0.5, 8000).shape
        (1, 4000)
    """
    rng = np.random.default_rng(seed)
    time = np.arange(round(duration_s * sample_rate)) / sample_rate
    tones = np.zeros_like(time)
    for note in frequencies_hz:
        for k in range(1, num_partials + 1):
            if k * note < sample_rate / 2:
                phase = rng.uniform(0, 2 * np.pi)
                tones += np.cos(2 * np.pi * k * note * time + phase) / k
    level = np.sqrt(np.mean(tones**2)) * 10 ** (floor_db / 20)
    return (tones + level * rng.standard_normal(time.shape))[None]


def pluck(
    frequency_hz: float, duration_s: float, sample_rate: int, *, seed: int = 0
) -> Float[np.ndarray, " n"]:
    """Return a plucked string: stretched partials that decay the faster, the higher they are."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(duration_s * sample_rate)) / sample_rate
    sound = np.zeros_like(time)
    position = rng.uniform(0.12, 0.3)
    for k in range(1, 40):
        partial_hz = k * frequency_hz * np.sqrt(1 + 3e-4 * k**2)
        if partial_hz >= 0.45 * sample_rate:
            break
        decay = 1.1 + 0.35 * k + (frequency_hz / 600) ** 2
        gain = np.sin(np.pi * k * position) / k
        sound += gain * np.exp(-decay * time) * np.sin(2 * np.pi * partial_hz * time)
    attack = max(1, round(0.002 * sample_rate))
    sound[:attack] *= np.linspace(0, 1, attack)
    return sound


def brush(duration_s: float, sample_rate: int, *, seed: int = 0) -> Float[np.ndarray, " n"]:
    """Return a short burst of bright noise, like a brush on a drum."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(duration_s * sample_rate)) / sample_rate
    noise = np.diff(rng.standard_normal(len(time) + 1))
    return noise * np.exp(-time / 0.035) * np.minimum(1, time / 0.002)


def song(duration_s: float = 12.0, sample_rate: int = 44100, *, seed: int = 0) -> Samples:
    """Return a short piece of music in stereo: a plucked figure over four chords, with a brush.

    No two bars are alike to the sample: timing and loudness of every note are drawn.

    Example:
        >>> song(1.0, 8000).shape
        (2, 8000)
    """
    rng = np.random.default_rng(seed)
    beat_s = 0.36
    chords = (
        (45, 52, 57, 60, 64),
        (41, 48, 57, 60, 65),
        (48, 55, 60, 64, 67),
        (43, 50, 59, 62, 67),
    )
    figure = (0, 2, 3, 4, 3, 2, 4, 3)
    sound = np.zeros((2, round((duration_s + 3) * sample_rate)))

    def place(event: Float[np.ndarray, " n"], start_s: float, gain: float, pan: float) -> None:
        start = round(max(0.0, start_s) * sample_rate)
        stop = min(sound.shape[1], start + len(event))
        if start < stop:
            sides = np.array([np.cos(pan * np.pi / 2), np.sin(pan * np.pi / 2)])
            sound[:, start:stop] += gain * sides[:, None] * event[: stop - start]

    for step in range(int(duration_s / beat_s * 2) + 1):
        chord = chords[(step // 8) % len(chords)]
        start_s = step * beat_s / 2 + rng.normal(0, 0.004)
        pitch = chord[figure[step % 8]] + 12 * (step % 16 == 7)
        note = pluck(440 * 2 ** ((pitch - 69) / 12), 2.5, sample_rate, seed=pitch)
        place(note, start_s, 0.2 * rng.uniform(0.8, 1.1), 0.35 + 0.06 * figure[step % 8])
        if step % 8 == 0:
            bass = pluck(440 * 2 ** ((chord[0] - 12 - 69) / 12), 3.0, sample_rate, seed=chord[0])
            place(bass, start_s, 0.3, 0.5)
        if step % 2:
            place(brush(0.2, sample_rate, seed=step), start_s, 0.03 * rng.uniform(0.7, 1.2), 0.62)
    sound = sound[:, : round(duration_s * sample_rate)]
    return 0.7 * sound / max(1e-9, float(np.abs(sound).max()))
