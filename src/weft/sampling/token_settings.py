"""Settings of `weft.sampling.token_filler`."""

from dataclasses import dataclass
from typing import Literal, final, get_args

from weft.errors import ConfigError
from weft.sampling.channel_parts import ChannelMode

KnownFrames = Literal["features", "tokens"]
Ranking = Literal["likelihood", "seams"]


@final
@dataclass(frozen=True, kw_only=True)
class TokenFillerConfig:
    """How a token model fills gaps; its network and its sampler have settings of their own."""

    num_frames: int | None = None
    """Longest sequence, in frames, in [16, 65536]; None: as the network was trained."""
    max_gap_share: float = 0.5
    """Share of a sequence that may be unknown, in (0, 0.9]; longer gaps come in pieces."""
    guard: int = 1
    """Frames on each side of what is unknown that are not trusted, in [0, 8]."""
    extension_frames: int = 4
    """Frames by which linear prediction continues each known run while it is encoded, in [0, 32]:
    an encoder that hears a sound end makes other frames of its last moments."""
    known_frames: KnownFrames = "features"
    """What the decoder gets where sound is known: the encoder's own features, or their tokens."""
    channels: ChannelMode = "principal"
    """How channels are taken apart."""
    least_part_db: float = -40.0
    """Parts of the channels softer than this beside the loudest are not filled, in [-120, 0) dB."""
    level_range_db: tuple[float, float] = (-36.0, -12.0)
    """Levels, in dB of full scale, that the codec is given as they are; softer or louder sound is
    brought to the nearest of the two, and back. Each in [-100, 20]."""
    match_gain_db: float = 6.0
    """Most that a band of the fill is changed by what the codec did to the sound beside the gap, in
    [0, 24] dB; 0: nothing is."""
    edge_ms: float = 20.0
    """How long the surroundings ring on into the fill at each end, in [0, 200] ms; 0 leaves the
    join to the driver."""
    edge_span_ms: float = 8.0
    """Span of the models that let them ring on, in (0, 50] ms."""
    num_candidates: int = 1
    """Fills that are drawn for each gap, of which the best are returned, in [1, 64]; never fewer
    than are wanted."""
    ranking: Ranking = "likelihood"
    """What the best is: the network's own probability, or the fit of seams, levels and spectra."""
    batch_size: int = 8
    """Sequences that go through the network together, in [1, 1024]."""
    sure_log_prob: float = -4.0
    """Mean logarithm of a token's probability that gives the confidence 0.5, in [-20, 0]."""
    sure_slope: float = 1.0
    """How fast confidence rises with it, in (0, 10]."""

    def __post_init__(self) -> None:
        if self.num_frames is not None:
            _check("num_frames", self.num_frames, 16, 65536)
        _check("max_gap_share", self.max_gap_share, 0, 0.9, is_open=True)
        _check("guard", self.guard, 0, 8)
        _check("extension_frames", self.extension_frames, 0, 32)
        for name, value, known in (
            ("known_frames", self.known_frames, KnownFrames),
            ("channels", self.channels, ChannelMode),
            ("ranking", self.ranking, Ranking),
        ):
            if value not in get_args(known):
                raise ConfigError(f"{name} must be one of {get_args(known)}, got {value!r}")
        if not -120 <= self.least_part_db < 0:
            raise ConfigError(f"least_part_db must be in [-120, 0) dB, got {self.least_part_db}")
        if len(self.level_range_db) != 2 or not (
            -100 <= self.level_range_db[0] <= self.level_range_db[1] <= 20
        ):
            raise ConfigError(
                "level_range_db must be two levels in [-100, 20] dB, the lower first, got "
                f"{self.level_range_db}"
            )
        _check("match_gain_db", self.match_gain_db, 0, 24)
        _check("edge_ms", self.edge_ms, 0, 200)
        _check("edge_span_ms", self.edge_span_ms, 0, 50, is_open=True)
        _check("num_candidates", self.num_candidates, 1, 64)
        _check("batch_size", self.batch_size, 1, 1024)
        _check("sure_log_prob", self.sure_log_prob, -20, 0)
        _check("sure_slope", self.sure_slope, 0, 10, is_open=True)


def _check(
    name: str, value: int | float, least: int | float, most: int | float, *, is_open: bool = False
) -> None:
    """Check a number; NaN is in no range."""
    if not least <= value <= most or (is_open and value == least):
        bracket = "(" if is_open else "["
        raise ConfigError(f"{name} must be in {bracket}{least}, {most}], got {value}")
