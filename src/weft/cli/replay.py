"""``weft replay``: do again what a receipt says, and compare."""

import tempfile
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from weft.cli.console import Screen, current_screen, plural
from weft.errors import WeftError

if TYPE_CHECKING:
    from weft.receipt import InputFile, Receipt

    Known: TypeAlias = tuple[tuple[Path, ...], tuple[Path, ...]]
    """Files of recordings and of references."""


class ReplayError(WeftError):
    """A run could not be repeated, or gave another result."""

    exit_status = 5


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("replay", no_args_is_help=True)(replay)


def replay(
    receipt: Annotated[Path, typer.Argument(metavar="RECEIPT", help="What --receipt wrote.")],
    input: Annotated[
        list[Path] | None,
        typer.Option(help="The recording, if it is not where it was; repeat it for a second one."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Directory that keeps the outputs; none are unless."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Do a run again and say whether its outputs are the same, bit for bit.

    Ends with status 5 if they are not, and names the versions that differ.
    """
    from weft.receipt import read_receipt

    screen = current_screen()
    known = read_receipt(receipt)
    files = _find_inputs(known, receipt, input or [])
    if output is not None:
        if not output.is_dir():
            raise ReplayError(f"{output}: it is not a directory; make it, or leave -o out")
        _repeat(known, files, output, screen, overwrite=overwrite)
        return
    with tempfile.TemporaryDirectory(prefix="weft-replay-") as folder:
        _repeat(known, files, Path(folder), screen, overwrite=False)


def _find_inputs(known: "Receipt", receipt: Path, named: list[Path]) -> "Known":
    """Return the recordings and the references of a receipt."""
    if len(named) > len(known.inputs):
        raise WeftError(
            f"{len(named)} recordings were named with --input, the receipt has {len(known.inputs)}"
        )
    chosen = [*named, *[None] * (len(known.inputs) - len(named))]
    inputs = [
        _find_input(file, receipt, path) for file, path in zip(known.inputs, chosen, strict=True)
    ]
    return tuple(inputs), tuple(_find_input(file, receipt, None) for file in known.references)


def _find_input(file: "InputFile", receipt: Path, named: Path | None) -> Path:
    """Return a file: where it was named, where it was, or beside the receipt."""
    from weft.receipt import sha256_of

    was = Path(file.path)
    candidates = [named] if named is not None else [was, receipt.parent / was.name]
    found = [path for path in candidates if path.is_file()]
    for path in found:
        if sha256_of(path) == file.sha256:
            return path
    if found:
        raise WeftError(
            f"{found[0]}: it is not the recording of this receipt any more: its digest differs; "
            "name the original with --input"
        )
    raise WeftError(
        f"{candidates[0]}: the recording of this receipt is not there; name it with --input"
    )


def _repeat(
    known: "Receipt", files: "Known", folder: Path, screen: Screen, *, overwrite: bool
) -> None:
    """Run again into a directory, compare digests, and print the finding."""
    from weft import zoo
    from weft.cli.job import Request, execute, open_recordings, plan_outputs
    from weft.receipt import needs_no_model, sha256_of, versions

    settings = known.settings
    if not needs_no_model(known.task):
        zoo.describe(settings.model)
        if zoo.digest_of(settings.model) != known.model_sha256:
            raise ReplayError(
                f"{receipt_name(known)}: the weights of {settings.model!r} are not those of the "
                f"receipt (digest {known.model_sha256}); put back the model that it names"
            )
    inputs, references = files
    name = inputs[0].stem if inputs else "generated"
    suffix = Path(known.outputs[0][0]).suffix if known.outputs else inputs[0].suffix
    request = Request(
        inputs=inputs,
        task=known.task,
        references=references,
        output=folder / f"{name}.replayed{suffix}",
        settings=settings,
        overwrite=overwrite,
    )
    job = plan_outputs(request, open_recordings(request), known.gaps)
    with screen.progress("filling", len(job.regions)) as on_progress:
        outcome = execute(job, on_progress=on_progress)
    wanted = [digest for _, digest in known.outputs]
    got = [sha256_of(file) for file in outcome.paths]
    now = versions()
    changed = [
        f"{name} {known.versions.get(name, 'unknown')} then, {version} now"
        for name, version in now.items()
        if known.versions.get(name) != version
    ]
    is_same = wanted == got
    if is_same:
        written = plural(len(got), "output")
        screen.say(f"{written} of {plural(len(job.regions), 'gap')}: the same, bit for bit",
                   style="green")  # fmt: skip
        screen.emit({"is_same": True, "sha256": got, "changed_versions": changed})
        return
    pairs = list(zip_longest(wanted, got))
    different = sum(then != again for then, again in pairs)
    reason = (
        f"{'; '.join(changed)}; install the versions of the receipt to get the same samples"
        if changed
        else "all versions are equal, so the machine or its number of threads differs"
    )
    raise ReplayError(
        f"{receipt_name(known)}: {different} of {len(pairs)} outputs differ from the receipt: "
        f"{reason}"
    )


def receipt_name(known: "Receipt") -> str:
    """Return what a receipt is about, for messages."""
    return Path(known.inputs[0].path).name if known.inputs else "a sound from nothing"
