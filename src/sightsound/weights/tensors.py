"""Tensors in a file of another project, whichever container it is, and their way into a network.

The content decides, not the file's name: `.npz`, `.safetensors`, PyTorch's `.pth` (tensors only, no
pickled objects) and, with h5py, Keras's `.h5`.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sightsound.library_errors import load_tensors
from sightsound.registry import nearest_path, unknown_name
from sightsound.weights.archive import read_archive

Network = TypeVar("Network", bound=nn.Module)
ACCEPTED = ".npz, .safetensors, PyTorch's .pth, or Keras's .h5"
_H5_START = b"\x89HDF"
_PICKLE_START = b"\x80"
COUNTER = ".num_batches_tracked"  # of batch norms; a number of training steps, not a weight
WRAPPERS = ("model_state", "state_dict", "model", "model_state_dict")
MEAN, CENTRE = "mean", "center"
INFLATIONS = (MEAN, CENTRE)
_LEAVES = "kernel|scale|weight|bias|running_mean|running_var|num_batches_tracked"


# ---------------------------------------------------------------------------- containers


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], list[str]]:
    """{name in the file: float tensor}, and the names of what a checkpoint holds beside weights.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, or no container known here.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        hint = nearest_path(path)
        raise FileNotFoundError(f"no weights at {str(path)!r}; give the file.{hint}")
    arrays: Mapping[str, Any]
    beside: list[str] = []
    if is_pickled(path):
        arrays, beside = _read_pickle(path)
    elif zipfile.is_zipfile(path):
        arrays = read_archive(path)
    elif is_safetensors(path):
        arrays = read_safetensors(path)
    elif _starts(path, _H5_START):
        arrays = _read_h5(path)
    else:
        raise ValueError(f"{str(path)!r} is in no format that is read; accepted: {ACCEPTED}")
    return {name: as_tensor(array) for name, array in arrays.items()}, beside


def is_pickled(path: Path) -> bool:
    """Whether it is PyTorch's: a zip archive with a pickle inside, NumPy's has arrays, or one."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    return _starts(path, _PICKLE_START) and not is_safetensors(path)  # its length may be 0x80


def _starts(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def is_safetensors(path: Path) -> bool:
    """The length of a JSON table, in eight bytes, and the table."""
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors as they are; `ValueError` if the file is damaged."""
    return load_tensors(path, remedy="fetch it again")


def _read_pickle(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """PyTorch's state dict, also from under one of `WRAPPERS`, and the names of everything else.

    Nothing that is pickled in the file is run.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(
            f"{str(path)!r} is damaged or holds more than tensors and plain values, which is not "
            f"read: {first}; save its state dict with torch.save(model.state_dict(), FILE)"
        ) from error
    beside: list[str] = []
    content = content if isinstance(content, Mapping) else {}
    inside = next((name for name in WRAPPERS if isinstance(content.get(name), Mapping)), None)
    if inside is not None:
        beside = [name for name in content if name != inside]
        content = content[inside]
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"{str(path)!r} holds no state dict of tensors; save model.state_dict()")
    return tensors, beside + [name for name in content if name not in tensors]


def _read_h5(path: Path) -> dict[str, np.ndarray]:
    """Every data set by its path; the layers of a whole model without the group around them."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{str(path)!r} is an HDF5 file of Keras; reading it needs the package 'h5py', which "
            "is not installed: pip install h5py"
        ) from error
    arrays: dict[str, np.ndarray] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with h5py.File(path, "r") as file:
        file.get("model_weights", file).visititems(keep)
    return arrays


def as_tensor(array: Any) -> Tensor:
    """A float tensor of its own with the numbers of an array."""
    if isinstance(array, Tensor):
        return array.float()
    return torch.from_numpy(np.array(array, dtype=np.float32))


