"""Vanilla self-attention over the tokens of all modalities (paper MBT, section 3.2.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sightsound.models.fusion.base import Fusion
from sightsound.nn.block import Block
from sightsound.nn.masking import join_masks, visible_to_others


class SelfAttentionFusion(Fusion):
    """The streams become one sequence, in order of fusion, and pass through one stack of layers."""

    one_stack = True

    def forward(
        self,
        tokens: Mapping[str, Tensor],
        blocks: Mapping[str, Sequence[Block]],
        *,
        present: Mapping[str, Tensor] | None = None,
        key_mask: Mapping[str, Tensor] | None = None,
        maps: bool = False,
    ) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        """Streams after all layers; the attention maps are called `joint`."""
        mask = join_masks(visible_to_others(tokens, present, key_mask), tokens)
        joint, attention = torch.cat(tuple(tokens.values()), dim=1), []
        for block in blocks[next(iter(tokens))]:
            joint, weights = block(joint, key_mask=mask, maps=maps)
            attention.append({"joint": weights} if maps else {})
        lengths = [x.shape[1] for x in tokens.values()]
        return dict(zip(tokens, joint.split(lengths, dim=1), strict=True)), attention

    def norm_calls(self, streams: Sequence[str]) -> list[tuple[str, ...]]:
        """All tokens at once."""
        return [tuple(streams)]
