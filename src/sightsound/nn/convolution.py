"""Convolutions of the MobileNets: TensorFlow's padding 'SAME', ReLU6, batch norm folded in."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

# MobileNets (Howard et al. 2017), table 1: (output channels, stride) of each separable convolution.
SEPARABLE_LAYERS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
FIRST_CHANNELS = 32


class SameConvolution(nn.Conv2d):
    """A convolution whose output has ceil(size / stride) rows and columns, then ReLU6.

    TensorFlow's 'SAME': an odd number of padding rows has the extra one at the end, so that a
    stride of 2 over an even size reads other pixels than PyTorch's symmetric padding does.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        super().__init__(channels, out_channels, kernel, stride, groups=groups)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, columns = (same_padding(size, kernel, stride=stride) for size in x.shape[-2:])
        if rows[0] == rows[1] and columns[0] == columns[1]:
            padding = (rows[0], columns[0])  # without a copy of the input
        else:
            x, padding = functional.pad(x, (*columns, *rows)), (0, 0)
        x = functional.conv2d(x, self.weight, self.bias, stride, padding, groups=self.groups)
        return functional.relu6(x, inplace=True) if self.activation else x


def same_padding(size: int, kernel: int, *, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of `size`, as TensorFlow's 'SAME' wants."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def separable_layers(channels: int, *, width: float = 1.0) -> nn.Sequential:
    """The convolutions of a MobileNet of 2017: 32 times smaller, 1024 * `width` channels.

    A full convolution, then thirteen pairs of a depthwise (3 x 3) and a pointwise (1 x 1) one.

    Args:
        channels: of the input.
        width: multiplies every number of channels, which is at least 8.
    """
    size = scaled(FIRST_CHANNELS, width)
    layers = [SameConvolution(channels, size, 3, stride=2)]
    for out_channels, stride in SEPARABLE_LAYERS:
        layers.append(SameConvolution(size, size, 3, stride=stride, groups=size))
        layers.append(SameConvolution(size, scaled(out_channels, width), 1))
        size = scaled(out_channels, width)
    return nn.Sequential(*layers)


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, at least 8."""
    return max(int(channels * width), 8)


def grid_shape(size: Sequence[int], channels: int, *, reduction: int = 32) -> tuple[int, ...]:
    """(h, w, D) of a map that is `reduction` times smaller than an input of `size`, rounded up."""
    return (*(-(-length // reduction) for length in size), channels)
