"""Parsers of uncompressed files: right on good files, harmless on bad ones."""

import contextlib
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from wav_builder import EXTRAS_AFTER, EXTRAS_BEFORE, noise, riff_chunk, wav

from weft.audio.containers import parse, sniff
from weft.audio.encoding import NUM_BYTES, SampleEncoding
from weft.errors import AudioFormatError, ConfigError


@dataclass
class Memory:
    """Bytes in memory that remember the largest request."""

    content: bytes
    largest: int = field(default=0)

    @property
    def size(self) -> int:
        return len(self.content)

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        self.largest = max(self.largest, num_bytes)
        return self.content[offset : offset + num_bytes]


CASES = [
    (container, subtype, endian)
    for container, subtypes in {
        "WAV": "PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW",
        "WAVEX": "PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW",
        "RF64": "PCM_16 PCM_24 FLOAT",
        "W64": "PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW",
        "AIFF": "PCM_S8 PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW",
        "CAF": "PCM_S8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW",
    }.items()
    for subtype in subtypes.split()
    for endian in ("FILE", "LITTLE", "BIG")
    if soundfile.check_format(container, subtype, endian)
]


@pytest.mark.parametrize(("container", "subtype", "endian"), CASES)
def test_layout_and_samples_agree_with_libsndfile(
    tmp_path: Path, container: str, subtype: str, endian: str
) -> None:
    path = tmp_path / "a"
    soundfile.write(path, noise().T, 44100, subtype, endian, container)
    content = path.read_bytes()
    layout = parse(Memory(content))
    assert layout is not None
    assert (layout.container, layout.format.subtype) == (container, subtype)
    assert (layout.sample_rate, layout.num_channels, layout.num_samples) == (44100, 2, 3000)
    assert layout.remarks == ()
    assert layout.missing_bytes == 0
    assert layout.encoding is not None
    stored = content[layout.data_offset : layout.data_offset + layout.data_bytes]
    expected = soundfile.read(path, always_2d=True)[0].T
    np.testing.assert_array_equal(layout.encoding.decode(stored, 2), expected)


def test_chunks_are_listed_in_order_with_their_places() -> None:
    content = wav(before=EXTRAS_BEFORE, after=EXTRAS_AFTER)
    layout = parse(Memory(content))
    assert layout is not None
    names = ["fmt ", "bext", "JUNK", "data", "cue ", "LIST", "xyz!"]
    assert [chunk.name for chunk in layout.chunks] == names
    found = {c.name: content[c.offset : c.offset + c.num_bytes] for c in layout.chunks}
    for name, expected in EXTRAS_BEFORE + EXTRAS_AFTER:
        assert found[name.decode()] == expected


def test_a_chunk_after_unpadded_odd_data_is_found() -> None:
    content = wav(bytes(401), channels=1, bits=8) + riff_chunk(b"LIST", b"INFO")
    content = content[:4] + struct.pack("<I", len(content) - 8) + content[8:]
    layout = parse(Memory(content))
    assert layout is not None
    assert [chunk.name for chunk in layout.chunks] == ["fmt ", "data", "LIST"]


def test_twenty_bits_in_three_bytes_are_read_and_rounded_to_twenty_bits() -> None:
    extensible = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 24000, 3, 24, 22, 20, 4)
    extensible += bytes.fromhex("0100000000001000800000aa00389b71")
    body = b"WAVE" + riff_chunk(b"fmt ", extensible) + riff_chunk(b"data", bytes(30))
    layout = parse(Memory(struct.pack("<4sI", b"RIFF", len(body)) + body))
    assert layout is not None
    assert layout.encoding == SampleEncoding(subtype="PCM_24", num_bits=20)
    stored, _ = layout.encoding.encode(np.array([[0.123456789]]))
    assert stored[0] & 0x0F == 0
    assert abs(layout.encoding.decode(stored, 1)[0, 0] - 0.123456789) <= 2.0**-20


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": 0}, "0 channels"),
        ({"channels": 65535}, "65535 channels"),
        ({"rate": 0}, "impossible sample rate"),
        ({"rate": 4294967295}, "impossible sample rate"),
    ],
)
def test_impossible_headers_are_named(change: dict[str, int], said: str) -> None:
    with pytest.raises(AudioFormatError, match=said):
        parse(Memory(wav(**change)))  # type: ignore[arg-type]


