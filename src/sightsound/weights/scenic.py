"""Official MBT checkpoints (Scenic, `projects/mbt`) -> `models.mbt.MBT`.

Shapes come from the arrays; the configuration says what they cannot: order of modalities, fusion
layer, kind of fusion, classifier, frame sampling. Numbers agree with the official code to 5e-6.

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

OURS = {"rgb": VIDEO, "spectrogram": AUDIO}
PREFIXES = ("params/", "param/", "sd/")
SIBLINGS = ("inputs/", "out/", "eval/")  # of fixtures: not weights

Arrays = Mapping[str, np.ndarray]


def load(path: Path, config: dict | None) -> MBT:
    """The model of an `.npz` file with Scenic's names, `Transformer/encoderblock_0/...`.

    `config` is Scenic's experiment configuration (its `model` and `dataset_configs` parts are
    read). Tensors that the model has no use for are listed in `info.provenance["dropped"]`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no configuration, or arrays are missing or do not fit.
    """
    parts = config if isinstance(config, dict) else {}
    if config is not None and not isinstance(parts.get("model"), dict):
        found = ", ".join(sorted(parts)[:5]) or repr(config)
        raise ValueError(
            f"config has no 'model' part but {found}; give Scenic's whole experiment configuration"
        )
    if config is None:
        raise ValueError(
            f"{str(path)!r} needs a config: Scenic's experiment configuration as a dict, which "
            "says fusion_layer, modality_fusion and classifier; arrays alone do not tell them"
        )
    arrays = _read_archive(path)
    inputs = {key: arrays[f"inputs/{key}"].shape for key in OURS if f"inputs/{key}" in arrays}
    model = convert(weights_of(arrays), config, input_shapes=inputs)
    model.info.provenance["source"] = f"scenic: {path.name}"
    return model.eval()


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {str(path)!r}; give the .npz file")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{str(path)!r} is not an .npz archive; only such files are read so far")
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def weights_of(arrays: Arrays) -> dict[str, np.ndarray]:
    """The model's arrays by Scenic's bare names: prefix taken off, siblings left out."""
    for prefix in PREFIXES:
        if any(key.startswith(prefix) for key in arrays):
            return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    return {key: value for key, value in arrays.items() if not key.startswith(SIBLINGS)}


def convert(
    arrays: Arrays, config: dict, *, input_shapes: Mapping[str, tuple[int, ...]] | None = None
) -> MBT:
    """An MBT with `arrays` (Scenic's bare names) as its weights.

    Args:
        config: Scenic's experiment configuration.
        input_shapes: {"rgb": (B, T, H, W, 3), "spectrogram": (B, F, M, 1)} if known. Otherwise the
            configuration's sizes, made to agree with the number of positions.
    """
    reader = _Reader(arrays)
    model = MBT(**model_arguments(arrays, config, input_shapes=input_shapes or {}))
    model.info.task = _task(config)
    state = _state(reader, model)
    wanted = model.state_dict()
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, but the configuration asks for "
                f"{tuple(wanted[name].shape)}; is it the configuration of this checkpoint?"
            )
    model.load_state_dict(state)
    model.info.provenance["dropped"] = reader.unread()
    return model


def model_arguments(
    arrays: Arrays, config: dict, *, input_shapes: Mapping[str, tuple[int, ...]]
) -> dict:
    """Constructor arguments of `MBT` for these arrays and this configuration."""
    official = config["model"]
    modalities = tuple(OURS[name] for name in official["modality_fusion"])
    block = _first_block(arrays)
    width, num_heads, _ = arrays[_key(block, "MultiHeadDotProductAttention_0/query/kernel")].shape
    layers = {int(n) for k in arrays for n in re.findall(r"/encoderblock_(\d+)", k)}
    share = bool(official.get("share_encoder", False))
    arguments = dict(
        heads=_heads(config, arrays["output_projection/bias"].shape[0]),
        modalities=modalities,
        width=width,
        depth=len(layers),
        num_heads=num_heads,
        mlp_width=arrays[_key(block, "MlpBlock_0/Dense_0/kernel")].shape[1],
        fusion=_fusion(official, share),
        fusion_layer=official["fusion_layer"] if len(modalities) > 1 else 0,
        share_weights=share and len(modalities) > 1,
        classifier=official["classifier"],
        representation_size=_representation_size(arrays),
        dropout=official.get("dropout_rate", 0.1),
        attention_dropout=official.get("attention_dropout_rate", 0.1),
        stochastic_depth=official.get("stochastic_droplayer_rate") or 0.0,
        test_with_bottlenecks=official.get("test_with_bottlenecks", True),
    )
    if "bottleneck" in arrays:  # the true count: n_bottlenecks + 1 with classifier `token`
        arguments["bottleneck_tokens"] = arrays["bottleneck"].shape[1]
    arguments |= {"video_shape": None, "audio_shape": None}
    if VIDEO in modalities:
        arguments |= _video_arguments(arrays, config, input_shapes.get("rgb"))
    if AUDIO in modalities:
        arguments |= _audio_arguments(arrays, config, input_shapes.get("spectrogram"))
    return arguments


def _first_block(arrays: Arrays) -> str:
    """The name of layer 0, whichever modalities there are."""
    for key in sorted(arrays):
        if match := re.search(r"Transformer/(encoderblock_0\w*)/", key):
            return match[1]
    raise ValueError(
        f"the checkpoint holds no transformer layers (Transformer/encoderblock_0/...), but "
        f"{', '.join(sorted(arrays)[:5])}; is it an MBT of Scenic?"
    )


def _fusion(official: dict, share: bool) -> str:
    if official.get("use_bottleneck", False):
        return "bottleneck"
    return "self_attention" if share else "cross_attention"


def _representation_size(arrays: Arrays) -> int | None:
    return arrays["pre_logits/bias"].shape[0] if "pre_logits/bias" in arrays else None


def _task(config: dict) -> str:
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
    kernel = arrays["embedding/kernel"].shape  # ([t,] h, w, C, D)
    patch = kernel[:-2] if len(kernel) == 5 else (1, *kernel[:2])
    temporal = config["model"].get("temporal_encoding_config") or {}
    sampling = None
    if len(kernel) == 4 and temporal.get("method", "temporal_sampling") == "temporal_sampling":
        sampling = temporal.get("n_sampled_frames")
    if input_shape is not None:
        shape = input_shape[1:4]
    else:
        frames = config["dataset_configs"]["num_frames"]
        used = len(sample_frames(frames, sampling)) if sampling else frames // patch[0]
        cells = _num_positions(arrays, config, "posembed_input") // used
        shape = (frames, *_picture(cells, patch[1:], config["dataset_configs"].get("crop_size")))
    return dict(
        video_shape=tuple(shape),
        video_patch=tuple(patch),
        video_channels=kernel[-2],
        frame_sampling=sampling,
    )


def _picture(cells: int, patch: tuple[int, int], crop_size: int | None) -> tuple[int, int]:
    """(H, W) of `cells` patches: as high as the crop if that goes in, else as square as can be."""
    rows = (crop_size or 0) // patch[0]
    if not rows or cells % rows:
        rows = max(n for n in range(1, math.isqrt(cells) + 1) if cells % n == 0)
    return rows * patch[0], cells // rows * patch[1]


def _audio_arguments(arrays: Arrays, config: dict, input_shape: tuple[int, ...] | None) -> dict:
    patch_time, patch_mel, channels, _ = arrays["embedding_spectrogram/kernel"].shape
    if input_shape is not None:
        shape = input_shape[1:3]
    else:
        mels = config["dataset_configs"]["spec_shape"][1]
        cells = _num_positions(arrays, config, "posembed_input_spectrogram")
        shape = (cells // (mels // patch_mel) * patch_time, mels)
    return dict(
        audio_shape=tuple(shape), audio_patch=(patch_time, patch_mel), audio_channels=channels
    )


def _num_positions(arrays: Arrays, config: dict, name: str) -> int:
    """Rows of a position table that belong to patches."""
    rows = arrays[f"Transformer/{name}/pos_embedding"].shape[1]
    return rows - (config["model"]["classifier"] == "token")


def _key(block: str, name: str) -> str:
    return f"Transformer/{block}/{name}"


class _Reader:
    """Arrays as tensors, remembering which were read."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self.read: set[str] = set()

    def __call__(self, key: str) -> Tensor:
        if key not in self.arrays:
            raise ValueError(
                f"the checkpoint has no {key!r}, which its configuration asks for; is it the "
                "configuration of this checkpoint?"
            )
        self.read.add(key)
        return torch.from_numpy(np.array(self.arrays[key], dtype=np.float32))

    def unread(self) -> list[str]:
        return sorted(set(self.arrays) - self.read)


def _state(read: _Reader, model: MBT) -> dict[str, Tensor]:
    """Our state dict. Official weights are (in, out), ours (out, in)."""
    state = _layer_norm(read, "Transformer/encoder_norm", "norm")
    state |= _linear(read, "output_projection", "head")
    if model.info.arguments["representation_size"] is not None:
        state |= _linear(read, "pre_logits", "pre_logits.0")
    if model.fusion is not None and hasattr(model.fusion, "tokens"):
        state["fusion.tokens"] = read("bottleneck")
    for name in model.modalities:
        state |= _stream(read, model, name)
    own = len(model.stream(model.modalities[0]).blocks)
    for index in range(len(model.shared_blocks)):
        state |= _block(read, f"encoderblock_{own + index}", f"shared_blocks.{index}")
    return state


def _stream(read: _Reader, model: MBT, name: str) -> dict[str, Tensor]:
    """Tensors of one modality: patches, CLS, positions, own layers."""
    suffix = "" if name == VIDEO else "_spectrogram"
    kernel = read(f"embedding{suffix}/kernel")  # (*patch, C, D) -> (D, C * prod(patch))
    state = {
        f"{name}.patches.projection.weight": kernel.movedim((-1, -2), (0, 1)).flatten(1),
        f"{name}.patches.projection.bias": read(f"embedding{suffix}/bias"),
        f"{name}.positions.table": read(f"Transformer/posembed_input{suffix}/pos_embedding"),
    }
    stream = model.stream(name)
    if stream.cls is not None:
        alone = len(model.modalities) == 1  # then its CLS is called `cls`, whatever the modality
        state[f"{name}.cls"] = read("cls" if name == VIDEO or alone else "clsspectrogram")
    for layer in range(len(stream.blocks)):
        state |= _block(read, f"encoderblock_{layer}{suffix}", f"{name}.blocks.{layer}")
    return state


def _block(read: _Reader, block: str, ours: str) -> dict[str, Tensor]:
    """One transformer layer; query, key and value become one matrix."""
    attention = _key(block, "MultiHeadDotProductAttention_0")
    parts = ("query", "key", "value")
    kernels = [read(f"{attention}/{part}/kernel").flatten(1).T for part in parts]  # (D, h, d)
    out = read(f"{attention}/out/kernel")  # (h, d, D)
    return {
        **_layer_norm(read, _key(block, "LayerNorm_0"), f"{ours}.attention_norm"),
        f"{ours}.attention.qkv.weight": torch.cat(kernels),
        f"{ours}.attention.qkv.bias": torch.cat(
            [read(f"{attention}/{part}/bias").flatten() for part in parts]
        ),
        f"{ours}.attention.out.weight": out.flatten(0, 1).T,
        f"{ours}.attention.out.bias": read(f"{attention}/out/bias"),
        **_layer_norm(read, _key(block, "LayerNorm_1"), f"{ours}.mlp_norm"),
        **_linear(read, _key(block, "MlpBlock_0/Dense_0"), f"{ours}.mlp.expand"),
        **_linear(read, _key(block, "MlpBlock_0/Dense_1"), f"{ours}.mlp.contract"),
    }


def _linear(read: _Reader, theirs: str, ours: str) -> dict[str, Tensor]:
    return {f"{ours}.weight": read(f"{theirs}/kernel").T, f"{ours}.bias": read(f"{theirs}/bias")}


def _layer_norm(read: _Reader, theirs: str, ours: str) -> dict[str, Tensor]:
    return {f"{ours}.weight": read(f"{theirs}/scale"), f"{ours}.bias": read(f"{theirs}/bias")}
