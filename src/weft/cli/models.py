"""``weft models``: which there are, what is in a folder, and models from published weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.console import Screen, bytes_text, current_screen

if TYPE_CHECKING:
    from weft.sampling.model_facts import ModelFacts

_SHIPPED = Path(__file__).resolve().parents[1] / "weights"
_CONFIG = "model.json"
_LAYOUTS = ("wavtokenizer", "aidd")
_WEIGHTS = ("ema", "model")
_Name = Annotated[
    str, typer.Argument(metavar="NAME|DIR", help="A name from 'weft models list', or a folder.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    models = typer.Typer(help="Which models there are, and models from published weights.")
    models.command("list")(list_models)
    models.command("info", no_args_is_help=True)(show_model)
    models.command("verify", no_args_is_help=True)(verify_model)
    models.command("convert", no_args_is_help=True)(convert)
    app.add_typer(models, name="models", no_args_is_help=True)


def list_models(json: _Json = False) -> None:
    """List all models, the default first."""
    from weft import zoo

    screen = current_screen()
    cards = [zoo.describe(name) for name in zoo.names()]
    screen.table(("model", "good for"), [(card.name, card.good_for) for card in cards])
    screen.say()
    screen.say("'weft models info NAME' says how one works.")
    screen.emit(
        {"models": [{"name": c.name, "summary": c.summary, "good_for": c.good_for} for c in cards]}
    )


def show_model(name: _Name, json: _Json = False) -> None:
    """Say how a model works, when to use it, and where it comes from."""
    from weft import zoo

    screen = current_screen()
    folder = _folder_of(name)
    result: dict[str, object] = {}
    if folder is None or _fills_gaps(folder):
        card = zoo.describe(name if folder is None else folder)
        screen.say(card.name, style="bold")
        screen.say(f"how it works: {card.summary}")
        screen.say(f"good for:     {card.good_for}")
        for source in card.sources:
            screen.say(f"source:       {source}")
        result = {
            "name": card.name,
            "summary": card.summary,
            "good_for": card.good_for,
            "sources": list(card.sources),
        }
    if folder is not None:
        result |= _show_folder(screen, folder)
    screen.emit(result)


def verify_model(name: _Name, json: _Json = False) -> None:
    """Compare digests, names, shapes and values of a model's weights, and run it once."""
    from weft import zoo

    screen = current_screen()
    folder = _folder_of(name)
    if folder is None:
        zoo.describe(name)
        screen.say(f"{name} has no weights; there is nothing to verify")
        screen.emit({"name": name, "checks": []})
        return
    from weft.sampling.model_facts import describe_folder, verify_folder

    with screen.progress("verifying", 1):
        checks = verify_folder(folder)
    for line in checks:
        screen.say(f"ok: {line}")
    digest = describe_folder(folder).digest
    screen.emit({"name": name, "folder": str(folder), "digest": digest, "checks": checks})


def convert(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What others published.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new model.")],
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(_LAYOUTS), help="Whose weights; told from the file unless given."
        ),
    ] = None,
    codec: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For aidd: the converted codec it was trained with."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Published settings (YAML, JSON) to compare with."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(_WEIGHTS), help="For aidd: averaged weights (default), or the others."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the model that is in the folder.")
    ] = False,
    json: _Json = False,
) -> None:
    """Make a model from published weights of WavTokenizer (.ckpt) or AIDD (.pth).

    The file is read in a process of its own, and nothing that is in it is run.
    """
    import typing

    from weft.sampling.conversion import NUM_STAGES, Conversion, convert_model, to_json
    from weft.sampling.published import Layout
    from weft.sampling.published_network import WhichWeights

    _check_one_of("--kind", kind, _LAYOUTS)
    _check_one_of("--weights", weights, _WEIGHTS)
    screen = current_screen()
    conversion = Conversion(
        path=path,
        out=out,
        layout=typing.cast("Layout | None", kind),
        settings=config,
        codec=codec,
        weights=typing.cast("WhichWeights | None", weights),
        is_overwritten=overwrite,
    )
    with screen.progress(f"converting {path.name}", NUM_STAGES) as progress:
        converted = convert_model(conversion, progress=progress)
    screen.say(f"{out}", style="bold")
    _say_facts(screen, converted.facts)
    for line in converted.checks:
        screen.say(f"checked:      {line}")
    for line in converted.notes:
        screen.say(f"note:         {line}")
    screen.say("licence:      the weights' own is not known to Weft; look where you got them")
    screen.emit(to_json(converted))


def _check_one_of(option: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise typer.BadParameter(f"must be one of {', '.join(known)}", param_hint=option)


def _folder_of(name: str) -> Path | None:
    """Return the folder that a name means; None for models without weights, and unknown names."""
    from weft import zoo

    shipped = _SHIPPED / name
    if Path(name).name == name and (shipped / _CONFIG).is_file():
        return shipped
    folder = Path(name)
    if name in zoo.names() or not (folder.is_dir() or len(folder.parts) > 1):
        return None
    return folder


def _fills_gaps(folder: Path) -> bool:
    from weft import zoo
    from weft.checkpoint import read_config

    return zoo.fills_gaps(str(read_config(folder)["kind"]))


def _show_folder(screen: Screen, folder: Path) -> dict[str, object]:
    """Say what is in a folder."""
    from weft.sampling.model_facts import CARD_FILE, describe_folder

    facts = describe_folder(folder)
    _say_facts(screen, facts)
    if facts.has_card:
        screen.say(f"card:         {folder / CARD_FILE}")
    return {
        "folder": str(folder),
        "kind": facts.kind,
        "digest": facts.digest,
        "num_bytes": facts.num_bytes,
        "sizes": facts.sizes,
        "num_parameters": facts.num_parameters,
        "sample_rate": facts.sample_rate,
        "frame_rate": facts.frame_rate,
        "made_from": facts.made_from,
        "card": str(folder / CARD_FILE) if facts.has_card else None,
    }


def _say_facts(screen: Screen, facts: "ModelFacts") -> None:
    """Say what a model is, a line a fact."""
    rows = {"kind": facts.kind}
    if facts.sample_rate and facts.frame_rate:
        rows["sound"] = f"{facts.sample_rate} Hz, {facts.frame_rate:g} frames a second"
    rows |= {key: str(value) for key, value in facts.sizes.items()}
    if facts.num_parameters is not None and "parameters" not in rows:
        rows["parameters"] = f"{facts.num_parameters:,}"
    rows["size"] = bytes_text(facts.num_bytes)
    if facts.made_from:
        rows["made from"] = f"{facts.made_from.get('file')} ({facts.made_from.get('sha256')})"
    rows["digest"] = facts.digest
    for key, value in rows.items():
        screen.say(f"{key + ':':<14}{value}")
