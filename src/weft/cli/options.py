"""Options that verbs share, each written once."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Output: TypeAlias = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="File or directory; unless given, the name above."),
]
Model: TypeAlias = Annotated[
    str,
    typer.Option(metavar="NAME|DIR", help="See 'weft models list'; or a trained model's folder."),
]
Takes: TypeAlias = Annotated[int, typer.Option(help="How many different fills to write.")]
Seed: TypeAlias = Annotated[int, typer.Option(help="Equal seeds give equal output.")]
Steps: TypeAlias = Annotated[
    int, typer.Option(help="Sampling steps, for models that sample; 0: the model's own number.")
]
FadeMs: TypeAlias = Annotated[float, typer.Option(help="Cross-fade inside each end of a gap.")]
Seconds: TypeAlias = Annotated[float, typer.Option("--seconds", "-s", help="How long, > 0.")]
Strength: TypeAlias = Annotated[
    float,
    typer.Option(help="How far the sound may change, in 0-1; 0 keeps it, and needs no model."),
]
Like: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(metavar="REF", help="A recording it should sound like. Repeat it for several."),
]
Tag: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A class that should be heard. Repeat it for several."),
]
StyleWeight: TypeAlias = Annotated[
    float, typer.Option(help="How strong --like and --tag pull, in 0-1000.")
]
Labels: TypeAlias = Annotated[
    Path | None, typer.Option(help="Label file: Audacity labels, CSV or TSV.")
]
Cue: TypeAlias = Annotated[bool, typer.Option("--cue", help="Take regions marked in IN itself.")]
PadMs: TypeAlias = Annotated[
    float | None, typer.Option(help="What a point label or marker covers on each side.")
]
Clamp: TypeAlias = Annotated[
    bool, typer.Option("--clamp", help="Cut regions that reach beyond the end.")
]
Salvage: TypeAlias = Annotated[
    bool, typer.Option("--salvage", help="Use what is left of a file that was cut off.")
]
Receipt: TypeAlias = Annotated[
    bool, typer.Option("--receipt", help="Write OUT.receipt.json, for 'weft replay'.")
]
Report: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE.png", help="Draw before and after.")
]
Overwrite: TypeAlias = Annotated[
    bool, typer.Option("--overwrite", help="Replace outputs that exist.")
]
DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]
