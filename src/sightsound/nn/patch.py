"""From a picture, a clip or a spectrogram to patch tokens.

One class for any number of axes: a clip is cut along (time, height, width), a spectrogram along
(time, mel). Tokens are ordered by time, then row, then column.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sightsound.nn.block import GELU_APPROXIMATION


def cut_patches(x: Tensor, patch: tuple[int, ...]) -> Tensor:
    """Non-overlapping patches, channels first: (B, C, *sizes) -> (B, *grid, C * prod(patch)).

    What does not fill a patch at the far end of an axis is left out.
    """
    axes = len(patch)
    for axis, size in enumerate(patch):
        dim = 2 + 2 * axis  # each axis before this one has become two
        count = x.shape[dim] // size
        x = x.narrow(dim, 0, count * size).unflatten(dim, (count, size))
    grid, inside = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
    return x.permute(0, *grid, 1, *inside).flatten(1 + axes)


class LinearPatches(nn.Module):
    """A linear projection of each patch: a convolution with stride = kernel, as a matrix product.

    The weight is (D, C * prod(patch)): a convolution kernel (D, C, *patch), flattened.
    """

    def __init__(self, channels: int, patch: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.patch = patch
        self.projection = nn.Linear(channels * math.prod(patch), width)
        lecun_normal_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *sizes) -> (B, *grid, D)."""
        return self.projection(cut_patches(x, self.patch))


class ConvolutionPatches(nn.Module):
    """A few strided 3x3 convolutions in place of one patch projection (Xiao et al. 2021).

    They see each frame (or the spectrogram) as a picture; their strides multiply to the patch.
    The frames of one tubelet are stacked as channels before the last, 1x1 layer. Neither padding
    frames nor other clips change a frame's tokens.

    Args:
        patch: (height, width) of a picture or (time, height, width) of a clip; for a spectrogram
            (time, mel).
    """

    def __init__(self, channels: int, patch: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.patch = patch
        self.frames = patch[0] if len(patch) == 3 else 1
        rows, columns = (_prime_factors(size) for size in patch[-2:])
        length = max(len(rows), len(columns), 1)  # (20, 16) -> (2, 2), (2, 2), (5, 2), (1, 2)
        rows, columns = (factors + [1] * (length - len(factors)) for factors in (rows, columns))
        strides = list(zip(rows, columns, strict=True))
        layers: list[nn.Module] = []
        for index, stride in enumerate(strides):
            out = max(width // 2 ** (len(strides) - 1 - index), 8)
            layers.append(_StemLayer(channels, out, stride=stride))
            channels = out
        self.layers = nn.Sequential(*layers)
        self.projection = nn.Linear(channels * self.frames, width)
        lecun_normal_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *sizes) -> (B, *grid, D)."""
        for axis, (size, part) in enumerate(zip(x.shape[2:], self.patch, strict=True), start=2):
            x = x.narrow(axis, 0, size // part * part)
        if len(self.patch) == 2:
            return self.projection(self.layers(x).permute(0, 2, 3, 1))
        x = x.transpose(1, 2)  # (B, T, C, H, W)
        features = self.layers(x.flatten(0, 1)).unflatten(0, x.shape[:2])  # (B, T, C', h, w)
        tubelets = features.unflatten(1, (-1, self.frames))  # (B, T', t, C', h, w)
        return self.projection(tubelets.permute(0, 1, 4, 5, 2, 3).flatten(4))


class _StemLayer(nn.Module):
    """Convolution, GELU: (B, C, H, W) -> (B, C', H / s, W / s).

    No norm: one over the few channels at each place makes silence as loud as sound. With it, audio
    accuracy on 1200 spoken digits was .40 after 24 epochs; without, .69 (docs/LOG.md).
    """

    def __init__(self, channels: int, out_channels: int, *, stride: tuple[int, int]) -> None:
        super().__init__()
        kernel = (max(3, stride[0] | 1), max(3, stride[1] | 1))  # odd, and no pixel is skipped
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.convolution = nn.Conv2d(channels, out_channels, kernel, stride, padding)
        self.activation = nn.GELU(approximate=GELU_APPROXIMATION)
        lecun_normal_(self.convolution.weight)
        if self.convolution.bias is not None:
            nn.init.zeros_(self.convolution.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / s, W / s)."""
        return self.activation(self.convolution(x))


def _prime_factors(number: int) -> list[int]:
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors


STEMS = {"linear": LinearPatches, "convolution": ConvolutionPatches}


def lecun_normal_(weight: Tensor) -> Tensor:
    """Fill with a normal cut at two deviations, variance 1 / fan-in (default of flax)."""
    deviation = math.prod(weight.shape[1:]) ** -0.5 / 0.87962566  # of the cut normal
    return nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def sample_frames(num_frames: int, count: int) -> list[int]:
    """Indices of about `count` frames spread over `num_frames` (official `temporal_sampling`).

    All frames if `count >= num_frames`. Otherwise multiples of s = num_frames / (count + 1) below
    num_frames, rounded half to even: frame 0 is never among them, and rounding error makes it
    `count + 1` now and then (96 frames, 6 wanted: 7), as it does officially.
    """
    if count >= num_frames:
        return list(range(num_frames))
    step = num_frames / (count + 1)
    number = math.ceil((num_frames - step) / step)
    positions = step + step * torch.arange(number, dtype=torch.float64, device="cpu")
    return positions.round().long().clamp(max=num_frames - 1).tolist()
