"""Reading: any range gives the same samples, and every bad file a clear error."""

import os
import stat
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from wav_builder import BEXT, EXTRAS_AFTER, EXTRAS_BEFORE, noise, wav, write_noise

from weft.audio.facts import describe
from weft.audio.read import FileSource, read_audio
from weft.errors import AudioFormatError, FormatWarning, MissingDependencyError


def refuse(path: Path, *said: str) -> None:
    with pytest.raises(AudioFormatError) as caught:
        read_audio(path)
    message = str(caught.value)
    assert path.name in message
    for words in said:
        assert words in message


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    refuse(tmp_path / "a.wav", "empty")


def test_a_stub_header_is_said_to_be_truncated(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF\x24\0\0\0")
    refuse(tmp_path / "a.wav", "truncated header")
    (tmp_path / "b.wav").write_bytes(wav()[:30])
    refuse(tmp_path / "b.wav", "truncated")
    (tmp_path / "c.flac").write_bytes(b"fLaC\0\0")
    refuse(tmp_path / "c.flac", "truncated header")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"Dear all,\nthe file is attached.\n", "text"),
        (b"<!DOCTYPE html>\n<html></html>", "an HTML page"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "a playlist"),
        (np.random.default_rng(3).bytes(4000), "no known audio format"),
        (b"\xff\xe4\x22\x79" + np.random.default_rng(3).bytes(4000), "damaged or something else"),
        (bytes(4000), "no known audio format"),
    ],
)
def test_what_is_not_audio_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    refuse(tmp_path / "a.wav", said)


def test_a_directory_a_missing_file_and_a_pipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.wav").mkdir()
    refuse(tmp_path / "x.wav", "is a directory")
    refuse(tmp_path / "y.wav", "no such file")
    os.mkfifo(tmp_path / "z.wav")
    refuse(tmp_path / "z.wav", "not a regular file")


def test_control_characters_in_a_name_do_not_reach_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(AudioFormatError) as caught:
        read_audio(tmp_path / "a\n\x1b[31m.wav")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("change", [{"channels": 0}, {"channels": 65}, {"rate": 0}])
def test_impossible_headers_are_refused(tmp_path: Path, change: dict[str, int]) -> None:
    (tmp_path / "a.wav").write_bytes(wav(**change))  # type: ignore[arg-type]
    refuse(tmp_path / "a.wav", "header")


def test_an_unknown_codec_is_named_with_what_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(tag=0x1234))
    refuse(tmp_path / "a.wav", "codec 0x1234", "FLAC")


def test_a_truncated_wav_is_refused_unless_salvaged(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(noise(1, 200).tobytes()[:1600])[:-1000])
    refuse(path, "truncated", "promises 400 samples", "holds 150")
    with pytest.warns(FormatWarning, match="salvaged"):
        audio = read_audio(path, salvage=True)
    assert audio.num_samples == 150
    assert audio.samples.shape == (2, 150)


def test_a_claim_of_two_to_the_63_frames_is_refused(tmp_path: Path) -> None:
    wide = struct.pack("<QQQI", 1 << 63, 1 << 63, 1 << 63, 0)
    content = wav(before=[(b"ds64", wide)], data_claim=0xFFFFFFFF)
    (tmp_path / "a.wav").write_bytes(b"RF64" + content[4:])
    refuse(tmp_path / "a.wav", "truncated")


def test_a_streamed_wav_is_read_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(data_claim=0xFFFFFFFF, riff_claim=0xFFFFFFFF))
    with pytest.warns(FormatWarning, match="size repaired"):
        audio = read_audio(path)
    assert audio.num_samples == 100


def test_zero_samples_can_be_inspected(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(b""))
    assert read_audio(path).samples.shape == (2, 0)
    assert describe(path).duration_s == 0


