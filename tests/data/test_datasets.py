import csv
import json

import numpy as np
import pytest
import soundfile

from weft.cli.main import main
from weft.data.corpora import DATA_VARIABLE, find_corpus, open_entry
from weft.data.datasets import DATASETS, captions, detect_dataset, read_dataset
from weft.data.layouts import VCTK_TEST_SPEAKERS
from weft.data.manifest import attribution
from weft.data.tables import spdx
from weft.errors import AudioFormatError, ConfigError


def sound(path, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.3 * np.sin(np.arange(400) * 0.1)
    soundfile.write(path, tone, rate)


def table(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows(lines)


MUSICNET = ("id", "composer", "composition", "movement", "ensemble", "source", "seconds")


def musicnet(root):
    for file in ("train_data/1727.wav", "train_data/203.wav", "test_data/1759.wav"):
        sound(root / file)
    (root / "train_labels").mkdir()
    table(
        root / "musicnet_metadata.csv",
        MUSICNET,
        ("1727", "Schubert", "Piano Quintet in A major", "2. Andante", "Piano Quintet", "A", "447"),
        ("203", "Bach", "Fugue", "", "Solo Piano", "B", "90.5"),
        ("1759", "Schubert", "Sonata", "1. Allegro", "Solo Piano", "C", "60"),
    )


MAESTRO = (
    "canonical_composer",
    "canonical_title",
    "split",
    "year",
    "midi_filename",
    "audio_filename",
    "duration",
)
MAESTRO_ROWS = (
    ("Alban Berg", "Sonata, Op. 1", "train", "2018", "2018/a.midi", "2018/a.wav", "698.66"),
    ("J. S. Bach", "Fugue", "validation", "2004", "2004/b.midi", "2004/b.wav", "10"),
    ("J. S. Bach", "Prelude", "test", "2004", "2004/c.midi", "2004/c.wav", "20"),
)


def maestro(root):
    for row in MAESTRO_ROWS:
        sound(root / row[5])
    table(root / "maestro-v3.0.0.csv", MAESTRO, *MAESTRO_ROWS)


FMA_GROUPS = ("", "album", "artist", "artist", "artist", "set", "set", *["track"] * 4)
FMA_COLUMNS = (
    *("", "title", "bio", "id", "name", "split", "subset"),
    *("duration", "genre_top", "license", "title"),
)
FMA_ROWS = (
    (
        "2",
        "X",
        "p\n" * 9,
        "1",
        "AWOL",
        "training",
        "small",
        "168",
        "Hip-Hop",
        "Attribution",
        "Food",
    ),
    ("140", "X", "", "54", "Alec", "test", "medium", "9", "Folk", "CC0 1.0 Universal", "Queen"),
    ("14099", "Y", "", "9", "Ann", "validation", "small", "7", "", "Other", "Night"),
    ("155000", "Y", "", "9", "Ann", "training", "large", "5", "", "Other", "Day"),
)
FMA_FILES = {
    "small": ("000/000002", "014/014099"),
    "medium": ("000/000002", "000/000140", "014/014099"),
    "full": ("000/000002", "000/000140", "014/014099", "155/155000"),
}


def fma(root, *subsets):
    for subset in subsets or ("small",):
        for file in FMA_FILES[subset]:
            path = root / f"fma_{subset}" / f"{file}.mp3"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")  # only looked for, never opened
    header = ("track_id", *[""] * 10)
    table(root / "fma_metadata" / "tracks.csv", FMA_GROUPS, FMA_COLUMNS, header, *FMA_ROWS)


AUDIOCAPS = ("audiocap_id", "youtube_id", "start_time", "caption")


def audiocaps(root):
    table(
        root / "train.csv",
        AUDIOCAPS,
        ("91139", "r1nicOVtvkQ", "130", "A woman talks nearby, as water pours"),
        ("58146", "-UDGBjjwyaQ", "20", "Clanging"),
        ("1", "vanished000", "20", "Gone"),
    )
    table(
        root / "test.csv",
        AUDIOCAPS,
        *[(str(n), "7fmOlUlwoNg", "20", f"Text {n}") for n in range(5)],
        *[(str(n), "goneAgain00", "20", f"Text {n}") for n in range(5)],
    )
    for file in ("train/Yr1nicOVtvkQ.wav", "train/-UDGBjjwyaQ_20.flac", "test/7fmOlUlwoNg.wav"):
        sound(root / file)


def vctk(root):
    for speaker in ("p225", "p315", "p360", "s5"):
        for number in ("002", "001"):
            for mic in (1, 2):
                name = f"{speaker}_{number}_mic{mic}.flac"
                sound(root / "wav48_silence_trimmed" / speaker / name)
            if speaker != "p315":
                text = root / "txt" / speaker / f"{speaker}_{number}.txt"
                text.parent.mkdir(parents=True, exist_ok=True)
                text.write_text(f"Please call {speaker} {number}.\n")


ESC50 = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
ESC50_ROWS = (
    ("1-100032-A-0.wav", "1", "0", "dog", "True", "100032", "A"),
    ("4-5-B-7.wav", "4", "7", "rooster", "False", "5", "B"),
    ("5-9-C-9.wav", "5", "9", "church_bells", "False", "9", "C"),
)


def esc50(root):
    for row in ESC50_ROWS:
        sound(root / "audio" / row[0])
    table(root / "meta" / "esc50.csv", ESC50, *ESC50_ROWS)
    (root / "LICENSE").write_text(
        "# ESC-50\n- [1-100032-A.ogg]: clip derived from rose (1).wav "
        "(http://www.freesound.org/people/nfrae/sounds/100032/) by nfrae [CC0]\n"
    )


MAKE = {
    "musicnet": musicnet,
    "maestro": maestro,
    "fma": fma,
    "audiocaps": audiocaps,
    "vctk": vctk,
    "esc50": esc50,
}


def made(root, dataset):
    root.mkdir(parents=True, exist_ok=True)
    MAKE[dataset](root)
    return root


def listed(manifest, *fields):
    return [tuple(getattr(entry, field) for field in fields) for entry in manifest.entries]


def test_every_dataset_is_tested():
    assert set(MAKE) == set(DATASETS)


@pytest.mark.parametrize("dataset", MAKE)
def test_a_folder_tells_which_dataset_it_is(tmp_path, dataset):
    folder = made(tmp_path / "x", dataset)
    assert detect_dataset(folder) == dataset
    manifest = read_dataset(folder)
    assert (manifest.name, manifest.root) == (dataset, folder)
    assert all(entry.path == folder / entry.file for entry in manifest.entries)
    assert all(entry.path.is_file() for entry in manifest.entries)
    assert set(manifest.splits) <= {"train", "valid", "test"}
    assert "train" in manifest.splits
    assert read_dataset(folder) == manifest


@pytest.mark.parametrize("dataset", MAKE)
def test_a_folder_around_a_dataset_counts_too(tmp_path, dataset):
    folder = made(tmp_path / "x" / "inner", dataset)
    assert detect_dataset(tmp_path / "x") == dataset
    assert read_dataset(tmp_path / "x").root == folder


@pytest.mark.parametrize("dataset", MAKE)
def test_find_corpus_knows_datasets_by_folder_and_by_name(tmp_path, monkeypatch, dataset):
    usual = DATASETS[dataset].folders[-1]
    folder = made(tmp_path / usual, dataset)
    expected = listed(read_dataset(folder), "file", "split")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    for text, name in (
        (dataset, dataset),
        (str(folder), dataset),
        (f"mine={folder}", "mine"),
        (f"{dataset}={folder}", dataset),
    ):
        manifest = find_corpus(text)
        assert manifest.name == name
        assert listed(manifest, "file", "split") == expected


@pytest.mark.parametrize("dataset", MAKE)
def test_a_folder_of_another_layout_is_refused_with_what_was_looked_for(tmp_path, dataset):
    sound(tmp_path / "song.wav")
    for read in (
        lambda: read_dataset(tmp_path, dataset=dataset),
        lambda: find_corpus(f"{dataset}={tmp_path}"),
    ):
        with pytest.raises(ConfigError, match=r"looked for .*; it holds song\.wav") as caught:
            read()
        assert DATASETS[dataset].looked_for in str(caught.value)
    assert detect_dataset(tmp_path) is None
    assert find_corpus(str(tmp_path)).entries[0].file == "song.wav"


def test_a_manifest_goes_before_a_layout(tmp_path):
    made(tmp_path, "esc50")
    table(tmp_path / "manifest.csv", ("file", "split"), ("audio/5-9-C-9.wav", "train"))
    assert detect_dataset(tmp_path) is None
    assert listed(find_corpus(f"esc50={tmp_path}"), "file", "split") == [
        ("audio/5-9-C-9.wav", "train")
    ]


def test_two_datasets_in_a_folder_are_not_one(tmp_path):
    made(tmp_path / "a", "esc50")
    made(tmp_path / "b", "maestro")
    assert detect_dataset(tmp_path) is None
    assert read_dataset(tmp_path, dataset="maestro").root == tmp_path / "b"


def test_what_is_no_folder_or_no_dataset_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no dataset 'x'; datasets are musicnet"):
        read_dataset(tmp_path, dataset="x")
    with pytest.raises(ConfigError, match="it holds nothing"):
        read_dataset(tmp_path)


def test_entries_open_as_sound(tmp_path):
    entry = read_dataset(made(tmp_path, "vctk")).entries[0]
    assert open_entry(entry, sample_rate=4000).num_samples == 200


def test_the_command_line_lists_a_dataset(tmp_path, capsys):
    folder = made(tmp_path / "x", "audiocaps")
    assert main(["data", "list", str(folder), "--json"]) == 0
    (corpus,) = json.loads(capsys.readouterr().out)["corpora"]
    assert (corpus["name"], corpus["num_files"], corpus["num_missing"]) == ("audiocaps", 3, 2)
    assert corpus["splits"] == {"train": 2, "test": 1}
    assert main(["data", "list", str(folder)]) == 0
    assert "3 (2 missing)" in capsys.readouterr().out
    assert main(["data", "list", f"maestro={folder}"]) == 2
    assert "maestro-v*.csv" in capsys.readouterr().err


def test_musicnet_is_sorted_by_number_and_split_by_folder(tmp_path):
    manifest = read_dataset(made(tmp_path, "musicnet"))
    assert listed(manifest, "file", "split", "author", "title", "label", "duration_s") == [
        ("train_data/203.wav", "train", "Bach", "Fugue", "Solo Piano", 90.5),
        (
            "train_data/1727.wav",
            "train",
            "Schubert",
            "Piano Quintet in A major, 2. Andante",
            "Piano Quintet",
            447.0,
        ),
        ("test_data/1759.wav", "test", "Schubert", "Sonata, 1. Allegro", "Solo Piano", 60.0),
    ]
    assert {entry.licence for entry in manifest.entries} == {"CC-BY-4.0"}
    assert manifest.entries[1].extra["source"] == "A"


def test_musicnet_finds_its_metadata_above_its_folder(tmp_path):
    folder = made(tmp_path / "musicnet", "musicnet")
    (folder / "musicnet_metadata.csv").rename(tmp_path / "musicnet_metadata.csv")
    assert len(read_dataset(tmp_path).entries) == 3
    (tmp_path / "musicnet_metadata.csv").unlink()
    with pytest.raises(ConfigError, match=r"no musicnet_metadata\.csv in .* or above it"):
        read_dataset(tmp_path)


def test_musicnet_and_its_metadata_must_agree(tmp_path):
    made(tmp_path, "musicnet")
    (tmp_path / "test_data" / "1759.wav").rename(tmp_path / "test_data" / "5.wav")
    with pytest.raises(AudioFormatError, match=r"does not know 1 recordings.*5\.wav"):
        read_dataset(tmp_path)
    (tmp_path / "test_data" / "5.wav").unlink()
    with pytest.raises(AudioFormatError, match=r"1 of 3 files .* missing.*1759\.wav"):
        read_dataset(tmp_path)
    table(tmp_path / "musicnet_metadata.csv", MUSICNET, ("../x", "a", "b", "c", "d", "e", "1"))
    with pytest.raises(AudioFormatError, match="line 2: the id must be a number"):
        read_dataset(tmp_path)


def test_maestro_has_the_authors_splits(tmp_path):
    manifest = read_dataset(made(tmp_path, "maestro"))
    assert listed(manifest, "file", "split", "author", "title", "duration_s") == [
        ("2018/a.wav", "train", "Alban Berg", "Sonata, Op. 1", 698.66),
        ("2004/b.wav", "valid", "J. S. Bach", "Fugue", 10.0),
        ("2004/c.wav", "test", "J. S. Bach", "Prelude", 20.0),
    ]
    assert manifest.entries[0].licence == "CC-BY-NC-SA-4.0"
    assert manifest.entries[0].extra["midi_filename"] == "2018/a.midi"


def test_a_table_without_rows_is_refused(tmp_path):
    table(tmp_path / "maestro-v3.0.0.csv", MAESTRO)
    with pytest.raises(AudioFormatError, match="it names no file"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("by_column", [True, False])
def test_maestro_is_read_from_json_where_there_is_no_csv(tmp_path, by_column):
    expected = listed(read_dataset(made(tmp_path, "maestro")), "file", "split", "duration_s")
    (tmp_path / "maestro-v3.0.0.csv").unlink()
    rows = [dict(zip(MAESTRO, row, strict=True)) for row in MAESTRO_ROWS]
    for row in rows:
        row["duration"] = float(row["duration"])
    columns = {name: {str(i): row[name] for i, row in enumerate(rows)} for name in MAESTRO}
    (tmp_path / "maestro-v3.0.0.json").write_text(json.dumps(columns if by_column else rows))
    assert listed(read_dataset(tmp_path), "file", "split", "duration_s") == expected


def test_maestro_of_the_newest_version_is_read(tmp_path):
    made(tmp_path, "maestro")
    old = [(*row[:2], "train", *row[3:]) for row in MAESTRO_ROWS]
    table(tmp_path / "maestro-v2.0.0.csv", MAESTRO, *old)
    assert read_dataset(tmp_path).splits == ("test", "train", "valid")


def test_maestro_without_sound_says_which_file_is_missing(tmp_path):
    made(tmp_path, "maestro")
    for path in tmp_path.rglob("*.wav"):
        path.unlink()
    with pytest.raises(AudioFormatError, match=r"3 of 3 files .* first is .*2018/a\.wav"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (2, "holdout", "line 2: no split 'holdout'"),
        (5, "../a.wav", "line 2: '../a.wav' is not the path"),
        (5, "/etc/passwd", "line 2: '/etc/passwd' is not the path"),
        (5, "", "line 2: '' is not the path"),
        (6, "long", "line 2: 'long' is no duration"),
        (6, "-1", "line 2: '-1' is no duration"),
        (6, "inf", "line 2: 'inf' is no duration"),
    ],
)
def test_a_broken_row_is_named(tmp_path, column, value, message):
    made(tmp_path, "maestro")
    row = list(MAESTRO_ROWS[0])
    row[column] = value
    table(tmp_path / "maestro-v3.0.0.csv", MAESTRO, row)
    with pytest.raises(AudioFormatError, match=message):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column canonical_composer, canonical_title, split, audio_filename"),
        (b"canonical_composer,canonical_title,split\na,b,train\n", "no column audio_filename"),
        ((",".join(MAESTRO) + "\na,b,train\n").encode(), "line 2: 3 columns, the header has 7"),
        (b"\xff\xfe\x00", "cannot read"),
    ],
)
def test_a_broken_table_is_named(tmp_path, content, message):
    (tmp_path / "maestro-v3.0.0.csv").write_bytes(content)
    with pytest.raises(AudioFormatError, match=message):
        read_dataset(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]", '"text"', '{"split": {"0": "train"}}', "[{}]"])
