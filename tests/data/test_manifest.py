import numpy as np
import pytest
import soundfile

from weft.data.corpora import DATA_VARIABLE, find_corpus, open_entry
from weft.data.manifest import attribution, check_files, read_manifest, write_manifest
from weft.errors import AudioFormatError, ConfigError, OutputError


def write_csv(folder, text, encoding="utf-8"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.csv").write_bytes(text.encode(encoding))
    return folder


def write_tone(path, rate=8000, channels=1, peak=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = peak * np.sin(np.arange(rate // 4) * 0.1)
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate, subtype="FLOAT")


def test_columns_become_fields_and_unknown_columns_are_kept(tmp_path):
    write_csv(
        tmp_path,
        "file,author,title,licence,split,duration_s,source_repo,source_path,key\n"
        'a/b.wav,Ann,"One, two",CC-BY-4.0,test,1.5,x/y,z.ogg,C\n',
    )
    (entry,) = read_manifest(tmp_path).entries
    assert entry.path == tmp_path / "a" / "b.wav"
    assert (entry.author, entry.title, entry.split) == ("Ann", "One, two", "test")
    assert (entry.duration_s, entry.source, entry.extra["key"]) == (1.5, "x/y/z.ogg", "C")


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    write_csv(tmp_path, "file,split\r\na.wav,test\r\n", "utf-8-sig")
    (entry,) = read_manifest(tmp_path).entries
    assert (entry.file, entry.split) == ("a.wav", "test")


@pytest.mark.parametrize("file", ["../a.wav", "/etc/passwd", "a/../../b.wav", ""])
def test_a_file_outside_the_folder_is_refused(tmp_path, file):
    write_csv(tmp_path, f"file,split\n{file},test\n")
    with pytest.raises(AudioFormatError, match="line 2"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,split\na.wav,test\n", "no column 'file'"),
        ("file\na.wav\na.wav\n", "listed twice"),
        ("file,duration_s\na.wav,long\n", "duration_s must be"),
        ("file,duration_s\na.wav,-1\n", "duration_s must be"),
        ("file,duration_s\na.wav,inf\n", "duration_s must be"),
    ],
)
def test_a_broken_manifest_says_what_is_wrong(tmp_path, text, message):
    write_csv(tmp_path, text)
    with pytest.raises(AudioFormatError, match=message):
        read_manifest(tmp_path)


def test_a_manifest_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "manifest.csv").write_bytes(b"file\n\xff\xfe\x00.wav\n")
    with pytest.raises(AudioFormatError, match="cannot read"):
        read_manifest(tmp_path)


def test_a_folder_without_manifest_lists_its_audio_files_in_order(tmp_path):
    for name in ("b.wav", "sub/a.flac", "notes.txt", ".hidden.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [e.file for e in read_manifest(tmp_path).entries] == ["b.wav", "sub/a.flac"]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no files"):
        read_manifest(tmp_path)


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path):
    write_csv(tmp_path, "file,split\na.wav,train\nb.wav,valid\n")
    manifest = read_manifest(tmp_path)
    assert [e.file for e in manifest.select("valid")] == ["b.wav"]
    assert len(manifest.select(None)) == 2
    with pytest.raises(ConfigError, match="train, valid"):
        manifest.select("test")


def test_a_corpus_without_splits_gives_all_files_for_any_split(tmp_path):
    write_tone(tmp_path / "a.wav")
    assert len(read_manifest(tmp_path).select("test")) == 1


def test_missing_files_are_counted_and_the_first_is_named(tmp_path):
    write_csv(tmp_path, "file\na.wav\nb.wav\nc.wav\n")
    write_tone(tmp_path / "a.wav")
    with pytest.raises(AudioFormatError, match=r"2 of 3 .*b\.wav"):
        check_files(read_manifest(tmp_path).entries)


def test_what_is_written_is_read_back(tmp_path):
    rows = [{"file": "a.wav", "title": 'quo"ted, é', "split": "test", "key": "x"}]
    write_manifest(tmp_path, rows)
    (entry,) = read_manifest(tmp_path).entries
    assert (entry.title, entry.split, entry.extra["key"]) == ('quo"ted, é', "test", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.csv"]


def test_a_manifest_in_a_folder_that_is_not_there_is_an_output_error(tmp_path):
    with pytest.raises(OutputError):
        write_manifest(tmp_path / "none", [{"file": "a.wav"}])


def test_credits_name_cc_by_items_once_and_count_the_others(tmp_path):
    write_csv(
        tmp_path,
        "file,author,title,licence,source_repo\n"
        "a.ogg,Ann,Song,CC-BY-3.0,x/y\na2.ogg,Ann,Song,CC-BY-3.0,x/y\n"
        "b.ogg,Bob,Tune,CC0-1.0,\nc.ogg,,,CC-BY-SA-4.0,\n",
    )
    text = attribution([read_manifest(tmp_path)])
    assert text.count("Song by Ann, CC-BY-3.0, from x/y (excerpt, re-encoded)") == 1
    assert "c.ogg by unknown author, CC-BY-SA-4.0" in text
    assert "1 items: CC0-1.0" in text
    assert "Bob" not in text


def test_corpora_are_found_by_folder_by_name_and_by_both(tmp_path, monkeypatch):
    write_tone(tmp_path / "piano_rendered" / "a.wav")
    folder = str(tmp_path / "piano_rendered")
    assert find_corpus(folder).name == "piano_rendered"
    assert find_corpus(f"grand={folder}").name == "grand"
    assert find_corpus("piano", root=tmp_path).name == "piano"
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert find_corpus("piano").root == tmp_path / "piano_rendered"


def test_a_name_without_a_root_says_how_to_give_one(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=DATA_VARIABLE):
        find_corpus("music")


@pytest.mark.parametrize("corpus", ["nosuch", "", "x=/no/such/folder"])
def test_a_corpus_that_is_not_there_is_refused(corpus, tmp_path):
    with pytest.raises(ConfigError):
        find_corpus(corpus, root=tmp_path)


def test_a_piano_that_was_not_rendered_says_how(tmp_path):
    with pytest.raises(ConfigError, match="render-piano"):
        find_corpus("piano", root=tmp_path)


def test_opening_resamples_mixes_and_keeps_the_level(tmp_path):
    write_tone(tmp_path / "a.wav", channels=2)
    (entry,) = read_manifest(tmp_path).entries
    audio = open_entry(entry, sample_rate=16000, is_mono=True)
    assert (audio.sample_rate, audio.num_channels, audio.num_samples) == (16000, 1, 4000)
    assert np.abs(audio.samples[:, 500:-500]).max() == pytest.approx(0.5, rel=0.01)
    assert open_entry(entry).sample_rate == 8000


def test_a_recording_over_full_scale_is_divided_by_its_peak(tmp_path):
    write_tone(tmp_path / "a.wav", peak=2.0)
    (entry,) = read_manifest(tmp_path).entries
    assert np.abs(open_entry(entry, is_mono=True).samples).max() == pytest.approx(1.0)
