"""Zoo: the models that have a name, and those that stand in a folder.

Listing and describing them imports no numerical package.
"""

import difflib
import gc
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.card import ModelCard
from weft.errors import CheckpointError

if TYPE_CHECKING:
    from weft.canvas.filler import Filler
    from weft.canvas.support import Ability
    from weft.model import Model


def _auto() -> "Filler":
    from weft.auto import Auto

    return Auto()


def _similarity() -> "Filler":
    from weft.classical.similarity import Similarity

    return Similarity()


def _lpc() -> "Filler":
    from weft.classical.autoregressive import Lpc

    return Lpc()


def _janssen() -> "Filler":
    from weft.classical.autoregressive import Janssen

    return Janssen()


def _janssen_autocorrelation() -> "Filler":
    from weft.classical.autoregressive import Janssen, JanssenConfig

    return Janssen(JanssenConfig(estimator="autocorrelation"))


def _lpc_noise() -> "Filler":
    from weft.classical.noise import ExtrapolationNoise

    return ExtrapolationNoise()


def _noise() -> "Filler":
    from weft.classical.noise import NoiseFill

    return NoiseFill()


def _a_spain() -> "Filler":
    from weft.classical.sparse import ASpain

    return ASpain()


def _a_spain_l() -> "Filler":
    from weft.classical.sparse import ASpain, ASpainConfig

    return ASpain(ASpainConfig(learned=True))


def _crossfade() -> "Filler":
    from weft.classical.simple import CrossfadeFill

    return CrossfadeFill()


def _silence() -> "Filler":
    from weft.classical.simple import Silence

    return Silence()


_JANSSEN = "Janssen, Veldhuis & Vries 1986, Adaptive interpolation of discrete-time signals"
_SPAIN = "Mokry, Zaviska, Rajmic & Vesely 2019, Introducing SPAIN (SParse Audio INpainter)"

_MODELS: dict[str, tuple[Callable[[], "Filler"], ModelCard]] = {
    card.name: (make, card)
    for make, card in (
        (
            _auto,
            ModelCard(
                name="auto",
                summary="chooses one of the others for each gap, by its length and by how much "
                "the recording repeats itself, and says which",
                good_for="everything; the default",
            ),
        ),
        (
            _similarity,
            ModelCard(
                name="similarity",
                summary="copies the stretch of the same recording whose surroundings match best, "
                "aligned at both seams, with autoregressive edges",
                good_for="gaps from about 50 ms to seconds in music that repeats",
                sources=(
                    "Perraudin, Holighaus, Majdak & Balazs 2018, Inpainting of long audio "
                    "segments with similarity graphs",
                ),
            ),
        ),
        (
            _lpc,
            ModelCard(
                name="lpc",
                summary="continues both sides by linear prediction (Burg) and cross-fades",
                good_for="clicks and dropouts up to about 50 ms; tones",
                sources=("Kauppinen & Roth 2002, Audio signal extrapolation",),
            ),
        ),
        (
            _lpc_noise,
            ModelCard(
                name="lpc-noise",
                summary="lpc, with the energy that prediction loses given back as shaped noise",
                good_for="longer gaps in noisy sound without repetition",
            ),
        ),
        (
            _janssen,
            ModelCard(
                name="janssen",
                summary="least-squares interpolation, with an autoregressive model (Burg) refitted "
                "in turn",
                good_for="clicks and short dropouts in tonal music; slow on long gaps",
                sources=(_JANSSEN, "Mokry & Rajmic 2024, On inpainting by autoregressive models"),
            ),
        ),
        (
            _janssen_autocorrelation,
            ModelCard(
                name="janssen-autocorrelation",
                summary="janssen with the autocorrelation estimator of the original method",
                good_for="comparison",
                sources=(_JANSSEN,),
            ),
        ),
        (
            _a_spain,
            ModelCard(
                name="a-spain",
                summary="the sparsest Fourier frames that agree with the surroundings",
                good_for="comparison; dropouts up to about 40 ms",
                sources=(_SPAIN,),
            ),
        ),
        (
            _a_spain_l,
            ModelCard(
                name="a-spain-l",
                summary="a-spain with a basis learned from the surroundings",
                good_for="comparison; dropouts up to about 60 ms",
                sources=(
                    "Tauboeck, Rajbamshi & Balazs 2021, Dictionary learning for sparse "
                    "audio inpainting",
                ),
            ),
        ),
        (
            _noise,
            ModelCard(
                name="noise",
                summary="noise with the spectrum and the stereo image of both sides",
                good_for="rain, wind, hiss",
            ),
        ),
        (
            _crossfade,
            ModelCard(
                name="crossfade",
                summary="mirrors both sides into the gap and cross-fades",
                good_for="comparison",
            ),
        ),
        (
            _silence,
            ModelCard(name="silence", summary="fills with zeros", good_for="comparison"),
        ),
    )
}


