"""What a VAE must pass: its round trip in gaps, in waves and in spectra."""

from collections.abc import Sequence

import numpy as np
import torch

from weft.codecs.base import LatentCodec
from weft.train.recipes.codec_check import Distances, Place, measure

GATE_SNR_DB = 12.0
"""Least mean signal-to-noise ratio of the round trip in gaps of the valid split."""
GATE_LSD = 1.2
"""Largest mean log-spectral distance there."""


@torch.no_grad()
def round_trip(codec: LatentCodec, places: Sequence[Place]) -> Distances:
    """Measure what a codec makes of what belongs into gaps.

    Args:
        codec: in eval mode.
        places: of one length, at the codec's rate; a stereo codec gets the same sound twice.
    """
    fills = []
    for place in places:
        sound = torch.from_numpy(place.samples)[None].expand(1, codec.num_channels, -1)
        decoded = codec.decode(codec.encode(sound))[0, :, : place.samples.shape[1]]
        mono = decoded.mean(dim=0, keepdim=True).double().numpy()
        fills.append(mono[:, place.gap.start : place.gap.stop])
    return measure(places, fills, codec.sample_rate)


def gate_by_corpus(found: Distances, places: Sequence[Place]) -> dict[str, bool]:
    """Return for each corpus whether a round trip of it is good enough to fill its gaps with."""
    corpora = np.array([place.corpus for place in places])
    return {
        corpus: bool(
            found.snr_db[corpora == corpus].mean() >= GATE_SNR_DB
            and found.lsd[corpora == corpus].mean() <= GATE_LSD
        )
        for corpus in sorted({*corpora.tolist()})
    }
