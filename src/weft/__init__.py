"""Weft fills in sound.

Give it audio with something missing, and it fills that part so that it belongs. Names below are
imported when they are first used, so that the command line starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from weft.version import __version__ as __version__

if TYPE_CHECKING:
    from weft import canvas as canvas
    from weft import guidance as guidance
    from weft import zoo as zoo
    from weft.api import continuation as continuation
    from weft.api import generate as generate
    from weft.api import inpaint as inpaint
    from weft.api import read as read
    from weft.api import regenerate as regenerate
    from weft.api import transition as transition
    from weft.audio.audio import Audio as Audio
    from weft.result import FillResult as FillResult
    from weft.zoo import load as load

_MODULES = {"canvas", "guidance", "zoo"}
_HOMES = {
    "Audio": "weft.audio.audio",
    "FillResult": "weft.result",
    "continuation": "weft.api",
    "generate": "weft.api",
    "inpaint": "weft.api",
    "load": "weft.zoo",
    "read": "weft.api",
    "regenerate": "weft.api",
    "transition": "weft.api",
}
__all__ = [
    "Audio",
    "FillResult",
    "__version__",
    "canvas",
    "continuation",
    "generate",
    "guidance",
    "inpaint",
    "load",
    "read",
    "regenerate",
    "transition",
    "zoo",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"weft.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'weft' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
