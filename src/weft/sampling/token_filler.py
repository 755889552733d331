"""Filling gaps with a token model: a codec, a network over its tokens, and a sampler."""

import math
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from weft.canvas.canvas import Window
from weft.canvas.filler import Fill, Filler, RoundTripFn
from weft.canvas.style import Style
from weft.canvas.tags import known_tags
from weft.classical.joining import join_edges
from weft.codecs.base import TokenCodec
from weft.errors import ConfigError, QualityWarning
from weft.heads.categorical import CategoricalHead, Prediction
from weft.nn.token_dit import TokenDit
from weft.process.masked import MaskedProcess
from weft.process.sequence import EncodedCanvas
from weft.rng import Rng
from weft.sampling.fallback import predict_linearly
from weft.sampling.particles import ParticleConfig, fill_with_particles
from weft.sampling.steps_masked import MaskedSamplerConfig, fill_tokens
from weft.sampling.style import PARTICLE_STRENGTH, StyleMeter
from weft.sampling.token_settings import TokenFillerConfig
from weft.sampling.token_sound import TokenSound, TokenWindow
from weft.takes import score_take

_Key: TypeAlias = tuple[int, int, int]
"""Number of the window, of the take, and of the part of the channels."""


@final
@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """A filled sequence."""

    codes: Int[Tensor, " l"]
    """The codec's tokens."""
    log_prob: float
    """Mean over its new tokens."""
    num_calls: int
    """Calls of the network for the batch that it was in."""
    style_distance: float | None = None
    """From the style that it was drawn towards; None: there was none."""


