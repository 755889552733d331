"""Tags: names of what may be heard, by which a fill can be asked for.

They are the classes of the embedder that comes with the package, read from its settings, so that
listing them loads no network.
"""

import difflib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from weft.errors import CheckpointError, ConfigError

_SETTINGS = Path(__file__).resolve().parents[1] / "weights" / "corpus-ssl" / "model.json"


@lru_cache(maxsize=1)
def known_tags() -> tuple[str, ...]:
    """Return the names that `weft.canvas.style.Style.tags` may hold, in the embedder's order.

    Raises:
        CheckpointError: the package is damaged.

    Example:
        >>> "piano" in known_tags()
        True
    """
    try:
        names = json.loads(_SETTINGS.read_text(encoding="utf-8"))["class_names"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{_SETTINGS} is damaged: {error}; install Weft again") from error
    return tuple(str(name) for name in names)


def find_tag(name: str, known: Sequence[str] | None = None) -> int:
    """Return the index of a tag; capitals and spaces around it do not matter.

    Args:
        name: what is asked for.
        known: what there is; unless told, `known_tags`.

    Raises:
        ConfigError: there is none of that name; the message has the nearest ones.

    Example:
        >>> known_tags()[find_tag(" Piano")]
        'piano'
    """
    names = known_tags() if known is None else tuple(known)
    wanted = name.strip().lower()
    lowered = [known_name.lower() for known_name in names]
    if wanted in lowered:
        return lowered.index(wanted)
    # Names of several words are found by one of them: "rivers" is in "waves and rivers".
    words = [i for i, text in enumerate(lowered) if wanted and wanted in text]
    close = [
        lowered.index(text) for text in difflib.get_close_matches(wanted, lowered, n=3, cutoff=0.5)
    ]
    nearest = [names[i] for i in dict.fromkeys([*words, *close])][:3]
    hint = f"did you mean {' or '.join(repr(text) for text in nearest)}? " if nearest else ""
    raise ConfigError(f"no tag {name!r}; {hint}known are: {', '.join(names)}")
