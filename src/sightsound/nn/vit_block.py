"""The pre-norm transformer layer as DeiT, AST and UniFormer have it.

Differs from `block.Block`: the exact GELU (erf); a branch that survives stochastic depth is scaled
up by 1 / (1 - rate); matrices start from a cut normal of deviation 0.02, biases from zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sightsound.nn.block import NORM_EPSILON, Block
from sightsound.nn.drop import DropPath
from sightsound.nn.masking import per_example

START_DEVIATION = 0.02


class ScaledDropPath(DropPath):
    """A residual branch, switched off per example with probability `rate` while training.

    What survives is divided by 1 - rate, so that its mean stays.
    """

    def forward(self, branch: Tensor) -> Tensor:
        """`branch` (B, ...), times 0 or 1 / (1 - rate) for each example."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = torch.rand(branch.shape[0], device=branch.device) >= self.rate
        return branch * per_example(keep, branch).to(branch.dtype) / (1 - self.rate)


class VitBlock(Block):
    """y = x + attention(norm(x)); z = y + mlp(norm(y)); for what differs see above.

    Args:
        drop_path: probability that an example skips a branch; drawn for each branch apart.
        epsilon: of both norms.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_width: int,
        *,
        drop_path: float = 0.0,
        epsilon: float = NORM_EPSILON,
    ) -> None:
        super().__init__(width, num_heads, mlp_width)
        self.mlp.activation = nn.GELU()
        self.drop_path = ScaledDropPath(drop_path)
        self.attention_norm.eps = self.mlp_norm.eps = epsilon
        for layer in (self.attention.qkv, self.attention.out, self.mlp.expand, self.mlp.contract):
            start_linear_(layer)


def start_linear_(layer: nn.Linear) -> nn.Linear:
    """`layer` with a cut normal of deviation 0.02 as its weight and zeros as its bias."""
    nn.init.trunc_normal_(layer.weight, std=START_DEVIATION)
    nn.init.zeros_(layer.bias)
    return layer
