"""``weft data``: corpora for training and experiments."""

from pathlib import Path
from typing import Annotated, Any

import typer

from weft.cli.console import current_screen, plural
from weft.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    data = typer.Typer(help="Corpora for training and experiments.")
    data.command("list", no_args_is_help=True)(list_corpora)
    data.command("attribution", no_args_is_help=True)(show_attribution)
    data.command("render-piano", no_args_is_help=True)(render_piano)
    app.add_typer(data, name="data", no_args_is_help=True)


_DATA = typer.Argument(
    metavar="FOLDER|NAME",
    help="Folders, or music, piano, environment, speech, sounds, musicnet, maestro, fma, "
    "audiocaps, vctk, esc50.",
)
_ROOT = typer.Option(help="Folder of the corpora; else the variable WEFT_DATA.")


def list_corpora(
    corpora: Annotated[list[str], _DATA],
    root: Annotated[Path | None, _ROOT] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what corpora hold: files, duration, splits and licences."""
    from collections import Counter

    from weft.data.corpora import find_corpus
    from weft.data.manifest import check_files

    screen = current_screen()
    found: list[dict[str, Any]] = []
    for name in corpora:
        manifest = find_corpus(name, root=root)
        check_files(manifest.entries)
        durations = [e.duration_s for e in manifest.entries if e.duration_s is not None]
        found.append(
            {
                "name": manifest.name,
                "folder": str(manifest.root),
                "num_files": len(manifest.entries),
                "num_missing": manifest.num_missing,
                "duration_s": round(sum(durations), 2) if durations else None,
                "splits": dict(Counter(e.split or "none" for e in manifest.entries)),
                "licences": dict(Counter(e.licence or "not stated" for e in manifest.entries)),
            }
        )
    screen.table(
        ("corpus", ">files", ">minutes", "splits", "licences"),
        [
            (
                corpus["name"],
                str(corpus["num_files"])
                + (f" ({corpus['num_missing']} missing)" if corpus["num_missing"] else ""),
                "-" if corpus["duration_s"] is None else f"{corpus['duration_s'] / 60:.1f}",
                ", ".join(f"{k} {v}" for k, v in corpus["splits"].items()),
                ", ".join(f"{k} {v}" for k, v in corpus["licences"].items()),
            )
            for corpus in found
        ],
    )
    screen.emit({"corpora": found})


def show_attribution(
    corpora: Annotated[list[str], _DATA],
    root: Annotated[Path | None, _ROOT] = None,
) -> None:
    """Print the credits that must go with what is made from these corpora."""
    from weft.data.corpora import find_corpus
    from weft.data.manifest import attribution

    screen = current_screen()
    screen.say(attribution(find_corpus(name, root=root) for name in corpora).rstrip("\n"))


def render_piano(
    midi: Annotated[Path, typer.Option(help="Folder of MIDI performances.")],
    samples: Annotated[Path, typer.Option(help="Folder of piano notes, named 060_C4_v12.ogg.")],
    out: Annotated[Path, typer.Option(help="Folder of the corpus to make.")],
    split: Annotated[str, typer.Option(help="train, valid, test or all.")] = "all",
    limit: Annotated[int | None, typer.Option(help="Only the first so many works.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
    bits: Annotated[int, typer.Option(help="16 or 24 bits a sample.")] = 16,
    container: Annotated[str, typer.Option("--format", help="flac or wav.")] = "flac",
    peak_db: Annotated[
        float, typer.Option(help="Level of the largest sample of each work, dB of full scale.")
    ] = -3.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Render MIDI performances through sampled piano notes.

    Stereo, 44.1 kHz. Works that are there already, made in the same way, are skipped; licences and
    splits go into the manifest of the new corpus.
    """
    from typing import cast

    from weft.data.rendering import RenderConfig, render_folder

    screen = current_screen()
    if bits not in (16, 24) or container not in ("flac", "wav"):
        raise ConfigError(
            f"--bits must be 16 or 24 and --format flac or wav, got {bits} and {container!r}"
        )
    config = RenderConfig(bits=cast("Any", bits), container=cast("Any", container), peak_db=peak_db)
    with screen.progress("rendering", 1) as show:
        works = render_folder(
            midi,
            samples,
            out,
            split=None if split == "all" else split,
            limit=limit,
            num_jobs=jobs,
            config=config,
            on_progress=show,
        )
    num_new = sum(not work.was_done for work in works)
    minutes = sum(float(str(work.row["duration_s"])) for work in works) / 60
    screen.say(
        f"{out}: {plural(len(works), 'work')}, {minutes:.1f} minutes, {num_new} rendered now, "
        f"{len(works) - num_new} there already"
    )
    screen.emit(
        {
            "folder": str(out),
            "num_rendered": num_new,
            "num_skipped": len(works) - num_new,
            "duration_s": round(60 * minutes, 2),
            "works": [dict(work.row) for work in works],
        }
    )
