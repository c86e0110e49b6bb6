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

from sightsound.models.backbone_model import BackboneModel
from sightsound.models.unimodal import OneStream
from sightsound.nn.masking import blank_absent, mean_of_present
from sightsound.types import MODALITIES, Encoded, Output


class LateAverage(BackboneModel):
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
        given = locals()
        parts = ("backbone", "options", "shape")
        order = ["heads", *(f"{name}_{part}" for name in self.modalities for part in parts)]
        super().__init__("late", {key: given[key] for key in order})
        given = self.info.arguments
        self.head = nn.ModuleDict()
        for name in self.modalities:
            alone = OneStream(
                heads=heads,
                backbone=given[f"{name}_backbone"],
                options=given[f"{name}_options"],
                video_shape=video_shape,
                audio_shape=audio_shape,
            )
            if alone.modality != name:
                raise ValueError(
                    f"{name}_backbone is {given[f'{name}_backbone']!r}, which reads "
                    f"{alone.modality}; give a backbone of {name}"
                )
            self.add_module(name, alone.stream(name))
            self.head[name] = alone.head
            given[f"{name}_options"] = alone.info.arguments["options"]

    def fuse(self, encoded: Encoded, *, maps: bool = False) -> Output:
        """The two classifiers and their mean."""
        present = encoded.present
        logits = {
            name: blank_absent(self.head[name](pooled), present[name] if present else None)
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
