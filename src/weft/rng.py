"""Random numbers: one independent stream per item."""

from typing import final

import numpy as np

from weft.errors import ConfigError


@final
class Rng:
    """A seed from which every item draws its own stream.

    The stream of an item is a function of the seed and the item's key only, so that what one gap
    draws does not depend on its neighbours, on their order or on the batch size. Keys are
    non-negative integers, such as the position of a gap and the number of a take.

    Example:
        >>> a = Rng(7).stream(3, 0).standard_normal(2)
        >>> b = Rng(7).stream(3, 0).standard_normal(2)
        >>> bool((a == b).all())
        True
    """

    def __init__(self, seed: int, key: tuple[int, ...] = ()) -> None:
        """Make the root of the streams.

        Args:
            seed: any integer >= 0.
            key: what this generator is already keyed by; users leave it out.

        Raises:
            ConfigError: seed or a key is negative.
        """
        if seed < 0 or any(k < 0 for k in key):
            raise ConfigError(f"seed and keys must be integers >= 0, got {seed=} and {key=}")
        self.seed = seed
        self.key = key

    def child(self, *key: int) -> "Rng":
        """Return the generator whose streams are keyed by ``key`` below this one."""
        return Rng(self.seed, self.key + key)

    def stream(self, *key: int) -> np.random.Generator:
        """Return a fresh stream for ``key``; equal keys give equal draws."""
        child = self.child(*key)
        return np.random.Generator(
            np.random.Philox(np.random.SeedSequence(child.seed, spawn_key=child.key))
        )
