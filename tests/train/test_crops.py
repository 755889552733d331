import pytest

from weft.data.augment import AugmentConfig
from weft.data.samples import CacheConfig
from weft.errors import ConfigError
from weft.rng import Rng
from weft.train.recipes.crops import CorpusCrops


def test_crops_must_be_opened_first(tmp_path) -> None:
    crops = CorpusCrops(
        {"music": 1.0}, CacheConfig(sample_rate=8000), AugmentConfig(), num_samples=100, root=None
    )
    for ask in (
        lambda: len(crops),
        lambda: crops.valid,
        lambda: crops.manifests,
        lambda: crops.draw(0, Rng(0)),
    ):
        with pytest.raises(ConfigError, match="opened"):
            ask()
