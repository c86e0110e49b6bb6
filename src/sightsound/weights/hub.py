"""Models by name: a directory, the Hugging Face hub, or an image ViT to start from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sightsound.models.pretrained import InitReport, Pretrained, copy_matching, load_pretrained
from sightsound.registry import nearest_path
from sightsound.weights.vit import Rules, initialise_from_vit

HUB_PREFIX = "hf:"
VIT_PREFIX = "vit:"
MODEL_FILES = ("*.safetensors", "*.json", "README.md")


def load_model(source: str | Path) -> Pretrained:
    """The model saved in a directory or shared as "hf:owner/name", in evaluation mode.

    Strict: no missing or left-over tensor, no pickle; a directory needs no network.

    Raises:
        FileNotFoundError: the directory, its weights or its configuration are missing.
        ValueError: weights and configuration do not belong together, or a malformed hub name.
    """
    if str(source).startswith(HUB_PREFIX):
        return load_pretrained(snapshot(str(source).removeprefix(HUB_PREFIX)))
    return load_pretrained(source)


def initialise_from(model: Pretrained, source: str | Path, *, faithful: bool = False) -> InitReport:
    """Start `model` from the model at `source`, in place, and say what was not taken over.

    Classes and input sizes may differ: positions are interpolated, the classifier stays at its
    start if the classes are others.

    Args:
        source: as for `load_model`, or an image ViT: "vit:FILE", "vit:hf:owner/name".
        faithful: start from a ViT as the official code does, see `weights/vit.py`.

    Raises:
        FileNotFoundError, ValueError: as `load_model` and `initialise_from_vit`.
    """
    if not str(source).startswith(VIT_PREFIX):
        return copy_matching(model, load_model(source))
    name = str(source).removeprefix(VIT_PREFIX)
    if name.startswith(HUB_PREFIX):
        name = snapshot(name.removeprefix(HUB_PREFIX), files=["*.safetensors", "config.json"])
    return initialise_from_vit(model, Path(name).expanduser(), rules=Rules(faithful=faithful))


def check_sources(sources: Sequence[str]) -> None:
    """`FileNotFoundError` if weights to start from are not there, as far as is seen offline."""
    for source in sources:
        path = source.removeprefix(VIT_PREFIX)
        if not path.startswith(HUB_PREFIX) and not Path(path).expanduser().exists():
            hint = nearest_path(Path(path))
            raise FileNotFoundError(
                f"no weights to start from at {path!r}; --init takes a run, a model directory, "
                f"hf:owner/name, or an image ViT as vit:FILE.{hint}"
            )


def snapshot(name: str, *, files: Sequence[str] = MODEL_FILES) -> str:
    """The local folder of a hub model, downloaded if it is not in the cache."""
    if name.count("/") != 1 or not all(name.split("/")):
        raise ValueError(
            f"hub model {HUB_PREFIX + name!r} is not of the form 'hf:owner/name', "
            "such as 'hf:someone/mbt-audioset'"
        )
    from huggingface_hub import snapshot_download

    return snapshot_download(name, allow_patterns=list(files))
