"""Occlusion (Zeiler and Fergus 2014): what the class loses when a part of the clip is not there.

Parts are boxes in space and time of the frames, and in time and frequency of the spectrogram. A
box of two cells a side moves on by one; a cell has the mean of the boxes that cover it. What
is hidden becomes 0, the mean of the normalised input; of a model of features, seconds become zeros.
It is the one method that asks the model itself what it would say without a part, and needs a pass
for every part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sightsound.explain.explanation import Explanation, ExplanationTarget
from sightsound.types import VIDEO

GRIDS = {"video": (4, 8, 8), "audio": (16, 8)}  # cells at most: 252 windows for a clip
WINDOW = 2  # cells along every axis: smaller parts are hardly missed
_CASES_AT_ONCE = 32


def occlusion(
    target: ExplanationTarget,
    *,
    video_grid: Sequence[int] = GRIDS["video"],
    audio_grid: Sequence[int] = GRIDS["audio"],
) -> list[Explanation]:
    """How much lower the log odds of the class are without each part; negative: higher.

    Args:
        video_grid: cells along time, rows and columns, at most as many as there are places.
        audio_grid: along time and mel bins, likewise.
    """
    grids = {"video": tuple(video_grid), "audio": tuple(audio_grid)}
    with torch.inference_mode():
        return target.by_parts(1, lambda clip: _one(clip, grids))


def _one(clip: ExplanationTarget, grids: Mapping[str, tuple[int, ...]]) -> list[Explanation]:
    """The map of one clip: of each cell the mean over the boxes that cover it."""
    whole, maps = _score(clip, clip.inputs), {}
    for name, shape in clip.shapes.items():
        grid = shape if clip.batch.encoded else tuple(map(min, grids[name], shape))
        sides = [1 if clip.batch.encoded else min(WINDOW, count) for count in grid]
        cells = windows_of(grid, sides).to(clip.shown.device)  # (W, *grid)
        scores = []
        for part in cells.split(_CASES_AT_ONCE):
            many = clip.rows(torch.zeros(len(part), dtype=torch.long, device=part.device))
            inputs = many.inputs
            inputs[name] = hidden(inputs[name], over(part, shape), name)
            scores.append(_score(many, inputs))
        covers = cells.float()
        means = torch.einsum("w,w...->...", torch.cat(scores), covers) / covers.sum(0)
        maps[name] = (whole - means)[None]
    return clip.answer(maps)


def windows_of(grid: Sequence[int], sides: Sequence[int]) -> Tensor:
    """(W, *grid) bool: every box of `sides` cells within the grid."""
    windows = torch.ones(1, dtype=torch.bool)
    for count, side in zip(grid, sides, strict=True):
        first = torch.arange(count - side + 1)[:, None]
        cell = torch.arange(count)
        inside = (cell >= first) & (cell < first + side)  # (positions, count)
        places = [1] * (windows.ndim - 1)
        windows = windows[:, None, ..., None] & inside.reshape(1, len(inside), *places, count)
        windows = windows.flatten(0, 1)
    return windows


def over(cells: Tensor, shape: Sequence[int]) -> Tensor:
    """Cells (B, *grid) repeated so that they cover an input of `shape`: (B, *shape)."""
    for axis, size in enumerate(shape, start=1):
        place = torch.arange(size, device=cells.device) * cells.shape[axis] // size
        cells = cells.index_select(axis, place)
    return cells


def hidden(values: Tensor, boxes: Tensor, name: str) -> Tensor:
    """A stream (B, ...) with zeros where `boxes` (B, *shape) is true.

    Shape is (T, H, W) of pictures (B, T, C, H, W), (F, M) of sound (B, 1, F, M), (T,) of features.
    """
    if boxes.ndim == 2:
        return values.masked_fill(boxes.reshape(*boxes.shape, *[1] * (values.ndim - 2)), 0.0)
    return values.masked_fill(boxes.unsqueeze(2 if name == VIDEO else 1), 0.0)


def _score(target: ExplanationTarget, inputs: Mapping[str, Tensor]) -> Tensor:
    """(B,) of the class asked about."""
    return target.score(target.model(inputs, **target.masks).logits)
