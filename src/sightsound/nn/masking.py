"""Masks: which streams an example has, which tokens count."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor


def per_example(mask: Tensor, like: Tensor) -> Tensor:
    """`mask` (B,) shaped so that it broadcasts over `like` (B, ...)."""
    return mask.reshape(-1, *[1] * (like.ndim - 1))


def blank_absent(values: Tensor, present: Tensor | None) -> Tensor:
    """`values` (B, ...) with exact zeros where `present` (B,) is false; `None`: all present."""
    if present is None:
        return values
    return values.masked_fill(~per_example(present, values), 0.0)


def mean_of_present(values: Mapping[str, Tensor], present: Mapping[str, Tensor] | None) -> Tensor:
    """The mean over the streams that each example has.

    Args:
        values: {modality: (B, ...)}, all of one shape.
        present: {modality: (B,) bool}; `None`: all. Each example needs at least one.
    """
    if present is None:
        return reduce(torch.add, values.values()) / len(values)
    total = reduce(torch.add, [blank_absent(x, present[name]) for name, x in values.items()])
    count = torch.stack([present[name] for name in values]).sum(0).to(total.dtype)
    return total / per_example(count, total)


def join_masks(masks: Mapping[str, Tensor | None], tokens: Mapping[str, Tensor]) -> Tensor | None:
    """One mask (B, sum of N) over the tokens (B, N, D) side by side; `None`: nothing is masked."""
    if all(masks[name] is None for name in tokens):
        return None
    parts = []
    for name, stream in tokens.items():
        mask = masks[name]
        parts.append(stream.new_ones(stream.shape[:2], dtype=torch.bool) if mask is None else mask)
    return torch.cat(parts, dim=1)


def visible_to_others(
    tokens: Mapping[str, Tensor],
    present: Mapping[str, Tensor] | None,
    key_mask: Mapping[str, Tensor] | None,
) -> dict[str, Tensor | None]:
    """{modality: (B, N) bool or `None`}: tokens another stream may attend to.

    Those of a stream that the example has, and that are not padding.
    """
    visible: dict[str, Tensor | None] = {}
    for name, stream in tokens.items():
        mask = None if key_mask is None else key_mask.get(name)
        if present is not None:
            here = present[name][:, None].expand(stream.shape[:2])
            mask = here if mask is None else mask & here
        visible[name] = mask
    return visible


def pool(tokens: Tensor, mask: Tensor | None, *, kind: str) -> Tensor:
    """Mean (`gap`), maximum (`gmp`) or sum (`gsp`) over tokens: (B, N, D) -> (B, D).

    `mask` (B, N) bool: true counts. Zeros where no token counts.
    """
    if mask is not None:
        tokens = tokens.masked_fill(~mask[..., None], -torch.inf if kind == "gmp" else 0.0)
    if kind == "gmp":
        largest = tokens.amax(dim=1)
        return largest if mask is None else largest.masked_fill(~mask.any(1, keepdim=True), 0.0)
    total = tokens.sum(dim=1)
    if kind == "gsp":
        return total
    return total / (tokens.shape[1] if mask is None else mask.sum(1, keepdim=True).clamp(min=1))
