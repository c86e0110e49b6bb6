"""A linear layer with a batch norm behind it, and what both make of each part of their input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sightsound.nn.glorot import glorot_
from sightsound.nn.norm import BatchNorm


class NormedLinear(nn.Module):
    """MAFnet's classifier: the released one has a batch norm on the logits, the paper has none.

    Args:
        norm_decay: of the batch norm; `None`: there is none.
    """

    def __init__(self, size: int, width: int, *, norm_decay: float | None) -> None:
        super().__init__()
        self.linear = nn.Linear(size, width)
        self.norm = None if norm_decay is None else BatchNorm(width, decay=norm_decay)
        glorot_(self.linear)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """y (B, C), and scale and constant (C,) such that y is scale * (weight x) + constant."""
        logits, bias = self.linear(x), self.linear.bias
        if self.norm is None:
            return logits, torch.ones_like(bias), bias
        centre, scale = self.norm.centre_and_scale(logits)
        constant = (bias - centre) * scale + self.norm.bias
        return (logits - centre) * scale + self.norm.bias, scale, constant
