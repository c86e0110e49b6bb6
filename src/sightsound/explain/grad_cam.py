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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from sightsound.explain.explanation import Explanation, ExplanationTarget
from sightsound.explain.token_maps import backbone_of, on_input
from sightsound.registry import unknown_name

WEIGHTS = ("auto", "cells", "channels")
STAGES = (3, 4)  # of UniFormer, with attention over all cells
_CLIPS_AT_ONCE = 4


def grad_cam(
    target: ExplanationTarget,
    *,
    weights: Literal["auto", "cells", "channels"] = "auto",
    stage: Literal[3, 4] = 3,
) -> list[Explanation]:
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
    return target.by_parts(_CLIPS_AT_ONCE, lambda part: _maps(part, weights, stage))


def _maps(target: ExplanationTarget, weights: str, stage: int) -> list[Explanation]:
    model, shapes = target.model, target.shapes
    layers = model.grad_cam_layers(shapes, stage=stage)
    with torch.enable_grad(), listening([layer.module for layer in layers]) as heard:
        inputs = {name: x.detach().requires_grad_() for name, x in target.inputs.items()}
        logits = model(inputs, **target.masks).logits
        gradients = torch.autograd.grad(target.score(logits).sum(), heard)
    sums: dict[str, Tensor] = {}
    cells = {}
    for name, _, call, first, grid in layers:
        prefix, last = backbone_of(model, name).num_prefix, first + math.prod(grid.grid)
        values, slopes = (
            _tokens(x.detach(), len(target.batch), prefix)[:, first:last]
            for x in (heard[call], gradients[call])
        )
        if weights == "channels" or (weights == "auto" and not prefix):
            slopes = slopes.mean(1, keepdim=True)
        sums[name] = sums.get(name, 0.0) + (values * slopes).sum(-1)
        cells[name] = grid
    return target.answer(
        {
            name: on_input(x.relu(), backbone_of(model, name), shapes[name], cells=cells[name])
            for name, x in sums.items()
        }
    )


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
