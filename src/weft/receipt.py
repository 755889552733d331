"""Receipts: what was done to a recording, in enough detail to do it again."""

import hashlib
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, final

from weft import zoo
from weft.audio.audio import Audio
from weft.audio.proof import Proof
from weft.canvas.canvas import Region
from weft.canvas.tasks import STRENGTH
from weft.errors import ConfigError, WeftError
from weft.result import GapFill
from weft.version import __version__

KIND = "weft-receipt"
VERSION = 2
"""What is written; version 1, which knew one recording and gaps to fill, is read too."""
MAX_RECEIPT_BYTES = 1 << 28
"""Longest receipt read; one with a million gaps is shorter."""


@final
@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything besides the recording and the gaps that a fill depends on."""

    model: str = "auto"
    """Name of the model."""
    takes: int = 1
    """Different fills, in 1-100."""
    seed: int = 0
    """Of all random draws, >= 0."""
    steps: int = 0
    """Sampling steps, in 0-10,000; 0 stands for the model's own number."""
    fade_ms: float = 10.0
    """Cross-fade inside each end of a gap, in 0-10,000 ms."""
    min_confidence: float = 0.0
    """Gaps filled less surely are left alone, in 0-1."""
    fill_only: bool = False
    """Whether the fills alone are written, not the recording."""
    handles_ms: float = 250.0
    """What is written on either side of a fill with `fill_only`, in 0-60,000 ms."""
    salvage: bool = False
    """Whether a file that was cut off is used as far as it goes."""
    allow_nonfinite: bool = False
    """Whether samples that are no numbers may stand in the recording, inside the gaps."""

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("takes", self.takes, 1, 100),
            ("seed", self.seed, 0, math.inf),
            ("steps", self.steps, 0, 10_000),
            ("fade_ms", self.fade_ms, 0, 10_000),
            ("min_confidence", self.min_confidence, 0, 1),
            ("handles_ms", self.handles_ms, 0, 60_000),
        ):
            if not low <= value <= high:
                raise ConfigError(
                    f"{name} must be {f'>= {low}' if high == math.inf else f'in {low}-{high:,}'}, "
                    f"got {value:g}"
                )


VERBS = ("inpaint", "continue", "regenerate", "transition", "generate")
"""What a run can be asked to do."""


@final
@dataclass(frozen=True, kw_only=True)
class Task:
    """What a run is asked to do, beside the recordings and the regions.

    Ranges are checked where the task becomes a canvas; see `weft.canvas.tasks`.
    """

    verb: str = "inpaint"
    """One of `VERBS`."""
    seconds: float = 0.0
    """What is added to a recording, overlaps, or is made from nothing."""
    is_before: bool = False
    """Whether a recording is continued in front of its beginning."""
    is_loop: bool = False
    """Whether a continuation leads back to the recording's other end."""
    strength: float = STRENGTH
    """How far a draft may be changed."""
    snap_beats: bool = False
    """Whether edges of a transition move to beats."""
    match: bool = False
    """Whether the second recording is converted to the first one's rate and channels."""
    sample_rate: int = 44100
    """Of what is made from nothing, in Hz."""
    num_channels: int = 2
    """Of what is made from nothing."""
    tags: tuple[str, ...] = ()
    """Names of what should be heard."""
    style_weight: float = 1.0
    """How strong references and tags pull, in 0-1000."""

    def __post_init__(self) -> None:
        if self.verb not in VERBS:
            raise ConfigError(f"verb must be one of {', '.join(VERBS)}, got {self.verb!r}")


@final
@dataclass(frozen=True, kw_only=True)
class InputFile:
    """A file that a run reads."""

    path: str
    """As it was named."""
    sha256: str
    """Its digest before anything was written."""


@final
@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What `read_receipt` returns: enough to repeat a run."""

    inputs: tuple[InputFile, ...]
    """The recordings, in order."""
    references: tuple[InputFile, ...] = ()
    """Recordings that the fills should sound like."""
    task: Task
    settings: Settings
    gaps: tuple[Region, ...]
    outputs: tuple[tuple[str, str], ...]
    """Name and digest of each file that was written, in order."""
    versions: Mapping[str, str]
    """Of Weft, Python and the packages that touch samples."""
    model_sha256: str | None = None
    """Of a trained model's ``model.json``, which holds the digests of its weights."""


def sha256_of(path: str | Path) -> str:
    """Return the digest of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of all that touches samples."""
    found = {"weft": __version__, "python": platform.python_version()}
    for package in ("numpy", "scipy", "soundfile", "soxr"):
        found[package] = metadata.version(package)
    return found


