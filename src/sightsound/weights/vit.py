"""An image ViT -> a start for `models.mbt.MBT`, as officially or soundly, or a backbone `vit`.

One model of pictures starts every stream: its layers go to each of them, its patch kernel also
reads the spectrogram, its positions are zoomed to the other grid and repeated for each frame. Its
classifier stays behind. Formats are `image_vit.py`.

Officially (`Rules.faithful`) two slips come with it. In a model of two streams the audio CLS stays
0, since it is looked for under another name, while the video CLS starts from the ViT's. And the
fusion tokens start from positions: the row of CLS, then the grid zoomed to about a square. By
default both CLS start from the ViT's, and fusion tokens keep their N(0, 0.02^2).

LayerNorm epsilon and GELU are those of `nn.block`, as in Google's code. timm and transformers
compute the exact GELU, which ours approximates; transformers' epsilon is 1e-12.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sightsound.models.backbones.vit import VideoViT
from sightsound.models.mbt import MBT
from sightsound.models.pretrained import InitReport, Pretrained
from sightsound.models.sizes import Size
from sightsound.models.stream import Stream
from sightsound.nn.position import resize_positions
from sightsound.registry import unknown_name
from sightsound.types import AUDIO, VIDEO
from sightsound.weights.image_vit import BLOCK_PARTS, ImageViT, read_image_vit
from sightsound.weights.scenic import model_arguments, task_of
from sightsound.weights.scenic_config import (
    PAPER_PIXELS,
    RGB,
    SPECTROGRAM,
    experiment,
    front_end_for,
)
from sightsound.weights.tensors import CENTRE, MEAN, inflated

CENTRAL, AVERAGE = "central_frame_initializer", "average_frame_initializer"
REMEDY = "give Scenic's whole experiment configuration, or none for the image ViT itself"
RESIZE_TILE, TILE = "resize_tile", "tile"


@dataclass(frozen=True)
class Rules:
    """How a ViT's weights go into an MBT. All but `faithful` bear Scenic's names."""

    faithful: bool = False
    """As the official code does it, its slips included."""
    restore_positional_embedding: bool = True
    """False: positions (and, if faithful, fusion tokens) keep their random start."""
    restore_input_embedding: bool = True
    """False: patch projections keep their random start."""
    restore_output_proj: bool = False
    """Take the classifier, too; the classes must be the same."""
    positional_embed_size_change: str = RESIZE_TILE
    """`resize_tile`: zoom the positions to a frame of the video, then repeat. `tile`: no zoom."""
    kernel_init_method: str = CENTRAL
    """Kernels of t frames: the ViT's in the middle and zeros, or 1 / t of it on each (average)."""

    def __post_init__(self) -> None:
        change, method = self.positional_embed_size_change, self.kernel_init_method
        if change not in (RESIZE_TILE, TILE):
            raise unknown_name("positional_embed_size_change", change, (RESIZE_TILE, TILE))
        if method not in (CENTRAL, AVERAGE):
            raise unknown_name("kernel_init_method", method, (CENTRAL, AVERAGE))

    @classmethod
    def of(cls, config: dict) -> Rules:
        """Those of a Scenic configuration; the official ones unless it has `faithful: false`."""
        given = dict(config.get("init_from") or {})
        given |= config["model"].get("temporal_encoding_config") or {}
        names = {field.name for field in dataclasses.fields(cls)}
        chosen = {name: value for name, value in given.items() if name in names}
        return cls(**chosen | {"faithful": config.get("faithful", True)})


