"""Protocols on the command line: the options that each has of its own."""

from typing import TYPE_CHECKING, Annotated

import typer

from weft.errors import ConfigError

if TYPE_CHECKING:
    from weft.cli.evaluate import Shared
    from weft.evaluate.protocol import Protocol

PerFile = Annotated[int, typer.Option(help="Clips of each recording.")]
ClipS = Annotated[float, typer.Option(help="Length of a clip, in seconds.")]
WholeRecording = Annotated[
    bool, typer.Option("--whole-recording", help="Models get the whole recording, not the clip.")
]
Strength = Annotated[float, typer.Option(help="How far a draft may be changed, 0 to 1.")]


def gaps(
    shared: "Shared",
    gap_ms: Annotated[
        str, typer.Option(metavar="MS[,MS]", help="Lengths of the gaps.")
    ] = "50,150,300,375,750",
    gaps_per_file: Annotated[int, typer.Option(help="Gaps of each length in each recording.")] = 3,
    multi: Annotated[
        bool, typer.Option("--multi", help="Cut the gaps of a recording all at once.")
    ] = False,
    excerpt_s: Annotated[
        float, typer.Option(help="Sound around a gap that excerpt measures run over.")
    ] = 5.0,
) -> "Protocol":
    """Cut gaps into recordings, fill them, and compare with what was there.

    Rows 'original', 'vorbis' (a lossy codec) and 'silence' are always there. Intervals are 95 %
    bootstrap, clustered by recording.
    """
    from weft.evaluate.protocols.gaps import Gaps, GapsConfig

    run = shared.run_config(sample_rate=24000, num_train_clips=0)
    config = GapsConfig(
        gap_ms=_numbers(gap_ms, "--gap-ms", "50,150"),
        gaps_per_file=gaps_per_file,
        is_multi=multi,
        excerpt_s=excerpt_s,
    )
    return Gaps(run, config)


def infill(
    shared: "Shared",
    clip_s: ClipS = 6.0,
    middle_s: Annotated[float, typer.Option(help="What is missing, in seconds.")] = 2.0,
    clips_per_file: PerFile = 3,
    whole_recording: WholeRecording = False,
) -> "Protocol":
    """Take the middle out of clips, fill it, and compare with what was there."""
    from weft.evaluate.protocols.stretches import Stretches, StretchesConfig

    run = shared.run_config(sample_rate=24000, num_train_clips=300)
    config = StretchesConfig(
        kind="infill",
        clip_s=clip_s,
        middle_s=middle_s,
        clips_per_file=clips_per_file,
        is_whole_recording=whole_recording,
    )
    return Stretches(run, config=config)


def continuation(
    shared: "Shared",
    clip_s: ClipS = 6.0,
    known_s: Annotated[float, typer.Option(help="What models are given, in seconds.")] = 2.4,
    clips_per_file: PerFile = 3,
    whole_recording: WholeRecording = False,
) -> "Protocol":
    """Give the beginning of clips, let models go on, and compare with what was there."""
    from weft.evaluate.protocols.stretches import Stretches, StretchesConfig

    run = shared.run_config(sample_rate=24000, num_train_clips=300)
    config = StretchesConfig(
        kind="continuation",
        clip_s=clip_s,
        known_s=known_s,
        clips_per_file=clips_per_file,
        is_whole_recording=whole_recording,
    )
    return Stretches(run, config=config)


def regenerate(
    shared: "Shared",
    clip_s: ClipS = 6.0,
    middle_s: Annotated[float, typer.Option(help="What is made anew, in seconds.")] = 2.0,
    strength: Strength = 0.85,
    clips_per_file: PerFile = 3,
    whole_recording: WholeRecording = False,
) -> "Protocol":
    """Make the middle of clips anew, with what stands there as a draft.

    Models that use no drafts fill the stretch from its surroundings, and are marked.
    """
    from weft.evaluate.protocols.stretches import Stretches, StretchesConfig

    run = shared.run_config(sample_rate=24000, num_train_clips=300)
    config = StretchesConfig(
        kind="regenerate",
        clip_s=clip_s,
        middle_s=middle_s,
        strength=strength,
        clips_per_file=clips_per_file,
        is_whole_recording=whole_recording,
    )
    return Stretches(run, config=config)


def transition(
    shared: "Shared",
    transition_s: Annotated[float, typer.Option(help="Length of the transition.")] = 2.5,
    side_s: Annotated[float, typer.Option(help="What is known of each recording.")] = 1.75,
    num_pairs: Annotated[int, typer.Option(help="Pairs of recordings of each corpus.")] = 100,
    strength: Strength = 0.85,
) -> "Protocol":
    """Lead from one recording to another, and compare with the plain cross-fade of the two."""
    from weft.evaluate.protocols.transition import Transition, TransitionConfig

    run = shared.run_config(sample_rate=24000, num_train_clips=300)
    config = TransitionConfig(
        transition_s=transition_s, side_s=side_s, num_pairs=num_pairs, strength=strength
    )
    return Transition(run, config)


def unconditional(shared: "Shared", clip_s: ClipS = 5.0, clips_per_file: PerFile = 3) -> "Protocol":
    """Make clips from nothing, and compare them as a set with recordings."""
    from weft.evaluate.protocols.generation import Generation, GenerationConfig

    run = shared.run_config(sample_rate=24000, num_train_clips=300)
    config = GenerationConfig(kind="unconditional", clip_s=clip_s, clips_per_file=clips_per_file)
    return Generation(run, config=config)


def generate(shared: "Shared", clip_s: ClipS = 10.0) -> "Protocol":
    """Make a sound for every caption, and compare with the sounds that were described."""
    from weft.evaluate.protocols.generation import Generation, GenerationConfig

    run = shared.run_config(sample_rate=24000, num_train_clips=300)
    config = GenerationConfig(kind="generate", clip_s=clip_s, clips_per_file=1)
    return Generation(run, config=config)


def upsample(
    shared: "Shared",
    cutoff_hz: Annotated[
        str, typer.Option(metavar="HZ[,HZ]", help="Cut-offs of the low-pass.")
    ] = "4000,6000,8000,12000",
    family: Annotated[
        str, typer.Option(help="Filters: chebyshev, butterworth, bessel, elliptic.")
    ] = "chebyshev",
    order: Annotated[int, typer.Option(help="Of the filters.")] = 8,
    clip_s: ClipS = 5.12,
    clips_per_file: PerFile = 1,
) -> "Protocol":
    """Take the high band away, let models bring one back, and compare with what was there.

    Answers come as they are, and with the input's low band in place of theirs.
    """
    from weft.evaluate.protocols.upsample import FAMILIES, Upsample, UpsampleConfig

    names = [name.strip() for name in family.split(",")]
    config = UpsampleConfig(
        cutoff_hz=_numbers(cutoff_hz, "--cutoff-hz", "4000,8000"),
        families=tuple(name for name in FAMILIES if name in names),
        order=order,
        clip_s=clip_s,
        clips_per_file=clips_per_file,
    )
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise ConfigError(f"filters are {', '.join(FAMILIES)}; got {', '.join(unknown)}")
    return Upsample(shared.run_config(sample_rate=48000, num_train_clips=0), config)


ALL = (gaps, infill, continuation, regenerate, transition, unconditional, generate, upsample)
"""Commands, in the order of the help."""


def _numbers(text: str, option: str, example: str) -> tuple[float, ...]:
    """Read a list of numbers."""
    try:
        return tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError as error:
        raise ConfigError(
            f"{option} must be numbers with commas between, such as {example}; got {text!r}"
        ) from error
