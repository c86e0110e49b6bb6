"""Models of our own, from a directory or from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from sightsound.models.pretrained import InitReport, copy_matching, load_pretrained

HUB_PREFIX = "hf:"


def load_model(source: str | Path) -> nn.Module:
    """The model saved in a directory or shared as "hf:owner/name", in evaluation mode.

    Strict: no missing or left-over tensor, no pickle; a directory needs no network.

    Raises:
        FileNotFoundError: the directory, its weights or its configuration are missing.
        ValueError: weights and configuration do not belong together, or a malformed hub name.
    """
    if str(source).startswith(HUB_PREFIX):
        return load_pretrained(_snapshot(str(source).removeprefix(HUB_PREFIX)))
    return load_pretrained(source)


def initialise_from(model: nn.Module, source: str | Path) -> InitReport:
    """Start `model` from the model at `source`, in place, and say what was not taken over.

    Classes and input sizes may differ: positions are interpolated, the classifier stays at its
    start if the classes are others.

    Raises:
        FileNotFoundError, ValueError: as `load_model`.
    """
    return copy_matching(model, load_model(source))


def _snapshot(name: str) -> str:
    """The local folder of a hub model, downloaded if it is not in the cache."""
    if name.count("/") != 1 or not all(name.split("/")):
        raise ValueError(
            f"hub model {HUB_PREFIX + name!r} is not of the form 'hf:owner/name', "
            "such as 'hf:someone/mbt-audioset'"
        )
    from huggingface_hub import snapshot_download

    return snapshot_download(name, allow_patterns=["*.safetensors", "*.json", "README.md"])