def load(path: Path, config: dict | None) -> MBT:
    """An MBT that starts from the ViT at `path`, or that ViT itself.

    Args:
        path: see `read_image_vit`.
        config: Scenic's experiment configuration of an MBT, which is then initialised as officially
            (`faithful: false` in it: soundly). `None`: a model of one frame, without sound, which
            computes what the ViT does, classifier included.

    `info.provenance` tells how it started ("inferred"), what of the model did not ("untrained") and
    what of the file went nowhere ("dropped").

    Raises:
        FileNotFoundError: nothing there.
        ValueError: not a ViT, or it does not fit the configuration.
    """
    vit = read_image_vit(path)
    if config is None:
        model, rules = _image_model(vit), Rules(restore_output_proj=True)
    else:
        config = experiment(config, parts=("model",), remedy=REMEDY)
        model, rules = MBT(**_arguments(config)), Rules.of(config)
        model.info.task = task_of(config)
    report = initialise_from_vit(model, vit, rules=rules)
    if config is None and report.untouched:
        raise ValueError(
            f"the ViT in {vit.source} has no {', '.join(report.untouched)} (our names), so it is "
            "no model by itself; give a config of an MBT that starts from it"
        )
    front_end, assumed = front_end_for(model.info.arguments)
    model.info.front_end = front_end.to_dict()
    told = _picture_in_words(vit) if config is None else _start_in_words(rules, report)
    model.info.provenance |= {
        "source": f"vit: {vit.source}",
        "inferred": told + assumed,
        "dropped": _dropped(vit, report),
    }
    if report.untouched:
        model.info.provenance["untrained"] = report.untouched
    return model.eval()