def test_a_broken_json_table_is_named(tmp_path, content):
    (tmp_path / "maestro-v3.0.0.json").write_text(content)
    with pytest.raises(AudioFormatError, match=r"maestro-v3\.0\.0\.json"):
        read_dataset(tmp_path)


def test_fma_small_has_its_tracks_sorted_by_number(tmp_path):
    manifest = read_dataset(made(tmp_path, "fma"))
    assert listed(manifest, "file", "split", "label", "author", "title", "duration_s") == [
        ("fma_small/000/000002.mp3", "train", "Hip-Hop", "AWOL", "Food", None),
        ("fma_small/014/014099.mp3", "valid", "", "Ann", "Night", None),
    ]
    assert listed(manifest, "licence") == [("CC-BY",), ("Other",)]
    assert manifest.entries[0].extra["artist_id"] == "1"


def test_fma_reads_the_largest_subset_or_the_one_asked_for(tmp_path):
    fma(tmp_path, "small", "medium")
    assert len(read_dataset(tmp_path).entries) == 3
    small = read_dataset(tmp_path / "fma_small")
    assert listed(small, "file") == [("000/000002.mp3",), ("014/014099.mp3",)]
    fma(tmp_path, "full")
    full = read_dataset(tmp_path)
    assert listed(full, "duration_s") == [(168.0,), (9.0,), (7.0,), (5.0,)]
    assert full.entries[1].licence == "CC0-1.0"


