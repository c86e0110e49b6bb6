"""A model of ours with a video stream as an encoder of single pictures: tokens after its last norm.

Positions of a model of several frames are interpolated to one step of time; its other streams are
absent.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from sightsound.features.encoder import Encoder
from sightsound.media.front_end import FrontEnd, picture_front_end
from sightsound.models.backbone import Backbone
from sightsound.models.pretrained import Pretrained
from sightsound.types import VIDEO, Output


class ViTEncoder(Encoder):
    """Encoder of pictures.

    Args:
        model: an MBT with a video stream; it is used as it is.
    """

    modality = VIDEO

    def __init__(self, model: Pretrained) -> None:
        super().__init__()
        stream = model.stream(VIDEO) if VIDEO in model.modalities else None
        if not isinstance(stream, Backbone):
            raise ValueError(f"the model has the modalities {model.modalities}; 'video' is needed")
        self.model = model.eval()
        info = model.info
        self.frames = stream.cells(stream.shape).patch[0]  # the least that makes a token
        _, height, width = stream.shape
        self.front_end = picture_front_end(height, width)
        if info.front_end:
            self.front_end = dataclasses.replace(
                FrontEnd.from_dict(info.front_end).video,
                num_frames=1,
                window_seconds=1.0,
                stride_seconds=None,
            )
        self.num_classes = sum(model.heads.values())
        self.labels = [name for names in info.labels.values() for name in names]
        with torch.no_grad():
            picture = torch.zeros(1, stream.channels, height, width)
            self.feature_shape = tuple(self(picture).shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) normalised -> (N, n, D), CLS first where there is one."""
        return self.output(x).tokens[VIDEO]

    def logits(self, x: Tensor) -> Tensor:
        """(N, K), the model's heads side by side."""
        return self.output(x).logits

    def output(self, x: Tensor) -> Output:
        """What the model says of pictures (N, 3, H, W), each a video that stands still."""
        return self.model({VIDEO: x.unsqueeze(1).expand(-1, self.frames, -1, -1, -1)})
