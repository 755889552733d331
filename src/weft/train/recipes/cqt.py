"""``weft train cqt``: an unconditional diffusion model over octaves of a constant-Q transform.

The baseline of seed 001; all but network and sampler is that of `weft.train.recipes.waveform`.
"""

from collections.abc import Mapping, Sequence

from weft.nn.cqt_unet import CqtUnetConfig
from weft.sampling.guidance import GuidanceConfig
from weft.sampling.steps_gaussian import GaussianSamplerConfig
from weft.sampling.waveform_settings import WaveformFillerConfig
from weft.train.config import LoopConfig
from weft.train.recipes.waveform import SMALL_AUGMENT, WaveformConfig, WaveformRecipe, make_from

SAMPLER = GaussianSamplerConfig(kind="heun", steps=35, first_time=0.999)
"""Heun's method in 35 steps, as CQT-Diff+ has it, on our schedule."""
GUIDANCE = GuidanceConfig(step_size=1.0, normalisation="dps", consistency="x0")
"""Gradients of unit length, and the estimate kept consistent with what is known."""
FILLER = WaveformFillerConfig(edge_samples=50)
"""The estimate fades into what is known over 50 samples."""
SUMMARY = "samples the sound through a constant-Q transform step by step, guided by both sides"
SOURCES = (
    "Moliner, Lehtinen & Valimaki 2023, Solving audio inverse problems with a diffusion model",
    "Moliner & Valimaki 2023, Diffusion-based audio inpainting",
)

PRESETS: Mapping[str, tuple[WaveformConfig, LoopConfig]] = {
    "debug": (
        WaveformConfig(
            network=CqtUnetConfig(
                num_samples=8192,
                num_octaves=4,
                bins_per_octave=8,
                widths=(8, 8, 8, 16),
                num_layers=(1, 1, 1, 2),
                time_width=32,
                attention_width=32,
                num_heads=2,
                num_groups=4,
            ),
            sample_rate=8000,
            sampler=SAMPLER,
            guidance=GUIDANCE,
            filler=FILLER,
            augment=SMALL_AUGMENT,
            num_crops=4,
            num_gaps=2,
            gap_steps=2,
            summary=SUMMARY,
            sources=SOURCES,
        ),
        LoopConfig(steps=20, batch_size=4, learning_rate=1e-3, ema_decay=0.9),
    ),
    "small": (
        WaveformConfig(
            network=CqtUnetConfig(
                num_samples=32_768,
                num_octaves=7,
                bins_per_octave=16,
                widths=(16, 16, 24, 32, 48, 64, 64),
                num_layers=(1, 1, 2, 2, 3, 3, 4),
                time_width=64,
                attention_width=192,
                num_heads=4,
                num_groups=8,
            ),
            sample_rate=22_050,
            sampler=SAMPLER,
            guidance=GUIDANCE,
            filler=FILLER,
            augment=SMALL_AUGMENT,
            summary=SUMMARY,
            sources=SOURCES,
        ),
        LoopConfig(
            steps=600,
            batch_size=4,
            learning_rate=1e-3,
            betas=(0.9, 0.99),
            weight_decay=0.0,
            warmup_steps=50,
            decay_fraction=0.3,
            ema_decay=0.99,
            save_every=200,
            log_every=20,
        ),
    ),
    "base": (
        WaveformConfig(
            network=CqtUnetConfig(),
            sample_rate=22_050,
            sampler=SAMPLER,
            guidance=GUIDANCE,
            filler=FILLER,
            augment=SMALL_AUGMENT,
            summary=SUMMARY,
            sources=SOURCES,
        ),
        LoopConfig(
            steps=400_000,
            batch_size=16,
            learning_rate=2e-4,
            betas=(0.9, 0.999),
            weight_decay=0.0,
            warmup_steps=5000,
            schedule="cosine",
            ema_decay=0.9999,
            validate_every=10_000,
            save_every=5000,
            num_workers=12,
        ),
    ),
}
"""Sizes by name: debug for a laptop's minute, small for one core in 20 minutes, base has the widths
of CQT-Diff+."""


def make(
    preset: str, overrides: Mapping[str, str], data: Sequence[str]
) -> tuple[WaveformRecipe, LoopConfig]:
    """Return the recipe of a preset and the settings of its loop; see `waveform.make`."""
    return make_from(PRESETS, "cqt", preset, overrides, data)
