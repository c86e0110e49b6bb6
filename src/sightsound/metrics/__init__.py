"""Scores of predictions, and statistics about them."""

import importlib
import warnings


def __getattr__(name: str) -> object:
    """What this module held in version 0.1; goes with version 0.3."""
    scores = importlib.import_module("sightsound.metrics.scores")
    if name.startswith("_") or not hasattr(scores, name):
        raise AttributeError(f"module 'sightsound.metrics' has no attribute {name!r}")
    text = f"sightsound.metrics.{name} is now sightsound.metrics.scores.{name}"
    warnings.warn(f"{text}; the old name goes with version 0.3", DeprecationWarning, stacklevel=2)
    return getattr(scores, name)
