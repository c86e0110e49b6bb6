"""Official MBT checkpoints (Scenic, `projects/mbt`) -> `models.mbt.MBT`.

Shapes come from the arrays; the configuration says what they cannot: order of modalities, fusion
layer, kind of fusion, classifier, frame sampling. Where there is none, or only a part of it,
`scenic_config.py` fills it in. Numbers agree with the official code to 5e-6.

Official names: "rgb" is our video, "spectrogram" our audio.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sightsound.models.mbt import MBT
from sightsound.nn.patch import sample_frames
from sightsound.types import AUDIO, VIDEO
from sightsound.weights.archive import read_archive, weights_of
from sightsound.weights.flax import read_train_state
from sightsound.weights.scenic_config import (
    OURS,
    RGB,
    SPECTROGRAM,
    SUFFIXES,
    Arrays,
    completed,
    experiment,
    front_end_for,
    in_words,
    no_mbt,
    num_classes,
    num_layers,
    num_positions,
    shape_of,
    video_patch,
)

REMEDY = (
    "give Scenic's experiment configuration, or a part of it such as {'model': {'fusion_layer': 8}}"
)


def load(path: Path, config: dict | None) -> MBT:
    """The model in a checkpoint of Scenic, or in an `.npz` file with its names.

    `path` is a file `checkpoint_N`, a folder of them (the highest N is taken) or an `.npz` file
    with names such as `Transformer/encoderblock_0/...`. `config` is Scenic's experiment
    configuration, a part of it such as {"model": {"fusion_layer": 8}}, or an index entry with it
    under "config"; what it leaves open is read off the arrays or assumed, and told in
    `info.provenance["inferred"]`. What the model has no use for is listed in
    `info.provenance["dropped"]`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or arrays are missing or do not fit.
    """
    config = None if config is None else experiment(config, remedy=REMEDY)
    if path.suffix == ".npz" or zipfile.is_zipfile(path):
        arrays = read_archive(path)
        inputs = {key: arrays[f"inputs/{key}"].shape for key in OURS if f"inputs/{key}" in arrays}
        model = convert(weights_of(arrays), config, input_shapes=inputs)
        model.info.provenance["source"] = f"scenic: {path.name}"
        return model.eval()
    state = read_train_state(path)
    model = convert(state.params, config)
    dropped = [f"{name} (not a parameter)" for name in state.left_out]
    model.info.provenance["dropped"] += dropped
    model.info.provenance |= {"source": f"scenic: {state.path.name}", "step": state.step}
    return model.eval()


def convert(
    arrays: Arrays,
    config: dict | None,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> MBT:
    """An MBT with `arrays` (Scenic's bare names) as its weights, and with a front end.

    Args:
        config: Scenic's experiment configuration, a part of it, or `None`.
        input_shapes: {"rgb": (B, T, H, W, 3), "spectrogram": (B, F, M, 1)} if known. Otherwise the
            configuration's sizes, made to agree with the number of positions.
    """
    inputs = input_shapes or {}
    config, filled = completed(arrays, config, inputs=inputs)
    arguments = model_arguments(arrays, config, input_shapes=inputs)
    with torch.device("meta"):  # its random start would be overwritten
        model = MBT(**arguments)
    model.info.task = task_of(config)
    read = _Reader(arrays)
    state = _state(read, model)
    wanted = model.state_dict()
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, but the configuration asks for "
                f"{tuple(wanted[name].shape)}; is it the configuration of this checkpoint?"
            )
    model.load_state_dict(state, assign=True)  # no copy: the tensors are nobody else's
    front_end, assumed = front_end_for(arguments)
    model.info.front_end = front_end.to_dict()
    model.info.provenance["inferred"] = in_words(arguments, model.info.task, filled) + assumed
    model.info.provenance["dropped"] = read.unread()
    return model


def model_arguments(
    arrays: Arrays, config: dict, *, input_shapes: Mapping[str, tuple[int, ...]]
) -> dict:
    """Constructor arguments of `MBT` for these arrays and this complete configuration."""
    official = config["model"]
    modalities = tuple(OURS[name] for name in official["modality_fusion"])
    block = _first_block(arrays)
    kernel = _key(block, "MultiHeadDotProductAttention_0/query/kernel")
    width, num_heads, _ = shape_of(arrays, kernel, 3)
    share = bool(official.get("share_encoder", False))
    arguments = dict(
        heads=_heads(config, num_classes(arrays)),
        modalities=modalities,
        width=width,
        depth=num_layers(arrays),
        num_heads=num_heads,
        mlp_width=shape_of(arrays, _key(block, "MlpBlock_0/Dense_0/kernel"), 2)[1],
        fusion=(
            "bottleneck"
            if official.get("use_bottleneck", False)
            else "self_attention"
            if share
            else "cross_attention"
        ),
        fusion_layer=official["fusion_layer"] if len(modalities) > 1 else 0,
        share_weights=share and len(modalities) > 1,
        classifier=official["classifier"],
        representation_size=None,
        dropout=official.get("dropout_rate", 0.1),
        attention_dropout=official.get("attention_dropout_rate", 0.1),
        stochastic_depth=official.get("stochastic_droplayer_rate") or 0.0,
        test_with_bottlenecks=official.get("test_with_bottlenecks", True),
    )
    if "bottleneck" in arrays:  # the true count: n_bottlenecks + 1 with classifier `token`
        arguments["bottleneck_tokens"] = shape_of(arrays, "bottleneck", 3)[1]
    if "pre_logits/bias" in arrays:
        arguments["representation_size"] = shape_of(arrays, "pre_logits/bias", 1)[0]
    arguments |= {"video_shape": None, "audio_shape": None}
    if VIDEO in modalities:
        arguments |= _video_arguments(arrays, config, input_shapes.get(RGB))
    if AUDIO in modalities:
        arguments |= _audio_arguments(arrays, config, input_shapes.get(SPECTROGRAM))
    return arguments


def _first_block(arrays: Arrays) -> str:
    """The name of layer 0, whichever modalities there are."""
    for key in sorted(arrays):
        if match := re.search(r"Transformer/(encoderblock_0\w*)/", key):
            return match[1]
    raise no_mbt("transformer layers (Transformer/encoderblock_0/...)", arrays)


def task_of(config: dict) -> str:
    """Our task of a Scenic configuration: single, multi or heads."""
    name = config.get("model_name", "")
    return "multi" if "multilabel" in name else "heads" if "multihead" in name else "single"


def _heads(config: dict, num_classes: int) -> dict[str, int]:
    """One head "label", or those of `class_splits` under their `split_names`."""
    data = config.get("dataset_configs", {})
    splits = data.get("class_splits")
    if not splits:
        return {"label": num_classes}
    names = data.get("split_names") or [f"head_{index}" for index in range(len(splits))]
    return dict(zip(names, splits, strict=True))


def _video_arguments(arrays: Arrays, config: dict, input_shape: tuple[int, ...] | None) -> dict:
    patch = video_patch(arrays)
    temporal = config["model"].get("temporal_encoding_config") or {}
    sampling = None
    if patch[0] == 1 and temporal.get("method", "temporal_sampling") == "temporal_sampling":
        sampling = temporal.get("n_sampled_frames")
    if input_shape is not None:
        shape = input_shape[1:4]
    else:
        frames = config["dataset_configs"]["num_frames"]
        used = len(sample_frames(frames, sampling)) if sampling else frames // patch[0]
        cells = num_positions(arrays, RGB, config["model"]["classifier"]) // max(used, 1)
        shape = (frames, *_picture(cells, patch[1:], config["dataset_configs"].get("crop_size")))
    return dict(
        video_shape=tuple(shape),
        video_patch=tuple(patch),
        video_channels=arrays["embedding/kernel"].shape[-2],
        frame_sampling=sampling,
    )


def _picture(cells: int, patch: tuple[int, int], crop_size: int | None) -> tuple[int, int]:
    """(H, W) of `cells` patches: as high as the crop if that goes in, else as square as can be."""
    rows = (crop_size or 0) // patch[0]
    if not rows or cells % rows:
        rows = max(n for n in range(1, math.isqrt(cells) + 1) if cells % n == 0)
    return rows * patch[0], cells // rows * patch[1]


def _audio_arguments(arrays: Arrays, config: dict, input_shape: tuple[int, ...] | None) -> dict:
    patch_time, patch_mel, channels, _ = shape_of(arrays, "embedding_spectrogram/kernel", 4)
    if input_shape is not None:
        shape = input_shape[1:3]
    else:
        mels = config["dataset_configs"]["spec_shape"][1]
        cells = num_positions(arrays, SPECTROGRAM, config["model"]["classifier"])
        shape = (cells // max(mels // patch_mel, 1) * patch_time, mels)
    return dict(
        audio_shape=tuple(shape), audio_patch=(patch_time, patch_mel), audio_channels=channels
    )


def _key(block: str, name: str) -> str:
    return f"Transformer/{block}/{name}"


class _Reader:
    """Arrays as tensors of their own, remembering which were read."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self.read: set[str] = set()

    def __call__(self, key: str, *axes: int) -> Tensor:
        """The array `key`, which has one of these numbers of axes."""
        if key not in self.arrays:
            raise ValueError(
                f"the checkpoint has no {key!r}, which its configuration asks for; is it whole, "
                "and the configuration its own?"
            )
        shape_of(self.arrays, key, *axes)
        array = self.arrays[key]
        if array.dtype.kind != "f":
            raise ValueError(f"the checkpoint's {key!r} has type {array.dtype}; weights are floats")
        self.read.add(key)
        return torch.from_numpy(np.array(array, dtype=np.float32))

    def unread(self) -> list[str]:
        return sorted(set(self.arrays) - self.read)


def _state(read: _Reader, model: MBT) -> dict[str, Tensor]:
    """Our state dict. Official weights are (in, out), ours (out, in)."""
    state = _layer_norm(read, "Transformer/encoder_norm", "norm")
    state |= _linear(read, "output_projection", "head")
    if model.info.arguments["representation_size"] is not None:
        state |= _linear(read, "pre_logits", "pre_logits.0")
    if model.fusion is not None and hasattr(model.fusion, "tokens"):
        state["fusion.tokens"] = read("bottleneck", 3)
    for name in model.modalities:
        state |= _stream(read, model, name)
    own = len(model.stream(model.modalities[0]).blocks)
    for index in range(len(model.shared_blocks)):
        state |= _block(read, f"encoderblock_{own + index}", f"shared_blocks.{index}")
    return state


def _stream(read: _Reader, model: MBT, name: str) -> dict[str, Tensor]:
    """Tensors of one modality: patches, CLS, positions, own layers."""
    suffix = SUFFIXES[name]
    kernel = read(f"embedding{suffix}/kernel", 4, 5)  # (*patch, C, D) -> (D, C * prod(patch))
    state = {
        f"{name}.patches.projection.weight": kernel.movedim((-1, -2), (0, 1)).flatten(1),
        f"{name}.patches.projection.bias": read(f"embedding{suffix}/bias", 1),
        f"{name}.positions.table": read(f"Transformer/posembed_input{suffix}/pos_embedding", 3),
    }
    stream = model.stream(name)
    if stream.cls is not None:
        alone = len(model.modalities) == 1  # then its CLS is called `cls`, whatever the modality
        state[f"{name}.cls"] = read("cls" if name == VIDEO or alone else "clsspectrogram", 3)
    for layer in range(len(stream.blocks)):
        state |= _block(read, f"encoderblock_{layer}{suffix}", f"{name}.blocks.{layer}")
    return state


def _block(read: _Reader, block: str, ours: str) -> dict[str, Tensor]:
    """One transformer layer; query, key and value become one matrix."""
    attention = _key(block, "MultiHeadDotProductAttention_0")
    parts = [f"{attention}/{part}" for part in ("query", "key", "value")]
    out = read(f"{attention}/out/kernel", 3)  # (h, d, D)
    return {
        **_layer_norm(read, _key(block, "LayerNorm_0"), f"{ours}.attention_norm"),
        f"{ours}.attention.qkv.weight": _joined(
            {part: read(f"{part}/kernel", 3).flatten(1).T for part in parts}  # from (D, h, d)
        ),
        f"{ours}.attention.qkv.bias": _joined(
            {part: read(f"{part}/bias", 2).flatten() for part in parts}
        ),
        f"{ours}.attention.out.weight": out.flatten(0, 1).T.contiguous(),
        f"{ours}.attention.out.bias": read(f"{attention}/out/bias", 1),
        **_layer_norm(read, _key(block, "LayerNorm_1"), f"{ours}.mlp_norm"),
        **_linear(read, _key(block, "MlpBlock_0/Dense_0"), f"{ours}.mlp.expand"),
        **_linear(read, _key(block, "MlpBlock_0/Dense_1"), f"{ours}.mlp.contract"),
    }


def _joined(parts: dict[str, Tensor]) -> Tensor:
    """Tensors of one shape, one below the other."""
    if len({tensor.shape for tensor in parts.values()}) > 1:
        raise ValueError(f"the checkpoint's {', '.join(parts)} differ in shape; is it damaged?")
    return torch.cat(tuple(parts.values()))


def _linear(read: _Reader, theirs: str, ours: str) -> dict[str, Tensor]:
    return {
        f"{ours}.weight": read(f"{theirs}/kernel", 2).T.contiguous(),
        f"{ours}.bias": read(f"{theirs}/bias", 1),
    }


def _layer_norm(read: _Reader, theirs: str, ours: str) -> dict[str, Tensor]:
    return {f"{ours}.weight": read(f"{theirs}/scale", 1), f"{ours}.bias": read(f"{theirs}/bias", 1)}
