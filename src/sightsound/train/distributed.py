"""What several processes share: the mean of their gradients and of what their norms remember.

Gradients are averaged once per step, after the last backward pass, and not while it runs (as
`DistributedDataParallel` does it), because

* the objective has layers of its own, and calls the model's halves apart, `fuse` twice;
* a process may not use what others use: a stream its clips lack, wrong pairs of a single source;
* the contrastive loss and shared batch norms exchange numbers in the backward pass, too. Processes
  must do all of it in one order, and when a gradient is ready depends on the batch.

It costs the time that exchange and backward pass could have overlapped, and for a moment the memory
of one more copy of all gradients.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning_fabric import Fabric
from torch import nn


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], fabric: Fabric) -> None:
    """Put the mean over all processes into `grad`; one that has none counts as zero.

    A parameter that no process has a gradient of keeps none.
    """
    if fabric.world_size == 1:
        return
    parameters = list(parameters)
    has = torch.tensor([p.grad is not None for p in parameters], device=fabric.device)
    has = fabric.all_reduce(has.long(), reduce_op="sum").tolist()
    parameters = [p for p, number in zip(parameters, has, strict=True) if number]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in parameters]
    if gradients:
        joined = torch.cat([gradient.flatten() for gradient in gradients])
        joined = fabric.all_reduce(joined, reduce_op="mean")
        parts = joined.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def average_statistics(model: nn.Module, fabric: Fabric) -> None:
    """Put the mean over all processes into the running statistics of `model`'s norms."""
    if fabric.world_size > 1:
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(fabric.all_reduce(buffer.clone(), reduce_op="mean"))
