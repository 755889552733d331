import numpy as np
import pytest
import soundfile

from weft.data import rendering
from weft.data.manifest import read_manifest, write_manifest
from weft.data.piano import Instrument, Note, peak_gain, read_midi, render, without_lead
from weft.data.rendering import RenderConfig, render_folder
from weft.errors import AudioFormatError, ConfigError, MissingDependencyError

mido = pytest.importorskip("mido")

RATE = 44100
KEY, HIGH = 60, 90
TONE_HZ = 441.0


@pytest.fixture
def samples(tmp_path):
    """Two keys: a 2 s steady tone in layers 6 and 12, and a 1 s tone above the dampers."""
    folder = tmp_path / "samples"
    folder.mkdir()
    for key, name, hz, seconds in ((KEY, "C4", TONE_HZ, 2), (HIGH, "Fs6", 2205.0, 1)):
        for layer, level in ((6, 0.05), (12, 0.2)):
            tone = level * np.sin(2 * np.pi * hz * np.arange(seconds * RATE) / RATE)
            path = folder / f"{key:03d}_{name}_v{layer:02d}.wav"
            soundfile.write(path, np.stack([tone, tone], axis=1), RATE, subtype="FLOAT")
    return folder


def note(start_s=0.0, stop_s=1.0, pitch=KEY, velocity=92):
    return Note(start_s=start_s, stop_s=stop_s, pitch=pitch, velocity=velocity)


