"""What stands in for a fusion strategy where streams do not meet; so it is not in the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor


def pass_alone(
    tokens: Mapping[str, Tensor],
    blocks: Mapping[str, Sequence[Callable[..., Any]]],
    *,
    present: Mapping[str, Tensor] | None,
    key_mask: Mapping[str, Tensor] | None,
    maps: bool,
) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """No fusion: each stream through its own layers (one modality, or `test_with_bottlenecks`)."""
    streams, attention = dict(tokens), []
    for layer in range(len(next(iter(blocks.values())))):
        weights = {}
        for name, x in streams.items():
            mask = (key_mask or {}).get(name)
            streams[name], weights[name] = blocks[name][layer](x, key_mask=mask, maps=maps)
        attention.append(weights if maps else {})
    return streams, attention
