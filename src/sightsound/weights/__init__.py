"""Weights from elsewhere: other projects' checkpoints and shared models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sightsound.registry import WEIGHTS, resolve

if TYPE_CHECKING:
    from sightsound.models.pretrained import Pretrained


def load_foreign(kind: str, path: str | Path, config: dict | None = None) -> Pretrained:
    """A model of ours with the weights of another project's checkpoint; it takes our tensors.

    Args:
        kind: whose checkpoint, a key of `registry.WEIGHTS`.
        path: the file, or folder of files, as its authors write it, or a `.npz` file with their
            names as keys.
        config: what the arrays do not tell, as its authors write it. What neither tells is assumed
            and listed in `info.provenance["inferred"]`.

    Raises:
        ValueError: unknown kind, or the file does not hold such a model.
    """
    return resolve(WEIGHTS, kind, kind="kind of weights")(Path(path), config)
