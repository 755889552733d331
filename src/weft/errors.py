"""Errors and warnings.

Every error says what was given, where, why it cannot be used, and what to do next. Users' mistakes
raise one of these classes; nothing returns NaN, None or zeros in place of an error. Each class
knows the exit status that the command line ends with.
"""


class WeftError(Exception):
    """Root of all errors that Weft raises on purpose."""

    exit_status = 3


class ConfigError(WeftError, ValueError):
    """A setting is outside its range, or two settings contradict each other."""

    exit_status = 2


class ShapeError(WeftError, ValueError):
    """An array has the wrong number of axes, channels or samples."""


class RegionError(WeftError, ValueError):
    """A time, a region or a label file cannot be used."""


class UnsupportedCanvasError(WeftError, ValueError):
    """The model cannot fill this canvas; the message names models that can."""

    exit_status = 5


class CheckpointError(WeftError, RuntimeError):
    """A model is unknown, damaged or does not fit together."""

    exit_status = 5


class DivergenceError(WeftError, RuntimeError):
    """Training only gives NaN or infinity; the last checkpoint is good."""

    exit_status = 5


class AudioFormatError(WeftError, ValueError):
    """An audio file cannot be read, or holds something that is not usable sound."""


class OutputError(WeftError, OSError):
    """An output cannot be written. Nothing was left under its final name."""

    exit_status = 4


class MissingDependencyError(WeftError, ImportError):
    """An optional package or program is needed; the message says how to get it."""

    exit_status = 2


class WeftWarning(UserWarning):
    """Root of all warnings of Weft: the result is usable, but less than one might expect."""


class BandwidthWarning(WeftWarning):
    """The fill is narrower in band or channels than the recording."""


class FormatWarning(WeftWarning):
    """A file was readable but not quite as it claims, or is written in another format."""


class ClippingWarning(WeftWarning):
    """The fill went over full scale of the file's format and was clipped there."""


class QualityWarning(WeftWarning):
    """A gap could be filled only poorly, or was left alone."""
