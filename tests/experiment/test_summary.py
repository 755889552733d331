"""Statistics of experiments: real differences are found, chance is not taken for one."""

from collections.abc import Mapping

import numpy as np
import pytest

from experiment import toy
from weft.experiment.markdown import headline, to_markdown
from weft.experiment.record import RunRecord
from weft.experiment.runner import run
from weft.experiment.spec import ExperimentSpec, read_spec
from weft.experiment.summary import compare_starts, summarise
from weft.experiment.worker import Place
from weft.train.recipe import Item

Records = Mapping[tuple[str, int], RunRecord]


def make_spec(*arms: str, num_seeds: int = 3) -> ExperimentSpec:
    return ExperimentSpec(
        title="Test",
        recipe="toy",
        arms={arm: {} for arm in arms},
        baseline=arms[0],
        seeds=tuple(range(num_seeds)),
        measures={"error": "lower"},
    )


def make_record(
    arm: str,
    seed: int,
    values: np.ndarray,
    *,
    start: Mapping[str, str] | None = None,
    batch_size: int = 8,
) -> RunRecord:
    """A record of values by recording and position."""
    items = [
        Item(recording=f"toy/{r}.wav", position=p, value=float(values[r, p]))
        for r, p in np.ndindex(values.shape)
    ]
    return RunRecord(
        arm=arm, seed=seed, recipe="toy", asked={}, settings={}, num_examples=10, seconds=2.0,
        loop={"steps": 20, "batch_size": batch_size}, environment={"torch": "2"}, figures={},
        start={"weight": "2x2 abc"} if start is None else start, items={"error": items},
    )  # fmt: skip


def simulate(
    rng: np.random.Generator, *, effect: float = 0.0, seed_spread: float = 0.0, num_seeds: int = 3
) -> tuple[ExperimentSpec, Records]:
    """Make runs of two arms on hard and easy recordings, each training a little luckier or not."""
    hard = rng.normal(0, 5, (12, 1)) + rng.normal(0, 2, (12, 3))
    records = {}
    for arm, mean in (("base", 0.0), ("other", effect)):
        taste = rng.normal(0, 0.3, (12, 1))  # what suits some recordings
        for seed in range(num_seeds):
            luck = rng.normal(0, seed_spread)
            values = hard + mean + taste + luck + rng.normal(0, 0.5, (12, 3))
            records[arm, seed] = make_record(arm, seed, values)
    return make_spec("base", "other", num_seeds=num_seeds), records


def test_a_small_effect_on_items_that_differ_much_is_found_because_they_are_pairs() -> None:
    spec, records = simulate(np.random.default_rng(1), effect=-0.8)
    base, other = summarise(spec, records)[0].arms
    assert base.difference is None
    assert other.difference is not None
    assert other.mean.low is not None
    assert base.mean.high is not None
    assert other.mean.low < base.mean.mean  # the intervals of the means overlap by far
    assert base.mean.high > other.mean.mean
    found = other.difference
    assert found.is_real
    assert found.interval.high is not None
    assert found.interval.high < 0
    assert found.interval.mean == pytest.approx(-0.8, abs=0.3)
    assert (found.interval.num_values, found.interval.num_clusters) == (36, 12)


def test_chance_over_recordings_is_rarely_called_real() -> None:
    rng = np.random.default_rng(2)
    found = [summarise(*simulate(rng))[0].arms[1].difference for _ in range(40)]
    assert sum(one.is_real for one in found if one) <= 3


def test_luck_of_a_training_is_not_taken_for_an_effect_of_its_arm() -> None:
    rng = np.random.default_rng(3)
    found = [summarise(*simulate(rng, seed_spread=0.5))[0].arms[1].difference for _ in range(40)]
    known = [one for one in found if one and one.p_recordings is not None]
    assert len(known) == 40
    # Recordings alone find most of the 40 differences certain; the truth is that there is none.
    assert sum(one.p_recordings < 0.05 for one in known if one.p_recordings is not None) > 12
    assert sum(one.is_real for one in known) <= 5


def test_differences_are_arm_minus_baseline_by_seed_over_common_seeds_and_items() -> None:
    base, ours = np.zeros((6, 2)), np.arange(12.0).reshape(6, 2)
    records = {
        ("base", 0): make_record("base", 0, base),
        ("base", 2): make_record("base", 2, base + 1),
        ("other", 0): make_record("other", 0, ours[:, :1]),
        ("other", 1): make_record("other", 1, ours[:, :1] + 50),
        ("other", 2): make_record("other", 2, ours[:, :1] + 3),
    }
    summary = summarise(make_spec("base", "other"), records)[0]
    other = summary.arms[1]
    assert other.seeds == (0, 1, 2)
    assert other.mean.mean == pytest.approx(5 + 53 / 3)
    assert other.difference is not None
    assert other.difference.of_seeds == {0: 5.0, 2: 7.0}
    assert other.difference.interval.mean == 6.0
    assert other.difference.interval.num_values == 6
    page = to_markdown(make_spec("base", "other"), records)
    assert "| other | 22.67 [" in page
    assert summary.arms[0].mean.num_values == 12


def test_items_are_paired_by_their_keys_not_by_their_order() -> None:
    values = np.random.default_rng(0).normal(size=(6, 2))
    records = {("base", s): make_record("base", s, values) for s in range(2)}
    for seed in range(2):
        same = make_record("other", seed, values + 1)
        items = {"error": tuple(reversed(same.items["error"]))}
        records["other", seed] = RunRecord(**{**vars(same), "items": items})
    found = summarise(make_spec("base", "other", num_seeds=2), records)[0].arms[1].difference
    assert found is not None
    assert found.interval.low == pytest.approx(1.0)
    assert found.interval.high == pytest.approx(1.0)


