"""Audio Spectrogram Transformer (Gong et al. 2021, arXiv 2104.01778): log-mel -> tokens.

A DeiT whose pictures are spectrograms, in overlapping patches. Differs from `models.stream`: two
tokens, CLS and distillation, whose mean the classifier reads; exact GELU; patches of 16 x 16 every
10 (or 16) places; positions of another grid are cut out of its middle, or interpolated.

The authors order mel bins before time. Here it is time before mel as everywhere; `weights/ast.py`
turns kernels and positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightsound.models.backbone import Backbone, Tokens, input_shape
from sightsound.models.explained import Cells
from sightsound.models.input_masks import blanked
from sightsound.models.sizes import choose_size, new_blocks
from sightsound.nn.block import run_blocks
from sightsound.nn.vit_block import START_DEVIATION, VitBlock
from sightsound.types import AUDIO

PREFIX = 2  # CLS, distillation


class AST(Backbone):
    """A `Backbone` of audio.

    Args:
        shape: (F, M), time frames and mel bins, that the positions are made for.
        size: `tiny`, `small`, `base` or `large`; `width`, `depth`, `num_heads` and `mlp_width`
            replace its own.
        patch: (time, mel).
        stride: from patch to patch, (time, mel).
        stochastic_depth: drop rate of the last layer; layer l of L has l / (L - 1) of it.
        epsilon: of all norms.
        padding: `None`: frames of padding are hidden. A number: they have this value and count, as
            in the released program, whose padding is 0 before normalisation.
    """

    modality = AUDIO
    num_prefix = PREFIX
    tables = ("cls", "distillation", "positions")

    def __init__(
        self,
        shape: Sequence[int] = (1024, 128),
        *,
        size: Literal["tiny", "small", "base", "large"] = "base",
        width: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        mlp_width: int | None = None,
        patch: Sequence[int] = (16, 16),
        stride: Sequence[int] = (10, 10),
        stochastic_depth: float = 0.0,
        epsilon: float = 1e-6,
        padding: float | None = None,
    ) -> None:
        super().__init__()
        chosen = choose_size(
            size, width=width, depth=depth, num_heads=num_heads, mlp_width=mlp_width
        )
        self.shape, self.width, self.padding = tuple(shape), chosen.width, padding
        self.patch = time, mel = tuple(patch)
        self.stride = step_time, step_mel = tuple(stride)
        self.grid = self.cells(self.shape).grid
        self.patches = nn.Conv2d(1, self.width, (time, mel), (step_time, step_mel))
        self.cls = nn.Parameter(torch.empty(1, 1, self.width))
        self.distillation = nn.Parameter(torch.empty(1, 1, self.width))
        self.positions = nn.Parameter(torch.empty(1, PREFIX + math.prod(self.grid), self.width))
        for table in (self.cls, self.distillation, self.positions):
            nn.init.trunc_normal_(table, std=START_DEVIATION)
        drop = dict(stochastic_depth=stochastic_depth, epsilon=epsilon)
        blocks = new_blocks(VitBlock, chosen, range(chosen.depth), **drop)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(self.width, eps=epsilon)

    def forward(
        self,
        x: Tensor,
        *,
        valid: Tensor | None = None,
        token_mask: Tensor | None = None,
        maps: bool = False,
    ) -> Tokens:
        """CLS, distillation and patch tokens (B, 2 + N, D) of x (B, 1, F, M); see `Backbone`.

        A token counts if one of its frames is valid. `token_mask` never hides the first two.
        """
        shape, mask = input_shape(AUDIO, x), None
        if valid is not None and self.padding is not None:
            x = x.masked_fill(~valid[:, None, :, None], self.padding)
        elif valid is not None:
            x, mask = blanked(AUDIO, x, valid), self.valid_tokens(valid, shape)
        x = self.patches(x).flatten(2).transpose(1, 2)
        if token_mask is not None:
            x = x.masked_fill(token_mask[..., None], 0.0)
        prefix = [token.expand(x.shape[0], -1, -1) for token in (self.cls, self.distillation)]
        positions = adapted_positions(self.positions, self.grid, self.cells(shape).grid)
        x = torch.cat((*prefix, x), dim=1) + positions
        x, attention = run_blocks(self.blocks, x, key_mask=mask, maps=maps)
        x = self.norm(x)
        return Tokens(x, x[:, :PREFIX].mean(1), mask, attention)

    def cells(self, shape: Sequence[int]) -> Cells:
        """The patches of a spectrogram of `shape`, (F, M)."""
        sizes = zip(shape, self.patch, self.stride, strict=True)
        grid = tuple((size - patch) // stride + 1 for size, patch, stride in sizes)
        if min(grid) < 1:
            raise ValueError(
                f"audio of shape {tuple(shape)} is smaller than AST's patch {self.patch}; take a "
                "smaller patch or a longer input"
            )
        return Cells(grid, self.patch, self.stride)

    def grad_cam_layer(self, shape: Sequence[int], *, stage: int) -> tuple[nn.Module, Cells] | None:
        """What the attention of the last layer reads."""
        return self.blocks[-1].get_submodule("attention_norm"), self.cells(shape)

    def resize_state(self, name: str, tensor: Tensor, source: Backbone) -> Tensor | None:
        """`source`'s positions on this one's grid; `None`: another name, or the grids are equal."""
        if name != "positions" or not isinstance(source, AST):
            return None
        if source.grid == self.grid or source.width != self.width:
            return None
        return adapted_positions(tensor, source.grid, self.grid)


def adapted_positions(table: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """`table` (1, 2 + prod(old), D) made (1, 2 + prod(new), D), grids (time, mel).

    An axis that gets shorter is cut out of the middle, one that gets longer is interpolated
    linearly, the edges of both grids coinciding (paper, section 2.2, and the official code). The
    first two rows stay.
    """
    if tuple(old) == tuple(new):
        return table
    head, body = table[:, :PREFIX], table[:, PREFIX:]
    maps = body.transpose(1, 2).unflatten(2, tuple(old))  # (1, D, time, mel)
    for axis, (before, after) in enumerate(zip(old, new, strict=True), start=2):
        if after <= before:
            maps = maps.narrow(axis, before // 2 - after // 2, after)
        else:
            size = [*maps.shape[2:]]
            size[axis - 2] = after
            maps = functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    return torch.cat((head, maps.flatten(2).transpose(1, 2)), dim=1)
