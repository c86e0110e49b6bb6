"""What fusion strategies share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from sightsound.nn.block import Block


class Fusion(nn.Module):
    """A strategy that routes the tokens of each stream through the blocks it is given.

    Its constructor takes, by keyword, what it needs of `modalities, width, bottleneck_tokens,
    update, update_order`.
    """

    one_stack: bool = False
    """Whether all modalities must be given the same layers."""

    def forward(
        self,
        tokens: Mapping[str, Tensor],
        blocks: Mapping[str, Sequence[Block]],
        *,
        present: Mapping[str, Tensor] | None = None,
        key_mask: Mapping[str, Tensor] | None = None,
        maps: bool = False,
    ) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        """Streams after all layers, and {name: weights (B, h, N, J)} of each layer if `maps`.

        Args:
            tokens: {modality: (B, N, D)}, in order of fusion.
            blocks: {modality: the transformer layers above the fusion layer}.
            present: {modality: (B,) bool}: which examples have the stream; `None`: all.
            key_mask: {modality: (B, N) bool}, false where a token is padding; `None`: nowhere.
        """
        raise NotImplementedError

    def norm_calls(self, streams: Sequence[str]) -> list[tuple[str, ...]]:
        """What each call of a layer's first norm reads: tokens of these streams, side by side."""
        return [(name,) for name in streams]
