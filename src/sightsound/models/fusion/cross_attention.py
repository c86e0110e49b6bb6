"""Cross-attention with weights per modality (paper MBT, section 3.2.2, equations 5 and 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sightsound.models.fusion.base import Fusion
from sightsound.nn.block import Block
from sightsound.nn.masking import join_masks, visible_to_others


class CrossAttentionFusion(Fusion):
    """Each stream's tokens are queries; the tokens of all streams are keys and values.

    Differs from the official code, with the same numbers: that runs each modality's layer on all
    tokens and throws the foreign ones away; here they get no query, projection or MLP.
    """

    def forward(
        self,
        tokens: Mapping[str, Tensor],
        blocks: Mapping[str, Sequence[Block]],
        *,
        present: Mapping[str, Tensor] | None = None,
        key_mask: Mapping[str, Tensor] | None = None,
        maps: bool = False,
    ) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        """Streams after all layers; both updates of a layer read the states before it."""
        own = {name: (key_mask or {}).get(name) for name in tokens}
        foreign = visible_to_others(tokens, present, key_mask)
        streams, attention = dict(tokens), []
        for layer in range(len(blocks[next(iter(streams))])):
            before, streams, weights = streams, {}, {}
            for name, x in before.items():
                others = {other: before[other] for other in before if other != name}
                keys = others | {name: x}
                streams[name], weights[name] = blocks[name][layer](
                    x,
                    others=torch.cat(tuple(others.values()), dim=1) if others else None,
                    key_mask=join_masks(foreign | {name: own[name]}, keys),
                    maps=maps,
                )
            attention.append(weights if maps else {})
        return streams, attention

    def norm_calls(self, streams: Sequence[str]) -> list[tuple[str, ...]]:
        """Of each stream in turn its own tokens, then those of the others."""
        return [
            (name,)
            for own in streams
            for name in (own, *(other for other in streams if other != own))
        ]
