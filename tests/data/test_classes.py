"""The table of classes of sound."""

import json
import re

import pytest

from weft.data.classes import TABLE, class_names, class_of, count_classes
from weft.data.corpora import names


def test_the_table_is_json_of_distinct_names_and_patterns_of_known_corpora() -> None:
    listed = json.loads(TABLE.read_text(encoding="utf-8"))["classes"]
    patterns = [pattern for entry in listed for pattern in entry["labels"]]
    assert len(class_names()) == len(set(class_names())) == len(listed)
    assert len(patterns) == len(set(patterns))
    for pattern in patterns:
        assert re.fullmatch(r"[a-z]+/[a-z0-9_*?]+", pattern), pattern
        assert pattern.split("/")[0] in names()
    assert not any(pattern.startswith("speech/") for pattern in patterns)


@pytest.mark.parametrize(
    ("corpus", "label", "name"),
    [
        ("music", "chiptune", "chiptune"),
        ("piano", "Debussy", "piano"),
        ("sounds", "piano_c2", "piano"),
        ("sounds", "prep_piano_c2", "prepared piano"),
        ("environment", "summer_night", "animals"),
        ("environment", "thunder", "weather and fire"),
        ("sounds", "femalevoices_oo_c", "female voice"),
        ("sounds", "malevoice_aa_c", "male voice"),
        ("sounds", "metal_bell", "bells and chimes"),  # an earlier class wins
        ("sounds", "metal_trashcan", "cans and bins"),
        ("sounds", "glass_on_foil", "glass"),
        ("sounds", "chopping", None),
        ("speech", "speech", None),
    ],
)
def test_labels_have_the_class_of_the_table(corpus: str, label: str, name: str | None) -> None:
    assert class_of(corpus, label) == name


def test_counts_keep_the_order_of_the_table_and_leave_out_what_has_no_class() -> None:
    counts = count_classes([("sounds", "bd"), ("sounds", "bd"), ("sounds", "kaos")])
    assert tuple(counts) == class_names()
    assert counts["bass drum"] == 2
    assert sum(counts.values()) == 2
