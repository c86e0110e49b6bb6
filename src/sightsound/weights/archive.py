"""`.npz` archives whose arrays have the names of a Flax program."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PREFIXES = ("params/", "param/", "sd/")
SIBLINGS = ("inputs/", "out/", "eval/")  # of fixtures: not weights
MAX_BYTES = 2**34  # of all arrays unpacked: far above any checkpoint of a transformer


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, no such file, or more than `MAX_BYTES` when unpacked.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {str(path)!r}; give the .npz file")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{str(path)!r} is not an .npz archive; accepted are such archives and Scenic's own "
            "files checkpoint_N"
        )
    try:
        size = _unpacked_bytes(path)
        arrays = _unpacked(path) if size <= MAX_BYTES else {}
    except Exception as error:  # zipfile, zlib and NumPy's reading of headers raise ten kinds
        raise ValueError(f"{str(path)!r} is damaged or not an .npz archive: {error}") from error
    if size > MAX_BYTES:
        raise ValueError(
            f"{str(path)!r} is {size:,} bytes when unpacked; at most {MAX_BYTES:,} are accepted: "
            "no checkpoint of a transformer is as large"
        )
    foreign = next((key for key, value in arrays.items() if isinstance(value, bytes)), None)
    if foreign is not None:
        raise ValueError(
            f"{str(path)!r} is a zip archive with {foreign!r} in it, not NumPy's .npz; no other "
            "zip archive is accepted"
        )
    return arrays


def _unpacked_bytes(path: Path) -> int:
    """What the archive says of itself; `zipfile` reads no more of an entry than it says."""
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def _unpacked(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def weights_of(arrays: Mapping[str, Any], prefixes: Sequence[str] = PREFIXES) -> dict[str, Any]:
    """The model's arrays by their bare names: prefix taken off, siblings left out."""
    prefix = prefix_of(arrays, prefixes)
    if prefix:
        return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    return {key: value for key, value in arrays.items() if not key.startswith(SIBLINGS)}


def prefix_of(names: Iterable[str], prefixes: Sequence[str] = PREFIXES) -> str:
    """The first of `prefixes` that a name has; nothing if none does."""
    names = list(names)
    return next((p for p in prefixes if any(name.startswith(p) for name in names)), "")
