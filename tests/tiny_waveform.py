"""Small models of samples for tests: networks that were never trained."""

from dataclasses import replace

import numpy as np
import torch

from weft.canvas.canvas import Region, Window
from weft.nn.cqt_unet import CqtUnet, CqtUnetConfig
from weft.nn.unet1d import WaveformUnet, WaveformUnetConfig

RATE = 4000
NUM = 2048

FOLDED = WaveformUnetConfig(
    num_channels=1,
    num_samples=NUM,
    width=8,
    multipliers=(1, 2),
    num_blocks=1,
    attention_from=2,
    num_heads=2,
    num_groups=4,
)
OCTAVES = CqtUnetConfig(
    num_samples=NUM,
    num_octaves=3,
    bins_per_octave=6,
    widths=(8, 8, 8),
    num_layers=(1, 1, 1),
    time_width=8,
    attention_width=8,
    num_heads=2,
    num_groups=4,
)


def make_network(
    config: WaveformUnetConfig | CqtUnetConfig = FOLDED,
    *,
    num_channels: int = 1,
    std: float | None = 0.05,
) -> WaveformUnet | CqtUnet:
    """Return a network with drawn weights; with std None it says v = 0 at all times."""
    sized = replace(config, num_channels=num_channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = WaveformUnet(sized) if isinstance(sized, WaveformUnetConfig) else CqtUnet(sized)
        if std is not None:
            for parameter in network.parameters():
                torch.nn.init.normal_(parameter, std=std)
    return network


def make_window(
    *,
    channels: int = 1,
    rate: int = RATE,
    seconds: float = 0.8,
    gap_s: float = 0.1,
    level: float = 0.1,
) -> Window:
    """Return tones and noise with a gap in the middle."""
    num = round(seconds * rate)
    time = np.arange(num) / rate
    rng = np.random.default_rng(0)
    samples = np.stack(
        [
            np.sin(2 * np.pi * 300 * (k + 1) * time) + 0.2 * rng.standard_normal(num)
            for k in range(channels)
        ]
    )
    gap = Region(start=(num - round(gap_s * rate)) // 2, stop=(num + round(gap_s * rate)) // 2)
    known = np.ones(num, dtype=bool)
    known[gap.start : gap.stop] = False
    return Window(
        samples=level * samples * known, known=known, gap=gap, start=1000, sample_rate=rate
    )
