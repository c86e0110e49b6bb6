"""How Keras starts a layer."""

from __future__ import annotations

from torch import nn


def glorot_(layer: nn.Linear | nn.Conv1d | nn.Conv2d) -> None:
    """Glorot uniform weights and zero biases for a linear layer or convolution, in place."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