def _picture_in_words(vit: ImageViT) -> list[str]:
    """The picture that a ViT looks at, and what else its positions may mean."""
    height, width = (side * size for side, size in zip(vit.grid, vit.patch, strict=True))
    per_frame = math.prod(PAPER_PIXELS // size for size in vit.patch)
    frames, rest = divmod(math.prod(vit.grid), per_frame) if per_frame else (1, 0)
    text = f"assumed, from the number of positions: one picture of {height} x {width}"
    if frames > 1 and rest == 0:
        text += f" (an MBT of {frames} frames of {PAPER_PIXELS} x {PAPER_PIXELS} is of kind scenic)"
    return [text]


def _start_in_words(rules: Rules, report: InitReport) -> list[str]:
    """How a model started and what of it did not, a sentence each."""
    how = "without the slips of the official code"
    if rules.faithful:
        how = "as the official code does, slips included ('faithful: false' in config: without)"
    left = ", ".join(report.untouched) or "nothing"
    return [f"started from an image ViT {how}", f"untrained, as the ViT does not give it: {left}"]


def _dropped(vit: ImageViT, report: InitReport) -> list[str]:
    """What of the file went nowhere, or not to every stream, under the file's names, and why."""
    reasons = [(name, why) for ours, why in report.not_taken.items() for name in vit.original(ours)]
    reasons += [(name, "not a parameter") for name in vit.beside]
    return [f"{name} ({why})" for name, why in reasons]


def initialise_from_vit(
    model: Pretrained, source: ImageViT | str | Path, *, rules: Rules | None = None
) -> InitReport:
    """Start `model` from an image ViT, in place, and say what was not taken over.

    That is an MBT, or the pictures of a model whose backbone `vit` they have. A ViT deeper than the
    model gives its first layers. A model with one audio channel gets the kernel summed over the
    channels: the logits of three equal channels, but other gradients.

    Raises:
        FileNotFoundError, ValueError: as `read_image_vit`.
        ValueError: the ViT does not fit; the model is then as it was.
    """
    streams, size = _startable(model)
    vit = source if isinstance(source, ImageViT) else read_image_vit(source)
    _check_sizes(size, vit)
    start = _Start(model, streams, size, vit, rules or Rules())
    for name, stream in streams.items():
        slip = start.rules.faithful and name == AUDIO and len(start.streams) > 1
        if not slip:
            start.take(f"{name}.cls", "cls")
        _take_patches(start, stream)
        _take_positions(start, stream)
        # Layer l of the ViT becomes layer l of the stream, be it its own or shared.
        own = len(start.streams[name].blocks)
        for layer in range(start.size.depth):
            ours = f"{name}.blocks.{layer}" if layer < own else f"shared_blocks.{layer - own}"
            for part in BLOCK_PARTS:
                if f"{ours}.{part}" not in start.new:
                    start.take(f"{ours}.{part}", f"blocks.{layer}.{part}")
    _take_fusion_tokens(start)
    # Final norm; the tanh layer where the model has one of that size; the classifier if asked.
    arguments = start.model.info.arguments
    same = start.vit.representation_size == arguments.get("representation_size")
    for leaf in ("weight", "bias"):
        start.take(f"norm.{leaf}", f"norm.{leaf}")
        start.take(f"{VIDEO}.norm.{leaf}", f"norm.{leaf}")  # of a backbone
        if same:
            start.take(f"pre_logits.0.{leaf}", f"pre_logits.0.{leaf}")
        if start.rules.restore_output_proj:
            start.take(f"head.{leaf}", f"head.{leaf}")
        else:
            start.leave(f"head.{leaf}", "other classes")
    return start.write()


def _startable(model: Pretrained) -> tuple[dict[str, Stream], Size]:
    """The streams of `model` that an image ViT can start, and the size of their layers."""
    if model.info.name == "mbt":
        assert isinstance(model, MBT)
        return {name: model.stream(name) for name in model.modalities}, model.size
    stream = getattr(model, VIDEO, None)
    if not isinstance(stream, VideoViT):
        raise ValueError(
            "an image ViT can start a model 'mbt', or the pictures of one whose backbone is 'vit', "
            f"not this {model.info.name!r}"
        )
    return {VIDEO: stream}, stream.size


class _Start:
    """The new values of a model's tensors, put together before the first one is written."""

    def __init__(
        self,
        model: Pretrained,
        streams: dict[str, Stream],
        size: Size,
        vit: ImageViT,
        rules: Rules,
    ) -> None:
        self.model, self.vit, self.rules = model, vit, rules
        self.streams, self.size = streams, size
        self.state = model.state_dict()
        self.new: dict[str, Tensor] = {}
        self.used: set[str] = set()
        self.report = InitReport()

    def take(self, ours: str, theirs: str, tensor: Tensor | None = None, *, how: str = "") -> None:
        """The ViT's `theirs`, or `tensor`, which `how` says was made of it; if both exist."""
        if ours not in self.state or theirs not in self.vit.tensors:
            return
        tensor = self.vit.tensors[theirs] if tensor is None else tensor
        if tensor.shape != self.state[ours].shape:
            raise ValueError(
                f"{theirs} of the ViT in {self.vit.source} becomes {tuple(tensor.shape)}, but "
                f"{ours} is {tuple(self.state[ours].shape)}; take a model of the same sizes"
            )
        self.new[ours] = tensor
        self.used.add(theirs)
        if how:
            self.report.adapted[ours] = how
        else:
            self.report.taken.append(ours)

    def leave(self, theirs: str, why: str) -> None:
        """Note why the ViT's `theirs` goes nowhere, or not to one of the streams."""
        if theirs in self.vit.tensors:
            noted = self.report.not_taken.get(theirs)
            self.report.not_taken[theirs] = f"{noted}; {why}" if noted else why

    @torch.no_grad()
    def write(self) -> InitReport:
        """What happened, after every planned value is in the model."""
        for name, tensor in self.new.items():
            self.state[name].copy_(tensor)
        left = [name for name in self.vit.tensors if name not in self.used]
        reasons = dict(self.report.not_taken)
        for name in left:
            if layer := re.match(r"blocks\.\d+\.", name):
                reasons[f"{layer[0]}*"] = f"the model has {self.size.depth} layers"
            else:
                reasons.setdefault(name, "the model has no such part")
        reasons |= {name: "not a part of ViTs known here" for name in self.vit.unread}
        self.report.not_taken = reasons
        self.report.untouched = [name for name in self.state if name not in self.new]
        return self.report


def _check_sizes(size: Size, vit: ImageViT) -> None:
    """`ValueError` if the ViT's layers are not the model's."""
    num_heads = vit.num_heads or size.num_heads  # not every format tells it
    same = (vit.width, num_heads, vit.mlp_width) == (size.width, size.num_heads, size.mlp_width)
    if not same or vit.depth < size.depth:
        raise ValueError(
            f"the ViT in {vit.source} has {vit.depth} layers of width {vit.width}, {num_heads} "
            f"heads and MLP width {vit.mlp_width}, the model {size.depth} layers of width "
            f"{size.width}, {size.num_heads} heads and MLP width {size.mlp_width}; a ViT of the "
            "same sizes and at least as many layers is accepted: choose size, width, depth, "
            "num_heads or mlp_width of the model accordingly"
        )


# ---------------------------------------------------------------------------- the parts


def _take_patches(start: _Start, stream: Stream) -> None:
    """The patch kernel as the matrix (D, C * prod(patch)) of a stream."""
    if why := _no_patches(start, stream):
        for leaf in ("weight", "bias"):
            start.leave(f"patches.{leaf}", f"{stream.modality}: {why}")
        return
    kernel, changes = start.vit.tensors["patches.weight"], []
    if stream.patch_channels < start.vit.channels:
        kernel = kernel.sum(1, keepdim=True)
        changes.append("summed over channels")
    frames = stream.patch[0] if stream.modality == VIDEO else 1
    if frames > 1:
        method = MEAN if start.rules.kernel_init_method == AVERAGE else CENTRE
        kernel = inflated(kernel, frames, method=method)
        changes.append(f"{start.rules.kernel_init_method.split('_')[0]} of {frames} frames")
    ours = f"{stream.modality}.patches.projection"
    start.take(f"{ours}.weight", "patches.weight", kernel.flatten(1), how=", ".join(changes))
    start.take(f"{ours}.bias", "patches.bias")


def _no_patches(start: _Start, stream: Stream) -> str:
    """Why the patch kernel cannot be the stream's; nothing if it can."""
    vit, stem = start.vit, start.model.info.arguments.get("stem", "linear")
    if not start.rules.restore_input_embedding:
        return "restore_input_embedding is false"
    if stem != "linear":
        return f"the model's stem is {stem}"
    if stream.patch[-2:] != vit.patch:
        return f"the model's patches are {_times(stream.patch[-2:])}, not {_times(vit.patch)}"
    if stream.patch_channels not in (1, vit.channels):
        return f"the model has {stream.patch_channels} channels, not {vit.channels}"
    return ""


def _take_positions(start: _Start, stream: Stream) -> None:
    """The ViT's positions, zoomed to one frame (or to the spectrogram) and repeated for each."""
    if not start.rules.restore_positional_embedding:
        start.leave("positions", f"{stream.modality}: restore_positional_embedding is false")
        return
    grid, prefix = stream.positions.grid, stream.positions.prefix
    tile = start.rules.positional_embed_size_change == TILE and stream.modality == VIDEO
    if tile and math.prod(grid[1:]) != math.prod(start.vit.grid):
        raise ValueError(
            f"positional_embed_size_change 'tile' repeats the ViT's {_times(start.vit.grid)} "
            f"positions unchanged, but a frame of the model has {_times(grid[1:])}; "
            "take 'resize_tile'"
        )
    _take_zoomed(start, f"{stream.modality}.positions.table", grid, prefix=prefix)


def _take_fusion_tokens(start: _Start) -> None:
    """Officially, fusion tokens start from the row of CLS and the grid zoomed to about a square."""
    rules, own = start.rules, start.state.get("fusion.tokens")
    own = own if start.model.info.name == "mbt" else None  # AVT's are its own
    if own is None or not (rules.faithful and rules.restore_positional_embedding):
        return
    prefix = int(start.model.classifier == "token")
    number = own.shape[1] - prefix
    rows = math.isqrt(number)
    if rows == 0 or number % rows:
        raise ValueError(
            f"officially {number} of the {own.shape[1]} fusion tokens start from a grid of "
            f"positions with {rows} rows, into which they do not go; take another number of "
            "bottleneck_tokens (5 with CLS: a row for CLS and 2 x 2), or faithful false"
        )
    _take_zoomed(start, "fusion.tokens", (rows, number // rows), prefix=prefix)


def _take_zoomed(start: _Start, ours: str, grid: Sequence[int], *, prefix: int) -> None:
    """Positions (1, prefix + prod(grid), D) for a `grid` ([frames,] rows, columns).

    Where only the model has CLS, its own row stays. Officially, what has as many rows already is
    not zoomed, whatever its grid.
    """
    frames, *area = (1, *grid)[-3:]
    vit, own, faithful = start.vit, start.state[ours], start.rules.faithful
    theirs = vit.tensors["positions"]
    if faithful and theirs.shape == own.shape:
        start.take(ours, "positions")
        return
    head, body = theirs[:, : vit.prefix], theirs[:, vit.prefix :]
    head = (head if vit.prefix else own)[:, :prefix]
    if not (faithful and math.prod(area) == math.prod(vit.grid)):
        body = resize_positions(body, vit.grid, tuple(area), prefix=0)
    table = torch.cat((head, body.repeat(1, frames, 1)), dim=1)
    how = "" if torch.equal(table, theirs) else f"{_times(vit.grid)} to {_times(grid)}"
    start.take(ours, "positions", table, how=how)


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


# ---------------------------------------------------------------------------- models


def _image_model(vit: ImageViT) -> MBT:
    """A fresh model of the ViT's sizes: one frame, no sound."""
    if "head.bias" not in vit.tensors:
        raise ValueError(
            f"the ViT in {vit.source} has no classifier, so it is no model by itself; give a "
            "config of an MBT that starts from it"
        )
    if vit.num_heads is None:
        raise ValueError(
            f"{vit.source} does not tell the number of heads; put a config.json with "
            "num_attention_heads beside it"
        )
    height, width = (side * size for side, size in zip(vit.grid, vit.patch, strict=True))
    return MBT(
        heads={"label": len(vit.tensors["head.bias"])},
        modalities=(VIDEO,),
        video_shape=(1, height, width),
        audio_shape=None,
        video_patch=(1, *vit.patch),
        video_channels=vit.channels,
        width=vit.width,
        depth=vit.depth,
        num_heads=vit.num_heads,
        mlp_width=vit.mlp_width,
        fusion_layer=0,
        classifier="token" if vit.prefix else "gap",
        representation_size=vit.representation_size,
    )


def _arguments(config: dict) -> dict:
    """Constructor arguments of `MBT` for an experiment of which there is no checkpoint yet."""
    try:
        shapes = _shapes(config)
        arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
        return model_arguments(arrays, config, input_shapes=_input_shapes(config))
    except KeyError as error:
        raise ValueError(f"config has no {error}, which says what MBT to build") from error


def _shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Shapes of a checkpoint of this experiment, as far as they tell the model's sizes."""
    model, data = config["model"], config["dataset_configs"]
    shapes: dict[str, tuple[int, ...]]
    width, num_heads = model["hidden_size"], model["num_heads"]
    rows, columns, *frames = model["patches"]["size"]
    method = (model.get("temporal_encoding_config") or {}).get("method")
    frames = frames if method == "3d_conv" else []
    num_classes = sum(data.get("class_splits") or [data["num_classes"]])
    block = "Transformer/encoderblock_{}/MultiHeadDotProductAttention_0/query/kernel"
    query = (width, num_heads, width // num_heads)
    shapes = {block.format(layer): query for layer in range(model["num_layers"])}
    shapes |= {
        "Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel": (width, model["mlp_dim"]),
        "embedding/kernel": (*frames, rows, columns, 3, width),
        "embedding_spectrogram/kernel": (rows, columns, 3, width),
        "output_projection/bias": (num_classes,),
    }
    if model.get("representation_size"):
        shapes["pre_logits/bias"] = (model["representation_size"],)
    if model.get("use_bottleneck"):
        number = model["n_bottlenecks"] + (model["classifier"] == "token")
        shapes["bottleneck"] = (1, number, width)
    return shapes


def _input_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """{"rgb": (1, T, H, W, 3), "spectrogram": (1, F, M, 3)} of the modalities there are."""
    data = config["dataset_configs"]
    shapes: dict[str, tuple[int, ...]] = {}
    if RGB in config["model"]["modality_fusion"]:
        shapes[RGB] = (1, data["num_frames"], data["crop_size"], data["crop_size"], 3)
    if SPECTROGRAM in config["model"]["modality_fusion"]:
        frames, mels, *_ = data["spec_shape"]
        shapes[SPECTROGRAM] = (1, data["num_spec_frames"] * frames, mels, 3)
    return shapes
