"""Sizes of transformers by name, and their layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sightsound.registry import unknown_name

if TYPE_CHECKING:  # free of torch, so that a command's help is fast
    from sightsound.nn.block import Block

AnyBlock = TypeVar("AnyBlock", bound="Block")


@dataclass(frozen=True)
class Size:
    """Width D, layers L, heads and MLP width of a ViT."""

    width: int
    depth: int
    num_heads: int
    mlp_width: int


# Base and large: Dosovitskiy et al. 2021, table 1. Tiny and small: Touvron et al. 2021 (DeiT).
SIZES = {
    "tiny": Size(192, 12, 3, 768),
    "small": Size(384, 12, 6, 1536),
    "base": Size(768, 12, 12, 3072),
    "large": Size(1024, 24, 16, 4096),
}


def choose_size(
    size: str,
    *,
    width: int | None = None,
    depth: int | None = None,
    num_heads: int | None = None,
    mlp_width: int | None = None,
) -> Size:
    """The row of `SIZES`, with what was given in its place; a given width sets the MLP, too."""
    if size not in SIZES:
        raise unknown_name("size", size, SIZES)
    given = {"width": width, "depth": depth, "num_heads": num_heads, "mlp_width": mlp_width}
    for name, value in given.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; accepted: 1 or more, or None to follow size")
    table = SIZES[size]
    mlp_width = mlp_width or (table.mlp_width if width is None else 4 * width)
    result = Size(
        width or table.width, depth or table.depth, num_heads or table.num_heads, mlp_width
    )
    if result.width % result.num_heads:
        raise ValueError(
            f"width {result.width} is not a multiple of num_heads {result.num_heads}; "
            "give num_heads, too"
        )
    return result


def new_blocks(
    block_class: Callable[..., AnyBlock],
    size: Size,
    layers: range,
    *,
    stochastic_depth: float,
    **options: float,
) -> list[AnyBlock]:
    """These of the L layers of a transformer; layer l drops l / (L - 1) of `stochastic_depth`.

    Args:
        options: of `block_class`, by keyword.
    """
    last = max(size.depth - 1, 1)
    return [
        block_class(
            size.width,
            size.num_heads,
            size.mlp_width,
            drop_path=stochastic_depth * layer / last,
            **options,
        )
        for layer in layers
    ]
