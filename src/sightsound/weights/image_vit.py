"""Image ViTs on disk, in four formats -> one record with PyTorch's layout and our names.

| format | container | a name |
|---|---|---|
| big_vision | `.npz` | `opt/target/Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel` |
| google-research/vision_transformer | `.npz` | `Transformer/encoderblock_0/...`, `head/kernel` |
| Scenic | Flax's `checkpoint_N`, `.npz` | `Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel` |
| Hugging Face: timm | `.safetensors` | `blocks.0.mlp.fc1.weight` |
| Hugging Face: transformers | `.safetensors` | `vit.encoder.layer.0.intermediate.dense.weight` |

The content decides, not the file's name: first the container, then the names.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sightsound.models.sizes import SIZES
from sightsound.registry import nearest_path
from sightsound.weights.archive import PREFIXES, prefix_of, read_archive, weights_of
from sightsound.weights.flax import read_train_state
from sightsound.weights.tensors import as_tensor, is_safetensors, read_safetensors, translated

FOLDER_FILE = "model.safetensors"
ACCEPTED = (
    "big_vision's or vision_transformer's .npz, Scenic's checkpoint_N, and a .safetensors file (or "
    f"a folder with {FOLDER_FILE}) of timm or transformers"
)

# A pattern of a format's names -> our name, which a final weight or bias follows.
_LINEN_BLOCK = r"Transformer/encoderblock_(\d+)"
_LINEN_ATTENTION = rf"{_LINEN_BLOCK}/MultiHeadDotProductAttention_[01]"
_LINEN = {  # the second of two numbers is that of older files: theirs count on through the block
    "cls": "cls",
    "Transformer/posembed_input/pos_embedding": "positions",
    "embedding": "patches",
    rf"{_LINEN_BLOCK}/LayerNorm_0": r"blocks.\1.attention_norm",
    rf"{_LINEN_ATTENTION}/(query|key|value)": r"blocks.\1.attention.\2",
    rf"{_LINEN_ATTENTION}/out": r"blocks.\1.attention.out",
    rf"{_LINEN_BLOCK}/LayerNorm_[12]": r"blocks.\1.mlp_norm",
    rf"{_LINEN_BLOCK}/MlpBlock_[03]/Dense_0": r"blocks.\1.mlp.expand",
    rf"{_LINEN_BLOCK}/MlpBlock_[03]/Dense_1": r"blocks.\1.mlp.contract",
    "Transformer/encoder_norm": "norm",
    "pre_logits": "pre_logits.0",
    "head|output_projection": "head",
}
_TIMM_BLOCK = r"blocks\.(\d+)"
_TIMM = {
    "cls_token": "cls",
    "pos_embed": "positions",
    r"patch_embed\.proj": "patches",
    rf"{_TIMM_BLOCK}\.norm1": r"blocks.\1.attention_norm",
    rf"{_TIMM_BLOCK}\.attn\.qkv": r"blocks.\1.attention.qkv",
    rf"{_TIMM_BLOCK}\.attn\.proj": r"blocks.\1.attention.out",
    rf"{_TIMM_BLOCK}\.norm2": r"blocks.\1.mlp_norm",
    rf"{_TIMM_BLOCK}\.mlp\.fc1": r"blocks.\1.mlp.expand",
    rf"{_TIMM_BLOCK}\.mlp\.fc2": r"blocks.\1.mlp.contract",
    "norm": "norm",
    r"pre_logits\.fc": "pre_logits.0",
    "head": "head",
}
_HUB_BLOCK = r"(?:vit\.)?encoder\.layer\.(\d+)"
_TRANSFORMERS = {
    r"(?:vit\.)?embeddings\.cls_token": "cls",
    r"(?:vit\.)?embeddings\.position_embeddings": "positions",
    r"(?:vit\.)?embeddings\.patch_embeddings\.projection": "patches",
    rf"{_HUB_BLOCK}\.layernorm_before": r"blocks.\1.attention_norm",
    rf"{_HUB_BLOCK}\.attention\.attention\.(query|key|value)": r"blocks.\1.attention.\2",
    rf"{_HUB_BLOCK}\.attention\.output\.dense": r"blocks.\1.attention.out",
    rf"{_HUB_BLOCK}\.layernorm_after": r"blocks.\1.mlp_norm",
    rf"{_HUB_BLOCK}\.intermediate\.dense": r"blocks.\1.mlp.expand",
    rf"{_HUB_BLOCK}\.output\.dense": r"blocks.\1.mlp.contract",
    r"(?:vit\.)?layernorm": "norm",
    r"(?:vit\.)?pooler\.dense": "pre_logits.0",  # dense and tanh over CLS
    "classifier": "head",
}
_FORMATS = (_LINEN, _TIMM, _TRANSFORMERS)
_PREFIXES = (*PREFIXES, "opt/target/", "vit/")  # what stands beside such names is no weight
_QKV = re.compile(r"attention\.(query|key|value)")
_MBT_NAMES = re.compile(r"bottleneck|clsspectrogram|([^/]+/)*[^/]+_spectrogram(/.*)?")

BLOCK_PARTS = [
    f"{part}.{leaf}"
    for part in (
        "attention_norm",
        "attention.qkv",
        "attention.out",
        "mlp_norm",
        "mlp.expand",
        "mlp.contract",
    )
    for leaf in ("weight", "bias")
]


@dataclass(frozen=True)
class ImageViT:
    """An image ViT's weights, whatever the format was.

    `tensors`: `cls` (1, 1, D), `positions` (1, CLS + N, D), `patches.weight` (D, C, h, w),
    `patches.bias`, `blocks.l.*` named as in `nn.block.Block`, `norm.*`, `pre_logits.0.*`, `head.*`.
    """

    source: str
    tensors: dict[str, Tensor]
    num_heads: int | None
    """`None`: neither the arrays nor a configuration beside them tell."""
    unread: tuple[str, ...] = ()
    """Names in the file that mean nothing here."""
    beside: tuple[str, ...] = ()
    """Names in the file that are none of the ViT's: the optimiser's, for example."""
    names: Mapping[str, str] = field(default_factory=dict)
    """{name in the file: ours} of what was read; query, key and value have one name of ours."""

    def original(self, pattern: str) -> list[str]:
        """Names in the file of our tensors `pattern`, such as `blocks.3.*`; as given if none."""
        found = [theirs for theirs, ours in self.names.items() if fnmatchcase(ours, pattern)]
        return found or [pattern]

    @property
    def width(self) -> int:
        return self.tensors["patches.weight"].shape[0]

    @property
    def channels(self) -> int:
        return self.tensors["patches.weight"].shape[1]

    @property
    def patch(self) -> tuple[int, int]:
        rows, columns = self.tensors["patches.weight"].shape[2:]
        return rows, columns

    @property
    def depth(self) -> int:
        return len({name.split(".")[1] for name in self.tensors if name.startswith("blocks.")})

    @property
    def mlp_width(self) -> int:
        return self.tensors["blocks.0.mlp.expand.weight"].shape[0]

    @property
    def representation_size(self) -> int | None:
        layer = self.tensors.get("pre_logits.0.weight")
        return None if layer is None else layer.shape[0]

    @property
    def prefix(self) -> int:
        """Rows of the positions before the grid's: 1 with CLS."""
        return int("cls" in self.tensors)

    @property
    def grid(self) -> tuple[int, int]:
        side = math.isqrt(self.tensors["positions"].shape[1] - self.prefix)
        return side, side


