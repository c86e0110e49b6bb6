"""AST's checkpoints -> `models.unimodal.ASTClassifier`.

| from | container | a name |
|---|---|---|
| the authors | `.pth` | `module.v.blocks.0.attn.qkv.weight`, `module.mlp_head.1.weight` |
| transformers | a folder, `.safetensors` | `audio_spectrogram_transformer.encoder.layer.0...` |
| DeiT with distillation, to start from | `.pth`, `.safetensors` | `blocks.0...`, `dist_token` |

Their order is mel before time, ours time before mel: kernels and positions are turned. Positions
that were made for another grid are adapted, those of pictures among them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sightsound.media.logmel import AST_AUDIO, front_end
from sightsound.models.backbones.ast import PREFIX, adapted_positions
from sightsound.models.unimodal import ASTClassifier
from sightsound.weights.image_vit import with_qkv
from sightsound.weights.released import (
    Checkpoint,
    count,
    fill_model,
    finish,
    left_over,
    read_checkpoint,
    recognised,
    settings_of,
    without_classifier,
)

FOLDER_FILE, FOLDER_CONFIG = "model.safetensors", "config.json"
HEAD_WIDTH = 64  # of every published AST
AUDIOSET_CLASSES = 527
PUBLISHED_FRAMES, PUBLISHED_MELS = 1024, 128
PUBLISHED_STRIDES, PATCH = (10, 16, 12, 14), 16

_DEIT = {
    "cls_token": "audio.cls",
    "dist_token": "audio.distillation",
    "pos_embed": "audio.positions",
    r"patch_embed\.proj": "audio.patches",
    r"blocks\.(\d+)\.norm1": r"audio.blocks.\1.attention_norm",
    r"blocks\.(\d+)\.attn\.qkv": r"audio.blocks.\1.attention.qkv",
    r"blocks\.(\d+)\.attn\.proj": r"audio.blocks.\1.attention.out",
    r"blocks\.(\d+)\.norm2": r"audio.blocks.\1.mlp_norm",
    r"blocks\.(\d+)\.mlp\.fc1": r"audio.blocks.\1.mlp.expand",
    r"blocks\.(\d+)\.mlp\.fc2": r"audio.blocks.\1.mlp.contract",
    "norm": "audio.norm",
}
_RELEASED = {rf"v\.{theirs}": ours for theirs, ours in _DEIT.items()} | {
    r"mlp_head\.0": "head_norm",
    r"mlp_head\.1": "head",
}
_BASE = r"(?:audio_spectrogram_transformer\.)?"
_LAYER = rf"{_BASE}encoder\.layer\.(\d+)"
_TRANSFORMERS = {
    rf"{_BASE}embeddings\.cls_token": "audio.cls",
    rf"{_BASE}embeddings\.distillation_token": "audio.distillation",
    rf"{_BASE}embeddings\.position_embeddings": "audio.positions",
    rf"{_BASE}embeddings\.patch_embeddings\.projection": "audio.patches",
    rf"{_LAYER}\.layernorm_before": r"audio.blocks.\1.attention_norm",
    rf"{_LAYER}\.attention\.attention\.(query|key|value)": r"audio.blocks.\1.attention.\2",
    rf"{_LAYER}\.attention\.output\.dense": r"audio.blocks.\1.attention.out",
    rf"{_LAYER}\.layernorm_after": r"audio.blocks.\1.mlp_norm",
    rf"{_LAYER}\.intermediate\.dense": r"audio.blocks.\1.mlp.expand",
    rf"{_LAYER}\.output\.dense": r"audio.blocks.\1.mlp.contract",
    rf"{_BASE}layernorm": "audio.norm",
    r"classifier\.layernorm": "head_norm",
    r"classifier\.dense": "head",
}
TABLES = (_RELEASED, _TRANSFORMERS, _DEIT)

# {what it is: its names in the configurations of the authors and of transformers}
_SETTINGS = {
    "num_heads": ("num_heads", "num_attention_heads"),
    "mel_stride": ("fstride", "frequency_stride"),
    "time_stride": ("tstride", "time_stride"),
    "num_mels": ("input_fdim", "num_mel_bins"),
    "num_frames": ("input_tdim", "max_length"),
    "num_classes": ("label_dim", "num_labels"),
    "epsilon": ("layer_norm_eps",),  # transformers has one for all norms
}


def load(path: Path, config: dict | None) -> ASTClassifier:
    """The model in one of the files above, or in an `.npz` file with the authors' names.

    A file of DeiT gives the start of a model of sound, whose classifier is untrained.

    Args:
        path: the file, or transformers' folder.
        config: an entry of the reference index, an index, or transformers' `config.json`, which is
            also found beside the file. A grid other than the positions' adapts these; another
            number of classes leaves the classifier out.

    `info.provenance` tells what was assumed ("inferred"), what of the file went nowhere ("dropped")
    and what of the model it does not give ("untrained").

    Raises:
        FileNotFoundError: nothing there.
        ValueError: no such model, or it does not go with the configuration.
    """
    path = path / FOLDER_FILE if path.is_dir() else path
    return convert(read_checkpoint(path), _given(config, path))


def convert(checkpoint: Checkpoint, given: Mapping[str, Any]) -> ASTClassifier:
    """The model with the tensors of `checkpoint`; `given`: settings by our names, `_SETTINGS`."""
    names = recognised(
        checkpoint, TABLES, wanted="audio.patches.weight", kind="AST", example="v.patch_embed.proj"
    )
    state = with_qkv({ours: checkpoint.tensors[theirs] for theirs, ours in names.items()})
    dropped, inferred = left_over(checkpoint, names), list[str]()
    num_classes = given.get("num_classes") or len(state.get("head.bias", ()))
    dropped += without_classifier(state, names, num_classes=num_classes)
    heads = {"label": num_classes or AUDIOSET_CLASSES}
    model = ASTClassifier(heads=heads, **_arguments(state, given, inferred))
    state = _as_ours(state, model, inferred)
    untrained = fill_model(model, state, path=checkpoint.path)
    base = front_end("ast")
    num_frames, num_mels = model.audio.shape
    audio = dataclasses.replace(base.audio, num_frames=num_frames, num_mels=num_mels)
    inferred.append(
        f"assumed: log-mel of front end ast, AudioSet's mean {audio.mean:.4f} and twice its "
        f"deviation, {audio.deviation:.4f}; padding counts, as in the released program"
    )
    source, numbers = f"ast: {checkpoint.path.name}", dataclasses.replace(base, audio=audio)
    told = dict(inferred=inferred, dropped=dropped, untrained=untrained)
    finish(model, numbers, source=source, **told)
    return model


def _given(config: dict | None, path: Path) -> dict[str, Any]:
    """{our name: value} of what a configuration tells, or the one beside the file."""
    beside = path.with_name(FOLDER_CONFIG)
    if config is None and path.suffix == ".safetensors" and beside.is_file():
        try:
            config = json.loads(beside.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{str(beside)!r} is not valid JSON: {error}") from error
    settings = settings_of(config, path, part="ast")
    flat = settings | settings.get("cfg", {})  # the reference index has those of the DeiT apart
    if "id2label" in flat:
        flat["num_labels"] = len(flat["id2label"])
    return {ours: flat[name] for ours, names in _SETTINGS.items() for name in names if name in flat}


# ---------------------------------------------------------------------------- sizes


def _arguments(
    state: Mapping[str, Tensor], given: Mapping[str, Any], inferred: list[str]
) -> dict[str, Any]:
    """Constructor arguments that tensors and settings tell; what is assumed goes to `inferred`."""
    kernel, positions = state["audio.patches.weight"], state.get("audio.positions")
    if positions is None or "audio.distillation" not in state:
        raise ValueError(
            "the checkpoint has no positions or no distillation token (dist_token, "
            "distillation_token); an AST has both, and so has a DeiT with distillation"
        )
    width, epsilon = len(kernel), given.get("epsilon")
    mel_patch, time_patch = kernel.shape[2:]
    if "num_heads" not in given:
        inferred.append(f"assumed: attention heads {HEAD_WIDTH} wide, as published")
    grid = _grid(given, None if kernel.shape[1] > 1 else positions.shape[1] - PREFIX, inferred)
    expand = state.get("audio.blocks.0.mlp.expand.bias", ())
    return dict(
        width=width,
        depth=count(state, r"audio\.blocks\.(\d+)\."),
        num_heads=given.get("num_heads", max(width // HEAD_WIDTH, 1)),
        mlp_width=len(expand) or 4 * width,
        patch=(time_patch, mel_patch),
        padding=-AST_AUDIO.mean / AST_AUDIO.deviation,
        **grid,
        **({"epsilon": epsilon, "head_epsilon": epsilon} if epsilon else {}),
    )


def _grid(given: Mapping[str, Any], tokens: int | None, inferred: list[str]) -> dict[str, Any]:
    """`audio_shape` and `stride`: what is given, else what goes with the number of tokens.

    `tokens`: of the file; `None`: it is a model of pictures.
    """
    names = ("num_frames", "num_mels", "time_stride", "mel_stride")
    if any(name not in given for name in names):
        given = {**dict(zip(names, _usual_grid(tokens), strict=True)), **given}
        inferred.append(
            f"assumed: {given['num_frames']} frames of {given['num_mels']} mel bins, patches every "
            f"{given['time_stride']}; other lengths are accepted"
        )
    frames, mels, time_stride, mel_stride = (given[name] for name in names)
    return dict(audio_shape=(frames, mels), stride=(time_stride, mel_stride))


def _usual_grid(tokens: int | None) -> tuple[int, int, int, int]:
    """Frames, mel bins, strides: published ones with so many tokens, or another length."""
    for stride in PUBLISHED_STRIDES:
        grid = [(size - PATCH) // stride + 1 for size in (PUBLISHED_FRAMES, PUBLISHED_MELS)]
        if tokens in (None, math.prod(grid)):
            return PUBLISHED_FRAMES, PUBLISHED_MELS, stride, stride
    assert tokens is not None  # which the published grid goes with
    stride = PUBLISHED_STRIDES[0]
    columns, rest = divmod(tokens, (PUBLISHED_MELS - PATCH) // stride + 1)
    if rest or not columns:
        raise ValueError(
            f"{tokens} positions do not tell the grid of patches; give a configuration with "
            "input_tdim, input_fdim, tstride and fstride"
        )
    return (columns - 1) * stride + PATCH, PUBLISHED_MELS, stride, stride


# ---------------------------------------------------------------------------- tensors


def _as_ours(
    state: Mapping[str, Tensor], model: ASTClassifier, inferred: list[str]
) -> dict[str, Tensor]:
    """`state` in our order of axes and with positions for the model's grid."""
    kernel, positions = state["audio.patches.weight"], state["audio.positions"]
    grid, rows = model.audio.grid, positions.shape[1] - PREFIX
    old = (rows // grid[1], grid[1])
    if kernel.shape[1] > 1:
        old = (math.isqrt(rows),) * 2
        inferred.append("a model of pictures: the kernel's channels were added up")
    if math.prod(old) != rows:
        raise ValueError(
            f"{rows} positions are no grid with {grid[1]} places along mel, as the configuration "
            "wants; is it the configuration of this checkpoint?"
        )
    if old != grid:
        inferred.append(
            f"positions of {old[0]} x {old[1]} (time x mel) adapted to {grid[0]} x {grid[1]}"
        )
    return {
        **state,
        "audio.patches.weight": turned_kernel(kernel),
        "audio.positions": adapted_positions(turned_positions(positions, old), old, grid),
    }


def turned_kernel(kernel: Tensor) -> Tensor:
    """A kernel (D, C, mel, time) as ours (D, 1, time, mel), the channels of pictures added up."""
    return kernel.sum(1, keepdim=True).transpose(2, 3).contiguous()


def turned_positions(table: Tensor, grid: Sequence[int]) -> Tensor:
    """Positions ordered by mel, then time, in our order: time, then mel; `grid` is (time, mel)."""
    body = table[:, PREFIX:].unflatten(1, (grid[1], grid[0])).transpose(1, 2).flatten(1, 2)
    return torch.cat((table[:, :PREFIX], body), dim=1)
