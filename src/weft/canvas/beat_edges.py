"""Edges of a transition on the beats of the two recordings."""

import warnings
from dataclasses import replace

from weft.audio.audio import Audio
from weft.audio.beats import Beats, find_beats
from weft.errors import QualityWarning

REACH_S = 15.0
"""What is listened to on each side of an edge to find the beats there."""


def snap_to_beats(first: Audio, second: Audio, overlap: int) -> tuple[int, int, int]:
    """Return the edges of a transition, moved to beats.

    The overlap becomes a whole number of the first recording's beats, the nearest that both
    recordings are long enough for. It then begins with the last beat of the first recording that
    leaves room for it, and ends with the first beat of the second.

    Args:
        first: what is heard first.
        second: what is heard then.
        overlap: wanted length, in samples, at most as long as either recording.

    Returns:
        Where the overlap begins in the first recording, where it ends in the second, and its
        length, in samples.

    Warns:
        QualityWarning: no beat was found beside an edge; it stays where it is.
    """
    shortest = min(first.num_samples, second.num_samples)
    ours = _beats_near(first, first.num_samples - overlap, "first")
    theirs = _beats_near(second, overlap, "second")
    if ours is not None:
        num_beats = max(1, round(overlap / ours.period))
        while num_beats > 1 and round(num_beats * ours.period) > shortest:
            num_beats -= 1
        overlap = min(round(num_beats * ours.period), shortest)
    edge = first.num_samples - overlap
    if ours is not None and (beat := ours.at_or_before(edge)) >= 0:
        edge = beat
    entry = overlap
    if theirs is not None and (beat := theirs.at_or_after(overlap)) <= second.num_samples:
        entry = beat
    return edge, entry, overlap


def _beats_near(audio: Audio, position: int, name: str) -> Beats | None:
    """Return the beats around a position of a recording, counted from its beginning."""
    reach = round(REACH_S * audio.sample_rate)
    start = max(0, position - reach)
    stretch = audio.read(start, min(audio.num_samples, position + reach))
    beats = find_beats(stretch, audio.sample_rate)
    if beats is None:
        warnings.warn(
            QualityWarning(
                f"no beat was found in the {name} recording around "
                f"{position / audio.sample_rate:.1f} s; the edge of the transition stays there"
            ),
            stacklevel=4,
        )
        return None
    return replace(beats, first=(beats.first + start) % beats.period)