_CONFIG = "model.json"
_MAX_CONFIG_BYTES = 1_000_000  # as in `weft.checkpoint`, which needs torch
_SHIPPED = Path(__file__).resolve().parent / "weights"
_LEARNED = ("weft-tokens", "weft-latent")
"""Names of trained models that the package may bring, each a folder of `_SHIPPED`."""


def _read_tokens(folder: Path) -> Any:
    from weft.sampling.token_model import read_token_model

    return read_token_model(folder)


def _read_latent(folder: Path) -> Any:
    from weft.sampling.latent_model import read_latent_model

    return read_latent_model(folder)


def _read_waveform(folder: Path) -> Any:
    from weft.sampling.waveform_model import read_waveform_model

    return read_waveform_model(folder)


def _guided(model: Any) -> "Filler":
    """Return what fills with the same weights without being told what is known (seed 001)."""
    # Short pieces suit a network that is told what it goes on from; guided ones come out farther.
    config = replace(model.config.filler, mode="guided", piece_ms=None)
    filler: Filler = model.to_filler(config=config, name=f"{model.config.name}:guided")
    return filler


_KINDS: Mapping[str, Callable[[Path], Any]] = {
    "tokens": _read_tokens,
    "latent": _read_latent,
    "waveform": _read_waveform,
    "cqt": _read_waveform,
}
"""Kinds of ``model.json`` that fill gaps, and what reads them; it has ``to_filler``."""
_VARIANTS: Mapping[str, tuple[str, Callable[[Any], "Filler"], str]] = {
    "guided": ("latent", _guided, "is told nothing, and guided by gradients of what is known: "),
}
"""What may follow a name after a colon: for which kind, what makes it, and how its card begins."""
_ABILITIES: Mapping[str, frozenset["Ability"]] = {
    "tokens": frozenset({"style"}),
    "latent": frozenset({"draft", "style", "generate"}),
    "waveform": frozenset({"draft", "generate"}),
    "cqt": frozenset({"draft", "generate"}),
}
"""What models of a kind can do beside filling gaps from their surroundings."""


def names() -> tuple[str, ...]:
    """Return the names of all models, the default first; trained ones where they are installed."""
    return (*_MODELS, *(name for name in _LEARNED if (_SHIPPED / name / _CONFIG).is_file()))


def fills_gaps(kind: str) -> bool:
    """Return whether models of this kind of ``model.json`` fill gaps.

    Example:
        >>> fills_gaps("latent"), fills_gaps("vae")
        (True, False)
    """
    return kind in _KINDS


def describe(name: str | Path) -> ModelCard:
    """Return the card of a model.

    Args:
        name: of the model, or the folder of a trained one; see `load`.

    Raises:
        CheckpointError: no model has this name, or the folder holds none that fills gaps.
    """
    return _find(name)[1]


def load(name: str | Path) -> "Model":
    """Return a model by name.

    Weights are read once and kept, for as long as ``model.json`` does not change; they stay on the
    CPU.

    Args:
        name: of the model, or the folder of a trained one: what `weft train` wrote. A name comes
            before a folder of the same name; write ``./NAME`` for the folder. ``NAME:guided`` is
            a latent model that is not told what is known: guidance alone fills the gaps.

    Raises:
        CheckpointError: no model has this name, or the folder holds none that can be used.

    Example:
        >>> load("lpc").name
        'lpc'
    """
    from weft.model import Model

    make, card = _find(name)
    return Model(make(), card, able)


def able(ability: "Ability") -> tuple[str, ...]:
    """Return the names of the models that are installed and have an ability.

    Args:
        ability: to start from a draft, to follow a style, or to fill where nothing is known.
    """
    installed = [name for name in names() if name not in _MODELS]
    return tuple(name for name in installed if ability in _abilities(_SHIPPED / name))


