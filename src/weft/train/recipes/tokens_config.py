"""Settings of ``weft train tokens``, and its sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from weft.errors import ConfigError
from weft.nn.token_dit import TokenDitConfig
from weft.process.spans import SpanConfig
from weft.train.config import LoopConfig
from weft.train.recipes.ssl import CORPORA
from weft.train.recipes.tokens_data import EncodeConfig
from weft.train.recipes.tokens_module import ObjectiveConfig


@final
@dataclass(frozen=True, kw_only=True)
class TokensConfig:
    """Everything that decides what is learned, beside the loop."""

    codec: str = ""
    """Folder of a trained codec, or the name of one that comes with the package. Empty: one with
    random weights, which is good for tests only."""
    network: TokenDitConfig = field(default_factory=TokenDitConfig)
    """The network; its ``codebook_size`` is always the codec's, ``num_frames`` is a crop's."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """What it is asked for."""
    spans: SpanConfig = field(default_factory=SpanConfig)
    """Which tokens are masked together."""
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    """In how many versions recordings are encoded."""
    encode_device: str = "auto"
    """Where: auto, cpu or cuda."""
    corpora: Mapping[str, float] = field(default_factory=lambda: dict(CORPORA))
    """Share of each corpus in an epoch, each > 0."""
    num_valid: int = 48
    """Crops of the valid split that are validated on, at most, >= 1."""
    gap_ms: tuple[float, ...] = (200.0, 300.0)
    """Lengths of the gaps that are validated, in ms, each > 0."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.corpora or min(self.corpora.values()) <= 0:
            raise ConfigError(f"corpora need shares > 0, got {dict(self.corpora)}")
        if self.encode_device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"encode_device must be auto, cpu or cuda, got {self.encode_device}")
        if not 1 <= self.num_valid <= 100_000:
            raise ConfigError(f"num_valid must be in [1, 100000], got {self.num_valid}")
        if not self.gap_ms or not all(0 < gap <= 60_000 for gap in self.gap_ms):
            raise ConfigError(f"gap_ms must be lengths in (0, 60000] ms, got {self.gap_ms}")


PRESETS: Mapping[str, tuple[TokensConfig, LoopConfig]] = {
    "debug": (
        TokensConfig(
            network=TokenDitConfig(width=64, num_layers=2, num_heads=2, cond_dim=16, num_frames=75),
            encode=EncodeConfig(num_versions=1),
            corpora={"environment": 1.0},
            num_valid=8,
        ),
        LoopConfig(steps=60, batch_size=8, learning_rate=2e-3, warmup_steps=10, ema_decay=0.9),
    ),
    "small": (
        TokensConfig(
            # Each token is seen a few times only, so that dropout would cost a sixth for nothing.
            network=TokenDitConfig(width=256, num_layers=6, num_heads=4, cond_dim=64, dropout=0.0),
            encode=EncodeConfig(num_versions=2),
        ),
        LoopConfig(
            steps=2000,
            batch_size=16,
            learning_rate=1e-3,
            weight_decay=0.05,
            warmup_steps=200,
            decay_fraction=0.25,
            ema_decay=0.998,
            validate_every=500,
            save_every=200,
            log_every=20,
        ),
    ),
    # Published: dwdse, uniform times, spans with p0 0.6 to 0.8 and alpha 0.5, and AdamW at 1e-6,
    # constant. At that rate 400,000 steps move a weight by 0.4 at most, and SEDD, whose code it is,
    # trained at 3e-4; `--set objective=dwdse --set times=uniform --set kind=published
    # --set learning_rate=1e-6 --set schedule=constant` is what the release does.
    "base": (
        TokensConfig(encode=EncodeConfig(num_versions=8), num_valid=256),
        LoopConfig(
            steps=400_000,
            batch_size=128,
            learning_rate=3e-4,
            betas=(0.9, 0.999),
            weight_decay=0.0,
            warmup_steps=2500,
            ema_decay=0.9999,
            validate_every=10_000,
            save_every=5000,
            log_every=100,
            num_workers=8,
        ),
    ),
}
"""Sizes by name: debug for a laptop's minute, small is what is shipped, base is the paper's."""
