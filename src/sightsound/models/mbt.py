"""Multimodal Bottleneck Transformer (Nagrani et al. 2021, "Attention Bottlenecks ...").

NeurIPS 2021 is called "the paper", arXiv 2107.00135v1 "v1". Read `MBT` top to bottom: build,
encode, fuse, classify. One modality up to its tokens is `stream.py`, the three ways to fuse are in
`fusion/`, the transformer layer is `nn/block.py`, missing streams and padding are `input_masks.py`.

What differs from two ViTs side by side:
* the first `fusion_layer` layers see one modality each, the others are handed to a fusion strategy;
* one final norm and one linear classifier serve all modalities; their logits are averaged;
* stochastic depth grows with depth and does not rescale; LayerNorm epsilon is 1e-6;
* a missing modality is a mask, not zeros: what is left gives the numbers it would give alone.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sightsound.models.backbone import Tokens
from sightsound.models.backbone_model import BackboneModel, Masks
from sightsound.models.explained import ALL, GradCamLayer, RolloutRows
from sightsound.models.fusion.alone import pass_alone
from sightsound.models.fusion.base import Fusion
from sightsound.models.input_masks import padded_streams
from sightsound.models.sizes import choose_size, new_blocks
from sightsound.models.stream import Stream
from sightsound.nn.block import Block, layer_norm, run_blocks
from sightsound.nn.masking import blank_absent, join_masks, mean_of_present, pool, visible_to_others
from sightsound.nn.patch import lecun_normal_
from sightsound.registry import FUSIONS, resolve, unknown_name
from sightsound.types import AUDIO, MODALITIES, VIDEO, Encoded, Output

CLASSIFIERS = ("token", "gap", "gmp", "gsp")


class MBT(BackboneModel):
    """Audio-visual (or one-stream) transformer with bottleneck, cross- or self-attention fusion.

    Args:
        heads: {name: number of classes}; logits of several heads lie side by side.
        video_shape: (T, H, W) the positions are made for; other sizes interpolate them.
        audio_shape: (F, M), time frames and mel bins, likewise.
        modalities: streams in order of fusion; one name makes a unimodal model.
        size: `tiny`, `small`, `base` or `large`; `width`, `depth`, `num_heads` and `mlp_width`
            override it one by one (`mlp_width` is then four times the width).
        fusion: key of `registry.FUSIONS`: `bottleneck`, `cross_attention` or `self_attention`
            (paper, section 3.2), or your own (docs/extending.md).
        fusion_layer: layers before fusion. 0 is early fusion, the number of layers is late.
        bottleneck_tokens: true number of fusion tokens.
        update: `averaged` (paper) or `sequential` (v1).
        update_order: of the sequential update.
        share_weights: one set of layers for all modalities (`self_attention` always has one set
            above the fusion layer).
        classifier: `token`: CLS of each stream, logits averaged. `gap`, `gmp`, `gsp`: mean,
            maximum or sum over the tokens of all streams together.
        video_patch: (frames, height, width); more than one frame makes tubelets.
        audio_patch: (time, mel).
        video_channels: C of the video.
        audio_channels: channels of the audio patches; 3 repeats the spectrogram, as officially.
        stem: `linear` (paper), or `convolution`, which small data sets like better.
        frame_sampling: choose this many of the T frames inside the model (official rule).
        representation_size: width of a tanh layer before the classifier; `None`: no such layer.
        dropout: in MLPs and after attention.
        attention_dropout: of attention weights.
        stochastic_depth: drop rate of the last layer; layer l of L has l / (L - 1) of it.
        test_with_bottlenecks: false: fusion layers pass each stream alone in evaluation mode.

    Raises:
        ValueError: an argument is unknown or does not go with another; the message says which.
    """

    def __init__(
        self,
        *,
        heads: dict[str, int],
        video_shape: tuple[int, int, int] | None = (8, 224, 224),
        audio_shape: tuple[int, int] | None = (800, 128),
        modalities: tuple[str, ...] = (AUDIO, VIDEO),
        size: Literal["tiny", "small", "base", "large"] = "base",
        width: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        mlp_width: int | None = None,
        fusion: str = "bottleneck",
        fusion_layer: int = 8,
        bottleneck_tokens: int = 4,
        update: Literal["averaged", "sequential"] = "averaged",
        update_order: tuple[str, ...] = (VIDEO, AUDIO),
        share_weights: bool = False,
        classifier: Literal["token", "gap", "gmp", "gsp"] = "token",
        video_patch: tuple[int, int, int] = (1, 16, 16),
        audio_patch: tuple[int, int] = (16, 16),
        video_channels: int = 3,
        audio_channels: int = 1,
        stem: Literal["linear", "convolution"] = "linear",
        frame_sampling: int | None = None,
        representation_size: int | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        stochastic_depth: float = 0.0,
        test_with_bottlenecks: bool = True,
    ) -> None:
        super().__init__("mbt", locals())
        self.modalities = tuple(modalities)
        self.size = choose_size(
            size, width=width, depth=depth, num_heads=num_heads, mlp_width=mlp_width
        )
        self.fusion_layer = fusion_layer
        self.classifier = classifier
        self.test_with_bottlenecks = test_with_bottlenecks
        self._check(update_order)

        # Layers: a stream's own ones first, then those that all streams share.
        fuses = len(self.modalities) > 1 and fusion_layer < self.size.depth
        fusion_class = resolve(FUSIONS, fusion, kind="fusion")
        own_depth = fusion_layer if fuses and fusion_class.one_stack else self.size.depth
        own_depth = 0 if share_weights else own_depth
        drop = dict(
            stochastic_depth=stochastic_depth, dropout=dropout, attention_dropout=attention_dropout
        )
        given = self.info.arguments
        for name in self.modalities:
            stream = Stream(
                name,
                shape=given[f"{name}_shape"],
                patch=given[f"{name}_patch"],
                channels=given[f"{name}_channels"],
                width=self.size.width,
                blocks=new_blocks(Block, self.size, range(own_depth), **drop),
                stem=stem,
                frame_sampling=frame_sampling if name == VIDEO else None,
                pooling=classifier,
            )
            self.add_module(name, stream)
        later = range(own_depth, self.size.depth)
        self.shared_blocks = nn.ModuleList(new_blocks(Block, self.size, later, **drop))
        self.fusion: Fusion | None = None
        if fuses:  # it gets those options that its constructor names
            options = dict(
                modalities=self.modalities,
                width=self.size.width,
                bottleneck_tokens=bottleneck_tokens,
                update=update,
                update_order=update_order,
            )
            accepted = inspect.signature(fusion_class).parameters
            self.fusion = fusion_class(**{k: v for k, v in options.items() if k in accepted})
        self.norm = layer_norm(self.size.width)
        self.pre_logits: nn.Module = nn.Identity()
        if representation_size is not None:  # linear and tanh before the classifier
            layer = nn.Linear(self.size.width, representation_size)
            lecun_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
            self.pre_logits = nn.Sequential(layer, nn.Tanh())
        self.head = nn.Linear(representation_size or self.size.width, sum(heads.values()))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _run(
        self,
        name: str,
        x: Tensor,
        *,
        present: Masks,
        valid: Masks,
        token_mask: Tensor | None,
        maps: bool,
    ) -> Tokens:
        """The layers below the fusion layer; `token_mask` hides from attention and pooling."""
        stream = self.stream(name)
        padded = padded_streams({name: x}, present, valid) if valid else {}
        x = blank_absent(x, present[name]) if present else x
        tokens, mask = stream.embed(x, valid=padded.get(name), token_mask=token_mask)
        layers = self.layers(name)[: self.fusion_layer]
        tokens, attention = run_blocks(layers, tokens, key_mask=mask, maps=maps)
        return Tokens(tokens, stream.pool(tokens, mask), mask, attention)

    def fuse(self, encoded: Encoded, *, maps: bool = False) -> Output:
        """The layers from the fusion layer on, the final norm and the classifier.

        One classifier reads every stream's CLS and the logits are averaged (paper, section 3.4);
        the other classifiers pool all tokens together, so that the longer stream weighs more.

        Args:
            maps: also return attention weights, {"video.8": (B, h, N, J)}. Rows are queries,
                columns keys, as the tokens are, CLS first. From the fusion layer on: `bottleneck`
                has Z more rows and columns at the end, the fusion tokens, so that attention can be
                followed from stream to stream; `cross_attention` has the other streams' columns
                first; `self_attention` has one map "joint.8" of all streams side by side.
        """
        present, masks = encoded.present, encoded.key_mask or {}
        fuses = self.fusion is not None and (self.training or self.test_with_bottlenecks)
        fusion = self.fusion if self.fusion is not None and fuses else pass_alone
        blocks = {name: self.layers(name)[self.fusion_layer :] for name in encoded.tokens}
        tokens, maps_by_layer = fusion(
            encoded.tokens, blocks, present=present, key_mask=encoded.key_mask, maps=maps
        )
        tokens = {name: self.norm(x) for name, x in tokens.items()}
        pooled = {k: self.stream(k).pool(x, masks.get(k)) for k, x in tokens.items()}
        each: dict[str, Tensor] = {}
        if self.classifier == "token":
            each = {name: self.head(self.pre_logits(cls)) for name, cls in pooled.items()}
            if present is not None:
                each = {name: blank_absent(value, present[name]) for name, value in each.items()}
            logits = mean_of_present(each, present)
        else:
            mask = join_masks(visible_to_others(tokens, present, encoded.key_mask), tokens)
            joint = pool(torch.cat(tuple(tokens.values()), dim=1), mask, kind=self.classifier)
            logits = self.head(self.pre_logits(joint))
        later = {
            f"{name}.{layer}": weights
            for layer, each_map in enumerate(maps_by_layer, start=self.fusion_layer)
            for name, weights in each_map.items()
        }
        return Output(
            logits=logits,
            modality_logits=each,
            tokens=tokens,
            pooled=pooled,
            encoded=encoded.pooled,
            attention=encoded.attention | later if maps else None,
        )

    def stream(self, name: str) -> Stream:
        """The part that belongs to one modality."""
        return getattr(self, name)

    def layers(self, name: str) -> list[Block]:
        """All L layers that tokens of a modality pass through: its own, then the shared ones."""
        return [*self.stream(name).blocks, *self.shared_blocks]

    def grad_cam_layers(
        self, shapes: Mapping[str, tuple[int, ...]], *, stage: int
    ) -> list[GradCamLayer]:
        """What the attention of the last layers reads, or what is averaged behind them."""
        cells = {name: self.stream(name).cells(shape) for name, shape in shapes.items()}
        token = self.classifier == "token"
        fusion = self.fusion if token and self.test_with_bottlenecks else None
        calls = (
            Fusion().norm_calls(tuple(cells)) if fusion is None else fusion.norm_calls(tuple(cells))
        )
        layers = []
        for call, together in enumerate(calls):
            first = 0
            for name in together:
                first += int(token)  # CLS comes before the patches
                module = self.layers(name)[-1].attention_norm if token else self.norm
                layers.append(GradCamLayer(name, module, call, first, cells[name]))
                first += math.prod(cells[name].grid)
        return layers

    def rollout(self, rows: RolloutRows) -> dict[str, Tensor]:
        """As of `Pretrained`."""
        encoded, streams, blocks = rows.encoded, {}, {}
        later = range(self.fusion_layer, self.size.depth)
        for name, x in encoded.tokens.items():
            streams[name] = rows.enter(name, x.shape[1])
            for layer in range(self.fusion_layer):
                streams[name], _ = rows.layer(f"{name}.{layer}")(streams[name])
            blocks[name] = [rows.layer(f"{name}.{layer}", f"joint.{layer}") for layer in later]
        streams = rows.fuse(self.fusion if self.test_with_bottlenecks else None, streams, blocks)
        if self.classifier == "token":
            read = {name: x[:, 0] for name, x in streams.items()}
            return read | {ALL: mean_of_present(read, encoded.present)}
        own = encoded.key_mask or {}
        read = {name: pool(x, own.get(name), kind="gap") for name, x in streams.items()}
        masks = visible_to_others(streams, encoded.present, encoded.key_mask)
        joint = torch.cat(tuple(streams.values()), dim=1)
        return read | {ALL: pool(joint, join_masks(masks, streams), kind="gap")}

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute each layer's activations in the backward pass: less memory, same numbers."""
        super().set_gradient_checkpointing(enabled)
        for module in self.shared_blocks.modules():
            if isinstance(module, Block):
                module.checkpointing = enabled

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without decay: biases, norms, positions, CLS, fusion tokens."""
        return super().no_weight_decay() | {"fusion.tokens"} & dict(self.named_parameters()).keys()

    def _check(self, update_order: Sequence[str]) -> None:
        """Arguments that do not go together: `ValueError`."""
        for name in self.modalities:
            if name not in MODALITIES:
                raise unknown_name("modality", name, MODALITIES)
            if self.info.arguments[f"{name}_shape"] is None:
                raise ValueError(
                    f"{name}_shape is None, but modalities are {self.modalities}; "
                    f"give {name}_shape or leave {name!r} out of modalities"
                )
        if len(set(self.modalities)) != len(self.modalities) or not self.modalities:
            raise ValueError(
                f"modalities are {self.modalities}; one or two different names are accepted, "
                f"of {MODALITIES}"
            )
        if len(self.modalities) > 1 and set(update_order) != set(self.modalities):
            raise ValueError(
                f"update_order is {tuple(update_order)}; it must hold each of the modalities "
                f"{self.modalities} once"
            )
        if self.classifier not in CLASSIFIERS:
            raise unknown_name("classifier", self.classifier, CLASSIFIERS)
        if not 0 <= self.fusion_layer <= self.size.depth:
            raise ValueError(
                f"fusion_layer is {self.fusion_layer}; of {self.size.depth} layers, so 0 "
                f"(early fusion) to {self.size.depth} (late fusion) is accepted"
            )
