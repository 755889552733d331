"""Conversion: published weights become a model folder, checked and run once before it is there."""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

from weft.checkpoint import CONFIG_FILE, write_model
from weft.codecs.wavtokenizer import KIND as CODEC_KIND
from weft.codecs.wavtokenizer import WavTokenizer, read_codec
from weft.errors import CheckpointError, ConfigError, OutputError, WeftError
from weft.foreign import digest_of as file_digest
from weft.sampling.model_facts import CARD_FILE, ModelFacts, describe_folder, verify_folder
from weft.sampling.published import Layout, read_settings, read_tensors_of
from weft.sampling.published_codec import make_codec
from weft.sampling.published_network import PublishedNetwork, WhichWeights, make_network
from weft.sampling.token_model import TokenModelConfig, write_token_model

NUM_STAGES: Final = 4
"""Read, compare, write, run."""
_NAMES: Final[Mapping[Layout, str]] = {"wavtokenizer": "WavTokenizer", "aidd": "AIDD"}
_SOURCES: Final[Mapping[Layout, str]] = {
    "wavtokenizer": "Ji et al. 2024, WavTokenizer: an efficient acoustic discrete codec tokenizer "
    "for audio language modeling. Code: github.com/jishengpeng/WavTokenizer, MIT licence.",
    "aidd": "Dror, Shoham et al. 2026, Token-based audio inpainting via discrete diffusion. Code: "
    "github.com/iftachShoham/AIDD, MIT licence.",
}
_MODEL_FILE = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.json|README\.md")


@final
@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What is to be converted, and where to."""

    path: Path
    """The published file."""
    out: Path
    """Folder of the new model; the one that it stands in exists."""
    layout: Layout | None = None
    """Whose weights; None: see `weft.sampling.published.read_tensors_of`."""
    settings: Path | None = None
    """Settings published beside the weights, compared with them."""
    codec: Path | None = None
    """Folder of a converted codec; AIDD's network works on its tokens."""
    weights: WhichWeights | None = None
    """Of AIDD's file: the averages, or the weights themselves; None: averages if there are some."""
    is_overwritten: bool = False
    """Whether a model that is in ``out`` is replaced."""


@final
@dataclass(frozen=True, kw_only=True)
class Converted:
    """A new model."""

    facts: ModelFacts
    """What it is."""
    made_from: Mapping[str, Any]
    """Name, size, digest and layout of the file."""
    checks: tuple[str, ...]
    """What was found right."""
    notes: tuple[str, ...]
    """What its user should know."""


def convert_model(
    conversion: Conversion, *, progress: Callable[[int, int], None] | None = None
) -> Converted:
    """Convert published weights to a model folder.

    The folder appears under its name when it is whole and has run once; without that, nothing is
    left and what was there before is unchanged.

    Args:
        conversion: what and where.
        progress: called with (stages done, stages in all).

    Raises:
        CheckpointError: the file is damaged, hostile or not what it was taken for; codec and
            network do not fit together; the result does not run.
        ConfigError: a codec is needed and not given, or given and not needed.
        OutputError: the folder is taken, or cannot be written.
    """
    report = progress or (lambda done, total: None)
    _check_choice(conversion, conversion.layout)
    with _new_folder(conversion.out, conversion.is_overwritten) as folder:
        report(0, NUM_STAGES)
        codec = None if conversion.codec is None else read_codec(conversion.codec)
        made_from: dict[str, Any] = {
            "file": conversion.path.name,
            "sha256": file_digest(conversion.path) if conversion.path.is_file() else "",
        }
        settings = None if conversion.settings is None else read_settings(conversion.settings)
        scratch = folder / "scratch"
        scratch.mkdir()
        layout, state = read_tensors_of(conversion.path, scratch, layout=conversion.layout)
        shutil.rmtree(scratch)
        _check_choice(conversion, layout)
        made_from |= {"layout": layout, "num_bytes": conversion.path.stat().st_size}
        report(1, NUM_STAGES)
        notes: list[str] = []
        if codec is None:
            made = make_codec(state, told=conversion.path, settings=settings)
            state.clear()
            report(2, NUM_STAGES)
            _write_codec(folder, made, made_from)
            if settings is None:
                notes.append(
                    f"no tensor tells the sample rate: {made.sample_rate} Hz, as all published "
                    "ones have; --config compares with the published settings"
                )
        else:
            network = make_network(
                state, told=conversion.path, weights=conversion.weights, settings=settings
            )
            state.clear()
            report(2, NUM_STAGES)
            notes += _write_pair(conversion, folder, codec, network, made_from)
        report(3, NUM_STAGES)
        checks = verify_folder(folder)
        facts = describe_folder(folder)
        name = Path(os.path.abspath(conversion.out)).name
        card = _card(name, layout, facts, made_from, checks, notes)
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        report(NUM_STAGES, NUM_STAGES)
    return Converted(
        facts=describe_folder(conversion.out),
        made_from=made_from,
        checks=tuple(checks),
        notes=tuple(notes),
    )


