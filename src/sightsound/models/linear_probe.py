"""Linear probe on frozen features: what the encoders tell by themselves.

Each stream is the mean over its seconds and what lies within them, standardised by a batch norm;
one linear layer reads all streams side by side. A model that attends has to beat it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sightsound.models.feature_stream import (
    FeatureModel,
    blanked_seconds,
    check_shape,
    grid_mean,
    seconds_that_count,
)
from sightsound.models.input_masks import check_modalities, padded_streams, present_streams
from sightsound.nn.masking import blank_absent, pool
from sightsound.nn.norm import BatchNorm
from sightsound.types import AUDIO, MODALITIES, VIDEO, Encoded, Output


class LinearProbe(FeatureModel):
    """One linear layer on the means of the features.

    Args:
        heads: {name: number of classes}; logits of several heads lie side by side.
        video_shape: (T, H, W, D), (T, N, D) or (T, D): maps, tokens or one vector per second.
        audio_shape: likewise. Other numbers of seconds are accepted at any time.
        modalities: streams, in the order in which the layer reads them.
        norm_decay: running batch statistics become this much old + the rest new.

    Raises:
        ValueError: a modality is unknown or twice there, or a shape cannot be.
    """

    def __init__(
        self,
        *,
        heads: dict[str, int],
        video_shape: tuple[int, ...] | None = (10, 1920),
        audio_shape: tuple[int, ...] | None = (10, 12, 8, 512),
        modalities: tuple[str, ...] = (VIDEO, AUDIO),
        norm_decay: float = 0.99,
    ) -> None:
        super().__init__("linear_probe", locals())
        self.modalities = tuple(modalities)
        if not set(modalities) <= set(MODALITIES) or len(set(modalities)) != len(modalities):
            raise ValueError(f"modalities are {modalities}; accepted: {MODALITIES}, each once")
        self.shapes = {name: self.info.arguments[f"{name}_shape"] for name in self.modalities}
        for name, shape in self.shapes.items():
            check_shape(name, shape)
        sizes = {name: shape[-1] for name, shape in self.shapes.items()}
        norms = {name: BatchNorm(size, decay=norm_decay) for name, size in sizes.items()}
        self.norms = nn.ModuleDict(norms)
        self.head = nn.Linear(sum(sizes.values()), sum(heads.values()))

    def encode(
        self,
        inputs: Mapping[str, Tensor],
        *,
        present: Mapping[str, Tensor] | None = None,
        valid: Mapping[str, Tensor] | None = None,
        token_mask: Mapping[str, Tensor] | None = None,
        maps: bool = False,
    ) -> Encoded:
        """The vector of each second (B, T, D), and their mean over the seconds that count."""
        check_modalities(inputs, self.modalities)
        for name in inputs.keys() & self.shapes.keys():
            size, shape = self.shapes[name][-1], inputs[name].shape
            if len(shape) < 3 or shape[-1] != size or 0 in shape:
                raise ValueError(
                    f"{name} input has shape {tuple(shape)}; accepted is (B, T, ..., {size})"
                    ", features with channels last"
                )
        inputs = {k: inputs[k].to(self.head.weight.dtype) for k in self.modalities if k in inputs}
        present = present_streams(inputs, present, valid)
        padded = padded_streams(inputs, present, valid)
        counted = seconds_that_count(inputs, present, padded, token_mask or {})
        tokens = {k: grid_mean(blanked_seconds(x, counted[k])) for k, x in inputs.items()}
        pooled = {name: pool(x, counted[name], kind="gap") for name, x in tokens.items()}
        return Encoded(tokens, pooled, present)

    def fuse(self, encoded: Encoded, *, maps: bool = False) -> Output:
        """The linear layer on standardised means; zeros stand for a stream that is not there."""
        here = encoded.present or {}
        pooled = {
            name: blank_absent(self.norms[name](x, rows=here.get(name)), here.get(name))
            for name, x in encoded.pooled.items()
        }
        any_stream = next(iter(pooled.values()))
        size = any_stream.shape[0]
        columns = [
            pooled.get(name, any_stream.new_zeros(size, shape[-1]))
            for name, shape in self.shapes.items()
        ]
        logits = self.head(torch.cat(columns, dim=1))
        return Output(logits, tokens=encoded.tokens, pooled=pooled, encoded=encoded.pooled)
