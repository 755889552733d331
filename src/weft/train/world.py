"""Processes that train together, and the device of each."""

import itertools
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import final

import torch
import torch.distributed as dist

from weft.errors import ConfigError

_PATIENCE = timedelta(hours=6)
"""How long processes wait for one that prepares data or validates."""

_GROUPS = itertools.count()


@final
@dataclass(frozen=True, kw_only=True)
class World:
    """This process among those that ``torchrun`` started; alone without it."""

    rank: int = 0
    """Of this process, in [0, size)."""
    size: int = 1
    """Processes."""
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - a device is immutable
    """Where this process computes."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes logs, validates and exports."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.size == 1

    def forked_random(self) -> AbstractContextManager[None]:
        """Give torch's own generators back at the end of the block as they were before."""
        devices = [self.device] if self.device.type == "cuda" else []
        return torch.random.fork_rng(devices)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if not self.is_alone:
            dist.all_reduce(torch.zeros(1))  # on the CPU: a barrier would ask for a GPU of nccl

    def mean(self, values: list[torch.Tensor]) -> list[float]:
        """Return the means of scalars over all processes; the same bits in each."""
        stacked = torch.stack([value.detach().float().to(self.device) for value in values])
        if not self.is_alone:
            dist.all_reduce(stacked)
            stacked /= self.size
        return [float(value) for value in stacked.tolist()]

    def first_of_any(self, choice: int) -> int:
        """Return the smallest choice above 0 that any process made, 0 if none did.

        Args:
            choice: of this process, in [0, 8).
        """
        if self.is_alone:
            return choice
        votes = torch.zeros(8)
        votes[choice] = 1
        dist.all_reduce(votes)
        return next((i for i in range(1, 8) if votes[i] > 0), 0)


def find_device(wanted: str, local_rank: int = 0) -> torch.device:
    """Return a device.

    Args:
        wanted: auto, cpu or cuda.
        local_rank: which of this machine's processes this is.

    Raises:
        ConfigError: no such device, or none is there.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device must be auto, cpu or cuda, got {wanted!r}")
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, but this torch finds none; use cpu or auto")
    return torch.device("cuda", local_rank % torch.cuda.device_count())


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, if it did; leave them at the end.

    Args:
        device: auto, cpu or cuda.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    found = find_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if found.type == "cuda":
        torch.cuda.set_device(found)
    if size == 1:
        yield World(device=found)
        return
    rank = int(os.environ["RANK"])
    # Checkpoints and messages between processes use gloo beside nccl: their tensors are on the CPU.
    backend = "gloo" if found.type == "cpu" else "cpu:gloo,cuda:nccl"
    # A name of its own for each group: addresses of an earlier one of these processes are still
    # in the store.
    store, _, _ = next(iter(dist.rendezvous("env://", timeout=_PATIENCE)))
    store = dist.PrefixStore(f"weft-{next(_GROUPS)}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    try:
        yield World(rank=rank, size=size, device=found)
    finally:
        dist.destroy_process_group()


def bfloat16_gains(device: torch.device) -> bool:
    """Say whether a device computes faster in bfloat16 than in float32.

    Measured on one core with AVX-512 BF16: 1.5 times as fast in a small transformer, 1.4 in its
    convolutions, 1.9 in a large matrix product. CPUs without such instructions lose.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
