"""Features of frozen encoders: one modality of MAFnet, and what models of features share."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sightsound.models.pretrained import Pretrained
from sightsound.nn.film import FilmBlock
from sightsound.nn.glorot import glorot_
from sightsound.nn.norm import BatchNorm, mean_of_rows


class FeatureModel(Pretrained):
    """A model of features (B, T, ..., D) per second."""

    shapes: dict[str, tuple[int, ...]]
    """{modality: (T, ..., D)} it is built for; other numbers of seconds are accepted."""

    def example_inputs(self, batch_size: int = 1) -> dict[str, Tensor]:
        """Zeros of the shapes the model is built for, on its device."""
        device = next(self.parameters()).device
        return {k: torch.zeros(batch_size, *s, device=device) for k, s in self.shapes.items()}


class FeatureStream(nn.Module):
    """ReLU(BN(dense(mean over the grid))), the grid passing a `FilmBlock` first where asked.

    Args:
        shape: (T, H, W, D), (T, N, D) or (T, D).
        width: of the result.
        block: whether there is a residual block.
        condition: numbers in the vector that modulates the block; `None`: no modulation.
        norm_decay: see `BatchNorm`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        *,
        block: bool,
        condition: int | None,
        norm_decay: float,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        size, self.block = shape[-1], None
        if block:
            self.block = FilmBlock(
                size,
                width,
                grid_axes=len(shape) - 2,
                condition=condition,
                norm_decay=norm_decay,
            )
            size = width
        self.dense = nn.Linear(size, width)
        self.norm = BatchNorm(width, decay=norm_decay)
        glorot_(self.dense)

    def forward(
        self,
        x: Tensor,
        *,
        condition: Tensor | None = None,
        known: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """(B, T, H) of features (B, T, ..., D).

        Args:
            condition: (B, T, Dc), what modulates; `None`: nothing does.
            known: (B, T) bool: the seconds that have it; `None`: all.
            mask: (B, T) bool: seconds that count in the batch norms' statistics; `None`: all.
        """
        if self.block is not None:
            seconds = x.shape[:2]
            x = self.block(
                x.flatten(0, 1),
                condition=None if condition is None else condition.flatten(0, 1),
                known=None if known is None else known.flatten(),
                rows=None if mask is None else mask.flatten(),
            ).unflatten(0, seconds)
        x = grid_mean(x)
        if not self.training:
            return torch.relu(self.norm(self.dense(x)))
        # The mean of x leaves before the product: the norm takes it away in any case, and divides
        # by what may be small, so that digits lost to a large mean would show.
        with torch.no_grad():
            mean = mean_of_rows(x, mask)
            taken = (self.dense.weight * mean).sum(1)
        return torch.relu(self.norm(self.dense(x - mean), rows=mask, taken=taken))

    def check(self, name: str, values: Tensor) -> None:
        """`ValueError` if these are no features of this stream, called `name`."""
        *grid, size = self.shape[1:]
        between, dims = "..., ", [3, 4, 5]
        if self.block is not None:  # its convolution needs the grid, the mean does not
            between = ("", "N, ", "H, W, ")[len(grid)]
            dims = [len(grid) + 3]
        if values.ndim not in dims or values.shape[-1] != size or 0 in values.shape:
            raise ValueError(
                f"{name} input has shape {tuple(values.shape)}; accepted is (B, T, {between}"
                f"{size}), features with channels last"
            )
        if not values.is_floating_point():
            raise ValueError(f"{name} input is {values.dtype}; floating point is accepted")


def grid_mean(x: Tensor) -> Tensor:
    """(B, T, D) of features (B, T, ..., D): the mean over what lies between."""
    return x if x.ndim == 3 else x.flatten(2, -2).mean(2)


def seconds_that_count(
    inputs: Mapping[str, Tensor],
    present: Mapping[str, Tensor] | None,
    padded: Mapping[str, Tensor],
    hidden: Mapping[str, Tensor],
) -> dict[str, Tensor | None]:
    """{modality: (B, T) bool}: the seconds that are there; `None`: all are.

    Args:
        inputs: {modality: (B, T, ..., D)}.
        present: {modality: (B,) bool}, or `None`.
        padded: {modality: (B, T) bool}, false where there is padding.
        hidden: {modality: (B, T) bool}, true where a second is hidden.
    """
    counted = {}
    for name, values in inputs.items():
        masks = [padded[name]] if name in padded else []
        masks += [~hidden[name]] if name in hidden else []
        if present is not None:
            masks.append(present[name][:, None].expand(values.shape[:2]))
        counted[name] = functools.reduce(operator.and_, masks) if masks else None
    return counted


def blanked_seconds(values: Tensor, mask: Tensor | None) -> Tensor:
    """Features (B, T, ..., D) with exact zeros where `mask` (B, T) is false."""
    if mask is None:
        return values
    return values.masked_fill(~mask.reshape(*mask.shape, *[1] * (values.ndim - 2)), 0.0)


def check_shape(name: str, shape: Sequence[int] | None) -> None:
    """`ValueError` if the features of stream `name` cannot have this shape."""
    if shape is None:
        raise ValueError(
            f"{name}_shape is None, but {name!r} is among the modalities; give {name}_shape or "
            f"leave {name!r} out of modalities"
        )
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise ValueError(
            f"{name}_shape is {tuple(shape)}; accepted: (T, H, W, D), (T, N, D) or (T, D), numbers "
            "of 1 or more"
        )
