"""Whether a model repeats what it was trained on: how near its sounds come to the train split.

What is made of nothing is compared, stretch by stretch, with every stretch of the train split, and
so are recordings of the valid split, which no step saw. A model that remembers is nearer to the
train split than sound that was never in it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Float32

from weft.process.sequence import EncodedCanvas
from weft.rng import Rng
from weft.sampling.fill_gaussian import fill_gaussian
from weft.sampling.latent_settings import LatentSampling
from weft.train.recipes.latent_check import denoiser
from weft.train.recipes.latent_data import LatentStream
from weft.train.recipes.latent_module import LatentModule

PATCH_FRAMES = 12
"""Length of a stretch, in frames."""
_STRIDE = 2
_BLOCK = 16384


@final
@dataclass(frozen=True, kw_only=True)
class Memory:
    """Distances to the nearest stretch of the train split, one for each stretch."""

    made: Float[np.ndarray, " m"]
    """Of what the model made of nothing."""
    unseen: Float[np.ndarray, " v"]
    """Of recordings of the valid split."""

    @property
    def share_nearer(self) -> float:
        """Share of made stretches that are nearer than the nearest hundredth of unseen ones."""
        return float(np.mean(self.made < np.quantile(self.unseen, 0.01)))


def nearest_distances(
    patches: Float32[np.ndarray, "p f"], streams: Iterable[LatentStream]
) -> Float[np.ndarray, " p"]:
    """Return the root mean square distance of each stretch to the nearest one of streams.

    Args:
        patches: stretches of `PATCH_FRAMES` frames, flat.
        streams: in which every second frame begins a stretch.
    """
    wanted = torch.from_numpy(patches)
    own = wanted.square().sum(dim=1)
    best = torch.full((len(wanted),), torch.inf)
    for stream in streams:
        latents = torch.from_numpy(stream.latents.astype(np.float32))
        if len(latents) < PATCH_FRAMES:
            continue
        found = latents.unfold(0, PATCH_FRAMES, _STRIDE).transpose(1, 2).flatten(1)  # m f
        for block in found.split(_BLOCK):
            squares = own[:, None] + block.square().sum(dim=1) - 2 * wanted @ block.T
            best = torch.minimum(best, squares.amin(dim=1))
    return (best.clamp_min(0) / wanted.shape[1]).sqrt().double().numpy()


def cut(latents: Float32[np.ndarray, "g l d"]) -> Float32[np.ndarray, "p f"]:
    """Return stretches of windows, end to end."""
    num = latents.shape[1] // PATCH_FRAMES
    whole = latents[:, : num * PATCH_FRAMES]
    return np.ascontiguousarray(
        whole.reshape(len(whole) * num, PATCH_FRAMES * latents.shape[2]), dtype=np.float32
    )


@torch.no_grad()
def measure_memory(
    module: LatentModule,
    train: Sequence[LatentStream],
    unseen: Float32[np.ndarray, "g l d"],
    *,
    sampling: LatentSampling,
    num_made: int = 16,
) -> Memory:
    """Let a model make sound of nothing, and compare it with what it was trained on.

    Args:
        module: in eval mode.
        train: what it was trained on.
        unseen: windows of the valid split.
        sampling: how it makes sound of nothing.
        num_made: windows to make, as long as those, >= 1.
    """
    device = next(module.parameters()).device
    shape = (num_made, *unseen.shape[1:])
    nothing = torch.zeros(shape, device=device)
    known = torch.zeros(shape[:2], dtype=torch.bool, device=device)
    made = fill_gaussian(
        EncodedCanvas(x=nothing, known=known, valid=~known),
        sampling.scaled(denoiser(module, None, module.process)),
        module.process,
        sampler=sampling.sampler,
        guidance=sampling.guidance,
        rngs=[Rng(1).stream(i) for i in range(num_made)],
    )
    return Memory(
        made=nearest_distances(cut(made.x.cpu().numpy()), train),
        unseen=nearest_distances(cut(unseen), train),
    )
