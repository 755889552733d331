"""FLAC: the header is not believed, and the metadata survives."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from wav_builder import noise, write_noise

from weft.audio.audio import Patch
from weft.audio.flac import count_bytes, find_end, parse_flac
from weft.audio.handle import FileHandle
from weft.audio.read import FileSource, read_audio
from weft.audio.write import write_audio
from weft.errors import AudioFormatError, FormatWarning

NUM_SAMPLES = 30000


@pytest.fixture
def flac(tmp_path: Path) -> Path:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(2, NUM_SAMPLES).T, 44100, "PCM_24")
    return path


def with_count(path: Path, num_samples: int) -> Path:
    """Return a copy whose header promises another number of samples."""
    header = parse_flac(FileHandle.open(path))
    content = bytearray(path.read_bytes())
    start = header.count_offset
    content[start : start + 8] = count_bytes(header, num_samples)
    changed = path.with_name("changed.flac")
    changed.write_bytes(content)
    return changed


def whole(path: Path) -> np.ndarray:
    return soundfile.read(path, always_2d=True)[0].T


def test_a_header_that_does_not_say_the_length_is_legal(flac: Path) -> None:
    audio = read_audio(with_count(flac, 0))
    assert audio.num_samples == NUM_SAMPLES
    np.testing.assert_array_equal(audio.read(29000, 30000), whole(flac)[:, 29000:])
    np.testing.assert_array_equal(audio.samples, whole(flac))


@pytest.mark.parametrize("claim", [2**36 - 1, NUM_SAMPLES + 1, 36000 * 44100])
def test_a_header_that_promises_more_is_refused_with_both_numbers(flac: Path, claim: int) -> None:
    path = with_count(flac, claim)
    with pytest.raises(AudioFormatError, match=f"promises {claim} .* holds {NUM_SAMPLES}"):
        read_audio(path)
    with pytest.warns(FormatWarning, match="salvaged"):
        audio = read_audio(path, salvage=True)
    np.testing.assert_array_equal(audio.samples, whole(flac))


def test_a_header_that_promises_less_is_repaired(flac: Path) -> None:
    with pytest.warns(FormatWarning, match="size repaired"):
        audio = read_audio(with_count(flac, 1000))
    np.testing.assert_array_equal(audio.samples, whole(flac))


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95, 0.999])
def test_a_truncated_file_is_refused_and_its_prefix_can_be_salvaged(
    flac: Path, keep: float
) -> None:
    expected = whole(flac)
    content = flac.read_bytes()
    flac.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(AudioFormatError, match="truncated FLAC"):
        read_audio(flac)
    with pytest.warns(FormatWarning, match="salvaged"):
        audio = read_audio(flac, salvage=True)
    assert 0 < audio.num_samples < NUM_SAMPLES
    np.testing.assert_array_equal(audio.samples, expected[:, : audio.num_samples])


@pytest.mark.parametrize("junk", [b"TAG" + bytes(125), b"appended by some tool" * 9])
def test_what_follows_the_stream_does_not_matter(flac: Path, junk: bytes) -> None:
    expected = whole(flac)
    flac.write_bytes(flac.read_bytes() + junk)
    np.testing.assert_array_equal(read_audio(flac).samples, expected)


def test_damage_in_the_middle_is_an_error_where_it_is_and_nowhere_else(flac: Path) -> None:
    expected = whole(flac)
    content = bytearray(flac.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    flac.write_bytes(content)
    audio = read_audio(flac)
    with pytest.raises(AudioFormatError, match="damaged there"):
        audio.read(0, NUM_SAMPLES)
    np.testing.assert_array_equal(audio.read(100, 4000), expected[:, 100:4000])


@pytest.mark.parametrize("num_samples", [1, 15, 4096, 4097, 30000])
@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
def test_the_end_is_found_without_decoding(tmp_path: Path, num_samples: int, subtype: str) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(3, num_samples).T, 96000, subtype)
    handle = FileHandle.open(path)
    header = parse_flac(handle)
    end = find_end(handle, header)
    assert (end.num_samples, end.is_whole) == (num_samples, True)
    assert (header.sample_rate, header.num_channels) == (96000, 3)


@pytest.mark.parametrize("num_frames", [127, 128, 129, 2047, 2048, 2049, 2100])
def test_the_end_of_a_long_file_is_found(tmp_path: Path, num_frames: int) -> None:
    num_samples = num_frames * 4096 - 7  # the coded number grows at 128 and at 2048 frames
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(num_samples, np.int16), 44100)
    handle = FileHandle.open(path)
    end = find_end(handle, parse_flac(handle))
    assert (end.num_samples, end.is_whole) == (num_samples, True)


def block(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + len(content).to_bytes(3, "big") + content


COMMENT = struct.pack("<I", 4) + b"test" + struct.pack("<II", 1, 11) + b"TITLE=Weft!"
PICTURE = struct.pack(">II", 3, 9) + b"image/png" + bytes(20) + struct.pack(">I", 5) + b"12345"
CUESHEET = bytes(128 + 8 + 259) + b"\x01" + bytes(8) + b"\xaa" + bytes(27)


def test_metadata_is_carried_over_in_order_and_the_rest_is_identical(
    flac: Path, tmp_path: Path
) -> None:
    header = parse_flac(FileHandle.open(flac))
    content = flac.read_bytes()
    blocks = [
        block(3, bytes(18)),
        block(6, PICTURE),
        block(2, b"riff" + b"xyz"),
        block(1, bytes(50)),
        block(4, COMMENT),
        block(2, b"othr"),
        block(0x80 | 5, CUESHEET),
    ]
    source = tmp_path / "source.flac"
    info = content[header.blocks[0].offset : header.blocks[0].offset + 34]
    source.write_bytes(
        b"fLaC" + block(0, info) + b"".join(blocks) + content[header.frames_offset :]
    )
    audio = read_audio(source)
    patch = Patch(start=10000, samples=noise(2, 500, seed=5))
    written = write_audio(audio.patched([patch]), tmp_path / "out.flac")
    assert written.proof.is_identical
    assert written.proof.num_outside == 2 * (NUM_SAMPLES - 500)
    again = read_audio(written.path)
    assert isinstance(again.source, FileSource)
    names = [chunk.name for chunk in again.source.chunks]
    assert names == [
        *("STREAMINFO", "PICTURE", "APPLICATION", "VORBIS_COMMENT", "APPLICATION", "CUESHEET")
    ]
    assert again.source.read_chunk("PICTURE") == PICTURE
    assert again.source.read_chunk("VORBIS_COMMENT") == COMMENT
    assert again.source.read_chunk("CUESHEET") == CUESHEET
    samples, expected = again.samples, whole(source)
    np.testing.assert_array_equal(samples[:, :10000], expected[:, :10000])
    np.testing.assert_array_equal(samples[:, 10500:], expected[:, 10500:])
    assert np.abs(samples[:, 10000:10500] - patch.samples).max() <= 2.0**-24
    with soundfile.SoundFile(written.path) as opened:  # another reader finds it all right, too
        assert opened.title == "Weft!"
        assert opened.frames == NUM_SAMPLES


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=6)), max_size=5),
    st.integers(0, 1200),
    st.booleans(),
)
def test_damaged_files_raise_nothing_but_format_errors(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[int, bytes]],
    end: int,
    salvage: bool,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "flac-fuzz"
    folder.mkdir(exist_ok=True)
    good = folder / "good.flac"
    if not good.exists():
        write_noise(good, "FLAC", num_samples=500)
    content = bytearray(good.read_bytes())
    for offset, change in changes:
        content[offset : offset + len(change)] = change
    damaged = folder / "damaged.flac"
    damaged.write_bytes(b"fLaC" + bytes(content[4 : max(end, 5)]))
    try:
        audio = read_audio(damaged, salvage=salvage)
        if audio.num_samples < 10**6:
            audio.samples  # noqa: B018
    except AudioFormatError:
        pass
    except FormatWarning:
        pass
