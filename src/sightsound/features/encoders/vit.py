"""A model of ours with a video stream as an encoder of single pictures: tokens after its last norm.

Positions of a model of several frames are interpolated to one step of time; its other streams are
absent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sightsound.media.front_end import FrontEnd, picture_front_end
from sightsound.types import VIDEO


class ViTEncoder(nn.Module):
    """An `Encoder` of pictures.

    Args:
        model: an MBT with a video stream; it is used as it is.
    """

    modality = VIDEO
    reads_waveform = False

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if VIDEO not in model.modalities:
            raise ValueError(f"the model has the modalities {model.modalities}; 'video' is needed")
        self.model = model.eval()
        stream, info = model.stream(VIDEO), model.info
        self.frames = stream.patch[0]  # the least that makes a token
        self.front_end = picture_front_end(*stream.shape[1:])
        if info.front_end:
            self.front_end = dataclasses.replace(
                FrontEnd.from_dict(info.front_end).video,
                num_frames=1,
                window_seconds=1.0,
                stride_seconds=None,
            )
        self.num_classes = sum(model.heads.values())
        self.labels: Sequence[str] = [name for names in info.labels.values() for name in names]
        with torch.no_grad():
            self.feature_shape = tuple(self(model.example_inputs()[VIDEO][:, 0]).shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) normalised -> (N, n, D), CLS first where there is one."""
        return self._output(x).tokens[VIDEO]

    def logits(self, x: Tensor) -> Tensor:
        """(N, K), the model's heads side by side."""
        return self._output(x).logits

    def _output(self, x: Tensor):
        return self.model({VIDEO: x.unsqueeze(1).expand(-1, self.frames, -1, -1, -1)})
