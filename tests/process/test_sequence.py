"""What processes see of a canvas."""

import pytest
import torch

from weft.errors import ShapeError
from weft.process.sequence import EncodedCanvas


def test_unknown_frames_are_neither_known_nor_padding() -> None:
    canvas = EncodedCanvas(
        x=torch.tensor([[3, 1, 4, 1]]),
        known=torch.tensor([[True, False, False, True]]),
        valid=torch.tensor([[True, True, False, False]]),
    )
    assert canvas.unknown.tolist() == [[False, True, False, False]]


def test_latents_are_sequences_too() -> None:
    flags = torch.ones(2, 5, dtype=torch.bool)
    canvas = EncodedCanvas(x=torch.zeros(2, 5, 7), known=flags, valid=flags)
    assert not canvas.unknown.any()


@pytest.mark.parametrize("name", ["known", "valid"])
def test_flags_of_another_shape_are_refused(name: str) -> None:
    canvas = object.__new__(EncodedCanvas)  # the type hook would be first otherwise
    flags = torch.ones(1, 4, dtype=torch.bool)
    values = {"x": torch.zeros(1, 4, dtype=torch.long), "known": flags, "valid": flags}
    for field, value in (values | {name: flags[:, :1]}).items():
        object.__setattr__(canvas, field, value)
    with pytest.raises(
        ShapeError, match=f"{name} has the shape .1, 1., but x has 1 sequences of 4"
    ):
        canvas.__post_init__()
