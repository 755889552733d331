"""Resampling by a fixed filter, through which gradients flow."""

import math
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.errors import ConfigError

_MAX_TAPS = 1 << 22


@final
class RationalResampler(nn.Module):
    """Resamples between two fixed rates with a windowed sinc, as one strided convolution.

    Linear phase, no delay; learns nothing. For the rim there is `weft.audio.resample`, which is
    sharper, but knows no gradients.
    """

    def __init__(
        self, source_rate: int, target_rate: int, *, num_zeros: int = 48, roll_off: float = 0.96
    ) -> None:
        """Make the filter.

        Args:
            source_rate: in Hz.
            target_rate: in Hz.
            num_zeros: zeros of the sinc on each side, in [1, 256].
            roll_off: where the filter is down by half, over half the lower rate, in (0, 1].

        Raises:
            ConfigError: a number is out of range, or the rates have so little in common that the
                filter would take more than 4 M taps.
        """
        super().__init__()
        if source_rate <= 0 or target_rate <= 0:
            raise ConfigError(f"sample rates must be > 0 Hz, got {source_rate} and {target_rate}")
        if not 1 <= num_zeros <= 256 or not 0 < roll_off <= 1:
            raise ConfigError(
                f"num_zeros must be in [1, 256] and roll_off in (0, 1], got {num_zeros} and "
                f"{roll_off}"
            )
        divisor = math.gcd(source_rate, target_rate)
        self.up, self.down = target_rate // divisor, source_rate // divisor
        cutoff = roll_off * min(source_rate, target_rate) / source_rate  # of half the source's rate
        self.reach = math.ceil(num_zeros / cutoff)
        num_taps = 2 * self.reach + self.down
        if self.up * num_taps > _MAX_TAPS:
            raise ConfigError(
                f"{source_rate} Hz and {target_rate} Hz have so little in common that the filter "
                f"between them would have {self.up * num_taps:,} taps; take rates like 44100 Hz"
            )
        # Output p of a block stands at p * down / up source samples after the block's start.
        at = np.arange(self.up)[:, None] * self.down / self.up
        distance = np.arange(num_taps)[None] - self.reach - at
        inside = np.clip(1 - (distance / self.reach) ** 2, 0, None)
        window = np.i0(9.0 * np.sqrt(inside)) * (inside > 0)  # Kaiser, 90 dB
        taps = np.sinc(cutoff * distance) * window
        taps /= taps.sum(axis=1, keepdims=True)
        self._taps: Tensor
        self.register_buffer("_taps", torch.from_numpy(taps[:, None]).float(), persistent=False)

    def num_outputs(self, num_samples: int) -> int:
        """Return how many samples come of so many."""
        return -(-num_samples * self.up // self.down)

    def forward(self, samples: Float[Tensor, "b n"]) -> Float[Tensor, "b m"]:
        """Return the samples at the target rate; beyond the ends there is silence.

        Example:
            >>> RationalResampler(44100, 16000)(torch.ones(2, 4410)).shape
            torch.Size([2, 1600])
        """
        if self.up == self.down:
            return samples
        num = self.num_outputs(samples.shape[1])
        num_blocks = -(-num // self.up)
        length = (num_blocks - 1) * self.down + self._taps.shape[2]
        after = max(0, length - self.reach - samples.shape[1])
        padded = nn.functional.pad(samples, (self.reach, after))[:, None]  # b 1 n
        blocks = nn.functional.conv1d(padded, self._taps.to(samples.dtype), stride=self.down)
        return blocks.transpose(1, 2).flatten(1)[:, :num]  # b m
