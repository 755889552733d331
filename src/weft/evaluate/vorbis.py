"""Vorbis: the round trip of a classical codec, an anchor beside those of learned ones."""

import io

import numpy as np

from weft.audio.audio import Audio
from weft.errors import AudioFormatError


def vorbis_round_trip(audio: Audio) -> Audio:
    """Encode and decode a recording with Ogg Vorbis at its encoder's default quality.

    Args:
        audio: at most 255 channels; values beyond full scale are kept as the codec keeps them.

    Returns:
        As many samples, aligned.

    Raises:
        AudioFormatError: the codec refuses the sample rate or the channels.

    Example:
        >>> tone = Audio.from_samples(0.5 * np.sin(np.arange(24000) * 0.1)[None], 24000)
        >>> decoded = vorbis_round_trip(tone)
        >>> decoded.num_samples, bool(np.abs(decoded.samples - tone.samples).max() < 0.05)
        (24000, True)
    """
    import soundfile

    file = io.BytesIO()
    try:
        with soundfile.SoundFile(
            file, "w", audio.sample_rate, audio.num_channels, format="OGG", subtype="VORBIS"
        ) as handle:
            for start in range(0, audio.num_samples, 65536):  # longer writes overflow its stack
                stop = min(audio.num_samples, start + 65536)
                handle.write(np.ascontiguousarray(audio.read(start, stop).T))
        file.seek(0)
        decoded, _ = soundfile.read(file, dtype="float64", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioFormatError(
            f"Vorbis cannot encode {audio.num_channels} channels at {audio.sample_rate} Hz: {error}"
        ) from error
    samples = np.zeros((audio.num_channels, audio.num_samples))
    length = min(audio.num_samples, len(decoded))
    samples[:, :length] = decoded[:length].T
    return Audio.from_samples(samples, audio.sample_rate)
