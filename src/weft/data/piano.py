"""Piano: performed notes played on a sampled grand piano.

The instrument is a folder of single notes, ``KEY_NAME_vLAYER.EXT`` (``060_C4_v12.ogg``): some keys,
some of 16 velocity layers; layer n was struck with about MIDI velocity 8 n - 4. A note is the
nearest key's sample of the nearest layer, resampled to its pitch and scaled by
``(velocity / layer's velocity) ** 1.3``. Dampers fall when a key is released and the sustain pedal
is up, or when the key is struck again; the highest keys have none.
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float

from weft.errors import AudioFormatError, ConfigError, MissingDependencyError

FIRST_UNDAMPED_PITCH = 89
"""From this MIDI number up strings have no damper."""
RELEASE_S = 0.18
"""Length of the raised-cosine fade when a damper falls."""
CUT_FADE_S = 0.4
"""Length of the fade at the end of a sample, which was cut there."""
VELOCITY_POWER = 1.3
"""Amplitude goes with the velocity, relative to that of the sample's layer, to this power."""
PEDAL_DOWN = 64
"""The sustain pedal (controller 64) holds from this value on."""
MAX_DURATION_S = 4 * 3600.0
"""Longest performance that is rendered."""

_CACHE_BYTES = 400 << 20
_NAME = re.compile(r"^(\d{1,3})_[A-Ga-g][#s]?-?\d+_v(\d{1,2})$")


@final
@dataclass(frozen=True, kw_only=True)
class Note:
    """One struck key."""

    start_s: float
    """When it is struck, in seconds."""
    stop_s: float
    """When its damper falls, key released and pedal up, in seconds."""
    pitch: int
    """MIDI number, in [0, 127]."""
    velocity: int
    """MIDI velocity, in [1, 127]."""


@final
class Instrument:
    """Sampled notes; those resampled to a pitch are kept, the least used are forgotten."""

    def __init__(self, folder: str | Path, *, sample_rate: int = 44100) -> None:
        """List the samples of a folder.

        Args:
            folder: of the notes.
            sample_rate: of what is rendered, in Hz.

        Raises:
            ConfigError: the folder has no notes of this naming.
        """
        self.sample_rate = sample_rate
        self._layers: dict[int, dict[int, Path]] = {}
        for path in sorted(Path(folder).glob("*")):
            match = _NAME.match(path.stem)
            if match and path.suffix.lower() in {".ogg", ".wav", ".flac"}:
                key, layer = int(match[1]), int(match[2])
                self._layers.setdefault(key, {})[layer] = path
        if not self._layers:
            raise ConfigError(
                f"{folder} holds no piano notes; wanted files named like 060_C4_v12.ogg"
            )
        self._cache: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._cached_bytes = 0

    def note(self, pitch: int, velocity: int) -> tuple[Float[np.ndarray, "n 2"], float]:
        """Return a note that rings undamped, 32-bit float, and the gain of its velocity."""
        key = min(self._layers, key=lambda k: (abs(k - pitch), k))
        layers = self._layers[key]
        layer = min(layers, key=lambda n: (abs(8 * n - 4 - velocity), n))
        gain = (velocity / (8 * layer - 4)) ** VELOCITY_POWER
        if (pitch, layer) in self._cache:
            self._cache.move_to_end((pitch, layer))
            return self._cache[pitch, layer], gain
        samples = _pitched(layers[layer], pitch - key, self.sample_rate)
        self._cache[pitch, layer] = samples
        self._cached_bytes += samples.nbytes
        while self._cached_bytes > _CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return samples, gain


def _pitched(path: Path, semitones: int, sample_rate: int) -> Float[np.ndarray, "n 2"]:
    """Read a sample, fade its cut end, and resample it to another pitch."""
    import soundfile
    import soxr

    try:
        samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioFormatError(f"cannot read the piano note {path}: {error}") from error
    if not len(samples) or samples.shape[1] > 2:
        raise AudioFormatError(f"{path} must be mono or stereo and not empty")
    fade = min(len(samples), round(CUT_FADE_S * rate))
    samples[-fade:] *= 0.5 + 0.5 * np.cos(np.pi * (np.arange(fade) + 1) / fade)[:, None]
    source_rate = rate * 2 ** (semitones / 12)
    if source_rate != sample_rate:
        samples = soxr.resample(samples, source_rate, sample_rate, "HQ")
    stereo = np.broadcast_to(samples, (len(samples), 2))
    return np.ascontiguousarray(stereo, dtype=np.float32)


