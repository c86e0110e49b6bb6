"""Attention over the cells of a table: seconds times streams (MAFnet)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sightsound.nn.glorot import glorot_
from sightsound.registry import unknown_name

KINDS = ("joint", "temporal", "modality", "none")
SCORERS = ("paper", "released")


class CellAttention(nn.Module):
    """What each cell's vector weighs in the sum over seconds. One scorer serves all streams.

    Args:
        width: H.
        kind: `joint`: one softmax over all cells. `temporal`: one over the seconds of each stream.
            `modality`: one over the streams of each second; seconds then count alike (the paper
            does not say how time is reduced). `none`: the seconds of a stream count alike.
        scorer: `released`: two layers, linear score. `paper` (equation 8): ReLU of one layer, which
            may die and then weighs all cells alike.
    """

    def __init__(self, width: int, *, kind: str, scorer: str) -> None:
        super().__init__()
        for what, name, known in (("attention", kind, KINDS), ("scorer", scorer, SCORERS)):
            if name not in known:
                raise unknown_name(what, name, known)
        self.kind = kind
        self.scorer: nn.Sequential | None = None
        if kind != "none":
            hidden, score = nn.Linear(width, width), nn.Linear(width, 1)
            glorot_(hidden)
            glorot_(score)
            layers = (hidden, nn.ReLU(), score) if scorer == "released" else (score, nn.ReLU())
            self.scorer = nn.Sequential(*layers)

    def forward(self, cells: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Weights (B, T, K) of cells (B, T, K, H).

        `joint` and `modality` sum to 1 over all cells, `temporal` and `none` over each stream's.

        Args:
            mask: (B, T, K) bool; false: weight zero, exactly. `None`: all cells count.
        """
        if self.scorer is None:  # one over the number of a stream's seconds that count
            if mask is None:
                return cells.new_full(cells.shape[:3], 1 / cells.shape[1])
            return mask.to(cells.dtype) / mask.sum(1, keepdim=True).clamp(min=1)
        scores = self.scorer(cells).squeeze(-1)
        if mask is None:
            return self._softmax(scores, scores.shape[1])
        lowest = torch.finfo(scores.dtype).min  # not -inf, which gives nan where nothing counts
        seconds = mask.any(2).sum(1).clamp(min=1)[:, None, None]
        return self._softmax(scores.masked_fill(~mask, lowest), seconds).masked_fill(~mask, 0.0)

    def _softmax(self, scores: Tensor, seconds: int | Tensor) -> Tensor:
        """(B, T, K) of scores (B, T, K); `seconds`: how many count."""
        if self.kind == "joint":
            return scores.flatten(1).softmax(1).unflatten(1, scores.shape[1:])
        return scores.softmax(1) if self.kind == "temporal" else scores.softmax(2) / seconds
