"""Writes Flax checkpoint files for tests: just enough of msgpack, from its specification."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


def packed(value: Any) -> bytes:
    """`value` in msgpack; arrays as Flax writes them."""
    if isinstance(value, np.ndarray):
        return extension(1, array_payload(value.shape, value.dtype.name, value.tobytes()))
    if isinstance(value, Mapping):
        return header("table", len(value)) + b"".join(
            packed(part) for pair in value.items() for part in pair
        )
    if isinstance(value, list | tuple):
        return header("list", len(value)) + b"".join(map(packed, value))
    if isinstance(value, str):
        return header("text", len(value.encode())) + value.encode()
    if isinstance(value, bytes):
        return header("bytes", len(value)) + value
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    return bytes([value]) if 0 <= value < 128 else b"\xd3" + struct.pack(">q", value)


def array_payload(shape: tuple[int, ...], dtype: str, content: bytes) -> bytes:
    """What the extension of an array holds."""
    return packed([list(shape), dtype, content])


def extension(kind: int, payload: bytes) -> bytes:
    """An extension object with its 32-bit length."""
    return b"\xc9" + struct.pack(">IB", len(payload), kind) + payload


def header(kind: str, length: int, *, wide: bool = False) -> bytes:
    """The start of a table, list, text or bytes object; `wide` takes the longest form."""
    short = {"table": (0x80, 16), "list": (0x90, 16), "text": (0xA0, 32), "bytes": (0, 0)}
    long = {"table": 0xDF, "list": 0xDD, "text": 0xDB, "bytes": 0xC6}
    first, most = short[kind]
    if length < most and not wide:
        return bytes([first + length])
    return bytes([long[kind]]) + struct.pack(">I", length)


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"a/b": x} -> {"a": {"b": x}}."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split("/")
        table = tree
        for parent in parents:
            table = table.setdefault(parent, {})
        table[last] = value
    return tree


def train_state(params: Mapping[str, np.ndarray], *, step: int = 7) -> dict[str, Any]:
    """Scenic's TrainState with momentum, keys in the order in which it stores them."""
    momentum = nested({name: {"momentum": value} for name, value in params.items()})
    scalar = np.array(step, np.int32)
    return {
        "accum_train_time": np.array(0, np.int32),
        "global_step": scalar,
        "model_state": {},
        "optimizer": {
            "state": {"param_states": momentum, "step": scalar},
            "target": nested(params),
        },
        "rng": np.array([1, 2], np.uint32),
    }


def write_checkpoint(path: Path, params: Mapping[str, np.ndarray], *, step: int = 7) -> Path:
    """A file such as Scenic writes, not held in memory as a whole."""
    with path.open("wb") as file:
        _write(train_state(params, step=step), file)
    return path


def _write(tree: dict[str, Any], file: BinaryIO) -> None:
    file.write(header("table", len(tree)))
    for name, value in tree.items():
        file.write(packed(name))
        if isinstance(value, dict):
            _write(value, file)
        else:
            file.write(packed(value))


def random_params(shapes: Mapping[str, list[int]], *, seed: int = 0) -> dict[str, np.ndarray]:
    """Small random float32 arrays of these shapes."""
    rng = np.random.default_rng(seed)
    return {
        name: 0.02 * rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()
    }


def shrunken(shapes: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """The shapes of ViT-B with a sixteenth of its width; positions, patches, heads, classes stay.

    width 768 -> 48, head width 64 -> 4, MLP 3072 -> 192.
    """
    smaller = {768: 48, 64: 4, 3072: 192}
    return {name: [smaller.get(size, size) for size in shape] for name, shape in shapes.items()}
