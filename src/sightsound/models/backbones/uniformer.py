"""UniFormer (Li et al. 2022, arXiv 2201.04676): a clip -> a grid of tokens.

Four stages. Each starts with a strided convolution that merges patches; the first two then look at
neighbours only (depthwise convolutions), the last two at all tokens of the clip at once. There is
no CLS token: the classifier reads the mean.

What is easily missed: time is halved once, at the start, where the kernel is three frames wide;
there are three norms (LayerNorm 1e-5 after merging, LayerNorm 1e-6 in global layers, batch norm
1e-5 in local layers and at the end); nothing nonlinear stands between the three convolutions of a
local layer; positions are depthwise convolutions in every layer.

Padding: a clip followed by padding frames gives the numbers it gives without them, since what
convolutions see beyond the valid frames is zero as it is beyond the edge.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sightsound.models.backbone import Backbone, Tokens, input_shape
from sightsound.models.explained import Cells
from sightsound.models.input_masks import blanked
from sightsound.nn.masked_batch_norm import MaskedBatchNorm3d, Statistics, frozen_running_stats
from sightsound.nn.masking import pool
from sightsound.nn.vit_block import ScaledDropPath, VitBlock
from sightsound.registry import unknown_name
from sightsound.types import VIDEO

EMBEDDED_STRIDE = (2, 4, 4)  # of the first stage's tokens
ATTENDED_STRIDE = (2, 16, 16)  # of the third stage's
STRIDE = (2, 32, 32)  # of the last stage's
NUM_LOCAL = 2  # stages with local layers


@dataclass(frozen=True)
class UniFormerSize:
    """Widths and numbers of layers of the four stages."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]


SIZES = {
    "small": UniFormerSize((64, 128, 320, 512), (3, 4, 8, 3)),
    "base": UniFormerSize((64, 128, 320, 512), (5, 8, 20, 7)),
}


