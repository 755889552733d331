"""Statistics of an experiment: each arm's mean, and its difference to the baseline, in pairs.

Two kinds of chance are kept apart, because a table that knows one of them only is wrong about the
other:

* *recordings*: would other recordings give the same? Items are averaged over seeds, then recordings
  are drawn (interval) or the signs of their differences flipped (p value).
* *seeds*: would another training give the same? Two arms that differ in nothing that matters still
  end in other weights, and over many recordings the better of the two is certain to be better. So
  the difference of each seed is one value, and Student's t says whether they are all on one side.

A difference is called real where the larger of the two p values, corrected for the number of arms,
is below 0.05. With one seed nothing is called real.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from weft.evaluate.statistics import Interval, clustered_mean, compare_paired, holm
from weft.experiment.record import RunRecord
from weft.experiment.spec import Better, ExperimentSpec
from weft.train.recipe import Item

LEVEL = 0.05

Records = Mapping[tuple[str, int], RunRecord]
_Values = dict[tuple[str, int], float]


@final
@dataclass(frozen=True, kw_only=True)
class Difference:
    """An arm against the baseline: positive where the arm's values are larger."""

    interval: Interval
    """Mean over items and seeds; the interval is about other recordings."""
    p_recordings: float | None
    """Of no difference over recordings, corrected for the arms; None for one recording."""
    p_seeds: float | None
    """Of no difference over seeds, corrected likewise; None for one seed."""
    is_real: bool
    """Whether both kinds of chance are ruled out."""
    of_seeds: Mapping[int, float]
    """Mean difference of each seed."""


@final
@dataclass(frozen=True, kw_only=True)
class ArmSummary:
    """One measure of one arm."""

    arm: str
    """Its name."""
    mean: Interval
    """Over items and seeds; the interval is about other recordings."""
    seeds: tuple[int, ...]
    """Finished ones."""
    difference: Difference | None
    """None for the baseline, and where no run of it shares seed and items with the arm's."""


@final
@dataclass(frozen=True, kw_only=True)
class MeasureSummary:
    """One measure of all arms."""

    name: str
    """Of the measure."""
    better: Better
    """Which direction is."""
    arms: tuple[ArmSummary, ...]
    """Those with a finished run, in the experiment's order."""


def summarise(spec: ExperimentSpec, records: Records) -> list[MeasureSummary]:
    """Return the statistics of all measures of an experiment.

    Args:
        spec: the experiment.
        records: finished runs, by arm and seed; others than the experiment's are passed over.
    """
    return [
        MeasureSummary(name=name, better=better, arms=_arms(spec, records, name))
        for name, better in spec.measures.items()
    ]


@final
@dataclass(frozen=True)
class _Pairs:
    """Differences of an arm, before they are corrected for the number of arms."""

    interval: Interval
    p_recordings: float | None
    p_seeds: float | None
    of_seeds: Mapping[int, float]


def _arms(spec: ExperimentSpec, records: Records, measure: str) -> tuple[ArmSummary, ...]:
    values = {
        arm: {
            seed: _by_key(records[arm, seed].items[measure])
            for seed in spec.seeds
            if (arm, seed) in records and measure in records[arm, seed].items
        }
        for arm in spec.arms
    }
    base = values[spec.baseline]
    pairs = {
        arm: _pair(ours, base)
        for arm, ours in values.items()
        if arm != spec.baseline and _shared([*_both(ours, base)])
    }
    corrected = _correct(pairs)
    return tuple(
        ArmSummary(arm=arm, mean=_mean(ours), seeds=tuple(ours), difference=corrected.get(arm))
        for arm, ours in values.items()
        if ours and _shared(list(ours.values()))
    )


def _by_key(items: Sequence[Item]) -> _Values:
    return {item.key: item.value for item in items}


def _shared(runs: Sequence[_Values]) -> list[tuple[str, int]]:
    """Return the items that all runs have, in the order of the first."""
    if not runs:
        return []
    return [key for key in runs[0] if all(key in run for run in runs)]


def _both(ours: Mapping[int, _Values], base: Mapping[int, _Values]) -> list[_Values]:
    """Return the runs of both arms, of the seeds that both have."""
    return [run[seed] for seed in ours if seed in base for run in (ours, base)]


def _array(runs: Sequence[_Values], keys: Sequence[tuple[str, int]]) -> Float[np.ndarray, "r v"]:
    return np.array([[run[key] for key in keys] for run in runs])


def _mean(ours: Mapping[int, _Values]) -> Interval:
    keys = _shared(list(ours.values()))
    values = _array(list(ours.values()), keys).mean(axis=0)
    return clustered_mean(values, [recording for recording, _ in keys])


