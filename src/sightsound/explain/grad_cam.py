"""Grad-CAM (Selvaraju et al. 2017): which cells of an encoder's map raise the class.

A map A has K channels in every cell. Channel k weighs the gradient of the class with respect to
A_k, and the result is ReLU(sum over k of weight_k A_k). In the paper a channel has one weight, the
mean of its gradient over the cells: `channels`, which suits a classifier that reads the mean over
cells, as UniFormer's. A CLS token reads few cells, and the mean mixes these with all others: for
transformers `cells` leaves each cell its own gradient (Draelos and Carin 2020, HiResCAM).

The map is what UniFormer's third stage gives to the last, or what the last one gives; of a
transformer whose classifier reads CLS what the attention of its last layer reads, since behind that
nothing is seen of the patches. That is taken behind the layer's norm: before it, only the direction
of a token counts, so that a token times its own gradient is zero, whatever it says. Where the
classifier reads the mean over tokens it is these tokens. The spectrogram is treated like frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from sightsound.explain.maps import Maps, Question, by_parts
from sightsound.explain.token_maps import entering_cells, leaving_cells, num_prefix, on_input
from sightsound.models.backbone import Cells
from sightsound.registry import unknown_name

WEIGHTS = ("auto", "cells", "channels")
STAGES = (3, 4)  # of UniFormer, with attention over all cells
LAST_STAGE = 4
_CLIPS_AT_ONCE = 4


class Source(NamedTuple):
    """Where a stream's cells are among what a model's layers gave."""

    name: str
    call: int
    first: int  # its first cell among the tokens of that call


Sources = tuple[list[nn.Module], list[Source]]


def grad_cam_maps(
    question: Question,
    *,
    weights: Literal["auto", "cells", "channels"] = "auto",
    stage: Literal[3, 4] = 3,
) -> list[Maps]:
    """Maps of what raises the log odds of the class; nothing is negative.

    Args:
        weights: `cells`: each cell's own gradient; `channels`: one of each channel; `auto`:
            `channels` where there is no CLS token.
        stage: of UniFormer, 4 or 3, whose cells are half as wide; other encoders have no stages.

    Raises:
        ValueError: unknown weights, or a model of features, which has no encoder to look into.
    """
    if weights not in WEIGHTS:
        raise unknown_name("weights", weights, WEIGHTS)
    if stage not in STAGES:
        raise ValueError(f"stage is {stage}; accepted: {STAGES}")
    return by_parts(lambda part: _maps(part, weights, stage), question, size=_CLIPS_AT_ONCE)


def _maps(question: Question, weights: str, stage: int) -> list[Maps]:
    model = question.model
    layers, sources = _SOURCES.get(model.info.name, _backbones)(question, stage)
    with torch.enable_grad(), listening(layers) as heard:
        inputs = {name: x.detach().requires_grad_() for name, x in question.inputs.items()}
        logits = model(inputs, **question.masks).logits
        gradients = torch.autograd.grad(question.score(logits).sum(), heard)
    found: dict[str, Tensor] = {}
    for name, call, first in sources:
        prefix, count = (
            num_prefix(getattr(model, name)),
            math.prod(_cells(question, name, stage).grid),
        )
        values, slopes = (
            _tokens(x.detach(), len(question.batch), prefix)[:, first : first + count]
            for x in (heard[call], gradients[call])
        )
        if weights == "channels" or (weights == "auto" and not prefix):
            slopes = slopes.mean(1, keepdim=True)
        found[name] = found.get(name, 0.0) + (values * slopes).sum(-1)
    return question.answer(
        {
            name: on_input(
                x.relu(),
                getattr(model, name),
                question.shape(name),
                cells=_cells(question, name, stage),
            )
            for name, x in found.items()
        }
    )


def _cells(question: Question, name: str, stage: int) -> Cells:
    """The grid of a stream's map."""
    stream, shape = getattr(question.model, name), question.shape(name)
    return (leaving_cells if stage == LAST_STAGE else entering_cells)(stream, shape)


@contextmanager
def listening(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """A list that gets the result of every call of these modules, in order."""
    heard: list[Tensor] = []

    def hear(_module: nn.Module, _given: object, result: Tensor | tuple) -> None:
        heard.append(result[0] if isinstance(result, tuple) else result)

    hooks = [module.register_forward_hook(hear) for module in dict.fromkeys(modules)]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def _tokens(x: Tensor, num_clips: int, prefix: int) -> Tensor:
    """(B, N, D) of tokens, of maps (B, D, T, H, W), or of the frames of B clips one by one."""
    if x.ndim == 5:
        return x.flatten(2).transpose(1, 2)
    if len(x) == num_clips:
        return x
    frames = x.unflatten(0, (num_clips, -1))  # each has a prefix of its own
    return torch.cat((frames[:, 0, :prefix], frames[:, :, prefix:].flatten(1, 2)), dim=1)


# --- where to listen ----------------------------------------------------------------------------


def _mbt(question: Question, _stage: int) -> Sources:
    """What the attention of an `MBT`'s last layers reads, or what is averaged behind them."""
    model, names = question.model, list(question.inputs)
    prefixes = {name: num_prefix(model.stream(name)) for name in names}
    if model.classifier != "token":
        return [model.norm], [Source(name, call, 0) for call, name in enumerate(names)]
    norms = [model.layers(name)[-1].attention_norm for name in names]
    fusion = model.fusion if model.test_with_bottlenecks else None
    kind = None if fusion is None else model.info.arguments["fusion"]
    if kind == "self_attention":  # one call with all tokens side by side
        counts = [
            prefixes[name] + math.prod(model.stream(name).cells(question.shape(name)).grid)
            for name in names
        ]
        starts = [sum(counts[:place]) for place in range(len(names))]
        pairs = zip(names, starts, strict=True)
        return norms, [Source(name, 0, start + prefixes[name]) for name, start in pairs]
    if kind == "cross_attention" and len(names) > 1:  # own tokens, then those of the other stream
        order = [name for pair in (names, names[::-1]) for name in pair]
    elif kind == "bottleneck" and fusion.update == "sequential":
        order = [name for name in fusion.update_order if name in names]
    else:
        order = names
    return norms, [Source(name, call, prefixes[name]) for call, name in enumerate(order)]


def _backbones(question: Question, stage: int) -> Sources:
    """What the attention of each encoder's last layer reads; of UniFormer a stage's result."""
    model, names = question.model, list(question.inputs)
    if question.batch.encoded:
        raise ValueError(
            f"{model.info.name!r} reads features of frozen encoders, so there is no map to look "
            "into; ask by auto or occlusion"
        )
    parts = [getattr(model, name) for name in names]
    for name, part in zip(names, parts, strict=True):
        if not (hasattr(part, "stages") or hasattr(part, "blocks")):
            raise ValueError(
                f"the {name} encoder of {model.info.name!r} is a foreign network, whose last layer "
                "is not known; ask by occlusion or rollout"
            )
    layers = [
        part.stages[stage - 1] if hasattr(part, "stages") else part.blocks[-1].attention_norm
        for part in parts
    ]
    return layers, [Source(n, call, num_prefix(parts[call])) for call, n in enumerate(names)]


_SOURCES: dict[str, Callable[[Question, int], Sources]] = {"mbt": _mbt}
