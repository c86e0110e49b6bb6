"""What was hidden, from the tokens after fusion: one transposed convolution per stream.

(Paper AVT, section 3.2.1.) Sound of 1024 x 128 in patches of 16 every 10 places comes back as
1016 x 126; only that window is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from sightsound.models.explained import Cells
from sightsound.types import VIDEO


class Reconstruction(nn.Module):
    """Decoders, and the squared error of what they make of the tokens.

    Args:
        widths: {modality: D} of the streams after fusion.
        channels: {modality: C} of the inputs.
        cells: {modality: grid of the tokens}; only patch and stride count here.
    """

    def __init__(
        self, widths: Mapping[str, int], channels: Mapping[str, int], cells: Mapping[str, Cells]
    ) -> None:
        super().__init__()
        self.decoders = nn.ModuleDict()
        for name, cell in cells.items():
            new: Callable[..., nn.Module] = (
                nn.ConvTranspose3d if name == VIDEO else nn.ConvTranspose2d
            )
            self.decoders[name] = new(widths[name], channels[name], cell.patch, cell.stride)

    def decode(self, name: str, tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
        """(B, T', C, H', W') or (B, 1, F', M') of tokens (B, P + N, D), the first P not read."""
        tokens = tokens[:, -torch.Size(grid).numel() :]
        values = self.decoders[name](tokens.transpose(1, 2).unflatten(2, grid))
        return values.transpose(1, 2) if name == VIDEO else values

    def forward(
        self,
        tokens: Mapping[str, Tensor],
        cells: Mapping[str, Cells],
        *,
        target: Mapping[str, Tensor],
        scored: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """{modality: mean squared error ()} at the places `scored`; 0 where there is none.

        Args:
            target: {modality: the normalised input, nothing hidden}.
            scored: {modality: bool, (B, T, 1, H, W) or (B, 1, F, M)}.
        """
        losses = {}
        for name in scored:
            values = self.decode(name, tokens[name], cells[name].grid).float()
            wanted, counts = (cut_to(part, values) for part in (target[name], scored[name]))
            values = cut_to(values, wanted)
            errors = (values - wanted.float()).masked_fill(~counts, 0.0).square()
            number = counts.sum() * (errors.shape[2] if name == VIDEO else 1)
            losses[name] = errors.sum() / number.clamp(min=1)
        return losses


def cut_to(values: Tensor, like: Tensor) -> Tensor:
    """The first places of `values` along every axis but channels, as many as `like` has there."""
    places = (
        slice(None) if n == 1 else slice(m) for n, m in zip(values.shape, like.shape, strict=True)
    )
    return values[tuple(places)]
