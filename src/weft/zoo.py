"""Zoo: the models that have a name. Listing them imports no numerical package."""

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING

from weft.card import ModelCard
from weft.errors import CheckpointError

if TYPE_CHECKING:
    from weft.canvas.filler import Filler
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


def names() -> tuple[str, ...]:
    """Return the names of all models, the default first."""
    return tuple(_MODELS)


def describe(name: str) -> ModelCard:
    """Return the card of a model.

    Raises:
        CheckpointError: no model has this name.
    """
    return _find(name)[1]


def load(name: str) -> "Model":
    """Return a model by name.

    Raises:
        CheckpointError: no model has this name.

    Example:
        >>> load("lpc").name
        'lpc'
    """
    from weft.model import Model

    make, card = _find(name)
    return Model(make(), card)


def _find(name: str) -> tuple[Callable[[], "Filler"], ModelCard]:
    if name in _MODELS:
        return _MODELS[name]
    close = difflib.get_close_matches(name, _MODELS, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise CheckpointError(f"no model is called {name!r}; {hint}known are: {', '.join(_MODELS)}")
