"""Label files.

They are Audacity's (``start TAB end TAB text``, a second line beginning with a backslash for the
band, the old ``start TAB text``), tables of comma-, semicolon- or tab-separated values with or
without a header, or one region a line as on the command line.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from weft.canvas.canvas import Region
from weft.canvas.timecode import (
    TIME_FORMS,
    checked_region,
    format_time,
    parse_region,
    parse_time,
)
from weft.errors import RegionError

MAX_LABEL_BYTES = 1 << 24
"""Longest label file read (some 400,000 labels)."""

_COLUMNS = {
    "start": "start begin in from onset position",
    "end": "end stop out to offset finish",
    "duration": "duration length dur",
    "label": "label text name title comment description",
    "low": "low low_hz low_frequency",
    "high": "high high_hz high_frequency",
}
_COLUMN_OF = {name: column for column, names in _COLUMNS.items() for name in names.split()}
_UNITS = {
    "": "",
    "s": "",
    "sec": "",
    "secs": "",
    "second": "",
    "seconds": "",
    "ms": "ms",
    "milliseconds": "ms",
    "sample": "s",
    "samples": "s",
    "frame": "s",
    "frames": "s",
}
_HEADER_CELL = re.compile(r"(.*?)[ _]?[(\[]?(" + "|".join(filter(None, _UNITS)) + r")?[)\]]?")


def read_labels(
    path: str | Path, *, sample_rate: int, num_samples: int, pad_ms: float | None = None
) -> list[Region]:
    """Return the regions of a label file, in its order; they are not yet checked against an end.

    Args:
        path: the file; UTF-8 or UTF-16 with or without a byte order mark, any line ends.
        sample_rate: of the recording, in Hz.
        num_samples: length of the recording.
        pad_ms: what a point label covers on each side, > 0; None: points are refused.

    Raises:
        RegionError: the file cannot be read or a line cannot be understood; the line is named.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LABEL_BYTES + 1)
    except IsADirectoryError:
        raise RegionError(f"{path}: it is a directory, a label file is wanted") from None
    except OSError as error:
        raise RegionError(
            f"{path}: the label file cannot be read ({error.strerror}); check the name"
        ) from None
    if len(data) > MAX_LABEL_BYTES:
        raise RegionError(f"{path}: more than {MAX_LABEL_BYTES >> 20} MB, not a label file")
    return parse_labels(
        _decode(data, path.name),
        sample_rate=sample_rate,
        num_samples=num_samples,
        pad_ms=pad_ms,
        name=path.name,
    )


def _decode(data: bytes, name: str) -> str:
    """Return the text of a label file."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data:
        raise RegionError(
            f"{name}: it holds binary data, not text; a label file is a text file with "
            "start TAB end TAB text a line"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


@final
@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Which cell of a row holds what."""

    columns: dict[str, int]
    units: dict[str, str]
    delimiter: str | None


def parse_labels(
    text: str,
    *,
    sample_rate: int,
    num_samples: int,
    pad_ms: float | None = None,
    name: str = "labels",
) -> list[Region]:
    r"""Return the regions of a label file's text; see `read_labels`.

    Example:
        >>> regions = parse_labels("0.5\t1.5\tclick\n\\\t200\t-1\n",
        ...                        sample_rate=10, num_samples=100)
        >>> regions[0].start, regions[0].stop, regions[0].low_hz, regions[0].label
        (5, 15, 200.0, 'click')
    """
    if pad_ms is not None and not 0 < pad_ms < 1e7:
        raise RegionError(f"pad_ms must be > 0 and < 10,000,000, got {pad_ms}")
    regions: list[Region] = []
    layout: _Layout | None = None
    reader = _Reader(sample_rate=sample_rate, num_samples=num_samples, pad_ms=pad_ms)
    for number, line in _content_lines(text):
        where = f"{name}, line {number}"
        if line.startswith("\\"):
            if not regions:
                raise RegionError(f"{where}: a frequency line (\\ low high) must follow a label")
            regions[-1] = _with_band(regions[-1], line, where)
            continue
        if layout is None:
            layout, is_header = _detect_layout(line, where)
            if is_header:
                continue
        regions.append(reader.region(line, layout, where))
    if not regions:
        raise RegionError(
            f"{name}: it holds no regions; write one a line, start TAB end TAB text in seconds"
        )
    return regions


def _content_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) for lines that are neither empty nor comments."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


def _cells(line: str, delimiter: str | None) -> list[str]:
    """Return the cells of a row; quotes are understood."""
    if delimiter is None:
        return [line]
    if delimiter == "\t":
        return [cell.strip() for cell in line.split("\t")]
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
    except csv.Error:
        return [line]


def _detect_layout(line: str, where: str) -> tuple[_Layout, bool]:
    """Return the layout of a label file by its first row, and whether that row is a header."""
    delimiter = next((mark for mark in "\t;," if mark in line), None)
    columns: dict[str, int] = {}
    units: dict[str, str] = {}
    for i, cell in enumerate(_cells(line, delimiter)):
        name = cell.lower()
        match = _HEADER_CELL.fullmatch(name)
        stem, unit = (name, "") if match is None else (match[1].strip(), match[2] or "")
        column = _COLUMN_OF.get(name) or _COLUMN_OF.get(stem.replace(" ", "_"))
        if column and column not in columns:
            columns[column], units[column] = i, _UNITS.get(unit, "")
    if "start" in columns:
        return _Layout(columns=columns, units=units, delimiter=delimiter), True
    if columns and not any(c.isdigit() for c in line):
        raise RegionError(
            f"{where}: the header names no start column; Weft knows start, end, duration, label, "
            "low_hz, high_hz, with units such as start_samples"
        )
    plain = {"start": 0, "end": 1, "label": 2}
    return _Layout(columns=plain, units={}, delimiter=delimiter), False


