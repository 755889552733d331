"""Filling gaps with a latent model: a codec, a network over its latents, and a sampler."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weft.canvas.canvas import Window
from weft.canvas.filler import Fill, Filler, RoundTripFn
from weft.canvas.style import Style
from weft.canvas.tags import known_tags
from weft.classical.joining import blend_edges
from weft.classical.levels import TOLERANCE_DB
from weft.classical.matching import SimilarityConfig
from weft.classical.noise import add_noise_residual
from weft.codecs.base import LatentCodec
from weft.errors import ConfigError, UnsupportedCanvasError
from weft.nn.dit import Dit
from weft.process.gaussian import GaussianProcess
from weft.process.sequence import EncodedCanvas
from weft.rng import Rng
from weft.sampling.fallback import predict_linearly
from weft.sampling.fill_gaussian import fill_gaussian
from weft.sampling.guidance import ReconstructionLoss, Weighted
from weft.sampling.latent_condition import make_condition, num_condition
from weft.sampling.latent_settings import CONDITIONAL, GUIDED, LatentFillerConfig, LatentSampling
from weft.sampling.latent_sound import LatentSound
from weft.sampling.latent_takes import (
    Candidate,
    Drawn,
    PreparedGap,
    SequenceKey,
    edges_of,
    is_pulled,
    prepare_gap,
    rank_takes,
)
from weft.sampling.measure import TimeMask
from weft.sampling.steps_gaussian import DenoiseFn, draw_noise

_NOISE_KEY = 1 << 16
"""Beside the numbers of parts: the stream from which added noise is drawn."""

_PULLED_DB = 1.0
"""How far from its sides' levels a fill may be that a style pulls: how loud is their matter."""

StyleLossFn: TypeAlias = Callable[[Style, LatentCodec, Tensor], Sequence[Weighted]]
"""What pulls latents towards a style: ``(style, codec, known) -> losses`` of sequences ``b l d``,
whose frames are given where ``known``, ``b l``."""


