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

from sightsound.models.backbone import Tokens, input_shape
from sightsound.models.sizes import choose_size, new_blocks
from sightsound.models.stream import Stream
from sightsound.nn.block import Block, layer_norm, run_blocks
from sightsound.nn.masking import pool
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

    modality: str = VIDEO
    hides_tokens = True

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
        super().__init__(
            VIDEO,
            shape=shape,
            patch=patch,
            channels=3,
            width=chosen.width,
            blocks=new_blocks(
                Block, chosen, range(chosen.depth), stochastic_depth=stochastic_depth
            ),
        )
        self.size, self.global_attention = chosen, attention == "joint"
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
        tokens, mask = self.embed(x, valid=valid, token_mask=token_mask)
        attention: dict[int, Tensor] = {}
        if self.global_attention:
            tokens, attention = run_blocks(self.blocks, tokens, key_mask=mask, maps=maps)
            tokens = self.norm(tokens)
        else:
            tokens = self._frame_by_frame(tokens, self.cells(input_shape(VIDEO, x)).grid, mask)
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