def _check_choice(conversion: Conversion, layout: Layout | None) -> None:
    """Refuse options that a layout does not have, as soon as the layout is known."""
    if layout == "aidd" and conversion.codec is None:
        raise ConfigError(
            "AIDD's network fills tokens, and needs the codec that makes them sound: convert a "
            "WavTokenizer checkpoint first, then give its folder by --codec"
        )
    if layout == "wavtokenizer" and conversion.codec is not None:
        raise ConfigError("--codec is for AIDD's network; WavTokenizer is a codec itself")
    if layout == "wavtokenizer" and conversion.weights is not None:
        raise ConfigError("--weights is for AIDD's network; WavTokenizer has one set of weights")


def _write_codec(folder: Path, codec: WavTokenizer, made_from: Mapping[str, Any]) -> None:
    """Write a codec in single precision: in half, nearest codes may change."""
    config = {
        "kind": CODEC_KIND,
        "codec": codec.config.to_json(),
        "facts": {"made_from": dict(made_from)},
    }
    write_model(folder, config=config, tensors=codec.state_dict())


def _write_pair(
    conversion: Conversion,
    folder: Path,
    codec: WavTokenizer,
    made: PublishedNetwork,
    made_from: dict[str, Any],
) -> list[str]:
    """Write a network and its codec as one model, and return what a user should know of them."""
    assert conversion.codec is not None
    num_codes, num_symbols = codec.codebook_size, made.network.config.codebook_size
    if num_symbols not in (num_codes, num_codes - 1):
        raise CheckpointError(
            f"the codec {conversion.codec} has {num_codes} tokens, and the network of "
            f"{conversion.path} {num_symbols} and its absorbing state: it was trained on the "
            "tokens of another codec; give that one by --codec"
        )
    is_legacy = num_symbols == num_codes - 1
    made_from["weights"] = made.weights
    made_from["codec"] = _source_of(conversion.codec)
    config = TokenModelConfig(
        codec=codec.config,
        network=made.network.config,
        prediction="log_score",
        is_legacy_mask=is_legacy,
        name=_model_name(conversion.out),
        summary="AIDD as published: draws tokens of WavTokenizer from the tokens on both sides",
        good_for="gaps of 100 ms to 750 ms in the kind of music it was trained on",
        sources=tuple(_SOURCES.values()),
    )
    write_token_model(
        folder,
        config=config,
        codec=codec,
        network=made.network,
        dtype=None,
        facts={"made_from": made_from},
    )
    notes = [
        "no file tells which codec a network was trained with; if fills are noise, it was another "
        "one of the same size"
    ]
    if is_legacy:
        notes.append(
            f"the absorbing state takes the place of the codec's token {num_codes - 1}, as "
            "published: that token is never drawn"
        )
    return notes


def _source_of(codec: Path) -> dict[str, Any]:
    """Return what the codec was made from, or what tells it from others."""
    facts = describe_folder(codec)
    kept = {k: v for k, v in facts.made_from.items() if k in ("file", "sha256")}
    return kept or {"digest": facts.digest}


