"""From numbers per token to maps that cover a model's input evenly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sightsound.models.backbone import Cells
from sightsound.models.stream import Stream
from sightsound.nn.patch import sample_frames


def spread(values: Tensor, cells: Cells, shape: Sequence[int], *, tiles: bool = True) -> Tensor:
    """Values of tokens (B, N) as a map (B, *cells) over an input of `shape`; the sum stays.

    An axis that the tokens tile keeps their number of cells. Along any other, whose patches overlap
    or leave a rest, every place is a cell and gets its part of each token that sees it.

    Args:
        tiles: false: every place of every axis becomes a cell.
    """
    values = values.unflatten(1, cells.grid)
    for axis, size in enumerate(shape):
        count, patch, stride = cells.grid[axis], cells.patch[axis], cells.stride[axis]
        if tiles and patch == stride and count * stride == size:
            continue
        place = torch.arange(size, device=values.device)
        first = stride * torch.arange(count, device=values.device)[:, None]
        covers = ((place >= first) & (place < first + patch)).to(values)  # (count, size)
        covers = covers / covers.sum(1, keepdim=True)
        values = (values.movedim(axis + 1, -1) @ covers).movedim(-1, axis + 1)
    return values


def num_prefix(stream: nn.Module) -> int:
    """Tokens before the patches of a `Backbone` or of an MBT's stream."""
    return stream.num_prefix if hasattr(stream, "num_prefix") else int(stream.cls is not None)


def entering_cells(stream: nn.Module, shape: Sequence[int]) -> Cells:
    """The tokens that enter the first layer with attention weights, of an input of `shape`."""
    if not hasattr(stream, "cells"):
        return Cells(stream.grid(shape), stream.patch, stream.patch)
    return getattr(stream, "attended_cells", stream.cells)(shape)


def leaving_cells(stream: nn.Module, shape: Sequence[int]) -> Cells:
    """The tokens that leave the last layer."""
    return stream.cells(shape) if hasattr(stream, "cells") else entering_cells(stream, shape)


def on_input(
    values: Tensor, stream: nn.Module, shape: Sequence[int], *, cells: Cells | None = None
) -> Tensor:
    """Values of a stream's patches (B, N) as a map (B, *cells) over its input of `shape`.

    Args:
        cells: the patches' grid; `None`: as they enter the first layer with attention.
    """
    cells = cells or entering_cells(stream, shape)
    if not getattr(stream, "frame_sampling", None):
        return spread(values, cells, shape)
    return _on_chosen_frames(values, stream, cells, shape)


def _on_chosen_frames(values: Tensor, stream: Stream, cells: Cells, shape: Sequence[int]) -> Tensor:
    """`on_input` where the model itself chooses frames: zero in the others, every pixel a cell."""
    frames, height, width = shape
    looked = sample_frames(frames, stream.frame_sampling)
    stacked = cells.grid[0] == 1 and cells.grid[1] * cells.patch[1] > height
    seen = (1, len(looked) * height, width) if stacked else (len(looked), height, width)
    found = spread(values, cells, seen, tiles=False).reshape(-1, len(looked), height, width)
    index = torch.tensor(looked, device=found.device)  # one may come twice
    return found.new_zeros(found.shape[0], *shape).index_add(1, index, found)
