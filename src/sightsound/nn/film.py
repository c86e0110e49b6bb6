"""Feature-wise linear modulation (FiLM): one vector scales and shifts another's channels.

Channels come last. Without the vector the modulation is the identity.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sightsound.nn.glorot import glorot_
from sightsound.nn.norm import BatchNorm


class Film(nn.Module):
    """Scale and shift of `width` channels, read off a vector of `condition` numbers."""

    def __init__(self, condition: int, width: int) -> None:
        super().__init__()
        self.generator = nn.Linear(condition, 2 * width)
        glorot_(self.generator)

    def forward(self, condition: Tensor, *, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """gamma and beta, each (R, H), of condition (R, Dc).

        Args:
            known: (R,) bool; false: there is no such vector, gamma is 1 and beta 0. `None`: all.
        """
        gamma, beta = self.generator(condition).chunk(2, dim=-1)
        gamma = gamma + 1.0  # so that a generator near zero changes little (released code only)
        if known is None:
            return gamma, beta
        unknown = ~known[:, None]
        return gamma.masked_fill(unknown, 1.0), beta.masked_fill(unknown, 0.0)


class FilmBlock(nn.Module):
    """Residual block whose normalised channels are modulated, as in MAFnet.

    r = ReLU(inlet(x)); r + ReLU(gamma * BN(mix(r)) + beta), where `mix` reaches the neighbours: a
    3 x 3 convolution on a grid, one of 3 on a sequence, on a lone vector a linear layer. Unlike
    FiLM's own block this batch norm keeps its scale and shift, as in the released code.

    Args:
        size: channels D of the input.
        width: channels H of the result.
        grid_axes: 2 for maps, 1 for sequences, 0 for vectors.
        condition: numbers in the modulating vector; `None`: no modulation.
        norm_decay: see `BatchNorm`.
    """

    def __init__(
        self,
        size: int,
        width: int,
        *,
        grid_axes: int,
        condition: int | None = None,
        norm_decay: float = 0.999,
    ) -> None:
        super().__init__()
        self.inlet = nn.Linear(size, width)
        self.mix: nn.Conv2d | nn.Conv1d | nn.Linear
        if grid_axes == 2:
            self.mix = nn.Conv2d(width, width, 3, padding=1)
        elif grid_axes == 1:
            self.mix = nn.Conv1d(width, width, 3, padding=1)
        else:
            self.mix = nn.Linear(width, width)  # a convolution would use its centre alone
        self.norm = BatchNorm(width, decay=norm_decay)
        self.film = None if condition is None else Film(condition, width)
        glorot_(self.inlet)
        glorot_(self.mix)

    def forward(
        self,
        x: Tensor,
        *,
        condition: Tensor | None = None,
        known: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """(R, *grid, H) of x (R, *grid, D).

        Args:
            condition: (R, Dc); `None`: no modulation.
            known: (R,) bool, see `Film`.
            rows: (R,) bool: which count in the batch norm's statistics; `None`: all.
        """
        r = torch.relu(self.inlet(x))
        h = self.mix(r) if r.ndim == 2 else self.mix(r.movedim(-1, 1)).movedim(1, -1)
        h = self.norm(h, rows=rows)
        if self.film is not None and condition is not None:
            gamma, beta = self.film(condition, known=known)
            apart = [1] * (h.ndim - 2)
            h = gamma.unflatten(0, (-1, *apart)) * h + beta.unflatten(0, (-1, *apart))
        return r + torch.relu(h)
