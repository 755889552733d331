"""Support: whether a filler can do what a canvas asks for, before any work is done."""

import difflib
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from weft.canvas.canvas import Canvas
from weft.canvas.filler import Filler
from weft.errors import ConfigError, UnsupportedCanvasError

Ability: TypeAlias = Literal["draft", "style", "generate"]
"""What only some fillers can: start from a draft, follow a style, fill where nothing is known."""
AbleFn: TypeAlias = Callable[[Ability], Sequence[str]]
"""Returns the names of models that have an ability."""


def nobody(ability: Ability) -> Sequence[str]:
    """Know of no model with an ability."""
    return ()


def check_support(canvas: Canvas, filler: Filler, *, name: str, able_fn: AbleFn = nobody) -> None:
    """Refuse a canvas that a filler cannot fill; the message names models that can.

    A canvas whose draft is to be kept as it is needs no filler, and is never refused.

    Args:
        canvas: what is asked for.
        filler: what is to do it.
        name: of the model.
        able_fn: knows the other models.

    Raises:
        UnsupportedCanvasError: it cannot.
        ConfigError: a tag that it does not know.
    """
    if canvas.low_band_hz is not None or canvas.text:
        raise UnsupportedCanvasError(
            f"{name} fills gaps from what is around them; it uses no known band and no text; leave "
            "them out"
        )
    if canvas.draft_strength == 0:
        return
    if canvas.draft_strength is not None and not filler.uses_draft:
        raise UnsupportedCanvasError(
            f"{name} fills empty gaps from their surroundings and uses no draft; "
            f"{_others('draft', able_fn)}, or fill the gap without one ('weft inpaint')"
        )
    is_all_unknown = canvas.num_unknown >= canvas.audio.num_samples
    if is_all_unknown and canvas.draft_strength is None and not filler.can_generate:
        raise UnsupportedCanvasError(
            f"{name} fills gaps from what is around them, and here nothing is known; "
            f"{_others('generate', able_fn)}"
        )
    if canvas.style is not None:
        if not filler.uses_style:
            raise UnsupportedCanvasError(
                f"{name} follows no style; {_others('style', able_fn)}, or leave references and "
                "tags out"
            )
        _check_tags(canvas.style.tags, filler.tags, name)


def _check_tags(tags: Sequence[str], known: Sequence[str], name: str) -> None:
    for tag in tags:
        if tag in known:
            continue
        if not known:
            raise ConfigError(f"tag {tag!r}: {name} knows no tags; give a reference instead")
        close = difflib.get_close_matches(tag, known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(
            f"tag {tag!r} is not known to {name}; {hint}known are: {', '.join(known)}"
        )


def _others(ability: Ability, able_fn: AbleFn) -> str:
    found = able_fn(ability)
    if found:
        return f"use {' or '.join(found)}"
    return "no model that is installed can do that; name the folder of a trained one that can"