def test_fma_without_metadata_or_tracks_says_so(tmp_path):
    made(tmp_path, "fma")
    (tmp_path / "fma_small" / "014" / "014099.mp3").unlink()
    with pytest.raises(AudioFormatError, match=r"1 of 2 files .* missing.*014099\.mp3"):
        read_dataset(tmp_path)
    tracks = tmp_path / "fma_metadata" / "tracks.csv"
    table(tracks, FMA_GROUPS, FMA_COLUMNS, *FMA_ROWS)
    with pytest.raises(AudioFormatError, match="three header lines"):
        read_dataset(tmp_path)
    table(tracks, FMA_GROUPS, FMA_COLUMNS, ("track_id", *[""] * 10), FMA_ROWS[1][:-1])
    with pytest.raises(AudioFormatError, match="line 4: not the row of a track"):
        read_dataset(tmp_path)
    tracks.unlink()
    with pytest.raises(ConfigError, match=r"fma_metadata\.zip"):
        read_dataset(tmp_path)


def test_audiocaps_has_one_entry_a_clip_with_all_its_captions(tmp_path):
    manifest = read_dataset(made(tmp_path, "audiocaps"))
    assert listed(manifest, "file", "split", "caption") == [
        ("train/Yr1nicOVtvkQ.wav", "train", "A woman talks nearby, as water pours"),
        ("train/-UDGBjjwyaQ_20.flac", "train", "Clanging"),
        ("test/7fmOlUlwoNg.wav", "test", "Text 0"),
    ]
    assert captions(manifest.entries[0]) == ("A woman talks nearby, as water pours",)
    assert captions(manifest.entries[2]) == tuple(f"Text {n}" for n in range(5))


