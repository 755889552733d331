"""U-Net over folded samples: what stands between a noisy waveform and an estimate of the clean one.

Folding is inside the network: noise, guidance and consistency with known sound act on samples.
"""

import math
from dataclasses import dataclass
from typing import Final, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from weft.errors import ConfigError, ShapeError
from weft.nn.folding import fold, num_folds, unfold
from weft.nn.layers import SelfAttention

_TIME_SCALE = 1000.0  # t in [0, 1] as the steps of a table, which the frequencies were made for


@final
@dataclass(frozen=True, kw_only=True)
class WaveformUnetConfig:
    """Sizes of a U-Net over folded samples."""

    num_channels: int = 2
    """Channels of sound, in [1, 8]."""
    frame_length: int = 32
    """Samples of a fold, even, in [4, 1024]; folds overlap by half."""
    num_samples: int = 524_288
    """Samples a channel of what it is trained on, in [16, 2^24]; others can be given, too."""
    width: int = 320
    """Features of the first level, a multiple of ``num_groups``, in [4, 4096]."""
    multipliers: tuple[int, ...] = (1, 1, 1, 2, 2, 4, 4, 4)
    """Features of each level as multiples of ``width``, each in [1, 64]; there are 2 to 12 levels,
    and from one to the next the number of frames is halved."""
    num_blocks: int = 2
    """Residual blocks of a level on the way down, one fewer than on the way up, in [1, 16]."""
    attention_from: int = 6
    """First level with attention, >= 0; as many as there are levels: in the middle only."""
    num_heads: int = 8
    """Heads of attention, in [1, 64]."""
    num_groups: int = 32
    """Groups of features that are normalised together, in [1, 128]."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("num_channels", 1, 8),
            ("frame_length", 4, 1024),
            ("num_samples", 16, 1 << 24),
            ("width", 4, 4096),
            ("num_blocks", 1, 16),
            ("num_heads", 1, 64),
            ("num_groups", 1, 128),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} must be in [{low}, {high}], got {value}")
        if self.frame_length % 2 or self.width % self.num_groups:
            raise ConfigError(
                "frame_length must be even and width a multiple of num_groups, got "
                f"{self.frame_length}, {self.width} and {self.num_groups}"
            )
        count = len(self.multipliers)
        if not 2 <= count <= 12 or not all(1 <= m <= 64 for m in self.multipliers):
            raise ConfigError(
                f"multipliers must be 2 to 12 numbers in [1, 64], got {self.multipliers}"
            )
        if not 0 <= self.attention_from <= count:
            raise ConfigError(
                f"attention_from must be in [0, {count}], the number of levels, got "
                f"{self.attention_from}"
            )
        with_attention = {*self.multipliers[self.attention_from :], self.multipliers[-1]}
        if any(self.width * m % (2 * self.num_heads) for m in with_attention):
            raise ConfigError(
                f"levels with attention need a multiple of {2 * self.num_heads} features (two for "
                f"each head), got {sorted(self.width * m for m in with_attention)}"
            )

    @property
    def total_stride(self) -> int:
        """Folds of one frame of the last level."""
        return int(2 ** (len(self.multipliers) - 1))

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each level."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)


PAPER: Final = WaveformUnetConfig()
"""435 M parameters, near the paper's 440 M, for 11.9 s of stereo at 44.1 kHz. The paper states no
widths: these are 320 features, as in Stable Diffusion, times 1, 2 and 4 over eight levels."""


@final
class WaveformUnet(nn.Module):
    """Residual blocks over frames of samples, at ever fewer frames and back; knows the time.

    Source: seed 001, "Waveform model", which names the U-Net of Stable Diffusion in one dimension:
    residual blocks (group normalisation, SiLU, convolutions of 3) to which an embedding of the time
    is added, self-attention at deep levels, skips that are concatenated. Differs: attention has
    rotary positions; folds are padded to whole multiples of the stride; widths are ours.
    """

    def __init__(self, config: WaveformUnetConfig) -> None:
        super().__init__()
        self.config = config
        num_features = config.num_channels * config.frame_length
        widths, embedded = config.widths, 4 * config.width
        self.time = TimeEmbedding(config.width, embedded)
        self.inputs = nn.Conv1d(num_features, config.width, 3, padding=1)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        kept = [config.width]  # features of every skip, in the order in which they are made
        current = config.width
        for level, width in enumerate(widths):
            for _ in range(config.num_blocks):
                self.down.append(_Stage(config, current, width, level))
                current = width
                kept.append(current)
            if level < len(widths) - 1:
                self.down.append(nn.Conv1d(current, current, 3, stride=2, padding=1))
                kept.append(current)
        self.middle = nn.ModuleList(
            [
                _Stage(config, current, current, len(widths), is_attending=True),
                _Stage(config, current, current, len(widths)),
            ]
        )
        for level in reversed(range(len(widths))):
            for _ in range(config.num_blocks + 1):
                self.up.append(_Stage(config, current + kept.pop(), widths[level], level))
                current = widths[level]
            if level:
                self.up.append(_Upsample(current))
        self.output = nn.Sequential(
            nn.GroupNorm(config.num_groups, current),
            nn.SiLU(),
            _silent(nn.Conv1d(current, num_features, 3, padding=1)),
        )

    @property
    def num_samples(self) -> int:
        """Samples a channel of what it was trained on."""
        return self.config.num_samples

    def forward(self, x: Float[Tensor, "b l d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b l d"]:
        """Return what the process asks for (v) at each sample.

        Args:
            x: samples, one channel a feature; any number of them.
            t: time of each item, in [0, 1].

        Raises:
            ShapeError: the sound has another number of channels.
        """
        if x.shape[2] != self.config.num_channels:
            raise ShapeError(
                f"the network was built for {self.config.num_channels} channels, got {x.shape[2]}"
            )
        samples = x.transpose(1, 2)  # b d l: one channel a feature
        time = self.time(t)
        frames = self.inputs(
            fold(samples, self.config.frame_length, multiple=self.config.total_stride)
        )
        kept = [frames]
        for layer in self.down:
            frames = layer(frames, time) if isinstance(layer, _Stage) else layer(frames)
            kept.append(frames)
        for layer in self.middle:
            frames = layer(frames, time)
        for layer in self.up:
            if isinstance(layer, _Stage):
                frames = layer(torch.cat([frames, kept.pop()], dim=1), time)
            else:
                frames = layer(frames)
        folded = self.output(frames).to(x.dtype)
        sound = unfold(folded, num_channels=x.shape[2], num_samples=x.shape[1])
        return sound.transpose(1, 2)

    def num_frames(self, num_samples: int) -> int:
        """Return how many folds so many samples make."""
        return num_folds(num_samples, self.config.frame_length, self.config.total_stride)


@final
class TimeEmbedding(nn.Module):
    """The time as features: sines of many rates, and two layers."""

    def __init__(self, num_sines: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(num_sines, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        half = num_sines // 2
        rates = torch.exp(-math.log(10_000.0) * torch.arange(half) / max(half, 1))
        self.rates: Tensor
        self.register_buffer("rates", rates, persistent=False)
        self._is_odd = num_sines % 2

    def forward(self, t: Float[Tensor, " b"]) -> Float[Tensor, "b e"]:
        """Return features of times in [0, 1]."""
        angles = _TIME_SCALE * t[:, None] * self.rates
        sines = torch.cat([angles.cos(), angles.sin()], dim=1)
        embedded: Tensor = self.layers(F.pad(sines, (0, self._is_odd)))
        return embedded


@final
class _Stage(nn.Module):
    """A residual block, and attention where the level has it."""

    def __init__(
        self,
        config: WaveformUnetConfig,
        source: int,
        target: int,
        level: int,
        *,
        is_attending: bool | None = None,
    ) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(math.gcd(config.num_groups, source), source),
            nn.SiLU(),
            nn.Conv1d(source, target, 3, padding=1),
        )
        self.time = nn.Linear(4 * config.width, target)
        self.second = nn.Sequential(
            nn.GroupNorm(config.num_groups, target),
            nn.SiLU(),
            _silent(nn.Conv1d(target, target, 3, padding=1)),
        )
        self.skip = nn.Identity() if source == target else nn.Conv1d(source, target, 1)
        if is_attending is None:
            is_attending = config.attention_from <= level < len(config.multipliers)
        self.attention = _Attention(config, target) if is_attending else None

    def forward(
        self, x: Float[Tensor, "b e l"], time: Float[Tensor, "b g"]
    ) -> Float[Tensor, "b f l"]:
        """Return the frames after this stage."""
        inner = self.second(self.first(x) + self.time(time)[:, :, None])
        updated: Tensor = self.skip(x) + inner
        return updated if self.attention is None else self.attention(updated)


@final
class _Attention(nn.Module):
    """Self-attention over frames, added to its input."""

    def __init__(self, config: WaveformUnetConfig, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.num_groups, width)
        self.attention = SelfAttention(width, config.num_heads)
        nn.init.zeros_(self.attention.output.weight)

    def forward(self, x: Float[Tensor, "b e l"]) -> Float[Tensor, "b e l"]:
        gathered: Tensor = self.attention(self.norm(x).transpose(1, 2))
        return x + gathered.transpose(1, 2)


@final
class _Upsample(nn.Module):
    """Twice as many frames: each repeated, then mixed with its neighbours."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "b e l"]) -> Float[Tensor, "b e m"]:
        mixed: Tensor = self.mix(x.repeat_interleave(2, dim=2))
        return mixed


def _silent(layer: nn.Conv1d) -> nn.Conv1d:
    """Let a layer give nothing at first, so that a block begins as its skip."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
