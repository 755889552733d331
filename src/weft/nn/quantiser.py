"""Vector quantisation with a codebook that follows the frames by moving averages."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, distributed, nn

from weft.errors import ConfigError


@final
@dataclass(frozen=True, kw_only=True)
class QuantiserConfig:
    """The codebook and how it learns; the defaults are WavTokenizer's."""

    codebook_size: int = 4096
    """Codes, in [2, 65536]."""
    width: int = 512
    """Features of a code, in [1, 8192]."""
    decay: float = 0.99
    """Of the moving averages, in [0, 1)."""
    epsilon: float = 1e-5
    """Added to every count, so that no code divides by nothing, > 0."""
    dead_below: float = 2.0
    """A code whose moving count of frames a step is lower is put on a frame of the batch, >= 0; 0:
    never. The count's mean is frames a step over codes: it must be well below that."""
    num_init_steps: int = 200
    """Rounds of k-means over the first frames, in [1, 10000]."""

    def __post_init__(self) -> None:
        if not 2 <= self.codebook_size <= 65536 or not 1 <= self.width <= 8192:
            raise ConfigError(
                "codebook_size must be in [2, 65536] and width in [1, 8192], got "
                f"{self.codebook_size} and {self.width}"
            )
        if not 0 <= self.decay < 1 or not self.epsilon > 0 or not self.dead_below >= 0:
            raise ConfigError(
                "decay must be in [0, 1), epsilon > 0 and dead_below >= 0, got "
                f"{self.decay}, {self.epsilon} and {self.dead_below}"
            )
        if not 1 <= self.num_init_steps <= 10000:
            raise ConfigError(f"num_init_steps must be in [1, 10000], got {self.num_init_steps}")


