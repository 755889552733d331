"""Settings of `weft.sampling.token_filler`."""

from dataclasses import dataclass
from typing import Literal, final, get_args

from weft.sampling.channel_parts import ChannelMode
from weft.sampling.frame_settings import FrameConfig, check_choice, check_range

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
            check_range("num_frames", self.num_frames, 16, 65536)
        check_range("max_gap_share", self.max_gap_share, 0, 0.9, is_open=True)
        check_choice("known_frames", self.known_frames, get_args(KnownFrames))
        check_choice("ranking", self.ranking, get_args(Ranking))
        check_range("edge_ms", self.edge_ms, 0, 200)
        check_range("edge_span_ms", self.edge_span_ms, 0, 50, is_open=True)
        check_range("num_candidates", self.num_candidates, 1, 64)
        check_range("batch_size", self.batch_size, 1, 1024)
        check_range("sure_log_prob", self.sure_log_prob, -20, 0)
        check_range("sure_slope", self.sure_slope, 0, 10, is_open=True)
        _ = self.frames  # checks the others

    @property
    def frames(self) -> FrameConfig:
        """How sound goes through the codec."""
        return FrameConfig(
            guard=self.guard,
            extension_frames=self.extension_frames,
            channels=self.channels,
            least_part_db=self.least_part_db,
            level_range_db=self.level_range_db,
            match_gain_db=self.match_gain_db,
        )
