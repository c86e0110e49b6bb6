"""One modality up to its tokens: patches, CLS, positions, and which tokens are padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sightsound.nn.block import Block
from sightsound.nn.patch import STEMS, sample_frames
from sightsound.nn.position import PositionTable
from sightsound.registry import unknown_name
from sightsound.types import VIDEO


class Stream(nn.Module):
    """One modality: z = [z_cls, E x_1, ..., E x_N] + p (paper, equation 1), and its own layers.

    Args:
        kind: "video" or "audio".
        shape: (T, H, W) or (F, M) the model is built for.
        patch: (frames, height, width) or (time, mel).
        channels: of the patches; a one-channel spectrogram is repeated to fill them.
        stem: `linear` or `convolution`, see `nn/patch.py`.
        frame_sampling: choose about this many of the T frames inside the model, or `None`.
        token: whether there is a CLS token.
        blocks: the layers of this modality; empty where they are shared.
    """

    def __init__(
        self,
        kind: str,
        *,
        shape: tuple[int, ...],
        patch: tuple[int, ...],
        channels: int,
        width: int,
        stem: str,
        frame_sampling: int | None,
        token: bool,
        blocks: Sequence[Block],
    ) -> None:
        super().__init__()
        if stem not in STEMS:
            raise unknown_name("stem", stem, STEMS)
        self.kind = kind
        self.shape = tuple(shape)
        self.patch = tuple(patch)
        self.channels = channels
        self.frame_sampling = frame_sampling
        self.patches = STEMS[stem](channels, self.patch, width)
        self.cls = nn.Parameter(torch.zeros(1, 1, width)) if token else None
        self.positions = PositionTable(self.grid(self.shape), width, prefix=int(token))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D), CLS first, of video (B, T, C, H, W) or audio (B, 1, F, M)."""
        grid = self.grid(input_shape(self.kind, x))
        x = self._sampled(x.transpose(1, 2)) if self.kind == VIDEO else x
        x = x.expand(-1, self.channels, *[-1] * (x.ndim - 2))
        tokens = self.patches(x).flatten(1, -2)  # (B, N, D)
        if self.cls is not None:  # CLS comes first, then positions are added, its own among them
            tokens = torch.cat((self.cls.expand(tokens.shape[0], -1, -1), tokens), dim=1)
        return self.positions(tokens, grid)

    def grid(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Patch tokens per axis for an input of `shape`, (T, H, W) or (F, M)."""
        if self.kind == VIDEO:
            frames, height, width = shape
            if self.frame_sampling:
                frames = len(sample_frames(frames, self.frame_sampling))
            straddles = self._straddles(height)
            shape = (1, frames * height, width) if straddles else (frames, height, width)
        grid = tuple(size // part for size, part in zip(shape, self.patch, strict=True))
        if 0 in grid:
            raise ValueError(
                f"{self.kind} of shape {tuple(shape)} is smaller than {self.kind}_patch "
                f"{self.patch}; take a smaller patch or a larger input"
            )
        return grid

    def token_mask(self, valid: Tensor, shape: Sequence[int]) -> Tensor:
        """(B, N) bool: tokens that hold at least one real frame; CLS always counts.

        Args:
            valid: (B, T) or (B, F) bool, false where the input is padding.
            shape: of the input, (T, H, W) or (F, M).
        """
        grid, step = self.grid(shape), self.patch[0]
        if self.kind == VIDEO and self.frame_sampling:
            valid = valid[:, sample_frames(valid.shape[1], self.frame_sampling)]
        if self.kind == VIDEO and self._straddles(shape[1]):
            rows = valid.repeat_interleave(shape[1], dim=1).unfold(1, self.patch[1], self.patch[1])
            mask = rows.any(-1).repeat_interleave(grid[2], dim=1)
        else:
            steps = valid.unfold(1, step, step).any(-1)  # (B, grid[0])
            per_step = torch.Size(grid[1:]).numel()
            mask = steps.repeat_interleave(per_step, dim=1)
        if self.cls is None:
            return mask
        return torch.cat((mask.new_ones(mask.shape[0], 1), mask), dim=1)

    def _sampled(self, x: Tensor) -> Tensor:
        """The frames that are looked at, of (B, C, T, H, W); stacked if patches straddle them."""
        if self.frame_sampling:
            x = x[:, :, sample_frames(x.shape[2], self.frame_sampling)]
        return x.flatten(2, 3).unsqueeze(2) if self._straddles(x.shape[3]) else x

    def _straddles(self, height: int) -> bool:
        """Official `temporal_sampling` stacks frames into one tall picture before cutting it.

        If the patch height does not divide the frame height, patches lie across two frames.
        """
        return bool(self.frame_sampling) and height % self.patch[1] != 0


def input_shape(kind: str, values: Tensor) -> tuple[int, ...]:
    """(T, H, W) of video (B, T, C, H, W); (F, M) of audio (B, 1, F, M)."""
    if kind == VIDEO:
        return values.shape[1], values.shape[3], values.shape[4]
    return values.shape[2], values.shape[3]