def _pair(ours: Mapping[int, _Values], base: Mapping[int, _Values]) -> _Pairs:
    """Compare an arm with the baseline, item by item and seed by seed."""
    seeds = [seed for seed in ours if seed in base]
    keys = _shared(_both(ours, base))
    first = _array([ours[seed] for seed in seeds], keys)
    second = _array([base[seed] for seed in seeds], keys)
    found = compare_paired(
        first.mean(axis=0), second.mean(axis=0), [recording for recording, _ in keys]
    )
    of_seeds = (first - second).mean(axis=1)
    return _Pairs(
        interval=found.interval,
        p_recordings=found.p_value,
        p_seeds=t_p_value(of_seeds),
        of_seeds={seed: float(x) for seed, x in zip(seeds, of_seeds, strict=True)},
    )


def t_p_value(values: Float[np.ndarray, " v"]) -> float | None:
    """Return the two-sided p value of a mean of 0, by Student's t; None for one value.

    Example:
        >>> round(t_p_value(np.array([1.0, 1.1, 0.9])), 4)
        0.0033
    """
    from scipy.special import stdtr

    if len(values) < 2:
        return None
    mean = float(values.mean())
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    # Differences of the last bits only are none: equal runs give equal values or such.
    if abs(mean) <= 1e-12 * float(np.abs(values).max(initial=0.0)) or mean == 0:
        return 1.0
    return 2 * float(stdtr(len(values) - 1, -abs(mean) / error)) if error > 0 else 0.0


def _correct(pairs: Mapping[str, _Pairs]) -> dict[str, Difference]:
    """Correct p values for the number of arms, each kind on its own and the larger of both."""
    recordings = _holm({arm: pair.p_recordings for arm, pair in pairs.items()})
    seeds = _holm({arm: pair.p_seeds for arm, pair in pairs.items()})
    both = _holm(
        {
            arm: None
            if pair.p_recordings is None or pair.p_seeds is None
            else max(pair.p_recordings, pair.p_seeds)
            for arm, pair in pairs.items()
        }
    )
    return {
        arm: Difference(
            interval=pair.interval,
            p_recordings=recordings.get(arm),
            p_seeds=seeds.get(arm),
            is_real=both.get(arm, 1.0) < LEVEL,
            of_seeds=pair.of_seeds,
        )
        for arm, pair in pairs.items()
    }


def _holm(p_values: Mapping[str, float | None]) -> dict[str, float]:
    known = {arm: p for arm, p in p_values.items() if p is not None}
    return dict(zip(known, holm(list(known.values())), strict=True))


@final
@dataclass(frozen=True, kw_only=True)
class Start:
    """What an arm has in common with the baseline of the same seeds, beside the settings."""

    num_tensors: int
    """Of the arm's first weights, over all its seeds."""
    num_equal: int
    """Of these, equal to the baseline's of the same name, bit for bit."""
    reshaped: tuple[str, ...]
    """Names of tensors that have another shape or are not in both."""
    others: tuple[str, ...]
    """Settings of the loop or the data that make another order of examples or other batches."""

    @property
    def text(self) -> str:
        """What the table says of it."""
        if not self.num_tensors:
            return ""
        if self.num_equal == self.num_tensors and not self.reshaped:
            said = "same weights"
        elif self.reshaped:
            said = (
                f"other shape: {len(self.reshaped)} tensors ({self.reshaped[0]}, …); "
                f"{self.num_equal} of {self.num_tensors} start alike"
            )
        else:
            said = f"same shape, but {self.num_equal} of {self.num_tensors} tensors start alike"
        return said + ("; " + ", ".join(self.others) if self.others else "; same examples")


_ORDER = ("batch_size", "accumulation")


def compare_starts(spec: ExperimentSpec, records: Records, arm: str) -> Start:
    """Say whether an arm's runs began as the baseline's of the same seeds did."""
    num_tensors = num_equal = 0
    reshaped: dict[str, None] = {}
    others: dict[str, None] = {}
    for seed in spec.seeds:
        ours, base = records.get((arm, seed)), records.get((spec.baseline, seed))
        if ours is None or base is None:
            continue
        for name in {**ours.start, **base.start}:
            first, second = ours.start.get(name, ""), base.start.get(name, "")
            if first.partition(" ")[0] != second.partition(" ")[0]:
                reshaped[name] = None
            num_tensors += bool(first)
            num_equal += bool(first) and first == second
        pairs = [(name, ours.loop.get(name), base.loop.get(name)) for name in _ORDER]
        pairs.append(("examples", ours.num_examples, base.num_examples))
        others |= {f"{name} {a}, not {b}": None for name, a, b in pairs if a != b}
    return Start(
        num_tensors=num_tensors,
        num_equal=num_equal,
        reshaped=tuple(reshaped),
        others=tuple(others),
    )
