"""MobileNet of 2017 (Howard et al., arXiv 1704.04861): pictures -> features, ImageNet classes.

Batch norm is folded into the convolutions. Class 0 of the published weights is "background".
"""

from __future__ import annotations

from torch import Tensor, nn

from sightsound.features.encoder import Encoder
from sightsound.media.front_end import picture_front_end
from sightsound.nn.convolution import SEPARABLE_LAYERS, grid_shape, scaled, separable_layers
from sightsound.types import VIDEO


class MobileNetV1(Encoder):
    """Encoder of pictures.

    Args:
        width: multiplies the number of channels.
        size: height and width of the picture.
    """

    modality = VIDEO

    def __init__(self, *, width: float = 1.0, size: int = 224, num_classes: int = 1001) -> None:
        super().__init__()
        channels = scaled(SEPARABLE_LAYERS[-1][0], width)
        self.front_end = picture_front_end(size, size)
        self.feature_shape = grid_shape((size, size), channels)
        self.num_classes = num_classes
        self.layers = separable_layers(3, width=width)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> (N, h, w, D)."""
        return self.layers(x).permute(0, 2, 3, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, K); softmax gives probabilities."""
        return self.classifier(self(x).mean((1, 2)))
