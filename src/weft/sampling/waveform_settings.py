"""Settings of `weft.sampling.waveform_filler`."""

from dataclasses import dataclass
from typing import final, get_args

from weft.sampling.channel_parts import ChannelMode
from weft.sampling.frame_settings import FrameConfig, check_choice, check_range


@final
@dataclass(frozen=True, kw_only=True)
class WaveformFillerConfig:
    """How a model of samples fills gaps, beside its network, its sampler and its guidance."""

    max_gap_share: float = 0.5
    """Share of what the network hears at once that may be unknown, in (0, 0.9]; longer gaps come in
    pieces."""
    channels: ChannelMode = "principal"
    """How channels are taken apart; a network of two channels takes each as it is, in pairs."""
    least_part_db: float = -40.0
    """Parts of the channels softer than this beside the loudest are not filled, in [-120, 0) dB."""
    empty_level_db: float = -20.0
    """Level of sound that is made where nothing at all is known, in [-80, 0] dB of full scale."""
    edge_samples: int = 0
    """Known samples beside the unknown into which the estimate fades, in [0, 4096]; only where
    guidance keeps consistency with the estimate (``x0``). CQT-Diff+ has 50."""
    edge_ms: float = 10.0
    """How long the surroundings ring on into the fill at each end, in [0, 200] ms; 0 leaves the
    join to the driver."""
    edge_span_ms: float = 8.0
    """Span of the models that let them ring on, in (0, 50] ms."""
    num_candidates: int = 1
    """Fills that are drawn for each gap, of which the best are returned, in [1, 64]; never fewer
    than are wanted."""
    batch_size: int = 4
    """Sequences that go through the network together, in [1, 1024]."""

    def __post_init__(self) -> None:
        check_range("max_gap_share", self.max_gap_share, 0, 0.9, is_open=True)
        check_choice("channels", self.channels, get_args(ChannelMode))
        check_range("empty_level_db", self.empty_level_db, -80, 0)
        check_range("edge_samples", self.edge_samples, 0, 4096)
        check_range("edge_ms", self.edge_ms, 0, 200)
        check_range("edge_span_ms", self.edge_span_ms, 0, 50, is_open=True)
        check_range("num_candidates", self.num_candidates, 1, 64)
        check_range("batch_size", self.batch_size, 1, 1024)
        self.to_frames(num_channels=1)  # checks what is left

    def to_frames(self, *, num_channels: int) -> FrameConfig:
        """Return how sound is cut: a frame is a sample, and every part has the variance 1.

        Args:
            num_channels: that the network takes at once.
        """
        return FrameConfig(
            guard=0,
            extension_frames=0,
            channels=self.channels if num_channels == 1 else "separate",
            least_part_db=self.least_part_db,
            level_range_db=(0.0, 0.0),
            match_gain_db=0.0,
        )
