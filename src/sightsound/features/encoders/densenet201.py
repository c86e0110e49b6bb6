"""DenseNet-201 (Huang et al. 2017, arXiv 1608.06993): pictures -> features, ImageNet classes.

The variant with bottlenecks and compression (DenseNet-BC, table 1). The features are those after
the final norm *and* its ReLU, which old versions of Keras left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightsound.features.encoder import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    Encoder,
    no_classifier,
)
from sightsound.media.front_end import picture_front_end
from sightsound.nn.convolution import grid_shape
from sightsound.types import VIDEO

BOTTLENECK = 4  # the 1 x 1 convolution of a layer makes this many times `growth` channels


class DenseNet(Encoder):
    """Encoder of pictures; by default DenseNet-201.

    Args:
        blocks: number of layers in each dense block.
        growth: channels that each layer adds ("k").
        num_classes: 0: no classifier.
        epsilon: of every norm.
    """

    modality = VIDEO

    def __init__(
        self,
        *,
        blocks: Sequence[int] = (6, 12, 48, 32),
        growth: int = 32,
        size: int = 224,
        num_classes: int = 1000,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        channels = 2 * growth
        self.conv0 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.norm0 = nn.BatchNorm2d(channels, eps=epsilon)
        self.parts = nn.Sequential()
        for number, num_layers in enumerate(blocks, start=1):
            block = DenseBlock(channels, num_layers, growth=growth, epsilon=epsilon)
            self.parts.add_module(f"block{number}", block)
            channels += num_layers * growth
            if number < len(blocks):
                self.parts.add_module(f"transition{number}", Transition(channels, epsilon=epsilon))
                channels //= 2
        self.norm = nn.BatchNorm2d(channels, eps=epsilon)
        self.classifier = nn.Linear(channels, num_classes) if num_classes else None
        self.num_classes = num_classes
        self.front_end = picture_front_end(
            size, size, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION
        )
        self.feature_shape = grid_shape((size, size), channels, reduction=2 ** (1 + len(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) normalised -> (N, h, w, D), never negative."""
        x = functional.relu(self.norm0(self.conv0(x)), inplace=True)
        x = self.parts(functional.max_pool2d(x, 3, stride=2, padding=1))
        return functional.relu(self.norm(x), inplace=True).permute(0, 2, 3, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, K); softmax gives probabilities."""
        if self.classifier is None:
            raise no_classifier("this DenseNet")
        return self.classifier(self(x).mean((1, 2)))


class DenseBlock(nn.Module):
    """Each layer reads the input and the outputs of all layers before it (section 3)."""

    def __init__(self, channels: int, num_layers: int, *, growth: int, epsilon: float) -> None:
        super().__init__()
        for number in range(num_layers):
            layer = DenseLayer(channels + number * growth, growth=growth, epsilon=epsilon)
            self.add_module(f"layer{number + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C + layers * growth, H, W): the input comes first."""
        for layer in self.children():
            x = torch.cat((x, layer(x)), dim=1)
        return x


class DenseLayer(nn.Module):
    """Norm, ReLU, 1 x 1 convolution; norm, ReLU, 3 x 3 convolution."""

    def __init__(self, channels: int, *, growth: int, epsilon: float) -> None:
        super().__init__()
        inner = BOTTLENECK * growth
        self.norm1 = nn.BatchNorm2d(channels, eps=epsilon)
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner, eps=epsilon)
        self.conv2 = nn.Conv2d(inner, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(functional.relu(self.norm1(x), inplace=True))
        return self.conv2(functional.relu(self.norm2(x), inplace=True))


class Transition(nn.Module):
    """Half of everything: norm, ReLU, 1 x 1 convolution, mean of 2 x 2."""

    def __init__(self, channels: int, *, epsilon: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=epsilon)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(functional.relu(self.norm(x), inplace=True))
        return functional.avg_pool2d(x, 2)
