"""Batch normalisation of clips (B, C, T, H, W): padding and absent examples left out, or frozen.

`norm.py` has TensorFlow's; this one has PyTorch's numbers: epsilon 1e-5, the running variance
unbiased.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from sightsound.registry import unknown_name

Statistics = Literal["own", "shared", "frozen"]
STATISTICS = ("own", "shared", "frozen")


class MaskedBatchNorm3d(nn.BatchNorm3d):
    """Batch norm whose statistics come from the steps of time that count.

    Args:
        statistics: in training, `own`: those of this process's batch; `shared`: of the batches of
            all processes; `frozen`: the running ones, which stay as they are. Scale and shift learn
            in any case.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def __init__(self, width: int, *, statistics: Statistics = "own") -> None:
        super().__init__(width)
        if statistics not in STATISTICS:
            raise unknown_name("statistics", statistics, STATISTICS)
        self.statistics = statistics
        self.updates_running_stats = True

    def forward(self, x: Tensor, *, steps: Tensor | None = None) -> Tensor:
        """x (B, C, T, H, W) normalised.

        Args:
            steps: (B, T) bool, false: left out of the statistics; `None`: all count.
        """
        training = self.training and self.statistics != "frozen"
        shared = self.statistics == "shared" and distributed.is_initialized()
        if training and (steps is not None or shared):
            return self._normed(x, steps, shared=shared)
        mean, variance = self.running_mean, self.running_var
        if training and not self.updates_running_stats:
            mean, variance = mean.clone(), variance.clone()
        elif training:
            self.num_batches_tracked += 1
        return functional.batch_norm(
            x, mean, variance, self.weight, self.bias, training, self.momentum, self.eps
        )

    def _normed(self, x: Tensor, steps: Tensor | None, *, shared: bool) -> Tensor:
        """What `forward` gives in training, by hand; in float32.

        Args:
            shared: sums are those over all processes.
        """

        def total(value: Tensor) -> Tensor:
            return _SumOverProcesses.apply(value) if shared else value

        values = x.float()
        counts = values.new_ones(()) if steps is None else steps[:, None, :, None, None].float()
        number = total(counts.expand_as(values[:, :1]).sum())
        axes = (0, 2, 3, 4)
        mean = total((values * counts).sum(axes)) / number.clamp(min=1)
        centred = values - _per_channel(mean)
        squares = total((centred.square() * counts).sum(axes))
        if self.updates_running_stats:
            with torch.no_grad():  # nothing changes if no step counts
                share = self.momentum * (number > 0)
                self.running_mean += share * (mean - self.running_mean)
                unbiased = squares / (number - 1).clamp(min=1)
                self.running_var += share * (unbiased - self.running_var)
                self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(squares / number.clamp(min=1) + self.eps)
        return (centred * _per_channel(scale) + _per_channel(self.bias)).to(x.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; each one's share of it gets all their gradients."""

    @staticmethod
    def forward(_context: object, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: object, gradient: Tensor) -> Tensor:
        return _SumOverProcesses.forward(_context, gradient)


def _per_channel(values: Tensor) -> Tensor:
    """(C,) -> (C, 1, 1, 1), which broadcasts over (B, C, T, H, W)."""
    return values[:, None, None, None]


@contextmanager
def frozen_running_stats(module: nn.Module) -> Iterator[None]:
    """Within it the norms in `module` leave their running statistics alone.

    A layer that is computed once more in the backward pass has counted its batch already.
    """
    norms = [each for each in module.modules() if isinstance(each, MaskedBatchNorm3d)]
    for norm in norms:
        norm.updates_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.updates_running_stats = True
