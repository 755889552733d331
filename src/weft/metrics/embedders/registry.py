"""Embedders by name, and where their weights are looked for."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from weft.errors import ConfigError
from weft.metrics.embedders.base import Embedder

WEIGHTS_VARIABLE = "WEFT_WEIGHTS"
"""Environment variable that names the folder of other people's weights."""


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """One embedder that there is, or could be with its weights."""

    name: str
    """Name in tables."""
    summary: str
    """What it is good for, in a line."""
    files: tuple[str, ...] = ()
    """Files and folders that are looked for, the first found is used; none where weights are
    shipped."""
    origin: str = ""
    """Where its authors publish the weights."""


@final
@dataclass(frozen=True, kw_only=True)
class Availability:
    """Whether an embedder can be loaded here."""

    entry: Entry
    """The embedder."""
    is_found: bool
    """Whether its weights are at hand."""
    path: Path | None
    """Where; None where they are shipped or not found."""


def _same_as_safetensors(*files: str) -> tuple[str, ...]:
    """Names of the files, then of the same tensors as safetensors."""
    return (*files, str(Path(files[0]).with_suffix(".safetensors")))


_PANNS = "the PANNs of Kong et al., Zenodo record 3987831"
_VGGISH = "release v0.1 of harritaylor/torchvggish on GitHub"
_LAION = "lukewys/laion_clap on Hugging Face"
_ENTRIES = (
    Entry(name="corpus-ssl", summary="shipped default: self-supervised, with classes"),
    Entry(name="corpus-ssl-witness", summary="shipped: the default trained from another seed"),
    Entry(
        name="vggish",
        summary="Frechet audio distance as first defined: before the last ReLU, no PCA",
        files=_same_as_safetensors("vggish-10086976.pth"),
        origin=_VGGISH,
    ),
    Entry(
        name="vggish-relu",
        summary="the same after the last ReLU, as some published numbers have it",
        files=_same_as_safetensors("vggish-10086976.pth"),
        origin=_VGGISH,
    ),
    *(
        Entry(
            name=f"panns-cnn14-{rate}",
            summary=f"AudioSet tagger at {rate.removesuffix('k')} kHz: Frechet distance, KL, IS",
            files=_same_as_safetensors(file, file.replace("=", "%3D")),
            origin=_PANNS,
        )
        for rate, file in (
            ("8k", "Cnn14_8k_mAP=0.416.pth"),
            ("16k", "Cnn14_16k_mAP=0.438.pth"),
            ("32k", "Cnn14_mAP=0.431.pth"),
        )
    ),
    Entry(
        name="passt",
        summary="AudioSet transformer: KL of windows, realism",
        files=_same_as_safetensors("passt-s-f128-p16-s10-ap.476-swa.pt"),
        origin="release v0.0.1-audioset of kkoutini/PaSST on GitHub",
    ),
    Entry(
        name="clap-audio",
        summary="sound and text, general: CLAP score, Frechet distance",
        files=(*_same_as_safetensors("630k-audioset-best.pt"), "clap-htsat-unfused"),
        origin=f"{_LAION}, or the folder laion/clap-htsat-unfused there",
    ),
    Entry(
        name="clap-music",
        summary="sound and text, trained on music",
        files=_same_as_safetensors("music_audioset_epoch_15_esc_90.14.pt"),
        origin=_LAION,
    ),
    Entry(
        name="clap-larger-music",
        summary="sound and text, trained on music; not the weights of clap-music",
        files=("larger_clap_music",),
        origin="the folder laion/larger_clap_music on Hugging Face",
    ),
    Entry(
        name="encodec-24k",
        summary="encoder of a codec, 75 vectors a second, mono",
        files=("encodec_24khz",),
        origin="the folder facebook/encodec_24khz on Hugging Face",
    ),
    Entry(
        name="encodec-48k",
        summary="encoder of a codec, 150 vectors a second, stereo",
        files=("encodec_48khz",),
        origin="the folder facebook/encodec_48khz on Hugging Face",
    ),
)
_BY_NAME = {entry.name: entry for entry in _ENTRIES}


def available(weights: Path | None = None) -> tuple[Availability, ...]:
    """List all embedders and whether their weights are at hand.

    Args:
        weights: folder of weights; that of `WEIGHTS_VARIABLE` unless told.
    """
    listed = []
    for entry in _ENTRIES:
        path = _locate(entry, weights)
        is_found = path is not None or not entry.files
        listed.append(Availability(entry=entry, is_found=is_found, path=path))
    return tuple(listed)


def find_embedder(name: str, *, weights: Path | None = None, device: str = "cpu") -> Embedder:
    """Load an embedder.

    Args:
        name: one of those that `available` lists.
        weights: the file or folder that holds the embedder's weights, or a folder in which it is
            looked for under its published name; the folder of `WEIGHTS_VARIABLE` unless told.
        device: where to work, such as ``cpu`` or ``cuda``.

    Raises:
        ConfigError: there is no such embedder, or its weights are not found.
        CheckpointError: the weights are damaged or those of another network.
        MissingDependencyError: a package is needed.
    """
    if name not in _BY_NAME:
        raise ConfigError(f"there is no embedder {name!r}; there are {', '.join(_BY_NAME)}")
    entry = _BY_NAME[name]
    if not entry.files:
        from weft.metrics.embedders import corpus_ssl

        return corpus_ssl.load(witness=name == "corpus-ssl-witness")
    path = _locate(entry, weights)
    if path is None:
        folder = _folder(weights)
        where = f"in {folder}" if folder else f"nowhere, as {WEIGHTS_VARIABLE} names no folder"
        raise ConfigError(
            f"the weights of {name} were not found: looked for {' or '.join(entry.files)} {where}. "
            f"They are published as {entry.origin}; put them into a folder and name it in "
            f"{WEIGHTS_VARIABLE}"
        )
    return _loader(name)(path, name, device)


def _folder(weights: Path | None) -> Path | None:
    """The folder of weights, told or from the environment."""
    told = os.environ.get(WEIGHTS_VARIABLE)
    return weights if weights is not None else Path(told).expanduser() if told else None


def _locate(entry: Entry, weights: Path | None) -> Path | None:
    """Path of an embedder's weights, None where they are not found."""
    folder = _folder(weights)
    if folder is None or not entry.files:
        return None
    if weights is not None and (weights.is_file() or (weights / "config.json").is_file()):
        return weights
    paths = (folder / file for file in entry.files)
    return next((path for path in paths if path.exists()), None)


def _loader(name: str) -> Callable[[Path, str, str], Embedder]:
    """What loads an embedder; its module, and with it torch, is imported only now."""
    family = name.split("-")[0]
    if family == "vggish":
        from weft.metrics.embedders import vggish

        return lambda path, name, device: vggish.load(
            path, has_relu=name == "vggish-relu", device=device
        )
    if family == "passt":
        from weft.metrics.embedders import passt

        return lambda path, name, device: passt.load(path, device=device)
    if family == "panns":
        from weft.metrics.embedders import panns

        return lambda path, name, device: panns.load(path, name, device=device)
    if family == "clap":
        from weft.metrics.embedders import clap

        return lambda path, name, device: clap.load(path, name, device=device)
    from weft.metrics.embedders import encodec

    return lambda path, name, device: encodec.load(path, name, device=device)
