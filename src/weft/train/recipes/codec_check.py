"""What a codec must pass: its round trip in a gap against linear prediction across the gap."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from weft.audio.audio import Audio
from weft.canvas.canvas import Region
from weft.canvas.compose import compose
from weft.canvas.filler import Fill, Filler
from weft.canvas.windows import read_window
from weft.classical.autoregressive import Lpc
from weft.codecs.wavtokenizer import WavTokenizer
from weft.data.samples import SampleCache
from weft.metrics.lsd import log_spectral_distance
from weft.metrics.snr import snr_db
from weft.rng import Rng

WINDOW_S = 4.0
"""Sound around and in a gap."""
GAP_MS = 300.0
"""Length of the gap."""
MIN_LEVEL_DB = -50.0
"""Gaps that are quieter, in dB of full scale, are passed over."""


@final
@dataclass(frozen=True, kw_only=True)
class Place:
    """A stretch of a recording with a gap in its middle."""

    corpus: str
    """Of the recording."""
    recording: str
    """Its file."""
    position: int
    """First sample of the stretch in the recording."""
    samples: Float32[np.ndarray, "1 n"]
    """The stretch, with what belongs into the gap."""
    gap: Region
    """The gap, in samples of the stretch."""


@final
@dataclass(frozen=True, kw_only=True)
class Distances:
    """Distances of one kind of fill from the truth, one for each place."""

    lsd: Float[np.ndarray, " n"]
    """Log-spectral distance in the gap."""
    snr_db: Float[np.ndarray, " n"]
    """Signal-to-noise ratio in the gap."""


def find_places(cache: SampleCache, num_per_recording: int) -> list[Place]:
    """Return evenly spaced gaps of every recording that is long enough, where there is sound.

    Of recordings with two channels, the mean is taken.
    """
    rate = cache.config.sample_rate
    length, gap_length = round(WINDOW_S * rate), round(GAP_MS * rate / 1000)
    start = (length - gap_length) // 2
    gap = Region(start=start, stop=start + gap_length)
    places = []
    for index, entry in enumerate(cache.entries):
        spare = entry.num_samples - length
        num = min(num_per_recording, spare // length + 1) if spare >= 0 else 0
        for i in range(num):
            first = spare * (2 * i + 1) // (2 * num)
            samples = cache.read(index, first, first + length).mean(axis=0, keepdims=True)
            level = np.mean(np.square(samples[:, gap.start : gap.stop], dtype=np.float64))
            if level >= 10 ** (MIN_LEVEL_DB / 10):
                places.append(
                    Place(
                        corpus=entry.corpus,
                        recording=entry.entry.file,
                        position=first,
                        samples=samples,
                        gap=gap,
                    )
                )
    return places


def round_trip(
    codec: WavTokenizer, places: Sequence[Place], *, is_all_quantised: bool
) -> Distances:
    """Measure what the codec makes of what belongs into the gaps.

    Args:
        codec: in eval mode.
        places: of one length.
        is_all_quantised: whether what stands around the gap is decoded from its tokens, too, and
            not from the encoder's own features.
    """
    fills = []
    for place in places:
        samples = torch.from_numpy(place.samples)
        frames = codec.encode(samples)
        kept = _kept_frames(place, codec, is_none_kept=is_all_quantised)
        mixed = torch.where(kept[..., None], frames.features, codec.embed(frames.codes))
        decoded = codec.decode(mixed)[:, : samples.shape[1]]
        fills.append(decoded.double().numpy()[:, place.gap.start : place.gap.stop])
    return measure(places, fills, codec.sample_rate)


def _kept_frames(
    place: Place, codec: WavTokenizer, *, is_none_kept: bool
) -> Bool[torch.Tensor, "1 l"]:
    """Return which frames do not touch the gap."""
    num_frames = -(-place.samples.shape[1] // codec.hop_length)
    start = torch.arange(num_frames) * codec.hop_length
    touches = (start < place.gap.stop) & (start + codec.hop_length > place.gap.start)
    return (~touches & (not is_none_kept))[None]


def linear_prediction(places: Sequence[Place], sample_rate: int) -> Distances:
    """Measure what linear prediction across the gaps makes."""
    return _fill_with(Lpc(), places, sample_rate)


def _fill_with(filler: Filler, places: Sequence[Place], sample_rate: int) -> Distances:
    windows = [
        read_window(
            Audio.from_samples(place.samples.astype(np.float64), sample_rate),
            place.gap,
            [],
            place.gap.start,
        )
        for place in places
    ]
    proposals = filler.fill(windows, num_takes=1, rng=Rng(0))
    fills = [compose(w, p[0]) for w, p in zip(windows, proposals, strict=True)]
    return measure(places, fills, sample_rate, is_composed=True)


def measure(
    places: Sequence[Place],
    fills: Sequence[Float[np.ndarray, "1 _"]],
    sample_rate: int,
    *,
    is_composed: bool = False,
) -> Distances:
    """Compare fills with what belongs into the gaps.

    Args:
        places: the gaps.
        fills: one for each, as long as its gap.
        sample_rate: in Hz.
        is_composed: whether they are joined to their surroundings already.
    """
    lsd, snr = [], []
    for place, fill in zip(places, fills, strict=True):
        truth = place.samples.astype(np.float64)
        joined = fill
        if not is_composed:
            audio = Audio.from_samples(truth, sample_rate)
            window = read_window(audio, place.gap, [], place.gap.start)
            joined = compose(window, Fill(samples=fill, model="codec", confidence=1.0))
        estimate = truth.copy()
        estimate[:, place.gap.start : place.gap.stop] = joined
        lsd.append(log_spectral_distance(truth, estimate, [place.gap]))
        snr.append(snr_db(truth, estimate, [place.gap]))
    return Distances(lsd=np.array(lsd), snr_db=np.array(snr))
