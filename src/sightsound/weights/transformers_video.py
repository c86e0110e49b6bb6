"""A folder of a video transformer of `transformers` -> `models.unimodal.OneStream`.

The folder is as `save_pretrained` of transformers writes it. Which models there are, and what they
are here, is in `models/backbones/transformers_video.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sightsound.models.backbones.transformers_video import (
    CONFIG,
    EXTRAS,
    FAMILIES,
    TransformersVideo,
    read_config,
    without_extras,
)
from sightsound.models.unimodal import OneStream
from sightsound.optional import require
from sightsound.registry import unknown_name
from sightsound.weights.released import HEAD, finish, video_front_end
from sightsound.weights.transformers_processor import picture_numbers, processor_numbers

FOLDER_FILE = "model.safetensors"
KIND = "transformers_video"


def load(path: Path, config: dict | None) -> OneStream:
    """The model in a local folder, which computes the logits it has there.

    V-JEPA 2 pools with layers of its own, which are not part of the tokens: its classifier is
    dropped with them. A model without a classifier gets an untrained one of `num_labels` classes.

    Args:
        path: the folder, or `model.safetensors` in it.
        config: what replaces entries of its `config.json`; `None`: nothing.

    `info.provenance` tells what was assumed ("inferred"), what of the file went nowhere ("dropped")
    and what of the model it does not give ("untrained").

    Raises:
        FileNotFoundError: the folder, its configuration or its weights are missing.
        ValueError: no such model.
        ModuleNotFoundError: `transformers` is not installed.
    """
    folder = path if path.is_dir() else path.parent
    values = read_config(folder) | (config or {})
    if not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(f"{str(folder)!r} has no {FOLDER_FILE}; fetch the whole folder")
    shape = _shape(values)
    theirs: Any
    theirs, unknown = _theirs(folder, values, changes=config or {})
    model = OneStream(
        heads={"label": theirs.config.num_labels},
        backbone=KIND,
        options={"config": values},
        video_shape=shape,
    )
    dropped, untrained = _copy(model, theirs)
    pictures, inferred = picture_numbers(processor_numbers(folder)), list[str]()
    same = {name: getattr(pictures, name) for name in ("short_side", "mean", "deviation")}
    numbers = video_front_end(shape, inferred, **same)
    told = dict(inferred=inferred, dropped=[*unknown, *dropped], untrained=untrained)
    finish(model, numbers, source=f"{KIND}: {folder.name}", **told)
    return model


def _shape(values: Mapping[str, Any]) -> tuple[int, int, int]:
    """(T, H, W) of the clips that a configuration is about."""
    name = values.get("model_type")
    if name not in FAMILIES:
        raise unknown_name(f"model_type of a {KIND}", name, FAMILIES)
    family = FAMILIES[name]
    usual = require("transformers", extra="hf").AutoConfig.for_model(name)
    size = values.get(family.size, getattr(usual, family.size))
    height, width = (size, size) if isinstance(size, int) else size
    return values.get(family.frames, getattr(usual, family.frames)), height, width


def _theirs(
    folder: Path, values: Mapping[str, Any], *, changes: Mapping[str, Any]
) -> tuple[nn.Module, list[str]]:
    """Their model, with its classifier where the folder has one, and names it does not know."""
    transformers = require("transformers", extra="hf")
    name = (values.get("architectures") or [""])[0]
    kind = transformers.AutoModel
    if name.endswith("ForVideoClassification"):
        kind = transformers.AutoModelForVideoClassification
    with _silent(transformers.utils.logging):
        model, found = kind.from_pretrained(
            folder,
            config=transformers.AutoConfig.from_pretrained(folder, **changes),
            use_safetensors=True,
            output_loading_info=True,
        )
    missing = [name for name in found["missing_keys"] if not name.startswith(EXTRAS)]
    if missing:
        raise ValueError(
            f"the weights in {str(folder)!r} have no {', '.join(sorted(missing)[:3])}, which its "
            f"{CONFIG} wants; keep both files of one save together"
        )
    return model.float(), sorted(found["unexpected_keys"])


@contextmanager
def _silent(logging: Any) -> Iterator[None]:
    """Without the package's own report of what fitted, and without its bars."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


@torch.no_grad()
def _copy(model: OneStream, theirs: Any) -> tuple[list[str], list[str]]:
    """Their tensors into ours; names of theirs without a place, names of ours without a value."""
    state, video = theirs.state_dict(keep_vars=True), model.video
    assert isinstance(video, TransformersVideo)
    network = without_extras(getattr(theirs, theirs.base_model_prefix, theirs))
    pairs: dict[str, tuple[nn.Module, nn.Module]] = {"": (network, video.network)}
    left: list[str] = []
    reads_ours = hasattr(theirs, "classifier") and not hasattr(theirs, "pooler")
    for name, ours, part in (
        ("fc_norm", "video.norm", video.norm),
        ("classifier", HEAD, model.head),
    ):
        if reads_ours and getattr(theirs, name, None) is not None:
            pairs[name] = (getattr(theirs, name), part)
        else:
            left += [f"{ours}.{leaf}" for leaf in part.state_dict()]
    taken = set()
    for source, target in pairs.values():
        target.load_state_dict(source.state_dict())
        taken |= {id(tensor) for tensor in source.state_dict(keep_vars=True).values()}
    return [name for name, tensor in state.items() if id(tensor) not in taken], left
