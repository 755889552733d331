"""Solvers: what an experiment asks of a model, and what it gets back."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from weft import zoo
from weft.audio.audio import Audio
from weft.canvas.canvas import Canvas
from weft.canvas.filler import RoundTripFn
from weft.errors import WeftWarning


@final
@dataclass(frozen=True, kw_only=True)
class Filled:
    """What a model made of one canvas."""

    takes: tuple[Audio, ...]
    """The whole recording, filled, best first; at least one."""
    models: tuple[str, ...]
    """Which model filled each gap, in order of time: what `auto` chose."""
    num_network_calls: int = 0
    """Evaluations of a network for one take, all gaps together; 0 for classical models."""
    warnings: tuple[str, ...] = ()
    """What the model warned of."""


@runtime_checkable
class FillFn(Protocol):
    """Fills a canvas (interface)."""

    def __call__(self, canvas: Canvas, *, takes: int, seed: int) -> Filled:
        """Return the filled recording.

        Args:
            canvas: what is known and what is wanted; without a draft, what stands in the gaps must
                not be looked at.
            takes: different fills wanted, >= 1; a deterministic model may give one.
            seed: of all draws.

        Raises:
            UnsupportedCanvasError: it cannot do what the canvas asks for.
        """
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Solver:
    """A model as experiments see it."""

    fill: FillFn
    """Fills a canvas."""
    num_parameters: int = 0
    """Of its networks; 0 for classical models."""
    round_trip: Callable[[Audio], Audio] | None = None
    """Encodes and decodes a recording with the model's codec, which bounds what the model can
    reach; None where it has no codec."""


LoadFn = Callable[[str], Solver]
"""Turns a model's name into a solver; must be picklable where several processes work."""


def load_from_zoo(name: str) -> Solver:
    """Return a model of the zoo.

    A learned model tells how often it ran its network by ``network_calls`` in the details of a
    fill.

    Args:
        name: of the zoo, or the folder of a trained model.

    Raises:
        CheckpointError: no model has this name, or the folder holds none that can be used.
    """
    model = zoo.load(name)

    def fill(canvas: Canvas, *, takes: int, seed: int) -> Filled:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeftWarning)
            result = model.fill(canvas, takes=takes, seed=seed)
        best = [gap.takes[0] for gap in result.gaps]
        return Filled(
            takes=result.takes,
            models=tuple(take.model for take in best),
            num_network_calls=sum(
                int(float(take.details.get("network_calls", 0))) for take in best
            ),
            warnings=tuple(str(warning) for warning in result.warnings),
        )

    return Solver(
        fill=fill,
        num_parameters=model.filler.num_parameters,
        round_trip=_on_recordings(model.filler.round_trip),
    )


def _on_recordings(round_trip: RoundTripFn | None) -> Callable[[Audio], Audio] | None:
    """Let what works on samples work on recordings."""
    if round_trip is None:
        return None

    def of_recording(audio: Audio) -> Audio:
        return Audio.from_samples(round_trip(audio.samples, audio.sample_rate), audio.sample_rate)

    return of_recording
