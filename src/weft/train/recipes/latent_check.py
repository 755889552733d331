"""How near a latent model's fills come to what was there, beside its drafts and its codec."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from weft.audio.levels import level_db
from weft.canvas.canvas import Region
from weft.codecs.base import LatentCodec
from weft.data.samples import SampleCache
from weft.process.gaussian import GaussianProcess
from weft.process.sequence import EncodedCanvas
from weft.rng import Rng
from weft.sampling.fill_gaussian import fill_gaussian
from weft.sampling.guidance import GuidanceConfig
from weft.sampling.latent_condition import make_condition
from weft.sampling.steps_gaussian import DenoiseFn, GaussianSamplerConfig
from weft.train.recipes.codec_check import Distances, Place, linear_prediction, measure
from weft.train.recipes.latent_data import LatentStream, mix
from weft.train.recipes.latent_module import LatentModule

SAMPLER = GaussianSamplerConfig(kind="ddim", steps=8)
"""How fills are drawn while a model is trained."""
MIN_LEVEL_DB = -55.0
"""Gaps that are quieter, in dB of full scale, are passed over."""


@final
@dataclass(frozen=True, kw_only=True)
class CheckGap:
    """A gap of the valid split in a window of latents."""

    place: Place
    """The same in samples: the mean of the channels of the window."""
    latents: Float32[np.ndarray, "l d"]
    """Clean."""
    known: Bool[np.ndarray, " l"]
    """True where a frame is given."""
    draft: Float32[np.ndarray, "l d"]
    """The best one; zeros where there is none."""
    confidence: Float32[np.ndarray, " l"]
    """How sure the search was of it."""
    draft_samples: Float32[np.ndarray, "1 g"] | None
    """What the search puts into the gap."""
    gain: float
    """Of the latents' sound over the place's."""


def find_gaps(
    cache: SampleCache, streams: Sequence[LatentStream], *, num_frames: int, hop_length: int
) -> list[CheckGap]:
    """Return the drafted gaps of the mid streams of a split, each in the middle of its window."""
    by_digest = {entry.digest: i for i, entry in enumerate(cache.entries)}
    found = []
    for stream in streams:
        if stream.name != "mid" or len(stream.latents) < num_frames:
            continue
        for gap in stream.gaps:
            if gap.stop - gap.first > num_frames - 16:
                continue
            middle = (gap.first + gap.stop - num_frames) // 2
            start = max(0, min(middle, len(stream.latents) - num_frames))
            first = start * hop_length
            last = min(stream.entry.num_samples, first + num_frames * hop_length)
            sound = mix(cache.read(by_digest[stream.entry.digest], first, last), "mid")[None]
            region = Region(start=gap.place.start - first, stop=gap.place.stop - first)
            if level_db(sound[:, region.start : region.stop]) < MIN_LEVEL_DB:
                continue
            where = slice(gap.first - start, gap.stop - start)
            latents = stream.latents[start : start + num_frames].astype(np.float32)
            known = np.ones(num_frames, dtype=bool)
            known[where] = False
            draft, sure = np.zeros_like(latents), np.zeros(num_frames, np.float32)
            if gap.drafts:
                draft[where], sure[where] = gap.drafts[0], gap.confidences[0]
            found.append(
                CheckGap(
                    place=Place(
                        corpus=stream.entry.corpus,
                        recording=stream.entry.entry.file,
                        position=first,
                        samples=sound,
                        gap=region,
                    ),
                    latents=latents,
                    known=known,
                    draft=draft,
                    confidence=sure,
                    draft_samples=mix(gap.place.drafts[0], "mid")[None] if gap.drafts else None,
                    gain=stream.gain,
                )
            )
    return found


def denoiser(
    module: LatentModule, condition: Float[Tensor, "b l e"] | None, process: GaussianProcess
) -> DenoiseFn:
    """Return the denoised estimate of a network with a condition; None: told of nothing."""

    def denoise(x: Float[Tensor, "b l d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b l d"]:
        return process.to_x0(module.network(x, t, condition=condition), x, t)

    return denoise


@torch.no_grad()
def fill_latents(
    module: LatentModule,
    gaps: Sequence[CheckGap],
    *,
    has_drafts: bool,
    start: float = 1.0,
    sampler: GaussianSamplerConfig = SAMPLER,
    batch_size: int = 24,
) -> Float32[np.ndarray, "g l d"]:
    """Return filled windows.

    Args:
        module: in eval mode.
        gaps: what to fill.
        has_drafts: whether the model is given the drafts.
        start: how far from its draft a gap starts that has one, in (0, 1]; 1: from noise.
        sampler: how.
        batch_size: windows that go through the network together.
    """
    device = next(module.parameters()).device
    filled = []
    for i in range(0, len(gaps), batch_size):
        batch = gaps[i : i + batch_size]
        latents, known, draft, confidence = (
            torch.from_numpy(np.stack([getattr(gap, name) for gap in batch])).to(device)
            for name in ("latents", "known", "draft", "confidence")
        )
        condition = make_condition(latents, known, draft, confidence * has_drafts)
        rngs = [Rng(0).stream(i + k) for k in range(len(batch))]
        is_drafted = has_drafts & (confidence > 0).any(dim=1)
        x = torch.empty_like(latents)
        for rows, strength in ((is_drafted, start), (~is_drafted, 1.0)):
            if not bool(rows.any()):
                continue
            found = fill_gaussian(
                EncodedCanvas(
                    x=(latents * known[..., None])[rows],
                    known=known[rows],
                    valid=torch.ones_like(known[rows]),
                    draft=draft[rows],
                ),
                denoiser(module, condition[rows], module.process),
                module.process,
                sampler=sampler,
                guidance=GuidanceConfig(step_size=0.0, consistency="noised"),
                rngs=[rng for rng, is_in in zip(rngs, rows.tolist(), strict=True) if is_in],
                strength=strength,
            )
            x[rows] = found.x
        filled.append(x.cpu().numpy())
    return np.concatenate(filled)


@torch.no_grad()
def measure_latents(
    codec: LatentCodec, gaps: Sequence[CheckGap], filled: Float[np.ndarray, "g l d"]
) -> tuple[Distances, Float[np.ndarray, " g"]]:
    """Return distances of what filled windows sound like, and levels over the truth's, in dB."""
    fills, levels = [], []
    for gap, latents in zip(gaps, filled, strict=True):
        decoded = codec.decode(torch.from_numpy(latents)[None])[0].double().numpy() / gap.gain
        region = gap.place.gap
        fills.append(decoded[:, region.start : region.stop])
        truth = gap.place.samples[:, region.start : region.stop]
        levels.append(level_db(fills[-1]) - level_db(truth))
    places = [gap.place for gap in gaps]
    return measure(places, fills, codec.sample_rate), np.array(levels)


def baselines(codec: LatentCodec, gaps: Sequence[CheckGap]) -> dict[str, Distances]:
    """Return what needs no network: the codec's round trip, the drafts, linear prediction."""
    places = [gap.place for gap in gaps]
    drafts = [
        np.zeros((1, gap.place.gap.num_samples)) if gap.draft_samples is None else gap.draft_samples
        for gap in gaps
    ]
    rate = codec.sample_rate
    return {
        "round_trip": measure_latents(codec, gaps, np.stack([gap.latents for gap in gaps]))[0],
        "draft": measure(places, [d.astype(np.float64) for d in drafts], rate, is_composed=True),
        "lpc": linear_prediction(places, rate),
    }