def inflated(kernel: Tensor, frames: int, *, method: str = MEAN) -> Tensor:
    """A kernel of pictures (C', C, h, w) as one of clips (C', C, t, h, w).

    `mean`: it stands at each of the `frames`, divided by their number, so that a still clip gives
    what the picture gives. `center`: in the middle, zeros around.
    """
    if method not in INFLATIONS:
        raise unknown_name("inflation", method, INFLATIONS)
    if method == MEAN:
        return kernel.unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames
    clips = kernel.new_zeros(*kernel.shape[:2], frames, *kernel.shape[2:])
    clips[:, :, frames // 2] = kernel
    return clips


# ---------------------------------------------------------------------------- names


def translated(name: str, table: Mapping[str, str]) -> str | None:
    """Our name of a tensor, by the first pattern of `table`, {a project's name: ours}, it matches.

    Patterns are regular expressions; a leaf such as ".weight" or Flax's "/kernel" may follow, and
    the "module." of PyTorch's data parallelism go before. `None`: no pattern matches.
    """
    for pattern, ours in table.items():
        form = rf"(?:module\.)?(?:{pattern})(?:[/.](?P<leaf>{_LEAVES}))?"
        if match := re.fullmatch(form, name):
            leaf = {"kernel": "weight", "scale": "weight"}.get(match["leaf"], match["leaf"])
            return match.expand(ours) + (f".{leaf}" if leaf else "")
    return None


@dataclass(frozen=True)
class Naming:
    """How one project names the tensors of a network."""

    project: str
    example: str
    """A name that is in every such file."""
    translate: Callable[[str], str | None]
    """From a name in the file to ours; `None`: not a part of our network."""
    convert: Callable[[Tensor], Tensor] = lambda tensor: tensor
    """From the project's order of axes to PyTorch's."""


@dataclass(frozen=True)
class Named:
    """The tensors of a file by our names, and what else the file holds."""

    tensors: dict[str, Tensor]
    dropped: tuple[str, ...]
    project: str


def named(path: str | Path, namings: Iterable[Naming], *, kind: str) -> Named:
    """The tensors in a file by our names, in whichever of `namings` it is.

    Raises:
        FileNotFoundError, ValueError: as `read_tensors`.
        ValueError: none of `namings` has any of the file's names.
    """
    namings, (tensors, _) = list(namings), read_tensors(path)
    for naming in namings:
        ours = {name: naming.translate(name) for name in tensors}
        if any(ours.values()):
            found = {new: naming.convert(tensors[old]) for old, new in ours.items() if new}
            dropped = tuple(old for old, new in ours.items() if not new)
            return Named(found, dropped, naming.project)
    wanted = " or ".join(f"{naming.example!r} ({naming.project})" for naming in namings)
    few = ", ".join(repr(name) for name in list(tensors)[:3])
    raise ValueError(
        f"{str(path)!r} holds no {kind}: names such as {wanted} were expected; its first names: "
        f"{few}"
    )


def fill(encoder: Network, tensors: Mapping[str, Tensor], *, path: str | Path) -> Network:
    """`encoder` with `tensors`, which have its names.

    Raises:
        ValueError: one is missing, too many, or of another shape.
    """
    wanted = {k: v for k, v in encoder.state_dict().items() if not k.endswith(COUNTER)}
    shapes = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted.keys() & tensors.keys()
        if tensors[key].shape != wanted[key].shape
    ]
    found = {
        "missing": wanted.keys() - tensors.keys(),
        "not known": tensors.keys() - wanted.keys(),
        "of another shape": shapes,
    }
    words = [f"{what}: {', '.join(sorted(names)[:3])}" for what, names in found.items() if names]
    if words:
        raise ValueError(
            f"{str(path)!r} does not fit {type(encoder).__name__}; tensors (our names) "
            f"{'; '.join(words)}"
        )
    encoder.load_state_dict(tensors, strict=False)
    return encoder


KERAS_LEAVES = {
    "kernel": "weight",
    "weights": "weight",  # of TensorFlow's slim
    "bias": "bias",
    "biases": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def keras_name(name: str) -> tuple[str, str] | None:
    """(layer, our leaf) of "conv1/conv/kernel:0" -> ("conv1_conv", "weight"); `None`: no such name.

    Keras's own files have each layer's name twice.
    """
    *path, leaf = re.split(r"[/.]", name.removesuffix(":0"))
    half = len(path) // 2
    if path and path[:half] == path[half:]:
        path = path[:half]
    return ("_".join(path), KERAS_LEAVES[leaf]) if path and leaf in KERAS_LEAVES else None


def keras_layout(tensor: Tensor) -> Tensor:
    """Kernels (kh, kw, in, out) -> (out, in, kh, kw), matrices (in, out) -> (out, in)."""
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1)
    return tensor.T if tensor.ndim == 2 else tensor
