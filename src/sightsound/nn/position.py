"""Learned position tables, and what becomes of them on another grid."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PositionTable(nn.Module):
    """One learned row per token, added to it; row 0 belongs to CLS where there is one.

    Args:
        grid: tokens per axis, (time, height, width) or (time, mel); time comes first, so tokens
            are ordered by time, then row, then column.
        prefix: rows before the grid's (1 with CLS, else 0).
    """

    def __init__(self, grid: tuple[int, ...], width: int, *, prefix: int) -> None:
        super().__init__()
        self.grid = grid
        self.prefix = prefix
        self.table = nn.Parameter(torch.empty(1, prefix + math.prod(grid), width))
        nn.init.normal_(self.table, std=0.02)

    def forward(self, tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
        """`tokens` (B, prefix + N, D) plus positions, interpolated if `grid` is another one."""
        if grid == self.grid:
            return tokens + self.table
        return tokens + resize_positions(self.table, self.grid, grid, prefix=self.prefix)


def resize_positions(
    table: Tensor, old: tuple[int, ...], new: tuple[int, ...], *, prefix: int
) -> Tensor:
    """`table` (1, prefix + prod(old), D) linearly interpolated to (1, prefix + prod(new), D).

    The corners of both grids coincide (`align_corners`), as with the official code's
    `scipy.ndimage.zoom`. Rows before the grid's stay as they are.
    """
    if old == new:
        return table
    head, body = table[:, :prefix], table[:, prefix:]
    maps = body.transpose(1, 2).unflatten(2, old)  # (1, D, *old)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(old)]
    maps = F.interpolate(maps, size=new, mode=mode, align_corners=True)
    return torch.cat((head, maps.flatten(2).transpose(1, 2)), dim=1)
