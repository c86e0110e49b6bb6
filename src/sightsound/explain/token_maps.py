"""From numbers per token to maps that cover a model's input evenly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sightsound.models.backbone import Backbone
from sightsound.models.explained import Cells
from sightsound.models.pretrained import Pretrained
from sightsound.nn.patch import sample_frames


def backbone_of(model: Pretrained, modality: str) -> Backbone:
    """The encoder of one modality, which tells where its tokens come from."""
    stream = model.stream(modality)
    assert isinstance(stream, Backbone)
    return stream


def on_input(values: Tensor, stream: Backbone, shape: Sequence[int], *, cells: Cells) -> Tensor:
    """Values of a stream's patches (B, N) as a map (B, *grid) over its input of `shape`.

    Where the model itself chooses frames: zero in the others, and every pixel a cell.
    """
    if not stream.frame_sampling:
        return spread(values, cells, shape)
    frames, height, width = shape
    looked = sample_frames(frames, stream.frame_sampling)
    stacked = cells.grid[0] == 1 and cells.grid[1] * cells.patch[1] > height
    seen = (1, len(looked) * height, width) if stacked else (len(looked), height, width)
    chosen = spread(values, cells, seen, tiles=False).reshape(-1, len(looked), height, width)
    index = torch.tensor(looked, device=chosen.device)  # one may come twice
    return chosen.new_zeros(chosen.shape[0], *shape).index_add(1, index, chosen)


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
