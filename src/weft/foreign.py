"""Weights that others published: read without ever running what is in the file.

The usual format of published weights is a pickle, and a pickle is a program. So it is read in a
process of its own that torch tells to build tensors and plain containers only, with limits on
memory, time and file size; what comes back is a safetensors file, which holds numbers and nothing
else. Objects that training code leaves in its checkpoints (settings, NumPy arrays of a sampler's
state) are replaced by empty stand-ins, and their code is neither imported nor run. Tensors are then
checked: names, shapes and finite values.

Where the tensors lie in a checkpoint is said by ``select``, places that are tried in order: ``a/b``
is the dictionary, or list, under the key ``b`` of that under ``a``, and ``""`` is the outermost
dictionary. The tensors of a list are named by their index. Places joined by ``+`` are all taken,
except those that are not there, and each of their tensors is named ``place:name``.
"""

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.errors import CheckpointError, OutputError
from weft.folders import default_cache

if TYPE_CHECKING:
    import torch

SELECT = ("state_dict", "model", "")
"""Where the tensors of a checkpoint are looked for, in this order: the usual keys of training code,
then the outermost dictionary."""
SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".th")
"""Endings of files that can be read; all but the first are pickles."""
MAX_BYTES = 16 * 2**30
"""Largest file that is read."""
_MAX_TENSORS = 100_000
_MAX_PICKLE_BYTES = 2**28  # names and shapes alone: the numbers lie beside it
_INERT_PACKAGES = {
    "argparse", "jsonargparse", "lightning", "lightning_fabric", "numpy", "omegaconf", "pathlib",
    "pytorch_lightning", "typing",
}  # fmt: skip
_INERT_NAMES = {"copy_reg._reconstructor", "copyreg._reconstructor", "__builtin__.object"}
_KEEP = "keep="
_METADATA = {"format": "pt"}  # transformers wants to be told
_HINT = "get the file again from where its authors publish it"


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read weights {path}: {error.strerror or error}") from error


def read_state_dict(
    path: Path,
    *,
    select: Sequence[str] = SELECT,
    keep: Sequence[str] = (),
    timeout_s: float = 300.0,
) -> dict[str, "torch.Tensor"]:
    """Read the tensors of a file of weights; a pickle is converted once and kept in the cache.

    Args:
        path: a file that ends as `SUFFIXES` say.
        select: where a pickle's tensors lie, see the module. A safetensors file has no such levels.
        keep: how the names of tensors begin that are wanted; all of them unless given. What is not
            wanted is not checked either.
        timeout_s: longest time for the conversion of a pickle, in seconds.

    Returns:
        Finite tensors by name, on the CPU, in the file's types.

    Raises:
        CheckpointError: the file is missing, damaged, hostile, too large or holds no tensors, or a
            value is NaN or infinite.
    """
    if _suffix(path) == ".safetensors":
        return _read_safetensors(path, told=path, keep=keep)
    request = _request(select, keep)
    key = hashlib.sha256(f"{digest_of(path)} 1 {' '.join(request)}".encode()).hexdigest()
    folder = _cache_folder()
    if folder is not None:
        kept = folder / f"{key}.safetensors"
        # What is kept may have been cut off by a full disk: then it is made again.
        with contextlib.suppress(CheckpointError):
            if kept.is_file():
                return _read_safetensors(kept, told=path)
        return convert(path, kept, select=select, keep=keep, timeout_s=timeout_s)
    with tempfile.TemporaryDirectory(prefix="weft-") as scratch:
        passing = Path(scratch) / "weights.safetensors"
        return convert(path, passing, select=select, keep=keep, timeout_s=timeout_s)


