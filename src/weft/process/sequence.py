"""What processes, networks and samplers see of a canvas: an encoded sequence, and what is known."""

from dataclasses import dataclass
from typing import final

from jaxtyping import Bool, Float, Int
from torch import Tensor

from weft.errors import ShapeError


@final
@dataclass(frozen=True, kw_only=True)
class EncodedCanvas:
    """A batch of encoded sequences with parts missing.

    There are no seconds, samples or fades here: frames only. What stands at unknown positions of
    ``x`` has no meaning.
    """

    x: Int[Tensor, "b l"] | Float[Tensor, "b l d"]
    """Tokens, or continuous latents."""
    known: Bool[Tensor, "b l"]
    """True where a frame is observed and must be kept."""
    valid: Bool[Tensor, "b l"]
    """True where a frame is no batch padding."""
    draft: Float[Tensor, "b l d"] | None = None
    """What may stand at unknown frames: where a sampler that takes a draft begins."""

    def __post_init__(self) -> None:
        shape = tuple(self.x.shape[:2])
        for name, value in (("known", self.known), ("valid", self.valid)):
            if tuple(value.shape) != shape:
                raise ShapeError(
                    f"{name} has the shape {tuple(value.shape)}, but x has {shape[0]} sequences of "
                    f"{shape[1]} frames; give one value a frame"
                )
        if self.draft is not None and self.draft.shape != self.x.shape:
            raise ShapeError(
                f"the draft has the shape {tuple(self.draft.shape)}, but x has "
                f"{tuple(self.x.shape)}; a draft holds a whole sequence of frames"
            )

    @property
    def unknown(self) -> Bool[Tensor, "b l"]:
        """True where a frame has to be filled: neither known nor padding."""
        return self.valid & ~self.known
