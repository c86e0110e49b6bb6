"""Multi-head attention, self and cross, with masked keys.

Two paths give the same numbers: SDPA, and a plain one that also returns the attention maps.
A query that may attend to nothing gets zeros from both.

Alphabet: B batch, N queries, J keys, D width, h heads, d width of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """softmax(q k^T / sqrt(d)) v with one projection for q, k and v and one for the result.

    Args:
        width: D; a multiple of `num_heads`.
        dropout: of attention weights, while training.
    """

    def __init__(self, width: int, num_heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        for weight in self.qkv.weight.chunk(3):  # the fan is that of one D x D matrix
            nn.init.xavier_uniform_(weight)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        x: Tensor,
        *,
        others: Tensor | None = None,
        key_mask: Tensor | None = None,
        maps: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """What each token of `x` gathers, and the attention weights if `maps`.

        Args:
            x: (B, N, D); queries, keys and values.
            others: (B, J - N, D); further keys and values, placed before those of `x`. They get no
                query, no output projection: nothing of them is computed that is thrown away.
            key_mask: (B, J) bool, true may be attended to; `None`: all.
            maps: also return the weights.

        Returns:
            (B, N, D) and the weights (B, h, N, J) or `None`.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        if others is not None:  # the k and v rows of the joint projection
            width = x.shape[-1]
            values = F.linear(others, self.qkv.weight[width:], self.qkv.bias[width:])
            heads = values.unflatten(-1, (2, self.num_heads, -1))
            k_others, v_others = heads.permute(2, 0, 3, 1, 4)
            k, v = torch.cat((k_others, k), dim=2), torch.cat((v_others, v), dim=2)
        mask = None if key_mask is None else key_mask[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        if maps:
            values, weights = plain_attention(q, k, v, mask=mask, dropout=dropout)
        else:
            values, weights = fused_attention(q, k, v, mask=mask, dropout=dropout), None
        return self.out(values.transpose(1, 2).flatten(2)), weights


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None, dropout: float
) -> Tensor:
    """(B, h, N, d) by SDPA. `mask` (B, 1, 1, J) bool, true may be attended to."""
    if q.is_cpu and q.dtype == torch.bfloat16 and q.requires_grad:
        # SDPA's bf16 backward pass on CPU takes half of a training step; fp32 does not.
        with torch.autocast("cpu", enabled=False):
            parts = q.float(), k.float(), v.float()
            values = F.scaled_dot_product_attention(*parts, attn_mask=mask, dropout_p=dropout)
            return values.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


def plain_attention(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None, dropout: float
) -> tuple[Tensor, Tensor]:
    """(B, h, N, d) as in `fused_attention`, and the weights (B, h, N, J)."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is not None:  # a finite fill: a row without any key stays free of NaN
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    return F.dropout(weights, dropout) @ v, weights