def test_unknown_codecs_have_no_encoding_but_a_name() -> None:
    for change in ({"bits": 0}, {"tag": 0x1234}, {"tag": 3, "bits": 16}):
        layout = parse(Memory(wav(**change)))  # type: ignore[arg-type]
        assert layout is not None
        assert layout.encoding is None
        assert "codec 0x" in layout.codec


@pytest.mark.parametrize("claim", [0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0x7FFFF000])
def test_a_streamed_header_is_repaired(claim: int) -> None:
    layout = parse(Memory(wav(data_claim=claim, riff_claim=0xFFFFFFFF)))
    assert layout is not None
    assert (layout.num_samples, layout.missing_bytes) == (100, 0)
    assert "size repaired" in layout.remarks[0]
    assert dict(layout.repairs) == {4: struct.pack("<I", 436), 40: struct.pack("<I", 400)}


def test_an_unclosed_recording_with_sizes_of_zero_is_read_to_its_end() -> None:
    layout = parse(Memory(wav(data_claim=0, riff_claim=0)))
    assert layout is not None
    assert layout.num_samples == 100
    assert "size repaired" in layout.remarks[0]


def test_a_really_empty_file_is_not_taken_for_an_unclosed_one() -> None:
    layout = parse(Memory(wav(b"", after=[(b"LIST", b"INFO" + bytes(40))])))
    assert layout is not None
    assert (layout.num_samples, layout.remarks) == (0, ())


def test_a_wrong_riff_size_is_repaired() -> None:
    layout = parse(Memory(wav(riff_claim=50)))
    assert layout is not None
    assert layout.num_samples == 100
    assert "size repaired" in layout.remarks[0]


def test_a_claim_of_two_to_the_63_is_missing_data_not_memory() -> None:
    wide = struct.pack("<QQQI", 1 << 63, 1 << 63, 1 << 63, 0)
    content = wav(before=[(b"ds64", wide)], data_claim=0xFFFFFFFF)
    memory = Memory(b"RF64" + content[4:])
    layout = parse(memory)
    assert layout is not None
    assert layout.num_samples == 100
    assert layout.missing_bytes == (1 << 63) - 400
    assert memory.largest <= 64


def test_half_a_frame_is_noted() -> None:
    layout = parse(Memory(wav(bytes(401), after=[])))
    assert layout is not None
    assert layout.num_samples == 100
    assert "middle of a frame" in layout.remarks[0]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"#EXTM3U\nhttp://a/b", "a playlist"),
        (b"ffconcat version 1.0", "a playlist"),
        (b"just some words\n", "text"),
        (b"PK\x03\x04" + bytes(60), "a ZIP archive"),
        (bytes(64), "no known audio format"),
        (b"RIFF\0\0\0\0WEBP", "a RIFF file of type WEBP"),
        (b"\xff\xfb\x90\x00", "MP3"),
        (b"\xff\xf1\x50\x80", "AAC"),
        (b"\0\0\0\x20ftypM4A ", "M4A"),
    ],
)
def test_files_are_known_by_their_first_bytes(head: bytes, kind: str) -> None:
    assert sniff(head) == kind