class UniFormer(Backbone):
    """A `Backbone` of video.

    Args:
        shape: (T, H, W) it is built for; no weight depends on it.
        size: `small` or `base`; `widths` and `depths`, of the four stages, replace its own.
        head_width: of the heads in the last two stages.
        mlp_ratio: hidden width of the MLPs, in widths.
        channels: C of the video.
        stochastic_depth: drop rate of the last layer; layer l of L has l / (L - 1) of it.
        statistics: of the batch norms in training, see `MaskedBatchNorm3d`.
    """

    modality = VIDEO
    stage1: Stage
    stage2: Stage
    stage3: Stage
    stage4: Stage

    def __init__(
        self,
        shape: Sequence[int] = (16, 224, 224),
        *,
        size: Literal["small", "base"] = "base",
        widths: Sequence[int] | None = None,
        depths: Sequence[int] | None = None,
        head_width: int = 64,
        mlp_ratio: float = 4.0,
        channels: int = 3,
        stochastic_depth: float = 0.0,
        statistics: Statistics = "own",
    ) -> None:
        super().__init__()
        if size not in SIZES:
            raise unknown_name("size", size, SIZES)
        widths, depths = widths or SIZES[size].widths, depths or SIZES[size].depths
        _check_sizes(widths, depths, head_width)
        self.shape, self.channels, self.width = tuple(shape), channels, widths[-1]
        last = max(sum(depths) - 1, 1)
        rates = iter([stochastic_depth * layer / last for layer in range(sum(depths))])
        for number, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
            mlp_width = int(width * mlp_ratio)
            new: Callable[..., nn.Module]
            if number <= NUM_LOCAL:
                new = functools.partial(LocalLayer, width, mlp_width, statistics=statistics)
            else:
                new = functools.partial(GlobalLayer, width, mlp_width, width // head_width)
            layers = [new(drop_path=next(rates)) for _ in range(depth)]
            stage = Stage(channels, width, layers, first=number == 1)
            self.add_module(f"stage{number}", stage)
            channels = width
        self.norm = MaskedBatchNorm3d(self.width, statistics=statistics)
        self.cells(self.shape)  # not too small

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The four stages."""
        return self.stage1, self.stage2, self.stage3, self.stage4

    def forward(
        self,
        x: Tensor,
        *,
        valid: Tensor | None = None,
        token_mask: Tensor | None = None,
        maps: bool = False,
    ) -> Tokens:
        """Tokens (B, N, D) of x (B, T, C, H, W); arguments as of `Backbone`.

        A token counts if one of its two frames is valid.
        """
        grid, steps = self.cells(input_shape(VIDEO, x)).grid, None
        if valid is not None:
            x, steps = blanked(VIDEO, x, valid), _steps_of(valid)
        x, layer = x.transpose(1, 2), 0
        attention: dict[int, Tensor] = {}
        for index, stage in enumerate(self.stages):
            hidden = token_mask if index == 0 else None
            x, found = stage(x, steps=steps, hidden=hidden, maps=maps)
            attention |= {layer + number: weights for number, weights in found.items()}
            layer += len(stage.layers)
        tokens = self.norm(x, steps=steps).flatten(2).transpose(1, 2)
        mask = None if steps is None else _of_tokens(steps, grid)
        return Tokens(tokens, pool(tokens, mask, kind="gap"), mask, attention)

    def cells(self, shape: Sequence[int]) -> Cells:
        """The tokens after the last stage for a clip of `shape`, (T, H, W)."""
        return _cells(shape, STRIDE)

    def attended_cells(self, shape: Sequence[int]) -> Cells:
        """The tokens of the third stage, which enter the first layer with global attention."""
        return _cells(shape, ATTENDED_STRIDE)

    def embedded_cells(self, shape: Sequence[int]) -> Cells:
        """The tokens of the first stage. Their kernel also sees the frame before their own two."""
        return dataclasses.replace(_cells(shape, EMBEDDED_STRIDE), before=(1, 0, 0))

    def grad_cam_layer(self, shape: Sequence[int], *, stage: int) -> tuple[nn.Module, Cells] | None:
        """What stage 3 gives to the last, or what stage 4 gives."""
        cells = self.cells(shape) if stage == len(self.stages) else self.attended_cells(shape)
        return self.stages[stage - 1], cells

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute each layer's activations in the backward pass: less memory, same numbers."""
        super().set_gradient_checkpointing(enabled)
        for module in self.modules():
            if isinstance(module, LocalLayer):
                module.checkpointing = enabled


class Stage(nn.Module):
    """Patches merged, then layers, all on maps (B, C, T, H, W).

    Args:
        layers: `LocalLayer` or `GlobalLayer`.
        first: it merges 2 x 4 x 4 pixels, and its kernel is three frames wide; the others merge
            2 x 2 tokens.
    """

    def __init__(
        self, channels: int, width: int, layers: Sequence[nn.Module], *, first: bool
    ) -> None:
        super().__init__()
        if first:
            self.patches = nn.Conv3d(channels, width, (3, 4, 4), EMBEDDED_STRIDE, (1, 0, 0))
        else:
            self.patches = nn.Conv3d(channels, width, (1, 2, 2), (1, 2, 2))
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(layers)

    def forward(
        self, x: Tensor, *, steps: Tensor | None, hidden: Tensor | None, maps: bool
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """The stage's maps, and {layer: attention weights} if `maps`.

        Args:
            steps: (B, T') bool, false where a step of time is padding; `None`: nowhere.
            hidden: (B, T' * H' * W') bool, true: tokens that are zero after merging.
        """
        x = self.norm(self.patches(x).movedim(1, -1)).movedim(-1, 1)
        if hidden is not None:
            x = x.masked_fill(hidden.unflatten(1, x.shape[2:])[:, None], 0.0)
        found = {}
        for number, layer in enumerate(self.layers):
            x, weights = layer(x, steps=steps, maps=maps)
            if weights is not None:
                found[number] = weights
        return x, found


class LocalLayer(nn.Module):
    """x += positions(x); x += neighbours(norm(x)); x += mlp(norm(x)), all of them convolutions.

    Args:
        drop_path: probability that an example skips a branch; drawn for each branch apart, not for
            positions.
    """

    def __init__(
        self, width: int, mlp_width: int, *, drop_path: float = 0.0, statistics: Statistics = "own"
    ) -> None:
        super().__init__()
        self.positions = Depthwise(width, 3)
        self.neighbour_norm = MaskedBatchNorm3d(width, statistics=statistics)
        self.inlet = nn.Conv3d(width, width, 1)
        self.neighbours = Depthwise(width, 5)
        self.outlet = nn.Conv3d(width, width, 1)
        self.mlp_norm = MaskedBatchNorm3d(width, statistics=statistics)
        self.expand = nn.Conv3d(width, mlp_width, 1)
        self.contract = nn.Conv3d(mlp_width, width, 1)
        self.activation = nn.GELU()
        self.drop_path = ScaledDropPath(drop_path)
        self.checkpointing = False

    def forward(
        self, x: Tensor, *, steps: Tensor | None, maps: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Maps (B, C, T, H, W), and no attention weights; `steps` as of `Stage`."""
        if not (self.checkpointing and torch.is_grad_enabled()):
            return self._forward(x, steps), None
        x = checkpoint(
            self._forward,
            x,
            steps,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), frozen_running_stats(self)),
        )
        return x, None

    def _forward(self, x: Tensor, steps: Tensor | None) -> Tensor:
        x = x + self.positions(_blanked(x, steps))
        inside = _blanked(self.inlet(self.neighbour_norm(x, steps=steps)), steps)
        x = x + self.drop_path(self.outlet(self.neighbours(inside)))
        inside = self.activation(self.expand(self.mlp_norm(x, steps=steps)))
        return x + self.drop_path(self.contract(inside))


class GlobalLayer(nn.Module):
    """x += positions(x), then a transformer layer over all tokens of the clip."""

    def __init__(
        self, width: int, mlp_width: int, num_heads: int, *, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.positions = Depthwise(width, 3)
        self.block = VitBlock(width, num_heads, mlp_width, drop_path=drop_path)

    def forward(
        self, x: Tensor, *, steps: Tensor | None, maps: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Maps (B, C, T, H, W), and weights (B, h, N, N) if `maps`; `steps` as of `Stage`."""
        x = x + self.positions(_blanked(x, steps))
        grid, mask = x.shape[2:], None
        if steps is not None:  # an absent example looks at itself: any number will do
            mask = _of_tokens(steps | ~steps.any(1, keepdim=True), grid)
        tokens, weights = self.block(x.flatten(2).transpose(1, 2), key_mask=mask, maps=maps)
        return tokens.transpose(1, 2).unflatten(2, grid), weights


class Depthwise(nn.Conv3d):
    """A convolution for each channel, (B, C, T, H, W) to the same shape; never in bfloat16 on CPU.

    There torch 2.13 leaves parts of the weights' gradient as they lay in memory, if the maps are
    small beside the kernel.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__(width, width, kernel, padding=kernel // 2, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """As of `nn.Conv3d`."""
        if not (x.is_cpu and torch.is_autocast_enabled("cpu")):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


def _blanked(x: Tensor, steps: Tensor | None) -> Tensor:
    """x (B, C, T, H, W) with zeros where `steps` (B, T) is false."""
    return x if steps is None else x.masked_fill(~steps[:, None, :, None, None], 0.0)


def _steps_of(valid: Tensor) -> Tensor:
    """(B, T') bool of (B, T): pairs of frames of which one is valid; an odd last one is alone."""
    odd = valid.new_zeros(valid.shape[0], valid.shape[1] % 2)
    return torch.cat((valid, odd), dim=1).unflatten(1, (-1, 2)).any(-1)


def _of_tokens(steps: Tensor, grid: Sequence[int]) -> Tensor:
    """(B, T * H * W) bool of (B, T)."""
    return steps.repeat_interleave(grid[1] * grid[2], dim=1)


def _cells(shape: Sequence[int], stride: tuple[int, int, int]) -> Cells:
    """Rows and columns that do not fill a cell are left out, an odd last frame is not."""
    frames, height, width = shape
    grid = (-(-frames // stride[0]), height // stride[1], width // stride[2])
    if 0 in grid:
        raise ValueError(
            f"video of shape {tuple(shape)} is smaller than UniFormer's coarsest cell; one frame "
            f"or more of at least {STRIDE[1]} x {STRIDE[2]} pixels is accepted"
        )
    return Cells(grid, stride, stride)


def _check_sizes(widths: Sequence[int], depths: Sequence[int], head_width: int) -> None:
    if len(widths) != 4 or len(depths) != 4 or min(*widths, *depths) < 1:
        raise ValueError(
            f"widths are {list(widths)} and depths {list(depths)}; accepted: four numbers each, "
            "1 or more"
        )
    if any(width % head_width for width in widths[NUM_LOCAL:]):
        raise ValueError(
            f"widths {list(widths[NUM_LOCAL:])} of the last two stages are no multiples of "
            f"head_width {head_width}; give another head_width"
        )
