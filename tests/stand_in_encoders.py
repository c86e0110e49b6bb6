"""Encoders without files: features of the right shape that depend on what they are given."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sightsound.features.encoder import example_front_end
from sightsound.media.front_end import picture_front_end
from sightsound.media.logmel import VGGISH_AUDIO, YAMNET_AUDIO

PICTURES = picture_front_end(224, 224)
SHAPES = {  # {kind: (modality, numbers of one segment, shape of its features)}
    "densenet201": ("video", PICTURES, (7, 7, 1920)),
    "mobilenet_v2": ("video", PICTURES, (7, 7, 1280)),
    "vggish": ("audio", example_front_end(VGGISH_AUDIO), (12, 8, 512)),
    "yamnet": ("audio", example_front_end(YAMNET_AUDIO), (3, 2, 1024)),
}


class StandIn(nn.Module):
    """Mean and deviation of a segment, through cosines of as many frequencies as features."""

    reads_waveform, num_classes, labels, dropped = False, 0, (), ()

    def __init__(self, kind: str, *, small: bool) -> None:
        super().__init__()
        self.modality, self.front_end, shape = SHAPES[kind]
        self.feature_shape = (*shape[:-1], 6) if small else shape
        self.source = kind

    def forward(self, x: Tensor) -> Tensor:
        size = self.feature_shape[-1]
        parts = x.float().flatten(1)
        seen = parts.mean(1, keepdim=True) + torch.linspace(0, 3, size) * parts.std(1, keepdim=True)
        grid = (None,) * (len(self.feature_shape) - 1)
        return seen.cos()[(slice(None), *grid)].expand(-1, *self.feature_shape)


def stand_in(monkeypatch: pytest.MonkeyPatch, *, small: bool = False) -> None:
    """Encoders of every kind in `SHAPES`, whatever file is named; `small`: of six features."""

    def load(spec: str) -> StandIn:
        assert torch.zeros(()).device.type == "cpu", "weights are read outside of the meta device"
        return StandIn(spec.partition(":")[0], small=small)

    monkeypatch.setattr("sightsound.features.load.load_encoder", load)
    monkeypatch.setattr("sightsound.features.load.weights_hash", lambda kind: f"{str(kind):0<64}")