def _good_files() -> list[bytes]:
    import io

    files = [wav(before=EXTRAS_BEFORE, after=EXTRAS_AFTER)]
    for container, subtype in [
        ("WAVEX", "PCM_24"),
        ("RF64", "FLOAT"),
        ("W64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("AIFF", "FLOAT"),
        ("CAF", "PCM_24"),
    ]:
        file = io.BytesIO()
        soundfile.write(file, noise(2, 50).T, 8000, subtype, format=container)
        files.append(file.getvalue())
    return files


GOOD = _good_files()
INTERESTING = [b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0\0\0\0\0"]


@settings(max_examples=400)
@given(
    st.sampled_from(GOOD),
    st.lists(
        st.tuples(
            st.integers(0, 200),
            st.one_of(st.sampled_from(INTERESTING), st.binary(min_size=1, max_size=8)),
        ),
        max_size=6,
    ),
    st.one_of(st.none(), st.integers(0, 300)),
)
def test_damaged_files_raise_nothing_else_and_never_allocate_by_claim(
    good: bytes, changes: list[tuple[int, bytes]], end: int | None
) -> None:
    damaged = bytearray(good)
    for offset, content in changes:
        damaged[offset : offset + len(content)] = content
    memory = Memory(bytes(damaged[:end]))
    try:
        layout = parse(memory)
    except AudioFormatError:
        layout = None
    assert memory.largest <= 64
    if layout is not None:
        assert layout.data_offset >= 0
        assert layout.data_offset + layout.data_bytes <= max(memory.size, layout.data_offset)
        assert layout.num_samples * layout.frame_bytes <= memory.size
        assert 1 <= layout.num_channels <= 64
        for chunk in layout.chunks:
            assert 0 <= chunk.offset <= chunk.offset + chunk.num_bytes <= memory.size


@settings(max_examples=200)
@given(st.sampled_from([b"RIFF", b"RF64", b"RIFX", b"FORM", b"caff"]), st.binary(max_size=300))
def test_random_bytes_behind_a_magic_raise_nothing_else(magic: bytes, rest: bytes) -> None:
    form = {b"FORM": b"AIFC", b"caff": b""}.get(magic, b"WAVE")
    content = magic + rest[:4] + form + rest[4:]
    sniff(content)
    memory = Memory(content)
    with contextlib.suppress(AudioFormatError):
        parse(memory)
    assert memory.largest <= 64


@given(
    st.sampled_from(sorted(NUM_BYTES)),
    st.booleans(),
    st.lists(st.floats(-1.0, 0.99), min_size=1, max_size=40),
)
def test_encoding_rounds_to_nearest(subtype: str, is_big: bool, values: list[float]) -> None:
    encoding = SampleEncoding(subtype=subtype, is_big_endian=is_big)
    samples = np.array([values, values[::-1]])
    if subtype in {"ULAW", "ALAW"}:
        samples *= 0.98  # their largest values are 0.9804 and 0.9844
    stored, num_clipped = encoding.encode(samples)
    assert num_clipped == 0
    back = encoding.decode(stored, 2)
    step = {"DOUBLE": 2.0**-53, "FLOAT": 2.0**-24, "ULAW": 2.0**-5, "ALAW": 2.0**-5}
    assert np.abs(back - samples).max() <= step.get(subtype, 2.0 ** -(8 * encoding.num_bytes)) + (
        2.0**-8 if subtype in {"PCM_U8", "PCM_S8"} else 0  # 0.99 lies over the highest 8-bit level
    )
    assert encoding.encode(back) == (stored, 0) or subtype == "ULAW"  # it has two zeros


@given(
    st.sampled_from(sorted(set(NUM_BYTES) - {"FLOAT", "DOUBLE", "ULAW"})), st.binary(min_size=24)
)
def test_every_stored_integer_survives_decoding_and_encoding(subtype: str, stored: bytes) -> None:
    for is_big in (False, True):
        encoding = SampleEncoding(subtype=subtype, is_big_endian=is_big)
        stored = stored[: len(stored) // encoding.num_bytes * encoding.num_bytes]
        assert encoding.encode(encoding.decode(stored, 1)) == (stored, 0)


def test_encodings_refuse_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match="subtype"):
        SampleEncoding(subtype="VORBIS")
    with pytest.raises(ConfigError, match="num_bits"):
        SampleEncoding(subtype="PCM_16", num_bits=20)
