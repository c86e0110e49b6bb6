"""Batch normalisation with TensorFlow's numbers, over the rows that count."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPSILON = 1e-3  # as in the released MAFnet


class BatchNorm(nn.Module):
    """(x - mean) / sqrt(variance + 0.001) * weight + bias, over the last axis of x (..., D).

    Differs from torch's own: channels come last; the running variance is the biased one; rows may
    be left out of the statistics. A row left out is normalised like the others.

    Args:
        width: D.
        decay: running statistics become decay * old + (1 - decay) * those of the batch.
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, width: int, *, decay: float = 0.999) -> None:
        super().__init__()
        self.decay = decay
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_variance", torch.ones(width))

    def forward(
        self, x: Tensor, *, rows: Tensor | None = None, taken: Tensor | None = None
    ) -> Tensor:
        """x (..., D) normalised; `rows` and `taken` as in `centre_and_scale`."""
        centre, scale = self.centre_and_scale(x, rows=rows, taken=taken)
        return ((x.to(centre.dtype) - centre) * scale + self.bias).to(x.dtype)

    def centre_and_scale(
        self, x: Tensor, *, rows: Tensor | None = None, taken: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """m and s, each (D,), of y = (x - m) * s + bias: the batch's in training, else the running.

        Training updates the running statistics, unless no row counts.

        Args:
            rows: bool, the first axes of x; false: left out of the statistics. `None`: all count.
            taken: (D,), in training: what x lacks, since the caller has taken it away beforehand;
                the running mean includes it.
        """
        if not self.training:
            return self.running_mean, self.weight * torch.rsqrt(self.running_variance + EPSILON)
        x = x.to(self.weight.dtype)
        mean = mean_of_rows(x, rows)
        variance = mean_of_rows((x - mean).square(), rows)
        with torch.no_grad():
            whole = mean if taken is None else mean + taken
            share = 1 - self.decay if rows is None else (1 - self.decay) * rows.any()
            self.running_mean += share * (whole - self.running_mean)
            self.running_variance += share * (variance - self.running_variance)
        return mean, self.weight * torch.rsqrt(variance + EPSILON)


def mean_of_rows(x: Tensor, rows: Tensor | None) -> Tensor:
    """(D,): the mean of x (..., D) over all axes but the last, and over the `rows` that count.

    `rows`: bool, the first axes of x, `None`: all. Zeros if none counts.
    """
    axes = tuple(range(x.ndim - 1))
    if rows is None:
        return x.mean(axes)
    counts = rows.reshape(*rows.shape, *[1] * (x.ndim - rows.ndim)).to(x.dtype)
    number = counts.expand(*x.shape[:-1], 1).sum()
    return (x * counts).sum(axes) / number.clamp(min=1)
