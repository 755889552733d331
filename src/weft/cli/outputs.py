"""Outputs of a run: what they are called, how they are stored, and whether they may be written."""

from collections.abc import Sequence
from pathlib import Path

from weft.audio.audio import Audio
from weft.audio.formats import default_format, default_suffix, format_for_path
from weft.audio.handle import shown
from weft.audio.publish import check_output
from weft.errors import ConfigError, OutputError

ENDINGS = {
    "inpaint": "restored",
    "continue": "continued",
    "regenerate": "regenerated",
    "transition": "transition",
}
"""What the name of a verb's output says."""


def default_name(verb: str, inputs: Sequence[Path], suffix: str, *, fill_only: bool) -> str:
    """Return what an output is called unless it was named."""
    if not inputs:
        return f"generated{suffix}"
    if len(inputs) > 1:
        return f"{inputs[0].stem}.to.{inputs[1].stem}{suffix}"
    return f"{inputs[0].stem}.{'fill' if fill_only else ENDINGS[verb]}{suffix}"


def base_name(
    verb: str,
    inputs: Sequence[Path],
    wanted: Path | None,
    audio: Audio,
    *,
    fill_only: bool = False,
) -> Path:
    """Return the output's name before takes and gaps are numbered.

    Args:
        verb: what is done.
        inputs: files that are read; none where all is made from nothing.
        wanted: the file or directory that was asked for, if any.
        audio: the first recording, or what stands for it.
        fill_only: whether the fills alone are written.

    Raises:
        ConfigError: fills alone are to be written to something else than WAV.
    """
    if fill_only and wanted is not None and wanted.suffix.lower() != ".wav" and not wanted.is_dir():
        raise ConfigError(f"{shown(wanted)}: fills are written as WAV; let the name end in .wav")
    suffix = ".wav" if fill_only or not inputs else _own_suffix(inputs[0], audio)
    default = default_name(verb, inputs, suffix, fill_only=fill_only)
    if wanted is None:
        return inputs[0].with_name(default) if inputs else Path(default)
    return wanted / default if wanted.is_dir() else wanted


def _own_suffix(source: Path, audio: Audio) -> str:
    """Return the input's ending if it is right, or that of the format that will be written."""
    format = default_format(audio)
    try:
        is_right = format == audio.format == format_for_path(source, audio)
    except ConfigError:
        is_right = False
    return source.suffix if is_right and source.suffix else default_suffix(format)


def numbered(path: Path, part: str) -> Path:
    """Return a path with a part before its ending: ``out.take1.wav``."""
    return path.with_name(f"{path.stem}.{part}{path.suffix}")


def check_outputs(paths: Sequence[Path], kept: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse outputs that cannot be written, before any work is done.

    Args:
        paths: every file that may be written.
        kept: files that must not be written over.
        overwrite: whether files that exist may be replaced.

    Raises:
        OutputError: one exists, is a directory, has no directory to stand in, or another file of
            this run has its name.
    """
    taken = [path.resolve() for path in kept]
    for path in paths:
        if path.resolve() in taken:
            raise OutputError(
                f"{shown(path)}: another file of this run has that name; choose another"
            )
        if path.is_file() and not overwrite:
            raise OutputError(
                f"{shown(path)}: it exists already and was left as it is; name another file with "
                "-o, or allow it with --overwrite"
            )
        check_output(path, overwrite=overwrite)
        taken.append(path.resolve())
