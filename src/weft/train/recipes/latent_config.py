"""Settings of ``weft train latent``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final

from weft.errors import ConfigError
from weft.nn.dit import DitConfig
from weft.sampling.latent_condition import num_condition
from weft.train.config import LoopConfig
from weft.train.recipes.latent_data import LatentDataConfig
from weft.train.recipes.latent_drafts import DraftConfig
from weft.train.recipes.latent_module import LatentObjectiveConfig
from weft.train.recipes.latent_windows import MaskShares

CORPORA = {"music": 0.55, "piano": 0.35, "sounds": 0.05, "environment": 0.05}
"""Share of each corpus in what is drawn."""


@final
@dataclass(frozen=True, kw_only=True)
class LatentConfig:
    """Everything that decides what is learned, beside the loop."""

    codec: str = ""
    """Folder of a trained VAE; empty: one with random weights, for tests."""
    network: DitConfig = field(
        default_factory=lambda: DitConfig(num_condition=num_condition(64), positions="rotary")
    )
    """The network; its features are the codec's."""
    objective: LatentObjectiveConfig = field(default_factory=LatentObjectiveConfig)
    """Times and dropouts."""
    prediction: Literal["v", "x0"] = "v"
    """What the network puts out."""
    shares: MaskShares = field(default_factory=MaskShares)
    """What is unknown."""
    drafts: DraftConfig = field(default_factory=DraftConfig)
    """What the similarity search is asked for."""
    data: LatentDataConfig = field(default_factory=LatentDataConfig)
    """How recordings become latents."""
    corpora: Mapping[str, float] = field(default_factory=lambda: dict(CORPORA))
    """Share of each corpus in what is drawn, each > 0."""
    num_frames: int = 190
    """Length of a window, in frames, in [32, 8192]."""
    draft_dropout: float = 0.4
    """How often a draft is withheld, in [0, 1]."""
    wrong_drafts: float = 0.08
    """How often, of the others, a draft comes from another place altogether, in [0, 1]."""
    num_valid: int = 40
    """Gaps of the valid split that are filled at each validation, in [1, 4096]."""

    def __post_init__(self) -> None:
        if not self.corpora or min(self.corpora.values()) <= 0:
            raise ConfigError(f"corpora need shares > 0, got {dict(self.corpora)}")
        if not 32 <= self.num_frames <= 8192 or not 1 <= self.num_valid <= 4096:
            raise ConfigError(
                "num_frames must be in [32, 8192] and num_valid in [1, 4096], got "
                f"{self.num_frames} and {self.num_valid}"
            )
        if self.prediction not in ("v", "x0"):
            raise ConfigError(f"prediction must be 'v' or 'x0', got {self.prediction!r}")
        for name in ("draft_dropout", "wrong_drafts"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be in [0, 1], got {getattr(self, name)}")


PRESETS: Mapping[str, tuple[LatentConfig, LoopConfig]] = {
    "debug": (
        LatentConfig(
            network=DitConfig(
                num_features=16,
                num_condition=num_condition(16),
                width=32,
                num_layers=2,
                num_heads=2,
                positions="rotary",
            ),
            drafts=DraftConfig(
                num_gaps={"music": 12, "piano": 12},
                num_valid_gaps=1,
                gap_ms=(60.0, 300.0),
                context_s=4.0,
            ),
            data=LatentDataConfig(num_versions=1),
            num_frames=64,
            num_valid=4,
        ),
        LoopConfig(steps=30, batch_size=4, learning_rate=1e-3, ema_decay=0.9),
    ),
    "small": (
        LatentConfig(
            network=DitConfig(
                num_condition=num_condition(64),
                width=320,
                num_layers=6,
                num_heads=5,
                expansion=3,
                positions="rotary",
            ),
        ),
        LoopConfig(
            steps=6600,
            batch_size=16,
            learning_rate=8e-4,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            warmup_steps=100,
            decay_fraction=0.3,
            ema_decay=0.998,
            validate_every=600,
            save_every=100,
            log_every=10,
        ),
    ),
    "base": (
        LatentConfig(
            network=DitConfig(
                num_condition=num_condition(64),
                width=768,
                num_layers=12,
                num_heads=12,
                positions="rotary",
            ),
            drafts=DraftConfig(num_gaps={"music": 12_000, "piano": 12_000}),
            data=LatentDataConfig(num_versions=4),
            num_frames=380,
        ),
        LoopConfig(
            steps=100_000,
            batch_size=96,
            learning_rate=3e-4,
            betas=(0.9, 0.999),
            weight_decay=0.0,
            warmup_steps=5000,
            schedule="cosine",
            ema_decay=0.9995,
            validate_every=5000,
            save_every=2000,
            num_workers=12,
        ),
    ),
}
"""Sizes by name: debug for a laptop's minute, small is what is shipped, base is for a GPU."""
