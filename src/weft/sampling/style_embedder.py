"""The embedder of styles: that of the package, as a network through which gradients flow.

Style is what is heard apart from loudness, which is the surroundings' matter: sound is brought to
one level before it is embedded. Otherwise it hears as `weft.metrics.embedders.corpus_ssl` does. Its
frames attend to all that is heard with them: so what surrounds a fill is kept from it.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from weft.metrics.embedders.corpus_ssl import CorpusSsl
from weft.nn.log_mel import LogMel
from weft.nn.resample import RationalResampler
from weft.nn.ssl_encoder import STRIDE

LEVEL_DB = -20.0
"""To which sound is brought before it is embedded, in dB of full scale."""
_FLOOR_DB = -60.0


@final
@dataclass(frozen=True, kw_only=True)
class StyleVector:
    """What is heard in each item, over the frames that count."""

    mean: Float[Tensor, "b e"]
    """Of features over frames: the embedding."""
    deviation: Float[Tensor, "b e"]
    """Of features over frames; classes are told by both."""


def pool(
    frames: Float[Tensor, "b f e"], weights: Float[Tensor, "#b f"] | None = None
) -> StyleVector:
    """Return mean and deviation over frames.

    Args:
        frames: features.
        weights: how much each frame counts, >= 0; None, or all 0 in an item: all alike.
    """
    if weights is None:
        weights = frames.new_ones(1, frames.shape[1])
    empty = weights.sum(dim=1, keepdim=True) <= 0
    weights = torch.where(empty, torch.ones_like(weights), weights)
    share = (weights / weights.sum(dim=1, keepdim=True))[..., None]  # b f 1
    mean = (share * frames).sum(dim=1)
    variance = (share * (frames - mean[:, None]).square()).sum(dim=1)
    # A root has no slope at 0, where a single frame counts.
    return StyleVector(mean=mean, deviation=(variance + 1e-8).sqrt())


@final
class StyleEmbedder(nn.Module):
    """Features of sound at 25 Hz, differentiable, whatever its level. Its weights are frozen."""

    def __init__(self, embedder: CorpusSsl, sample_rate: int) -> None:
        """Copy a trained embedder, so that moving this one to a device leaves that one alone.

        Args:
            embedder: trained.
            sample_rate: of the sound, in Hz.

        Raises:
            ConfigError: `sample_rate` is out of range, see `RationalResampler`.
        """
        super().__init__()
        self.sample_rate = sample_rate
        self.encoder = copy.deepcopy(embedder.encoder).eval().requires_grad_(False)
        self.mel = LogMel(embedder.encoder.config.mel)
        self.resampler = RationalResampler(sample_rate, embedder.sample_rate)
        self.window = embedder.window

    @property
    def num_dims(self) -> int:
        """Features of a frame."""
        return self.encoder.config.width

    @property
    def least_s(self) -> float:
        """Length of the shortest sound that it hears without padding, in seconds."""
        return self.window.num_window / self.encoder.config.frame_rate

    def forward(
        self, samples: Float[Tensor, "b n"], weights: Float[Tensor, "#b h"] | None = None
    ) -> Float[Tensor, "b f e"]:
        """Return the features of frames, at least one second of them.

        Args:
            samples: at `sample_rate`, at least one.
            weights: where the level is measured, on a grid of equal stretches over the sound; None:
                everywhere.
        """
        with torch.autocast(samples.device.type, enabled=False):
            sound = self.resampler(levelled(samples.float(), weights))
            mel = self.mel.config
            num_frames = self._num_frames(sound.shape[1])
            half = mel.n_fft // 2
            length = (num_frames - 1) * mel.hop_length + mel.n_fft
            kept = sound[:, : length - half]
            padded = nn.functional.pad(kept, (half, length - half - kept.shape[1]))
            found = []
            for first, stop in _pieces(num_frames, self.window.num_piece):
                begin, end = first * mel.hop_length, (stop - 1) * mel.hop_length + mel.n_fft
                found.append(self.encoder.features(self.mel(padded[:, begin:end], is_padded=True)))
        return torch.cat(found, dim=1)

    def hear(
        self, samples: Float[Tensor, "b n"], unknown: Bool[Tensor, "b l"], hop_length: int
    ) -> StyleVector:
        """Return what is heard in the unknown frames of a codec, alone.

        Args:
            samples: of all frames.
            unknown: of each frame of the codec.
            hop_length: its samples a frame.
        """

        def hear_part(rows: Int[Tensor, " r"], first: int, stop: int) -> StyleVector:
            part = unknown[rows, first:stop]
            weights = self.frame_weights(part, hop_length)
            sound = samples[rows, first * hop_length : stop * hop_length]
            return pool(self(sound, part.float()), weights)

        return by_span(unknown, self.least_frames(hop_length), hear_part)

    def least_frames(self, hop_length: int) -> int:
        """Return how many frames of a codec are as long as the shortest sound that is heard."""
        return math.ceil(self.least_s * self.sample_rate / hop_length)

    def frame_weights(self, unknown: Bool[Tensor, "b l"], hop_length: int) -> Float[Tensor, "b f"]:
        """Return how much of each frame of features lies in unknown frames of a codec.

        Args:
            unknown: of each frame of the codec.
            hop_length: its samples a frame.
        """
        num_sound = self.resampler.num_outputs(unknown.shape[1] * hop_length)
        frame_s = hop_length / self.sample_rate
        num_frames = self._num_frames(num_sound) // STRIDE
        rows = [
            spread(row, frame_s, num_frames, 1 / self.encoder.config.frame_rate)
            for row in unknown.cpu().numpy().astype(np.float64)
        ]
        return torch.from_numpy(np.stack(rows)).float().to(unknown.device)

    def _num_frames(self, num_sound: int) -> int:
        """Return the log-mel frames of so many samples at the embedder's rate."""
        blocks = round(num_sound / self.mel.config.hop_length / STRIDE)
        return max(blocks, self.window.num_window) * STRIDE


