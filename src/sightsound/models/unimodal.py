"""Models of one stream: a backbone, and a linear layer on its pooled token.

The backbone stands under the name of its stream (`model.video`, `model.audio`), as in models of
two, so that one of these can start a stream of those (`train --init`).
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from sightsound.models.backbone import Backbone, new_backbone, own_options
from sightsound.models.backbone_model import BackboneModel
from sightsound.models.backbones.ast import AST
from sightsound.models.backbones.uniformer import UniFormer
from sightsound.nn.masked_batch_norm import Statistics
from sightsound.nn.vit_block import start_linear_
from sightsound.registry import BACKBONES, resolve
from sightsound.types import AUDIO, VIDEO, Encoded, Output


class Unimodal(BackboneModel):
    """What the models of this file share; `fuse` is the classifier.

    Args:
        name: key of `registry.MODELS`.
        arguments: of the constructor.
        head_norm: before the classifier.
    """

    def __init__(
        self, name: str, arguments: dict[str, Any], backbone: Backbone, *, head_norm: nn.Module
    ) -> None:
        super().__init__(name, arguments)
        self.modality = backbone.modality
        self.modalities = (self.modality,)
        self.add_module(self.modality, backbone)
        self.head_norm = head_norm
        self.head = start_linear_(nn.Linear(backbone.width, sum(self.heads.values())))

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

    video: UniFormer

    default_explanation = "grad_cam"

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
        arguments = locals() | {"audio_shape": None}  # equal models have an equal `config.json`
        backbone = UniFormer(
            video_shape,
            size=size,
            widths=widths,
            depths=depths,
            head_width=head_width,
            mlp_ratio=mlp_ratio,
            stochastic_depth=stochastic_depth,
            statistics=statistics,
        )
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

    audio: AST

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
        arguments = locals() | {"video_shape": None}  # equal models have an equal `config.json`
        backbone = AST(
            audio_shape,
            size=size,
            width=width,
            depth=depth,
            num_heads=num_heads,
            mlp_width=mlp_width,
            patch=patch,
            stride=stride,
            stochastic_depth=stochastic_depth,
            epsilon=epsilon,
            padding=padding,
        )
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

    video: Backbone

    def __init__(
        self,
        *,
        heads: dict[str, int],
        backbone: str = "vit",
        options: dict[str, Any] | None = None,
        video_shape: tuple[int, int, int] | None = (16, 224, 224),
        audio_shape: tuple[int, int] | None = None,
    ) -> None:
        name = resolve(BACKBONES, backbone, kind="backbone").modality
        shapes = {VIDEO: video_shape, AUDIO: audio_shape}
        shape = shapes[name]
        if shape is None:
            raise ValueError(
                f"{name}_shape is None, but backbone {backbone!r} reads {name}; give it"
            )
        stream = new_backbone(backbone, shape, options or {})
        arguments = {
            "heads": heads,
            "backbone": backbone,
            "options": own_options(stream, options),
            f"{VIDEO}_shape": video_shape if name == VIDEO else None,
            f"{AUDIO}_shape": audio_shape if name == AUDIO else None,
        }
        super().__init__("one_stream", arguments, stream, head_norm=nn.Identity())
