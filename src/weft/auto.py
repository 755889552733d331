"""Auto: fills each gap with the models that may suit it, and ranks what they propose.

What a fill sounds like cannot be judged without the truth, but how far it is likely to be from the
truth can be predicted from what is known: how long the gap is, how well the recording repeats
itself, how far both sides predict alike, how noisy they are, and how the fill joins its
surroundings. The prediction is a linear one for each model, fitted on recordings that are neither
trained nor tested on (`benchmarks/fit_auto.py`); its numbers are in ``auto.json`` beside this file.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import final

import numpy as np
from jaxtyping import Float

from weft.canvas.canvas import Window
from weft.canvas.filler import Fill, Filler
from weft.classical.autoregressive import Janssen, Lpc
from weft.classical.levels import TOLERANCE_DB, hold_level, level_excess_db
from weft.classical.noise import ExtrapolationNoise, NoiseFill
from weft.classical.similarity import Similarity
from weft.rng import Rng
from weft.takes import score_take

SHORT_MS = 15.0
"""Shorter gaps are clicks: they come by the thousand, and nothing is searched for them."""
NEAR = 1.0
"""Log-spectral distance, in log10 of power, under which a fill counts as near the truth."""
LEVEL_COST = 0.2
"""Distance that one dB of level beyond what is tolerated costs."""
NOISY = 0.45
"""Noisiness of the sides from which on noise belongs: field recordings of rain, wind and surf have
0.5 to 0.8, music up to 0.5, speech under 0.1."""
NOISE_COST = {"noise": 1.0, "lpc-noise": 0.5}
"""What each unit of noisiness that the sides lack to `NOISY` costs, by model."""
NUM_MATCHES = 4
"""Places of the recording that are proposed for each gap, at least."""

FEATURES = (
    "one",
    "octaves",
    "octaves squared",
    "agreement",
    "mismatch",
    "noisiness",
    "agreement x octaves",
    "mismatch x octaves",
    "noisiness x octaves",
    "seam",
    "level",
    "spectrum",
    "spectrum x octaves",
    "own mismatch",
    "own mismatch x octaves",
)
"""What the distance of a fill is predicted from, in the order of the weights."""


@final
@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known about a gap without knowing what belongs into it."""

    gap_ms: float
    """Length of the gap."""
    agreement: float
    """How far linear predictions from both sides agree, in [0, 1]."""
    mismatch: float
    """How far the surroundings of the best place found are from the gap's, >= 0; `NO_MATCH` where
    there is none."""
    noisiness: float
    """How much the sides are like noise, in [0, 1]."""


NO_MATCH = 1.5
"""Mismatch of a recording in which nothing similar was found."""


@final
@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A fill, and what its distance from the truth is predicted from."""

    fill: Fill
    features: Float[np.ndarray, " d"]
    """As `FEATURES` names them."""
    cost: float
    """What is added to the expected distance for what a distance does not hear, >= 0."""


@final
@dataclass(frozen=True, kw_only=True)
class Predictor:
    """Predicts how far a model's fills are from the truth."""

    weights: Float[np.ndarray, " d"]
    """Of `FEATURES`."""
    spread: float
    """Standard deviation of the prediction's error on recordings that it was not fitted on."""

    def distance(self, features: Float[np.ndarray, " d"]) -> float:
        """Return the expected log-spectral distance, >= 0."""
        return max(0.0, float(features @ self.weights))

    def confidence(self, distance: float) -> float:
        """Return the probability that a fill of this expected distance is nearer than `NEAR`."""
        return 0.5 * math.erfc((distance - NEAR) / (math.sqrt(2) * self.spread))


@cache
def predictors() -> Mapping[str, Predictor]:
    """Return the fitted predictors by the name of the model; ``short`` is for clicks."""
    text = files("weft").joinpath("auto.json").read_text(encoding="utf-8")
    return {
        name: Predictor(weights=np.array(entry["weights"]), spread=entry["spread"])
        for name, entry in json.loads(text)["predictors"].items()
    }


def propose(window: Window, *, num_takes: int, rng: Rng) -> list[Proposal]:
    """Fill a gap with every model that may suit it.

    Args:
        window: the gap; with as much context as similarity asks for.
        num_takes: how many places of the recording to propose, `NUM_MATCHES` at least.
        rng: see `Filler.fill`.
    """
    lpc = Lpc().fill([window], num_takes=1, rng=rng)[0]
    blurred = ExtrapolationNoise().fill([window], num_takes=1, rng=rng)[0]
    noise = NoiseFill().fill([window], num_takes=1, rng=rng)[0]
    copies = Similarity().fill([window], num_takes=max(num_takes, NUM_MATCHES), rng=rng)[0]
    evidence = Evidence(
        gap_ms=window.gap_ms,
        agreement=lpc[0].confidence,
        mismatch=_mismatch(copies[0]),
        noisiness=float(noise[0].details["noisiness"]),
    )
    held = [
        replace(fill, samples=hold_level(window, fill.samples))
        for fill in (*lpc, *blurred, *noise, *copies)
    ]
    return [
        Proposal(
            fill=fill,
            features=features(window, fill, evidence),
            cost=level_cost(window, fill) + noise_cost(fill, evidence),
        )
        for fill in held
    ]


