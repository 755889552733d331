"""Times, regions, label files, cue chunks."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.canvas.canvas import Region
from weft.canvas.regions import (
    fit_regions,
    format_audacity_labels,
    parse_cue_points,
    parse_cue_regions,
    parse_labels,
    parse_region,
    parse_time,
    read_labels,
    resolve_regions,
)
from weft.canvas.timecode import format_time
from weft.errors import RegionError

RATE = 44100
LENGTH = 60 * RATE


def spans(regions):
    return [(region.start, region.stop) for region in regions]


def resolve(*texts, clamp=False, num_samples=LENGTH):
    return spans(resolve_regions(texts, sample_rate=RATE, num_samples=num_samples, clamp=clamp))


def labels(text, **options):
    options = {"sample_rate": 1000, "num_samples": 60_000} | options
    return parse_labels(text, **options)


# ------------------------------------------------------------------------------------ time syntax


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12.3", 542430),
        ("12,3", 542430),
        (".5", 22050),
        ("0", 0),
        ("1.", 44100),
        (" 1:02.5 ", 2756250),
        ("01:00:00", 158760000),
        ("44100s", 44100),
        ("550ms", 24255),
        ("0.5 ms", 22),
        ("90", 90 * RATE),
    ],
)
def test_time_syntax(text, expected):
    assert parse_time(text, sample_rate=RATE) == expected


def test_time_is_rounded_to_the_nearest_sample_exactly():
    # 0.145 * 1000 is 145, but 0.1455 s lies half-way and floats would round it down.
    assert parse_time("0.1455", sample_rate=1000) == 146
    assert parse_time("0.14549", sample_rate=1000) == 145
    assert parse_time("8.1234565", sample_rate=1_000_000) == 8123457


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("nan", "not a time that can be reached"),
        ("-inf", "not a time that can be reached"),
        ("-3", "negative"),
        ("1e3", "not a time"),
        ("twelve", "not a time"),
        ("1:75", "0 to 59"),
        ("1:60:00", "0 to 59"),
        ("12.5s", "whole samples"),
        ("1:02s", "mixes minutes"),
        ("٣", "not a time"),
        ("", "not a time"),
        ("1:2:3:4", "not a time"),
        ("9" * 5000, "not a time"),
    ],
)
def test_a_text_that_is_no_time_is_refused_with_the_reason(text, word):
    with pytest.raises(RegionError, match=word):
        parse_time(text, sample_rate=RATE)


# ---------------------------------------------------------------------------------- region syntax


@pytest.mark.parametrize(
    ("text", "start", "stop"),
    [
        ("12.3-12.85", 542430, 566685),
        ("1:02.5-1:03", 2756250, 2778300),
        ("12.3+0.55", 542430, 566685),
        ("44100s-88200s", 44100, 88200),
        ("1-88200s", 44100, 88200),
        ("1 + 4410s", 44100, 48510),
        ("1+550ms", 44100, 68355),
        (" 12.3 - 12.85 ", 542430, 566685),
        ("12.3–12.85", 542430, 566685),
        ("start-0.5", 0, 22050),
        ("START-0.5", 0, 22050),
        ("59-end", 59 * RATE, LENGTH),
        ("start-end", 0, LENGTH),
        ("start+1", 0, RATE),
    ],
)
def test_region_syntax(text, start, stop):
    region = parse_region(text, sample_rate=RATE, num_samples=LENGTH)
    assert (region.start, region.stop) == (start, stop)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-0.5", ["start-0.5", "character 1"]),
        ("-1-2", ["negative", "character 1"]),
        ("1--2", ["negative", "character 3"]),
        ("12.3-", ["12.3-end", "character 5"]),
        ("12.3", ["point", "12.3+0.2"]),
        ("1-2,3-4", ["one region at a time", "character 6"]),
        ("abc-2", ["'abc' at character 1", "allowed: seconds"]),
        ("1 - x2", ["'x2' at character 5"]),
        ("nan-2", ["'nan' at character 1"]),
        ("1-nan", ["'nan' at character 3"]),
        ("1-inf", ["cannot be reached", "not a time that can be reached"][1:]),
        ("2-1", ["ends at 1.000 s", "before it starts at 2.000 s", "swap"]),
        ("1-1", ["covers no sample"]),
        ("1+0", ["covers no sample"]),
        ("1+0.00001", ["covers no sample", "44100 Hz"]),
        ("", ["empty text"]),
        ("hello", ["no - or +"]),
        ("end-2", ["'end' at character 1"]),
        ("1-start", ["'start' at character 3"]),
        ("1" * 200 + "-2", ["200"][:0] or ["too many"]),
    ],
)
def test_a_text_that_is_no_region_is_refused_with_place_and_advice(text, words):
    with pytest.raises(RegionError) as caught:
        parse_region(text, sample_rate=RATE, num_samples=LENGTH)
    assert text[:50].strip() in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_region_of_one_sample_is_allowed():
    assert resolve("10s-11s") == [(10, 11)]


def test_regions_are_sorted_and_overlapping_or_touching_ones_joined():
    assert resolve("5-6", "1-2", "1.5-3", "3-4") == [(RATE, 4 * RATE), (5 * RATE, 6 * RATE)]


def test_a_region_beyond_the_end_is_refused_unless_clamped():
    with pytest.raises(RegionError, match=r"'59-61'.*1:01\.000.*1:00\.000.*--clamp"):
        resolve("59-61")
    assert resolve("59-61", clamp=True) == [(59 * RATE, LENGTH)]


def test_a_region_that_starts_beyond_the_end_is_refused_even_when_clamped():
    with pytest.raises(RegionError, match="starts at 1:10"):
        resolve("70-71", clamp=True)


def test_samples_written_as_seconds_get_the_right_advice():
    with pytest.raises(RegionError, match="samples are written with an s"):
        resolve("44100-88200")


def test_negative_nan_and_reversed_are_refused():
    for text in ("-1-2", "nan-2", "1-nan", "2-1"):
        with pytest.raises(RegionError):
            resolve(text)


def test_format_time_carries_over_to_the_minute():
    assert format_time(59_999_9, 10_000) == "1:00.000"


@given(st.integers(0, 10**9), st.integers(1, 10**9), st.sampled_from([8000, 44100, 96000]))
def test_sample_syntax_round_trips(start, length, rate):
    region = parse_region(f"{start}s+{length}s", sample_rate=rate, num_samples=1)
    assert (region.start, region.num_samples) == (start, length)


# ------------------------------------------------------------------------------------ label files


def test_audacity_labels_with_a_frequency_line():
    regions = labels("0.500000\t1.250000\tcough\n\\\t200.000000\t3000.5\n2.0\t3.0\t\n\\\t-1\t500\n")
    assert spans(regions) == [(500, 1250), (2000, 3000)]
    assert (regions[0].low_hz, regions[0].high_hz, regions[0].label) == (200.0, 3000.5, "cough")
    assert (regions[1].low_hz, regions[1].high_hz, regions[1].label) == (None, 500.0, "")


def test_undefined_frequencies_are_no_band():
    (region,) = labels("1\t2\tx\n\\\t-1.000000\t-1.000000\n")
    assert region.low_hz is None
    assert region.high_hz is None


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_mark(end):
    text = "\ufeff" + end.join(["1\t2\ta", "3\t4\tb", ""])
    assert spans(labels(text)) == [(1000, 2000), (3000, 4000)]


def test_decimal_comma():
    assert spans(labels("1,5\t2,25\ta\n")) == [(1500, 2250)]
    assert spans(labels("1,5;2,25;a\n")) == [(1500, 2250)]


def test_commas_that_may_be_decimals_or_columns_are_refused():
    with pytest.raises(RegionError, match="line 1: the commas may separate"):
        labels("1,5,2,5\n")


def test_old_audacity_labels_are_points():
    with pytest.raises(RegionError, match=r"line 1: the label at 5\.000 s \('Verse'\).*--pad-ms"):
        labels("5.0\tVerse\n")
    (region,) = labels("5.0\tVerse\n", pad_ms=100.0)
    assert (region.start, region.stop, region.label) == (4900, 5100, "Verse")


def test_point_labels_at_the_ends_are_padded_inside_the_recording():
    assert spans(labels("0\t0\ta\n60\t60\tb\n", pad_ms=50.0)) == [(0, 50), (59_950, 60_000)]


def test_pad_must_be_positive():
    with pytest.raises(RegionError, match="pad_ms must be > 0"):
        labels("1\t1\ta\n", pad_ms=0.0)


def test_pad_leaves_regions_with_a_length_alone():
    assert spans(labels("1\t2\ta\n", pad_ms=50.0)) == [(1000, 2000)]


@pytest.mark.parametrize(
    "text",
    [
        "1.5,2.5,a\n",
        "1.5;2.5\n",
        "start,end,label\n1.5,2.5,a\n",
        "start,duration\n1.5,1\n",
        'Name,Begin,Length\n"a, b",1.5,1.0\n',
        "label;end;start\nx;2,5;1,5\n",
        "start_samples,end_samples\n1500,2500\n",
        "Start (samples)\tDuration (samples)\n1500\t1000\n",
        "start_ms,end_ms\n1500,2500\n",
        "Start [s],End [s]\n1.5,2.5\n",
        "onset\toffset\n0:01.5\t00:00:02.500\n",
        "start,end\n1500s,2500s\n",
        "# made by hand\n\n1.5\t2.5\ta\n",
        "1.5-2.5\n",
        "1.5+1\n",
    ],
)
def test_tables(text):
    assert spans(labels(text)) == [(1500, 2500)]


def test_quoted_label_with_the_delimiter():
    (region,) = labels('Name,Begin,Length\n"a, b",1.5,1.0\n')
    assert region.label == "a, b"


def test_band_columns():
    (region,) = labels("start,end,low_hz,high_hz\n1,2,100,\n")
    assert (region.low_hz, region.high_hz) == (100.0, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no regions"]),
        ("\ufeff\r\n# nothing\r\n", ["no regions"]),
        ("1\t2\ta\n4\t3\tb\n", ["line 2", "before it starts"]),
        ("1\t2\ta\n\nx\t3\tb\n", ["line 3", "'x'"]),
        ("1\tnan\ta\n", ["line 1", "'nan'"]),
        ("-1\t2\ta\n", ["line 1", "negative"]),
        ("\\\t1\t2\n", ["line 1", "must follow a label"]),
        ("1\t2\ta\n\\\t1\n", ["line 2", "frequency line"]),
        ("1\t2\ta\n\\\t500\t200\n", ["line 2", "low < high"]),
        ("1\t2\ta\n\\\tnan\t200\n", ["line 2", "low < high"]),
        ("label,end\na,b\n", ["line 1", "no start column"]),
        ("start,end\n1,2\n3\n", ["line 3", "point"]),
        ("start,end\n,2\n", ["line 2", "time is missing"]),
        ("start_samples,end\n1.5,2\n", ["line 2", "whole samples"]),
        ("hello world\n", ["line 1", "no - or +"]),
        ("1-2\n2-1\n", ["line 2", "before it starts"]),
    ],
)
def test_a_label_file_that_cannot_be_used_is_refused_with_its_line(text, words):
    with pytest.raises(RegionError) as caught:
        labels(text, name="my.txt")
    for word in ["my.txt", *words]:
        assert word in str(caught.value)


def test_read_labels_decodes_what_editors_write(tmp_path):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        path = tmp_path / f"{encoding}.txt"
        path.write_bytes("1\t2\tcafé\r\n".encode(encoding))
        (region,) = read_labels(path, sample_rate=10, num_samples=100)
        assert (region.start, region.stop, region.label) == (10, 20, "café")


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_bytes(b"RIFF\0\0\0\0WAVE"), "binary data"),
        (lambda path: path.write_bytes(b"1\t2\tx\n" * (3 << 20)), "more than 16 MB"),
    ],
)
def test_label_files_that_are_none_are_refused(tmp_path, make, word):
    path = tmp_path / "labels.txt"
    make(path)
    with pytest.raises(RegionError, match=word):
        read_labels(path, sample_rate=10, num_samples=100)


def test_label_regions_are_checked_against_the_recording():
    regions = labels("1\t2\ta\n59\t61\tlast\n")
    with pytest.raises(RegionError, match=r"my\.txt, region 2 'last': it ends at 1:01"):
        fit_regions(regions, sample_rate=1000, num_samples=60_000, origin="my.txt")
    fitted = fit_regions(regions, sample_rate=1000, num_samples=60_000, clamp=True)
    assert spans(fitted) == [(1000, 2000), (59_000, 60_000)]


def test_a_band_above_the_recording_is_refused():
    regions = labels("1\t2\ta\n\\\t500\t600\n")
    with pytest.raises(RegionError, match=r"band begins at 500 Hz.*ends at 500 Hz"):
        fit_regions(regions, sample_rate=1000, num_samples=60_000)
    assert fit_regions(regions, sample_rate=1001, num_samples=60_000)[0].low_hz == 500.0


def test_overlapping_labels_of_different_bands_are_refused():
    regions = labels("1\t3\ta\n\\\t100\t200\n2\t4\tb\n")
    with pytest.raises(RegionError, match="different bands"):
        fit_regions(regions, sample_rate=1000, num_samples=60_000)


region_strategy = st.builds(
    lambda start, length, low, width, label: Region(
        start=start,
        stop=start + length,
        low_hz=low,
        high_hz=None if low is None or width is None else low + width,
        label=label,
    ),
    st.integers(0, 10**9),
    st.integers(1, 10**8),
    st.none() | st.integers(0, 20_000).map(float),
    st.none() | st.integers(1, 20_000).map(float),
    st.text(max_size=20),
)


@given(
    st.lists(region_strategy, min_size=1, max_size=5),
    st.sampled_from([1, 8000, 11025, 44100, 48000, 192_000, 500_000, 2_822_400]),
)
def test_written_labels_read_back_to_the_same_samples(regions, rate):
    text = format_audacity_labels(regions, rate)
    back = parse_labels(text, sample_rate=rate, num_samples=10**12)
    assert spans(back) == spans(regions)
    assert [(r.low_hz, r.high_hz) for r in back] == [(r.low_hz, r.high_hz) for r in regions]
    assert [r.label for r in back] == [" ".join(r.label.split()) for r in regions]


@given(st.text(max_size=60))
def test_any_text_is_regions_or_a_region_error(text):
    try:
        regions = labels(text)
    except RegionError:
        return
    assert regions


# ------------------------------------------------------------------------------------- cue chunks


def cue_chunk(*points):
    entries = b"".join(
        struct.pack("<II4sIII", identity, 0, b"data", 0, 0, offset) for identity, offset in points
    )
    return struct.pack("<I", len(points)) + entries


def sub(kind, body):
    return struct.pack("<4sI", kind, len(body)) + body + b"\0" * (len(body) % 2)


def adtl_chunk(lengths, names):
    parts = [
        sub(b"labl", struct.pack("<I", identity) + name + b"\0") for identity, name in names.items()
    ]
    parts += [
        sub(b"ltxt", struct.pack("<II4sHHHH", identity, length, b"rgn ", 0, 0, 0, 0))
        for identity, length in lengths.items()
    ]
    return b"adtl" + b"".join(parts)


def test_cue_regions_have_length_and_name():
    regions = parse_cue_regions(
        cue_chunk((2, 500), (1, 100), (3, 900)),
        adtl_chunk({1: 50, 2: 60}, {1: b"click", 2: "né".encode(), 3: b"marker"}),
    )
    assert spans(regions) == [(100, 150), (500, 560)]
    assert [region.label for region in regions] == ["click", "né"]


def test_adtl_may_come_without_its_list_type():
    adtl = adtl_chunk({1: 50}, {})[4:]
    assert spans(parse_cue_regions(cue_chunk((1, 100)), adtl)) == [(100, 150)]


def test_markers_without_length_are_points():
    points = parse_cue_points(cue_chunk((1, 100)))
    assert [(p.start, p.num_samples, p.label) for p in points] == [(100, 0, "")]
    assert parse_cue_regions(cue_chunk((1, 100))) == []


@pytest.mark.parametrize("cue", [b"", b"\1\0", struct.pack("<I", 2**32 - 1) + b"\0" * 24])
def test_a_damaged_cue_chunk_is_refused(cue):
    with pytest.raises(RegionError, match="cue chunk"):
        parse_cue_regions(cue)


@given(st.binary(max_size=120), st.binary(max_size=120))
def test_any_bytes_are_regions_or_a_region_error(cue, adtl):
    try:
        regions = parse_cue_regions(cue, adtl)
    except RegionError:
        return
    assert all(region.num_samples > 0 for region in regions)


def test_an_endless_line_is_refused():
    with pytest.raises(RegionError, match="line 1"):
        labels("1," + "x" * 200_000)
