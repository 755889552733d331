"""Examples made ahead of the step that needs them."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from weft.errors import ShapeError
from weft.train.order import Order, Ticket
from weft.train.recipe import Batch

_STEPS_AHEAD = 2


def batches(
    order: Order, make: Callable[[Ticket], Batch], *, first: int, last: int, num_workers: int
) -> Generator[list[Batch]]:
    """Yield the micro-batches of each step.

    Threads, not processes: what costs time in an example (files, transforms, resampling) runs
    outside Python's lock, and nothing is forked under the network's feet.

    Args:
        order: which examples.
        make: makes one.
        first: step to begin with.
        last: step to end before.
        num_workers: threads; 0 makes examples when they are asked for.
    """
    if num_workers == 0:
        for step in range(first, last):
            yield [collate([make(t) for t in part]) for part in order.tickets(step)]
        return
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="weft-examples")
    waiting: deque[list[list[Future[Batch]]]] = deque()
    try:
        for step in range(first, last + _STEPS_AHEAD):
            if step < last:
                tickets = order.tickets(step)
                waiting.append([[pool.submit(make, t) for t in part] for part in tickets])
            if step >= first + _STEPS_AHEAD and waiting:
                yield [collate([f.result() for f in part]) for part in waiting.popleft()]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def collate(examples: Sequence[Batch]) -> Batch:
    """Stack examples along a new first axis.

    Raises:
        ShapeError: they do not hold the same names, shapes and types.
    """
    first = {name: (value.shape, value.dtype) for name, value in examples[0].items()}
    for example in examples[1:]:
        other = {name: (value.shape, value.dtype) for name, value in example.items()}
        if other != first:
            raise ShapeError(
                f"examples of a batch must be alike: one has {_shown(first)}, one {_shown(other)}"
            )
    return {name: torch.stack([example[name] for example in examples]) for name in first}


def _shown(facts: dict[str, tuple[torch.Size, torch.dtype]]) -> str:
    return ", ".join(f"{name} {dtype} {tuple(shape)}" for name, (shape, dtype) in facts.items())
