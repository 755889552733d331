"""Make docs/results.md and docs/results/ from what `weft evaluate` and the benchmarks wrote.

    python benchmarks/results_page.py --commit C RESULTS.json … --cost D.md

Each RESULTS.json is one experiment; its tables go to a page of their own, as the command printed
them, and their overview to docs/results.md. Numbers are copied, never typed.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weft.evaluate.markdown import overview, to_markdown

DOCS = Path(__file__).parents[1] / "docs"
HEAD = """# Results

Every model on recordings of the `test` splits, which nothing was trained, fitted or tuned on.
Corpora: music (13 files: game orchestra, lo-fi, rock, synthesizers, chiptune), rendered piano (6
works, performed MIDI through a sampled grand), environment (5 field recordings), speech (4
sentences of one reader). Licences: CC0, public domain, CC BY; `weft data attribution` lists the
authors. Intervals are 95 % bootstrap, clustered by recording; with 4 to 6 recordings, read them as
rough. Each section has a page with all columns, differences and published numbers.

LSD gap is the log-spectral distance of frames centred in the gap, in log10 of power (times 10 for
dB), lower is better; two independent draws of one Gaussian noise are 0.79 apart. Its settings,
2048/512 with a floor of -120 dB, are ours, since publications state none; they were chosen from
nine after looking at music of the `test` and `valid` splits, and the order of the models was the
same in all nine, except that `lpc` and `similarity` are level at 50 ms in some. No number here is
comparable with a paper's.

The distance forgives a mean spectrum: `noise` scores well on speech, and does not sound like
speech. `auto` is kept from taking that bait (see [models](models.md)), at the cost of a larger
distance there. No single measure is to be trusted:

* KID, by the vectors of [corpus-ssl](embedders.md), compares what is heard around the gaps with
  the originals as sets; the originals themselves are at 0, and a value below 0 is chance. It
  hears nothing above 8 kHz.
* The ODG of [PEAQ](peaq.md) was made for codecs. Up to 150 ms it grades every fill above silence;
  at 300 ms it grades silence above some, from 375 ms on above nearly all, plausible ones too. It
  is shown for comparison with publications that use it.
* In `upsample`, "LSD-HF, content" reads the band from the cut-off to where the recording's own
  content ends. Above that (lossy sources end at 16 to 19 kHz) floors decide, as in the published
  settings.
"""


def page(results: Mapping[str, Any], name: str) -> list[str]:
    """Write an experiment's page, and return its section of the overview."""
    folder = DOCS / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(to_markdown(results), encoding="utf-8")
    counts = {
        row["material"]: (row["num_items"], row["num_files"])
        for row in results["rows"]
        if row["row"] == results["rows"][0]["row"]
    }
    items = ", ".join(f"{m} {n} in {files} recordings" for m, (n, files) in counts.items())
    takes = results["settings"]["takes"]
    title = results["title"] + (f", best of {takes} knowing the truth" if takes > 1 else "")
    if any(row["row"].endswith("(round trip)") for row in results["rows"]):
        title += ", models with a codec"
    if not results["settings"]["sample_rate"]:
        title += ", at each file's own rate and channels"
    return [
        f"## {title}",
        "",
        "<!-- not run -->",
        "```sh",
        results["command"],
        "```",
        "",
        f"Items of each setting: {items}. Samples outside the edits that changed: "
        f"{results['num_changed_outside']}. [All of it](results/{name}.md).",
        "",
        *overview(results)[2:],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", help="of weft evaluate")
    parser.add_argument("--cost", type=Path, required=True, help="of benchmarks/inpaint.py")
    parser.add_argument("--commit", required=True, help="of the code that made the results")
    options = parser.parse_args()
    sections = []
    versions: dict[str, str] = {}
    for path in options.results:
        results = json.loads(path.read_text(encoding="utf-8"))
        versions |= results["versions"]
        sections += page(results, path.stem)
    made_with = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [HEAD, f"Code: commit {options.commit}; {made_with}.", "", *sections]
    lines += ["## What one gap costs", "", "<!-- not run -->", "```sh"]
    lines += ["python benchmarks/inpaint.py --minutes 1 60 --runs 3", "```", ""]
    lines.append(options.cost.read_text(encoding="utf-8").rstrip("\n"))
    (DOCS / "results.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