def midi_file(path, messages):
    """Write (seconds from the last, message) at 1000 ticks a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = mido.MidiFile(ticks_per_beat=500)
    track = mido.MidiTrack()
    file.tracks.append(track)
    for delta_s, message in messages:
        track.append(message.copy(time=round(1000 * delta_s)))
    file.save(path)
    return path


def on(pitch=KEY, velocity=92, channel=0):
    return mido.Message("note_on", note=pitch, velocity=velocity, channel=channel)


def off(pitch=KEY):
    return mido.Message("note_off", note=pitch)


def pedal(value, channel=0):
    return mido.Message("control_change", control=64, value=value, channel=channel)


def times(path):
    return [(n.pitch, round(n.start_s, 3), round(n.stop_s, 3)) for n in read_midi(path)]


def test_a_note_ends_when_its_key_is_released(tmp_path):
    path = midi_file(tmp_path / "a.mid", [(0.5, on()), (0.25, off()), (1, on(62)), (1, off(62))])
    assert times(path) == [(60, 0.5, 0.75), (62, 1.75, 2.75)]


def test_the_pedal_holds_until_it_is_released(tmp_path):
    messages = [
        (0, pedal(127)),
        (0, on()),
        (0.25, off()),
        (1.0, pedal(63)),
        (1.0, on()),
        (1, off()),
    ]
    path = midi_file(tmp_path / "a.mid", messages)
    assert times(path) == [(60, 0, 1.25), (60, 2.25, 3.25)]


@pytest.mark.parametrize(("value", "stop"), [(63, 0.25), (64, 2.25)])
def test_the_pedal_is_down_from_64_on(tmp_path, value, stop):
    path = midi_file(
        tmp_path / "a.mid", [(0, pedal(value)), (0, on()), (0.25, off()), (2, pedal(0))]
    )
    assert times(path) == [(60, 0, stop)]


def test_releasing_the_pedal_leaves_held_keys_alone(tmp_path):
    path = midi_file(tmp_path / "a.mid", [(0, pedal(100)), (0, on()), (1, pedal(0)), (1, off())])
    assert times(path) == [(60, 0, 2)]


def test_a_key_struck_again_damps_what_it_sounded(tmp_path):
    path = midi_file(tmp_path / "a.mid", [(0, pedal(100)), (0, on()), (1, on()), (1, off())])
    assert times(path) == [(60, 0, 1), (60, 1, 2)]


def test_note_on_with_velocity_zero_releases(tmp_path):
    path = midi_file(
        tmp_path / "a.mid", [(0, on()), (0.5, on(velocity=0)), (1, on(61)), (1, off(61))]
    )
    assert times(path)[0] == (60, 0, 0.5)


def test_percussion_is_ignored(tmp_path):
    path = midi_file(tmp_path / "a.mid", [(0, on(channel=9)), (0, on()), (1, off())])
    assert times(path) == [(60, 0, 1)]


@pytest.mark.parametrize("content", [b"", b"not midi at all", b"MThd\x00\x00\x00\x06\x00"])
def test_what_is_not_midi_is_refused(tmp_path, content):
    (tmp_path / "a.mid").write_bytes(content)
    with pytest.raises(AudioFormatError, match=r"a\.mid"):
        read_midi(tmp_path / "a.mid")


def test_a_truncated_midi_file_is_refused(tmp_path):
    path = midi_file(tmp_path / "a.mid", [(0, on()), (1, off())])
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(AudioFormatError):
        read_midi(path)


def test_midi_without_a_note_is_refused(tmp_path):
    path = midi_file(tmp_path / "a.mid", [(1, pedal(0))])
    with pytest.raises(AudioFormatError, match="no note"):
        read_midi(path)


def test_midi_of_days_is_refused(tmp_path):
    path = midi_file(tmp_path / "a.mid", [(0, on()), (200000, off())])
    with pytest.raises(AudioFormatError, match="longer than"):
        read_midi(path)


def test_without_mido_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mido", None)
    with pytest.raises(MissingDependencyError, match=r"weft\[data\]"):
        read_midi(tmp_path / "a.mid")


def peak_hz(samples):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.argmax(spectrum) * RATE / len(samples)


@pytest.mark.parametrize("pitch", [59, 60, 61, 72])
def test_pitch_follows_the_key_by_equal_temperament(samples, pitch):
    mix = render([note(stop_s=0.9, pitch=pitch)], Instrument(samples))
    assert peak_hz(mix[: RATE // 2, 0]) == pytest.approx(TONE_HZ * 2 ** ((pitch - 60) / 12), abs=3)


def test_gain_follows_the_velocity_within_a_layer(samples):
    instrument = Instrument(samples)
    soft, loud = (
        np.abs(render([note(velocity=v, stop_s=0.5)], instrument)[: RATE // 4]).max()
        for v in (80, 110)
    )
    assert loud / soft == pytest.approx((110 / 80) ** 1.3, rel=1e-4)
    assert loud == pytest.approx(0.2 * (110 / 92) ** 1.3, rel=1e-3)


def test_the_nearest_layer_is_played(samples):
    mix = render([note(velocity=44, stop_s=0.5)], Instrument(samples))
    assert np.abs(mix[: RATE // 4]).max() == pytest.approx(0.05, rel=1e-3)


def test_the_damper_fades_in_180_ms(samples):
    mix = render([note(stop_s=0.5)], Instrument(samples))
    assert len(mix) == RATE // 2 + round(0.18 * RATE)
    middle = RATE // 2 + round(0.09 * RATE)
    around = np.abs(mix[middle - 100 : middle + 100, 0]).max()
    assert around == pytest.approx(0.1, rel=0.05)  # half way down
    assert abs(mix[-1, 0]) < 1e-4


def test_the_highest_keys_have_no_damper(samples):
    mix = render([note(stop_s=0.1, pitch=HIGH)], Instrument(samples))
    assert len(mix) == RATE
    assert np.abs(mix[RATE // 2 : RATE // 2 + 1000]).max() == pytest.approx(0.2, rel=0.01)


def test_the_cut_end_of_a_sample_is_faded(samples):
    mix = render([note(stop_s=60.0)], Instrument(samples))
    level = np.abs(mix[:, 0])
    assert level[round(1.55 * RATE) : round(1.6 * RATE)].max() == pytest.approx(0.2, rel=0.01)
    assert level[round(1.79 * RATE) : round(1.81 * RATE)].max() == pytest.approx(0.1, rel=0.1)
    assert len(mix) == 2 * RATE
    assert level[-20:].max() < 1e-4


def test_notes_add(samples):
    instrument = Instrument(samples)
    first, second = note(stop_s=0.3), note(start_s=0.1, stop_s=0.5, pitch=62)
    both = render([first, second], instrument)
    apart = [render([n], instrument) for n in (first, second)]
    total = np.zeros_like(both)
    for part in apart:
        total[: len(part)] += part
    np.testing.assert_allclose(both, total, atol=1e-6)


def test_silence_before_the_first_note_is_cut_to_half_a_second():
    late = [note(start_s=180.0, stop_s=181.0), note(start_s=182.0, stop_s=183.0)]
    assert [(n.start_s, n.stop_s) for n in without_lead(late)] == [(0.5, 1.5), (2.5, 3.5)]
    early = (note(start_s=0.2),)
    assert without_lead(early) == early


def test_a_folder_without_notes_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="060_C4_v12"):
        Instrument(tmp_path)


def test_a_silent_work_has_no_gain():
    with pytest.raises(AudioFormatError, match="silent"):
        peak_gain(np.zeros((10, 2), np.float32), -3.0)


@pytest.fixture
def midi(tmp_path):
    folder = tmp_path / "midi"
    rows = []
    for i, split in enumerate(["train", "test", "test"]):
        midi_file(folder / "set" / f"work{i}.mid", [(0, on(60 + i)), (0.2, off(60 + i))])
        rows.append(
            {
                "file": f"set/work{i}.mid",
                "author": "Ann",
                "licence": "CC-BY-4.0",
                "title": f"W{i}",
                "split": split,
            }
        )
    write_manifest(folder, rows)
    return folder


def test_a_folder_becomes_a_corpus_with_splits_and_licences(tmp_path, samples, midi):
    write_manifest(
        samples,
        [{"file": p.name, "author": "Alex", "licence": "CC-BY-3.0"} for p in samples.glob("*.wav")],
    )
    works = render_folder(midi, samples, tmp_path / "out", split="test")
    corpus = read_manifest(tmp_path / "out")
    assert [e.file for e in corpus.entries] == ["work1.flac", "work2.flac"]
    assert {e.split for e in corpus.entries} == {"test"}
    assert {e.licence for e in corpus.entries} == {"CC-BY-4.0 AND CC-BY-3.0"}
    assert "Alex" in (tmp_path / "out" / "ATTRIBUTION").read_text()
    assert [w.was_done for w in works] == [False, False]
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(
    ("bits", "container"), [(16, "flac"), (24, "flac"), (16, "wav"), (24, "wav")]
)
def test_the_peak_of_each_work_has_the_wanted_level(tmp_path, samples, midi, bits, container):
    config = RenderConfig(bits=bits, container=container, peak_db=-6.0)
    render_folder(midi, samples, tmp_path / "out", limit=1, config=config)
    path = tmp_path / "out" / f"work0.{container}"
    info, (data, rate) = soundfile.info(path), soundfile.read(path, always_2d=True)
    assert (info.subtype, rate, data.shape[1]) == (f"PCM_{bits}", RATE, 2)
    assert 20 * np.log10(np.abs(data).max()) == pytest.approx(-6, abs=0.01)


def test_the_same_input_gives_the_same_bytes(tmp_path, samples, midi):
    for out in ("a", "b"):
        render_folder(midi, samples, tmp_path / out, limit=1)
    a, b = (tmp_path / out / "work0.flac" for out in ("a", "b"))
    assert a.read_bytes() == b.read_bytes()


def test_finished_works_are_skipped_and_changed_or_lost_ones_made_again(
    tmp_path, samples, midi, monkeypatch
):
    out = tmp_path / "out"
    render_folder(midi, samples, out)
    made = []
    original = rendering.render
    monkeypatch.setattr(rendering, "render", lambda *a: made.append(1) or original(*a))
    works = render_folder(midi, samples, out)
    assert not made
    assert [w.was_done for w in works] == [True] * 3
    (out / "work0.flac").unlink()
    midi_file(midi / "set" / "work1.mid", [(0, on(70)), (0.2, off(70))])
    works = render_folder(midi, samples, out)
    assert len(made) == 2
    assert [w.was_done for w in works] == [False, False, True]


def test_a_broken_work_stops_the_run_but_keeps_what_is_done(tmp_path, samples, midi):
    (midi / "set" / "work2.mid").write_bytes(b"broken")
    with pytest.raises(AudioFormatError, match="work2"):
        render_folder(midi, samples, tmp_path / "out")
    assert [e.file for e in read_manifest(tmp_path / "out").entries] == ["work0.flac", "work1.flac"]


def test_another_split_is_added_to_the_same_corpus(tmp_path, samples, midi):
    for split in ("test", "train"):
        render_folder(midi, samples, tmp_path / "out", split=split)
    assert read_manifest(tmp_path / "out").splits == ("test", "train")


def test_two_processes_give_the_same_corpus_as_one(tmp_path, samples, midi):
    render_folder(midi, samples, tmp_path / "one")
    render_folder(midi, samples, tmp_path / "two", num_jobs=2)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize("bad", [{"bits": 8}, {"container": "mp3"}, {"peak_db": 1.0}])
def test_a_setting_outside_its_range_is_refused(bad):
    with pytest.raises(Exception, match=r"bits|container|peak_db"):
        RenderConfig(**bad)
