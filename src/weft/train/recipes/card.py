"""What the cards of trained models have in common: curves, data, and whom to thank."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from weft.data.manifest import Manifest

_NUM_CURVE_ROWS = 12


def curve_rows(lines: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Return rows of a table: evenly spaced lines of the log, the last one included.

    Args:
        lines: of the training log, each with ``step`` and all of the names.
        names: of the figures, in the order of the columns.
    """
    count = min(_NUM_CURVE_ROWS, len(lines))
    rows = []
    for i in range(count):
        line = lines[(len(lines) - 1) * (i + 1) // count]
        shown = " | ".join(f"{line[name]:.3g}" for name in names)
        rows.append(f"| {line['step']} | {shown} |")
    return rows


def data_rows(manifests: Sequence[Manifest]) -> list[str]:
    """Return rows of a table: what of each corpus was trained on."""
    rows = []
    for manifest in manifests:
        entries = manifest.select("train")
        hours = sum(entry.duration_s or 0 for entry in entries) / 3600
        licences = sorted({entry.licence or "not stated" for entry in entries})
        rows.append(f"| {manifest.name} | {len(entries)} | {hours:.2f} | {', '.join(licences)} |")
    return rows


def distance_row(
    name: str,
    lsd: Float[np.ndarray, " n"],
    snr_db: Float[np.ndarray, " n"],
    corpora: Sequence[str],
) -> str:
    """Return a row of a table: distances of each corpus, of all, and signal-to-noise ratios of all.

    Args:
        name: of what was measured.
        lsd: log-spectral distance of each gap.
        snr_db: signal-to-noise ratio of each gap.
        corpora: the corpus of each gap; columns are in the order of their names.
    """
    where = np.array(corpora)
    cells = [_mean(lsd[where == corpus]) for corpus in sorted({*corpora})]
    return f"| {name} | {' | '.join(cells)} | {_mean(lsd)} | {_mean(snr_db)} dB |"


def _mean(values: Float[np.ndarray, " n"]) -> str:
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{values.mean():.2f} +- {error:.2f}"


def attribution_lines(manifests: Sequence[Manifest]) -> list[str]:
    """Return a line for each author: licence, source and titles of what was trained on."""
    titles: dict[tuple[str, str, str], list[str]] = {}
    for manifest in manifests:
        for entry in manifest.select("train"):
            source = "/".join(entry.source.split("/")[:2])
            key = (entry.author or "unknown author", entry.licence or "not stated", source)
            titles.setdefault(key, []).append(entry.title or entry.file)
    return [
        f"- {author}, {licence}, from {source or 'an unnamed source'} "
        f"({'; '.join(sorted(set(found)))})"
        for (author, licence, source), found in sorted(titles.items())
    ]