def read_midi(path: str | Path) -> tuple[Note, ...]:
    """Read the notes of a performance, in order of time.

    The pedal holds what is down or struck while it is down. A key struck again damps what it
    sounded. Percussion (channel 10) and program changes are ignored.

    Raises:
        MissingDependencyError: mido is not installed.
        AudioFormatError: it is not a MIDI file, holds no note, or is longer than `MAX_DURATION_S`.
    """
    try:
        import mido
    except ImportError as error:
        raise MissingDependencyError(
            "reading MIDI needs the package mido; install it with: pip install 'weft[data]'"
        ) from error
    time_s = 0.0
    strings = _Strings()
    try:
        for message in mido.MidiFile(str(path)):
            time_s += message.time
            if time_s > MAX_DURATION_S:
                raise AudioFormatError(
                    f"{path} is longer than {MAX_DURATION_S:g} s; cut it into pieces"
                )
            if getattr(message, "channel", 9) != 9:
                strings.play(message, time_s)
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        if isinstance(error, AudioFormatError):
            raise
        raise AudioFormatError(f"{path} is not a MIDI file that can be read: {error}") from error
    notes = strings.finish(time_s)
    if not notes:
        raise AudioFormatError(f"{path} holds no note")
    return notes


@final
class _Strings:
    """What sounds while messages come in."""

    def __init__(self) -> None:
        self._struck: dict[int, tuple[float, int]] = {}  # pitch: (start, velocity)
        self._is_held: dict[int, bool] = {}  # pitch: key down
        self._is_pedal_down = False  # one piano has one pedal, whatever channel moves it
        self._notes: list[Note] = []

    def play(self, message: Any, time_s: float) -> None:
        """Take one channel message."""
        if message.type == "note_on" and message.velocity > 0:
            self._damp(message.note, time_s)
            self._struck[message.note] = (time_s, message.velocity)
            self._is_held[message.note] = True
        elif message.type in {"note_on", "note_off"}:
            self._is_held[message.note] = False
            if not self._is_pedal_down:
                self._damp(message.note, time_s)
        elif message.type == "control_change" and message.control == 64:
            self._is_pedal_down = message.value >= PEDAL_DOWN
            if not self._is_pedal_down:
                for pitch in [p for p in self._struck if not self._is_held[p]]:
                    self._damp(pitch, time_s)

    def finish(self, time_s: float) -> tuple[Note, ...]:
        """Damp what still sounds, and return all notes in order."""
        for pitch in list(self._struck):
            self._damp(pitch, time_s)
        return tuple(sorted(self._notes, key=lambda note: (note.start_s, note.pitch)))

    def _damp(self, pitch: int, time_s: float) -> None:
        if pitch in self._struck:
            start_s, velocity = self._struck.pop(pitch)
            self._notes.append(Note(start_s=start_s, stop_s=time_s, pitch=pitch, velocity=velocity))


def without_lead(notes: Sequence[Note], *, lead_s: float = 0.5) -> tuple[Note, ...]:
    """Move notes so that the first is struck after ``lead_s``, or as it is if that is sooner.

    Movements cut out of longer performances may begin with minutes of silence.
    """
    shift = max(0.0, min((note.start_s for note in notes), default=0.0) - lead_s)
    return tuple(
        replace(note, start_s=note.start_s - shift, stop_s=note.stop_s - shift) for note in notes
    )


def render(notes: Sequence[Note], instrument: Instrument) -> Float[np.ndarray, "n 2"]:
    """Play notes on an instrument.

    Args:
        notes: in any order.
        instrument: what to play them on.

    Returns:
        The sum of the notes as they are, 32-bit float, not normalised; ends with the last note's
        end. It may go over full scale.
    """
    rate = instrument.sample_rate
    release_samples = round(RELEASE_S * rate)
    release = 0.5 + 0.5 * np.cos(np.pi * (np.arange(release_samples) + 1) / release_samples)
    curve = release.astype(np.float32)[:, None]
    end_s = max((note.stop_s for note in notes), default=0.0)
    mix = np.zeros((round(end_s * rate) + release_samples, 2), dtype=np.float32)
    end = 0
    # By pitch, so that each resampled note is made once whatever the cache holds.
    for note in sorted(notes, key=lambda note: (note.pitch, note.velocity, note.start_s)):
        samples, gain = instrument.note(note.pitch, note.velocity)
        scale = np.float32(gain)
        start = round(note.start_s * rate)
        held = len(samples)
        if note.pitch < FIRST_UNDAMPED_PITCH:
            held = min(held, max(1, round((note.stop_s - note.start_s) * rate)))
        length = min(len(samples), held + release_samples)
        if start + length > len(mix):
            mix = np.concatenate([mix, np.zeros((start + length - len(mix), 2), np.float32)])
        mix[start : start + held] += samples[:held] * scale
        if length > held:
            mix[start + held : start + length] += samples[held:length] * (
                curve[: length - held] * scale
            )
        end = max(end, start + length)
    return mix[:end]


def peak_gain(samples: Float[np.ndarray, "n 2"], peak_db: float) -> float:
    """Return the one gain that brings the largest sample of a work to a level.

    Args:
        samples: the work.
        peak_db: wanted level of the largest sample, in dB of full scale, <= 0.

    Raises:
        ConfigError: the level is above full scale.
        AudioFormatError: the work is silent.
    """
    if not peak_db <= 0:
        raise ConfigError(f"peak_db must be <= 0 dB, got {peak_db}")
    peak = max(float(samples.max(initial=0.0)), -float(samples.min(initial=0.0)))
    if peak == 0:
        raise AudioFormatError("the rendered work is silent; are the piano notes silent?")
    return float(10 ** (peak_db / 20) / peak)