def convert(
    path: Path,
    out: Path,
    *,
    select: Sequence[str] = SELECT,
    keep: Sequence[str] = (),
    timeout_s: float = 300.0,
) -> dict[str, "torch.Tensor"]:
    """Write the tensors of a pickle, or of a safetensors file, as a new safetensors file.

    The new file appears under its name only when it is whole and checked; one that is there already
    is replaced.

    Args:
        path: weights to read, see `read_state_dict`.
        out: the file to write.
        select: see `read_state_dict`.
        keep: see `read_state_dict`.
        timeout_s: see `read_state_dict`.

    Returns:
        What was written.

    Raises:
        CheckpointError: see `read_state_dict`.
        OutputError: the new file cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".weft-", dir=out.parent) as scratch:
            passing = Path(scratch) / "weights.safetensors"
            if _suffix(path) == ".safetensors":
                from safetensors.torch import save_file

                found = _read_safetensors(path, told=path, keep=keep)
                save_file(found, passing, metadata=_METADATA)
            else:
                _unpickle_apart(path, passing, _request(select, keep), timeout_s)
            state = _read_safetensors(passing, told=path)
            os.replace(passing, out)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}") from error
    return state


def fit(
    state: Mapping[str, "torch.Tensor"],
    module: "torch.nn.Module",
    *,
    told: Path,
    rename: Callable[[str], str | None] = lambda name: name,
    optional: tuple[str, ...] = (".num_batches_tracked",),
) -> None:
    """Load tensors into a network, all of them or none.

    Args:
        state: tensors by name, see `read_state_dict`.
        module: the network.
        told: the file to name in errors.
        rename: the network's name of a tensor, None for one to leave out.
        optional: how the names of tensors end that may be missing.

    Raises:
        CheckpointError: a tensor is missing, has another shape, or is not one of the network's.
    """
    renamed = {new: tensor for name, tensor in state.items() if (new := rename(name)) is not None}
    wanted = module.state_dict()
    for name in [n for n in wanted if n.endswith(optional) and n not in renamed]:
        renamed[name] = wanted[name]
    for names, trouble in (
        (sorted(set(wanted) - set(renamed)), "lacks"),
        (sorted(set(renamed) - set(wanted)), "holds, beyond this network,"),
    ):
        if names:
            raise CheckpointError(
                f"{told} {trouble} {len(names)} tensors, such as {names[0][:200]!r}: it is no "
                f"checkpoint of {type(module).__name__}; {_HINT}"
            )
    for name, tensor in renamed.items():
        if tensor.shape != wanted[name].shape:
            raise CheckpointError(
                f"{told}: {name!r} has the shape {tuple(tensor.shape)}, and "
                f"{type(module).__name__} needs {tuple(wanted[name].shape)}"
            )
    module.load_state_dict(renamed)


def _suffix(path: Path) -> str:
    """Ending of a file that can be read."""
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise CheckpointError(f"cannot read weights {path}: {what}")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CheckpointError(
            f"cannot tell what {path} is by its ending; weights end with {', '.join(SUFFIXES)}"
        )
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise CheckpointError(
            f"{path} has {size / 2**30:.1f} GiB, and weights of more than "
            f"{MAX_BYTES / 2**30:g} GiB are not read"
        )
    return suffix


def _cache_folder() -> Path | None:
    """Folder for converted weights, None where none can be made."""
    folder = default_cache() / "weights"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    return None


def _request(select: Sequence[str], keep: Sequence[str]) -> list[str]:
    """What is asked of the process apart: places, then what names begin with."""
    return [*select, *(_KEEP + start for start in keep)]


def _read_safetensors(
    path: Path, *, told: Path, keep: Sequence[str] = ()
) -> dict[str, "torch.Tensor"]:
    """Read safetensors, with every value checked; the format's reader checks the layout."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if _is_kept(name, keep)]  # noqa: SIM118
            state = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{told} is damaged ({error}); {_HINT}") from error
    if not state:
        what = f"no tensor whose name begins with {' or '.join(keep)}" if keep else "no tensors"
        raise CheckpointError(f"{told} holds {what}")
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{told}: {name[:200]!r} holds NaN or infinite values; {_HINT}")
    return state