def read_image_vit(path: str | Path) -> ImageViT:
    """The ViT in a file, or in a folder with `model.safetensors` or Scenic's checkpoints.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: another format, or parts of the ViT are missing.
    """
    path = _file(Path(path))
    content, beside = _content(path)
    arrays, prefix = weights_of(content, _PREFIXES), prefix_of(content, _PREFIXES)
    _check_no_mbt(arrays, path)
    table, names = _recognised(arrays, path)
    tensors = {ours: as_tensor(arrays[theirs]) for theirs, ours in names.items()}
    if table is _LINEN:
        query = tensors.get("blocks.0.attention.query.weight")  # (D, h, d)
        num_heads = query.shape[1] if query is not None and query.ndim == 3 else None
        tensors = {name: _torch_layout(name, tensor) for name, tensor in tensors.items()}
    else:
        num_heads = _told_heads(path) or _usual_heads(tensors["patches.weight"].shape[0])
    beside += content.keys() - {prefix + name for name in arrays}
    vit = ImageViT(
        source=path.name,
        tensors=with_qkv(tensors),
        num_heads=num_heads,
        unread=tuple(sorted(prefix + name for name in arrays.keys() - names.keys())),
        beside=tuple(sorted(beside)),
        names={prefix + theirs: _QKV.sub("attention.qkv", ours) for theirs, ours in names.items()},
    )
    _check(vit)
    return vit


# ---------------------------------------------------------------------------- containers


def _file(path: Path) -> Path:
    """The file to read for `path`; a folder with Scenic's checkpoints stays a folder."""
    if not path.exists():
        raise FileNotFoundError(
            f"no image ViT at {str(path)!r}; give its file.{nearest_path(path)}"
        )
    if not path.is_dir() or any(path.glob("checkpoint_*")):
        return path
    if not (path / FOLDER_FILE).is_file():
        raise FileNotFoundError(
            f"folder {str(path)!r} has no {FOLDER_FILE} and no checkpoint_N; accepted: {ACCEPTED}"
        )
    return path / FOLDER_FILE


