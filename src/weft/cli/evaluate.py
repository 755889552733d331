"""``weft evaluate``: compare models on recordings whose truth is known."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.console import current_screen
from weft.errors import ConfigError

if TYPE_CHECKING:
    from weft.evaluate.gaps import GapsConfig

SOME_FAILED = 6
"""Exit status where some gaps could not be filled."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    evaluate = typer.Typer(help="Compare models on recordings whose truth is known.")
    evaluate.callback()(_group)
    evaluate.command("gaps", no_args_is_help=True)(gaps)
    app.add_typer(evaluate, name="evaluate", no_args_is_help=True)


def _group() -> None:
    """Compare models on recordings whose truth is known."""


def gaps(
    model: Annotated[
        list[str],
        typer.Option(metavar="NAME[,NAME]", help="Models, see 'weft models list'. Repeatable."),
    ],
    data: Annotated[
        list[str],
        typer.Option(
            metavar="FOLDER|NAME",
            help="Recordings: a folder, NAME=FOLDER, or music, piano, environment, speech, sounds "
            "below --root. Repeatable.",
        ),
    ],
    root: Annotated[
        Path | None, typer.Option(help="Folder of the corpora; else the variable WEFT_DATA.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="train, valid, test or all; folders without splits give all.")
    ] = "test",
    gap_ms: Annotated[
        str, typer.Option(metavar="MS[,MS]", help="Lengths of the gaps.")
    ] = "50,150,300,375,750",
    gaps_per_file: Annotated[int, typer.Option(help="Gaps of each length in each recording.")] = 3,
    multi: Annotated[
        bool, typer.Option("--multi", help="Cut the gaps of a recording all at once.")
    ] = False,
    rate: Annotated[
        int, typer.Option(help="Rate at which to compare, in Hz; 0 keeps each file's.")
    ] = 24000,
    mono: Annotated[bool, typer.Option("--mono", help="Mix to one channel first.")] = False,
    excerpt_s: Annotated[
        float, typer.Option(help="Sound around a gap that excerpt measures run over.")
    ] = 5.0,
    takes: Annotated[
        int, typer.Option(help="Fills a gap; over 1 adds a row that picks the best knowingly.")
    ] = 1,
    versus: Annotated[
        str | None, typer.Option(metavar="ROW", help="Compare all rows with this, gap by gap.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of positions and fills.")] = 0,
    limit: Annotated[
        int | None, typer.Option(help="Only the first so many files of each corpus.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.json", help="Results, and a journal beside."),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="The tables as Markdown.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the journal beside the output.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Cut gaps into recordings, fill them, and compare with what was there.

    Rows 'original' and 'silence' are always there. Intervals are 95 % bootstrap, clustered by
    recording.
    """
    from weft.evaluate.gaps import GapsConfig

    config = GapsConfig(
        models=_names(model),
        gap_ms=_lengths(gap_ms),
        gaps_per_file=gaps_per_file,
        is_multi=multi,
        sample_rate=rate or None,
        is_mono=mono,
        excerpt_s=excerpt_s,
        takes=takes,
        split=None if split == "all" else split,
        limit=limit,
        seed=seed,
    )
    if versus is not None and versus not in config.rows:
        raise ConfigError(f"no row {versus!r} to compare with; rows are {', '.join(config.rows)}")
    if resume and output is None:
        raise ConfigError("--resume needs the --output that the journal stands beside")
    _run(
        config,
        data=tuple(data),
        root=root,
        versus=versus,
        num_jobs=jobs,
        outputs=(output, markdown),
        is_resumed=resume,
        overwrite=overwrite,
    )


def _run(
    config: "GapsConfig",
    *,
    data: tuple[str, ...],
    root: Path | None,
    versus: str | None,
    num_jobs: int,
    outputs: tuple[Path | None, Path | None],
    is_resumed: bool,
    overwrite: bool,
) -> None:
    """Run the experiment, write and show its results."""
    import json as json_text

    from weft.data.corpora import find_corpus
    from weft.evaluate.gaps import run_gaps
    from weft.evaluate.journal import Journal
    from weft.evaluate.output import check_outputs, journal_path, write_text
    from weft.evaluate.report import headline, summarise, to_markdown

    screen = current_screen()
    output, markdown = outputs
    check_outputs(output, markdown, overwrite=overwrite, is_resumed=is_resumed)
    corpora = [find_corpus(name, root=root) for name in _split_data(data)]
    settings = config.fixed_settings
    path = None if output is None else journal_path(output)
    journal = Journal(path, settings, is_resumed=is_resumed)
    try:
        with screen.progress("filling gaps", 1) as show:
            run_gaps(config, corpora, journal, num_jobs=num_jobs, on_progress=show)
    finally:
        journal.close()
    names = [corpus.name for corpus in corpora]
    summary = summarise(config, journal, materials=names, versus=versus)
    if output is not None:
        write_text(output, json_text.dumps(summary, indent=1, allow_nan=False) + "\n")
    if markdown is not None:
        write_text(markdown, to_markdown(summary))
    headings, cells = headline(summary)
    screen.table(headings, cells)
    screen.emit(summary)
    for failure in summary["failures"][:5]:
        screen.warn(
            f"{failure['row']} on {failure['corpus']}/{failure['file']}: {failure['error']}"
        )
    if summary["num_changed_outside"]:
        screen.warn(f"{summary['num_changed_outside']} samples outside the gaps were changed")
    if summary["failures"]:
        raise typer.Exit(SOME_FAILED)


def _names(texts: list[str]) -> tuple[str, ...]:
    """Split lists of names, keeping the order and each name once."""
    found = [name.strip() for text in texts for name in text.split(",")]
    if not all(found):
        raise ConfigError(f"an empty name among the models {', '.join(texts)!r}")
    return tuple(dict.fromkeys(found))


def _split_data(texts: tuple[str, ...]) -> list[str]:
    """Split lists of corpora; a folder whose name holds a comma stays whole."""
    found: list[str] = []
    for text in texts:
        is_one = "=" in text or Path(text).is_dir()
        found += [text] if is_one else [name.strip() for name in text.split(",")]
    return list(dict.fromkeys(found))


def _lengths(text: str) -> tuple[float, ...]:
    try:
        return tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError as error:
        raise ConfigError(
            f"--gap-ms must be numbers with commas between, such as 50,150; got {text!r}"
        ) from error
