"""``weft evaluate``: compare models on recordings whose truth is known."""

import inspect
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli import protocols
from weft.cli.console import Screen, current_screen
from weft.errors import ConfigError
from weft.folders import default_cache

if TYPE_CHECKING:
    from weft.data.manifest import Manifest
    from weft.evaluate.journal import Journal
    from weft.evaluate.protocol import Protocol, RunConfig
    from weft.evaluate.runner import Finders

SOME_FAILED = 6
"""Exit status where some items could not be answered."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    evaluate = typer.Typer(help="Compare models on recordings whose truth is known.")
    evaluate.callback()(_group)
    for make in protocols.ALL:
        evaluate.command(make.__name__, no_args_is_help=True)(_command(make))
    evaluate.command("embedders")(embedders)
    app.add_typer(evaluate, name="evaluate", no_args_is_help=True)


def _group() -> None:
    """Compare models on recordings whose truth is known."""


def embedders(
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder of published weights; else the variable WEFT_WEIGHTS."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List whose vectors sets can be compared by, and where their weights are looked for."""
    from weft.metrics.embedders.registry import available

    screen = current_screen()
    places = available(weights)
    found = [
        {
            "name": one.entry.name,
            "is_found": one.is_found,
            "summary": one.entry.summary,
            "files": list(one.entry.files),
            "origin": one.entry.origin,
        }
        for one in places
    ]
    cells = [
        [
            one.entry.name,
            "yes" if one.is_found else "no",
            one.entry.summary,
            " or ".join(one.entry.files) or "shipped",
        ]
        for one in places
    ]
    screen.table(["embedder", "found", "what it is", "weights"], cells)
    screen.emit({"embedders": found})


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Options that all protocols have."""

    data: Annotated[
        list[str],
        typer.Option(
            metavar="FOLDER|NAME",
            help="Recordings: a folder, NAME=FOLDER, or music, piano, environment, speech, sounds "
            "below --root. Repeatable.",
        ),
    ]
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[,NAME]", help="Models, see 'weft models list'. Repeatable."),
    ] = None
    root: Annotated[
        Path | None, typer.Option(help="Folder of the corpora; else the variable WEFT_DATA.")
    ] = None
    split: Annotated[
        str, typer.Option(help="train, valid, test or all; folders without splits give all.")
    ] = "test"
    rate: Annotated[
        int | None,
        typer.Option(
            help="Rate at which to compare, in Hz; 0 keeps each file's; unless told 24000, for "
            "upsample 48000."
        ),
    ] = None
    mono: Annotated[bool, typer.Option("--mono", help="Mix to one channel first.")] = False
    takes: Annotated[
        int, typer.Option(help="Answers an item; over 1 adds a row that picks the best knowingly.")
    ] = 1
    measure: Annotated[
        str,
        typer.Option(metavar="odg,visqol", help="Slower measures to add: odg (PEAQ), visqol."),
    ] = ""
    embedder: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME]",
            help="Whose vectors sets are compared by: corpus-ssl, and vggish, panns-cnn14-16k, "
            "passt, clap-music, encodec-24k where their weights are on disk; none.",
        ),
    ] = "corpus-ssl"
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder of published weights; else the variable WEFT_WEIGHTS."),
    ] = None
    train_clips: Annotated[
        int | None,
        typer.Option(
            help="Clips of each train split that sets are compared with; unless told 0 for gaps "
            "and upsample, 300 for the others."
        ),
    ] = None
    versus: Annotated[
        str | None, typer.Option(metavar="ROW", help="Compare all rows with this, item by item.")
    ] = None
    seed: Annotated[int, typer.Option(help="Of positions and models.")] = 0
    limit: Annotated[
        int | None, typer.Option(help="Only the first so many files of each corpus.")
    ] = None
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1
    cache: Annotated[
        Path | None,
        typer.Option(help="Keeps what embedders say of train splits; see 'weft train'."),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.json", help="Results, and a journal beside."),
    ] = None
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="The tables as Markdown.")
    ] = None
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="A page with tables, plots and examples to hear."),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the journal beside the output.")
    ] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = (
        False
    )
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False

    def run_config(self, *, sample_rate: int, num_train_clips: int) -> "RunConfig":
        """Return what all protocols are told.

        Args:
            sample_rate: unless the user says, in Hz.
            num_train_clips: unless the user says.
        """
        from weft.evaluate.protocol import RunConfig

        rate = sample_rate if self.rate is None else self.rate
        clips = num_train_clips if self.train_clips is None else self.train_clips
        embedders = _names([self.embedder] if self.embedder not in ("", "none") else [])
        return RunConfig(
            models=_names(self.model or []),
            takes=self.takes,
            sample_rate=rate or None,
            is_mono=self.mono,
            split=None if self.split == "all" else self.split,
            limit=self.limit,
            seed=self.seed,
            extras=_names([self.measure] if self.measure else []),
            embedders=embedders,
            num_train_clips=clips if embedders else 0,
        )


def _command(make: "Callable[..., Protocol]") -> Callable[..., None]:
    """Return a command with the options of a protocol and those that all have."""
    shared = list(inspect.signature(Shared).parameters.values())
    own = [p for p in inspect.signature(make).parameters.values() if p.name != "shared"]

    def command(**options: Any) -> None:
        names = {parameter.name for parameter in own}
        common = Shared(**{k: v for k, v in options.items() if k not in names})
        protocol = make(common, **{k: v for k, v in options.items() if k in names})
        told = {
            p.name: options[p.name]
            for p in (*own, *shared)
            if p.name not in _NOT_REPEATED and options[p.name] not in (p.default, None)
        }
        _run(protocol, common, _command_line(make.__name__, told))

    required = [p for p in (*own, *shared) if p.default is inspect.Parameter.empty]
    optional = [p for p in (*own, *shared) if p.default is not inspect.Parameter.empty]
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*required, *optional)]
    )
    command.__doc__ = make.__doc__
    command.__name__ = make.__name__
    return command


_NOT_REPEATED = (
    "root",
    "weights",
    "cache",
    "jobs",
    "output",
    "markdown",
    "html",
    "resume",
    "overwrite",
    "json",
    "quiet",
)
"""Options that say where things are and how they are shown, not what is measured."""


def _command_line(name: str, options: Mapping[str, Any]) -> str:
    """Return the command that repeats an experiment, without the folders of this machine."""
    words = ["weft", "evaluate", name]
    for key, value in options.items():
        option = f"--{key.replace('_', '-')}"
        if value is True:
            words.append(option)
            continue
        for part in value if isinstance(value, list) else [value]:
            words += [option, Path(str(part)).name if key == "data" else str(part)]
    return shlex.join(words)


def _run(protocol: "Protocol", shared: Shared, command: str) -> None:
    """Run the experiment, write and show its results."""
    import json as json_text

    from weft.data.corpora import find_corpus
    from weft.evaluate.journal import Journal
    from weft.evaluate.markdown import headline, to_markdown
    from weft.evaluate.output import check_outputs, journal_path, write_text
    from weft.evaluate.report import summarise
    from weft.evaluate.runner import Finders, run

    names = [row.name for row in protocol.rows]
    if shared.versus is not None and shared.versus not in names:
        raise ConfigError(f"no row {shared.versus!r} to compare with; rows are {', '.join(names)}")
    if shared.resume and shared.output is None:
        raise ConfigError("--resume needs the --output that the journal stands beside")
    screen = current_screen()
    check_outputs(
        shared.output,
        (shared.markdown, shared.html),
        overwrite=shared.overwrite,
        is_resumed=shared.resume,
    )
    corpora = [find_corpus(name, root=shared.root) for name in _split_data(shared.data)]
    finders = Finders(weights=shared.weights)
    path = None if shared.output is None else journal_path(shared.output)
    journal = Journal(path, protocol.fixed_settings, is_resumed=shared.resume)
    try:
        with screen.progress(protocol.title.lower(), 1) as show:
            run(protocol, corpora, journal, finders=finders, num_jobs=shared.jobs, on_progress=show)
    finally:
        journal.close()
    summary = summarise(
        protocol,
        journal,
        materials=[corpus.name for corpus in corpora],
        versus=shared.versus,
        train=_train(protocol, corpora, finders, shared, screen),
        embedders=[finders.embedder(name) for name in protocol.run.embedders],
        command=command,
    )
    if shared.output is not None:
        write_text(shared.output, json_text.dumps(summary, indent=1, allow_nan=False) + "\n")
    if shared.markdown is not None:
        write_text(shared.markdown, to_markdown(summary))
    if shared.html is not None:
        page = _page(protocol, corpora, journal, summary, finders, screen)
        write_text(shared.html, page)
    headings, cells = headline(summary)
    screen.table(headings, cells)
    screen.emit(summary)
    texts = [f"{f['row']} on {f['corpus']}/{f['file']}: {f['error']}" for f in summary["failures"]]
    for text in list(dict.fromkeys(texts))[:5]:
        screen.warn(text)
    if summary["num_changed_outside"]:
        screen.warn(f"{summary['num_changed_outside']} samples outside the edits were changed")
    if summary["failures"]:
        raise typer.Exit(SOME_FAILED)


def _train(
    protocol: "Protocol",
    corpora: "list[Manifest]",
    finders: "Finders",
    shared: Shared,
    screen: Screen,
) -> Any:
    """Embed clips of the train splits."""
    from weft.evaluate.references import train_clips

    if not protocol.run.num_train_clips or not protocol.run.embedders:
        return {}
    cache = (shared.cache or default_cache()) / "train-clips"
    with screen.progress("listening to the train split", 1) as show:
        return train_clips(protocol, corpora, finders, cache=cache, on_progress=show)


def _page(
    protocol: "Protocol",
    corpora: "list[Manifest]",
    journal: "Journal",
    summary: dict[str, Any],
    finders: "Finders",
    screen: Screen,
) -> str:
    """Return the report, with the worst and median answers made again to be heard."""
    from weft.evaluate.html import to_html
    from weft.evaluate.render import render_examples

    with screen.progress("making examples", 1) as show:
        examples = render_examples(
            protocol, corpora, list(journal), finders=finders, on_progress=show
        )
    return to_html(summary, list(journal), examples)


def _names(texts: list[str]) -> tuple[str, ...]:
    """Split lists of names, keeping the order and each name once."""
    found = [name.strip() for text in texts for name in text.split(",")]
    if not all(found):
        raise ConfigError(f"an empty name among {', '.join(texts)!r}")
    return tuple(dict.fromkeys(found))


def _split_data(texts: list[str]) -> list[str]:
    """Split lists of corpora; a folder whose name holds a comma stays whole."""
    found: list[str] = []
    for text in texts:
        is_one = "=" in text or Path(text).is_dir()
        found += [text] if is_one else [name.strip() for name in text.split(",")]
    return list(dict.fromkeys(found))
