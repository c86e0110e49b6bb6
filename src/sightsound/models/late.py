"""The average of two models that never meet: a backbone and a linear layer for each stream.

As AVT's table 4 has it (Avg), but in one training: `sightsound ablate --study avt_losses` averages
two that are trained apart. With `average_weight` 0 and `stream_weight` 2 each stream gets the
gradient that it would alone, where every clip has both (with 1, the mean of the streams' losses,
half of it). What is left in common: `train.clip_norm` looks at the gradient of both, and which
model is the best.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from sightsound.models.backbone import Backbone
from sightsound.models.backbone_model import OfBackbones
from sightsound.models.unimodal import OneStream
from sightsound.nn.masking import blank_absent, mean_of_present
from sightsound.types import AUDIO, MODALITIES, VIDEO, Encoded, ModelInfo, Output


class LateAverage(OfBackbones):
    """Logits are the mean over the streams that an example has.

    Args:
        heads: {name: number of classes}; logits of several heads lie side by side.
        video_shape: (T, H, W) it is built for.
        audio_shape: (F, M), time frames and mel bins, likewise.
        video_backbone: key of `registry.BACKBONES`; `video_options` are its constructor arguments,
            such as `{"size": "small"}`.
        audio_backbone: likewise, with `audio_options`.
    """

    modalities = MODALITIES

    def __init__(
        self,
        *,
        heads: dict[str, int],
        video_shape: tuple[int, int, int] = (16, 224, 224),
        audio_shape: tuple[int, int] = (1024, 128),
        video_backbone: str = "uniformer",
        video_options: dict[str, Any] | None = None,
        audio_backbone: str = "ast",
        audio_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        given = {VIDEO: (video_backbone, video_options), AUDIO: (audio_backbone, audio_options)}
        shapes = {"video_shape": video_shape, "audio_shape": audio_shape}
        self.heads, arguments = dict(heads), {"heads": dict(heads)}
        self.head = nn.ModuleDict()
        for name, (backbone, options) in given.items():
            alone = OneStream(heads=heads, backbone=backbone, options=options, **shapes)
            if alone.modality != name:
                raise ValueError(
                    f"{name}_backbone is {backbone!r}, which reads {alone.modality}; give a "
                    f"backbone of {name}"
                )
            self.add_module(name, alone.backbone)
            self.head[name] = alone.head
            arguments |= {f"{name}_backbone": backbone}
            arguments |= {f"{name}_options": alone.info.arguments["options"]}
            arguments |= {f"{name}_shape": list(shapes[f"{name}_shape"])}
        self.info = ModelInfo("late", arguments)

    def backbone(self, name: str) -> Backbone:
        """The encoder of one stream."""
        return getattr(self, name)

    def fuse(self, encoded: Encoded, *, maps: bool = False) -> Output:
        """The two classifiers and their mean."""
        present = encoded.present
        logits = {
            name: blank_absent(self.head[name](pooled), present and present[name])
            for name, pooled in encoded.pooled.items()
        }
        return Output(
            mean_of_present(logits, present),
            modality_logits=logits,
            tokens=encoded.tokens,
            pooled=encoded.pooled,
            encoded=encoded.pooled,
            attention=encoded.attention if maps else None,
        )
