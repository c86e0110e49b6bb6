"""VGGish (Hershey et al. 2017, arXiv 1609.09430): log-mel of .96 s -> features.

MAFnet reads its map after the last convolution and before the fourth pooling; the three layers
that would make an embedding of it are left out. Time is the height, mel the width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from sightsound.features.encoder import Encoder, example_front_end
from sightsound.media.logmel import VGGISH_AUDIO
from sightsound.nn.convolution import grid_shape
from sightsound.types import AUDIO

# Output channels of each convolution; a pooling of 2 x 2 comes before each new group.
GROUPS = (("conv1",), ("conv2",), ("conv3_1", "conv3_2"), ("conv4_1", "conv4_2"))
CHANNELS = (64, 128, 256, 512)


class VGGish(Encoder):
    """Encoder of sound.

    Args:
        channels: of the convolutions in each of the four groups.
    """

    modality = AUDIO

    def __init__(self, *, channels: Sequence[int] = CHANNELS) -> None:
        super().__init__()
        self.front_end = example_front_end(VGGISH_AUDIO)
        size = (self.front_end.num_frames, self.front_end.num_mels)
        self.feature_shape = grid_shape(size, channels[-1], reduction=2 ** (len(GROUPS) - 1))
        before = 1
        for names, after in zip(GROUPS, channels, strict=True):
            for name in names:
                self.add_module(name, nn.Conv2d(before, after, 3, padding=1))
                before = after

    def forward(self, x: Tensor) -> Tensor:
        """Log-mel (N, 1, F, M) -> (N, f, m, D), never negative."""
        for number, names in enumerate(GROUPS):
            x = functional.max_pool2d(x, 2) if number else x
            for name in names:
                x = functional.relu(self.get_submodule(name)(x), inplace=True)
        return x.permute(0, 2, 3, 1)