def _model_name(folder: Path) -> str:
    """A model's name from its folder's; only letters that every terminal has."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(os.path.abspath(folder)).name)[:64]
    return name if re.search(r"[A-Za-z0-9]", name) else "aidd"


# ---- The card ----


def _card(
    name: str,
    layout: Layout,
    facts: ModelFacts,
    made_from: Mapping[str, Any],
    checks: list[str],
    notes: list[str],
) -> str:
    """Return the text of the card; without a date, so that equal files make equal models."""
    rate = facts.frame_rate or 0.0
    rows = [f"- {key}: {value}" for key, value in facts.sizes.items()]
    source = [
        f"- file: `{_plain(str(made_from['file']))}`, {made_from['num_bytes']:,} bytes",
        f"- SHA-256: `{made_from['sha256']}`",
    ]
    if made_from.get("weights"):
        what = "moving average (ema)" if made_from["weights"] == "ema" else "weights themselves"
        source.append(f"- of the file: the {what}")
    if isinstance(of_codec := made_from.get("codec"), dict):
        told = ", ".join(f"{key} `{_plain(str(value))}`" for key, value in of_codec.items())
        source.append(f"- codec: {told}")
    used = (
        f"weft inpaint song.wav --gap 12.3-12.6 --model {_plain(name)}"
        if layout == "aidd"
        else f"weft models convert checkpoint.pth --codec {_plain(name)} --out aidd"
    )
    return "\n".join(
        [
            f"# {_plain(name)}",
            "",
            f"{_NAMES[layout]}, converted from weights that others published. Weft changed their "
            "form, not their values:",
            "weight normalisation is folded, and what only training needs was left out.",
            "",
            f"- sound: mono, {facts.sample_rate} Hz, {rate:g} frames a second",
            f"- parameters: {facts.num_parameters:,}",
            *rows,
            "",
            "## Made from",
            "",
            *source,
            "",
            "## Licence",
            "",
            "The published code has the MIT licence. The licence of the weights, and of the "
            "recordings they were",
            "trained on, is not known to Weft: look where you got the file before you use or pass "
            "on this model.",
            "",
            "## Checked",
            "",
            *(f"- {line}" for line in checks),
            "",
            *(("## Notes", "", *(f"- {note}" for note in notes), "") if notes else ()),
            "## Use",
            "",
            "```sh",
            used,
            "```",
            "",
            "## Sources",
            "",
            *(f"- {text}" for key, text in _SOURCES.items() if key in ("wavtokenizer", layout)),
            "",
        ]
    )


def _plain(text: str) -> str:
    """A foreign name in a card: no markup, nothing that a terminal would act on."""
    return re.sub(r"[^\w .,()+=@-]", "?", text)[:200]


# ---- The folder ----


@contextmanager
def _new_folder(out: Path, is_overwritten: bool) -> Iterator[Path]:
    """Yield a hidden folder beside ``out``; it gets that name when the block ends well."""
    target = Path(os.path.realpath(out))
    _check_target(target, out, is_overwritten)
    folder = target.parent / f".weft-{secrets.token_hex(8)}"
    try:
        folder.mkdir()
    except OSError as error:
        raise OutputError(f"{out}: not written: {error.strerror}") from error
    try:
        yield folder
        _rename(folder, target, out, is_overwritten)
    except OSError as error:
        if isinstance(error, WeftError):
            raise
        raise OutputError(f"{out}: not written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_target(target: Path, out: Path, is_overwritten: bool) -> None:
    """Find out before the work whether the folder can be made; nothing but a model is replaced."""
    if not target.parent.is_dir():
        raise OutputError(f"{out}: there is no folder {target.parent}; create it first")
    if not target.exists():
        return
    if not target.is_dir():
        raise OutputError(f"{out}: is a file; choose another name for the model's folder")
    names = sorted(p.name for p in target.iterdir())
    if not names:
        return
    if not is_overwritten:
        raise OutputError(f"{out}: already exists; choose another name, or add --overwrite")
    other = [name for name in names if not _MODEL_FILE.fullmatch(name)]
    if other or CONFIG_FILE not in names:
        what = f"it holds {other[0]!r}" if other else f"it lacks {CONFIG_FILE}"
        raise OutputError(
            f"{out}: is no model alone ({what}), and was left as it is; choose another name"
        )


def _rename(folder: Path, target: Path, out: Path, is_overwritten: bool) -> None:
    """Give the new folder its name; a model that was there goes last."""
    old = target.parent / f"{folder.name}.old"
    if target.exists():
        _check_target(target, out, is_overwritten)
        os.rename(target, old)
    try:
        os.rename(folder, target)
    except OSError:
        if old.exists():
            os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def to_json(converted: Converted) -> dict[str, Any]:
    """Return a conversion as JSON."""
    facts = {k: v for k, v in asdict(converted.facts).items() if k not in ("made_from", "folder")}
    return {
        "folder": str(converted.facts.folder),
        **facts,
        "made_from": dict(converted.made_from),
        "checks": list(converted.checks),
        "notes": list(converted.notes),
    }
