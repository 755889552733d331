"""Writing: what was not edited is bit for bit what it was, whatever happens."""

import errno
import os
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from wav_builder import EXTRAS_AFTER, EXTRAS_BEFORE, noise, wav, write_noise

from weft.audio import copying, headers, proof, write
from weft.audio.audio import Audio, AudioFormat, Patch
from weft.audio.facts import describe
from weft.audio.formats import (
    SUBTYPES,
    default_format,
    default_suffix,
    format_for_path,
    holds_exactly,
    nearest_subtype,
)
from weft.audio.proof import edited_ranges, edited_samples
from weft.audio.read import read_audio
from weft.audio.write import write_audio
from weft.errors import ClippingWarning, ConfigError, FormatWarning, OutputError

STORED = [
    (container, subtype, endian)
    for container, subtypes in SUBTYPES.items()
    if container != "FLAC"
    for subtype in sorted(subtypes)
    for endian in ("FILE", "LITTLE", "BIG")
    if soundfile.check_format(container, subtype, endian)
]
TOLERANCE = {"FLOAT": 2.0**-25, "DOUBLE": 0.0, "ULAW": 2.0**-6, "ALAW": 2.0**-6}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@settings(max_examples=150)
@given(
    st.sampled_from(STORED),
    st.lists(st.tuples(st.integers(0, 199), st.integers(0, 200)), max_size=5),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
def test_an_edit_changes_only_its_own_bytes(
    format: tuple[str, str, str], edits: list[tuple[int, int]], channels: int, seed: int
) -> None:
    container, subtype, endian = format
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "in"), Path(folder, "out")
        soundfile.write(path, noise(channels, 400, seed).T, 8000, subtype, endian, container)
        audio = read_audio(path)
        edited = audio.patched(
            Patch(start=start, samples=0.9 * noise(channels, length, seed + i))
            for i, (start, length) in enumerate(edits)
        )
        written = write_audio(edited, out)
        assert written.format == audio.format
        assert written.proof.is_identical
        assert written.num_clipped == 0
        layout = audio.source.layout  # type: ignore[attr-defined]
        before, after = path.read_bytes(), out.read_bytes()
        is_edited = np.zeros(400, bool)
        for start, length in edits:
            is_edited[start : start + length] = True
        assert written.proof.num_outside == channels * int((~is_edited).sum())
        first, last = layout.data_offset, layout.data_offset + 400 * layout.frame_bytes
        assert after[:first] == before[:first]
        assert after[last:] == before[last:]
        old = np.frombuffer(before[first:last], np.uint8).reshape(400, -1)
        new = np.frombuffer(after[first:last], np.uint8).reshape(400, -1)
        np.testing.assert_array_equal(new[~is_edited], old[~is_edited])
        error = np.abs(soundfile.read(out, always_2d=True)[0].T - edited.samples)[:, is_edited]
        half_step = TOLERANCE.get(subtype, 2.0 ** -(8 * layout.frame_bytes // channels))
        assert error.max(initial=0) <= half_step


@pytest.mark.parametrize("container", sorted(SUBTYPES))
@pytest.mark.parametrize("source", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_another_container_loses_nothing_that_it_can_hold(
    tmp_path: Path, container: str, source: str
) -> None:
    path = tmp_path / "in.wav"
    soundfile.write(path, noise(2, 1001).T, 48000, source)
    audio = read_audio(path)
    target = AudioFormat(container=container, subtype=nearest_subtype(audio.format, container))
    written = write_audio(audio, tmp_path / "out", format=target)
    again = read_audio(tmp_path / "out")
    info = soundfile.info(tmp_path / "out")
    assert (info.format, info.subtype) == (container, target.subtype)
    assert (info.samplerate, info.channels, info.frames) == (48000, 2, 1001)
    if holds_exactly(audio.format, target):
        np.testing.assert_array_equal(again.samples, audio.samples)
        assert written.proof.rounding == ""
        assert not any("rounded" in note for note in written.notes)
    else:
        assert container == "FLAC"
        assert np.abs(again.samples - audio.samples).max() <= 2.0**-24
        assert "rounded to PCM_24" in str(written.proof)
        assert any("rounded to PCM_24" in note for note in written.notes)
    assert written.proof.is_identical


def test_every_chunk_survives_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    data = noise(1, 101).tobytes()[:403]
    path.write_bytes(wav(data, before=EXTRAS_BEFORE, after=EXTRAS_AFTER))
    with pytest.warns(FormatWarning, match="middle of a frame"):
        audio = read_audio(path)
    edited = audio.patched([Patch(start=10, samples=np.zeros((2, 5)))])
    write_audio(edited, tmp_path / "out.wav")
    before, after = path.read_bytes(), (tmp_path / "out.wav").read_bytes()
    first = before.index(data) + 40
    assert after == before[:first] + bytes(20) + before[first + 20 :]


def test_an_edit_of_the_last_sample_does_not_touch_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    path.write_bytes(wav(after=EXTRAS_AFTER))
    audio = read_audio(path)
    edited = audio.patched([Patch(start=99, samples=np.ones((2, 1)) / 2)])
    write_audio(edited, tmp_path / "out.wav")
    before = path.read_bytes()
    expected = before[:440] + b"\x00\x40\x00\x40" + before[444:]
    assert (tmp_path / "out.wav").read_bytes() == expected


def test_a_streamed_header_is_written_with_true_sizes(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    path.write_bytes(wav(data_claim=0xFFFFFFFF, riff_claim=0xFFFFFFFF))
    with pytest.warns(FormatWarning):
        audio = read_audio(path)
    assert write_audio(audio, tmp_path / "out.wav").proof.is_identical
    assert (tmp_path / "out.wav").read_bytes() == wav()


def test_a_salvaged_file_is_written_with_true_sizes(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    path.write_bytes(wav(bytes(800))[:-400])
    with pytest.warns(FormatWarning):
        audio = read_audio(path, salvage=True)
    write_audio(audio, tmp_path / "out.wav")
    assert (tmp_path / "out.wav").read_bytes() == wav()


def test_wav_to_rf64_and_back_carries_the_chunks(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    path.write_bytes(wav(before=EXTRAS_BEFORE, after=EXTRAS_AFTER))
    wide = write_audio(read_audio(path), tmp_path / "a.rf64")
    assert wide.notes == ()
    assert [c.name for c in describe(wide.path).chunks] == [
        *("ds64", "fmt ", "bext", "data", "cue ", "LIST", "xyz!")
    ]
    narrow = AudioFormat(container="WAV", subtype="PCM_16")
    write_audio(read_audio(wide.path), tmp_path / "b.wav", format=narrow)
    without_junk = [chunk for chunk in EXTRAS_BEFORE if chunk[0] != b"JUNK"]
    expected = wav(before=without_junk, after=EXTRAS_AFTER)
    assert (tmp_path / "b.wav").read_bytes() == expected


def test_what_is_left_behind_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    path.write_bytes(wav(before=EXTRAS_BEFORE, after=EXTRAS_AFTER))
    written = write_audio(read_audio(path), tmp_path / "a.flac")
    assert written.notes == ("left behind, FLAC has no place for it: bext, cue, LIST, xyz!",)


def test_over_4_gib_wav_becomes_rf64_and_aiff_is_refused() -> None:
    for container in ("WAV", "WAVEX"):
        format = AudioFormat(container=container, subtype="FLOAT")
        head, data_head, written = headers.make_head(format, 48000, 2, 1 << 30, 0)
        assert written.container == "RF64"
        assert head[:4] == b"RF64"
        assert struct.unpack("<QQQ", head[20:44])[1:] == (1 << 33, 1 << 30)
        assert data_head == b"data\xff\xff\xff\xff"
    with pytest.raises(OutputError, match="4 GiB"):
        headers.make_head(AudioFormat(container="AIFF", subtype="FLOAT"), 48000, 2, 1 << 30, 0)


@pytest.mark.parametrize("format", ["OGG", "MP3"])
def test_a_lossy_file_is_written_as_float_wav_and_said_so(tmp_path: Path, format: str) -> None:
    path = tmp_path / "in.x"
    soundfile.write(path, noise(2, 20000).T, 44100, format=format)
    audio = read_audio(path)
    target = default_format(audio)
    assert (target.container, target.subtype, default_suffix(target)) == ("WAV", "FLOAT", ".wav")
    written = write_audio(audio, tmp_path / "out.wav")
    assert written.format == target
    assert written.proof.is_identical
    assert written.proof.rounding == ""
    assert "compressed with a loss" in written.notes[0]
    np.testing.assert_array_equal(read_audio(written.path).samples, audio.samples)


@pytest.mark.parametrize("suffix", [".ogg", ".mp3", ".m4a", ".opus"])
def test_a_lossy_output_is_refused_with_advice(tmp_path: Path, suffix: str) -> None:
    audio = Audio.from_samples(noise(), 44100)
    with pytest.raises(ConfigError, match=r"\.wav or \.flac"):
        write_audio(audio, tmp_path / f"a{suffix}")
    with pytest.raises(ConfigError, match="without a loss"):
        write_audio(audio, tmp_path / "a", format=AudioFormat(container="OGG", subtype="VORBIS"))
    assert names(tmp_path) == []


def test_the_ending_chooses_the_container_and_keeps_the_kind(tmp_path: Path) -> None:
    audio = read_audio(write_noise(tmp_path / "in.wav", "WAVEX", "PCM_24"))
    for suffix, container in [(".wav", "WAVEX"), (".AIF", "AIFF"), (".flac", "FLAC")]:
        chosen = format_for_path(f"a{suffix}", audio)
        assert (chosen.container, chosen.subtype) == (container, "PCM_24")
    with pytest.raises(ConfigError, match="not known"):
        format_for_path("a.xyz", audio)


@pytest.mark.parametrize(("container", "subtype"), [("CAF", "ALAC_24"), ("AU", "PCM_24")])
def test_exact_formats_that_only_libsndfile_writes_keep_their_kind(
    tmp_path: Path, container: str, subtype: str
) -> None:
    path = tmp_path / "in.x"
    soundfile.write(path, noise(2, 5000).T, 44100, subtype, format=container)
    audio = read_audio(path)
    edited = audio.patched([Patch(start=1000, samples=noise(2, 100, seed=3))])
    written = write_audio(edited, tmp_path / "out.x")
    info = soundfile.info(tmp_path / "out.x")
    assert (info.format, info.subtype) == (container, subtype)
    assert written.proof.is_identical
    assert written.proof.num_outside == 2 * 4900


def test_clipping_is_counted_and_said(tmp_path: Path) -> None:
    audio = read_audio(write_noise(tmp_path / "in.wav"))
    samples = np.zeros((2, 10))
    samples[0, 3], samples[1, 4] = 2.0, -1.5
    edited = audio.patched([Patch(start=5, samples=samples)])
    with pytest.warns(ClippingWarning, match=r"2 samples .* \+6.02 dB"):
        written = write_audio(edited, tmp_path / "out.wav")
    assert written.num_clipped == 2
    again = read_audio(written.path).read(5, 15)
    assert (again[0, 3], again[1, 4]) == (1 - 2.0**-15, -1.0)


def test_a_float_file_keeps_what_goes_over_full_scale(tmp_path: Path) -> None:
    audio = read_audio(write_noise(tmp_path / "in.wav", "WAV", "FLOAT"))
    written = write_audio(
        audio.patched([Patch(start=0, samples=np.full((2, 3), 1.5))]), tmp_path / "out.wav"
    )
    assert written.num_clipped == 0
    assert read_audio(written.path).read(0, 3).tolist() == [[1.5] * 3] * 2


def test_a_fill_of_nan_is_never_written(tmp_path: Path) -> None:
    for subtype in ("PCM_16", "FLOAT"):
        audio = read_audio(write_noise(tmp_path / f"{subtype}.wav", "WAV", subtype))
        edited = audio.patched([Patch(start=7, samples=np.full((2, 3), np.nan))])
        with pytest.raises(OutputError, match="not finite"):
            write_audio(edited, tmp_path / "out.wav")
    assert "out.wav" not in names(tmp_path)


def test_nan_elsewhere_in_the_file_survives_an_edit(tmp_path: Path) -> None:
    samples = noise(2, 100).astype("<f4")
    samples[0, 50] = np.nan
    path = tmp_path / "in.wav"
    path.write_bytes(wav(samples.T.tobytes(), bits=32, tag=3))
    edited = read_audio(path).patched([Patch(start=0, samples=np.zeros((2, 10)))])
    assert write_audio(edited, tmp_path / "out.wav").proof.is_identical
    content = read_audio(tmp_path / "out.wav", allow_nonfinite=True).samples
    np.testing.assert_array_equal(content[:, 10:], samples[:, 10:])


def test_the_output_may_be_the_input_and_the_source_stays_what_it_was(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "in.wav")
    audio = read_audio(path)
    before = audio.samples
    edited = audio.patched([Patch(start=0, samples=np.zeros((2, 10)))])
    with pytest.raises(OutputError, match="exists"):
        write_audio(edited, path)
    np.testing.assert_array_equal(read_audio(path).samples, before)
    write_audio(edited, path, overwrite=True)
    np.testing.assert_array_equal(audio.samples, before)
    assert not read_audio(path).read(0, 10).any()
    assert names(tmp_path) == ["in.wav"]


def test_the_same_audio_gives_the_same_bytes(tmp_path: Path) -> None:
    audio = Audio.from_samples(noise(), 44100)
    for suffix in (".wav", ".aiff", ".caf", ".w64", ".rf64", ".flac"):
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_audio(audio, tmp_path / folder / f"x{suffix}")
        one, other = tmp_path / "a" / f"x{suffix}", tmp_path / "b" / f"x{suffix}"
        assert one.read_bytes() == other.read_bytes()


def test_a_wrong_copy_is_found_and_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in.wav"
    path.write_bytes(wav(before=EXTRAS_BEFORE))
    audio = read_audio(path)
    honest = copying.copy_range
    for place, said in [(len(path.read_bytes()) - 300, "2 differ, the first at sample 25"),
                        (60, "outside the samples, at byte 60")]:  # fmt: skip

        def damaged(source, offset, num_bytes, target, place=place):  # type: ignore[no-untyped-def]
            honest(source, offset, num_bytes, target)
            os.pwrite(target.fileno(), b"\x55\x55\x55\x55", place)

        monkeypatch.setattr(write, "copy_range", damaged)
        with pytest.raises(OutputError, match=said):
            write_audio(audio, tmp_path / "out.wav")
    assert names(tmp_path) == ["in.wav"]


def test_a_wrong_encoder_is_found_and_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weft.audio import transcode

    audio = read_audio(write_noise(tmp_path / "in.wav"))
    honest = transcode._integer_blocks

    def damaged(audio, target, clipping):  # type: ignore[no-untyped-def]
        for block in honest(audio, target, clipping):
            block[123, 1] ^= 1 << 20
            yield block

    monkeypatch.setattr(transcode, "_integer_blocks", damaged)
    with pytest.raises(OutputError, match="1 differ, the first at sample 123"):
        write_audio(audio, tmp_path / "out.flac")
    assert names(tmp_path) == ["in.wav"]


@pytest.mark.parametrize("suffix", [".wav", ".aiff"])
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    audio = read_audio(write_noise(tmp_path / "in.wav"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for module in ("write", "transcode"):
        monkeypatch.setattr(f"weft.audio.{module}.copy_range", full)
    monkeypatch.setattr("weft.audio.transcode.write_all", full)
    with pytest.raises(OutputError, match="disk is full") as caught:
        write_audio(audio, tmp_path / f"out{suffix}")
    assert caught.value.exit_status == 4
    assert names(tmp_path) == ["in.wav"]


LIMITED = """
import resource, sys
from weft.audio.read import read_audio
from weft.audio.write import write_audio
from weft.errors import OutputError
audio = read_audio(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    write_audio(audio, sys.argv[2])
except OutputError as error:
    sys.exit(error.exit_status)
"""


@pytest.mark.parametrize("suffix", [".wav", ".caf", ".flac"])
def test_a_real_limit_of_the_system_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    path = write_noise(tmp_path / "in.wav", num_samples=60000)
    arguments = [sys.executable, "-c", LIMITED, str(path), str(tmp_path / f"out{suffix}")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert names(tmp_path) == ["in.wav"]


KILLED = """
import sys, time
from weft.audio import write
from weft.audio.read import read_audio
def stopped(*_):
    print("here", flush=True)
    time.sleep(60)
setattr(write, sys.argv[3], stopped)
write.write_audio(read_audio(sys.argv[1]), sys.argv[2], overwrite=True)
"""


@pytest.mark.parametrize("place", ["copy_range", "edited_samples", "prove_copy"])
def test_kill_9_leaves_the_old_file_whole(tmp_path: Path, place: str) -> None:
    path = write_noise(tmp_path / "in.wav")
    before = path.read_bytes()
    for target in (path, tmp_path / "new.wav"):
        arguments = [sys.executable, "-c", KILLED, str(path), str(target), place]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"here\n"
            process.send_signal(signal.SIGKILL)
        assert path.read_bytes() == before
        assert not (tmp_path / "new.wav").exists()
        assert all(name == "in.wav" or name.startswith(".weft-") for name in names(tmp_path))


def test_edited_ranges_are_merged_and_later_patches_win() -> None:
    audio = Audio.from_samples(np.zeros((1, 100)), 8000).patched(
        [
            Patch(start=50, samples=np.full((1, 10), 3.0)),
            Patch(start=10, samples=np.full((1, 10), 1.0)),
            Patch(start=15, samples=np.full((1, 10), 2.0)),
            Patch(start=70, samples=np.zeros((1, 0))),
        ]
    )
    assert edited_ranges(audio) == [(10, 25), (50, 60)]
    for start, samples in edited_samples(audio):
        np.testing.assert_array_equal(samples, audio.read(start, start + samples.shape[1]))


def test_a_proof_counts_every_channel_and_says_where() -> None:
    found = proof.Proof(num_outside=10, num_identical=8, first_difference=3)
    assert not found.is_identical
    assert str(found) == ("10 samples outside the edited regions: 2 differ, the first at sample 3")