def test_equal_runs_differ_by_nothing() -> None:
    values = np.random.default_rng(0).normal(size=(8, 2))
    records = {(a, s): make_record(a, s, values) for a in ("base", "same") for s in range(3)}
    found = summarise(make_spec("base", "same"), records)[0].arms[1].difference
    assert found is not None
    assert (found.interval.mean, found.p_recordings, found.p_seeds) == (0.0, 1.0, 1.0)
    assert not found.is_real


def test_with_one_seed_nothing_is_called_real() -> None:
    spec, records = simulate(np.random.default_rng(4), effect=-9.0, num_seeds=1)
    found = summarise(spec, records)[0].arms[1].difference
    assert found is not None
    assert found.p_recordings is not None
    assert found.p_recordings < 0.01
    assert found.p_seeds is None
    assert not found.is_real
    assert "**" not in to_markdown(spec, records).partition("## Arms")[0]


def test_p_values_are_corrected_for_the_number_of_arms() -> None:
    spec, records = simulate(np.random.default_rng(5), effect=-0.25)
    alone = summarise(spec, records)[0].arms[1].difference
    more = {
        (f"copy {i}", seed): make_record(
            f"copy {i}", seed, np.array([x.value for x in r.items["error"]]).reshape(12, 3)
        )
        for i in range(4)
        for (arm, seed), r in records.items()
        if arm == "other"
    }
    names = ["base", "other", *(f"copy {i}" for i in range(4))]
    among = summarise(make_spec(*names), {**records, **more})[0].arms[1].difference
    assert alone is not None
    assert among is not None
    assert alone.p_recordings is not None
    assert alone.p_seeds is not None
    assert among.p_recordings == pytest.approx(min(1, 5 * alone.p_recordings))
    assert among.p_seeds == pytest.approx(min(1, 5 * alone.p_seeds))


def test_an_arm_without_runs_has_no_line_and_stands_among_the_arms() -> None:
    spec, records = simulate(np.random.default_rng(6))
    spec = make_spec("base", "other", "later")
    assert [one.arm for one in summarise(spec, records)[0].arms] == ["base", "other"]
    page = to_markdown(spec, records)
    assert "| later | as the preset |  | 0 | - |" in page
    assert "6 of 9 runs finished" in page
    assert headline(spec, records)[1][2] == ["later", "0", "-"]


@pytest.mark.parametrize(
    ("start", "batch_size", "words"),
    [
        ({"a": "2x2 aa", "b": "3 bb"}, 8, "same weights; same examples"),
        ({"a": "2x2 aa", "b": "3 bb"}, 16, "same weights; batch_size 16, not 8"),
        ({"a": "2x2 aa", "b": "3 xx"}, 8, "same shape, but 1 of 2 tensors start alike"),
        ({"a": "2x3 aa", "b": "3 bb"}, 8, "other shape: 1 tensors (a, …); 1 of 2 start alike"),
        ({"a": "2x2 aa"}, 8, "other shape: 1 tensors (b, …); 1 of 1 start alike"),
    ],
)
def test_the_table_says_what_arms_have_in_common_at_the_start(
    start: Mapping[str, str], batch_size: int, words: str
) -> None:
    base = {"a": "2x2 aa", "b": "3 bb"}
    values = np.zeros((2, 1))
    records = {
        ("base", 0): make_record("base", 0, values, start=base),
        ("other", 0): make_record("other", 0, values, start=start, batch_size=batch_size),
    }
    assert words in compare_starts(make_spec("base", "other"), records, "other").text


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentSpec, Records]:
    """A whole experiment with an arm that is worse, one that is the same, and another shape."""
    root = tmp_path_factory.mktemp("trained")
    text = toy.SPEC.replace("[arms.base]", "[settings]\nsteps = 40\n[arms.base]")
    spec = read_spec(toy.write_spec(root, text.replace("shift = 1.0", "shift = 3.0")))
    place = Place(runs=root / "runs", cache=root / "cache", device="cpu")
    session = run(spec, root / "results.json", place, make=toy.make)
    assert not session.failures
    return spec, session.results.records


def test_trained_arms_a_true_effect_is_real_and_noise_of_other_signs_is_none(
    trained: tuple[ExperimentSpec, Records],
) -> None:
    error, inverse = summarise(*trained)
    found = {one.arm: one.difference for one in error.arms}
    assert found["shifted"] is not None
    assert found["shifted"].is_real
    assert found["shifted"].interval.mean > 0
    assert found["mirrored"] is not None
    assert not found["mirrored"].is_real
    other = {one.arm: one.difference for one in inverse.arms}["shifted"]
    assert other is not None
    assert other.interval.mean < 0


def test_the_page_shows_arms_starts_and_failures(
    trained: tuple[ExperimentSpec, Records],
) -> None:
    page = to_markdown(*trained, failures={("wide", 7): "DivergenceError: too bad"})
    lines = {line.split(" |")[0]: line for line in page.splitlines() if line.startswith("| ")}
    assert page.startswith("# toy\n")
    assert "## error (lower is better; 36 items in 12 recordings)" in page
    assert "`shift=3.0` | same weights; same examples | 4 |" in lines["| shifted"]
    # The first layer is drawn before the one that is wider, the last one after it.
    assert "other shape: 3 tensors (net.0.weight, …); 8 of 32 start alike" in lines["| wide"]
    assert "| base |" in page
    assert "16 of 16 runs finished" in page
    assert "- wide, seed 7: DivergenceError: too bad" in page
    shifted = next(line for line in page.splitlines() if line.startswith("| shifted | "))
    assert "**+" in shifted
