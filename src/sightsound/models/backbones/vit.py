"""ViT over the frames of a clip: each frame alone, or all of them at once.

What AVT's table 5 puts in UniFormer's place, and what its table 3 counts as MBT's pictures. Layers
are those of Google's ViT and of MBT (`nn/block.py`), so that an image ViT can start it
(`--init vit:FILE`).

Frames alone: every frame has CLS and positions of its own, and sees no other frame; the clip's
vector is the mean of their CLS. All at once: one CLS, as in MBT before fusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from sightsound.models.backbone import Cells, Tokens
from sightsound.models.input_masks import blanked
from sightsound.models.sizes import choose_size
from sightsound.models.stream import Stream, input_shape
from sightsound.nn.block import Block, layer_norm
from sightsound.nn.masking import pool
from sightsound.nn.position import resize_positions
from sightsound.registry import unknown_name
from sightsound.types import VIDEO

ATTENTIONS = ("frame", "joint")


class VideoViT(Stream):
    """A `Backbone` of video.

    Args:
        shape: (T, H, W) that the positions are made for.
        size: `tiny`, `small`, `base` or `large`; `width`, `depth`, `num_heads` and `mlp_width`
            replace its own.
        patch: (frames, height, width); frames that do not fill one are left out.
        attention: `frame`: a token sees the tokens of its own frames; `joint`: of the clip.
        stochastic_depth: drop rate of the last layer; layer l of L has l / (L - 1) of it.
    """

    modality = VIDEO
    num_prefix = 1

    def __init__(
        self,
        shape: Sequence[int] = (16, 224, 224),
        *,
        size: Literal["tiny", "small", "base", "large"] = "base",
        width: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        mlp_width: int | None = None,
        patch: Sequence[int] = (1, 16, 16),
        attention: Literal["frame", "joint"] = "frame",
        stochastic_depth: float = 0.0,
    ) -> None:
        if attention not in ATTENTIONS:
            raise unknown_name("attention", attention, ATTENTIONS)
        chosen = choose_size(
            size, width=width, depth=depth, num_heads=num_heads, mlp_width=mlp_width
        )
        last = max(chosen.depth - 1, 1)
        super().__init__(
            VIDEO,
            shape=tuple(shape),
            patch=tuple(patch),
            channels=3,
            width=chosen.width,
            stem="linear",
            frame_sampling=None,
            token=True,
            blocks=[
                Block(
                    chosen.width,
                    chosen.num_heads,
                    chosen.mlp_width,
                    drop_path=stochastic_depth * layer / last,
                )
                for layer in range(chosen.depth)
            ],
        )
        self.size, self.width, self.attention = chosen, chosen.width, attention
        self.norm = layer_norm(self.width)

    def forward(
        self,
        x: Tensor,
        *,
        valid: Tensor | None = None,
        token_mask: Tensor | None = None,
        maps: bool = False,
    ) -> Tokens:
        """CLS and patch tokens (B, 1 + N, D) of x (B, T, C, H, W); arguments as of `Backbone`.

        A token counts if one of its frames is valid. Maps are those of `joint` attention.
        """
        shape = input_shape(VIDEO, x)
        grid, mask = self.grid(shape), None
        if valid is not None:
            x, mask = blanked(VIDEO, x, None, {VIDEO: valid}), self.token_mask(valid, shape)
        tokens = self.patches(x.transpose(1, 2)).flatten(1, -2)
        if token_mask is not None:
            tokens = tokens.masked_fill(token_mask[..., None], 0.0)
        tokens = torch.cat((self.cls.expand(len(tokens), -1, -1), tokens), dim=1)
        tokens, attention = self.positions(tokens, grid), {}
        if self.attention == "frame":
            tokens = self._frame_by_frame(tokens, grid, mask)
        else:
            for layer, block in enumerate(self.blocks):
                tokens, weights = block(tokens, key_mask=mask, maps=maps)
                attention |= {layer: weights} if maps else {}
            tokens = self.norm(tokens)
        return Tokens(tokens, tokens[:, 0], mask, attention)

    def _frame_by_frame(self, x: Tensor, grid: Sequence[int], mask: Tensor | None) -> Tensor:
        """Tokens (B, 1 + N, D) after the layers, of which each saw one step of time."""
        frames = x[:, 1:].unflatten(1, (grid[0], -1))  # (B, T', n, D)
        first = x[:, None, :1].expand(-1, grid[0], -1, -1)
        x = torch.cat((first, frames), dim=2).flatten(0, 1)
        for block in self.blocks:
            x, _ = block(x)
        x = self.norm(x).unflatten(0, (-1, grid[0]))
        steps = None if mask is None else mask[:, 1:].unflatten(1, (grid[0], -1))[..., 0]
        cls = pool(x[:, :, 0], steps, kind="gap")
        return torch.cat((cls[:, None], x[:, :, 1:].flatten(1, 2)), dim=1)

    def cells(self, shape: Sequence[int]) -> Cells:
        """The patches of a clip of `shape`, (T, H, W)."""
        return Cells(self.grid(shape), self.patch, self.patch)

    def embedded_cells(self, shape: Sequence[int]) -> Cells:
        """The same: there is one grid from the patch embedding on."""
        return self.cells(shape)

    def example_input(self, batch_size: int = 1) -> Tensor:
        """Zeros (B, T, C, H, W) of the shape it is built for, on its device."""
        frames, *size = self.shape
        return self.norm.weight.new_zeros(batch_size, frames, self.channels, *size)

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute each layer's activations in the backward pass: less memory, same numbers."""
        for block in self.blocks:
            block.checkpointing = enabled

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without decay: biases, norms, CLS, positions."""
        tables = {"cls", "positions.table"}
        return tables | {name for name, parameter in self.named_parameters() if parameter.ndim == 1}

    def resize_state(self, name: str, tensor: Tensor, source: VideoViT) -> Tensor | None:
        """`source`'s positions on this one's grid; `None`: another name, or the grids are equal."""
        old, new = source.positions.grid, self.positions.grid
        if name != "positions.table" or old == new or source.width != self.width:
            return None
        return resize_positions(tensor, old, new, prefix=self.num_prefix)
