"""Facts of a recording's samples, found in one pass and in constant memory."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float

from weft.audio.audio import Audio
from weft.audio.spectral import stft
from weft.model import Progress

MAX_RUNS = 1000
"""Runs that are remembered of a kind; more are counted."""
MIN_CLIPPED = 3
"""Samples at full scale in a row that count as clipped."""
MIN_SILENT_MS = 5.0
"""Shortest stretch of zeros in all channels that counts as digital silence."""
FULL_SCALE_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_N_FFT = 4096
_FLOOR_DB = -100.0
"""So far below the loudest band another counts as empty: leakage of the window reaches there."""


@final
@dataclass(frozen=True, kw_only=True)
class Run:
    """A stretch of samples."""

    start: int
    stop: int


@final
@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was found."""

    peak_db: tuple[float | None, ...]
    """Highest magnitude of each channel; full scale is 0 dB; None: all zeros."""
    rms_db: tuple[float | None, ...]
    """Root mean square of each channel, full scale is 0 dB; None: all zeros."""
    bandwidth_hz: float | None
    """Where the recording's content ends; None: there is none."""
    num_clipped: int
    """Samples in runs of `MIN_CLIPPED` at full scale, channels counted."""
    num_clipped_runs: int
    clipped: tuple[Run, ...]
    """Those runs, in any channel."""
    num_over: int
    """Samples beyond full scale."""
    num_silent: int
    """Samples a channel in stretches where all channels are zero."""
    num_silent_runs: int
    silent: tuple[Run, ...]
    """Those stretches."""
    num_nonfinite: int
    """Samples that are NaN or infinite."""


@final
class RunFinder:
    """Finds stretches where something holds, across the borders of blocks."""

    def __init__(self, min_samples: int) -> None:
        self._min_samples = min_samples
        self._open: int | None = None
        self.runs: list[Run] = []
        self.num_runs = 0
        self.num_samples = 0

    def feed(self, start: int, holds: Bool[np.ndarray, " n"]) -> None:
        """Take the next block, which begins at sample ``start``."""
        edges = np.flatnonzero(np.diff(holds.astype(np.int8), prepend=0, append=0))
        if self._open is not None and not (len(edges) and edges[0] == 0):
            self._close(self._open, start)
            self._open = None
        for first, last in edges.reshape(-1, 2).tolist():
            begin = start + first
            if first == 0 and self._open is not None:
                begin, self._open = self._open, None
            if last == len(holds):
                self._open = begin
            else:
                self._close(begin, start + last)

    def finish(self, stop: int) -> None:
        """Say that the recording ends at sample ``stop``."""
        if self._open is not None:
            self._close(self._open, stop)
            self._open = None

    def _close(self, start: int, stop: int) -> None:
        if stop - start < self._min_samples:
            return
        self.num_runs += 1
        self.num_samples += stop - start
        if len(self.runs) < MAX_RUNS:
            self.runs.append(Run(start=start, stop=stop))


def survey(audio: Audio, *, on_progress: Progress | None = None) -> Survey:
    """Read a recording once and measure it.

    Args:
        audio: may hold samples that are no numbers; they count as zeros in all other measures.
        on_progress: called with (samples read, samples in all).
    """
    channels, rate = audio.num_channels, audio.sample_rate
    top = _full_scale(audio)
    peak, energy = np.zeros(channels), np.zeros(channels)
    spectrum = np.zeros(_N_FFT // 2 + 1)
    num_frames = num_over = num_nonfinite = 0
    clipped = [RunFinder(MIN_CLIPPED) for _ in range(channels)]
    silent = RunFinder(max(1, round(MIN_SILENT_MS * rate / 1000)))
    for start, samples in audio.blocks():
        is_number = np.isfinite(samples)
        if not is_number.all():
            num_nonfinite += int((~is_number).sum())
            samples = np.where(is_number, samples, 0.0)
        magnitude = np.abs(samples)
        peak = np.maximum(peak, magnitude.max(axis=1, initial=0.0))
        energy += (samples**2).sum(axis=1)
        num_over += int((magnitude > 1).sum())
        for finder, channel in zip(clipped, magnitude, strict=True):
            finder.feed(start, (channel >= top) & (channel <= 1 + 1e-6))
        silent.feed(start, (magnitude == 0).all(axis=0) & is_number.all(axis=0))
        if samples.shape[1] >= _N_FFT or num_frames == 0:
            frames = np.abs(stft(samples, n_fft=_N_FFT, hop_length=_N_FFT, center=False)) ** 2
            spectrum += frames.sum(axis=(0, 2))
            num_frames += frames.shape[0] * frames.shape[2]
        if on_progress is not None:
            on_progress(start + samples.shape[1], audio.num_samples)
    for finder in (*clipped, silent):
        finder.finish(audio.num_samples)
    runs = sorted({(run.start, run.stop) for finder in clipped for run in finder.runs})
    return Survey(
        peak_db=tuple(_decibels(value) for value in peak),
        rms_db=tuple(_decibels(np.sqrt(value / max(audio.num_samples, 1))) for value in energy),
        bandwidth_hz=bandwidth(spectrum / max(num_frames, 1), rate, _step(audio)),
        num_clipped=sum(finder.num_samples for finder in clipped),
        num_clipped_runs=sum(finder.num_runs for finder in clipped),
        clipped=tuple(Run(start=start, stop=stop) for start, stop in runs[:MAX_RUNS]),
        num_over=num_over,
        num_silent=silent.num_samples,
        num_silent_runs=silent.num_runs,
        silent=tuple(silent.runs),
        num_nonfinite=num_nonfinite,
    )


def bandwidth(power: Float[np.ndarray, " f"], sample_rate: int, step: float) -> float | None:
    """Return where the content of a recording ends, in Hz; None if it has none.

    It is the highest frequency whose level, smoothed over 100 Hz, stands 6 dB over the noise of the
    format's own steps, or over 100 dB below the loudest band, whichever is more.

    Args:
        power: mean of squared magnitudes of a Hann-windowed Fourier transform, not normalised.
        sample_rate: in Hz.
        step: distance of neighbouring sample values; 0 for floats.
    """
    n_fft = 2 * (len(power) - 1)
    width = max(1, round(100 * n_fft / sample_rate))
    smooth = np.convolve(power, np.ones(width) / width, mode="same")
    window_energy = 3 / 8 * n_fft
    step_noise = step**2 / 12 * window_energy
    floor = max(4 * step_noise, smooth.max(initial=0.0) * 10 ** (_FLOOR_DB / 10))
    above = np.flatnonzero(smooth > floor)
    if not len(above):
        return None
    return float(min(above[-1] + 1, len(power) - 1) * sample_rate / n_fft)


def _decibels(value: float) -> float | None:
    return float(20 * np.log10(value)) if value > 0 else None


def _step(audio: Audio) -> float:
    """Return the distance of neighbouring sample values, 0 for floats and lossy formats."""
    bits = FULL_SCALE_BITS.get(audio.format.subtype)
    return 0.0 if bits is None else 2.0 ** (1 - bits)


def _full_scale(audio: Audio) -> float:
    """Return the magnitude from which on a sample may have been clipped.

    Floats go beyond full scale, so that only those at full scale exactly count.
    """
    return 1.0 - (_step(audio) or 1e-6)
