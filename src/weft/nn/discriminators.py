"""Discriminators of sound: networks that tell decoded from recorded sound, to train codecs with.

Three families, each of several sub-discriminators that look at the samples in different ways:

* `PeriodDiscriminator`: samples folded by a prime period, so that a column holds every p-th one.
* `ResolutionDiscriminator`: magnitudes of spectra at several resolutions, in one piece.
* `BandDiscriminator`: complex spectra, each band by convolutions of its own.

All take mono samples of any level and give one `Verdict` a sub-discriminator: logits, high for
sound that seems recorded, at many places; and the feature maps to match (`losses.adversarial`).
Spectra are computed in float32 whatever autocast says; convolutions follow autocast. No normalising
over the batch or over time: an item's verdict does not depend on its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from weft.audio.spectral import hann_window
from weft.errors import ConfigError, ShapeError

_MAX_CHANNELS = 4096
_MAX_PARTS = 32
_SLOPE = 0.1


@final
@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one sub-discriminator says."""

    logits: Float[Tensor, "b m"]
    """At each place it looks at, high where the sound seems recorded; places are flattened."""
    features: tuple[Float[Tensor, "b ..."], ...]
    """Maps that a generator's sound should have in common with the recording's, in the order of
    the layers."""


def _check_counts(name: str, numbers: tuple[int, ...], least: int, most: int) -> None:
    if not 1 <= len(numbers) <= _MAX_PARTS or any(not least <= n <= most for n in numbers):
        raise ConfigError(
            f"{name} must hold 1 to {_MAX_PARTS} numbers in [{least}, {most}], got {numbers}"
        )


def _check_conditions(num_conditions: int | None) -> None:
    if num_conditions is not None and not 1 <= num_conditions <= 1024:
        raise ConfigError(f"num_conditions must be None or in [1, 1024], got {num_conditions}")


def _check_peak(peak: float | None, least_peak: float) -> None:
    if (peak is not None and not 0 < peak <= 1) or not 0 < least_peak <= 1:
        raise ConfigError(
            f"peak must be None or in (0, 1] and least_peak in (0, 1], got {peak} and {least_peak}"
        )


