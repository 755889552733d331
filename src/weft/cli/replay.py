"""``weft replay``: do again what a receipt says, and compare."""

import tempfile
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.console import Screen, current_screen, plural
from weft.errors import WeftError

if TYPE_CHECKING:
    from weft.receipt import Receipt


class ReplayError(WeftError):
    """A run could not be repeated, or gave another result."""

    exit_status = 5


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("replay", no_args_is_help=True)(replay)


def replay(
    receipt: Annotated[Path, typer.Argument(metavar="RECEIPT", help="What --receipt wrote.")],
    input: Annotated[
        Path | None, typer.Option(help="The recording, if it is not where it was.")
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
    path = _find_input(known, receipt, input)
    if output is not None:
        if not output.is_dir():
            raise ReplayError(f"{output}: it is not a directory; make it, or leave -o out")
        _repeat(known, path, output, screen, overwrite=overwrite)
        return
    with tempfile.TemporaryDirectory(prefix="weft-replay-") as folder:
        _repeat(known, path, Path(folder), screen, overwrite=False)


def _find_input(known: "Receipt", receipt: Path, named: Path | None) -> Path:
    """Return the recording: where it was named, where it was, or beside the receipt."""
    from weft.receipt import sha256_of

    was = Path(known.input_path)
    candidates = [named] if named is not None else [was, receipt.parent / was.name]
    found = [path for path in candidates if path.is_file()]
    for path in found:
        if sha256_of(path) == known.input_sha256:
            return path
    if found:
        raise WeftError(
            f"{found[0]}: it is not the recording of this receipt any more: its digest differs; "
            "name the original with --input"
        )
    raise WeftError(
        f"{candidates[0]}: the recording of this receipt is not there; name it with --input"
    )


def _repeat(known: "Receipt", path: Path, folder: Path, screen: Screen, *, overwrite: bool) -> None:
    """Run again into a directory, compare digests, and print the finding."""
    from weft import zoo
    from weft.audio.read import read_audio
    from weft.cli.job import Request, execute, plan_outputs
    from weft.receipt import sha256_of, versions

    zoo.describe(known.settings.model)
    if zoo.digest_of(known.settings.model) != known.model_sha256:
        raise ReplayError(
            f"{receipt_name(known)}: the weights of {known.settings.model!r} are not those of the "
            f"receipt (digest {known.model_sha256}); put back the model that it names"
        )
    settings = known.settings
    audio = read_audio(path, salvage=settings.salvage, allow_nonfinite=settings.allow_nonfinite)
    suffix = Path(known.outputs[0][0]).suffix if known.outputs else path.suffix
    request = Request(
        input=path,
        output=folder / f"{path.stem}.replayed{suffix}",
        settings=settings,
        overwrite=overwrite,
    )
    job = plan_outputs(request, audio, known.gaps)
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
        files = plural(len(got), "output")
        screen.say(f"{files} of {plural(len(job.regions), 'gap')}: the same, bit for bit",
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
    return Path(known.input_path).name
