"""What the processes of a run share: counts, mean gradients, mean statistics of norms.

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

from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn


def over_processes(number: float, fabric: Fabric, *, by: str) -> float:
    """The "mean" or the "min" of the `number` of each process."""
    if fabric.world_size == 1:
        return number
    return float(_reduced(torch.tensor(float(number), device=fabric.device), fabric, by=by))


@torch.no_grad()
def average_gradients(parameters: Sequence[nn.Parameter], fabric: Fabric) -> None:
    """Put the mean over all processes into `grad`; one that has none counts as zero.

    A parameter that no process has a gradient of keeps none.
    """
    if fabric.world_size == 1:
        return
    has = torch.tensor([int(p.grad is not None) for p in parameters], device=fabric.device)
    gradients = []
    for parameter, count in zip(parameters, _reduced(has, fabric, by="sum").tolist(), strict=True):
        if count:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    if gradients:
        joined = torch.cat([gradient.flatten() for gradient in gradients])
        means = _reduced(joined, fabric, by="mean")
        parts = means.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def average_statistics(model: nn.Module, fabric: Fabric) -> None:
    """Put the mean over all processes into the running statistics of `model`'s norms."""
    if fabric.world_size > 1:
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(_reduced(buffer.clone(), fabric, by="mean"))


def _reduced(tensor: Tensor, fabric: Fabric, *, by: str) -> Tensor:
    result = fabric.all_reduce(tensor, reduce_op=by)
    assert isinstance(result, Tensor)  # as what is given; Fabric takes collections, too
    return result
