"""Settings of `weft.sampling.latent_filler`."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, TypeAlias, final, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weft.errors import ConfigError
from weft.sampling.channel_parts import ChannelMode
from weft.sampling.frame_settings import FrameConfig, check_choice, check_range
from weft.sampling.guidance import GuidanceConfig
from weft.sampling.steps_gaussian import DenoiseFn, GaussianSamplerConfig

FillMode: TypeAlias = Literal["conditional", "guided"]
DraftSource: TypeAlias = Literal["similarity", "none"]


@final
@dataclass(frozen=True, kw_only=True)
class LatentFillerConfig:
    """How a latent model fills gaps; its network and its samplers have settings of their own."""

    mode: FillMode = "conditional"
    """``conditional``: the network is told what is known, and drafts. ``guided``: it is told
    nothing, and gradients of what is known guide it (seed 001)."""
    draft: DraftSource = "similarity"
    """Where drafts come from, if the user gives none: ``similarity``: places of the recording whose
    surroundings are like the gap's. Not for ``guided``."""
    search_ms: float = 20_000.0
    """How much of the recording is searched for drafts on each side, in [100, 600000]."""
    draft_start: float = 1.0
    """How far from a draft that was found sampling starts, in (0, 1], as a user's strength says it
    of a user's draft; 1: from noise, and the network is only told of the draft."""
    fallback_start: float = 1.0
    """How far from both sides' extrapolation sampling starts where the search finds nothing, in
    (0, 1]; the network is not told of it. 1: from noise."""
    detail: float = 1.0
    """How far a fill becomes a draft that was found, where it is near to it, in [0, 1]: with 1,
    frames that the network made much like the draft are the draft, with all that the codec loses.
    Of a draft that the user gave, only what the codec loses is given back."""
    detail_range: tuple[float, float] = (0.35, 0.9)
    """Distances of a fill from its draft, a frame, up to which it becomes the draft as far as that,
    and from which on not at all; as a root mean square over features, each in [0, 10], in order."""
    detail_doubt: float = 0.0
    """What is taken off both distances of ``detail_range`` for a found draft that the search does
    not trust at all, and in proportion for those it trusts more, in [0, 10]."""
    window_ms: float = 2200.0
    """Length of a sequence for gaps to ``long_gap_ms``, in [100, 60000]."""
    long_window_ms: float = 4400.0
    """Length of a sequence for longer gaps, in [100, 60000]."""
    long_gap_ms: float = 750.0
    """Gaps longer than this get the longer sequence, in [0, 60000]."""
    max_gap_ms: float = 2000.0
    """Longer gaps come in pieces, in [10, 60000]; less than either length of a sequence."""
    piece_ms: float | None = None
    """Longest of these pieces, in [10, max_gap_ms]; None: ``max_gap_ms``. Before a piece there is
    sound and after it none, if any, so that less can be made well at once."""
    guard: int = 2
    """Frames on each side of what is unknown that are not trusted, in [0, 8]."""
    extension_frames: int = 4
    """Frames by which prediction continues each known run while it is encoded, in [0, 32]."""
    channels: ChannelMode = "principal"
    """How channels are taken apart."""
    least_part_db: float = -40.0
    """Parts of the channels softer than this beside the loudest are not filled, in [-120, 0) dB."""
    level_range_db: tuple[float, float] = (-34.0, -12.0)
    """Levels, in dB of full scale, that the codec is given as they are, see `FrameConfig`."""
    match_gain_db: float = 6.0
    """Most that a band of the fill is changed by what the codec did to the sound beside the gap, in
    [0, 24] dB; 0: nothing is."""
    noise_share: float = 0.0
    """How much of the energy that a fill lacks beside the steady level of its sides is given to it
    as noise, in [0, 1]."""
    edge_ms: float = 20.0
    """How long the surroundings ring on into the fill at each end, in [0, 200] ms; 0 leaves the
    join to the driver."""
    edge_span_ms: float = 8.0
    """Span of the models that let them ring on, in (0, 50] ms."""
    num_candidates: int = 4
    """Fills that are drawn for each gap, of which the best are returned, in [1, 64]; never fewer
    than are wanted. Each has another draft as far as there are; the last of several has none."""
    context_weight: float = 1.0
    """How much a fill's distance from the frames around it counts in the ranking, in dB for a root
    mean square of 1, in [0, 100]."""
    batch_size: int = 8
    """Sequences that go through the network together, in [1, 1024]."""
    sure_score: float = -8.0
    """Score of the ranking, in dB, that gives the confidence 0.5 with a draft that the search is
    half sure of, in [-100, 0]."""
    sure_slope: float = 0.3
    """How fast the log odds of the confidence rise with it, in (0, 10] a dB."""
    sure_floor: float = -100.0
    """Scores below count as this one, in [-100, 0] dB."""
    sure_draft: float = 0.0
    """How much the log odds rise from a draft that the search found but does not trust, or none, to
    one that it is sure of, in [0, 20]."""

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, get_args(FillMode))
        check_choice("draft", self.draft, get_args(DraftSource))
        check_range("search_ms", self.search_ms, 100, 600_000)
        check_range("draft_start", self.draft_start, 0, 1, is_open=True)
        check_range("fallback_start", self.fallback_start, 0, 1, is_open=True)
        check_range("detail", self.detail, 0, 1)
        if len(self.detail_range) != 2 or not (
            0 <= self.detail_range[0] <= self.detail_range[1] <= 10
        ):
            raise ConfigError(
                "detail_range must be two distances in [0, 10], the smaller first, got "
                f"{self.detail_range}"
            )
        check_range("detail_doubt", self.detail_doubt, 0, 10)
        check_range("window_ms", self.window_ms, 100, 60_000)
        check_range("long_window_ms", self.long_window_ms, 100, 60_000)
        check_range("long_gap_ms", self.long_gap_ms, 0, 60_000)
        check_range("max_gap_ms", self.max_gap_ms, 10, 60_000)
        for gap_ms in (min(self.long_gap_ms, self.max_gap_ms), self.max_gap_ms):
            if not gap_ms < self.length_ms(gap_ms):
                raise ConfigError(
                    f"a gap of {gap_ms:g} ms gets a sequence of {self.length_ms(gap_ms):g} ms, "
                    "which holds nothing else; lengthen it, or shorten max_gap_ms or long_gap_ms"
                )
        if self.piece_ms is not None:
            check_range("piece_ms", self.piece_ms, 10, self.max_gap_ms)
        check_range("noise_share", self.noise_share, 0, 1)
        check_range("edge_ms", self.edge_ms, 0, 200)
        check_range("edge_span_ms", self.edge_span_ms, 0, 50, is_open=True)
        check_range("num_candidates", self.num_candidates, 1, 64)
        check_range("context_weight", self.context_weight, 0, 100)
        check_range("batch_size", self.batch_size, 1, 1024)
        check_range("sure_score", self.sure_score, -100, 0)
        check_range("sure_slope", self.sure_slope, 0, 10, is_open=True)
        check_range("sure_floor", self.sure_floor, -100, 0)
        check_range("sure_draft", self.sure_draft, 0, 20)
        _ = self.frames  # checks the others

    def confidence_of(self, score: float, trust: float | None) -> float:
        """Return a number in (0, 1) that rises with the score, and with the search's trust.

        Args:
            score: of the ranking, in dB, <= 0.
            trust: of the search in the draft, in [0, 1], 0 without one; None: it was the user's.
        """
        odds = self.sure_slope * (max(score, self.sure_floor) - self.sure_score)
        if trust is not None:
            odds += self.sure_draft * (trust - 0.5)
        return 1 / (1 + math.exp(-min(max(odds, -30.0), 30.0)))

    @property
    def frames(self) -> FrameConfig:
        """How sound goes through the codec."""
        return FrameConfig(
            guard=self.guard,
            extension_frames=self.extension_frames,
            channels=self.channels,
            least_part_db=self.least_part_db,
            level_range_db=self.level_range_db,
            match_gain_db=self.match_gain_db,
        )

    def length_ms(self, gap_ms: float) -> float:
        """Return the length of the sequence for a gap.

        Example:
            >>> [LatentFillerConfig().length_ms(gap_ms) for gap_ms in (300.0, 1500.0)]
            [2200.0, 4400.0]
        """
        return self.window_ms if gap_ms <= self.long_gap_ms else self.long_window_ms