def features(window: Window, fill: Fill, evidence: Evidence) -> Float[np.ndarray, " d"]:
    """Return the numbers that `FEATURES` names."""
    octaves = math.log2(evidence.gap_ms / 150)
    score = score_take(window, fill.samples)
    own = _mismatch(fill) if fill.model == "similarity" else 0.0
    values = (
        1.0,
        octaves,
        octaves**2,
        evidence.agreement,
        evidence.mismatch,
        evidence.noisiness,
        evidence.agreement * octaves,
        evidence.mismatch * octaves,
        evidence.noisiness * octaves,
        score.seam_db,
        score.level_db,
        score.spectrum_db,
        score.spectrum_db * octaves,
        own,
        own * octaves,
    )
    return np.array(values)


def _mismatch(fill: Fill) -> float:
    return min(NO_MATCH, float(fill.details.get("score", NO_MATCH)))


@final
class Auto(Filler):
    """Chooses, for each gap, from what all the models propose.

    Clicks shorter than `SHORT_MS` are filled by least squares at once, many together. For every
    other gap the proposals of all models are ranked by their expected distance from the truth.
    ``confidence`` is the probability that a fill is nearer than `NEAR`.
    """

    @property
    def name(self) -> str:
        """The name."""
        return "auto"

    @property
    def max_gap_ms(self) -> float | None:
        """No limit."""
        return None

    def context_ms(self, gap_ms: float) -> float:
        """Return what the models in question want: little for clicks."""
        if gap_ms < SHORT_MS:
            return SHORT_FILLER().context_ms(gap_ms)
        return max(filler.context_ms(gap_ms) for filler in (Lpc(), NoiseFill(), Similarity()))

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        """Propose and rank; see `Filler.fill`."""
        short = [i for i, window in enumerate(windows) if window.gap_ms < SHORT_MS]
        quick = dict(zip(short, self._fill_short([windows[i] for i in short], rng), strict=True))
        return [
            quick[i] if i in quick else self._choose(window, num_takes, rng)
            for i, window in enumerate(windows)
        ]

    def _fill_short(self, windows: Sequence[Window], rng: Rng) -> list[list[Fill]]:
        """Fill clicks, all together."""
        if not windows:
            return []
        judge = predictors()["short"]
        fills = SHORT_FILLER().fill(windows, num_takes=1, rng=rng)
        return [
            [
                _judged(fill, judge, judge.distance(short_features(window, fill)))
                for fill in proposals
            ]
            for window, proposals in zip(windows, fills, strict=True)
        ]

    def _choose(self, window: Window, num_takes: int, rng: Rng) -> list[Fill]:
        """Rank all proposals for one gap."""
        judges = predictors()
        proposals = propose(window, num_takes=num_takes, rng=rng)
        distances = [judges[p.fill.model].distance(p.features) for p in proposals]
        costs = [
            distance + proposal.cost
            for distance, proposal in zip(distances, proposals, strict=True)
        ]
        order = sorted(range(len(costs)), key=lambda i: (costs[i], i))
        return [
            _judged(proposals[i].fill, judges[proposals[i].fill.model], distances[i])
            for i in order[:num_takes]
        ]


def level_cost(window: Window, fill: Fill) -> float:
    """Return what a fill's level outside that of its surroundings adds to its expected distance.

    A distance in logarithms forgives a fill that is too soft; ears do not.
    """
    return LEVEL_COST * max(0.0, abs(level_excess_db(window, fill.samples)) - TOLERANCE_DB)


def noise_cost(fill: Fill, evidence: Evidence) -> float:
    """Return what noise beside sides that are not noise adds to a fill's expected distance.

    A mean spectrum is never far from anything, so noise has small distances in the midst of speech,
    where everyone hears that it does not belong.
    """
    return NOISE_COST.get(fill.model, 0.0) * max(0.0, NOISY - evidence.noisiness)


SHORT_FILLER = Janssen
"""What fills clicks: as quick as `Lpc` there, and nearer by 1 to 2 dB of SNR."""


def short_features(window: Window, fill: Fill) -> Float[np.ndarray, " d"]:
    """Return the features of a click: its length, and what its own model says."""
    octaves = math.log2(window.gap_ms / 150)
    values = dict.fromkeys(FEATURES, 0.0)
    values |= {"one": 1.0, "octaves": octaves, "octaves squared": octaves**2}
    values |= {"agreement": fill.confidence, "agreement x octaves": fill.confidence * octaves}
    return np.array(list(values.values()))


def _judged(fill: Fill, judge: Predictor, distance: float) -> Fill:
    """Give a fill the confidence that its expected distance deserves."""
    details = {**fill.details, "expected_distance": distance}
    return replace(fill, confidence=judge.confidence(distance), details=details)
