"""Flax's checkpoint files (`checkpoint_5`, msgpack) -> arrays by name, without JAX or Flax.

    {global_step, optimizer: {target: parameters, state: momentum}, model_state, rng, ...}

An array is msgpack's extension type 1, and in it again msgpack: [shape, name of the type, bytes].

`msgpack` reads the file front to back. Only parameters are kept; the optimiser's momentum, as large
again, is jumped over. Lengths above the limits below, or above the file's own, are refused before
room is made for them.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

ARRAY = 1  # Flax's extension type of arrays
CHUNKED = "__msgpack_chunked_array__"  # marks a table of pieces: Flax cuts arrays above 2**30 bytes
PARAMS = ("optimizer/target", "params")  # the latter where the optimiser is Optax's
STEPS = ("global_step", "step")

# Far above any checkpoint of a transformer.
MAX_BYTES = 2**31 - 1  # of one array
MAX_DEPTH = 32
_LIMITS = {"max_str_len": 1024, "max_array_len": 16, "max_map_len": 4096}  # lists are shapes
_LIMITS |= {"raw": False, "strict_map_key": True}

_WHOLE = "int8 int16 int32 int64 uint8 uint16 uint32 uint64"
_DTYPES = {name: np.dtype(name) for name in f"bool {_WHOLE} float16 float32 float64".split()}
_DTYPES["bfloat16"] = np.dtype(np.uint16)  # the upper half of a float32

_REASONS = {  # of errors that have no words, or too many
    msgpack.OutOfData: "it ends too early",
    msgpack.FormatError: "what begins there is no msgpack",
    msgpack.StackError: "its tables are nested too deep",
    msgpack.ExtraData: "an array is followed by more",
    UnicodeDecodeError: "a name is not UTF-8",
}
_SIGNATURES = {
    rb"PK\x03\x04": "it is a zip archive, such as NumPy (.npz) and PyTorch write",
    rb"\x1f\x8b": "it is compressed by gzip",
    rb"\x89HDF": "it is an HDF5 file",
    rb"\x80[\x02-\x05]": "it is a Python pickle, which is never opened",
}


@dataclass(frozen=True)
class TrainState:
    """What is of use in a checkpoint without the program that wrote it."""

    step: int | None
    params: dict[str, np.ndarray]
    """{name with slashes: array}; bfloat16 has become float32."""
    left_out: list[str] = field(default_factory=list)
    """Entries that are not parameters, such as "optimizer/state" and "rng"."""
    path: Path = Path()
    """The file that was read."""


def read_train_state(path: str | Path) -> TrainState:
    """The parameters in the file `path`, or in the last `checkpoint_N` of the folder `path`.

    Raises:
        FileNotFoundError: no such file, or a folder without checkpoints.
        ValueError: the file is damaged, cut short, or not a checkpoint of Flax.
    """
    path = checkpoint_file(Path(path))
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        most = min(size, MAX_BYTES)
        hooks = {"ext_hook": _array, "object_pairs_hook": _table}
        unpacker = msgpack.Unpacker(file, max_buffer_size=most, **hooks, **_LIMITS)
        try:
            entries = _table(_entries(unpacker))
            if left := size - unpacker.tell():
                raise ValueError(f"{left} bytes follow after its end")
            left_out = [name for name, value in entries.items() if value is _SKIPPED]
            tables = [_params(name, entries.get(name, {}), left_out) for name in PARAMS]
            tables = [table for table in tables if table]
            if not tables:
                found = ", ".join(map(repr, left_out[:5]))[:200] or "nothing"
                raise ValueError(f"it holds no parameters ({', '.join(PARAMS)}) but {found}")
            if len(tables) > 1:
                raise ValueError("it holds parameters twice")
            steps = [_step(entries[name]) for name in STEPS if name in entries]
            return TrainState(steps[0] if steps else None, tables[0], left_out, path)
        except (ValueError, msgpack.UnpackException) as error:
            what = f"{_REASONS.get(type(error), error)}, at byte {unpacker.tell()} of {size}"
            file.seek(0)
            start = file.read(4)
            foreign = (kind for form, kind in _SIGNATURES.items() if re.match(form, start))
            raise ValueError(
                f"{str(path)!r} is not a whole checkpoint of Flax: {next(foreign, what)}; give the "
                "file checkpoint_N as it was written"
            ) from error


def checkpoint_file(path: Path) -> Path:
    """`path` itself, or the `checkpoint_N` with the highest N if it is a folder."""
    if path.is_dir():
        names = (re.fullmatch(r"checkpoint_(\d+)", entry.name) for entry in path.iterdir())
        steps = {int(match[1]): path / match[0] for match in names if match}
        path = steps[max(steps)] if steps else path
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint file at {str(path)!r}; give a file checkpoint_N, or a folder of them"
        )
    return path


# ---------------------------------------------------------------------------- tables

_SKIPPED = object()


def _entries(unpacker: msgpack.Unpacker, parent: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of the table that comes next; `_SKIPPED` for values of no use."""
    try:
        length = unpacker.read_map_header()
    except ValueError as error:
        raise ValueError(f"{parent.strip('/') or 'the file'} is not a table") from error
    for _ in range(length):
        name = parent + _text(unpacker.unpack())
        if name == "optimizer":
            yield from _entries(unpacker, "optimizer/")
        elif name in PARAMS + STEPS:
            yield name, unpacker.unpack()
        else:
            unpacker.skip()
            yield name, _SKIPPED


