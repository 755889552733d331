"""Examples: which items of an experiment are worth listening to, and their sound."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, final, runtime_checkable

import numpy as np
from jaxtyping import Float

from weft.errors import ConfigError, ShapeError
from weft.shapes import Samples

Kind: TypeAlias = Literal["worst", "median", "best"]


@runtime_checkable
class Item(Protocol):
    """What a report needs to know of one item that one row filled (interface)."""

    @property
    def corpus(self) -> str:
        """Corpus of the recording."""

    @property
    def file(self) -> str:
        """Name of the recording in its corpus; not to be trusted as text."""

    @property
    def setting(self) -> str:
        """What was asked, such as ``300 ms``."""

    @property
    def index(self) -> int:
        """Number of the item in its file and setting."""

    @property
    def row(self) -> str:
        """What filled it."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Values of the metrics; empty where the item failed."""

    @property
    def curves(self) -> Mapping[str, Sequence[float]]:
        """Values along the item, such as the distance to a track along a transition."""

    @property
    def error(self) -> str | None:
        """What went wrong; None or empty: nothing."""


@final
@dataclass(frozen=True, kw_only=True)
class Choice:
    """An item that is worth listening to."""

    kind: Kind
    """Why: it is the worst, the median or the best of its row."""
    metric: str
    """By which metric."""
    value: float
    """Of that metric."""
    item: Item
    """The item."""


@final
@dataclass(frozen=True, kw_only=True)
class Example:
    """The sound of an item that is worth listening to."""

    material: str
    """Corpus of the recording."""
    setting: str
    """What was asked, such as ``300 ms``."""
    row: str
    """What filled it."""
    kind: Kind
    """Why it was chosen."""
    file: str
    """Name of the recording; not to be trusted as text."""
    index: int
    """Number of the item in its file and setting."""
    metric: str
    """By which metric it was chosen."""
    value: float
    """Of that metric."""
    reference: Float[np.ndarray, "rc rn"] | None
    """The sound as it was, of the estimate's shape; None where nothing was, as in generation."""
    estimate: Samples
    """The sound as it was filled."""
    sample_rate: int
    """In Hz, > 0."""
    gap: tuple[int, int] | None
    """First sample of what was filled and the one after its last; None: no single stretch."""

    def __post_init__(self) -> None:
        if self.sample_rate <= 0:
            raise ConfigError(f"sample_rate must be > 0 Hz, got {self.sample_rate}")
        if not math.isfinite(self.value):
            raise ConfigError(f"value of {self.metric} must be finite, got {self.value}")
        if not self.estimate.size:
            raise ShapeError(f"the sound of an example of {self.row} is empty")
        if self.reference is not None and self.reference.shape != self.estimate.shape:
            raise ShapeError(
                f"reference and estimate of an example of {self.row} differ in shape: "
                f"{self.reference.shape} and {self.estimate.shape}"
            )
        num_samples = self.estimate.shape[1]
        if self.gap is not None and not 0 <= self.gap[0] < self.gap[1] <= num_samples:
            raise ConfigError(
                f"gap must lie within the {num_samples} samples of the example, got {self.gap}"
            )


def choose_examples(
    records: Sequence[Item],
    metric: str,
    better: Literal["higher", "lower"],
    *,
    rows: Sequence[str],
    kinds: Sequence[Kind] = ("worst", "median"),
) -> tuple[Choice, ...]:
    """Choose the items that say most about each row: where it did worst, and what is usual.

    Ties go to the first file and index, so that the choice does not depend on the order of the
    records. Failed items and items without the metric are left out. An item that is the worst as
    well as the median is chosen once, as the former.

    Args:
        records: of the experiment.
        metric: by which to choose.
        better: which of its values are better.
        rows: rows to choose for, in the order of the answer.
        kinds: what to choose, in the order of the answer.

    Returns:
        One choice for each kind, setting, corpus and row, in this order of nesting; settings and
        corpora in the order of the records. A page shows the first ones where there is not room
        for all.
    """
    groups: dict[tuple[str, str, str], list[Item]] = defaultdict(list)
    corpora: dict[str, None] = {}
    settings: dict[str, None] = {}
    for item in records:
        corpora[item.corpus] = settings[item.setting] = None
        if not item.error and math.isfinite(item.metrics.get(metric, math.nan)):
            groups[item.corpus, item.setting, item.row].append(item)
    sign = 1 if better == "lower" else -1
    for group in groups.values():
        group.sort(key=lambda item: (sign * item.metrics[metric], item.file, item.index))
    chosen: list[Choice] = []
    taken: set[tuple[str, str, str, str, int]] = set()
    for kind in kinds:
        for setting in settings:
            for corpus in corpora:
                for row in rows:
                    group = groups.get((corpus, setting, row), [])
                    if not group:
                        continue
                    item = group[_position(kind, group, metric)]
                    key = (corpus, setting, row, item.file, item.index)
                    if key not in taken:
                        taken.add(key)
                        value = float(item.metrics[metric])
                        chosen.append(Choice(kind=kind, metric=metric, value=value, item=item))
    return tuple(chosen)


def _position(kind: Kind, group: Sequence[Item], metric: str) -> int:
    """Return the place of an item in a group sorted from best to worst."""
    if kind == "best":
        return 0
    if kind == "median":
        return (len(group) - 1) // 2
    values = [item.metrics[metric] for item in group]
    return values.index(values[-1])
