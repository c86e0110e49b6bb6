"""Models of one stream: a backbone, and a linear layer on its pooled token.

The backbone stands under the name of its stream (`model.video`, `model.audio`), as in models of
two, so that one of these can start a stream of those (`train --init`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from sightsound.models.backbone import Backbone, frames_that_count, new_backbone, own_options
from sightsound.models.backbones.ast import AST
from sightsound.models.backbones.uniformer import UniFormer
from sightsound.models.presence import present_streams
from sightsound.models.pretrained import Pretrained
from sightsound.nn.clip_norm import Statistics
from sightsound.nn.exact_block import start_linear_
from sightsound.registry import BACKBONES, resolve, unknown_name
from sightsound.types import AUDIO, MODALITIES, VIDEO, Encoded, ModelInfo, Output

# Axes of an input, their number, and which are the channels.
FORMS = {VIDEO: ("(B, T, C, H, W)", 5, 2), AUDIO: ("(B, 1, F, M)", 4, 1)}


class Unimodal(Pretrained):
    """What the models of this file share; `fuse` is the classifier.

    Args:
        name: key of `registry.MODELS`.
        arguments: of the constructor.
        head_norm: before the classifier.
    """

    def __init__(
        self, name: str, arguments: dict, backbone: Backbone, *, head_norm: nn.Module
    ) -> None:
        super().__init__()
        heads = arguments["heads"]
        if not heads:
            raise ValueError("heads is {}; give at least one head, such as {'label': 10}")
        self.info = ModelInfo(name, json.loads(json.dumps(arguments)))  # tuples become lists
        self.heads = dict(heads)
        self.modality = backbone.modality
        self.modalities = (self.modality,)
        self.add_module(self.modality, backbone)
        self.head_norm = head_norm
        self.head = start_linear_(nn.Linear(backbone.width, sum(heads.values())))

    @property
    def backbone(self) -> Backbone:
        """The whole model but for the classifier."""
        return getattr(self, self.modality)

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
            inputs: {modality: video (B, T, C, H, W) or audio (B, 1, F, M)} normalised; other
                streams are not looked at.
            present: {modality: (B,) bool}; every example must have the stream.
            valid: {"video": (B, T), "audio": (B, F)} bool; false: padding.
            maps: also return attention weights, {"audio.3": (B, h, N, N)}.

        Raises:
            ValueError: an example has no stream, or a shape does not fit.
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
        """The backbone's tokens after its last norm.

        Args:
            token_mask: {modality: (B, N') bool}; true: the token is zero right after the patch
                embedding, whose grid is `backbone.embedded_cells`.
        """
        name = self.modality
        self._check(inputs)
        x = inputs[name]
        present_streams({name: x}, present, valid)  # every example needs the stream
        found = self.backbone(
            x,
            valid=frames_that_count(name, x, present=None, valid=valid),
            token_mask=(token_mask or {}).get(name),
            maps=maps,
        )
        return Encoded(
            tokens={name: found.tokens},
            pooled={name: found.pooled},
            key_mask=None if found.key_mask is None else {name: found.key_mask},
            attention={f"{name}.{layer}": each for layer, each in found.attention.items()},
        )

    def fuse(self, encoded: Encoded, *, maps: bool = False) -> Output:
        """The classifier."""
        logits = self.head(self.head_norm(encoded.pooled[self.modality]))
        return Output(
            logits,
            tokens=encoded.tokens,
            pooled=encoded.pooled,
            encoded=encoded.pooled,
            attention=encoded.attention if maps else None,
        )

    def example_inputs(self, batch_size: int = 1) -> dict[str, Tensor]:
        """Zeros of the shape the model is built for, on its device."""
        return {self.modality: self.backbone.example_input(batch_size)}

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute each layer's activations in the backward pass: less memory, same numbers."""
        self.backbone.set_gradient_checkpointing(enabled)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without decay: biases, norms, and what the backbone names."""
        names = {name for name, parameter in self.named_parameters() if parameter.ndim == 1}
        return names | {f"{self.modality}.{name}" for name in self.backbone.no_weight_decay()}

    def resize_state(self, name: str, tensor: Tensor, source: Pretrained) -> Tensor | None:
        """`source`'s tensor `name` made to fit, see `Backbone`; `None`: it fits or cannot."""
        part, _, rest = name.partition(".")
        if part != self.modality:
            return None
        return self.backbone.resize_state(rest, tensor, getattr(source, part))

    def _check(self, inputs: Mapping[str, Tensor]) -> None:
        for name in inputs:
            if name not in MODALITIES:
                raise unknown_name("modality", name, MODALITIES)
        if self.modality not in inputs:
            raise ValueError(
                f"inputs hold none of the model's modalities {self.modalities}; "
                "give at least one of them"
            )
        check_input(self.modality, inputs[self.modality], channels=self.backbone.channels)


def check_input(name: str, values: Tensor, *, channels: int) -> None:
    """`ValueError` if `values` cannot be the input of stream `name`."""
    form, dims, axis = FORMS[name]
    if values.ndim != dims or values.shape[axis] != channels:
        raise ValueError(
            f"{name} input has shape {tuple(values.shape)}; {form} with {channels} channel(s) is "
            "accepted"
        )
    if not values.is_floating_point():
        raise ValueError(
            f"{name} input is {values.dtype}; normalised floating point is accepted: "
            "apply the model's front end (data.augment.normalise) first"
        )


class UniFormerClassifier(Unimodal):
    """UniFormer, pictures only.

    Args:
        heads: {name: number of classes}; logits of several heads lie side by side.
        video_shape: (T, H, W) it is built for; others are accepted.
        audio_shape: sound is not looked at; `None`.
        size: `small` or `base`; `widths` and `depths`, of the four stages, replace its own.
        head_width: of the attention heads.
        mlp_ratio: hidden width of the MLPs, in widths.
        stochastic_depth: drop rate of the last layer; layer l of L has l / (L - 1) of it.
        statistics: of batch norms in training, `own`: those of each process's batch; `shared`: of
            the batches of all processes; `frozen`: those of the weights it started from.
    """

    def __init__(
        self,
        *,
        heads: dict[str, int],
        video_shape: tuple[int, int, int] = (16, 224, 224),
        audio_shape: tuple[int, int] | None = None,
        size: Literal["small", "base"] = "base",
        widths: tuple[int, ...] | None = None,
        depths: tuple[int, ...] | None = None,
        head_width: int = 64,
        mlp_ratio: float = 4.0,
        stochastic_depth: float = 0.0,
        statistics: Statistics = "own",
    ) -> None:
        arguments = _arguments(locals(), unused="audio_shape")
        options = _without(arguments, "heads", "video_shape", "audio_shape")
        backbone = UniFormer(video_shape, **options)
        super().__init__("uniformer", arguments, backbone, head_norm=nn.Identity())


class ASTClassifier(Unimodal):
    """Audio Spectrogram Transformer, sound only.

    Args:
        heads: {name: number of classes}; logits of several heads lie side by side.
        audio_shape: (F, M), time frames and mel bins, that the positions are made for.
        video_shape: pictures are not looked at; `None`.
        size: `tiny`, `small`, `base` or `large`; `width`, `depth`, `num_heads` and `mlp_width`
            replace its own.
        patch: (time, mel).
        stride: from patch to patch, (time, mel).
        stochastic_depth: drop rate of the last layer; layer l of L has l / (L - 1) of it.
        epsilon: of all norms but the last.
        head_epsilon: of the norm before the classifier.
        padding: none: frames of padding are hidden. A number: they have this value and count, as in
            the released program.
    """

    def __init__(
        self,
        *,
        heads: dict[str, int],
        audio_shape: tuple[int, int] = (1024, 128),
        video_shape: tuple[int, int, int] | None = None,
        size: Literal["tiny", "small", "base", "large"] = "base",
        width: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        mlp_width: int | None = None,
        patch: tuple[int, int] = (16, 16),
        stride: tuple[int, int] = (10, 10),
        stochastic_depth: float = 0.0,
        epsilon: float = 1e-6,
        head_epsilon: float = 1e-5,
        padding: float | None = None,
    ) -> None:
        arguments = _arguments(locals(), unused="video_shape")
        options = _without(arguments, "heads", "video_shape", "audio_shape", "head_epsilon")
        backbone = AST(audio_shape, **options)
        norm = nn.LayerNorm(backbone.width, eps=head_epsilon)
        super().__init__("ast", arguments, backbone, head_norm=norm)


class OneStream(Unimodal):
    """Any backbone of `registry.BACKBONES`, and a linear layer.

    Args:
        heads: {name: number of classes}; logits of several heads lie side by side.
        backbone: its name; `options` are its constructor arguments.
        video_shape: (T, H, W) it is built for; not looked at if it reads sound.
        audio_shape: (F, M), likewise.
    """

    def __init__(
        self,
        *,
        heads: dict[str, int],
        backbone: str = "vit",
        options: dict[str, Any] | None = None,
        video_shape: tuple[int, int, int] | None = (16, 224, 224),
        audio_shape: tuple[int, int] | None = None,
    ) -> None:
        backbone_class = resolve(BACKBONES, backbone, kind="backbone")
        shapes = {VIDEO: video_shape, AUDIO: audio_shape}
        name = backbone_class.modality
        stream = new_backbone(backbone, shapes[name], options or {})
        arguments = {"heads": heads, "backbone": backbone, "options": own_options(stream, options)}
        arguments |= {f"{each}_shape": shapes[each] if each == name else None for each in shapes}
        super().__init__("one_stream", arguments, stream, head_norm=nn.Identity())


def _arguments(given: Mapping[str, object], *, unused: str) -> dict:
    """The constructor's arguments; the shape of the other stream, which a front end has, left out.

    It would make two equal models differ in their `config.json`.
    """
    return _without(given, "self", "__class__") | {unused: None}


def _without(given: Mapping[str, object], *names: str) -> dict:
    return {key: value for key, value in given.items() if key not in names}
