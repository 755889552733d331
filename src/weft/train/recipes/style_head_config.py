"""Settings of ``weft train style-head``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from weft.errors import ConfigError
from weft.sampling.style_head import StyleHeadConfig
from weft.train.config import LoopConfig
from weft.train.recipes.style_head_data import PieceConfig
from weft.train.recipes.style_head_module import StyleObjectiveConfig

CORPORA = {"music": 0.4, "piano": 0.2, "sounds": 0.25, "environment": 0.15}
"""Share of each corpus in what is drawn."""


@final
@dataclass(frozen=True, kw_only=True)
class StyleHeadTraining:
    """Everything that decides what is learned, beside the loop."""

    codec: str = ""
    """Folder of a trained VAE; empty: one with random weights, for tests."""
    head: StyleHeadConfig = field(default_factory=StyleHeadConfig)
    """The network's size; what it listens to is told by the codec."""
    objective: StyleObjectiveConfig = field(default_factory=StyleObjectiveConfig)
    """The loss."""
    pieces: PieceConfig = field(default_factory=PieceConfig)
    """What it is learned from."""
    corpora: Mapping[str, float] = field(default_factory=lambda: dict(CORPORA))
    """Share of each corpus in what is drawn, each > 0."""

    def __post_init__(self) -> None:
        if not self.corpora or min(self.corpora.values()) <= 0:
            raise ConfigError(f"corpora need shares > 0, got {dict(self.corpora)}")


PRESETS: Mapping[str, tuple[StyleHeadTraining, LoopConfig]] = {
    "debug": (
        StyleHeadTraining(
            head=StyleHeadConfig(width=16, num_layers=1),
            pieces=PieceConfig(piece_s=2.0, num_pieces=2, max_recordings=4),
        ),
        LoopConfig(steps=30, batch_size=8, learning_rate=3e-3, ema_decay=0.9),
    ),
    "small": (
        StyleHeadTraining(),
        LoopConfig(
            steps=800,
            batch_size=16,
            learning_rate=2e-3,
            weight_decay=0.05,
            warmup_steps=50,
            decay_fraction=0.4,
            ema_decay=0.99,
            validate_every=200,
            save_every=100,
            log_every=20,
        ),
    ),
    "base": (
        StyleHeadTraining(
            head=StyleHeadConfig(width=384, num_layers=8),
            pieces=PieceConfig(num_pieces=60, max_recordings=100_000),
        ),
        LoopConfig(
            steps=50_000,
            batch_size=128,
            learning_rate=1e-3,
            weight_decay=0.05,
            warmup_steps=1000,
            ema_decay=0.999,
            validate_every=5000,
            save_every=5000,
            num_workers=8,
        ),
    ),
}
"""Sizes by name: debug for a laptop's minute, small is what is shipped, base is for a GPU."""