@final
@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Reads rows of a label file."""

    sample_rate: int
    num_samples: int
    pad_ms: float | None

    def region(self, line: str, layout: _Layout, where: str) -> Region:
        """Return the region of one row."""
        if layout.delimiter is None and len(layout.columns) == 3:
            return self._region_text(line, where)
        cells = _cells(line, layout.delimiter)
        has_header = bool(layout.units)
        if not has_header and layout.delimiter == ",":
            _refuse_decimal_commas(cells, where)
        values = {column: cells[i] for column, i in layout.columns.items() if i < len(cells)}
        start = self._time(values.get("start", ""), layout.units.get("start", ""), where)
        if not has_header and self._is_legacy(cells, layout.delimiter):
            return self._point(start, cells[1], where)
        label = values.get("label", "")
        if values.get("end"):
            stop = self._time(values["end"], layout.units.get("end", ""), where)
        elif values.get("duration"):
            stop = start + self._time(values["duration"], layout.units.get("duration", ""), where)
        else:
            stop = start
        if stop == start:
            return self._point(start, label, where)
        region = checked_region(start, stop, what=where, sample_rate=self.sample_rate, label=label)
        if "low" in values or "high" in values:
            band = f"\\\t{values.get('low') or -1}\t{values.get('high') or -1}"
            return _with_band(region, band, where)
        return region

    def _is_legacy(self, cells: Sequence[str], delimiter: str | None) -> bool:
        """Whether a row is ``start TAB text`` of Audacity 1.2."""
        if delimiter != "\t" or len(cells) != 2 or not cells[1]:
            return False
        return not re.match(r"[-+]?[0-9.,]|nan|inf", cells[1].lower())

    def _region_text(self, line: str, where: str) -> Region:
        try:
            return parse_region(line, sample_rate=self.sample_rate, num_samples=self.num_samples)
        except RegionError as error:
            raise RegionError(
                f"{where}: {error}. Columns are separated by tabs, semicolons or commas"
            ) from None

    def _time(self, cell: str, unit: str, where: str) -> int:
        if not cell:
            raise RegionError(f"{where}: a time is missing; allowed: {TIME_FORMS}")
        try:
            return parse_time(
                cell + unit if cell[-1].isdigit() else cell, sample_rate=self.sample_rate
            )
        except RegionError as error:
            raise RegionError(f"{where}: {error}") from None

    def _point(self, at: int, label: str, where: str) -> Region:
        if self.pad_ms is None:
            named = f" ({label!r})" if label else ""
            raise RegionError(
                f"{where}: the label at {format_time(at, self.sample_rate)}{named} is a point; "
                "give it an end, or say how far points reach on each side with --pad-ms"
            )
        pad = max(1, round(self.pad_ms * self.sample_rate / 1000))
        start, stop = max(0, at - pad), at + pad
        if at <= self.num_samples:
            stop = max(start + 1, min(stop, self.num_samples))
        return Region(start=start, stop=stop, label=label)


def _refuse_decimal_commas(cells: Sequence[str], where: str) -> None:
    """Refuse rows like ``1,5,2,5`` that may be decimal commas or columns."""
    if len(cells) >= 3 and all(cell.isdigit() for cell in cells):
        raise RegionError(
            f"{where}: the commas may separate columns or decimals; separate columns by tabs or "
            "semicolons, or begin the file with a header such as start,end,label"
        )


def _with_band(region: Region, line: str, where: str) -> Region:
    """Return the region limited to the band of an Audacity frequency line."""
    cells = line[1:].split()
    try:
        low, high = (float(cell.replace(",", ".")) for cell in cells)
    except ValueError:
        raise RegionError(
            f"{where}: a frequency line holds \\, the low and the high frequency in Hz, "
            f"-1 for none; got {line!r}"
        ) from None
    low_hz, high_hz = (None if value == -1 else value for value in (low, high))
    finite = all(value is None or 0 <= value < 1e9 for value in (low_hz, high_hz))
    if not finite or (low_hz is not None and high_hz is not None and low_hz >= high_hz):
        raise RegionError(
            f"{where}: a band needs 0 <= low < high in Hz, or -1 for no limit; got {low:g} and "
            f"{high:g}"
        )
    return replace(region, low_hz=low_hz, high_hz=high_hz)


def format_audacity_labels(regions: Iterable[Region], sample_rate: int) -> str:
    r"""Return a label file of Audacity's form, with frequency lines where there are bands.

    Reading it back at the same sample rate gives the same samples.

    Args:
        regions: any.
        sample_rate: in Hz; above 500 kHz more than Audacity's six decimals are written.

    Example:
        >>> format_audacity_labels([Region(start=5, stop=15, label="click")], 10)
        '0.500000\t1.500000\tclick\n'
    """
    decimals = 6 if sample_rate <= 500_000 else 10
    lines = []
    for region in regions:
        start, stop = (f"{n / sample_rate:.{decimals}f}" for n in (region.start, region.stop))
        lines.append(f"{start}\t{stop}\t{' '.join(region.label.split())}\n")
        if region.low_hz is not None or region.high_hz is not None:
            low, high = (-1.0 if hz is None else hz for hz in (region.low_hz, region.high_hz))
            lines.append(f"\\\t{low:.6f}\t{high:.6f}\n")
    return "".join(lines)
