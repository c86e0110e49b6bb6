"""The average of two models that never meet: a backbone and a linear layer for each stream.

What AVT's table 4 calls Avg. Trained with `average_weight` 0 and `stream_weight` 1 each stream
learns as it would alone, since they share no weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sightsound.models.backbone import Backbone, frames_that_count
from sightsound.models.presence import present_streams
from sightsound.models.pretrained import Pretrained
from sightsound.models.unimodal import OneStream, check_input
from sightsound.nn.masking import blank_absent, mean_of_present
from sightsound.registry import unknown_name
from sightsound.types import AUDIO, MODALITIES, VIDEO, Encoded, ModelInfo, Output


class LateAverage(Pretrained):
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

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        *,
        present: Mapping[str, Tensor] | None = None,
        valid: Mapping[str, Tensor] | None = None,
        maps: bool = False,
    ) -> Output:
        """Logits and those of each stream: `fuse(encode(inputs))`; arguments as of `AVT`.

        Raises:
            ValueError: an example has no stream at all, or a shape does not fit.
        """
        return self.fuse(self.encode(inputs, present=present, valid=valid, maps=maps), maps=maps)

    def encode(
        self,
        inputs: Mapping[str, Tensor],
        *,
        present: Mapping[str, Tensor] | None = None,
        valid: Mapping[str, Tensor] | None = None,
        token_mask: Mapping[str, Tensor] | None = None,
        maps: bool = False,
    ) -> Encoded:
        """Each backbone's tokens after its last norm; `token_mask` as of `AVT.encode`."""
        for name, x in inputs.items():
            if name not in MODALITIES:
                raise unknown_name("modality", name, MODALITIES)
            check_input(name, x, channels=self.backbone(name).channels)
        if not inputs:
            raise ValueError(
                f"inputs hold none of the model's modalities {self.modalities}; "
                "give at least one of them"
            )
        present = present_streams(inputs, present, valid)
        found = {
            name: self.backbone(name)(
                x,
                valid=frames_that_count(name, x, present=present, valid=valid),
                token_mask=(token_mask or {}).get(name),
                maps=maps,
            )
            for name, x in inputs.items()
        }
        return Encoded(
            tokens={name: each.tokens for name, each in found.items()},
            pooled={name: each.pooled for name, each in found.items()},
            present=present,
            key_mask={n: each.key_mask for n, each in found.items() if each.key_mask is not None}
            or None,
            attention={
                f"{name}.{layer}": weights
                for name, each in found.items()
                for layer, weights in each.attention.items()
            },
        )

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

    def example_inputs(self, batch_size: int = 1) -> dict[str, Tensor]:
        """Zeros of the shapes the model is built for, on its device."""
        return {name: self.backbone(name).example_input(batch_size) for name in self.modalities}

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute each layer's activations in the backward pass: less memory, same numbers."""
        for name in self.modalities:
            self.backbone(name).set_gradient_checkpointing(enabled)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without decay: biases, norms, and what the backbones name."""
        names = {name for name, parameter in self.named_parameters() if parameter.ndim == 1}
        return names | {
            f"{stream}.{name}"
            for stream in self.modalities
            for name in self.backbone(stream).no_weight_decay()
        }

    def resize_state(self, name: str, tensor: Tensor, source: Pretrained) -> Tensor | None:
        """`source`'s tensor `name` made to fit, see `Backbone`; `None`: it fits or cannot."""
        part, _, rest = name.partition(".")
        own, other = (getattr(each, part, None) for each in (self, source))
        if part not in self.modalities or type(own) is not type(other):
            return None
        return own.resize_state(rest, tensor, other)
