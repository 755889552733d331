"""Builds small files byte by byte, so that tests know every byte of them."""

import struct
from pathlib import Path

import numpy as np

from weft.audio.audio import Audio, AudioFormat
from weft.audio.write import write_audio

BEXT = bytes(range(256)) * 2 + struct.pack("<Q", 123456789) + bytes(83)
CUE = struct.pack("<I", 1) + struct.pack("<II4sIII", 1, 5, b"data", 0, 0, 5)
EXTRAS_BEFORE = [(b"bext", BEXT), (b"JUNK", b"\x01\x02\x03")]
EXTRAS_AFTER = [(b"cue ", CUE), (b"LIST", b"INFOISFT\x05\0\0\0odd!\0"), (b"xyz!", b"\xff" * 7)]


def riff_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", name, len(content)) + content + bytes(len(content) % 2)


def wav(
    data: bytes = bytes(400),
    *,
    channels: int = 2,
    rate: int = 8000,
    bits: int = 16,
    tag: int = 1,
    before: list[tuple[bytes, bytes]] | None = None,
    after: list[tuple[bytes, bytes]] | None = None,
    data_claim: int | None = None,
    riff_claim: int | None = None,
) -> bytes:
    """Return a WAV file; the claims replace the true sizes."""
    align = channels * bits // 8 & 0xFFFF
    numbers = (tag, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    body = riff_chunk(b"fmt ", struct.pack("<HHIIHH", *numbers))
    body += b"".join(riff_chunk(*chunk) for chunk in before or [])
    claim = len(data) if data_claim is None else data_claim
    body += struct.pack("<4sI", b"data", claim) + data
    if after is not None:
        body += bytes(len(data) % 2)
    body += b"".join(riff_chunk(*chunk) for chunk in after or [])
    size = len(body) + 4 if riff_claim is None else riff_claim
    return struct.pack("<4sI4s", b"RIFF", size, b"WAVE") + body


def noise(num_channels: int = 2, num_samples: int = 3000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, (num_channels, num_samples))


def write_noise(
    path: Path, container: str = "WAV", subtype: str = "PCM_16", *, num_samples: int = 3000
) -> Path:
    """Write noise whose samples are exact in the format, and return the path."""
    write_audio(
        Audio.from_samples(np.round(noise(num_samples=num_samples) * 127) / 128, 44100),
        path,
        format=AudioFormat(container=container, subtype=subtype),
    )
    return path
