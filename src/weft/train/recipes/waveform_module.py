"""What the training of a model of samples optimises: the expected v of noisy sound."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.process.gaussian import GaussianProcess
from weft.sampling.waveform_filler import WaveformNetwork
from weft.sampling.waveform_model import NetworkConfig, ProcessConfig, build_network
from weft.train.recipe import Batch, Losses


@final
class WaveformModule(nn.Module):
    """A network of samples, and its loss.

    Source: seed 001, appendix B.1: times evenly in (0, 1), plain mean squared error, no condition.
    """

    def __init__(self, network: NetworkConfig, process: ProcessConfig) -> None:
        super().__init__()
        self.network: WaveformNetwork = build_network(network)
        self.process: GaussianProcess = process.build()

    def forward(
        self, batch: Batch, *, objective: str, step: int, generator: torch.Generator
    ) -> Losses:
        """Return the loss.

        Args:
            batch: ``samples``, "b n c", of variance about 1.
            objective: there is one.
            step: of the run.
            generator: of all draws.
        """
        samples = batch["samples"]
        device = generator.device
        t = torch.rand(len(samples), generator=generator, device=device)
        noise = torch.randn(samples.shape, generator=generator, device=device)
        return {"loss": self.errors(samples, t, noise).mean()}

    def errors(
        self,
        samples: Float[Tensor, "b n c"],
        t: Float[Tensor, " b"],
        noise: Float[Tensor, "b n c"],
    ) -> Float[Tensor, " b"]:
        """Return the mean squared error of each item.

        Args:
            samples: clean, of variance about 1.
            t: time of each item, in [0, 1].
            noise: standard normal.
        """
        noisy = self.process.corrupt(samples, t, noise=noise)
        target = self.process.target(samples, noise, t)
        return (self.network(noisy, t).float() - target).square().mean(dim=(1, 2))