@final
class TokenFiller(Filler):
    """Fills gaps with tokens that a network draws, given the tokens on both sides.

    Source: AIDD (seed 000), inference. Differs: the sides are encoded without the hole; every frame
    that the gap touches is drawn, and guards beside it; the context is as long as the network was
    trained at; rate and channels of the recording are kept; known frames are decoded from the
    encoder's own features; the fill is joined inside the gap. Styles are followed by particles, in
    the loudest part of the channels.
    """

    def __init__(
        self,
        codec: TokenCodec,
        network: TokenDit,
        *,
        prediction: Prediction = "logits",
        sampler: MaskedSamplerConfig | None = None,
        config: TokenFillerConfig | None = None,
        particles: ParticleConfig | None = None,
        name: str = "weft-tokens",
    ) -> None:
        """Put the parts together; codec and network stay where they are, in eval mode.

        Args:
            codec: turns sound into tokens and back.
            network: scores tokens.
            prediction: what its output means.
            sampler: how tokens are drawn.
            config: everything else.
            particles: how many fills of a gap grow side by side where a style is asked for.
            name: in tables, receipts and on the command line.

        Raises:
            ConfigError: codec and network have different codebooks. The network may have one
                symbol fewer, as in the release of AIDD.
        """
        num_symbols = check_vocabulary(codec.codebook_size, network.config.codebook_size)
        self.codec = codec.eval().requires_grad_(False)
        self.network = network.eval().requires_grad_(False)
        self.head = CategoricalHead(codebook_size=num_symbols, prediction=prediction)
        self.process = MaskedProcess(codebook_size=num_symbols)
        self.sampler = sampler or MaskedSamplerConfig()
        self.config = config or TokenFillerConfig()
        self._name = name
        self._num_frames = self.config.num_frames or network.num_frames
        if self._num_frames > network.num_frames:
            warning = QualityWarning(
                f"{name}: num_frames is {self._num_frames}, but the network learned from sequences "
                f"of {network.num_frames}; gaps may be filled poorly"
            )
            warnings.warn(warning, stacklevel=2)
        self._sound = TokenSound(self.codec, self.config, self._num_frames)
        self._device = next(network.parameters()).device
        self._symbols = nearest_symbols(codec, num_symbols)
        self.particles = particles or ParticleConfig()
        self._meters = lru_cache(maxsize=2)(partial(StyleMeter, codec=self.codec))

    @property
    def name(self) -> str:
        return self._name

    @property
    def max_gap_ms(self) -> float | None:
        """What leaves enough context: `TokenFillerConfig.max_gap_share` of a sequence."""
        most = int(self.config.max_gap_share * self._num_frames) - 2 * self.config.guard - 1
        return max(1, most) * self._frame_ms

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
    def uses_style(self) -> bool:
        return True

    @property
    def tags(self) -> tuple[str, ...]:
        return known_tags()

    @property
    def can_generate(self) -> bool:
        return True

    @property
    def _frame_ms(self) -> float:
        return 1000 * self.codec.hop_length / self.codec.sample_rate

    def context_ms(self, gap_ms: float) -> float:
        """Return the length of a sequence: at an end of the recording all is on one side."""
        return self._num_frames * self._frame_ms

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        """Draw tokens for all windows together; see `Filler.fill`.

        A gap without enough sound beside it to make frames of is filled by linear prediction, with
        next to no confidence. No more candidates are drawn than are wanted where a style is asked
        for, as there are particles to choose from, and where nothing is known, as the likeliest of
        all sounds is silence.
        """
        encoded = [self._sound.encode(window) for window in windows]
        found = {i: item for i, item in enumerate(encoded) if item is not None}
        more = max(num_takes, self.config.num_candidates)
        nums = [
            num_takes if _style_of(window) or not window.known.any() else more for window in windows
        ]
        drawn = self._draw(found, nums, rng)
        fills: list[list[Fill]] = []
        for i, window in enumerate(windows):
            if i not in found:
                fill = predict_linearly(window, rng, model=self.name, what="tokens")
                fills.append([replace(fill, details={**fill.details, "tokens": 0.0})])
                continue
            numbers = range(len(found[i].parts))
            takes = [
                self._render(found[i], [drawn[i, take, k] for k in numbers])
                for take in range(nums[i])
            ]
            fills.append(self._ranked(window, takes)[:num_takes])
        return fills

    def _draw(
        self, encoded: Mapping[int, TokenWindow], nums: Sequence[int], rng: Rng
    ) -> dict[_Key, _Drawn]:
        """Fill all sequences, equally long ones together, those towards a style one by one."""
        groups: dict[int, list[_Key]] = defaultdict(list)
        drawn: dict[_Key, _Drawn] = {}
        for i, item in encoded.items():
            style = _style_of(item.window)
            for take in range(nums[i]):
                keys = [(i, take, k) for k in range(len(item.parts))]
                if style is not None:
                    drawn[keys[0]] = self._draw_towards(style, item, take, rng)
                    keys = keys[1:]
                groups[item.layout.num_frames] += keys
        size = self.config.batch_size
        for members in groups.values():
            for batch in (members[i : i + size] for i in range(0, len(members), size)):
                drawn |= zip(batch, self._draw_batch(encoded, batch, rng), strict=True)
        return drawn

    def _draw_batch(
        self, encoded: Mapping[int, TokenWindow], batch: Sequence[_Key], rng: Rng
    ) -> Iterator[_Drawn]:
        """Yield the filled sequence of each key; all have the same length."""
        items = [encoded[i] for i, _, _ in batch]
        known = torch.from_numpy(np.stack([item.layout.known for item in items])).to(self._device)
        codes = torch.stack(
            [item.parts[k].codes for item, (_, _, k) in zip(items, batch, strict=True)]
        )
        starts = [item.window.start + item.window.gap.start for item in items]
        filled = fill_tokens(
            EncodedCanvas(
                x=self._symbols[codes].to(self._device),
                known=known,
                valid=torch.ones_like(known),
            ),
            self._predict,
            self.process,
            self.sampler,
            [rng.stream(s, take, k) for s, (_, take, k) in zip(starts, batch, strict=True)],
        )
        for row in range(len(batch)):
            new = filled.tokens[row].to(codes.device)
            log_probs = filled.log_probs[row][~known[row]]
            yield _Drawn(
                codes=torch.where(known[row].to(codes.device), codes[row], new),
                log_prob=float(log_probs.double().mean()),
                num_calls=filled.num_calls,
            )

    def _draw_towards(self, style: Style, item: TokenWindow, take: int, rng: Rng) -> _Drawn:
        """Fill the loudest part of the channels of one window by particles."""
        part, meter = item.parts[0], self._meters(style)
        known = torch.from_numpy(item.layout.known).to(self._device)
        tilt = PARTICLE_STRENGTH * style.weight

        def codes_of(tokens: Int[Tensor, "p l"]) -> Int[Tensor, "p l"]:
            return torch.where(known, part.codes, tokens)

        @torch.no_grad()
        def cost(tokens: Int[Tensor, "p l"]) -> Float[Tensor, " p"]:
            embedded = self.codec.embed(codes_of(tokens))
            features = torch.where(known[:, None], part.features, embedded)
            return tilt * meter(self.codec.decode(features), known.expand(len(tokens), -1))

        stream = rng.stream(item.window.start + item.window.gap.start, take, 0)
        found = fill_with_particles(
            EncodedCanvas(
                x=self._symbols[part.codes][None].to(self._device),
                known=known[None],
                valid=torch.ones_like(known)[None],
            ),
            self._predict,
            self.process,
            self.sampler,
            cost,
            particles=self.particles,
            rng=stream,
        )
        row = found.draw(stream)
        return _Drawn(
            codes=codes_of(found.tokens[row : row + 1])[0],
            log_prob=float(found.log_probs[row][~known].double().mean()),
            num_calls=found.num_calls,
            style_distance=float(found.costs[row]) / tilt,
        )

    def _predict(
        self,
        tokens: Int[Tensor, "b l"],
        total_noise: Float[Tensor, " b"],
        rows: Int[Tensor, "b m"] | None,
    ) -> Float[Tensor, "b r k"]:
        return self.head.log_probs(self.network(tokens, total_noise, rows=rows), total_noise)

    def _render(self, encoded: TokenWindow, drawn: Sequence[_Drawn]) -> Fill:
        """Turn tokens into the samples of the gap, and join them to both sides."""
        window, config = encoded.window, self.config
        samples = self._sound.decode(encoded, [sequence.codes for sequence in drawn])
        if config.edge_ms:
            samples = join_edges(
                samples,
                window.before(),
                window.after(),
                edge_samples=round(config.edge_ms * window.sample_rate / 1000),
                order=max(1, round(config.edge_span_ms * window.sample_rate / 1000)),
            )
        log_prob = float(np.mean([sequence.log_prob for sequence in drawn]))
        distance = drawn[0].style_distance
        style = {} if distance is None else {"style_distance": distance}
        return Fill(
            samples=samples,
            model=self.name,
            confidence=self._confidence(log_prob),
            is_joined=config.edge_ms > 0,
            max_hz=self.max_hz,
            details={
                "network_calls": float(drawn[0].num_calls),
                "tokens": float(len(drawn) * int((~encoded.layout.known).sum())),
                "log_prob": log_prob,
                **style,
            },
        )

    def _confidence(self, log_prob: float) -> float:
        """Return a number in (0, 1) that rises with the mean logarithm of a token's probability."""
        rise = self.config.sure_slope * (log_prob - self.config.sure_log_prob)
        return 1 / (1 + math.exp(-max(rise, -50.0)))

    def _ranked(self, window: Window, fills: Sequence[Fill]) -> list[Fill]:
        """Return fills, best first; those of equal worth in the order in which they were drawn."""
        if not window.known.any():
            return list(fills)
        if self.config.ranking == "likelihood":
            worth = [float(fill.details["log_prob"]) for fill in fills]
        else:
            worth = [score_take(window, fill.samples).total for fill in fills]
        order = sorted(range(len(fills)), key=lambda i: (-worth[i], i))
        return [fills[i] for i in order]