def _content(path: Path) -> tuple[Mapping[str, Any], list[str]]:
    """{name in the file: array}, whichever container it is, and entries that were not read."""
    if zipfile.is_zipfile(path):
        return read_archive(path), []
    if is_safetensors(path):
        return read_safetensors(path), []
    try:
        state = read_train_state(path)
    except ValueError as error:
        raise ValueError(
            f"{str(path)!r} is not in a format of image ViTs that is read; accepted: {ACCEPTED}. "
            f"As a checkpoint: {error}"
        ) from error
    return state.params, list(state.left_out)


# ---------------------------------------------------------------------------- names


def _check_no_mbt(arrays: Mapping[str, Any], path: Path) -> None:
    """`ValueError` for the arrays of Scenic's MBT: its tokens, sound, or kernels of clips."""
    found = [name for name in arrays if _MBT_NAMES.fullmatch(name)]
    kernel = arrays.get("embedding/kernel")
    found += ["embedding/kernel of clips"] if kernel is not None and kernel.ndim == 5 else []
    if found:
        raise ValueError(
            f"{str(path)!r} is an MBT of Scenic, no image ViT: it holds {found[0]}; use kind "
            "scenic ('sightsound convert scenic'), and to start from it --init DIR with the result"
        )


def _recognised(names: Iterable[str], path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The format's table, and {name: our name} of what it knows."""
    for table in _FORMATS:
        pairs = ((name, translated(name, table)) for name in names)
        ours = {name: new for name, new in pairs if new is not None}
        if "patches.weight" in ours.values() and any("blocks.0." in new for new in ours.values()):
            return table, ours
    few = ", ".join(list(names)[:5]) or "none"
    raise ValueError(
        f"{str(path)!r} holds no image ViT known here; its first names: {few}; accepted: {ACCEPTED}"
    )


# ---------------------------------------------------------------------------- arrays


def _torch_layout(name: str, tensor: Tensor) -> Tensor:
    """Flax's (in, out) turned to (out, in); heads, which it keeps apart, joined."""
    if name in ("cls", "positions"):
        return tensor
    if name == "patches.weight":
        return tensor.movedim((-1, -2), (0, 1))  # (h, w, C, D) -> (D, C, h, w)
    if name.endswith(".bias") or tensor.ndim == 1:
        return tensor.flatten()
    if re.search(r"\.(query|key|value)\.", name):
        return tensor.flatten(1).T  # (D, h, d)
    return tensor.flatten(0, -2).T  # (in, out), or (h, d, D)


def with_qkv(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value as one, where a format keeps them apart."""
    joined = dict(tensors)
    for name in [name for name in tensors if ".query." in name]:
        theirs = [name.replace("query", part) for part in ("query", "key", "value")]
        parts = [joined.pop(their) for their in theirs if their in joined]
        if len(parts) == 3:
            joined[name.replace("query", "qkv")] = torch.cat(parts)
    return joined


def _told_heads(path: Path) -> int | None:
    """`num_attention_heads` of the configuration beside a file of Hugging Face."""
    file = path.with_name("config.json")
    try:
        return json.loads(file.read_text())["num_attention_heads"] if file.is_file() else None
    except (json.JSONDecodeError, KeyError, TypeError):
        return None


def _usual_heads(width: int) -> int | None:
    """Heads of the published ViT of this width."""
    return next((size.num_heads for size in SIZES.values() if size.width == width), None)


def _check(vit: ImageViT) -> None:
    """`ValueError` if parts are missing, or the positions are those of no square picture."""
    wanted = ["positions", "patches.weight", "patches.bias"]
    wanted += [f"blocks.{layer}.{part}" for layer in range(vit.depth) for part in BLOCK_PARTS]
    if missing := [name for name in wanted if name not in vit.tensors]:
        raise ValueError(
            f"the ViT in {vit.source} has no {', '.join(missing[:5])}"
            f"{' and so on' if len(missing) > 5 else ''} (our names); MBT needs them"
        )
    if vit.tensors["patches.weight"].ndim != 4:
        raise ValueError(f"the ViT in {vit.source} reads clips, not pictures; give an image ViT")
    rows = vit.tensors["positions"].shape[1]
    if math.prod(vit.grid) != rows - vit.prefix:
        raise ValueError(
            f"the ViT in {vit.source} has {rows} positions, {vit.prefix} of them for CLS: the "
            "others are those of no square picture; an MBT of several frames is of kind scenic"
        )