@final
@dataclass(frozen=True, kw_only=True)
class LatentSampling:
    """How latents are drawn."""

    sampler: GaussianSamplerConfig = field(
        default_factory=lambda: GaussianSamplerConfig(kind="ddim", steps=8)
    )
    """Which steps."""
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    """How known frames are kept, and how strongly losses guide."""
    gains: tuple[tuple[float, float], ...] = ()
    """Times in [0, 1], rising, each with the factor, in (0, 10], that estimates of the clean
    sequence get there; linear in between, constant beyond. Without any, estimates stay as they are.
    A network that saw few times near 1 says too little there; `weft train latent` fits them."""

    def __post_init__(self) -> None:
        are_usable = all(
            len(pair) == 2 and 0 <= pair[0] <= 1 and 0 < pair[1] <= 10 for pair in self.gains
        )
        if not are_usable or any(one[0] >= other[0] for one, other in pairwise(self.gains)):
            raise ConfigError(
                "gains must be pairs of rising times in [0, 1] and factors in (0, 10], got "
                f"{self.gains}"
            )

    def scaled(self, denoise_fn: DenoiseFn) -> DenoiseFn:
        """Return estimates with their gains.

        Example:
            >>> import torch
            >>> sampling = LatentSampling(gains=((0.5, 1.0), (1.0, 1.2)))
            >>> scaled = sampling.scaled(lambda x, t: x)
            >>> round(scaled(torch.ones(1, 1, 1), torch.tensor([0.75])).item(), 6)
            1.1
        """
        if not self.gains:
            return denoise_fn
        times, gains = zip(*self.gains, strict=True)

        def denoise(x: Float[Tensor, "b l d"], t: Float[Tensor, " b"]) -> Tensor:
            gain = np.interp(t.double().cpu().numpy(), times, gains)
            return denoise_fn(x, t) * torch.from_numpy(gain).to(x)[:, None, None]

        return denoise


CONDITIONAL = LatentSampling()
"""For a network that is told what is known: few steps, and no gradients unless a style asks."""
GUIDED = LatentSampling(sampler=GaussianSamplerConfig(kind="ddpm", steps=50))
"""For a network that is told nothing.

Source: seed 001, experiments: DDPM, 50 steps, step size 0.03. Differs: known frames are put back
with the noise of the step.
"""
