"""Protocols: what an experiment asks of a model, and what it keeps of each answer."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

from weft import zoo
from weft.audio.audio import Audio
from weft.canvas.canvas import Canvas, Region
from weft.errors import WeftWarning


@final
@dataclass(frozen=True, kw_only=True)
class Filled:
    """What a model made of one canvas."""

    takes: tuple[Audio, ...]
    """The recording with all gaps filled, best first; at least one."""
    models: tuple[str, ...]
    """Which model filled each gap, in order of time: what `auto` chose."""
    num_network_calls: int = 0
    """Evaluations of a network for one take, all gaps together; 0 for classical models."""
    warnings: tuple[str, ...] = ()
    """What the model warned of."""


@runtime_checkable
class FillFn(Protocol):
    """Fills the gaps of a recording (interface)."""

    def __call__(self, audio: Audio, gaps: tuple[Region, ...], *, takes: int, seed: int) -> Filled:
        """Return the filled recording.

        Args:
            audio: the recording; what stands in the gaps must not be looked at.
            gaps: sorted and disjoint.
            takes: different fills wanted, >= 1; a deterministic model may give one.
            seed: of all draws.
        """
        ...


LoadFn = Callable[[str], FillFn]
"""Turns a model's name into what fills; must be picklable where several processes work."""


def load_from_zoo(name: str) -> FillFn:
    """Return what fills gaps with a model of the zoo.

    A learned model tells how often it ran its network by ``network_calls`` in the details of a
    fill.

    Raises:
        CheckpointError: no model has this name.
    """
    model = zoo.load(name)

    def fill(audio: Audio, gaps: tuple[Region, ...], *, takes: int, seed: int) -> Filled:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeftWarning)
            result = model.fill(Canvas(audio=audio, gaps=gaps), takes=takes, seed=seed)
        best = [gap.takes[0] for gap in result.gaps]
        return Filled(
            takes=result.takes,
            models=tuple(take.model for take in best),
            num_network_calls=sum(
                int(float(take.details.get("network_calls", 0))) for take in best
            ),
            warnings=tuple(str(warning) for warning in result.warnings),
        )

    return fill


@final
@dataclass(frozen=True, kw_only=True)
class GapRecord:
    """One row of one gap: what a journal keeps."""

    corpus: str
    """Name of the material."""
    file: str
    """Path of the recording below the corpus."""
    gap_ms: float
    """Length of the gap as asked for."""
    index: int
    """Number of the gap in its recording."""
    row: str
    """Name of the row: a model, ``original``, ``silence``, or ``NAME (best of K)``."""
    start: int
    """First sample of the gap, at the experiment's rate."""
    stop: int
    """One past the last."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Values by name; empty where the model failed."""
    model: str = ""
    """Which model filled it."""
    num_network_calls: float = 0.0
    """A gap."""
    cpu_s: float = 0.0
    """Processor time a gap, in seconds."""
    peak_mb: float = 0.0
    """Peak memory of the process, in megabytes."""
    num_changed: int = 0
    """Samples outside all gaps that are not the recording's: must be 0."""
    error: str = ""
    """Why there is no fill; empty where there is one."""

    @property
    def key(self) -> tuple[str, str, float, int, str]:
        """What tells it from all other records of an experiment."""
        return self.corpus, self.file, self.gap_ms, self.index, self.row

    @property
    def gap_key(self) -> tuple[str, str, float, int]:
        """What it shares with the records of other rows of the same gap."""
        return self.corpus, self.file, self.gap_ms, self.index
