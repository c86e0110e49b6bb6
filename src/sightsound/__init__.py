"""Audio-visual video classification: from a folder of videos to a trained, explained model.

    import sightsound

    model = sightsound.load_model("runs/first/model")
    predictor = sightsound.Predictor("runs/first")

Importing the package is fast: torch is imported when one of these names is first used.
"""

import importlib
import sys

from sightsound.moved import OldNames

_LAZY = {"load_model": "sightsound.weights.hub", "Predictor": "sightsound.predict"}

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'sightsound' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])


sys.meta_path.insert(0, OldNames())  # first: what is in a moved folder is there by both names
