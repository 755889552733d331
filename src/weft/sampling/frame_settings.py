"""Settings of `weft.sampling.frame_sound`, and how settings of fillers are checked."""

from dataclasses import dataclass
from typing import final, get_args

from weft.errors import ConfigError
from weft.sampling.channel_parts import ChannelMode


@final
@dataclass(frozen=True, kw_only=True)
class FrameConfig:
    """How sound of any rate, level and number of channels goes through a codec."""

    guard: int = 1
    """Frames on each side of what is unknown that are not trusted, in [0, 8]."""
    extension_frames: int = 4
    """Frames by which linear prediction continues each known run while it is encoded, in [0, 32]:
    an encoder that hears a sound end makes other frames of its last moments."""
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

    def __post_init__(self) -> None:
        check_range("guard", self.guard, 0, 8)
        check_range("extension_frames", self.extension_frames, 0, 32)
        check_choice("channels", self.channels, get_args(ChannelMode))
        if not -120 <= self.least_part_db < 0:
            raise ConfigError(f"least_part_db must be in [-120, 0) dB, got {self.least_part_db}")
        if len(self.level_range_db) != 2 or not (
            -100 <= self.level_range_db[0] <= self.level_range_db[1] <= 20
        ):
            raise ConfigError(
                "level_range_db must be two levels in [-100, 20] dB, the lower first, got "
                f"{self.level_range_db}"
            )
        check_range("match_gain_db", self.match_gain_db, 0, 24)


def check_range(
    name: str, value: int | float, least: int | float, most: int | float, *, is_open: bool = False
) -> None:
    """Check a number; NaN is in no range.

    Args:
        name: of the setting.
        value: given.
        least: allowed, unless ``is_open``.
        most: allowed.
        is_open: whether it must be above ``least``.

    Raises:
        ConfigError: it is outside.
    """
    if not least <= value <= most or (is_open and value == least):
        bracket = "(" if is_open else "["
        raise ConfigError(f"{name} must be in {bracket}{least}, {most}], got {value}")


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Check a name.

    Raises:
        ConfigError: it is none of the known ones.
    """
    if value not in known:
        raise ConfigError(f"{name} must be one of {known}, got {value!r}")