def test_samples_that_are_no_numbers_are_refused_where_they_are(tmp_path: Path) -> None:
    samples = noise(2, 1000).astype(np.float32)
    samples[0, 100:103] = np.nan
    samples[1, 500] = np.inf
    samples[1, 700] = 1e30
    path = tmp_path / "a.wav"
    path.write_bytes(wav(samples.T.tobytes(), bits=32, tag=3))
    audio = read_audio(path)
    np.testing.assert_array_equal(audio.read(200, 400), samples[:, 200:400])
    with pytest.raises(AudioFormatError, match=r"5 samples.*100-103, 500-501, 700-701") as caught:
        audio.read(50, 1000)
    assert "0.013 s" in str(caught.value)
    allowed = read_audio(path, allow_nonfinite=True)
    np.testing.assert_array_equal(allowed.samples, samples)


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "PCM_24"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
        ("OGG", "VORBIS"),
        ("MP3", "MPEG_LAYER_III"),
        ("WAV", "IMA_ADPCM"),
        ("WAV", "MS_ADPCM"),
        ("CAF", "ALAC_24"),
        ("AU", "PCM_16"),
    ],
)
def test_any_range_has_the_samples_of_a_straight_decode(
    tmp_path: Path, format: str, subtype: str
) -> None:
    path = tmp_path / "a"
    soundfile.write(path, noise(2, 60000).T, 44100, subtype, format=format)
    whole = soundfile.read(path, always_2d=True)[0].T
    audio = read_audio(path)
    assert audio.num_samples == whole.shape[1]
    rng = np.random.default_rng(2)
    for _ in range(30):
        start, stop = sorted(int(x) for x in rng.integers(0, whole.shape[1] + 1, 2))
        np.testing.assert_array_equal(audio.read(start, stop), whole[:, start:stop])


def test_32_bit_integers_survive_exactly(tmp_path: Path) -> None:
    integers = np.array([2**31 - 1, -(2**31), 1, -1, 2**24 + 1, 123456789], dtype="<i4")
    path = tmp_path / "a.wav"
    path.write_bytes(wav(integers.tobytes(), channels=1, bits=32))
    assert (read_audio(path).samples[0] * 2.0**31).tolist() == integers.tolist()


@pytest.mark.parametrize("format", ["MP3", "OGG"])
def test_a_truncated_lossy_file_is_detected(tmp_path: Path, format: str) -> None:
    path = tmp_path / "a"
    soundfile.write(path, noise(1, 88200).T, 44100, format=format)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refuse(path, f"truncated {format}", "salvage")
    with pytest.warns(FormatWarning, match="salvaged"):
        audio = read_audio(path, salvage=True)
    assert 10000 < audio.num_samples < 60000
    assert np.isfinite(audio.samples).all()


def test_an_ogg_file_that_counts_from_elsewhere_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    soundfile.write(path, noise(1, 44100).T, 44100, format="OGG")
    content = bytearray(path.read_bytes())
    last = content.rindex(b"OggS")
    (length,) = struct.unpack("<q", content[last + 6 : last + 14])
    content[last + 6 : last + 14] = struct.pack("<q", length + 1152)
    content[last + 22 : last + 26] = bytes(4)
    content[last + 22 : last + 26] = struct.pack("<I", ogg_checksum(bytes(content[last:])))
    path.write_bytes(content)
    with pytest.warns(FormatWarning, match="size repaired"):
        audio = read_audio(path)
    assert 44100 <= audio.num_samples < length + 1152


def ogg_checksum(page: bytes) -> int:
    rest = 0
    for letter in page:
        rest ^= letter << 24
        for _ in range(8):
            rest = (rest << 1 ^ (0x04C11DB7 if rest >> 31 else 0)) & 0xFFFFFFFF
    return rest


