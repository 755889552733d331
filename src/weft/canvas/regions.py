"""Regions of a recording, from texts and from the markers of a WAV file."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import final

from weft.audio.audio import Audio
from weft.audio.handle import shown
from weft.audio.read import MAX_CHUNK_BYTES, FileSource
from weft.canvas.canvas import Region, merge_regions
from weft.canvas.labels import format_audacity_labels, parse_labels, read_labels
from weft.canvas.timecode import REGION_FORMS, format_time, parse_region, parse_time
from weft.errors import RegionError


def resolve_regions(
    texts: Iterable[str], *, sample_rate: int, num_samples: int, clamp: bool = False
) -> tuple[Region, ...]:
    """Return the regions that texts name, sorted and merged.

    Args:
        texts: regions as `parse_region` reads them.
        sample_rate: in Hz.
        num_samples: length of the recording.
        clamp: cut regions that reach beyond the recording instead of refusing them.

    Raises:
        RegionError: a text is not a region, or it reaches beyond the recording.

    Example:
        >>> [(r.start, r.stop) for r in resolve_regions(
        ...     ["1-2", "0.5+1"], sample_rate=10, num_samples=40)]
        [(5, 20)]
    """
    parsed = [
        (f"region {text.strip()!r}", parse_region(text, sample_rate=sample_rate,
                                                  num_samples=num_samples))
        for text in texts
    ]  # fmt: skip
    return merge_regions(
        [
            _inside(region, what, sample_rate=sample_rate, num_samples=num_samples, clamp=clamp)
            for what, region in parsed
        ]
    )


def fit_regions(
    regions: Iterable[Region],
    *,
    sample_rate: int,
    num_samples: int,
    clamp: bool = False,
    origin: str = "",
) -> tuple[Region, ...]:
    """Check regions against a recording, then sort and merge them.

    Args:
        regions: from a label file or a cue chunk.
        sample_rate: in Hz.
        num_samples: length of the recording.
        clamp: cut regions that reach beyond the recording instead of refusing them.
        origin: where they come from, for messages.

    Raises:
        RegionError: a region reaches beyond the recording, or overlaps another of another band.
    """
    fitted = []
    for number, region in enumerate(regions, 1):
        name = f" {region.label!r}" if region.label else ""
        what = f"{origin + ', ' if origin else ''}region {number}{name}"
        fitted.append(
            _inside(region, what, sample_rate=sample_rate, num_samples=num_samples, clamp=clamp)
        )
    return merge_regions(fitted)


def _inside(
    region: Region, what: str, *, sample_rate: int, num_samples: int, clamp: bool
) -> Region:
    """Return the region if it lies inside the recording, or cut to it."""
    if region.low_hz is not None and region.low_hz >= sample_rate / 2:
        raise RegionError(
            f"{what}: its band begins at {region.low_hz:g} Hz, but the recording ends at "
            f"{sample_rate / 2:g} Hz; lower it, or leave the band out"
        )
    if region.stop <= num_samples:
        return region
    length = f"the recording is {format_time(num_samples, sample_rate)} ({num_samples} samples)"
    if region.start >= num_samples:
        raise RegionError(
            f"{what}: it starts at {format_time(region.start, sample_rate)}, but {length} long; "
            "check the times, and that samples are written with an s (44100s)"
        )
    if not clamp:
        raise RegionError(
            f"{what}: it ends at {format_time(region.stop, sample_rate)}, but {length} long; "
            "shorten it, write A-end, or allow it to be cut with --clamp"
        )
    return replace(region, stop=num_samples)


@final
@dataclass(frozen=True, kw_only=True)
class CuePoint:
    """A marker of a WAV file."""

    start: int
    """Sample it stands at."""
    num_samples: int
    """Length of the region that begins there; 0 for a plain marker."""
    label: str
    """Its name, if it has one."""


def parse_cue_points(
    cue: bytes, adtl: bytes | None = None, *, is_big_endian: bool = False
) -> list[CuePoint]:
    """Return the markers of a WAV file, sorted by time.

    Args:
        cue: content of the ``cue `` chunk.
        adtl: content of the ``LIST`` chunk of type ``adtl``, with or without that type in front.
        is_big_endian: whether it is a RIFX file.

    Raises:
        RegionError: the cue chunk is damaged.
    """
    if len(cue) < 4:
        raise RegionError(f"the cue chunk has {len(cue)} bytes, at least 4 are needed")
    order = ">" if is_big_endian else "<"
    (count,) = struct.unpack_from(order + "I", cue)
    if 4 + 24 * count > len(cue):
        raise RegionError(
            f"the cue chunk claims {count} markers but has room for {(len(cue) - 4) // 24}; "
            "the file's markers are damaged, name the regions with --gap or --labels"
        )
    lengths: dict[int, int] = {}
    names: dict[int, str] = {}
    for kind, body in _subchunks(adtl or b"", order):
        if kind == b"ltxt" and len(body) >= 8:
            identity, length = struct.unpack_from(order + "II", body)
            lengths[identity] = length
        elif kind == b"labl" and len(body) >= 4:
            text = body[4:].split(b"\0")[0]
            names[struct.unpack_from(order + "I", body)[0]] = text.decode("utf-8", errors="replace")
    points = []
    for i in range(count):
        identity, _, _, _, _, offset = struct.unpack_from(order + "II4sIII", cue, 4 + 24 * i)
        points.append(
            CuePoint(
                start=offset,
                num_samples=lengths.get(identity, 0),
                label=" ".join(names.get(identity, "").split()),
            )
        )
    return sorted(points, key=lambda point: (point.start, point.num_samples))


def _subchunks(adtl: bytes, order: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, content) of the parts of an ``adtl`` list; stops where it is damaged."""
    at = 4 if adtl[:4] == b"adtl" else 0
    while at + 8 <= len(adtl):
        kind, size = struct.unpack_from(order + "4sI", adtl, at)
        if at + 8 + size > len(adtl):
            return
        yield kind, adtl[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def parse_cue_regions(cue: bytes, adtl: bytes | None = None) -> list[Region]:
    """Return the regions that are marked in a WAV file: markers with a length.

    Plain markers are left out. Regions are not yet checked against the end of the recording.

    Args:
        cue: content of the ``cue `` chunk.
        adtl: content of the ``LIST`` chunk of type ``adtl``.

    Raises:
        RegionError: the cue chunk is damaged.

    Source: Multimedia Programming Interface and Data Specifications 1.0, "Cue-Points Chunk" and
    "Associated Data Chunk". Only ``dwSampleOffset`` is read: play lists and wave lists are not.
    """
    return [
        Region(start=point.start, stop=point.start + point.num_samples, label=point.label)
        for point in parse_cue_points(cue, adtl)
        if point.num_samples > 0
    ]


def read_cue_points(audio: Audio) -> list[CuePoint]:
    """Return the markers in the file behind a recording; none if it cannot hold any.

    Raises:
        RegionError: the cue chunk is damaged.
    """
    source = audio.source
    if not isinstance(source, FileSource) or source.layout is None:
        return []
    cue = source.read_chunk("cue ")
    if cue is None:
        return []
    lists = [
        source.handle.read_at(chunk.offset, min(chunk.num_bytes, MAX_CHUNK_BYTES))
        for chunk in source.chunks
        if chunk.name == "LIST"
    ]
    adtl = next((content for content in lists if content.startswith(b"adtl")), None)
    try:
        return parse_cue_points(cue, adtl, is_big_endian=source.layout.endian == "BIG")
    except RegionError as error:
        raise RegionError(f"{shown(source.path or '')}: {error}") from None


def read_cue_regions(audio: Audio, *, pad_ms: float | None = None) -> list[Region]:
    """Return the regions that are marked in the file behind a recording.

    Args:
        audio: read from a WAV file.
        pad_ms: what a marker without a length covers on each side, > 0; None: it is left out.

    Raises:
        RegionError: no region is marked, or the cue chunk is damaged.
    """
    points = read_cue_points(audio)
    pad = 0 if pad_ms is None else max(1, round(pad_ms * audio.sample_rate / 1000))
    regions = [
        Region(start=point.start, stop=point.start + point.num_samples, label=point.label)
        if point.num_samples
        else Region(
            start=max(0, point.start - pad),
            stop=max(1, min(point.start + pad, audio.num_samples)),
            label=point.label,
        )
        for point in points
        if point.num_samples or (pad and point.start < audio.num_samples)
    ]
    if not regions:
        found = f"{len(points)} markers without a length" if points else "no markers"
        advice = "say how far they reach with --pad-ms" if points else "name gaps with --gap"
        raise RegionError(
            f"{audio.path or 'the recording'}: it holds {found}, so no region is marked; {advice}"
        )
    return regions


__all__ = [
    "REGION_FORMS",
    "CuePoint",
    "fit_regions",
    "format_audacity_labels",
    "parse_cue_points",
    "parse_cue_regions",
    "parse_labels",
    "parse_region",
    "parse_time",
    "read_cue_points",
    "read_cue_regions",
    "read_labels",
    "resolve_regions",
]
