"""What a backbone is: the encoder of one stream, from our tensors to tokens.

The networks are in `backbones/`, listed in `registry.BACKBONES`; the streams of an MBT
(`stream.py`) are backbones, too. A model of one stream around one is in `unimodal.py`. (Frozen
encoders of single seconds are something else: `features/encoders/`.)
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightsound.models.explained import Cells, RolloutRows
from sightsound.nn.block import Block
from sightsound.nn.masking import pool
from sightsound.registry import BACKBONES, resolve, unknown_name
from sightsound.types import VIDEO


@dataclass
class Tokens:
    """What a backbone makes of a batch, after its final norm. P prefix tokens, then N of the grid.

    An example without any valid frame has tokens, too; nobody should read them.
    """

    tokens: Tensor  # (B, P + N, D); those of the grid ordered by time, then row, then column
    pooled: Tensor  # (B, D): what the backbone's own classifier reads
    key_mask: Tensor | None = None  # (B, P + N) bool: false where a token is padding; None: nowhere
    attention: dict[int, Tensor] = field(default_factory=dict)
    """{layer: (B, h, N', N')} of the layers with global attention; empty unless `maps`."""


class Backbone(nn.Module):
    """The encoder of one stream. A subclass sets the attributes and writes `forward` and `cells`.

    Its constructor takes `shape` and, by keyword, sizes and `stochastic_depth`.
    """

    modality: str
    """Either "video" or "audio"."""
    shape: tuple[int, ...]
    """(T, H, W) or (F, M) it is built for; others are accepted."""
    channels: int = 1
    """Of the input: C of video, 1 of audio."""
    width: int
    """D of the tokens."""
    num_prefix: int = 0
    """P: tokens before those of the grid (CLS, distillation)."""
    frame_sampling: int | None = None
    """How many frames it chooses itself; `None`: it reads all."""
    hides_tokens: bool = True
    """Whether `token_mask` makes tokens zero; false: it hides them from attention only."""
    global_attention: bool = True
    """Whether all tokens of a clip see one another, so that attention can be followed."""
    options: dict[str, Any] | None = None
    """What makes it again, where its own arguments may name files; `None`: those arguments."""
    tables: tuple[str, ...] = ()
    """How the names of learned tables end, which have no weight decay: CLS, positions."""

    def forward(
        self,
        x: Tensor,
        *,
        valid: Tensor | None = None,
        token_mask: Tensor | None = None,
        maps: bool = False,
    ) -> Tokens:
        """Tokens of video (B, T, C, H, W) or audio (B, 1, F, M), normalised.

        Args:
            valid: (B, T) or (B, F) bool; false: padding, whose content changes nothing. An example
                without any valid frame is absent: batch norms leave it out of their statistics.
            token_mask: (B, N') bool over `embedded_cells`; true: the token is zero right after the
                patch embedding, before positions.
            maps: also return attention weights.

        Raises:
            ValueError: the input is too small or has other axes.
        """
        raise NotImplementedError

    def cells(self, shape: Sequence[int]) -> Cells:
        """The grid of the resulting tokens for an input of `shape`, (T, H, W) or (F, M)."""
        raise NotImplementedError

    def attended_cells(self, shape: Sequence[int]) -> Cells:
        """The grid of the tokens that enter the first layer with global attention."""
        return self.cells(shape)

    def embedded_cells(self, shape: Sequence[int]) -> Cells:
        """The grid right after the (first) patch embedding, where `token_mask` hides tokens."""
        return self.cells(shape)

    def valid_tokens(self, valid: Tensor, shape: Sequence[int]) -> Tensor:
        """(B, P + N) bool: tokens with a valid frame, of `valid` (B, T) or (B, F); P always are."""
        cells = self.cells(shape)
        steps = valid.unfold(1, cells.patch[0], cells.stride[0]).any(-1)  # (B, grid[0])
        tokens = steps.repeat_interleave(math.prod(cells.grid[1:]), dim=1)
        return torch.cat((tokens.new_ones(len(tokens), self.num_prefix), tokens), dim=1)

    def grad_cam_layer(self, shape: Sequence[int], *, stage: int) -> tuple[nn.Module, Cells] | None:
        """The layer whose result Grad-CAM looks at, and its cells; `None`: it is not known.

        Args:
            stage: of UniFormer, 3 or 4; others have no stages.
        """
        return None

    def rollout(self, rows: RolloutRows) -> tuple[Tensor, Tensor]:
        """Rows of the tokens that leave (B, P + N, 1), and of the vector for the clip (B, 1)."""
        shape, name = rows.shapes[self.modality], self.modality
        entering, leaving = self.attended_cells(shape).grid, self.cells(shape).grid
        x = rows.enter(name, self.num_prefix + math.prod(entering))
        for layer in (f"{name}.{number}" for number in rows.own(name)):
            if x.shape[1] != rows.num_tokens(layer):  # patches are merged: the mean of their rows
                step = (entering[1] // leaving[1], entering[2] // leaving[2])
                x = functional.avg_pool2d(x[..., 0].unflatten(1, entering), step)
                x = x.flatten(1)[..., None]
            x, _ = rows.layer(layer)(x)
        if self.num_prefix:
            return x, x[:, : self.num_prefix].mean(1)
        # Of AVT, the mask has one more token in front, the vector itself.
        mask = (rows.encoded.key_mask or {}).get(name)
        return x, pool(x, None if mask is None else mask[:, -x.shape[1] :], kind="gap")

    def example_input(self, batch_size: int = 1) -> Tensor:
        """Zeros of the shape it is built for, on its device."""
        shape = (self.channels, *self.shape)
        if self.modality == VIDEO:
            shape = (self.shape[0], self.channels, *self.shape[1:])
        return next(self.parameters()).new_zeros(batch_size, *shape)

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute each layer's activations in the backward pass: less memory, same numbers."""
        for module in self.modules():
            if isinstance(module, Block):
                module.checkpointing = enabled

    def no_weight_decay(self) -> set[str]:
        """Names of its parameters without decay: biases, norms and `tables`."""
        return {
            name
            for name, parameter in self.named_parameters()
            if parameter.ndim == 1 or name.endswith(self.tables)
        }

    def resize_state(self, name: str, tensor: Tensor, source: Backbone) -> Tensor | None:
        """`source`'s tensor `name` for this one's grid; `None`: it fits, or cannot be made to."""
        return None


def new_backbone(name: str, shape: Sequence[int], options: Mapping[str, Any]) -> Backbone:
    """The backbone `name` of `registry.BACKBONES` for inputs of `shape`.

    Raises:
        ValueError: no such backbone, or it has no such option.
    """
    backbone_class = resolve(BACKBONES, name, kind="backbone")
    known = inspect.signature(backbone_class).parameters.keys() - {"shape"}
    for option in options:
        if option not in known:
            raise unknown_name(f"option of backbone {name}", option, known)
    return backbone_class(shape, **options)


def own_options(backbone: Backbone, given: dict[str, Any] | None) -> dict[str, Any] | None:
    """The options that make `backbone` again, without the files that `given` may name."""
    return given if backbone.options is None else backbone.options


def frames_that_count(
    name: str,
    values: Tensor,
    *,
    present: Mapping[str, Tensor] | None,
    valid: Mapping[str, Tensor] | None,
) -> Tensor | None:
    """`valid` for the backbone of stream `name`: false for padding and in absent examples.

    `None` if every frame of `values` counts; arguments as of a model's `forward`.
    """
    mask = (valid or {}).get(name)
    if present and name in present:
        length = values.shape[1 if name == VIDEO else 2]
        here = present[name][:, None].expand(-1, length)
        mask = here if mask is None else mask & here
    return None if mask is None or bool(mask.all()) else mask


def input_shape(modality: str, values: Tensor) -> tuple[int, ...]:
    """(T, H, W) of video (B, T, C, H, W); (F, M) of audio (B, 1, F, M)."""
    if modality == VIDEO:
        return values.shape[1], values.shape[3], values.shape[4]
    return values.shape[2], values.shape[3]
