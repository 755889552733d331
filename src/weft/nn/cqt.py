"""Constant-Q transform that loses nothing: a tight frame of bands, as wide as they are high.

The whole sound goes through one Fourier transform; each band is a window over its bins, and goes
back to time alone, at a rate that is just enough for it. Squares of the windows add up to 1, so the
transform is undone by its transpose, and keeps energy.
"""

import math
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn

from weft.errors import ConfigError, ShapeError


@final
@dataclass(frozen=True, kw_only=True)
class CqtConfig:
    """How frequency is divided."""

    num_samples: int = 32_768
    """Length of the sound, even, in [64, 2^22]; shorter sound is padded by silence."""
    num_octaves: int = 7
    """Octaves below half the sample rate that have bands of constant Q, in [2, 12]. What is lower
    has bands of equal width."""
    bins_per_octave: int = 16
    """Bands of an octave, and of what is below the lowest, in [2, 128]."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("num_samples", 64, 1 << 22),
            ("num_octaves", 2, 12),
            ("bins_per_octave", 2, 128),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} must be in [{low}, {high}], got {value}")
        least = self.bins_per_octave * 2 ** (self.num_octaves + 1)
        if self.num_samples % 2 or self.num_samples < least:
            raise ConfigError(
                f"num_samples must be even and at least {least}, so that every one of "
                f"{self.bins_per_octave} bands below {self.num_octaves} octaves holds a frequency, "
                f"got {self.num_samples}"
            )

    @property
    def num_blocks(self) -> int:
        """Octaves, and one for what is below them."""
        return self.num_octaves + 1


@final
class Cqt(nn.Module):
    """The transform and its inverse; differentiable, without parameters.

    A block holds the bands of one octave, the lowest band first; block 0 is the highest octave, the
    last block is what is below the octaves. Bands of an octave have one number of frames, half as
    many in the next lower octave; the last block has as many as the one before. Sound is taken to
    go round: what is near one end is heard at the other.

    Source: Velasco, Holighaus, Doerfler & Grill 2011, "Constructing an invertible constant-Q
    transform with nonstationary Gabor frames"; octave by octave as in CQTdiff (Moliner et al.
    2023). Differs: windows are the halves of a sine between neighbouring centres, which makes the
    frame tight; there is no band for zero and none for half the sample rate, but bands of equal
    width below the octaves, and a flat end of the last window.
    """

    def __init__(self, config: CqtConfig) -> None:
        super().__init__()
        self.config = config
        tables = _make_tables(config)
        self.num_frames: Final = tables.num_frames
        for block, (bins, windows) in enumerate(zip(tables.bins, tables.windows, strict=True)):
            self.register_buffer(f"bins_{block}", torch.from_numpy(bins), persistent=False)
            self.register_buffer(
                f"windows_{block}", torch.from_numpy(windows).float(), persistent=False
            )

    def forward(self, samples: Float[Tensor, "b c n"]) -> list[Complex[Tensor, "b c f _"]]:
        """Return the coefficients of each block, bands by frames.

        Args:
            samples: ``num_samples`` of them at the most.

        Raises:
            ShapeError: the sound is longer.
        """
        wanted = self.config.num_samples
        if samples.shape[2] > wanted:
            raise ShapeError(
                f"the transform is made for {wanted} samples, got {samples.shape[2]}; cut the "
                "sound into windows"
            )
        spectrum = torch.fft.rfft(samples, n=wanted, dim=2, norm="ortho")
        return [
            math.sqrt(2) * torch.fft.ifft(spectrum[:, :, bins] * windows, dim=3, norm="ortho")
            for bins, windows in self._tables()
        ]

    def inverse(
        self, blocks: list[Complex[Tensor, "b c f _"]], num_samples: int
    ) -> Float[Tensor, "b c n"]:
        """Return sound of coefficients; those that no sound has are projected to the nearest.

        Args:
            blocks: as `forward` gives them.
            num_samples: of the sound, ``config.num_samples`` at the most.
        """
        b, c = blocks[0].shape[:2]
        num_bins = self.config.num_samples // 2 + 1
        spectrum = blocks[0].real.new_zeros(b, c, num_bins, 2)
        for coefficients, (bins, windows) in zip(blocks, self._tables(), strict=True):
            values = torch.fft.fft(coefficients, dim=3, norm="ortho") * windows / math.sqrt(2)
            parts = torch.view_as_real(values).reshape(b, c, -1, 2)
            spectrum = spectrum.index_add(2, bins.flatten(), parts)
        samples = torch.fft.irfft(
            torch.view_as_complex(spectrum), n=self.config.num_samples, dim=2, norm="ortho"
        )
        return samples[:, :, :num_samples]

    def row_scales(self) -> list[Float[Tensor, " f"]]:
        """Return the standard deviation that white noise of variance 1 gives each band's real part.

        The imaginary part has the same.
        """
        return [windows.square().mean(dim=1).sqrt() for _, windows in self._tables()]

    def centres_hz(self, sample_rate: int) -> list[Float[Tensor, " f"]]:
        """Return the centre of each band.

        Args:
            sample_rate: in Hz.
        """
        centres = torch.from_numpy(_centres(self.config)) * sample_rate / self.config.num_samples
        rows = self.config.bins_per_octave
        return [block.float() for block in centres.split(rows)][::-1]

    def _tables(self) -> list[tuple[Int[Tensor, "f _"], Float[Tensor, "f m"]]]:
        return [
            (getattr(self, f"bins_{block}"), getattr(self, f"windows_{block}"))
            for block in range(self.config.num_blocks)
        ]


@final
@dataclass(frozen=True, kw_only=True)
class _Tables:
    """Which bin stands where in each band's own spectrum, and with what weight."""

    bins: list[Int[np.ndarray, "f _"]]
    windows: list[Float[np.ndarray, "f _"]]
    num_frames: tuple[int, ...]


