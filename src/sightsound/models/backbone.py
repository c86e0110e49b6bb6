"""What a trainable backbone is: the complete encoder of one stream, from our tensors to tokens.

The networks are in `backbones/`, listed in `registry.BACKBONES`; a model of one stream around one
is in `unimodal.py`. They share this interface and no base class. (Frozen encoders of single seconds
are something else: `encoder.py`.)
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

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


@dataclass(frozen=True)
class Cells:
    """A grid of tokens and the part of the input that each stands for.

    Axes are (time, height, width) of frames, or (time, mel). Token i of an axis stands for `patch`
    places from i * `stride` on; at the end of an odd number of frames a place may be missing.
    """

    grid: tuple[int, ...]
    patch: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...] = ()
    """Places before its patch that a token also sees, per axis; empty: none."""


class Backbone(Protocol):
    """A trainable `nn.Module`, called with a batch of one stream.

    Its constructor takes `shape` and, by keyword, sizes and `stochastic_depth`.
    """

    modality: str
    """Either "video" or "audio"."""
    shape: tuple[int, ...]
    """(T, H, W) or (F, M) it is built for; others are accepted."""
    channels: int
    """Of the input: C of video, 1 of audio."""
    width: int
    """D of the tokens."""
    num_prefix: int
    """P: tokens before those of the grid (CLS, distillation); 0: none."""

    def __call__(
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
        ...

    def cells(self, shape: tuple[int, ...]) -> Cells:
        """The grid of the resulting tokens for an input of `shape`, (T, H, W) or (F, M)."""
        ...

    def embedded_cells(self, shape: tuple[int, ...]) -> Cells:
        """The grid right after the (first) patch embedding, where `token_mask` hides tokens."""
        ...

    def example_input(self, batch_size: int = 1) -> Tensor:
        """Zeros of the shape it is built for, on its device."""
        ...

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute each layer's activations in the backward pass: less memory, same numbers."""
        ...

    def no_weight_decay(self) -> set[str]:
        """Names of its parameters without decay."""
        ...

    def resize_state(self, name: str, tensor: Tensor, source: Backbone) -> Tensor | None:
        """`source`'s tensor `name` for this one's grid; `None`: it fits, or cannot be made to."""
        ...


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
    return getattr(backbone, "options", given)


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
