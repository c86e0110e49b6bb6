"""UniFormer's checkpoints -> `models.unimodal.UniFormerClassifier`.

Both kinds are read: of clips (Kinetics, Something-Something) and of pictures (ImageNet), whose
kernels get an axis of time. Names are the official ones; sizes come from the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sightsound.media.logmel import front_end
from sightsound.models.unimodal import UniFormerClassifier
from sightsound.weights.released import (
    Checkpoint,
    count,
    fill_model,
    finish,
    left_over,
    read_checkpoint,
    recognised,
    settings_of,
    video_front_end,
    without_classifier,
)
from sightsound.weights.tensors import MEAN, inflated

PUBLISHED_HEAD_WIDTH = 64
PUBLISHED_SHAPE = (16, 224, 224)
KINETICS_CLASSES = 400

_LAYER = r"blocks([1-4])\.(\d+)"
_LOCAL, _GLOBAL = r"blocks([12])\.(\d+)", r"blocks([34])\.(\d+)"
_OURS = r"video.stage\1.layers.\2"
TABLE = {
    r"patch_embed([1-4])\.proj": r"video.stage\1.patches",
    r"patch_embed([1-4])\.norm": r"video.stage\1.norm",
    rf"{_LAYER}\.pos_embed": rf"{_OURS}.positions",
    rf"{_LOCAL}\.norm1": rf"{_OURS}.neighbour_norm",
    rf"{_LOCAL}\.conv1": rf"{_OURS}.inlet",
    rf"{_LOCAL}\.attn": rf"{_OURS}.neighbours",
    rf"{_LOCAL}\.conv2": rf"{_OURS}.outlet",
    rf"{_LOCAL}\.norm2": rf"{_OURS}.mlp_norm",
    rf"{_LOCAL}\.mlp\.fc1": rf"{_OURS}.expand",
    rf"{_LOCAL}\.mlp\.fc2": rf"{_OURS}.contract",
    rf"{_GLOBAL}\.norm1": rf"{_OURS}.block.attention_norm",
    rf"{_GLOBAL}\.attn\.qkv": rf"{_OURS}.block.attention.qkv",
    rf"{_GLOBAL}\.attn\.proj": rf"{_OURS}.block.attention.out",
    rf"{_GLOBAL}\.norm2": rf"{_OURS}.block.mlp_norm",
    rf"{_GLOBAL}\.mlp\.fc1": rf"{_OURS}.block.mlp.expand",
    rf"{_GLOBAL}\.mlp\.fc2": rf"{_OURS}.block.mlp.contract",
    "norm": "video.norm",
    "head": "head",
}


def load(path: Path, config: dict | None) -> UniFormerClassifier:
    """The model in a released `.pth`, or in an `.npz` or `.safetensors` file of the same names.

    Args:
        config: an entry of the reference index, or an index. Read are `head_dim`, `input` (B, C, T,
            H, W), `num_classes` (another number than the classifier's leaves that out), and
            `inflation`: what becomes of kernels of pictures, `mean` or `center`.

    `info.provenance` tells what was assumed ("inferred"), what of the file went nowhere ("dropped")
    and what of the model it does not give ("untrained").

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such model, or it does not go with the configuration.
    """
    return convert(read_checkpoint(path), settings_of(config, path, part="uniformer"))


def convert(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> UniFormerClassifier:
    """The model with the tensors of `checkpoint`; `settings` are the `config` of `load`."""
    names = recognised(
        checkpoint,
        [TABLE],
        wanted="video.stage1.patches.weight",
        kind="UniFormer",
        example="patch_embed1.proj.weight",
    )
    state = {ours: checkpoint.tensors[theirs] for theirs, ours in names.items()}
    dropped, inferred = left_over(checkpoint, names), list[str]()
    num_classes = settings.get("num_classes") or len(state.get("head.bias", ()))
    dropped += without_classifier(state, names, num_classes=num_classes)
    heads = {"label": num_classes or KINETICS_CLASSES}
    model = UniFormerClassifier(heads=heads, **_arguments(state, settings, inferred))
    wanted = model.state_dict()
    # `state` with every kernel of pictures inflated, and zeros for biases that q, k, v lack.
    method = settings.get("inflation", MEAN)
    flat = [n for n, t in state.items() if t.ndim == 4 and n in wanted and wanted[n].ndim == 5]
    kernels = {name: inflated(state[name], wanted[name].shape[2], method=method) for name in flat}
    if flat:
        inferred.append(
            f"a model of pictures: {len(flat)} kernels got an axis of time (inflation {method})"
        )
    absent = [name for name in wanted if name.endswith("qkv.bias") and name not in state]
    if settings.get("qkv_bias") is False and absent:
        inferred.append("queries, keys and values have no biases: zeros")
        kernels |= {name: wanted[name].new_zeros(wanted[name].shape) for name in absent}
    state = {**state, **kernels}
    untrained = fill_model(model, state, path=checkpoint.path)
    (frames, height, width), usual = model.video.shape, front_end("ast").video
    short_side = round(min(height, width) * usual.short_side / usual.height)
    numbers = video_front_end((frames, height, width), inferred, short_side=short_side)
    source = f"uniformer: {checkpoint.path.name}"
    told = dict(inferred=inferred, dropped=dropped, untrained=untrained)
    finish(model, numbers, source=source, **told)
    return model


def _arguments(
    state: Mapping[str, Tensor], settings: Mapping[str, Any], inferred: list[str]
) -> dict[str, Any]:
    """Constructor arguments that tensors and settings tell; what is assumed goes to `inferred`."""
    stages = [f"video.stage{number}" for number in range(1, 5)]
    missing = [stage for stage in stages if f"{stage}.patches.bias" not in state]
    if missing:
        raise ValueError(
            f"the checkpoint has no {missing[0]}.patches.bias (our name); is it whole?"
        )
    widths = [len(state[f"{stage}.patches.bias"]) for stage in stages]
    depths = [count(state, rf"{stage}\.layers\.(\d+)\.") for stage in stages]
    for name, found in {"dims": widths, "depth": depths}.items():
        if list(settings.get(name, found)) != found:
            raise ValueError(
                f"the configuration says {name} is {settings[name]}, the tensors {found}; is it "
                "the configuration of this checkpoint?"
            )
    if "head_dim" not in settings:
        inferred.append(f"assumed: attention heads {PUBLISHED_HEAD_WIDTH} wide, as published")
    if "input" not in settings:
        frames, height, width = PUBLISHED_SHAPE
        inferred.append(
            f"assumed: clips of {frames} frames of {height} x {width}; others are accepted"
        )
    first = state.get("video.stage1.layers.0.expand.bias", ())
    return dict(
        video_shape=tuple(settings.get("input", (0, 0, *PUBLISHED_SHAPE))[2:]),
        widths=widths,
        depths=depths,
        head_width=settings.get("head_dim", PUBLISHED_HEAD_WIDTH),
        mlp_ratio=len(first) / widths[0] or 4.0,
    )
