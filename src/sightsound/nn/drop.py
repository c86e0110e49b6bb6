"""Stochastic depth.

Differs from the textbook (and from timm and torchvision): what survives is not scaled up by
1 / (1 - rate), neither in training nor at test, as in the official MBT code.
"""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """A residual branch, switched off per example with probability `rate` while training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """`branch` (B, N, D), times 0 or 1 for each example."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= self.rate
        return branch * keep

    def extra_repr(self) -> str:
        """The rate, for `print(model)`."""
        return f"rate={self.rate:g}"
