"""Multimodal Bottleneck Transformer (Nagrani et al. 2021, "Attention Bottlenecks ...").

NeurIPS 2021 is called "the paper", arXiv 2107.00135v1 "v1". Read this file top to bottom: sizes,
`Stream` (one modality up to its tokens), `MBT` (encode, fuse, classify). The three ways to fuse are
in `fusion/`, the transformer layer is `nn/block.py`.

What differs from two ViTs side by side:
* the first `fusion_layer` layers see one modality each, the others are handed to a fusion strategy;
* one final norm and one linear classifier serve all modalities; their logits are averaged;
* stochastic depth grows with depth and does not rescale; LayerNorm epsilon is 1e-6;
* a missing modality is a mask, not zeros: what is left gives the numbers it would give alone.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sightsound.models.pretrained import Pretrained
from sightsound.nn.block import Block, layer_norm
from sightsound.nn.masking import blank_absent, join_masks, mean_of_present, pool, visible_to_others
from sightsound.nn.patch import STEMS, lecun_normal_, sample_frames
from sightsound.nn.position import PositionTable, resize_positions
from sightsound.registry import FUSIONS, resolve, unknown_name
from sightsound.types import AUDIO, MODALITIES, VIDEO, Encoded, ModelInfo, Output

CLASSIFIERS = ("token", "gap", "gmp", "gsp")


@dataclass(frozen=True)
class Size:
    """Width D, layers L, heads and MLP width of a ViT."""

    width: int
    depth: int
    num_heads: int
    mlp_width: int


# Base and large: Dosovitskiy et al. 2021, table 1. Tiny and small: Touvron et al. 2021 (DeiT).
SIZES = {
    "tiny": Size(192, 12, 3, 768),
    "small": Size(384, 12, 6, 1536),
    "base": Size(768, 12, 12, 3072),
    "large": Size(1024, 24, 16, 4096),
}


class Stream(nn.Module):
    """One modality: z = [z_cls, E x_1, ..., E x_N] + p (paper, equation 1), and its own layers.

    Args:
        kind: "video" or "audio".
        shape: (T, H, W) or (F, M) the model is built for.
        patch: (frames, height, width) or (time, mel).
        channels: of the patches; a one-channel spectrogram is repeated to fill them.
        stem: `linear` or `convolution`, see `nn/patch.py`.
        frame_sampling: choose about this many of the T frames inside the model, or `None`.
        token: whether there is a CLS token.
        blocks: the layers of this modality; empty where they are shared.
    """

    def __init__(
        self,
        kind: str,
        *,
        shape: tuple[int, ...],
        patch: tuple[int, ...],
        channels: int,
        width: int,
        stem: str,
        frame_sampling: int | None,
        token: bool,
        blocks: Sequence[Block],
    ) -> None:
        super().__init__()
        if stem not in STEMS:
            raise unknown_name("stem", stem, STEMS)
        self.kind = kind
        self.shape = tuple(shape)
        self.patch = tuple(patch)
        self.channels = channels
        self.frame_sampling = frame_sampling
        self.patches = STEMS[stem](channels, self.patch, width)
        self.cls = nn.Parameter(torch.zeros(1, 1, width)) if token else None
        self.positions = PositionTable(self.grid(self.shape), width, prefix=int(token))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D), CLS first, of video (B, T, C, H, W) or audio (B, 1, F, M)."""
        grid = self.grid(_sizes(self.kind, x))
        x = self._sampled(x.transpose(1, 2)) if self.kind == VIDEO else x
        x = x.expand(-1, self.channels, *[-1] * (x.ndim - 2))
        tokens = self.patches(x).flatten(1, -2)  # (B, N, D)
        if self.cls is not None:  # CLS comes first, then positions are added, its own among them
            tokens = torch.cat((self.cls.expand(tokens.shape[0], -1, -1), tokens), dim=1)
        return self.positions(tokens, grid)

    def grid(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Patch tokens per axis for an input of `shape`, (T, H, W) or (F, M)."""
        if self.kind == VIDEO:
            frames, height, width = shape
            if self.frame_sampling:
                frames = len(sample_frames(frames, self.frame_sampling))
            straddles = self._straddles(height)
            shape = (1, frames * height, width) if straddles else (frames, height, width)
        grid = tuple(size // part for size, part in zip(shape, self.patch, strict=True))
        if 0 in grid:
            raise ValueError(
                f"{self.kind} of shape {tuple(shape)} is smaller than {self.kind}_patch "
                f"{self.patch}; take a smaller patch or a larger input"
            )
        return grid

    def token_mask(self, valid: Tensor, shape: Sequence[int]) -> Tensor:
        """(B, N) bool: tokens that hold at least one real frame; CLS always counts.

        Args:
            valid: (B, T) or (B, F) bool, false where the input is padding.
            shape: of the input, (T, H, W) or (F, M).
        """
        grid, step = self.grid(shape), self.patch[0]
        if self.kind == VIDEO and self.frame_sampling:
            valid = valid[:, sample_frames(valid.shape[1], self.frame_sampling)]
        if self.kind == VIDEO and self._straddles(shape[1]):
            rows = valid.repeat_interleave(shape[1], dim=1).unfold(1, self.patch[1], self.patch[1])
            mask = rows.any(-1).repeat_interleave(grid[2], dim=1)
        else:
            steps = valid.unfold(1, step, step).any(-1)  # (B, grid[0])
            per_step = torch.Size(grid[1:]).numel()
            mask = steps.repeat_interleave(per_step, dim=1)
        if self.cls is None:
            return mask
        return torch.cat((mask.new_ones(mask.shape[0], 1), mask), dim=1)

    def _sampled(self, x: Tensor) -> Tensor:
        """The frames that are looked at, of (B, C, T, H, W); stacked if patches straddle them."""
        if self.frame_sampling:
            x = x[:, :, sample_frames(x.shape[2], self.frame_sampling)]
        return x.flatten(2, 3).unsqueeze(2) if self._straddles(x.shape[3]) else x

    def _straddles(self, height: int) -> bool:
        """Official `temporal_sampling` stacks frames into one tall picture before cutting it.

        If the patch height does not divide the frame height, patches lie across two frames.
        """
        return bool(self.frame_sampling) and height % self.patch[1] != 0


class MBT(Pretrained):
    """Audio-visual (or one-stream) transformer with bottleneck, cross- or self-attention fusion.

    Args:
        heads: {name: number of classes}; logits of several heads lie side by side.
        video_shape: (T, H, W) the positions are made for; other sizes interpolate them.
        audio_shape: (F, M), time frames and mel bins, likewise.
        modalities: streams in order of fusion; one name makes a unimodal model.
        size: `tiny`, `small`, `base` or `large`; `width`, `depth`, `num_heads` and `mlp_width`
            override it one by one (`mlp_width` is then four times the width).
        fusion: `bottleneck`, `cross_attention` or `self_attention` (paper, section 3.2).
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
        fusion: Literal["bottleneck", "cross_attention", "self_attention"] = "bottleneck",
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
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__()
        self.info = ModelInfo("mbt", json.loads(json.dumps(arguments)))  # tuples become lists
        self.heads = dict(heads)
        self.modalities = tuple(modalities)
        self.size = _size(size, width, depth, num_heads, mlp_width)
        self.fusion_layer = fusion_layer
        self.classifier = classifier
        self.test_with_bottlenecks = test_with_bottlenecks
        self._check(update_order)

        # Layers: a stream's own ones first, then those that all streams share.
        fuses = len(self.modalities) > 1 and fusion_layer < self.size.depth
        fusion_class = resolve(FUSIONS, fusion, kind="fusion")
        own_depth = fusion_layer if fuses and fusion_class.one_stack else self.size.depth
        own_depth = 0 if share_weights else own_depth

        def block(layer: int) -> Block:
            rate = stochastic_depth * layer / max(self.size.depth - 1, 1)
            return Block(
                self.size.width,
                self.size.num_heads,
                self.size.mlp_width,
                dropout=dropout,
                attention_dropout=attention_dropout,
                drop_path=rate,
            )

        kinds = {
            VIDEO: dict(shape=video_shape, patch=video_patch, channels=video_channels),
            AUDIO: dict(shape=audio_shape, patch=audio_patch, channels=audio_channels),
        }
        for name in self.modalities:
            stream = Stream(
                name,
                **kinds[name],
                width=self.size.width,
                stem=stem,
                frame_sampling=frame_sampling if name == VIDEO else None,
                token=classifier == "token",
                blocks=[block(layer) for layer in range(own_depth)],
            )
            self.add_module(name, stream)
        self.shared_blocks = nn.ModuleList(block(i) for i in range(own_depth, self.size.depth))
        options = dict(
            modalities=self.modalities,
            width=self.size.width,
            bottleneck_tokens=bottleneck_tokens,
            update=update,
            update_order=update_order,
        )
        self.fusion = _with_accepted(fusion_class, options) if fuses else None
        self.norm = layer_norm(self.size.width)
        self.pre_logits = _representation_layer(self.size.width, representation_size)
        self.head = nn.Linear(representation_size or self.size.width, sum(heads.values()))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        *,
        present: Mapping[str, Tensor] | None = None,
        valid: Mapping[str, Tensor] | None = None,
        maps: bool = False,
    ) -> Output:
        """Logits and what led to them: `fuse(encode(inputs))`.

        Args:
            inputs: {"video": (B, T, C, H, W), "audio": (B, 1, F, M)} normalised; a modality that is
                not there is absent for all examples.
            present: {modality: (B,) bool}; false: the example does not have this stream.
            valid: {"video": (B, T), "audio": (B, F)} bool; false: padding. A stream without any
                valid frame counts as absent.
            maps: also return attention weights, {"video.8": (B, h, N, J)}.

        Raises:
            ValueError: an example has no stream at all, or a shape does not fit.
        """
        encoded = self.encode(inputs, present=present, valid=valid, maps=maps)
        return self.fuse(encoded, maps=maps)

    def encode(
        self,
        inputs: Mapping[str, Tensor],
        *,
        present: Mapping[str, Tensor] | None = None,
        valid: Mapping[str, Tensor] | None = None,
        token_mask: Mapping[str, Tensor] | None = None,
        maps: bool = False,
    ) -> Encoded:
        """Each stream alone through the layers below the fusion layer.

        Args:
            token_mask: {modality: (B, N) bool}, CLS not counted; true hides a token from attention
                and pooling.
        """
        self._check_inputs(inputs)
        inputs = {name: inputs[name] for name in self.modalities if name in inputs}
        present = _present_streams(inputs, present, valid)
        valid = _padded_streams(inputs, present, valid)
        tokens, key_mask, attention = {}, {}, {}
        for name, values in inputs.items():
            mask = self._key_mask(name, values, valid, token_mask or {})
            x = self.stream(name)(_blanked(name, values, present, valid))
            for layer, block in enumerate(self.layers(name)[: self.fusion_layer]):
                x, weights = block(x, key_mask=mask, maps=maps)
                if maps:
                    attention[f"{name}.{layer}"] = weights
            tokens[name] = x
            if mask is not None:
                key_mask[name] = mask
        pooled = {name: self._pool(x, key_mask.get(name)) for name, x in tokens.items()}
        return Encoded(tokens, pooled, present, key_mask or None, attention)

    def fuse(self, encoded: Encoded, *, maps: bool = False) -> Output:
        """The layers from the fusion layer on, the final norm and the classifier."""
        tokens, present, key_mask = encoded.tokens, encoded.present, encoded.key_mask
        fusion = self.fusion
        if fusion is None or not (self.training or self.test_with_bottlenecks):
            fusion = pass_alone
        blocks = {name: self.layers(name)[self.fusion_layer :] for name in tokens}
        tokens, maps_by_layer = fusion(
            tokens, blocks, present=present, key_mask=key_mask, maps=maps
        )
        tokens = {name: self.norm(x) for name, x in tokens.items()}
        masks = key_mask or {}
        pooled = {name: self._pool(x, masks.get(name)) for name, x in tokens.items()}
        logits, modality_logits = self._classify(tokens, pooled, encoded)
        return Output(
            logits=logits,
            modality_logits=modality_logits,
            tokens=tokens,
            pooled=pooled,
            encoded=encoded.pooled,
            attention=self._attention(encoded, maps_by_layer) if maps else None,
        )

    def _classify(
        self, tokens: dict[str, Tensor], pooled: dict[str, Tensor], encoded: Encoded
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (B, K), and those of each stream's CLS where there are CLS tokens.

        One classifier reads every stream's CLS and the logits are averaged (paper, section 3.4);
        the other classifiers pool all tokens together, so that the longer stream weighs more.
        """
        present = encoded.present
        if self.classifier == "token":
            each = {name: self.head(self.pre_logits(cls)) for name, cls in pooled.items()}
            if present is not None:
                each = {name: blank_absent(value, present[name]) for name, value in each.items()}
            return mean_of_present(each, present), each
        mask = join_masks(visible_to_others(tokens, present, encoded.key_mask), tokens)
        joint = pool(torch.cat(tuple(tokens.values()), dim=1), mask, kind=self.classifier)
        return self.head(self.pre_logits(joint)), {}

    def _pool(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """One vector per stream (B, D): CLS, or its tokens pooled."""
        return (
            tokens[:, 0] if self.classifier == "token" else pool(tokens, mask, kind=self.classifier)
        )

    def _key_mask(
        self,
        name: str,
        values: Tensor,
        valid: Mapping[str, Tensor],
        token_mask: Mapping[str, Tensor],
    ) -> Tensor | None:
        """(B, N) bool: tokens of a stream that may be attended to; `None`: all may."""
        stream, mask = self.stream(name), None
        if name in valid:
            mask = stream.token_mask(valid[name], _sizes(name, values))
        if name in token_mask:
            shown = ~token_mask[name]
            if stream.cls is not None:
                shown = torch.cat((shown.new_ones(shown.shape[0], 1), shown), dim=1)
            mask = shown if mask is None else mask & shown
        return mask

    def _attention(
        self, encoded: Encoded, maps_by_layer: list[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """{"video.3": (B, h, N, J)} of all layers."""
        later = {
            f"{name}.{layer}": weights
            for layer, maps in enumerate(maps_by_layer, start=self.fusion_layer)
            for name, weights in maps.items()
        }
        return encoded.attention | later

    def stream(self, name: str) -> Stream:
        """The part that belongs to one modality."""
        return getattr(self, name)

    def layers(self, name: str) -> list[Block]:
        """All L layers that tokens of a modality pass through: its own, then the shared ones."""
        return [*self.stream(name).blocks, *self.shared_blocks]

    def example_inputs(self, batch_size: int = 1) -> dict[str, Tensor]:
        """Zeros of the shapes the model is built for, on its device."""
        device = self.head.weight.device
        shapes = {name: self.stream(name).shape for name in self.modalities}
        if AUDIO in shapes:
            shapes[AUDIO] = (1, *shapes[AUDIO])
        if VIDEO in shapes:
            frames, height, width = shapes[VIDEO]
            shapes[VIDEO] = (frames, self.stream(VIDEO).channels, height, width)
        return {name: torch.zeros(batch_size, *s, device=device) for name, s in shapes.items()}

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute each layer's activations in the backward pass: less memory, same numbers."""
        for module in self.modules():
            if isinstance(module, Block):
                module.checkpointing = enabled

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without decay: biases, norms, positions, CLS, fusion tokens."""
        tables = (".cls", ".positions.table", "fusion.tokens")
        return {
            name
            for name, parameter in self.named_parameters()
            if parameter.ndim == 1 or name.endswith(tables)
        }

    def resize_state(self, name: str, tensor: Tensor, source: MBT) -> Tensor | None:
        """`source`'s position table `name` interpolated to this model's grid.

        `None`: it is no position table, needs no interpolation or cannot be interpolated.
        """
        if not name.endswith(".positions.table"):
            return None
        new, old = (m.stream(name.split(".")[0]).positions for m in (self, source))
        if new.grid == old.grid or new.prefix != old.prefix:
            return None
        if tensor.shape[-1] != new.table.shape[-1] or len(new.grid) != len(old.grid):
            return None
        return resize_positions(tensor, old.grid, new.grid, prefix=new.prefix)

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
        if not self.heads:
            raise ValueError("heads is {}; give at least one head, such as {'label': 10}")
        if self.classifier not in CLASSIFIERS:
            raise unknown_name("classifier", self.classifier, CLASSIFIERS)
        if not 0 <= self.fusion_layer <= self.size.depth:
            raise ValueError(
                f"fusion_layer is {self.fusion_layer}; of {self.size.depth} layers, so 0 "
                f"(early fusion) to {self.size.depth} (late fusion) is accepted"
            )

    def _check_inputs(self, inputs: Mapping[str, Tensor]) -> None:
        for name in inputs:
            if name not in MODALITIES:
                raise unknown_name("modality", name, MODALITIES)
        if not set(inputs) & set(self.modalities):
            raise ValueError(
                f"inputs hold none of the model's modalities {self.modalities}; "
                "give at least one of them"
            )
        for name in set(inputs) & set(self.modalities):
            values = inputs[name]
            stream = self.stream(name)
            form, dims = ("(B, T, C, H, W)", 5) if name == VIDEO else ("(B, 1, F, M)", 4)
            channels = stream.channels if name == VIDEO else 1
            axis = 2 if name == VIDEO else 1
            if values.ndim != dims or values.shape[axis] != channels:
                raise ValueError(
                    f"{name} input has shape {tuple(values.shape)}; {form} with "
                    f"{channels} channel(s) is accepted"
                )
            if not values.is_floating_point():
                raise ValueError(
                    f"{name} input is {values.dtype}; normalised floating point is accepted: "
                    "apply the model's front end (data.augment.normalise) first"
                )


def pass_alone(
    tokens: Mapping[str, Tensor],
    blocks: Mapping[str, Sequence[Block]],
    *,
    present: Mapping[str, Tensor] | None,
    key_mask: Mapping[str, Tensor] | None,
    maps: bool,
) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """No fusion: each stream through its own layers (one modality, or `test_with_bottlenecks`)."""
    streams, attention = dict(tokens), []
    for layer in range(len(next(iter(blocks.values())))):
        weights = {}
        for name, x in streams.items():
            mask = (key_mask or {}).get(name)
            streams[name], weights[name] = blocks[name][layer](x, key_mask=mask, maps=maps)
        attention.append(weights if maps else {})
    return streams, attention


def _present_streams(
    inputs: Mapping[str, Tensor],
    present: Mapping[str, Tensor] | None,
    valid: Mapping[str, Tensor] | None,
) -> dict[str, Tensor] | None:
    """{modality: (B,) bool} of the streams in `inputs`; `None` if every example has all of them."""
    if not present and not valid:
        return None
    streams = {}
    for name, values in inputs.items():
        here = values.new_ones(values.shape[0], dtype=torch.bool)
        if present and name in present:
            here = here & present[name]
        if valid and name in valid:
            here = here & valid[name].any(dim=1)
        streams[name] = here
    table = torch.stack(tuple(streams.values()))  # (streams, B)
    if bool(table.all()):
        return None
    if not bool(table.any(dim=0).all()):
        rows = (~table.any(dim=0)).nonzero().flatten().tolist()
        raise ValueError(
            f"examples {rows} of the batch have no stream: of {', '.join(inputs)} all are absent; "
            "leave such examples out"
        )
    return streams


def _padded_streams(
    inputs: Mapping[str, Tensor],
    present: Mapping[str, Tensor] | None,
    valid: Mapping[str, Tensor] | None,
) -> dict[str, Tensor]:
    """{modality: `valid` (B, T) or (B, F)} of the streams that hold padding.

    An absent stream counts as whole: nobody reads it, and without a mask attention is faster.
    """
    padded = {}
    for name in inputs:
        if valid and name in valid:
            real = valid[name] if present is None else valid[name] | ~present[name][:, None]
            if not bool(real.all()):
                padded[name] = real
    return padded


def _blanked(
    name: str,
    values: Tensor,
    present: Mapping[str, Tensor] | None,
    valid: Mapping[str, Tensor],
) -> Tensor:
    """The input with exact zeros in place of absent streams and of padding frames."""
    values = values if present is None else blank_absent(values, present[name])
    if name not in valid:
        return values
    padding = ~valid[name]
    axes = padding[:, :, None, None, None] if name == VIDEO else padding[:, None, :, None]
    return values.masked_fill(axes, 0.0)


def _sizes(name: str, values: Tensor) -> tuple[int, ...]:
    """(T, H, W) of video (B, T, C, H, W); (F, M) of audio (B, 1, F, M)."""
    if name == VIDEO:
        return values.shape[1], values.shape[3], values.shape[4]
    return values.shape[2], values.shape[3]


def _size(
    size: str, width: int | None, depth: int | None, num_heads: int | None, mlp_width: int | None
) -> Size:
    """The row of `SIZES`, with what was given in its place."""
    if size not in SIZES:
        raise unknown_name("size", size, SIZES)
    given = {"width": width, "depth": depth, "num_heads": num_heads, "mlp_width": mlp_width}
    for name, value in given.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; accepted: 1 or more, or None to follow size")
    table = SIZES[size]
    mlp_width = mlp_width or (table.mlp_width if width is None else 4 * width)
    result = Size(
        width or table.width, depth or table.depth, num_heads or table.num_heads, mlp_width
    )
    if result.width % result.num_heads:
        raise ValueError(
            f"width {result.width} is not a multiple of num_heads {result.num_heads}; "
            "give num_heads, too"
        )
    return result


def _representation_layer(width: int, representation_size: int | None) -> nn.Module:
    """Linear and tanh before the classifier, or nothing."""
    if representation_size is None:
        return nn.Identity()
    layer = nn.Linear(width, representation_size)
    lecun_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, nn.Tanh())


def _with_accepted(fusion_class: type, options: Mapping[str, object]) -> nn.Module:
    """The strategy, given those options that its constructor names."""
    if fusion_class.__init__ is nn.Module.__init__:
        return fusion_class()
    accepted = inspect.signature(fusion_class).parameters
    return fusion_class(**{key: value for key, value in options.items() if key in accepted})
