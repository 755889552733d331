"""Folders of the machine that Weft uses beside those it is told."""

import os
from pathlib import Path

CACHE_VARIABLE = "WEFT_CACHE"
"""Environment variable that names the folder of what is computed once and used again."""


def default_cache() -> Path:
    """Return where what is computed once is kept; it need not exist.

    The folder that `CACHE_VARIABLE` names, else ``weft`` in ``XDG_CACHE_HOME`` or ``~/.cache``.
    """
    told = os.environ.get(CACHE_VARIABLE)
    if told:
        return Path(told)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weft"