@final
@dataclass(frozen=True, kw_only=True)
class PeriodConfig:
    """Sizes of a multi-period discriminator; the defaults are those of Vocos and WavTokenizer."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    """Samples of a row, one sub-discriminator each, in [1, 4096]."""
    channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    """Of each convolution, in [1, 4096]; all but the last have stride 3."""
    num_unmatched: int = 1
    """First layers whose maps are no features, in [0, number of convolutions]; DAC: 0."""
    matches_logits: bool = True
    """Whether the logits are the last feature map; DAC: they are not."""
    num_conditions: int | None = None
    """Rows of a table that logits depend on (see `PeriodDiscriminator.forward`); None: no table."""
    peak: float | None = None
    """Remove the mean and scale to this peak first, in (0, 1]; None: as it is. DAC: 0.8."""
    least_peak: float = 1e-4
    """Peak below which sound is scaled no further, in (0, 1]."""

    def __post_init__(self) -> None:
        _check_counts("periods", self.periods, 1, 4096)
        _check_counts("channels", self.channels, 1, _MAX_CHANNELS)
        if not 0 <= self.num_unmatched <= len(self.channels):
            raise ConfigError(
                f"num_unmatched must be in [0, {len(self.channels)}], got {self.num_unmatched}"
            )
        if self.num_unmatched == len(self.channels) and not self.matches_logits:
            raise ConfigError(
                f"num_unmatched={self.num_unmatched} without matches_logits leaves no features"
            )
        _check_conditions(self.num_conditions)
        _check_peak(self.peak, self.least_peak)


@final
@dataclass(frozen=True, kw_only=True)
class ResolutionConfig:
    """Sizes of a multi-resolution discriminator; defaults of Vocos and WavTokenizer."""

    n_ffts: tuple[int, ...] = (1024, 2048, 512)
    """Rectangular window and transform of each sub-discriminator, in samples, even, in
    [16, 65536]."""
    hop_lengths: tuple[int, ...] = (256, 512, 128)
    """Distance of frames, in samples, in [1, n_fft]."""
    num_channels: int = 64
    """Of each convolution, in [1, 4096]."""
    num_conditions: int | None = None
    """Rows of a table that logits depend on; None: no table."""

    def __post_init__(self) -> None:
        _check_counts("n_ffts", self.n_ffts, 16, 65536)
        _check_counts("hop_lengths", self.hop_lengths, 1, 65536)
        if any(n % 2 for n in self.n_ffts):
            raise ConfigError(f"n_ffts must be even, got {self.n_ffts} samples")
        if len(self.n_ffts) != len(self.hop_lengths) or any(
            hop > n for hop, n in zip(self.hop_lengths, self.n_ffts, strict=True)
        ):
            raise ConfigError(
                "hop_lengths must hold one distance a resolution, in [1, n_fft] samples, got "
                f"{self.hop_lengths} for {self.n_ffts}"
            )
        _check_counts("num_channels", (self.num_channels,), 1, _MAX_CHANNELS)
        _check_conditions(self.num_conditions)


@final
@dataclass(frozen=True, kw_only=True)
class BandConfig:
    """Sizes of a multi-band discriminator; the defaults are DAC's."""

    n_ffts: tuple[int, ...] = (2048, 1024, 512)
    """Hann window and transform of each sub-discriminator, in samples, divisible by 4, in
    [16, 65536]; the hop is a quarter of it."""
    bands: tuple[tuple[float, float], ...] = (
        (0.0, 0.1),
        (0.1, 0.25),
        (0.25, 0.5),
        (0.5, 0.75),
        (0.75, 1.0),
    )
    """Lower and upper edge of each band, as shares of half the sample rate, in [0, 1]."""
    num_channels: int = 32
    """Of each convolution, in [1, 4096]."""
    peak: float | None = 0.8
    """Remove the mean and scale to this peak first, in (0, 1]; None: as it is."""
    least_peak: float = 1e-4
    """Peak below which sound is scaled no further, in (0, 1]."""

    def __post_init__(self) -> None:
        _check_counts("n_ffts", self.n_ffts, 16, 65536)
        if any(n % 4 for n in self.n_ffts):
            raise ConfigError(f"n_ffts must be divisible by 4, got {self.n_ffts} samples")
        if not 1 <= len(self.bands) <= _MAX_PARTS or any(
            not 0 <= low < high <= 1 for low, high in self.bands
        ):
            raise ConfigError(
                f"bands must be 1 to {_MAX_PARTS} pairs with 0 <= low < high <= 1, got {self.bands}"
            )
        for n_fft in self.n_ffts:
            if any(low == high for low, high in self.bins(n_fft)):
                raise ConfigError(
                    f"each of the bands must hold a bin, got {self.bands} at n_fft={n_fft}"
                )
        _check_counts("num_channels", (self.num_channels,), 1, _MAX_CHANNELS)
        _check_peak(self.peak, self.least_peak)

    def bins(self, n_fft: int) -> tuple[tuple[int, int], ...]:
        """Return the first bin of each band and the one after its last."""
        num_bins = n_fft // 2 + 1
        return tuple((int(low * num_bins), int(high * num_bins)) for low, high in self.bands)


DAC_PERIODS = PeriodConfig(num_unmatched=0, matches_logits=False, peak=0.8)
"""Multi-period discriminator as DAC has it; WavTokenizer trains with this one and its own."""
SMALL_PERIODS = PeriodConfig(channels=(16, 32, 64, 128, 128))
"""0.7 million parameters instead of 41."""
SMALL_RESOLUTIONS = ResolutionConfig(num_channels=24)
"""0.1 million parameters instead of 0.6."""
SMALL_BANDS = BandConfig(num_channels=8)
"""0.1 million parameters instead of 1.4."""


def normalise_peak(
    samples: Float[Tensor, "b n"], *, peak: float = 0.8, least_peak: float = 1e-4
) -> Float[Tensor, "b n"]:
    """Remove each item's mean and scale it so that its largest magnitude is ``peak``.

    Args:
        samples: of any level.
        peak: what the largest magnitude becomes.
        least_peak: magnitude below which sound counts as silent: it is scaled by
            ``peak / least_peak`` at most, and so are gradients.

    Source: DAC's discriminator. Differs: it adds 1e-9 to the magnitude instead, which multiplies
    gradients by up to 8e8 where an item is silent.
    """
    centred = samples - samples.mean(dim=1, keepdim=True)
    largest = centred.abs().amax(dim=1, keepdim=True)
    return centred * (peak / largest.clamp_min(least_peak))


