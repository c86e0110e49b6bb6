"""YAMNet: log-mel of .96 s -> features and scores of 521 AudioSet classes.

A MobileNet of 2017 that reads spectrograms: time is the height, mel the width, one channel. Batch
norm is folded into the convolutions. Classes are independent of one another.
"""

from __future__ import annotations

from torch import Tensor, nn

from sightsound.features.encoder import Encoder, example_front_end
from sightsound.media.logmel import YAMNET_AUDIO
from sightsound.nn.convolution import SEPARABLE_LAYERS, grid_shape, scaled, separable_layers
from sightsound.types import AUDIO


class YAMNet(Encoder):
    """Encoder of sound.

    Args:
        width: multiplies the number of channels; YAMNet's is 1.
    """

    modality = AUDIO

    def __init__(self, *, width: float = 1.0, num_classes: int = 521) -> None:
        super().__init__()
        channels = scaled(SEPARABLE_LAYERS[-1][0], width)
        self.front_end = example_front_end(YAMNET_AUDIO)
        size = (self.front_end.num_frames, self.front_end.num_mels)
        self.feature_shape = grid_shape(size, channels)
        self.num_classes = num_classes
        self.layers = separable_layers(1, width=width)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Log-mel (N, 1, F, M) -> (N, f, m, D)."""
        return self.layers(x).permute(0, 2, 3, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, K); a sigmoid gives each class's score."""
        return self.classifier(self(x).mean((1, 2)))