@final
class LatentFiller(Filler):
    """Fills gaps with latents that a network denoises, given latents on both sides and drafts.

    Source: seed 001. Differs: the network is told what is known, and of drafts, unless the mode is
    ``guided``; the sides are encoded without the hole; known samples are kept as they are, the fill
    is joined inside the gap; where a fill is near to its draft, the draft's own samples are given
    back what the codec loses of them.
    """

    def __init__(
        self,
        codec: LatentCodec,
        network: Dit,
        process: GaussianProcess,
        *,
        sampling: LatentSampling | None = None,
        free: LatentSampling = GUIDED,
        pulled: LatentSampling = GUIDED,
        config: LatentFillerConfig | None = None,
        style_losses: StyleLossFn | None = None,
        name: str = "weft-latent",
    ) -> None:
        """Put the parts together; codec and network stay where they are, in eval mode.

        Args:
            codec: turns sound into latents and back.
            network: denoises latents; may have no inputs for what is known, if it is guided.
            process: how its output is to be read.
            sampling: how latents are drawn; as the mode has it unless given.
            free: how they are drawn where nothing is known: in few steps next to nothing comes.
            pulled: how they are drawn where something is known and a style pulls: in few steps it
                does not come far.
            config: everything else.
            style_losses: what pulls a fill towards a style; None: it follows none.
            name: in tables, receipts and on the command line.

        Raises:
            ConfigError: codec and network have different features, or the network cannot be told
                what is known and is to be.
        """
        self.config = config or LatentFillerConfig()
        is_told = self.config.mode == "conditional"
        check_features(codec.num_features, network, is_told=is_told)
        self.codec = codec.eval().requires_grad_(False)
        self.network = network.eval().requires_grad_(False)
        self.process = process
        self.sampling = sampling or (CONDITIONAL if is_told else GUIDED)
        self.free = free
        self.pulled = pulled
        self._style_losses = style_losses
        self._name = name
        self._sound = LatentSound(self.codec, self.config)
        is_searched = is_told and self.config.draft == "similarity"
        self._search = SimilarityConfig(context_ms=self.config.search_ms) if is_searched else None
        self._device = next(network.parameters()).device

    @property
    def name(self) -> str:
        return self._name

    @property
    def max_gap_ms(self) -> float | None:
        return self.config.max_gap_ms

    @property
    def piece_ms(self) -> float | None:
        piece_ms = self.config.piece_ms
        return self.max_gap_ms if piece_ms is None else piece_ms

    @property
    def num_parameters(self) -> int:
        modules = (self.codec, self.network)
        return sum(value.numel() for module in modules for value in module.parameters())

    @property
    def max_hz(self) -> float | None:
        return self.codec.sample_rate / 2

    @property
    def round_trip(self) -> RoundTripFn | None:
        return self._sound.round_trip

    @property
    def uses_draft(self) -> bool:
        return True

    @property
    def uses_style(self) -> bool:
        return self._style_losses is not None

    @property
    def tags(self) -> tuple[str, ...]:
        return known_tags() if self.uses_style else ()

    @property
    def can_generate(self) -> bool:
        return True

    def with_steps(self, num_steps: int) -> "LatentFiller":
        """See `Filler.with_steps`.

        Raises:
            ConfigError: the number is out of range.
        """
        sampling, free, pulled = (
            replace(each, sampler=replace(each.sampler, steps=num_steps))
            for each in (self.sampling, self.free, self.pulled)
        )
        return self.changed(sampling=sampling, free=free, pulled=pulled)

    def changed(
        self,
        *,
        sampling: LatentSampling | None = None,
        free: LatentSampling | None = None,
        pulled: LatentSampling | None = None,
        config: LatentFillerConfig | None = None,
        style_losses: StyleLossFn | None = None,
    ) -> "LatentFiller":
        """Return a filler with the same networks and other settings; its own unless given.

        Raises:
            ConfigError: see `__init__`.
        """
        return LatentFiller(
            self.codec,
            self.network,
            self.process,
            sampling=sampling or self.sampling,
            free=free or self.free,
            pulled=pulled or self.pulled,
            config=config or self.config,
            style_losses=style_losses or self._style_losses,
            name=self._name,
        )

    def context_ms(self, gap_ms: float) -> float:
        """Return the length of a sequence: at an end of the recording all is on one side.

        Where drafts are searched for, as much as is searched.
        """
        length = self.config.length_ms(gap_ms)
        return length if self._search is None else max(length, self._search.context_ms)

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        """Draw latents for all windows together; see `Filler.fill`.

        The loudest part of the channels is drawn for all candidates, the others for those that are
        returned. A gap beside which there is something, but not enough for frames or silence, is
        filled by linear prediction, with next to no confidence.
        """
        num_drawn = max(num_takes, self.config.num_candidates)
        prepared = {
            i: found
            for i, window in enumerate(windows)
            if window.draft_strength != 0
            and (found := prepare_gap(window, self._sound, num_drawn, search=self._search, rng=rng))
            is not None
        }
        keys = [(i, take, 0) for i in prepared for take in range(num_drawn)]
        drawn = self._draw(prepared, keys, num_drawn, rng)
        best = {
            i: rank_takes(gap, [drawn[i, take, 0] for take in range(num_drawn)], self._sound)[
                :num_takes
            ]
            for i, gap in prepared.items()
        }
        rest = [
            (i, candidate.take, k)
            for i, candidates in best.items()
            for candidate in candidates
            for k in range(1, prepared[i].num_parts)
        ]
        drawn |= self._draw(prepared, rest, num_drawn, rng)
        fills: list[list[Fill]] = []
        for i, window in enumerate(windows):
            if window.draft is not None and window.draft_strength == 0:
                fills.append([self._unchanged(window.draft)])
            elif i not in prepared:
                fills.append([predict_linearly(window, rng, model=self.name, what="latents")])
            else:
                fills.append(
                    [self._render(prepared[i], i, candidate, drawn, rng) for candidate in best[i]]
                )
        return fills

    def _draw(
        self,
        prepared: Mapping[int, PreparedGap],
        keys: Iterable[SequenceKey],
        num_takes: int,
        rng: Rng,
    ) -> dict[SequenceKey, Drawn]:
        """Fill sequences; those that are equally long, and wanted alike, together."""
        groups: dict[tuple[int, float, int, bool], list[SequenceKey]] = defaultdict(list)
        for key in keys:
            item = prepared[key[0]]
            style = item.window.style
            layout = item.encoded.layout
            strength = item.strength_of(key[1], num_takes)
            group = layout.num_frames, strength, id(style), bool(layout.known.any())
            groups[group].append(key)
        drawn: dict[SequenceKey, Drawn] = {}
        size = self.config.batch_size
        for members in groups.values():
            for batch in (members[i : i + size] for i in range(0, len(members), size)):
                drawn |= zip(batch, self._draw_batch(prepared, batch, num_takes, rng), strict=True)
        return drawn

    def _draw_batch(
        self,
        prepared: Mapping[int, PreparedGap],
        batch: Sequence[SequenceKey],
        num_takes: int,
        rng: Rng,
    ) -> Iterator[Drawn]:
        """Yield the filled sequence of each key."""
        items = [prepared[i] for i, _, _ in batch]
        x = torch.stack(
            [item.encoded.latents[k] for item, (_, _, k) in zip(items, batch, strict=True)]
        )
        known = torch.from_numpy(np.stack([item.encoded.layout.known for item in items]))
        known = known.to(self._device)
        drafts, sure = torch.zeros_like(x), torch.zeros_like(x[..., 0])
        is_empty = ~known
        for row, (item, (_, take, k)) in enumerate(zip(items, batch, strict=True)):
            number = item.draft_of(take, num_takes)
            if number is not None:
                draft = item.drafts[number]
                drafts[row, draft.first : draft.stop] = draft.latents[k]
                sure[row, draft.first : draft.stop] = item.confidence_of(number)
                is_empty[row, draft.first : draft.stop] = False
        starts = [item.window.start + item.window.gap.start for item in items]
        rngs = [rng.stream(s, take, k) for s, (_, take, k) in zip(starts, batch, strict=True)]
        strength = items[0].strength_of(batch[0][1], num_takes)
        # What a sound is like is heard in its loudest part; the others are only made to fit.
        style = items[0].window.style if batch[0][2] == 0 else None
        sampling = self.sampling
        if strength == 1 and not bool(known.any()):
            sampling = self.free
        elif style is not None and is_pulled(items[0].window):
            sampling = self.pulled
        filled = fill_gaussian(
            EncodedCanvas(
                x=x,
                known=known,
                valid=torch.ones_like(known),
                draft=_with_noise(drafts, is_empty, rngs) if strength < 1 else None,
            ),
            sampling.scaled(self._denoise_fn(make_condition(x, known, drafts, sure))),
            self.process,
            sampler=sampling.sampler,
            guidance=sampling.guidance,
            losses=[*self._reconstruction(x, known), *self._style(style, known)],
            strength=strength,
            rngs=rngs,
        )
        for row in filled.x:
            yield Drawn(latents=row, num_calls=filled.num_calls)

    def _denoise_fn(self, condition: Float[Tensor, "b l e"]) -> DenoiseFn:
        told = condition if self.config.mode == "conditional" else None

        def denoise(x: Float[Tensor, "b l d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b l d"]:
            return self.process.to_x0(self.network(x, t, condition=told), x, t)

        return denoise

    def _reconstruction(self, x: Float[Tensor, "b l d"], known: Tensor) -> tuple[Weighted, ...]:
        """Return what guides a network that is told nothing."""
        if self.config.mode == "conditional" or not bool(known.any()):
            return ()
        mask = TimeMask(known=known)
        return (Weighted(loss=ReconstructionLoss(operator=mask, target=mask.apply(x))),)

    def _style(self, style: Style | None, known: Bool[Tensor, "b l"]) -> Sequence[Weighted]:
        if style is None:
            return ()
        if self._style_losses is None:
            raise UnsupportedCanvasError(
                f"{self.name} follows no style; leave it out, or take a model with a style head"
            )
        return self._style_losses(style, self.codec, known)

    def _render(
        self,
        item: PreparedGap,
        i: int,
        best: Candidate,
        drawn: Mapping[SequenceKey, Drawn],
        rng: Rng,
    ) -> Fill:
        """Turn latents into the samples of the gap, and join them to both sides."""
        window, config = item.window, self.config
        draft = None if best.draft is None else item.drafts[best.draft]
        parts = [best.decoded]
        for k in range(1, item.num_parts):
            sequence = drawn[i, best.take, k].latents[None]
            parts += self._sound.decode_part(item.encoded, k, sequence, [draft])
        tolerance_db = _PULLED_DB if is_pulled(window) else TOLERANCE_DB
        samples = self._sound.to_gap(item.encoded, parts, item.own, tolerance_db=tolerance_db)
        if config.noise_share and item.own is None:
            stream = rng.stream(window.start + window.gap.start, best.take, _NOISE_KEY)
            noisy = add_noise_residual(samples, window, stream)
            samples = samples + config.noise_share * (noisy - samples)
        details: dict[str, float | str] = {
            "network_calls": float(best.drawn.num_calls),
            "frames": float(len(parts) * int((~item.encoded.layout.known).sum())),
            "score_db": best.score,
            "draft": "none" if best.draft is None else item.source,
        }
        trust = None if item.own is not None else 0.0
        if best.draft is not None:
            details["draft_confidence"] = item.confidence_of(best.draft)
            details["detail"] = best.decoded.detail
            trust = item.drafts[best.draft].confidence
        return Fill(
            samples=blend_edges(samples, *edges_of(window, config)),
            model=self.name,
            confidence=config.confidence_of(best.score, trust),
            is_joined=config.edge_ms > 0,
            max_hz=self.max_hz,
            details=details,
        )

    def _unchanged(self, draft: Float[np.ndarray, "c g"]) -> Fill:
        """Return a draft of which nothing is to be changed."""
        details: dict[str, float | str] = {"draft": "own", "network_calls": 0.0}
        return Fill(samples=draft, model=self.name, confidence=1.0, is_joined=True, details=details)


def _with_noise(
    drafts: Float[Tensor, "b l d"],
    is_empty: Bool[Tensor, "b l"],
    rngs: Sequence[np.random.Generator],
) -> Float[Tensor, "b l d"]:
    """Return drafts with noise where another gap has none: zeros would be too quiet a start."""
    if not bool(is_empty.any()):
        return drafts
    return torch.where(is_empty[..., None], draw_noise(rngs, drafts.shape[1:], drafts), drafts)


def check_features(num_features: int, network: Dit, *, is_told: bool) -> None:
    """Check that a network can work on a codec's latents.

    Args:
        num_features: of the codec.
        network: to be used.
        is_told: whether it is to be told what is known.

    Raises:
        ConfigError: features differ, or it cannot be told.
    """
    found = network.config
    wanted = num_condition(num_features)
    if found.num_features != num_features:
        raise ConfigError(
            f"the codec has {num_features} features and the network {found.num_features}: they "
            "were not made for each other; use the codec that the network was trained with"
        )
    if is_told and found.num_condition != wanted:
        raise ConfigError(
            f"the network takes {found.num_condition} numbers beside each frame, to be told what "
            f"is known it needs {wanted}; take mode='guided', or another network"
        )
