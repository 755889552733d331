"""What can be trained: a closed table, readable without importing torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, final

from weft.errors import ConfigError

if TYPE_CHECKING:
    from weft.train.config import LoopConfig
    from weft.train.recipe import Recipe


@final
@dataclass(frozen=True, kw_only=True)
class RecipeEntry:
    """A recipe as the command line lists it."""

    name: str
    """On the command line."""
    summary: str
    """One line."""
    module: str
    """Holds ``make(preset, overrides, data) -> (Recipe, LoopConfig)``."""
    presets: tuple[str, ...] = ("debug", "small", "base")
    """Sizes, the smallest first; debug trains on two cores in under 2 minutes."""


RECIPES = (
    RecipeEntry(
        name="ssl",
        summary="Self-supervised encoder of sound: the embedder of set-level metrics.",
        module="weft.train.recipes.ssl",
    ),
    RecipeEntry(
        name="codec",
        summary="Codec of one token a frame (WavTokenizer), which token models work on.",
        module="weft.train.recipes.codec",
    ),
    RecipeEntry(
        name="vae",
        summary="Codec of one vector a frame (VAE), which latent models work on.",
        module="weft.train.recipes.vae",
    ),
    RecipeEntry(
        name="latent",
        summary="Transformer that fills in the latents of a trained VAE, by Gaussian diffusion.",
        module="weft.train.recipes.latent",
    ),
    RecipeEntry(
        name="style-head",
        summary="Small network that hears style in a VAE's latents, for guidance.",
        module="weft.train.recipes.style_head",
    ),
    RecipeEntry(
        name="waveform",
        summary="Unconditional diffusion model of samples: a U-Net over folded samples.",
        module="weft.train.recipes.waveform",
    ),
    RecipeEntry(
        name="cqt",
        summary="Unconditional diffusion model of samples: a U-Net over a constant-Q transform.",
        module="weft.train.recipes.cqt",
    ),
    RecipeEntry(
        name="tokens",
        summary="Transformer that fills in the tokens of a trained codec, by discrete diffusion.",
        module="weft.train.recipes.tokens",
    ),
)


def find_recipe(name: str) -> RecipeEntry:
    """Return the entry of a recipe.

    Raises:
        ConfigError: there is none of that name.
    """
    for entry in RECIPES:
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in RECIPES)
    raise ConfigError(f"no recipe {name!r}; recipes are {names}")


def make_recipe(
    name: str, preset: str, overrides: Mapping[str, str], data: Sequence[str]
) -> tuple["Recipe", "LoopConfig"]:
    """Build a recipe and the settings of its loop; imports torch.

    Args:
        name: of the recipe.
        preset: its size.
        overrides: settings of the loop or the recipe as text, by name of field.
        data: corpora, as `weft.data.corpora.find_corpus` finds them.

    Raises:
        ConfigError: no such recipe, preset or setting, or a value out of range.
    """
    entry = find_recipe(name)
    if preset not in entry.presets:
        raise ConfigError(
            f"recipe {name} has no preset {preset!r}; presets are {', '.join(entry.presets)}"
        )
    from weft.train.config import LoopConfig, set_fields, split_fields

    own, rest = split_fields(LoopConfig, overrides)
    recipe, config = import_module(entry.module).make(preset, rest, tuple(data))
    return recipe, set_fields(config, own)[0]
