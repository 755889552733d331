"""The absorbing process: tokens are replaced, one after the other, by a state that means nothing.

The absorbing state stands outside the codebook: symbols are 0 .. k - 1, the absorbing state is k.
The released code of AIDD puts it on the last symbol, so that a codec's code 4095 reads as masked.
"""

from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weft.errors import ConfigError, ShapeError
from weft.process.schedules import LogLinearNoise
from weft.process.spans import SpanConfig, draw_masked


@final
@dataclass(frozen=True, kw_only=True)
class Corrupted:
    """Tokens at some time of the process, and what losses need to know of that time."""

    tokens: Int[Tensor, "b l"]
    """In [0, k]; k where masked."""
    masked: Bool[Tensor, "b l"]
    """True where a token holds the absorbing state."""
    total_noise: Float[Tensor, " b"]
    """Cumulative noise of each item, >= 0, dimensionless."""
    noise_rate: Float[Tensor, " b"]
    """Its derivative by time, > 0."""
    t: Float[Tensor, " b"]
    """Time of each item, in [0, 1]."""


@final
@dataclass(frozen=True, kw_only=True)
class MaskedProcess:
    """How tokens are corrupted in training; samplers run the same process backwards.

    Example:
        >>> process = MaskedProcess(codebook_size=8, spans=SpanConfig(kind="independent"))
        >>> clean = torch.arange(8)[None]
        >>> state = process.corrupt(
        ...     clean, torch.tensor([0.5]), generator=torch.Generator().manual_seed(0)
        ... )
        >>> bool((state.tokens == torch.where(state.masked, 8, clean)).all())
        True

    Source: SEDD, the "absorb" matrix; AIDD (seed 000), "Span-based masking". Differs: the
    absorbing state is not one of the codec's symbols.
    """

    codebook_size: int
    """Number of real symbols k, in [2, 1048576]."""
    schedule: LogLinearNoise = field(default_factory=LogLinearNoise)
    """How much is masked at which time."""
    spans: SpanConfig = field(default_factory=SpanConfig)
    """Which tokens are masked together."""

    def __post_init__(self) -> None:
        if not 2 <= self.codebook_size <= 1 << 20:
            raise ConfigError(f"codebook_size must be in [2, 1048576], got {self.codebook_size}")

    @property
    def absorbing(self) -> int:
        """The absorbing state."""
        return self.codebook_size

    def corrupt(
        self,
        tokens: Int[Tensor, "b l"],
        t: Float[Tensor, " b"],
        *,
        generator: torch.Generator,
        valid: Bool[Tensor, "b l"] | None = None,
    ) -> Corrupted:
        """Return tokens as they are at time ``t``.

        Args:
            tokens: clean, in [0, k) wherever they are valid.
            t: time of each item, in [0, 1].
            generator: what is drawn from; it may be on another device than the tokens.
            valid: True where a token is no batch padding; padding is never masked.

        Raises:
            ConfigError: a token is outside the codebook, or a time outside [0, 1].
            ShapeError: ``t`` or ``valid`` do not fit ``tokens``.
        """
        if t.shape != tokens.shape[:1]:
            raise ShapeError(f"t has {len(t)} times for {len(tokens)} items; give one an item")
        inside = (tokens >= 0) & (tokens < self.codebook_size)
        if not bool((inside if valid is None else inside | ~valid.to(inside.device)).all()):
            raise ConfigError(
                f"clean tokens must be in [0, {self.codebook_size}), but some are not: the "
                f"absorbing state is {self.absorbing}. Was another codec used, or one with a "
                "larger codebook?"
            )
        num_items, num_frames = tokens.shape
        masked = draw_masked(
            num_items,
            num_frames,
            t,
            schedule=self.schedule,
            config=self.spans,
            generator=generator,
            valid=valid,
        ).to(tokens.device)
        return Corrupted(
            tokens=tokens.masked_fill(masked, self.absorbing),
            masked=masked,
            total_noise=self.schedule.total_noise(t),
            noise_rate=self.schedule.noise_rate(t),
            t=t,
        )
