"""Render: answers worth hearing, made again."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from weft.audio.audio import Audio
from weft.data.manifest import Manifest
from weft.evaluate.examples import Choice, Example, choose_examples
from weft.evaluate.protocol import Case, Protocol, Spot
from weft.evaluate.records import Record
from weft.evaluate.runner import Finders, render

_KINDS = ("model", "baseline")


def render_examples(
    protocol: Protocol,
    corpora: Sequence[Manifest],
    records: Sequence[Record],
    *,
    finders: Finders,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Example, ...]:
    """Make the worst and the median answer of each row and material again.

    Nothing was stored of them: models draw from seeds, so the same answer comes out. Of several
    settings, such as lengths of gaps, the middle one is heard. Protocols that measure no pairs
    give the first answers of each row.

    Args:
        protocol: the experiment.
        corpora: what it worked on.
        records: of its journal.
        finders: where models come from.
        on_progress: called with (examples made, examples in all).
    """
    setting = protocol.settings[len(protocol.settings) // 2]
    heard = [r for r in records if r.setting == setting and not r.error]
    rows = [row.name for row in protocol.rows if row.kind in _KINDS]
    measure = next((m for m in protocol.measures if m.name == protocol.ranking), None)
    if measure is None:
        heard = [_numbered(record) for record in heard]
        choices = choose_examples(heard, "number", "lower", rows=rows, kinds=("best",))
    else:
        choices = choose_examples(heard, measure.name, measure.better, rows=rows)
    jobs = {(job.corpus, job.file): job for job in protocol.jobs(corpora)}
    made = []
    for done, choice in enumerate(choices, start=1):
        job = jobs.get((choice.item.corpus, choice.item.file))
        if job is not None:
            key = (choice.item.corpus, choice.item.file, choice.item.setting, choice.item.index)
            made.append(_example(choice, *render(protocol, job, key, choice.item.row, finders)))
        if on_progress is not None:
            on_progress(done, len(choices))
    return tuple(made)


def _numbered(record: Record) -> Record:
    """Give a record its number as a measure, to choose by."""
    return replace(record, metrics={"number": float(record.index)})


def _example(choice: Choice, case: Case, spot: Spot, answer: Audio) -> Example:
    """Return what is heard of an item."""
    excerpt, edited = spot.excerpt, spot.edited
    truth = case.truth or (case.canvas.audio if case.canvas.draft_strength is not None else None)
    gap = None
    if edited is not None:
        gap = (edited.start - excerpt.start, edited.stop - excerpt.start)
    return Example(
        material=case.corpus,
        setting=case.setting,
        row=choice.item.row,
        kind=choice.kind,
        file=case.file,
        index=spot.index,
        metric=choice.metric,
        value=choice.value,
        reference=None if truth is None else truth.read(excerpt.start, excerpt.stop),
        estimate=answer.read(excerpt.start, excerpt.stop),
        sample_rate=answer.sample_rate,
        gap=gap,
    )
