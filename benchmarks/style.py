"""How far a latent model follows a style: fills with and without, and how near they come.

    python benchmarks/style.py MODEL [--data piano music environment] [--references 2] [--draws 2]
        [--seconds 2.2] [--weights 0 1 3] [--tags piano "waves and rivers"] [--head FOLDER]
        [--tasks "from nothing" "in a gap"]

References are excerpts of the corpora's valid split. For each one, `draws` sounds of this length
are made from nothing, and as many gaps of 1.5 s are filled in a recording of another corpus, at
each weight of the style; equal draws have equal noise at all weights but 0, where gaps may be
copied. Prints the mean distance to the reference, as the package's embedder hears it through the
codec; for tags the mean probability that the embedder's head gives them; and the processor's
seconds a fill, with one thread. `--head`: guided by a head for the latents (`weft train
style-head`), heard as before.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from weft import zoo
from weft.audio.audio import Audio
from weft.audio.resample import resample, to_mono
from weft.canvas import Canvas, Region, generate
from weft.canvas.style import Style
from weft.canvas.tags import find_tag, known_tags
from weft.codecs.base import LatentCodec
from weft.data.corpora import find_corpus, open_entry
from weft.errors import ConfigError
from weft.evaluate.protocols.gaps import blanked
from weft.model import Model
from weft.sampling.latent_filler import LatentFiller
from weft.sampling.style import StyleGuide
from weft.sampling.style_head import read_style_head

EXCERPT_S = 8.0
GAP_S = 1.5
RATE = 44100
FROM_NOTHING, IN_A_GAP = TASKS = "from nothing", "in a gap"


def excerpts(corpus: str, number: int) -> Iterator[Audio]:
    """Yield the middles of recordings of the valid split, the first by name first."""
    for entry in find_corpus(corpus).select("valid")[:number]:
        whole = open_entry(entry)
        length = min(whole.num_samples, round(EXCERPT_S * whole.sample_rate))
        first = (whole.num_samples - length) // 2
        yield Audio.from_samples(whole.read(first, first + length), whole.sample_rate)


def with_gap(audio: Audio) -> tuple[Canvas, Region]:
    """Take the middle out."""
    length = round(GAP_S * audio.sample_rate)
    first = (audio.num_samples - length) // 2
    gap = Region(start=first, stop=first + length)
    return blanked(audio, [gap]), gap


@torch.no_grad()
def heard(style: Style, codec: LatentCodec, sound: np.ndarray, rate: int) -> float:
    """Return the distance of a sound to a reference, or the probability of a tag."""
    (wanted,) = StyleGuide()(replace(style, weight=1.0), codec)
    mono = resample(to_mono(sound), rate, codec.sample_rate)
    latents = codec.encode(torch.from_numpy(mono).float()[:, None])
    distance = float(wanted.loss.distance(latents)[0])
    return distance if style.references else float(np.exp(-distance))


def fills(
    model: Model,
    style: Style,
    hosts: list[Audio],
    arguments: argparse.Namespace,
) -> Iterator[tuple[str, np.ndarray, int, float]]:
    """Yield what was made from nothing and in gaps: the task, the sound, its rate, CPU seconds."""
    draws, tasks, seconds = arguments.draws, arguments.tasks, arguments.seconds
    for seed in range(draws if FROM_NOTHING in tasks else 0):
        canvas = generate(seconds, RATE, 1)
        start = time.process_time()
        made = model.fill(canvas, seed=seed, guidance=style).best
        yield FROM_NOTHING, made.samples, RATE, time.process_time() - start
    for seed, host in enumerate(hosts[:draws] if IN_A_GAP in tasks else []):
        canvas, gap = with_gap(host)
        start = time.process_time()
        best = model.fill(canvas, seed=seed, guidance=style).best
        spent = time.process_time() - start
        yield IN_A_GAP, best.read(gap.start, gap.stop), host.sample_rate, spent


def known_tag(text: str) -> str:
    """Return a tag as the embedder's head knows it."""
    try:
        return known_tags()[find_tag(text)]
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def guided_by(model: Model, head: Path | None) -> Model:
    """Return the model, guided by a head for latents if there is one."""
    if head is None:
        return model
    filler = model.filler
    assert isinstance(filler, LatentFiller)
    other = filler.changed(style_losses=StyleGuide(head=read_style_head(head)))
    return Model(other, zoo.describe("weft-latent"), zoo.able)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", nargs="+", default=["piano", "music", "environment"])
    parser.add_argument("--references", type=int, default=2)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.2)
    parser.add_argument("--weights", nargs="+", type=float, default=[0.0, 1.0, 3.0])
    parser.add_argument("--tags", nargs="*", default=[], type=known_tag)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--head", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = guided_by(zoo.load(arguments.model), arguments.head)
    assert isinstance(model.filler, LatentFiller)
    found = {name: list(excerpts(name, arguments.references)) for name in arguments.data}
    styles = [
        (f"like {name}", name, Style(references=(audio,)))
        for name, audios in found.items()
        for audio in audios
    ]
    styles += [(f"tag {tag}", tag, Style(tags=(tag,))) for tag in arguments.tags]
    print("| style | task | weight | distance, or probability of a tag | CPU s | fills |")
    print("|---|---|---:|---:|---:|---:|")
    for label, group in groupby(styles, key=lambda item: item[0]):
        print_rows(label, model, list(group), found, arguments)


def print_rows(
    label: str,
    model: Model,
    styles: list[tuple[str, str, Style]],
    found: dict[str, list[Audio]],
    arguments: argparse.Namespace,
) -> None:
    """Print what came of some styles together, a row a task and weight."""
    assert isinstance(model.filler, LatentFiller)
    values: dict[tuple[str, float], list[tuple[float, float]]] = defaultdict(list)
    for _, corpus, style in styles:
        hosts = [audio for name, audios in found.items() if name != corpus for audio in audios]
        for weight in arguments.weights:
            wanted = replace(style, weight=weight)
            for task, sound, rate, spent in fills(model, wanted, hosts, arguments):
                value = heard(wanted, model.filler.codec, sound, rate)
                values[task, weight].append((value, spent))
    for (task, weight), pairs in sorted(values.items()):
        value, spent = np.mean(pairs, axis=0)
        print(
            f"| {label} | {task} | {weight:g} | {value:.3g} | {spent:.1f} | {len(pairs)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
