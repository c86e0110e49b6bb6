"""Tables from a name to the object that implements it; an entry is imported when it is used.

Adding a fusion, backbone, objective or front end is one file and one line here.
"""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path

MODELS = {
    "mbt": "sightsound.models.mbt:MBT",
}

FUSIONS = {
    "bottleneck": "sightsound.models.fusion.bottleneck:BottleneckFusion",
    "cross_attention": "sightsound.models.fusion.cross_attention:CrossAttentionFusion",
    "self_attention": "sightsound.models.fusion.self_attention:SelfAttentionFusion",
}

OBJECTIVES = {
    "classification": "sightsound.objectives.classification:Classification",
}

AUGMENTATIONS = {
    "video": "sightsound.data.augment.video:augment_video",
    "audio": "sightsound.data.augment.audio:augment_audio",
    "mixup": "sightsound.data.augment.mixup:mixup",
    "modality_dropout": "sightsound.data.augment.modality_dropout:drop_modalities",
}

WEIGHTS = {
    "scenic": "sightsound.weights.scenic:load",
    "vit": "sightsound.weights.vit:load",
}


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """A `ValueError` that names what was given, what is accepted and the nearest valid name."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {kind} {name!r}; known: {', '.join(known)}.{hint}")


def nearest_path(path: Path) -> str:
    """The question with the nearest name in the folder of a missing `path`, or nothing."""
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" Did you mean {str(path.parent / near[0])!r}?" if near else ""


def resolve(table: Mapping[str, str], name: str, *, kind: str) -> object:
    """The object behind `name` in `table`.

    Raises:
        ValueError: `name` is not in the table; the message names the nearest entry.
    """
    if name not in table:
        raise unknown_name(kind, name, table)
    module, attribute = table[name].split(":")
    return getattr(importlib.import_module(module), attribute)
