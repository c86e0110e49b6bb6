"""`.npz` archives whose arrays have the names of a Flax program."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PREFIXES = ("params/", "param/", "sd/")
SIBLINGS = ("inputs/", "out/", "eval/")  # of fixtures: not weights


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged or no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {str(path)!r}; give the .npz file")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{str(path)!r} is not an .npz archive; accepted are such archives and Scenic's own "
            "files checkpoint_N"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except Exception as error:  # zipfile, zlib and NumPy's reading of headers raise ten kinds
        raise ValueError(f"{str(path)!r} is damaged or not an .npz archive: {error}") from error
    foreign = next((key for key, value in arrays.items() if isinstance(value, bytes)), None)
    if foreign is not None:
        raise ValueError(
            f"{str(path)!r} is a zip archive with {foreign!r} in it, not NumPy's .npz; no other "
            "zip archive is accepted"
        )
    return arrays


def weights_of(arrays: Mapping[str, Any], prefixes: Sequence[str] = PREFIXES) -> dict[str, Any]:
    """The model's arrays by their bare names: prefix taken off, siblings left out."""
    for prefix in prefixes:
        if any(key.startswith(prefix) for key in arrays):
            return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    return {key: value for key, value in arrays.items() if not key.startswith(SIBLINGS)}
