"""Crops of corpora: what recipes that train on sound have in common."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float

from weft.data.augment import AugmentConfig, augment
from weft.data.corpora import find_corpus
from weft.data.crops import CropConfig, CropSource
from weft.data.manifest import Manifest
from weft.data.samples import CacheConfig, SampleCache, make_sample_cache, open_sample_cache
from weft.errors import ConfigError
from weft.rng import Rng
from weft.train.recipe import Tell

SPLITS = ("train", "valid")


@final
class CorpusCrops:
    """Crops of the train split of corpora, augmented, and the recordings of the valid split."""

    def __init__(
        self,
        shares: Mapping[str, float],
        cache_config: CacheConfig,
        augment_config: AugmentConfig,
        *,
        num_samples: int,
        root: Path | None,
    ) -> None:
        """Hold the settings.

        Args:
            shares: of each corpus in an epoch, by name, each > 0.
            cache_config: rate and channels of what is cropped.
            augment_config: what crops go through.
            num_samples: length of a crop after that, >= 1.
            root: folder of the corpora; None: what the environment names.
        """
        self._shares = shares
        self._cache_config = cache_config
        self._augment = augment_config
        self._num_samples = num_samples
        self._root = root
        self._opened: tuple[list[Manifest], CropSource, SampleCache] | None = None

    def _find(self) -> list[Manifest]:
        return [find_corpus(corpus, root=self._root) for corpus in self._shares]

    def prepare(self, cache: Path, tell: Tell) -> None:
        """Decode what is not in the cache yet; see `Recipe.prepare`."""
        for split in SPLITS:
            make_sample_cache(
                self._find(),
                cache,
                self._cache_config,
                split=split,
                on_progress=partial(tell, f"decoding recordings, {split}"),
            )

    def open(self, cache: Path) -> None:
        """Open what `prepare` made."""
        manifests = self._find()
        train, valid = (
            open_sample_cache(manifests, cache, self._cache_config, split=split) for split in SPLITS
        )
        named = zip(manifests, self._shares.values(), strict=True)
        config = CropConfig(
            num_samples=self._augment.num_source_samples(self._num_samples),
            weights={manifest.name: share for manifest, share in named},
        )
        self._opened = manifests, CropSource(train, config), valid

    @property
    def _found(self) -> tuple[list[Manifest], CropSource, SampleCache]:
        if self._opened is None:
            raise ConfigError("the recipe must be opened before it can give examples")
        return self._opened

    @property
    def manifests(self) -> list[Manifest]:
        """The corpora.

        Raises:
            ConfigError: `open` was not called; so do all below.
        """
        return self._found[0]

    @property
    def valid(self) -> SampleCache:
        """Recordings of the valid split."""
        return self._found[2]

    def __len__(self) -> int:
        """Crops of an epoch."""
        return len(self._found[1])

    def draw(self, index: int, rng: Rng) -> Float[np.ndarray, "c n"]:
        """Return a crop.

        Args:
            index: in [0, len).
            rng: of this example in this epoch; its children 0 and 1 are drawn from.
        """
        return augment(
            self._found[1].crop(index, rng.child(0)),
            self._augment,
            rng.stream(1),
            num_samples=self._num_samples,
        )