@final
class PeriodDiscriminator(nn.Module):
    """Looks at every p-th sample, for several periods p.

    Source: HiFi-GAN, section 2.3; Vocos (features, table of conditions), DAC (`DAC_PERIODS`).
    Differs: a condition is given an item, not a batch; sound that fills its rows is not padded by
    one row more, as DAC does.
    """

    def __init__(self, config: PeriodConfig) -> None:
        super().__init__()
        self.config = config
        strides = [3] * (len(config.channels) - 1) + [1]
        self._parts = nn.ModuleList(
            _ConvStack(
                [
                    _conv(before, after, (5, 1), (stride, 1))
                    for before, after, stride in zip(
                        (1, *config.channels), config.channels, strides, strict=False
                    )
                ],
                num_unmatched=config.num_unmatched,
                matches_logits=config.matches_logits,
                last_kernel=(3, 1),
                num_conditions=config.num_conditions,
            )
            for _ in config.periods
        )

    @property
    def min_samples(self) -> int:
        """Fewest samples it can look at: the longest period."""
        return max(self.config.periods)

    def forward(
        self, samples: Float[Tensor, "b n"], condition: Int[Tensor, " b"] | None = None
    ) -> tuple[Verdict, ...]:
        """Return the verdict of each period. The end is mirrored to whole rows.

        Args:
            samples: mono; any length from `min_samples`.
            condition: row of the table for each item; needed with ``num_conditions``.

        Raises:
            ShapeError: too few samples.
            ConfigError: a condition without a table, or a table without a condition.
        """
        _check_length(samples, self.min_samples)
        config = self.config
        if config.peak is not None:
            samples = normalise_peak(
                samples.float(), peak=config.peak, least_peak=config.least_peak
            )
        verdicts = []
        for period, part in zip(config.periods, self._parts, strict=True):
            padded = functional.pad(samples, (0, -samples.shape[1] % period), mode="reflect")
            verdicts.append(part(padded.view(len(samples), 1, -1, period), condition))
        return tuple(verdicts)


@final
class ResolutionDiscriminator(nn.Module):
    """Looks at magnitudes of spectra of a rectangular window, at several resolutions.

    Source: UnivNet's multi-resolution discriminator as Vocos and WavTokenizer shape it. Differs: a
    condition is given an item, not a batch.
    """

    def __init__(self, config: ResolutionConfig) -> None:
        super().__init__()
        self.config = config
        self._parts = nn.ModuleList(
            _ConvStack(
                [
                    _conv(1, config.num_channels, (7, 5), (2, 2)),
                    _conv(config.num_channels, config.num_channels, (5, 3), (2, 1)),
                    _conv(config.num_channels, config.num_channels, (5, 3), (2, 2)),
                    _conv(config.num_channels, config.num_channels, (3, 3), (2, 1)),
                    _conv(config.num_channels, config.num_channels, (3, 3), (2, 2)),
                ],
                num_unmatched=0,
                matches_logits=True,
                last_kernel=(3, 3),
                num_conditions=config.num_conditions,
            )
            for _ in config.n_ffts
        )

    @property
    def min_samples(self) -> int:
        """Fewest samples it can look at: just over half the longest window."""
        return max(self.config.n_ffts) // 2 + 1

    def forward(
        self, samples: Float[Tensor, "b n"], condition: Int[Tensor, " b"] | None = None
    ) -> tuple[Verdict, ...]:
        """Return the verdict of each resolution. Frames are centred, the ends mirrored.

        Args:
            samples: mono; any length from `min_samples`.
            condition: row of the table for each item; needed with ``num_conditions``.

        Raises:
            ShapeError: too few samples.
            ConfigError: a condition without a table, or a table without a condition.
        """
        _check_length(samples, self.min_samples)
        scales = zip(self.config.n_ffts, self.config.hop_lengths, self._parts, strict=True)
        verdicts = []
        for n_fft, hop_length, part in scales:
            half = n_fft // 2
            padded = functional.pad(samples.float(), (half, half), mode="reflect")
            spectrum = torch.fft.rfft(padded.unfold(1, n_fft, hop_length))
            magnitudes = spectrum.abs().transpose(1, 2)[:, None]  # b 1 f l
            verdicts.append(part(magnitudes, condition))
        return tuple(verdicts)