def by_span(
    unknown: Bool[Tensor, "b l"],
    least: int,
    hear_fn: Callable[[Int[Tensor, " r"], int, int], StyleVector],
) -> StyleVector:
    """Return what is heard of each item between its first and its last unknown frame.

    Args:
        unknown: items without unknown frames are heard whole.
        least: frames that are heard at least, as far as there are; known ones on both sides then
            take part.
        hear_fn: from items with one span, its first frame and one past its last, to what is heard.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    num_frames = unknown.shape[1]
    for i, row in enumerate(unknown.cpu().numpy()):
        found = np.flatnonzero(row) if row.any() else np.arange(num_frames)
        missing = max(0, least - (int(found[-1]) + 1 - int(found[0])))
        stop = min(num_frames, max(int(found[-1]) + 1 + missing // 2, least))
        first = max(0, min(int(found[0]), stop - least))
        groups.setdefault((first, stop), []).append(i)
    order = torch.tensor([i for rows in groups.values() for i in rows], device=unknown.device)
    heard = [
        hear_fn(torch.tensor(rows, device=unknown.device), *span) for span, rows in groups.items()
    ]
    back = order.argsort()
    return StyleVector(
        mean=torch.cat([part.mean for part in heard])[back],
        deviation=torch.cat([part.deviation for part in heard])[back],
    )


def spread(
    weights: Float[np.ndarray, " l"], source_s: float, num_frames: int, target_s: float
) -> Float[np.ndarray, " f"]:
    """Return the weights of frames of one length, given those of frames of another.

    Args:
        weights: of frames that follow each other from 0 s on.
        source_s: their length, in seconds.
        num_frames: frames that are wanted; those beyond the end have the weight 0.
        target_s: their length, in seconds.

    Example:
        >>> spread(np.array([1.0, 0.0]), 0.2, 5, 0.1).tolist()
        [0.5, 0.5, 0.0, 0.0, 0.0]
    """
    edges_s = np.arange(len(weights) + 1) * source_s
    wanted_s = np.arange(num_frames + 1) * target_s
    return np.diff(np.interp(wanted_s, edges_s, np.concatenate([[0.0], np.cumsum(weights)])))


def levelled(
    samples: Float[Tensor, "b n"], weights: Float[Tensor, "#b h"] | None = None
) -> Float[Tensor, "b n"]:
    """Return sound at a level of `LEVEL_DB`; what is far below -60 dB stays soft.

    Gradients have no part along the level, so guidance by it changes no loudness.

    Args:
        samples: any.
        weights: where the level is measured, on a grid of equal stretches, see `pool`.

    Example:
        >>> float(levelled(torch.full((1, 8), 0.5)).square().mean().sqrt())  # doctest: +ELLIPSIS
        0.0999...
    """
    power = samples.square()
    if weights is not None:
        stretch = -(-samples.shape[1] // weights.shape[1])
        share = weights.repeat_interleave(stretch, dim=1)[:, : samples.shape[1]]
        share = torch.where(share.sum(dim=1, keepdim=True) > 0, share, torch.ones_like(share))
        level = (share * power).sum(dim=1, keepdim=True) / share.sum(dim=1, keepdim=True)
    else:
        level = power.mean(dim=1, keepdim=True)
    gain = 10 ** (LEVEL_DB / 20) * (level + 10 ** (_FLOOR_DB / 10)).rsqrt()
    return gain * samples


def _pieces(num_frames: int, longest: int) -> list[tuple[int, int]]:
    """Return equal pieces of frames, each a multiple of the stride long, as the embedder has it."""
    num_blocks = num_frames // STRIDE
    num_pieces = -(-num_frames // longest)
    edges = [i * num_blocks // num_pieces * STRIDE for i in range(num_pieces + 1)]
    return list(pairwise(edges))
