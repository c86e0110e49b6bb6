"""AVT, the audio-visual transformer (Zhu 2024, arXiv 2401.04154): two encoders, then a bottleneck.

Read `AVT` top to bottom: build, encode, fuse, classify. The encoders are in `backbones/`, the
losses it is trained with in `objectives/audio_visual/`. Its authors released no program: what the
paper leaves open is an argument here, the likeliest reading its default.

What differs from MBT:
* fusion comes after complete encoders, in layers of its own, not in their last ones;
* the sound's half of a layer reads the fusion tokens that the pictures' half has just updated;
* each encoder gives one vector for the clip, which stands before its tokens in fusion, and may be
  compared with the other's before it;
* one classifier reads both streams side by side: the half of a missing one is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sightsound.models.backbone import (
    Backbone,
    Tokens,
    new_backbone,
    own_options,
)
from sightsound.models.backbone_model import BackboneModel
from sightsound.models.explained import ALL, RolloutRows
from sightsound.models.fusion.bottleneck import BottleneckFusion
from sightsound.nn.block import layer_norm
from sightsound.nn.masking import blank_absent, mean_of_present, pool
from sightsound.nn.vit_block import VitBlock, start_linear_
from sightsound.registry import BACKBONES, resolve, unknown_name
from sightsound.types import AUDIO, MODALITIES, VIDEO, Encoded, Output

FUSION_UPDATES = ("chain", "block_mean", "running_mean")
VIDEO_TOKENS = ("pooled", "learned", "pooled_again")
AUDIO_TOKENS = ("pooled", "both")
HEAD_WIDTH = 64


class AVT(BackboneModel):
    """Two complete encoders, joined by layers that exchange through fusion tokens.

    Args:
        heads: {name: number of classes}; logits of several heads lie side by side.
        video_shape: (T, H, W) it is built for.
        audio_shape: (F, M), time frames and mel bins, likewise.
        video_backbone: key of `registry.BACKBONES`; `video_options` are its constructor arguments,
            such as `{"size": "small"}`.
        audio_backbone: likewise, with `audio_options`.
        width: of the fusion layers; `None`: the sound's. A stream of another width goes through a
            linear layer before them.
        fusion_depth: number of fusion layers; 0: the encoders' vectors side by side.
        num_heads: of a fusion layer; `None`: one per 64 of the width.
        mlp_ratio: hidden width of the fusion layers' MLPs, in widths.
        bottleneck_tokens: number of fusion tokens.
        fusion_update: what the next layer reads. `chain`: the tokens that the sound's half has
            updated. `block_mean`: the mean of what both halves made of them. `running_mean`: the
            mean of what the sound's halves of all layers so far made of them.
        video_token: what stands before the pictures' tokens. `pooled`: the encoder's vector;
            `learned`: that plus a learned one; `pooled_again`: the encoder's vector, but the
            classifier reads the mean over the other tokens after fusion.
        audio_token: `pooled`: the encoder's vector; `both`: CLS and distillation, their mean after
            fusion.
        stochastic_depth: drop rate of the encoders' last layers; their options may say otherwise.
        fusion_stochastic_depth: drop rate of every fusion layer.

    Raises:
        ValueError: an argument is unknown or does not go with another; the message says which.
    """

    modalities = MODALITIES
    video: Backbone
    audio: Backbone
    width: int

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
        width: int | None = None,
        fusion_depth: int = 4,
        num_heads: int | None = None,
        mlp_ratio: float = 4.0,
        bottleneck_tokens: int = 4,
        fusion_update: Literal["chain", "block_mean", "running_mean"] = "chain",
        video_token: Literal["pooled", "learned", "pooled_again"] = "pooled",
        audio_token: Literal["pooled", "both"] = "pooled",
        stochastic_depth: float = 0.0,
        fusion_stochastic_depth: float = 0.0,
    ) -> None:
        super().__init__("avt", locals())
        self.video_token, self.audio_token = video_token, audio_token
        self.fusion_depth = fusion_depth
        given = self.info.arguments
        for name in self.modalities:
            chosen, options = given[f"{name}_backbone"], given[f"{name}_options"]
            backbone_class = resolve(BACKBONES, chosen, kind="backbone")
            if backbone_class.modality != name:
                raise ValueError(
                    f"{name}_backbone is {chosen!r}, which reads {backbone_class.modality}; give a "
                    f"backbone of {name}"
                )
            rate = {"stochastic_depth": stochastic_depth}
            backbone = new_backbone(chosen, given[f"{name}_shape"], rate | (options or {}))
            given[f"{name}_options"] = own_options(backbone, options)
            self.add_module(name, backbone)
        self.width = width = width or self.audio.width
        num_heads = num_heads or max(width // HEAD_WIDTH, 1)
        self._check(num_heads)

        self.learned_token = None
        if video_token == "learned":
            self.learned_token = nn.Parameter(0.02 * torch.randn(1, 1, self.video.width))
        widths = {name: self.stream(name).width for name in self.modalities}
        self.projections = nn.ModuleDict(
            {
                name: nn.Identity() if own == width else start_linear_(nn.Linear(own, width))
                for name, own in widths.items()
            }
        )
        self.fusion_layers = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    VitBlock(
                        width,
                        num_heads,
                        int(width * mlp_ratio),
                        drop_path=fusion_stochastic_depth,
                    )
                    for _ in range(fusion_depth)
                )
                for name in self.modalities
            }
        )
        self.fusion = None
        if fusion_depth:
            self.fusion = AVBottleneck(
                width=width, bottleneck_tokens=bottleneck_tokens, update=fusion_update
            )
        self.norms = nn.ModuleDict({name: layer_norm(width) for name in self.modalities})
        classes = sum(heads.values())
        self.head = start_linear_(nn.Linear(len(self.modalities) * width, classes))

    def _sequence(self, name: str, found: Tokens) -> Tokens:
        """[what stands for the clip | tokens of the grid] (B, n + N, D), and their key mask."""
        prefix, both = self.stream(name).num_prefix, self._num_first(name) > 1
        first = found.tokens[:, :prefix] if both else found.pooled[:, None]
        if name == VIDEO and self.learned_token is not None:
            first = first + self.learned_token
        tokens, mask = torch.cat((first, found.tokens[:, prefix:]), dim=1), found.key_mask
        if mask is not None:
            mask = torch.cat((mask.new_ones(first.shape[:2]), mask[:, prefix:]), dim=1)
        return Tokens(tokens, found.pooled, mask, found.attention)

    def _num_first(self, name: str) -> int:
        """Tokens of a stream that stand before those of its grid."""
        both = name == AUDIO and self.audio_token == "both"
        return self.audio.num_prefix if both else 1

    def fuse(self, encoded: Encoded, *, maps: bool = False) -> Output:
        """The fusion layers, a norm for each stream, and the classifier.

        With `maps` also the weights {"audio.fusion.0": (B, h, N + Z, N + Z)} of fusion, whose
        tokens are the last Z.
        """
        present, key_mask = encoded.present, encoded.key_mask or {}
        streams = {name: self.projections[name](x) for name, x in encoded.tokens.items()}
        attention: dict[str, Tensor] = {}
        if self.fusion is not None:
            layers = {k: [*self.fusion_layers.get_submodule(k).children()] for k in streams}
            streams, weights_by_layer = self.fusion(
                streams, layers, present=present, key_mask=key_mask, maps=maps
            )
            attention = {
                f"{name}.fusion.{layer}": weights
                for layer, each in enumerate(weights_by_layer)
                for name, weights in each.items()
            }
        tokens = {name: self.norms[name](x) for name, x in streams.items()}
        pooled = {name: self._pool(name, x, key_mask.get(name)) for name, x in tokens.items()}
        some = next(iter(pooled.values()))
        halves = [  # side by side; that of a missing stream is zero
            blank_absent(pooled[name], present[name] if present else None)
            if name in pooled
            else torch.zeros_like(some)
            for name in self.modalities
        ]
        return Output(
            self.head(torch.cat(halves, dim=1)),
            tokens=tokens,
            pooled=pooled,
            encoded=encoded.pooled,
            attention=encoded.attention | attention if maps else None,
        )

    def _pool(self, name: str, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """What stands for a stream after fusion (B, D)."""
        if name == VIDEO and self.video_token == "pooled_again":
            return pool(tokens[:, 1:], None if mask is None else mask[:, 1:], kind="gap")
        return tokens[:, : self._num_first(name)].mean(1)

    def rollout(self, rows: RolloutRows) -> dict[str, Tensor]:
        """As of `Pretrained`; the classifier reads both streams side by side: alike much."""
        streams = {}
        for name in rows.encoded.tokens:
            tokens, pooled = self._stream_rows(name, rows)
            prefix, both = self.stream(name).num_prefix, self._num_first(name) > 1
            first = tokens[:, :prefix] if both else pooled[:, None]
            streams[name] = torch.cat((first, tokens[:, prefix:]), dim=1)
        if self.fusion is not None:
            blocks = {
                name: [rows.layer(f"{name}.fusion.{layer}") for layer in range(self.fusion_depth)]
                for name in streams
            }
            streams = rows.fuse(self.fusion, streams, blocks)
        masks = rows.encoded.key_mask or {}
        read = {name: self._pool(name, x, masks.get(name)) for name, x in streams.items()}
        return read | {ALL: mean_of_present(read, rows.encoded.present)}

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute each layer's activations in the backward pass: less memory, same numbers."""
        super().set_gradient_checkpointing(enabled)
        for module in self.fusion_layers.modules():
            if isinstance(module, VitBlock):
                module.checkpointing = enabled

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without decay: biases, norms, learned tokens, the backbones' own."""
        learned = {"learned_token", "fusion.tokens"} & dict(self.named_parameters()).keys()
        return super().no_weight_decay() | learned

    def _check(self, num_heads: int) -> None:
        """Arguments that do not go together: `ValueError`."""
        given = self.info.arguments
        for kind, known in (("video_token", VIDEO_TOKENS), ("audio_token", AUDIO_TOKENS)):
            if given[kind] not in known:
                raise unknown_name(kind, given[kind], known)
        if self.audio_token == "both" and not self.audio.num_prefix:
            raise ValueError(
                f"audio_token is 'both', but {given['audio_backbone']} has no tokens of the whole "
                "clip; accepted: 'pooled'"
            )
        if given["fusion_depth"] < 0:
            raise ValueError(f"fusion_depth is {given['fusion_depth']}; accepted: 0 or more")
        if self.width % num_heads:
            raise ValueError(
                f"width {self.width} is not a multiple of num_heads {num_heads}; give num_heads"
            )


class AVBottleneck(BottleneckFusion):
    """Pictures update the fusion tokens, sound reads and updates those, in every layer.

    What the next layer reads is `update`, see `AVT`. A stream that an example lacks is skipped.
    """

    def __init__(self, *, width: int, bottleneck_tokens: int, update: str) -> None:
        if update not in FUSION_UPDATES:
            raise unknown_name("fusion_update", update, FUSION_UPDATES)
        super().__init__(
            width=width,
            bottleneck_tokens=bottleneck_tokens,
            update="sequential",
            update_order=(VIDEO, AUDIO),
        )
        self.carry = update

    def carried(
        self,
        updates: Mapping[str, Tensor],
        results: Sequence[Tensor],
        present: Mapping[str, Tensor] | None,
    ) -> Tensor:
        """The fusion tokens (B, Z, D) that the next layer reads."""
        if self.carry == "block_mean":
            return mean_of_present(updates, present)
        if self.carry == "running_mean":
            return torch.stack(tuple(results)).mean(0)
        return results[-1]