@final
class Quantiser(nn.Module):
    """Replaces each frame by the nearest of the codes.

    The codebook is no parameter: `learn` moves it. Three buffers say where it is: ``codebook``, and
    the moving counts and sums of which it is the quotient.

    Source: van den Oord et al. 2017 with the updates of Razavi et al. 2019, k-means start and dead
    codes as in SoundStream; EnCodec's settings, as in WavTokenizer.
    """

    def __init__(self, config: QuantiserConfig) -> None:
        super().__init__()
        self.config = config
        shape = (config.codebook_size, config.width)
        self.codebook: Tensor
        self.counts: Tensor
        self.sums: Tensor
        self.is_started: Tensor
        self.register_buffer("codebook", torch.empty(shape))
        nn.init.kaiming_uniform_(self.codebook)
        self.register_buffer("counts", torch.zeros(config.codebook_size))
        self.register_buffer("sums", self.codebook.clone())
        self.register_buffer("is_started", torch.zeros((), dtype=torch.bool))

    def encode(self, features: Float[Tensor, "*b d"]) -> Int[Tensor, "*b"]:
        """Return the number of the nearest code of each frame, by Euclidean distance."""
        with torch.autocast(features.device.type, enabled=False):
            flat = features.reshape(-1, self.config.width).to(self.codebook.dtype)
            half_norm = self.codebook.square().sum(dim=1) / 2
            # The frame's own length is the same for all codes, so it is left out.
            nearest = torch.addmm(-half_norm, flat, self.codebook.T).argmax(dim=1)
        return nearest.reshape(features.shape[:-1])

    def embed(self, codes: Int[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
        """Return what codes stand for."""
        return nn.functional.embedding(codes, self.codebook)

    def forward(
        self, features: Float[Tensor, "b l d"]
    ) -> tuple[Float[Tensor, "b l d"], Int[Tensor, "b l"], Float[Tensor, ""]]:
        """Return quantised frames, through which gradients pass unchanged, codes and commitment.

        The commitment is the mean squared distance of frames to their codes, whose gradient moves
        the frames only.
        """
        codes = self.encode(features.detach())
        quantised = self.embed(codes).to(features.dtype)
        commitment = (features.float() - quantised.float().detach()).square().mean()
        return features + (quantised - features).detach(), codes, commitment

    @torch.no_grad()
    def start(
        self, features: Float[Tensor, "*b d"], generator: torch.Generator | None = None
    ) -> None:
        """Place the codes by k-means, unless that was done already.

        Args:
            features: frames; where there are fewer than codes, some are taken more than once.
            generator: of draws, on the frames' device.
        """
        if bool(self.is_started):
            return
        flat = _gathered(features.reshape(-1, self.config.width).to(self.codebook.dtype))
        means, counts = _k_means(flat, self.config, generator)
        self.codebook.copy_(means)
        self.counts.copy_(counts)
        self.sums.copy_(means * counts[:, None])
        self.is_started.fill_(True)

    @torch.no_grad()
    def learn(
        self,
        features: Float[Tensor, "b l d"],
        codes: Int[Tensor, "b l"],
        generator: torch.Generator | None = None,
    ) -> None:
        """Move the codes towards the frames that chose them, and revive dead ones.

        Counts and sums are added over all processes, so that each keeps the same codebook.

        Args:
            features: frames, as they were before quantisation.
            codes: what `encode` said of them.
            generator: of the draws that revive dead codes, on the frames' device and in the same
                state in all processes.
        """
        config = self.config
        flat = _gathered(features.reshape(-1, config.width).to(self.codebook.dtype))
        chosen = _gathered(codes.reshape(-1))
        dead = self.counts < config.dead_below
        if bool(dead.any()):
            self._revive(dead, flat, generator)
        counts = torch.bincount(chosen, minlength=config.codebook_size).to(flat.dtype)
        sums = torch.zeros_like(self.sums).index_add_(0, chosen, flat)
        self.counts.lerp_(counts, 1 - config.decay)
        self.sums.lerp_(sums, 1 - config.decay)
        total = self.counts.sum()
        smoothed = (self.counts + config.epsilon) / (total + config.codebook_size * config.epsilon)
        self.codebook.copy_(self.sums / (smoothed * total)[:, None])

    def _revive(
        self,
        dead: Bool[Tensor, " k"],
        flat: Float[Tensor, "m d"],
        generator: torch.Generator | None,
    ) -> None:
        """Put dead codes on frames.

        Their counts and sums follow, so that the next average does not draw them back to where they
        were dead; the published code leaves both, which does.
        """
        drawn = _draw(flat, self.config.codebook_size, generator)
        weight = max(self.config.dead_below, self.config.epsilon)
        self.codebook[dead] = drawn[dead]
        self.counts[dead] = weight
        self.sums[dead] = weight * drawn[dead]


def _draw(
    flat: Float[Tensor, "m d"], num: int, generator: torch.Generator | None
) -> Float[Tensor, "k d"]:
    """Return frames drawn at random, different ones as far as there are enough."""
    if len(flat) >= num:
        places = torch.randperm(len(flat), generator=generator, device=flat.device)[:num]
    else:
        places = torch.randint(len(flat), (num,), generator=generator, device=flat.device)
    return flat[places]


def _k_means(
    flat: Float[Tensor, "m d"], config: QuantiserConfig, generator: torch.Generator | None
) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """Return means and the number of frames of each, after rounds of Lloyd's algorithm."""
    means = _draw(flat, config.codebook_size, generator)
    counts = torch.zeros(config.codebook_size, dtype=flat.dtype, device=flat.device)
    for _ in range(config.num_init_steps):
        half_norm = means.square().sum(dim=1) / 2
        nearest = torch.addmm(-half_norm, flat, means.T).argmax(dim=1)
        counts = torch.bincount(nearest, minlength=config.codebook_size).to(flat.dtype)
        sums = torch.zeros_like(means).index_add_(0, nearest, flat)
        moved = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], means)
        if torch.equal(moved, means):
            break
        means = moved
    return means, counts


def _gathered(x: Tensor) -> Tensor:
    """Return the rows of all processes, in the order of their ranks."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return x
    parts = [torch.empty_like(x) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, x.contiguous())
    return torch.cat(parts)