def test_audiocaps_counts_the_clips_that_vanished(tmp_path):
    made(tmp_path, "audiocaps")
    assert read_dataset(tmp_path).num_missing == 2
    for path in (*tmp_path.rglob("*.wav"), *tmp_path.rglob("*.flac")):
        path.unlink()
    with pytest.raises(AudioFormatError, match="none of the 5 files"):
        read_dataset(tmp_path)


def test_audiocaps_refuses_one_file_for_two_clips(tmp_path):
    made(tmp_path, "audiocaps")
    table(tmp_path / "val.csv", AUDIOCAPS, ("3", "7fmOlUlwoNg", "40", "Other part"))
    with pytest.raises(AudioFormatError, match=r"7fmOlUlwoNg\.wav stands for two clips"):
        read_dataset(tmp_path)
    sound(tmp_path / "val" / "7fmOlUlwoNg_40.wav")
    assert read_dataset(tmp_path).splits == ("test", "train", "valid")


def test_tables_of_another_kind_are_not_audiocaps(tmp_path):
    table(tmp_path / "train.csv", ("file", "caption"), ("a.wav", "b"))
    assert detect_dataset(tmp_path) is None


def test_vctk_takes_the_first_microphone_and_splits_by_speaker(tmp_path):
    manifest = read_dataset(made(tmp_path, "vctk"))
    found = listed(manifest, "label", "split", "caption")
    assert found[:2] == [
        ("p225", "train", "Please call p225 001."),
        ("p225", "train", "Please call p225 002."),
    ]
    assert {(label, split) for label, split, _ in found} == {
        ("p225", "train"),
        ("p315", "train"),
        ("p360", "test"),
        ("s5", "test"),
    }
    assert {caption for label, _, caption in found if label == "p315"} == {""}
    assert len(VCTK_TEST_SPEAKERS) == 8
    assert attribution([manifest]).count("VCTK") == 1


