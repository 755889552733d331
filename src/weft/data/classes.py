"""Classes of sound: which label of which corpus belongs to which of a few dozen classes.

The table is ``classes.json``: classes in order, each with patterns of ``corpus/label`` in shell
style. The first class that matches wins; a label that none matches has no class.
"""

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

TABLE = Path(__file__).with_name("classes.json")
"""The committed table."""


@lru_cache(maxsize=1)
def _table() -> tuple[tuple[str, tuple[str, ...]], ...]:
    listed = json.loads(TABLE.read_text(encoding="utf-8"))["classes"]
    return tuple((entry["name"], tuple(entry["labels"])) for entry in listed)


def class_names() -> tuple[str, ...]:
    """Return the names of the classes, in the order of the table.

    Example:
        >>> class_names()[0]
        'chiptune'
    """
    return tuple(name for name, _ in _table())


@lru_cache(maxsize=4096)
def class_of(corpus: str, label: str) -> str | None:
    """Return the class of a label, or None where it has none.

    Args:
        corpus: name of the corpus, as in `weft.data.corpora.names`.
        label: as the manifest has it.

    Example:
        >>> class_of("environment", "storm"), class_of("sounds", "no such label")
        ('weather and fire', None)
    """
    key = f"{corpus}/{label}"
    for name, patterns in _table():
        if any(fnmatchcase(key, pattern) for pattern in patterns):
            return name
    return None


def count_classes(labels: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return how many of these pairs of corpus and label each class has, in the table's order.

    Example:
        >>> count_classes([("sounds", "hat"), ("sounds", "hat")])["hi-hat"]
        2
    """
    counts = dict.fromkeys(class_names(), 0)
    for corpus, label in labels:
        name = class_of(corpus, label)
        if name is not None:
            counts[name] += 1
    return counts
