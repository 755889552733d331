"""VGGish: a VGG on log-mel spectra, whose vectors the Frechet audio distance was defined over."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

NUM_FRAMES = 96
"""Spectra of one example."""
NUM_MELS = 64
"""Mel bands of a spectrum."""


@final
class VGGish(nn.Module):
    """Four convolutional stages and three dense layers; names of tensors are torchvggish's.

    Source: Hershey et al., "CNN architectures for large-scale audio classification" (2017), as
    released by Google; harritaylor/torchvggish ports the weights.
    """

    def __init__(self, *, width: int = 64, hidden: int = 4096, num_dims: int = 128) -> None:
        """Make the network, with weights that are not trained.

        Args:
            width: channels of the first stage; the published network has 64.
            hidden: width of the dense layers; published 4096.
            num_dims: length of a vector; published 128.
        """
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for stage in ((width,), (2 * width,), (4 * width, 4 * width), (8 * width, 8 * width)):
            for wider in stage:
                layers += [nn.Conv2d(channels, wider, kernel_size=3, padding=1), nn.ReLU()]
                channels = wider
            layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
        self.features = nn.Sequential(*layers)
        flat = channels * (NUM_FRAMES // 16) * (NUM_MELS // 16)
        self.embeddings = nn.Sequential(
            nn.Linear(flat, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_dims),
        )

    def forward(self, log_mel: Float[Tensor, "b 1 96 64"]) -> Float[Tensor, "b d"]:
        """Embed examples; the vectors are those before the last non-linearity."""
        x = self.features(log_mel)
        # The published weights expect channels last: they come from another framework.
        embedded: Tensor = self.embeddings(torch.flatten(x.permute(0, 2, 3, 1), 1))
        return embedded
