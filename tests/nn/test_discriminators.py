"""Discriminators of sound."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from weft.errors import ConfigError, ShapeError
from weft.nn.discriminators import (
    DAC_PERIODS,
    SMALL_BANDS,
    SMALL_PERIODS,
    SMALL_RESOLUTIONS,
    BandConfig,
    BandDiscriminator,
    PeriodConfig,
    PeriodDiscriminator,
    ResolutionConfig,
    ResolutionDiscriminator,
    normalise_peak,
)

TINY_PERIODS = PeriodConfig(channels=(4, 4, 4))
TINY_RESOLUTIONS = ResolutionConfig(n_ffts=(128, 256, 64), hop_lengths=(32, 64, 16), num_channels=4)
TINY_BANDS = BandConfig(n_ffts=(256, 128, 64), num_channels=4)


def tiny(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "periods":
        return PeriodDiscriminator(TINY_PERIODS)
    if name == "periods of DAC":
        return PeriodDiscriminator(replace(DAC_PERIODS, channels=(4, 4, 4)))
    if name == "resolutions":
        return ResolutionDiscriminator(TINY_RESOLUTIONS)
    return BandDiscriminator(TINY_BANDS)


ALL = pytest.mark.parametrize("name", ["periods", "periods of DAC", "resolutions", "bands"])


def noise(num_items: int = 2, num_samples: int = 1200, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(num_items, num_samples, generator=generator)


def num_parameters(kind: type[nn.Module], config: object) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in kind(config).parameters())


def of_layers(layers: list[tuple[int, int, int]]) -> int:
    """Weights, a bias and a norm for each output channel, of (in, out, taps)."""
    return sum(num_in * num_out * taps + 2 * num_out for num_in, num_out, taps in layers)


# Sizes. The published layers: HiFi-GAN's table and code of its multi-period discriminator, Vocos's
# code of the multi-resolution one, DAC's code of its multi-band one.


def test_periods_have_the_published_number_of_parameters() -> None:
    layers = [(1, 32, 5), (32, 128, 5), (128, 512, 5), (512, 1024, 5), (1024, 1024, 5)]
    one = of_layers([*layers, (1024, 1, 3)])
    assert num_parameters(PeriodDiscriminator, PeriodConfig()) == 5 * one == 41_105_770
    conditioned = PeriodConfig(num_conditions=4)
    assert num_parameters(PeriodDiscriminator, conditioned) == 5 * (one + 4 * 1024)
    assert num_parameters(PeriodDiscriminator, DAC_PERIODS) == 5 * one


def test_resolutions_have_the_published_number_of_parameters() -> None:
    layers = [(1, 64, 35), (64, 64, 15), (64, 64, 15), (64, 64, 9), (64, 64, 9), (64, 1, 9)]
    assert num_parameters(ResolutionDiscriminator, ResolutionConfig()) == 3 * of_layers(layers)
    assert 3 * of_layers(layers) == 600_198


def test_bands_have_the_published_number_of_parameters() -> None:
    band = [(2, 32, 27), (32, 32, 27), (32, 32, 27), (32, 32, 27), (32, 32, 9)]
    one = 5 * of_layers(band) + of_layers([(32, 1, 9)])
    assert num_parameters(BandDiscriminator, BandConfig()) == 3 * one == 1_413_990


def test_small_settings_are_below_a_million_together() -> None:
    sizes = [
        num_parameters(PeriodDiscriminator, SMALL_PERIODS),
        num_parameters(ResolutionDiscriminator, SMALL_RESOLUTIONS),
        num_parameters(BandDiscriminator, SMALL_BANDS),
    ]
    assert sizes == [684_410, 86_838, 94_302]


def test_published_shapes_of_three_seconds() -> None:
    samples = torch.empty(2, 72000, device="meta")
    with torch.device("meta"):
        periods = PeriodDiscriminator(PeriodConfig())
        resolutions = ResolutionDiscriminator(ResolutionConfig())
    found = periods(samples)[3]  # every 7th: 10286 rows, a third of them four times
    assert found.logits.shape == (2, 127 * 7)
    assert [tuple(x.shape[1:]) for x in found.features] == [
        (128, 1143, 7),
        (512, 381, 7),
        (1024, 127, 7),
        (1024, 127, 7),
        (1, 127, 7),
    ]
    found = resolutions(samples)[0]  # 513 bins, 282 frames
    assert [tuple(x.shape[1:]) for x in found.features] == [
        (64, 257, 141),
        (64, 129, 141),
        (64, 65, 71),
        (64, 33, 71),
        (64, 17, 36),
        (1, 17, 36),
    ]


def test_published_shapes_of_bands() -> None:
    discriminator = BandDiscriminator(replace(SMALL_BANDS, n_ffts=(512,), num_channels=2))
    (found,) = discriminator(noise(1, 4000))
    # 257 bins, 32 frames; DAC's layers halve the bins three times.
    widths = [[25, 13, 7, 4, 4], [39, 20, 10, 5, 5], *[[64, 32, 16, 8, 8]] * 2, [65, 33, 17, 9, 9]]
    assert [tuple(x.shape[1:]) for x in found.features] == [
        (2, 32, width) for band in widths for width in band
    ]
    assert found.logits.shape == (1, 32 * 34)


# What each looks at


@pytest.mark.parametrize("num_samples", [1155, 1153])
def test_a_column_of_logits_depends_on_every_p_th_sample_only(num_samples: int) -> None:
    discriminator = PeriodDiscriminator(TINY_PERIODS)
    samples = noise(1, num_samples).requires_grad_()
    verdicts = discriminator(samples)
    mirrored = num_samples - 12  # whose mirror images stand in other columns
    for period, verdict in zip((2, 3, 5, 7, 11), verdicts, strict=True):
        for column in range(period):
            wanted = verdict.logits.view(1, -1, period)[:, :, column].square().sum()
            (gradient,) = torch.autograd.grad(wanted, samples, retain_graph=True)
            found = set((gradient[0, :mirrored].nonzero()[:, 0] % period).tolist())
            assert found == {column}


def test_features_of_periods_are_those_vocos_and_dac_match() -> None:
    samples = noise()
    torch.manual_seed(0)
    vocos = PeriodDiscriminator(TINY_PERIODS)
    dac = PeriodDiscriminator(replace(TINY_PERIODS, num_unmatched=0, matches_logits=False))
    dac.load_state_dict(vocos.state_dict())
    for mine, theirs in zip(vocos(samples), dac(samples), strict=True):
        assert torch.equal(mine.logits, theirs.logits)
        assert len(theirs.features) == 3
        assert all(
            torch.equal(a, b) for a, b in zip(mine.features, theirs.features[1:], strict=False)
        )
        assert len(mine.features) == 3
        assert torch.equal(mine.features[-1].flatten(1), mine.logits)


def first_input(module: nn.Module, layer: nn.Module, samples: torch.Tensor) -> torch.Tensor:
    """Return what a layer is given."""
    seen = []
    hook = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    module(samples)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("num_samples", [1024, 1111])
def test_resolutions_see_magnitudes_of_a_rectangular_window(num_samples: int) -> None:
    discriminator = tiny("resolutions")
    samples = noise(2, num_samples)
    for part, n_fft, hop in zip(discriminator._parts, (128, 256, 64), (32, 64, 16), strict=True):
        expected = torch.stft(
            samples, n_fft, hop, window=torch.ones(n_fft), return_complex=True
        ).abs()
        found = first_input(discriminator, part.layers[0], samples)
        assert torch.allclose(found, expected[:, None], atol=1e-5)


@pytest.mark.parametrize("num_samples", [1024, 1025, 1087])
def test_bands_see_the_complex_spectrum_of_dac(num_samples: int) -> None:
    discriminator = tiny("bands")
    samples = noise(2, num_samples) + 0.3
    centred = samples - samples.mean(dim=1, keepdim=True)
    scaled = 0.8 * centred / (centred.abs().amax(dim=1, keepdim=True) + 1e-9)
    for part, n_fft in zip(discriminator._parts, (256, 128, 64), strict=True):
        # As audiotools matches strides: pad, transform centred, drop two frames at both ends.
        hop = n_fft // 4
        margin, rest = (n_fft - hop) // 2, -num_samples % hop
        padded = nn.functional.pad(scaled, (margin, margin + rest), mode="reflect")
        window = torch.hann_window(n_fft)
        expected = torch.stft(padded, n_fft, hop, window=window, return_complex=True)[..., 2:-2]
        assert expected.shape[-1] == -(-num_samples // hop)
        for (low, high), layers in zip(part.bins, part.bands, strict=True):
            found = first_input(discriminator, layers[0], samples)
            band = torch.view_as_real(expected[:, low:high]).permute(0, 3, 2, 1)  # b 2 l f
            assert torch.allclose(found, band, atol=1e-4)
        assert [part.bins[0][0], part.bins[-1][1]] == [0, n_fft // 2 + 1]


@ALL
def test_a_verdict_does_not_depend_on_neighbours(name: str) -> None:
    discriminator = tiny(name)
    samples = noise(3) * torch.tensor([1.0, 10.0, 0.01])[:, None]
    together = discriminator(samples)
    alone = [discriminator(samples[i : i + 1]) for i in range(3)]
    for i, verdict in enumerate(together):
        logits = torch.cat([verdicts[i].logits for verdicts in alone])
        assert torch.allclose(verdict.logits, logits, atol=1e-5)
    assert len({round(float(verdicts[0].logits.detach().mean()), 5) for verdicts in alone}) == 3


@ALL
def test_every_parameter_and_sample_gets_a_gradient(name: str) -> None:
    discriminator = tiny(name)
    samples = noise().requires_grad_()
    verdicts = discriminator(samples)
    torch.stack([verdict.logits.square().mean() for verdict in verdicts]).sum().backward()
    assert (samples.grad != 0).all()
    for key, parameter in discriminator.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.any(), key


@ALL
def test_silence_has_a_verdict_and_finite_gradients(name: str) -> None:
    discriminator = tiny(name)
    samples = torch.zeros(2, 1200, requires_grad=True)
    verdicts = discriminator(samples)
    torch.stack([verdict.logits.mean() for verdict in verdicts]).sum().backward()
    assert all(torch.isfinite(verdict.logits).all() for verdict in verdicts)
    assert torch.isfinite(samples.grad).all()
    # A formula that divides by the peak plus 1e-9 gives 1e6 and more.
    assert float(samples.grad.abs().max()) < 1e4


@ALL
def test_autocast_computes_spectra_in_full(name: str) -> None:
    discriminator = tiny(name)
    samples = noise()
    expected = discriminator(samples)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = discriminator(samples)
    for a, b in zip(expected, found, strict=True):
        assert b.logits.dtype == torch.bfloat16
        scale = a.logits.detach().abs().max()
        assert torch.allclose(a.logits, b.logits.float(), atol=0.1 * float(scale))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pairs = zip(
            discriminator(samples.bfloat16()),
            discriminator(samples.bfloat16().float()),
            strict=True,
        )
    for a, b in pairs:
        assert torch.equal(a.logits, b.logits)


@ALL
@pytest.mark.parametrize("more", [0, 1, 2, 3, 10, 48])
def test_any_length_from_the_least_is_looked_at(name: str, more: int) -> None:
    discriminator = tiny(name)
    for verdict in discriminator(noise(1, discriminator.min_samples + more)):
        assert torch.isfinite(verdict.logits).all()


@ALL
def test_crops_that_are_too_short_are_refused(name: str) -> None:
    discriminator = tiny(name)
    least = discriminator.min_samples
    with pytest.raises(ShapeError, match=f"{least} samples or more, got {least - 1}"):
        discriminator(noise(1, least - 1))


def test_weights_are_normalised_and_spectra_stay_out_of_checkpoints() -> None:
    for name in ("periods", "resolutions", "bands"):
        keys = list(tiny(name).state_dict())
        assert all("parametrizations.weight.original" in key or "bias" in key for key in keys)


# Peaks


def test_peaks_are_scaled_and_means_removed() -> None:
    samples = noise(3) * torch.tensor([1.0, 1e-2, 10.0])[:, None] + 0.5
    found = normalise_peak(samples)
    assert torch.allclose(found.mean(dim=1), torch.zeros(3), atol=1e-5)
    assert torch.allclose(found.abs().amax(dim=1), torch.full((3,), 0.8))


def test_below_the_least_peak_sound_is_scaled_no_further() -> None:
    samples = torch.tensor([[0.5e-4, -0.5e-4], [2e-4, -2e-4], [0.0, 0.0]], requires_grad=True)
    found = normalise_peak(samples)
    assert torch.allclose(found, torch.tensor([[0.4, -0.4], [0.8, -0.8], [0.0, 0.0]]), atol=1e-6)
    (gradient,) = torch.autograd.grad(found[:, 0].sum(), samples)
    assert float(gradient[2].abs().max()) == pytest.approx(4000)


# Conditions


@pytest.mark.parametrize("kind", [PeriodDiscriminator, ResolutionDiscriminator])
def test_a_condition_shifts_the_logits_of_its_own_item(kind) -> None:
    config = TINY_PERIODS if kind is PeriodDiscriminator else TINY_RESOLUTIONS
    torch.manual_seed(0)
    plain, conditioned = kind(config), kind(replace(config, num_conditions=3))
    conditioned.load_state_dict(plain.state_dict(), strict=False)
    samples = noise()
    before = plain(samples)
    for a, b in zip(before, conditioned(samples, torch.tensor([0, 2])), strict=True):
        assert torch.equal(a.logits, b.logits)  # the table begins at zero
    for part in conditioned._parts:
        nn.init.ones_(part.table.weight[2:])
    for part, a, b in zip(
        conditioned._parts, before, conditioned(samples, torch.tensor([0, 2])), strict=True
    ):
        assert torch.equal(a.logits[0], b.logits[0])
        last = a.features[-2][1].sum(dim=0).flatten()
        assert part.table.weight[2].sum() == 4
        assert torch.allclose(b.logits[1] - a.logits[1], last, atol=1e-5)


def test_conditions_and_tables_go_together() -> None:
    with pytest.raises(ConfigError, match="a condition, but num_conditions made none"):
        PeriodDiscriminator(TINY_PERIODS)(noise(), torch.tensor([0, 0]))
    with pytest.raises(ConfigError, match="no condition, but num_conditions made one"):
        PeriodDiscriminator(replace(TINY_PERIODS, num_conditions=2))(noise())


# Settings


@pytest.mark.parametrize(
    ("kind", "bad", "named"),
    [
        (PeriodConfig, {"periods": ()}, "periods"),
        (PeriodConfig, {"periods": (0,)}, "periods"),
        (PeriodConfig, {"channels": (32, 8192)}, "channels"),
        (PeriodConfig, {"num_unmatched": 6}, "num_unmatched"),
        (PeriodConfig, {"num_unmatched": 5, "matches_logits": False}, "no features"),
        (PeriodConfig, {"num_conditions": 0}, "num_conditions"),
        (PeriodConfig, {"peak": 0.0}, "peak"),
        (PeriodConfig, {"least_peak": 0.0}, "least_peak"),
        (ResolutionConfig, {"n_ffts": (1024, 2048, 511)}, "n_ffts"),
        (ResolutionConfig, {"hop_lengths": (256, 512)}, "hop_lengths"),
        (ResolutionConfig, {"hop_lengths": (256, 512, 513)}, "hop_lengths"),
        (ResolutionConfig, {"num_channels": 0}, "num_channels"),
        (ResolutionConfig, {"num_conditions": -1}, "num_conditions"),
        (BandConfig, {"n_ffts": (2050,)}, "n_ffts"),
        (BandConfig, {"bands": ((0.5, 0.5),)}, "bands"),
        (BandConfig, {"bands": ((0.5, 1.1),)}, "bands"),
        (BandConfig, {"bands": ((0.5, 0.501),), "n_ffts": (64,)}, "hold a bin"),
        (BandConfig, {"num_channels": 0}, "num_channels"),
        (BandConfig, {"peak": 2.0}, "peak"),
    ],
)
def test_settings_out_of_range_are_refused(kind, bad, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        kind(**bad)


def test_a_discriminator_learns_to_tell_clipped_from_plain_sound() -> None:
    rng = np.random.default_rng(0)
    for name in ("periods", "resolutions", "bands"):
        discriminator = tiny(name)
        optimiser = torch.optim.AdamW(discriminator.parameters(), lr=1e-2)
        gaps = []
        for _ in range(10):
            real = torch.from_numpy(rng.standard_normal((4, 400)).astype("float32"))
            fake = real.clamp(-0.7, 0.7)
            optimiser.zero_grad()
            pairs = zip(discriminator(real), discriminator(fake), strict=True)
            gap = torch.stack([a.logits.mean() - b.logits.mean() for a, b in pairs]).mean()
            torch.relu(1 - gap).backward()
            optimiser.step()
            gaps.append(float(gap.detach()))
        assert gaps[-1] > gaps[0] + 0.1, name