def _centres(config: CqtConfig) -> Float[np.ndarray, " k"]:
    """Return the centres of all bands in bins, the lowest first."""
    rows, top = config.bins_per_octave, config.num_samples / 2
    lowest = top / 2**config.num_octaves
    linear = lowest * (np.arange(rows) + 0.5) / rows
    constant = lowest * 2 ** ((np.arange(rows * config.num_octaves) + 0.5) / rows)
    return np.concatenate([linear, constant])


def _make_tables(config: CqtConfig) -> _Tables:
    rows, num_bins = config.bins_per_octave, config.num_samples // 2 + 1
    centres = _centres(config)
    edges = np.concatenate([[-1.0], centres, [float(num_bins)]])
    # First and last bin inside each window; the first and the last window are flat to their ends.
    lows = np.maximum(np.floor(edges[:-2]).astype(np.int64) + 1, 0)
    highs = np.minimum(np.ceil(edges[2:]).astype(np.int64) - 1, num_bins - 1)
    num_frames = _frames(config, highs - lows + 1)
    bins, windows = [], []
    for block, frames in enumerate(num_frames):
        first = rows * (config.num_blocks - 1 - block)
        offset = (np.arange(frames) + frames // 2) % frames - frames // 2  # as a transform has them
        middle = (lows[first : first + rows] + highs[first : first + rows] + 1) // 2
        at = middle[:, None] + offset
        window = np.stack(
            [_window(centres, first + row, at[row].astype(float)) for row in range(rows)]
        )
        is_inside = (at >= 0) & (at < num_bins)
        bins.append(np.clip(at, 0, num_bins - 1))
        windows.append(np.where(is_inside, window, 0.0))
    return _Tables(bins=bins, windows=windows, num_frames=num_frames)


def _frames(config: CqtConfig, widths: Int[np.ndarray, " k"]) -> tuple[int, ...]:
    """Return the frames of each block: enough for its widest band, and halved from one to the next.

    The widest band of a block must fit into its frames, or they would not hold all of it.
    """
    rows, octaves = config.bins_per_octave, config.num_octaves
    deepest = 1
    for block in range(config.num_blocks):
        first = rows * (config.num_blocks - 1 - block)
        share = 2 ** (octaves - 1 - min(block, octaves - 1))  # frames for one of the deepest block
        deepest = max(deepest, math.ceil((int(widths[first : first + rows].max()) + 1) / share))
    return tuple(deepest * 2 ** (octaves - 1 - min(b, octaves - 1)) for b in range(octaves + 1))


def _window(
    centres: Float[np.ndarray, " k"], band: int, at: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """Return a band's window: it rises from the centre below as a sine, and falls as a cosine."""
    own = centres[band]
    rise = (at - centres[band - 1]) / (own - centres[band - 1]) if band else np.ones_like(at)
    is_last = band == len(centres) - 1
    fall = np.zeros_like(at) if is_last else (at - own) / (centres[band + 1] - own)
    below = np.sin(np.pi / 2 * np.clip(rise, 0, 1))
    above = np.cos(np.pi / 2 * np.clip(fall, 0, 1))
    return np.where(at <= own, below, above)