def platform_facts() -> dict[str, str | int]:
    """Return what else bit-equal output depends on."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "threads": os.environ.get("OMP_NUM_THREADS", "") or (os.cpu_count() or 1),
    }


def gap_facts(gap: GapFill, sample_rate: int) -> dict[str, Any]:
    """Return what happened to a gap, for JSON."""
    region = gap.region
    return {
        **region_facts(region),
        "start_s": region.start / sample_rate,
        "stop_s": region.stop / sample_rate,
        "is_left_alone": gap.is_left_alone,
        "takes": [
            {
                "model": take.model,
                "confidence": take.confidence,
                "details": dict(take.details),
            }
            for take in gap.takes
        ],
    }


def region_facts(region: Region) -> dict[str, Any]:
    """Return a region for JSON; what is not set is left out."""
    facts = asdict(region)
    return {key: value for key, value in facts.items() if value not in (None, "")}


def make_receipt(
    *,
    task: Task,
    inputs: Sequence[tuple[Audio, InputFile]],
    references: Sequence[InputFile],
    settings: Settings,
    gaps: Sequence[GapFill],
    sample_rate: int,
    outputs: Iterable[Path],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a receipt as a mapping that is ready for JSON; digests of outputs are taken now.

    Args:
        task: what the run was asked to do.
        inputs: the recordings and their files.
        references: files of recordings that the fills should sound like.
        settings: how it was to be done.
        gaps: what happened.
        sample_rate: of the outputs, in Hz.
        outputs: the files that were written, in order.
        facts: what else is worth keeping: format, proof, warnings.
    """
    return {
        "kind": KIND,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "platform": platform_facts(),
        "task": asdict(task),
        "inputs": [
            {
                **asdict(file),
                "sample_rate": audio.sample_rate,
                "num_channels": audio.num_channels,
                "num_samples": audio.num_samples,
            }
            for audio, file in inputs
        ],
        "references": [asdict(file) for file in references],
        "model": {
            "name": settings.model,
            "version": __version__,
            "sha256": None if needs_no_model(task) else zoo.digest_of(settings.model),
        },
        "settings": asdict(settings),
        "outputs": [{"path": str(path.absolute()), "sha256": sha256_of(path)} for path in outputs],
        "gaps": [gap_facts(gap, sample_rate) for gap in gaps],
        **facts,
    }


def needs_no_model(task: Task) -> bool:
    """Return whether a task keeps a draft as it is."""
    return task.verb in ("regenerate", "transition") and task.strength == 0


def proof_facts(proof: Proof | None) -> dict[str, Any] | None:
    """Return a proof for JSON."""
    if proof is None:
        return None
    return {
        "num_outside": proof.num_outside,
        "num_identical": proof.num_identical,
        "is_identical": proof.is_identical,
        "text": str(proof),
    }


def read_receipt(path: str | Path) -> Receipt:
    """Return what a receipt says.

    Raises:
        WeftError: it cannot be read, is no receipt, or is of a later version.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_RECEIPT_BYTES:
            raise WeftError(f"{path}: it is larger than any receipt; check the name")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeftError(
            f"{path}: the receipt cannot be read ({error.strerror}); check the name"
        ) from None
    except (ValueError, RecursionError):
        raise WeftError(
            f"{path}: it is not a receipt, which is a JSON file; give the file that --receipt wrote"
        ) from None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise WeftError(f"{path}: it is JSON but not a receipt; give the file that --receipt wrote")
    if content.get("version") not in (1, VERSION):
        raise WeftError(
            f"{path}: its version is {content.get('version')}, this Weft reads 1 to {VERSION}; "
            "install the Weft that wrote it"
        )
    try:
        return _parse(content)
    except ConfigError as error:
        raise WeftError(f"{path}: its settings cannot be used: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeftError(
            f"{path}: the receipt is damaged ({type(error).__name__}: {error}); make the run again"
        ) from None


def _parse(content: Mapping[str, Any]) -> Receipt:
    """Return a receipt from its JSON; every field is checked for its type."""
    is_first = content["version"] == 1
    names = ("start", "stop", "low_hz", "high_hz", "label")
    return Receipt(
        settings=Settings(**_typed(content["settings"], Settings())),
        task=Task(**_typed({} if is_first else content["task"], Task())),
        inputs=_files([content["input"]] if is_first else content["inputs"]),
        references=_files([] if is_first else content["references"]),
        gaps=tuple(
            Region(**{name: gap[name] for name in names if name in gap}) for gap in content["gaps"]
        ),
        outputs=tuple((str(out["path"]), str(out["sha256"])) for out in content["outputs"]),
        versions={str(k): str(v) for k, v in content["versions"].items()},
        model_sha256=content.get("model", {}).get("sha256"),
    )


def _files(found: Sequence[Mapping[str, Any]]) -> tuple[InputFile, ...]:
    return tuple(InputFile(path=str(one["path"]), sha256=str(one["sha256"])) for one in found)


def _typed(given: Mapping[str, Any], defaults: Settings | Task) -> dict[str, Any]:
    """Return fields from JSON, each of the type of its default.

    Raises:
        ConfigError: a field is unknown, or of another type.
    """
    known, fields = asdict(defaults), dict(given)
    for name, value in fields.items():
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}")
        kind = type(known[name])
        if kind is tuple and type(value) is list and all(type(item) is str for item in value):
            fields[name] = tuple(value)
            continue
        if not (type(value) is kind or (kind is float and type(value) is int)):
            raise ConfigError(f"{name} must be of type {kind.__name__}, got {value!r}")
        fields[name] = kind(value)
    return fields
