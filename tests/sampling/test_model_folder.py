from pathlib import Path

import pytest
import torch
from torch import nn

from weft.checkpoint import write_model
from weft.sampling.model_folder import read_modules


class Truncated(nn.Module):
    """Weights drawn within bounds, on memory that something else has left full."""

    def __init__(self, mean: float, low: float, high: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((64,), 100.0))
        nn.init.trunc_normal_(self.weight, mean, a=low, b=high)
        self.drawn = self.weight.detach().clone()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("law", [(3.0, 1.0, 5.0), (3.0, 2.5, 2.75)])
def test_a_network_whose_weights_are_drawn_until_they_fit_is_built(
    tmp_path: Path, law: tuple[float, float, float]
) -> None:
    written = Truncated(*law)
    write_model(tmp_path, config={"kind": "tiny"}, tensors={"net.weight": written.weight.detach()})
    _, modules = read_modules(
        tmp_path, lambda found: found["kind"], lambda _: {"net": Truncated(*law)}, what="network"
    )
    module = modules["net"]
    assert isinstance(module, Truncated)
    assert module.drawn.min() >= law[1]
    assert module.drawn.max() <= law[2]
    assert torch.equal(module.weight, written.weight)