def _abilities(folder: Path) -> frozenset["Ability"]:
    return _ABILITIES.get(str(json.loads(_read(folder / _CONFIG)).get("kind")), frozenset())


def digest_of(name: str | Path) -> str | None:
    """Return what tells the weights of a trained model from all others; None for classical models.

    Args:
        name: as `load` takes it.

    Raises:
        CheckpointError: as `describe`.
    """
    folder = _folder_of(_split(name)[0])
    return None if folder is None else hashlib.sha256(_read(folder / _CONFIG)).hexdigest()


def _split(name: str | Path) -> tuple[str | Path, str]:
    """Return the name of a model, or its folder, and the variant that is wanted, if any."""
    base, colon, variant = str(name).rpartition(":")
    if not colon or variant not in _VARIANTS:
        return name, ""
    return (Path(base) if isinstance(name, Path) else base), variant


def _folder_of(name: str | Path) -> Path | None:
    """Return where a trained model is; None for classical ones and for names of no model."""
    if isinstance(name, str) and name in names():
        return None if name in _MODELS else _SHIPPED / name
    folder = Path(name)
    is_folder = isinstance(name, Path) or folder.is_dir() or len(folder.parts) > 1
    return folder if is_folder else None


def _find(name: str | Path) -> tuple[Callable[[], "Filler"], ModelCard]:
    if isinstance(name, str) and name in _MODELS:
        return _MODELS[name]
    base, variant = _split(name)
    folder = _folder_of(base)
    if folder is not None:
        return _open(folder, variant)
    known = names()
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise CheckpointError(
        f"no model and no folder is called {name!r}; {hint}known are: {', '.join(known)}"
    )


def _open(folder: Path, variant: str) -> tuple[Callable[[], "Filler"], ModelCard]:
    """Return how to make the model of a folder, and its card; no weight is read."""
    path = folder / _CONFIG
    text = _read(path)
    try:
        found = json.loads(text)
        kind, card = found["kind"], found.get("card")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged, or no model of Weft: {error}") from error
    if not isinstance(kind, str) or kind not in _KINDS:
        raise CheckpointError(
            f"{folder} holds a model of kind {kind!r}, which fills no gaps; kinds that do: "
            f"{', '.join(_KINDS)}"
        )
    found_card = _to_card(path, card)
    if variant:
        wanted, _, begins = _VARIANTS[variant]
        if kind != wanted:
            raise CheckpointError(
                f"{folder} holds a model of kind {kind!r}; ':{variant}' is for {wanted!r}"
            )
        found_card = replace(
            found_card,
            name=f"{found_card.name}:{variant}",
            summary=begins + found_card.summary,
            good_for="comparison",
        )
    return lambda: _load_folder(folder.resolve(), kind, text, variant), found_card


@lru_cache(maxsize=8)
def _load_folder(folder: Path, kind: str, text: bytes, variant: str) -> "Filler":
    """Make a filler once, for each text of ``model.json``: it holds the digests of the weights."""
    model = _read_weights(folder, kind, text)
    if variant:
        return _VARIANTS[variant][1](model)
    filler: Filler = model.to_filler()
    return filler


@lru_cache(maxsize=4)
def _read_weights(folder: Path, kind: str, text: bytes) -> Any:
    """Read weights once; variants share them."""
    with _uncollected():
        return _KINDS[kind](folder)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Collect no garbage while PyTorch is imported: a sixth of the time goes into finding none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _to_card(path: Path, found: Any) -> ModelCard:
    try:
        name, summary, good_for = (found[key] for key in ("name", "summary", "good_for"))
        sources = tuple(found["sources"])
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged: its card cannot be read: {error}") from error
    if not all(isinstance(text, str) for text in (name, summary, good_for, *sources)):
        raise CheckpointError(f"{path} is damaged: its card must hold texts")
    return ModelCard(name=name, summary=summary, good_for=good_for, sources=sources)


def _read(path: Path) -> bytes:
    """Return a file, unless it is larger than it can be."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_CONFIG_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"{path} is missing; a model is a name from 'weft models list' or a folder that "
            "'weft train' wrote"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if len(text) > _MAX_CONFIG_BYTES:
        raise CheckpointError(f"{path} is larger than {_MAX_CONFIG_BYTES:,} bytes; it is no model")
    return text