def test_vctk_without_sound_says_so(tmp_path):
    (tmp_path / "wav48_silence_trimmed" / "p225").mkdir(parents=True)
    with pytest.raises(AudioFormatError, match=r"mic1\.flac"):
        read_dataset(tmp_path)


def test_esc50_splits_by_fold_and_names_the_authors(tmp_path):
    manifest = read_dataset(made(tmp_path, "esc50"))
    assert listed(manifest, "file", "split", "label", "licence", "author", "title") == [
        ("audio/1-100032-A-0.wav", "train", "dog", "CC-BY-3.0", "nfrae", "rose (1).wav"),
        ("audio/4-5-B-7.wav", "valid", "rooster", "CC-BY-NC-3.0", "", ""),
        ("audio/5-9-C-9.wav", "test", "church_bells", "CC-BY-NC-3.0", "", ""),
    ]
    assert manifest.entries[0].source == "http://www.freesound.org/people/nfrae/sounds/100032/"
    (tmp_path / "LICENSE").unlink()
    assert read_dataset(tmp_path).entries[0].author == ""


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a.wav", "6", "0", "dog", "True", "1", "A"), "line 2: the fold must be 1 to 5"),
        (("../a.wav", "1", "0", "dog", "True", "1", "A"), "line 2: .* is not the path"),
        (("a.wav", "1", "0", "dog", "True", "1", "A"), "1 of 1 files"),
    ],
)
def test_a_broken_row_of_esc50_is_named(tmp_path, row, message):
    table(tmp_path / "meta" / "esc50.csv", ESC50, row)
    with pytest.raises(AudioFormatError, match=message):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Attribution", "CC-BY"),
        ("Attribution 4.0 International", "CC-BY-4.0"),
        ("Attribution-NonCommercial-ShareAlike 3.0 International", "CC-BY-NC-SA-3.0"),
        ("Attribution-Noncommercial-No Derivative Works 3.0 United States", "CC-BY-NC-ND-3.0"),
        ("Attribution-NonCommercial-NoDerivatives (aka Music Sharing) 3.0", "CC-BY-NC-ND-3.0"),
        ("Creative Commons Attribution-Share Alike 2.5", "CC-BY-SA-2.5"),
        ("CC0 1.0 Universal", "CC0-1.0"),
        ("Public Domain Mark 1.0", "Public Domain Mark 1.0"),
        ("FMA-Limited: Download Only", "FMA-Limited: Download Only"),
        ("", ""),
    ],
)
def test_licences_written_out_get_their_short_name(text, name):
    assert spdx(text) == name
