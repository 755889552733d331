"""``weft models``: which models there are."""

from typing import Annotated

import typer

from weft.cli.console import current_screen


def register(app: typer.Typer) -> None:
    """Add the verb."""
    models = typer.Typer(help="Which models there are, and what each is good for.")
    models.command("list")(list_models)
    models.command("info", no_args_is_help=True)(show_model)
    app.add_typer(models, name="models", no_args_is_help=True)


def list_models(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
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


def show_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from 'weft models list'.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say how a model works, when to use it, and where it comes from."""
    from weft import zoo

    screen = current_screen()
    card = zoo.describe(name)
    screen.say(card.name, style="bold")
    screen.say(f"how it works: {card.summary}")
    screen.say(f"good for:     {card.good_for}")
    for source in card.sources:
        screen.say(f"source:       {source}")
    screen.emit(
        {
            "name": card.name,
            "summary": card.summary,
            "good_for": card.good_for,
            "sources": list(card.sources),
        }
    )
