"""Cards: what a model is, for people. Needs no numerical package."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a model is, for people."""

    name: str
    """Name on the command line."""
    summary: str
    """One line: how it works."""
    good_for: str
    """One line: when to use it."""
    sources: tuple[str, ...] = ()
    """Publications."""
