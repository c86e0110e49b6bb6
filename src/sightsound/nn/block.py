"""The pre-norm transformer layer (paper MBT, equations 2 and 3; section 3.2.2: 6).

Differs from PyTorch's defaults: LayerNorm epsilon 1e-6, GELU by its tanh approximation, stochastic
depth without rescaling. With these the official numbers come out to 5e-6; with the defaults not.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sightsound.nn.attention import Attention
from sightsound.nn.drop import DropPath

NORM_EPSILON = 1e-6
GELU_APPROXIMATION = "tanh"


def layer_norm(width: int) -> nn.LayerNorm:
    """LayerNorm over the last axis with the epsilon of the official code."""
    return nn.LayerNorm(width, eps=NORM_EPSILON)


class Mlp(nn.Module):
    """Linear, GELU, linear; dropout after each."""

    def __init__(self, width: int, hidden_width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden_width)
        self.activation = nn.GELU(approximate=GELU_APPROXIMATION)
        self.contract = nn.Linear(hidden_width, width)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.expand, self.contract):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = self.dropout(self.activation(self.expand(x)))
        return self.dropout(self.contract(x))


class Block(nn.Module):
    """y = x + attention(norm(x)); z = y + mlp(norm(y)).

    Args:
        drop_path: probability that an example skips a branch; drawn for each branch apart.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_width: int,
        *,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention_norm = layer_norm(width)
        self.attention = Attention(width, num_heads, dropout=attention_dropout)
        self.attention_dropout = nn.Dropout(dropout)
        self.mlp_norm = layer_norm(width)
        self.mlp = Mlp(width, mlp_width, dropout=dropout)
        self.drop_path = DropPath(drop_path)
        self.checkpointing = False

    def forward(
        self,
        x: Tensor,
        *,
        others: Tensor | None = None,
        key_mask: Tensor | None = None,
        maps: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The next layer's tokens (B, N, D), and attention weights (B, h, N, J) if `maps`.

        Args:
            x: (B, N, D).
            others: (B, J - N, D); tokens that `x` may look at besides its own (equation 6).
            key_mask: (B, J) bool over [others, x]; true may be attended to.
        """
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(self._forward, x, others, key_mask, maps, use_reentrant=False)
        return self._forward(x, others, key_mask, maps)

    def _forward(
        self, x: Tensor, others: Tensor | None, key_mask: Tensor | None, maps: bool
    ) -> tuple[Tensor, Tensor | None]:
        gathered, weights = self.attention(
            self.attention_norm(x),
            others=None if others is None else self.attention_norm(others),
            key_mask=key_mask,
            maps=maps,
        )
        x = x + self.drop_path(self.attention_dropout(gathered))
        return x + self.drop_path(self.mlp(self.mlp_norm(x))), weights


def run_blocks(
    blocks: Iterable[nn.Module], x: Tensor, *, key_mask: Tensor | None, maps: bool
) -> tuple[Tensor, dict[int, Tensor]]:
    """Tokens (B, N, D) after all `blocks`, and {layer: (B, h, N, N)} of their attention if `maps`.

    Args:
        key_mask: (B, N) bool; true may be attended to.
    """
    attention: dict[int, Tensor] = {}
    for layer, block in enumerate(blocks):
        x, weights = block(x, key_mask=key_mask, maps=maps)
        if maps:
            attention[layer] = weights
    return x, attention
