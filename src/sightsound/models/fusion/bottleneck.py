"""Attention bottlenecks (paper MBT, section 3.2.3): streams exchange through fusion tokens only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sightsound.models.fusion.base import Fusion
from sightsound.nn.block import Block
from sightsound.nn.masking import mean_of_present, per_example
from sightsound.registry import unknown_name

UPDATES = ("averaged", "sequential")


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
        streams, masks = dict(tokens), dict(key_mask or {})
        batch_size = next(iter(streams.values())).shape[0]
        fusion = self.tokens.expand(batch_size, -1, -1)
        num_fusion = fusion.shape[1]
        for name, mask in masks.items():  # fusion tokens may always be attended to
            masks[name] = torch.cat((mask, mask.new_ones(fusion.shape[:2])), dim=1)
        order = self._order(tuple(streams))
        results: list[Tensor] = []
        attention: list[dict[str, Tensor]] = []
        for layer in zip(*(blocks[name] for name in order), strict=True):
            updates, maps_of_layer = {}, {}
            for name, block in zip(order, layer, strict=True):
                x = torch.cat((streams[name], fusion), dim=1)  # CLS first, fusion tokens last
                x, weights = block(x, key_mask=masks.get(name), maps=maps)
                streams[name], updates[name] = x.split((x.shape[1] - num_fusion, num_fusion), dim=1)
                if maps:
                    maps_of_layer[name] = weights
                if self.update == "sequential":  # a stream that is not present is skipped
                    fusion = (
                        updates[name]
                        if present is None
                        else torch.where(per_example(present[name], fusion), updates[name], fusion)
                    )
            results.append(fusion)
            fusion = self.carried(updates, results, present)
            attention.append({name: maps_of_layer[name] for name in streams if maps})
        return streams, attention

    def carried(
        self,
        updates: Mapping[str, Tensor],
        results: Sequence[Tensor],
        present: Mapping[str, Tensor] | None,
    ) -> Tensor:
        """The fusion tokens (B, Z, D) that the next layer reads.

        Args:
            updates: {modality: (B, Z, D)}, what each stream's layer made of those it read.
            results: of the sequential update, after this layer and all before it.
        """
        return mean_of_present(updates, present) if self.update == "averaged" else results[-1]

    def _order(self, streams: Sequence[str]) -> list[str]:
        order = streams if self.update == "averaged" else self.update_order
        return [name for name in order if name in streams]

    def norm_calls(self, streams: Sequence[str]) -> list[tuple[str, ...]]:
        """One stream after the other, in order of update."""
        return [(name,) for name in self._order(streams)]