def _unpickle_apart(path: Path, out: Path, request: Sequence[str], timeout_s: float) -> None:
    """Convert a pickle in a process of its own."""
    roots = [str(Path(__file__).parents[1]), *(p for p in sys.path if p)]
    surroundings = {k: v for k, v in os.environ.items() if k in ("PATH", "SYSTEMROOT", "TMPDIR")}
    surroundings |= {
        "PYTHONPATH": os.pathsep.join(roots), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    command = [sys.executable, "-P", "-W", "ignore", "-m", "weft.foreign"]
    try:
        done = subprocess.run(
            [*command, str(path.resolve()), str(out.resolve()), str(int(timeout_s) + 1), *request],
            capture_output=True,
            timeout=timeout_s,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CheckpointError(
            f"{path} could not be read within {timeout_s:g} s: it may be damaged; {_HINT}"
        ) from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        why = lines[-1][:500] if lines else f"the reader ended with status {done.returncode}"
        raise CheckpointError(f"{path} cannot be read as weights: {why}; {_HINT}")


# ---- What runs in the process of its own ----


class _Inert:
    """Stands for an object whose code is not run: takes anything, does nothing."""

    def __new__(cls, *args: Any, **named: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *args: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _names_in(path: Path) -> set[str]:
    """Names that a pickle refers to, read without running it."""
    import pickletools
    import zipfile

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inner = [entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")]
            for entry in inner:
                if entry.file_size > _MAX_PICKLE_BYTES:
                    raise ValueError(f"its pickle unpacks to {entry.file_size / 2**20:,.0f} MiB")
            streams = [archive.read(entry) for entry in inner]
        return {str(a).replace(" ", ".") for s in streams for a in _global_arguments(s)}
    names: set[str] = set()
    with path.open("rb") as stream:
        # The older format is four or five pickles one after another, then the numbers.
        for _ in range(5):
            with contextlib.suppress(ValueError):
                for code, argument, _ in pickletools.genops(stream):
                    if code.name == "GLOBAL":
                        names.add(str(argument).replace(" ", "."))
    return names


def _global_arguments(stream: bytes) -> list[object]:
    import pickletools

    return [a for code, a, _ in pickletools.genops(stream) if code.name == "GLOBAL"]


def _is_inert(name: str) -> bool:
    return name.split(".")[0] in _INERT_PACKAGES or name in _INERT_NAMES


def _limit(size: int, timeout_s: int) -> None:
    """Bound what this process may use, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        for which, most in (
            (resource.RLIMIT_CPU, timeout_s),
            (resource.RLIMIT_DATA, 2 * 2**30 + 4 * size),
            (resource.RLIMIT_FSIZE, 2 * size + 2**24),
            (resource.RLIMIT_CORE, 0),
        ):
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(which, (most, most))


def _is_kept(name: str, keep: Sequence[str]) -> bool:
    return not keep or name.startswith(tuple(keep))


def _tensors_at(tree: object, place: str) -> dict[str, "torch.Tensor"]:
    """Tensors in the dictionary or list at a place, none where there is no such place."""
    import torch

    node = tree
    for key in filter(None, place.split("/")):
        node = node.get(key) if isinstance(node, Mapping) else None
    if isinstance(node, list | tuple):
        node = dict(enumerate(node))
    if not isinstance(node, Mapping):
        return {}
    return {str(k): v for k, v in node.items() if isinstance(v, torch.Tensor)}


def _pick(tree: object, request: Sequence[str]) -> dict[str, "torch.Tensor"]:
    """Tensors under the first of the places that has some."""
    select = [item for item in request if not item.startswith(_KEEP)]
    keep = [item.removeprefix(_KEEP) for item in request if item.startswith(_KEEP)]
    for item in select:
        places = item.split("+")
        found = {
            name if len(places) == 1 else f"{place}:{name}": tensor
            for place in places
            for name, tensor in _tensors_at(tree, place).items()
            if _is_kept(name, keep)
        }
        if found:
            return found
    kind = type(tree).__name__
    keys = sorted(map(str, tree))[:8] if isinstance(tree, Mapping) else []
    wanted = f" whose names begin with {' or '.join(keep)}" if keep else ""
    raise ValueError(f"no tensors{wanted} under {select} of a {kind} with the keys {keys}")


def _plain(name: str, tensor: "torch.Tensor") -> "torch.Tensor":
    """A tensor of its own memory, or an error where it claims more than the file holds."""
    import torch

    if len(name) > 512 or not name.isprintable():
        raise ValueError(f"a tensor has an impossible name, {name[:64]!r}")
    is_stored = tensor.device.type == "cpu" and tensor.layout == torch.strided
    if not is_stored or tensor.is_quantized or tensor.is_complex():
        raise ValueError(f"{name!r} is no plain tensor of numbers")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"{name!r} claims {tuple(tensor.shape)}, more than is stored for it")
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _unpickle(path: Path, out: Path, request: Sequence[str]) -> None:
    """Read a pickle with torch's restricted reader and write safetensors."""
    import torch
    from safetensors.torch import save_file

    inert: list[Any] = [(_Inert, name) for name in sorted(_names_in(path)) if _is_inert(name)]
    with torch.serialization.safe_globals(inert):
        tree = torch.load(path, map_location="cpu", weights_only=True)
    found = _pick(tree, request)
    if len(found) > _MAX_TENSORS:
        raise ValueError(f"it holds {len(found)} tensors, more than {_MAX_TENSORS}")
    plain = {name: _plain(name, tensor) for name, tensor in found.items()}
    save_file(plain, out, metadata=_METADATA)


def _main(arguments: Sequence[str]) -> int:
    source, out, timeout_s, *request = arguments
    _limit(Path(source).stat().st_size, int(timeout_s))
    try:
        _unpickle(Path(source), Path(out), request)
    except Exception as error:  # anything a damaged file makes the reader raise
        print(f"{type(error).__name__}: {_reason(str(error))}", file=sys.stderr)
        return 1
    return 0


def _reason(message: str) -> str:
    """The line of an error that says what is wrong; torch's have advice around it."""
    lines = [line.strip() for line in message.splitlines() if line.strip()] or [""]
    for i, line in enumerate(lines):
        if "GLOBAL" in line:
            return line.split(". ")[0]
        if line.endswith("WeightsUnpickler error:") and i + 1 < len(lines):
            return lines[i + 1].split(". ")[0]
    return lines[0]


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
