"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381): pictures -> features, ImageNet classes.

Batch norm is folded into the convolutions. Class 0 of the published weights is "background".
"""

from __future__ import annotations

from torch import Tensor, nn

from sightsound.features.encoder import Encoder
from sightsound.media.front_end import picture_front_end
from sightsound.nn.convolution import SameConvolution, grid_shape
from sightsound.types import VIDEO

# Table 2: (expansion, output channels, blocks, stride of the first).
BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FIRST_CHANNELS, LAST_CHANNELS = 32, 1280
DIVISOR = 8  # of every number of channels


class MobileNetV2(Encoder):
    """Encoder of pictures.

    Args:
        width: multiplies the number of channels; the last layer's only where it is above 1.
        size: height and width of the picture.
    """

    modality = VIDEO

    def __init__(self, *, width: float = 1.0, size: int = 224, num_classes: int = 1001) -> None:
        super().__init__()
        channels = _rounded(FIRST_CHANNELS * width)
        layers: list[nn.Module] = [SameConvolution(3, channels, 3, stride=2)]
        for expansion, out_channels, count, first_stride in BLOCKS:
            out_channels = _rounded(out_channels * width)
            for stride in (first_stride, *[1] * (count - 1)):
                layers.append(
                    InvertedResidual(channels, out_channels, stride=stride, expansion=expansion)
                )
                channels = out_channels
        last = _rounded(LAST_CHANNELS * max(width, 1.0))
        self.front_end = picture_front_end(size, size)
        self.feature_shape = grid_shape((size, size), last)
        self.num_classes = num_classes
        self.layers = nn.Sequential(*layers, SameConvolution(channels, last, 1))
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> (N, h, w, D)."""
        return self.layers(x).permute(0, 2, 3, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, K); softmax gives probabilities."""
        return self.classifier(self(x).mean((1, 2)))


class InvertedResidual(nn.Module):
    """Wide inside, narrow at both ends (section 3.3): expand, depthwise, project without ReLU.

    The input is added where the output has its shape. Without expansion there is no first layer.
    """

    def __init__(self, channels: int, out_channels: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        layers = [SameConvolution(channels, inner, 1)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *layers,
            SameConvolution(inner, inner, 3, stride=stride, groups=inner),
            SameConvolution(inner, out_channels, 1, activation=False),
        )
        self.adds = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return x + y if self.adds else y


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, but at least 8 and no more than a tenth below `channels`."""
    number = max(DIVISOR, int(channels + DIVISOR / 2) // DIVISOR * DIVISOR)
    return number if number >= 0.9 * channels else number + DIVISOR
