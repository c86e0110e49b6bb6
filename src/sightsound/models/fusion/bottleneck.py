"""Attention bottlenecks (paper MBT, section 3.2.3): streams exchange through fusion tokens only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sightsound.models.fusion.base import Fusion
from sightsound.nn.block import Block
from sightsound.nn.masking import mean_of_present, per_example
from sightsound.registry import unknown_name

UPDATES = ("averaged", "sequential")


class _Passed(NamedTuple):
    """What one stream's layer made of [tokens | fusion tokens]."""

    tokens: Tensor  # (B, N, D)
    fusion: Tensor  # (B, Z, D)
    weights: Tensor | None  # (B, h, N + Z, N + Z)


class BottleneckFusion(Fusion):
    """Each stream attends to itself and to the fusion tokens, which carry news between streams.

    Args:
        bottleneck_tokens: Z, the true count. (The official "B = 4" is 5 in its models with CLS.)
        update: `averaged` (NeurIPS, equations 8 and 9): all streams read the same fusion tokens,
            the new ones are the mean of what came out. `sequential` (arXiv v1, equations 8 and
            9): one stream updates them, the next one reads and updates those.
        update_order: of the sequential update; v1: first video, then audio.
    """

    def __init__(
        self, *, width: int, bottleneck_tokens: int, update: str, update_order: Sequence[str]
    ) -> None:
        super().__init__()
        if update not in UPDATES:
            raise unknown_name("update", update, UPDATES)
        self.update = update
        self.update_order = tuple(update_order)
        self.tokens = nn.Parameter(torch.empty(1, bottleneck_tokens, width))
        nn.init.normal_(self.tokens, std=0.02)

    def forward(
        self,
        tokens: Mapping[str, Tensor],
        blocks: Mapping[str, Sequence[Block]],
        *,
        present: Mapping[str, Tensor] | None = None,
        key_mask: Mapping[str, Tensor] | None = None,
        maps: bool = False,
    ) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        """Streams after all layers. The fusion tokens are dropped after the last one."""
        step = self._averaged if self.update == "averaged" else self._sequential
        batch_size = next(iter(tokens.values())).shape[0]
        fusion = self.tokens.expand(batch_size, -1, -1)
        streams, attention = dict(tokens), []
        for layer in zip(*(blocks[name] for name in streams), strict=True):
            layer_blocks = dict(zip(streams, layer, strict=True))
            passed, fusion = step(streams, layer_blocks, fusion, present, key_mask or {}, maps)
            streams = {name: passed[name].tokens for name in streams}
            attention.append({name: passed[name].weights for name in streams if maps})
        return streams, attention

    def _averaged(self, streams, blocks, fusion, present, key_mask, maps):
        """[x_i' | z_i] = block_i([x_i | z]) for each stream i; z' = mean of z_i (those present)."""
        passed = {
            name: _pass(blocks[name], x, fusion, key_mask=key_mask.get(name), maps=maps)
            for name, x in streams.items()
        }
        return passed, mean_of_present({name: p.fusion for name, p in passed.items()}, present)

    def _sequential(self, streams, blocks, fusion, present, key_mask, maps):
        """[x_i' | z] = block_i([x_i | z]), stream after stream; a stream not present is skipped."""
        passed = {}
        for name in (name for name in self.update_order if name in streams):
            passed[name] = _pass(
                blocks[name], streams[name], fusion, key_mask=key_mask.get(name), maps=maps
            )
            updated = passed[name].fusion
            if present is None:
                fusion = updated
            else:
                fusion = torch.where(per_example(present[name], updated), updated, fusion)
        return passed, fusion

    def norm_calls(self, streams: Sequence[str]) -> list[tuple[str, ...]]:
        """One stream after the other, in order of update."""
        order = streams if self.update == "averaged" else self.update_order
        return [(name,) for name in order if name in streams]


def _pass(
    block: Block, x: Tensor, fusion: Tensor, *, key_mask: Tensor | None, maps: bool
) -> _Passed:
    """[x | fusion] (B, N + Z, D) through `block`; CLS stays first, fusion tokens come last."""
    if key_mask is not None:  # fusion tokens may always be attended to
        key_mask = torch.cat((key_mask, key_mask.new_ones(fusion.shape[:2])), dim=1)
    joined, weights = block(torch.cat((x, fusion), dim=1), key_mask=key_mask, maps=maps)
    tokens, fusion = joined.split((x.shape[1], fusion.shape[1]), dim=1)
    return _Passed(tokens, fusion, weights)
