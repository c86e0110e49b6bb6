"""One modality as a ViT reads it: patches, CLS, positions, and which tokens are padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sightsound.models.backbone import Backbone, input_shape
from sightsound.models.explained import Cells
from sightsound.models.input_masks import blanked
from sightsound.nn.block import Block
from sightsound.nn.masking import pool
from sightsound.nn.patch import STEMS, sample_frames
from sightsound.nn.position import PositionTable, resize_positions
from sightsound.registry import unknown_name
from sightsound.types import VIDEO


class Stream(Backbone):
    """One modality: z = [z_cls, E x_1, ..., E x_N] + p (paper, equation 1), and its own layers.

    Args:
        modality: "video" or "audio".
        shape: (T, H, W) or (F, M) the model is built for.
        patch: (frames, height, width) or (time, mel).
        channels: of the patches; a one-channel spectrogram is repeated to fill them.
        stem: `linear` or `convolution`, see `nn/patch.py`.
        frame_sampling: choose about this many of the T frames inside the model, or `None`.
        pooling: what stands for the stream: `token` (CLS), or `gap`, `gmp`, `gsp` of its tokens.
        blocks: the layers of this modality; empty where they are shared.
    """

    hides_tokens = False
    tables = ("cls", "positions.table")

    def __init__(
        self,
        modality: str,
        *,
        shape: Sequence[int],
        patch: Sequence[int],
        channels: int,
        width: int,
        blocks: Sequence[Block],
        stem: str = "linear",
        frame_sampling: int | None = None,
        pooling: str = "token",
    ) -> None:
        super().__init__()
        if stem not in STEMS:
            raise unknown_name("stem", stem, STEMS)
        self.modality, self.shape, self.patch = modality, tuple(shape), tuple(patch)
        self.channels = channels if modality == VIDEO else 1
        self.patch_channels, self.width = channels, width
        self.frame_sampling, self.pooling = frame_sampling, pooling
        self.num_prefix = int(pooling == "token")
        self.patches = STEMS[stem](channels, self.patch, width)
        self.cls = nn.Parameter(torch.zeros(1, 1, width)) if self.num_prefix else None
        grid = self.cells(self.shape).grid
        self.positions = PositionTable(grid, width, prefix=self.num_prefix)
        self.blocks = nn.ModuleList(blocks)

    def embed(
        self, x: Tensor, *, valid: Tensor | None = None, token_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """What enters the layers: tokens (B, P + N, D), and which may be attended to (B, P + N).

        Args:
            valid: as of `Backbone`.
            token_mask: (B, N) bool; true: the token is zero before positions are added, or hidden
                from attention where not `hides_tokens`.
        """
        shape, mask = input_shape(self.modality, x), None
        if valid is not None:
            x, mask = blanked(self.modality, x, valid), self.valid_tokens(valid, shape)
        if self.modality == VIDEO:
            x = x.transpose(1, 2)
            if self.frame_sampling:
                x = x[:, :, sample_frames(x.shape[2], self.frame_sampling)]
                x = x.flatten(2, 3).unsqueeze(2) if self._straddles(x.shape[3]) else x
        x = x.expand(-1, self.patch_channels, *[-1] * (x.ndim - 2))
        tokens = self.patches(x).flatten(1, -2)  # (B, N, D)
        if token_mask is not None and self.hides_tokens:
            tokens = tokens.masked_fill(token_mask[..., None], 0.0)
        elif token_mask is not None:
            prefix = token_mask.new_ones(len(token_mask), self.num_prefix)
            shown = torch.cat((prefix, ~token_mask), dim=1)
            mask = shown if mask is None else mask & shown
        if self.cls is not None:  # CLS comes first, then positions are added, its own among them
            tokens = torch.cat((self.cls.expand(tokens.shape[0], -1, -1), tokens), dim=1)
        return self.positions(tokens, self.cells(shape).grid), mask

    def pool(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """The vector for the clip (B, D): CLS, or the tokens that `mask` (B, N) leaves pooled."""
        return tokens[:, 0] if self.num_prefix else pool(tokens, mask, kind=self.pooling)

    def cells(self, shape: Sequence[int]) -> Cells:
        """The patches of an input of `shape`, (T, H, W) or (F, M)."""
        sizes = tuple(shape)
        if self.modality == VIDEO:
            frames, height, width = sizes
            if self.frame_sampling:
                frames = len(sample_frames(frames, self.frame_sampling))
                straddles = self._straddles(height)
                sizes = (1, frames * height, width) if straddles else (frames, height, width)
        grid = tuple(size // part for size, part in zip(sizes, self.patch, strict=True))
        if 0 in grid:
            raise ValueError(
                f"{self.modality} of shape {tuple(shape)} is smaller than {self.modality}_patch "
                f"{self.patch}; take a smaller patch or a larger input"
            )
        return Cells(grid, self.patch, self.patch)

    def valid_tokens(self, valid: Tensor, shape: Sequence[int]) -> Tensor:
        """(B, P + N) bool: tokens that hold at least one valid frame; CLS always counts."""
        if self.frame_sampling:
            valid = valid[:, sample_frames(valid.shape[1], self.frame_sampling)]
        if not (self.frame_sampling and self._straddles(shape[1])):
            return super().valid_tokens(valid, shape)
        rows = valid.repeat_interleave(shape[1], dim=1).unfold(1, self.patch[1], self.patch[1])
        mask = rows.any(-1).repeat_interleave(shape[2] // self.patch[2], dim=1)
        return torch.cat((mask.new_ones(len(mask), self.num_prefix), mask), dim=1)

    def _straddles(self, height: int) -> bool:
        """Whether patches lie across two of the chosen frames, as the height is no multiple.

        Official `temporal_sampling` stacks frames into one tall picture before cutting it.
        """
        return height % self.patch[1] != 0

    def grad_cam_layer(self, shape: Sequence[int], *, stage: int) -> tuple[nn.Module, Cells] | None:
        """What the attention of the last layer reads."""
        return self.blocks[-1].get_submodule("attention_norm"), self.cells(shape)

    def resize_state(self, name: str, tensor: Tensor, source: Backbone) -> Tensor | None:
        """`source`'s positions on this one's grid; `None`: they fit, or cannot be made to."""
        if name != "positions.table" or not isinstance(source, Stream):
            return None
        old, new = source.positions, self.positions
        if old.grid == new.grid or len(old.grid) != len(new.grid):
            return None
        if source.num_prefix != self.num_prefix or source.width != self.width:
            return None
        return resize_positions(tensor, old.grid, new.grid, prefix=self.num_prefix)
