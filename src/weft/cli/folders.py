"""Folders that several verbs share."""

import os
from pathlib import Path

CACHE_VARIABLE = "WEFT_CACHE"
"""Environment variable that names the folder of what is computed once and used again."""


def default_cache() -> Path:
    """Return where what is computed once is kept."""
    folder = os.environ.get(CACHE_VARIABLE)
    return Path(folder) if folder else Path.home() / ".cache" / "weft"