@final
class BandDiscriminator(nn.Module):
    """Looks at real and imaginary parts of spectra, band by band, at several resolutions.

    Source: DAC, `MRD` of its code: frames cover each hop evenly, ``ceil(n / hop)`` of them. Differs
    only by ``least_peak`` (see `normalise_peak`).
    """

    def __init__(self, config: BandConfig) -> None:
        super().__init__()
        self.config = config
        self._parts = nn.ModuleList(_BandStack(config, n_fft) for n_fft in config.n_ffts)

    @property
    def min_samples(self) -> int:
        """Fewest samples it can look at: from there on the ends can be mirrored to whole hops."""
        n_fft = max(self.config.n_ffts)
        margin, hop = (n_fft - n_fft // 4) // 2, n_fft // 4
        # Of n samples, hops 2 to 3, the end mirrors margin + 3 hop - n, which must be less than n.
        return (margin + 3 * hop) // 2 + 1

    def forward(self, samples: Float[Tensor, "b n"]) -> tuple[Verdict, ...]:
        """Return the verdict of each resolution.

        Args:
            samples: mono; any length from `min_samples`.

        Raises:
            ShapeError: too few samples.
        """
        _check_length(samples, self.min_samples)
        config = self.config
        if config.peak is not None:
            samples = normalise_peak(
                samples.float(), peak=config.peak, least_peak=config.least_peak
            )
        return tuple(part(samples) for part in self._parts)


@final
class _ConvStack(nn.Module):
    """Convolutions, then logits; a table may shift the logits by what an item's condition says."""

    def __init__(
        self,
        layers: Sequence[nn.Module],
        *,
        num_unmatched: int,
        matches_logits: bool,
        last_kernel: tuple[int, int],
        num_conditions: int | None,
    ) -> None:
        super().__init__()
        self.num_unmatched, self.matches_logits = num_unmatched, matches_logits
        self.layers = nn.ModuleList(layers)
        width = int(layers[-1].out_channels)  # type: ignore[arg-type]
        self.last = _conv(width, 1, last_kernel)
        # At zero, so that conditions make no difference until they have learned one.
        table = None if num_conditions is None else nn.Embedding(num_conditions, width)
        self.table = table
        if table is not None:
            nn.init.zeros_(table.weight)

    def forward(self, x: Float[Tensor, "b _ _ _"], condition: Int[Tensor, " b"] | None) -> Verdict:
        if (condition is None) != (self.table is None):
            given, there = ("no", "one") if condition is None else ("a", "none")
            raise ConfigError(
                f"got {given} condition, but num_conditions made {there} table; give a condition "
                "exactly where num_conditions is set"
            )
        features = []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), _SLOPE)
            features.append(x)
        logits = self.last(x)
        if self.table is not None and condition is not None:
            rows = self.table(condition)[:, :, None, None]  # b d 1 1
            logits = logits + (rows * x).sum(dim=1, keepdim=True)
        matched = features[self.num_unmatched :] + ([logits] if self.matches_logits else [])
        return Verdict(logits=logits.flatten(1), features=tuple(matched))


@final
class _BandStack(nn.Module):
    """Spectra of one resolution; convolutions for each band, then logits over all."""

    def __init__(self, config: BandConfig, n_fft: int) -> None:
        super().__init__()
        self.n_fft, self.bins = n_fft, config.bins(n_fft)
        width = config.num_channels
        window = torch.from_numpy(hann_window(n_fft).astype("float32"))
        self.register_buffer("_window", window, persistent=False)
        self._window: Tensor
        self.bands = nn.ModuleList(
            nn.ModuleList(
                [
                    _conv(2, width, (3, 9)),
                    _conv(width, width, (3, 9), (1, 2)),
                    _conv(width, width, (3, 9), (1, 2)),
                    _conv(width, width, (3, 9), (1, 2)),
                    _conv(width, width, (3, 3)),
                ]
            )
            for _ in self.bins
        )
        self.last = _conv(width, 1, (3, 3))

    def spectrum(self, samples: Float[Tensor, "b n"]) -> Float[Tensor, "b 2 l f"]:
        """Return real and imaginary parts of ``ceil(n / hop)`` frames."""
        hop = self.n_fft // 4
        margin = (self.n_fft - hop) // 2
        ends = (margin, margin + -samples.shape[1] % hop)
        padded = functional.pad(samples.float(), ends, mode="reflect")
        spectrum = torch.fft.rfft(padded.unfold(1, self.n_fft, hop) * self._window)
        return torch.stack((spectrum.real, spectrum.imag), dim=1)

    def forward(self, samples: Float[Tensor, "b n"]) -> Verdict:
        spectrum = self.spectrum(samples)
        features, lasts = [], []
        for (low, high), layers in zip(self.bins, self.bands, strict=True):
            x = spectrum[..., low:high]
            for layer in cast(nn.ModuleList, layers):
                x = functional.leaky_relu(layer(x), _SLOPE)
                features.append(x)
            lasts.append(x)
        logits = self.last(torch.cat(lasts, dim=-1))
        return Verdict(logits=logits.flatten(1), features=tuple(features))


def _conv(
    num_in: int, num_out: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)
) -> nn.Conv2d:
    """Return a weight-normalised convolution padded to keep the size, apart from strides."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    conv: nn.Conv2d = weight_norm(nn.Conv2d(num_in, num_out, kernel, stride, padding))
    return conv


def _check_length(samples: Tensor, least: int) -> None:
    if samples.shape[1] < least:
        raise ShapeError(
            f"this discriminator needs {least} samples or more, got {samples.shape[1]}; train on "
            "longer crops or with shorter windows"
        )