def _style_of(window: Window) -> Style | None:
    """Return the style that a window is to be filled in, if it has any weight."""
    return window.style if window.style is not None and window.style.weight > 0 else None


def check_vocabulary(codebook_size: int, num_symbols: int) -> int:
    """Return the network's number of symbols, if they can be a codec's tokens.

    Args:
        codebook_size: of the codec.
        num_symbols: of the network, without the absorbing state.

    Raises:
        ConfigError: they are neither as many nor, as in the release of AIDD, one fewer.
    """
    if not codebook_size - 1 <= num_symbols <= codebook_size:
        raise ConfigError(
            f"the codec has {codebook_size} tokens and the network {num_symbols}: they were not "
            "made for each other; use the codec that the network was trained with"
        )
    return num_symbols


def nearest_symbols(codec: TokenCodec, num_symbols: int) -> Int[Tensor, " k"]:
    """Return which of a network's symbols stands for each token of a codec.

    Each for itself, unless the network has one fewer: the release of AIDD uses the last code as its
    absorbing state. The nearest other code stands for that one.
    """
    device = next((value.device for value in codec.state_dict().values()), torch.device("cpu"))
    symbols = torch.arange(codec.codebook_size, device=device)
    if num_symbols < codec.codebook_size:
        with torch.no_grad():
            table = codec.embed(symbols[None])[0].double()
        distances = torch.cdist(table[num_symbols:], table[:num_symbols])
        symbols[num_symbols:] = distances.argmin(dim=1)
    return symbols
