"""What a model tells about its tokens: where they come from, and how they reach the classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from sightsound.types import Encoded

ALL = "all"  # of a rollout: what the classifier reads of all streams


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


class GradCamLayer(NamedTuple):
    """Where the cells of a stream are among what a layer gives. A stream may have two: their sum.

    Calls are counted over all layers of a model's list in one forward pass, in order of calling.
    """

    stream: str
    module: nn.Module
    call: int
    first: int  # the stream's first cell among the tokens of that call
    cells: Cells


class RolloutRows(Protocol):
    """A run of a model with attention weights, and rows (B, N, 1) that go the tokens' way."""

    encoded: Encoded
    shapes: Mapping[str, tuple[int, ...]]
    """{modality: (T, H, W) or (F, M)} of the inputs."""

    def enter(self, part: str, count: int) -> Tensor:
        """(B, count, 1) for the tokens that enter as `part`."""
        ...

    def layer(self, *names: str) -> Callable[..., tuple[Tensor, None]]:
        """A stand-in for the layer whose weights have one of these names, called as a `Block`."""
        ...

    def own(self, stream: str) -> list[int]:
        """Numbers of a stream's layers that have weights."""
        ...

    def num_tokens(self, layer: str) -> int:
        """N of the layer with the weights of this name."""
        ...

    def fuse(
        self,
        fusion: nn.Module | None,
        rows: Mapping[str, Tensor],
        blocks: Mapping[str, Sequence[Callable]],
    ) -> dict[str, Tensor]:
        """Rows after a fusion strategy; `None`: each stream through its own blocks."""
        ...