def _table(pairs: Iterable[tuple[Any, Any]]) -> Any:
    """A table with these entries, or the array that was cut into it."""
    table: dict[str, Any] = {}
    for key, value in pairs:
        if _text(key) in table:
            raise ValueError(f"the name {key[:200]!r} comes twice")
        table[key] = value
    return _joined(table) if CHUNKED in table else table


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError("a name is not a text")
    return key


def _params(name: str, tree: Any, left_out: list[str]) -> dict[str, np.ndarray]:
    """Nested tables of arrays as one, their names joined by slashes."""
    if isinstance(tree, dict) and "params" in tree:  # as before Flax's Linen
        left_out += [f"{name}/{other}" for other in tree if other != "params"]
        tree = tree["params"]
    if not isinstance(tree, dict):
        raise ValueError(f"{name} is not a table of parameters")
    params = _table(_leaves(tree))
    for key, value in params.items():
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{f'{name}/{key}'[:200]!r} is not an array")
    return params


def _leaves(tree: dict[str, Any], parent: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    if depth > MAX_DEPTH:
        raise ValueError(f"its tables are nested more than {MAX_DEPTH} deep")
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{parent}{key}/", depth + 1)
        else:
            yield parent + key, value


def _step(value: Any) -> int:
    if isinstance(value, np.ndarray) and value.shape == ():
        value = value.item()
    if not _is_size(value):
        raise ValueError("its step is not a whole number")
    return value


# ---------------------------------------------------------------------------- arrays


def _array(kind: int, payload: bytes) -> np.ndarray:
    """The array in an extension of msgpack."""
    if kind != ARRAY:
        raise ValueError(f"extension type {kind} is not that of arrays, {ARRAY}")
    match msgpack.unpackb(payload, **_LIMITS):
        case [[*shape], str(name), bytes(content)] if all(map(_is_size, shape)):
            dtype = _DTYPES.get(name)
        case _:
            raise ValueError("an array is not [shape, type, bytes]")
    if dtype is None:
        raise ValueError(f"the type of an array is {name[:60]!r}, not one of {', '.join(_DTYPES)}")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"an array of shape {shape} and type {name} does not hold its bytes")
    array = np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype)
    if name == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(shape)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_BYTES


def _joined(table: dict[str, Any]) -> np.ndarray:
    """The array that Flax cut: {"shape": {"0": 3, ...}, "chunks": {"0": (N,) array, ...}}."""
    shape, chunks = (_listed(table.get(key)) for key in ("shape", "chunks"))
    dtypes = {getattr(chunk, "dtype", None) for chunk in chunks}
    fit = len(dtypes) == 1 and None not in dtypes and all(map(_is_size, shape))
    if not fit or math.prod(shape) != sum(chunk.size for chunk in chunks):
        raise ValueError("the pieces of a large array do not fit together")
    return np.concatenate([chunk.reshape(-1) for chunk in chunks]).reshape(shape)


def _listed(table: Any) -> list[Any]:
    """[a, b] of {"0": a, "1": b}, which is how Flax writes a tuple."""
    table = table if isinstance(table, dict) else {}
    return [table.get(str(index)) for index in range(len(table))]