def test_chunks_and_facts_are_at_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(before=EXTRAS_BEFORE, after=EXTRAS_AFTER, riff_claim=40))
    with pytest.warns(FormatWarning):
        source = read_audio(path).source
    assert isinstance(source, FileSource)
    assert source.read_chunk("bext") == BEXT
    assert source.read_chunk("none") is None
    facts = describe(path)
    assert (facts.container, facts.subtype, facts.sample_rate) == ("WAV", "PCM_16", 8000)
    assert (facts.num_channels, facts.num_samples, facts.is_lossy) == (2, 100, False)
    assert [c.name for c in facts.chunks if c.num_bytes == len(BEXT)] == ["bext"]
    assert len(facts.warnings) == 1
    assert facts.num_bytes == path.stat().st_size


def test_a_file_that_is_replaced_or_removed_stays_readable(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.wav")
    audio = read_audio(path)
    before = audio.samples
    path.unlink()
    path.write_bytes(b"something else")
    np.testing.assert_array_equal(audio.samples, before)


def test_a_file_that_shrinks_meanwhile_is_an_error(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.wav")
    audio = read_audio(path)
    os.truncate(path, 1000)
    with pytest.raises(AudioFormatError, match="shorter"):
        audio.read(2000, 3000)


def test_opening_a_long_file_reads_almost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(b"", data_claim=2_000_000_000, riff_claim=2_000_000_036))
    os.truncate(path, 2_000_000_044)  # sparse: two gigabytes that take no room
    code = (
        "import resource, sys; from weft.audio.read import read_audio;"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 29, 3 << 29));"
        "a = read_audio(sys.argv[1]); print(a.num_samples, a.read(400_000_000, 400_000_100).sum())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["500000000", "0.0"]


FAKE_FFMPEG = """#!/bin/sh
printf '%s\\n' "$@" > "$FAKE_ARGUMENTS"
[ -n "$FAKE_FAILS" ] && { echo 'moov atom not found' >&2; exit 1; }
cat "$FAKE_WAV"
"""


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named ffmpeg that returns a streamed float WAV file and notes its arguments."""
    folder = tmp_path / "programs"
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text(FAKE_FFMPEG)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    samples = noise(2, 500).astype("<f4").T.tobytes()
    content = wav(samples, bits=32, tag=3, data_claim=0xFFFFFFFF, riff_claim=0xFFFFFFFF)
    (tmp_path / "decoded").write_bytes(content)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_WAV", str(tmp_path / "decoded"))
    monkeypatch.setenv("FAKE_ARGUMENTS", str(tmp_path / "arguments"))
    monkeypatch.delenv("FAKE_FAILS", raising=False)
    return tmp_path


def test_m4a_goes_through_ffmpeg_with_all_doors_shut(fake_ffmpeg: Path) -> None:
    path = fake_ffmpeg / "-i.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        audio = read_audio(path)
    np.testing.assert_array_equal(audio.samples, noise(2, 500).astype(np.float32))
    assert (audio.format.container, audio.format.subtype) == ("M4A", "AAC")
    arguments = (fake_ffmpeg / "arguments").read_text().splitlines()
    assert "-nostdin" in arguments
    assert arguments[arguments.index("-protocol_whitelist") + 1] == "file,pipe"
    assert arguments[arguments.index("-f") + 1] == "mov"
    assert arguments[arguments.index("-i") + 1] == f"file:{path}"


def test_what_ffmpeg_says_is_passed_on(fake_ffmpeg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAILS", "1")
    path = fake_ffmpeg / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    refuse(path, "moov atom not found")


def test_without_ffmpeg_the_advice_is_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    with pytest.raises(MissingDependencyError, match="install"):
        read_audio(path)


def test_importing_and_opening_a_wav_needs_neither_torch_nor_soundfile(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.wav")
    code = (
        "import sys; from weft.audio.read import read_audio; import weft.audio.write;"
        "read_audio(sys.argv[1]).samples;"
        "print([m for m in ('torch', 'soundfile', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert "torch" not in done.stdout
    assert "soundfile" not in done.stdout
