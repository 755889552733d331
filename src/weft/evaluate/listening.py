"""Listening: the part of a report page where examples can be heard and seen."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from weft.evaluate.examples import Example
from weft.evaluate.markup import number, text
from weft.evaluate.pictures import RANGE_DB, SEAM_MS, Spectrograms, draw_seams, draw_spectrograms
from weft.evaluate.playback import CONTEXT_S, PEAK_DBFS, Pair, make_pair

_KINDS = {"worst": "Worst", "median": "Median", "best": "Best"}


def listening_html(
    examples: Sequence[Example], measures: Mapping[str, Mapping[str, Any]], *, max_mb: float
) -> str:
    """Return the section of a page that lets one hear and see examples.

    Args:
        examples: in order of importance.
        measures: of the summary, by name, for titles and digits.
        max_mb: examples are added while all sounds and pictures together stay below this size.
    """
    cards: dict[tuple[str, str], list[str]] = {}
    room = max_mb * 1e6
    num_left_out = 0
    for example in examples:
        card = "" if room <= 0 else _card(example, measures)
        if not card or len(card) > room:
            num_left_out += 1
            room = min(room, 0)
            continue
        room -= len(card)
        cards.setdefault((example.material, example.setting), []).append(card)
    if not examples:
        return "<p>No examples were asked for.</p>"
    parts = [
        f"<p>Sounds reach {CONTEXT_S:g} s beyond the gap. Original and filled are equally loud "
        "(K-weighted, ITU-R BS.1770, without gate): each has its own gain, stated beside it; no "
        f"peak goes over {number(PEAK_DBFS, 0)} dBFS. They are FLAC, 16 bit. Spectrograms span "
        f"{RANGE_DB:g} dB; seams show {SEAM_MS:g} ms on either side. "
        "<b>Switch</b> changes between the two at the same place.</p>",
        '<p class="key"><span class="k-known">known</span><span class="k-fill">filled</span>'
        '<span class="k-lost">what stood in the gap</span></p>',
    ]
    if num_left_out:
        parts.append(
            f"<p class=note>{num_left_out} of {len(examples)} examples are left out: the page "
            f"holds at most {max_mb:g} MB of them.</p>"
        )
    for (material, setting), listed in cards.items():
        parts.append(
            f'<div class="result" data-material="{text(material)}" '
            f'data-setting="{text(setting)}"><h3><bdi>{text(material)}</bdi> · '
            f"<bdi>{text(setting)}</bdi></h3>"
            f'<div class="cards">{"".join(listed)}</div></div>'
        )
    return "".join(parts)


def _card(example: Example, measures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one example."""
    pair, pictures = make_pair(example), draw_spectrograms(example)
    measure = measures.get(example.metric)
    kind, value = _KINDS[example.kind], ""
    if measure is None:
        kind = "Example"
    else:
        value = f"{text(measure['title'])} <b>{number(example.value, measure['digits'])}</b>"
    name = f"{example.row}, {kind.lower()}, {example.setting}, {example.file}"
    facts = [value] if value else []
    if pair.loudness_lufs is not None:
        facts.append(f"{number(pair.loudness_lufs, 1)} LUFS")
    parts = [
        f'<article class="card {example.kind}" aria-label="{text(name)}">',
        f'<header><h4><bdi>{text(example.row)}</bdi></h4><span class="tag">{kind}</span></header>',
        f'<p class="where"><bdi>{text(example.file)}</bdi> · item {example.index}<br>'
        f"{' · '.join(facts)}</p>",
        _sounds(pair, name),
        _spectrograms(example, pictures),
    ]
    seams = draw_seams(example)
    if seams:
        parts.append('<div class="seams">')
        for where, svg in seams:
            parts.append(f"<figure>{svg}<figcaption>seam {where}</figcaption></figure>")
        parts.append("</div>")
    return "".join([*parts, "</article>"])


def _sounds(pair: Pair, name: str) -> str:
    """Return the players of an example."""
    listed = [("filled", "Filled", pair.filled)]
    if pair.original is not None:
        listed.insert(0, ("original", "Original", pair.original))
    from_s = max(0.0, pair.gap_s[0] - 0.5) if pair.gap_s else 0.0
    parts = [f'<div class="players" data-from="{from_s:.3f}">']
    for key, title, clip in listed:
        data = b64encode(clip.flac).decode("ascii")
        gain = number(clip.gain_db, 1, is_signed=True) + " dB"
        parts.append(
            f'<div class="player {key}"><span>{title}<small>{gain}</small></span>'
            f'<audio controls preload="metadata" aria-label="{title}: {text(name)}" '
            f'src="data:audio/flac;base64,{data}"></audio></div>'
        )
    buttons = []
    if pair.original is not None:
        buttons.append('<button type="button" class="switch" hidden>Switch</button>')
    if pair.gap_s:
        buttons.append('<button type="button" class="from" hidden>Play from the gap</button>')
    return "".join([*parts, '<div class="buttons">', *buttons, "</div></div>"])


def _spectrograms(example: Example, pictures: Spectrograms) -> str:
    """Return the spectrograms of an example, with its gap marked."""
    span = pictures.stop_s - pictures.start_s
    mark = ""
    if example.gap is not None:
        rate = example.sample_rate
        left, stop = (min(1.0, (e / rate - pictures.start_s) / span) for e in example.gap)
        place = f"left:{100 * left:.2f}%;right:{100 * (1 - stop):.2f}%"
        mark = f'<i class="gap" style="{place}"></i>'
    ticks = "".join(
        f'<i class="tick" style="bottom:{100 * height:.1f}%">{name}</i>'
        for height, name in pictures.ticks
    )
    parts = []
    for key, title, png in (
        ("original", "before", pictures.original),
        ("filled", "after", pictures.filled),
    ):
        if png is not None:
            data = b64encode(png).decode("ascii")
            parts.append(
                f'<figure class="spectrogram {key}"><div><img alt="Spectrogram {title}" '
                f'src="data:image/png;base64,{data}">{mark}{ticks}</div>'
                f"<figcaption>{title}</figcaption></figure>"
            )
    scale = f"{pictures.start_s:.2f} s</span><span>{pictures.stop_s:.2f} s"
    return "".join([*parts, f'<p class="scale"><span>{scale}</span></p>'])
