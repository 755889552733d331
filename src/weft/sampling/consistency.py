"""Data consistency: keeping what is known of a sequence while the rest is sampled."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from weft.errors import ConfigError
from weft.process.gaussian import GaussianSchedule, expand_time
from weft.process.sequence import EncodedCanvas
from weft.sampling.measure import Operator, TimeMask


@final
@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What is known of a sequence: what an operator finds in it."""

    operator: Operator
    y: Float[Tensor, "b m d"]
    """What `Operator.apply` gives of the true sequence."""

    def project(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Return the nearest sequence that measures ``y``."""
        return self.operator.project(x, self.y)

    def project_noisy(
        self,
        x: Float[Tensor, "b l d"],
        t: Float[Tensor, " b"],
        *,
        schedule: GaussianSchedule,
        noise: Float[Tensor, "b l d"],
    ) -> Float[Tensor, "b l d"]:
        """Return the nearest sequence that measures what a true one would at time ``t``."""
        alpha, sigma = expand_time(schedule.alpha(t), x), expand_time(schedule.sigma(t), x)
        return self.operator.project(x, alpha * self.y.to(x) + sigma * self.operator.apply(noise))


def measurement_of(canvas: EncodedCanvas, given: Measurement | None = None) -> Measurement:
    """Return what is known: the known frames of a canvas, or a measurement in their place.

    Raises:
        ConfigError: there are both known frames and a measurement.
    """
    known = canvas.known & canvas.valid
    if given is None:
        mask = TimeMask(known=known)
        return Measurement(operator=mask, y=mask.apply(canvas.x))
    if bool(known.any()):
        raise ConfigError(
            f"the canvas has {int(known.sum())} known frames beside a measurement; projections on "
            "both do not commute. Put the known frames into the measurement's operator, or mark "
            "them as unknown"
        )
    return given


def start_from_draft(
    canvas: EncodedCanvas,
    measurement: Measurement,
    *,
    like: Float[Tensor, "b l d"],
) -> Float[Tensor, "b l d"]:
    """Return the clean sequence that a draft stands for: the draft where nothing is known.

    Raises:
        ConfigError: the canvas has no draft.
    """
    if canvas.draft is None:
        raise ConfigError(
            "a strength below 1 needs a draft to start from, but the canvas has none; give one, "
            "or take strength=1"
        )
    draft = torch.where(canvas.valid[..., None], canvas.draft.to(like), 0.0)
    return measurement.project(draft)
