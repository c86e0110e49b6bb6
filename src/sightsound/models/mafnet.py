"""MAFnet: attention over seconds and modalities on frozen features (Brousmiche et al. 2021).

Written from the paper, arXiv 2106.06736, and from the released model's numbers. Read `MAFnet` top
to bottom: build, encode, fuse, explain. One modality up to a vector per second is
`feature_stream.py`; FiLM, the attention over cells and the ways to join two vectors are
`nn/film.py`, `nn/cell_attention.py` and `nn/pooling_fusion.py`.

What differs from the paper, as in the released code: gamma is 1 + a linear map, the scorer has two
layers, batch norm follows the logits. What differs from the release: seconds of padding are masked
(`masked=False`: not), and a stream may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from sightsound.models.feature_stream import (
    FeatureModel,
    FeatureStream,
    blanked_seconds,
    check_shape,
    grid_mean,
    seconds_that_count,
)
from sightsound.models.input_masks import check_modalities, padded_streams, present_streams
from sightsound.nn.cell_attention import CellAttention
from sightsound.nn.masking import pool
from sightsound.nn.normed_linear import NormedLinear
from sightsound.nn.pooling_fusion import (
    Addition,
    CompactBilinear,
    Concatenation,
    DualMultimodalResidual,
    PoolingFusion,
)
from sightsound.registry import unknown_name
from sightsound.types import AUDIO, MODALITIES, VIDEO, Encoded, Output

STREAMS = {"audio": (AUDIO,), "video": (VIDEO,), "both": (VIDEO, AUDIO), "none": ()}
FUSIONS = ("concatenation", "addition", "mcb", "dmr")


class MAFnet(FeatureModel):
    """Classifier of clips whose seconds are described by features of frozen encoders.

    Args:
        heads: {name: number of classes}; logits of several heads lie side by side.
        video_shape: (T, H, W, D), (T, N, D) or (T, D): maps, tokens or one vector per second.
        audio_shape: likewise; the same T. Other numbers of seconds are accepted at any time.
        modalities: streams, in order of columns k. One name: no FiLM, no fusion, and `joint` is
            attention over its seconds.
        width: H, of FiLM, of the hidden vectors and of the scorer.
        film: streams whose residual block is modulated by the other stream's vector.
        residual: streams that have the residual block without FiLM.
        attention: softmax over all cells, over seconds, over modalities, or the plain mean.
        fusion: of the two weighted sums over seconds. `mcb` is compact bilinear pooling, `dmr` the
            dual multimodal residual.
        scorer: one layer and ReLU (paper, equation 8), or two layers with a linear score.
        mcb_size: numbers in the compact bilinear vector.
        logit_norm: batch norm on the logits, as released.
        masked: padding gets no attention and no place in batch statistics. False: seconds of zeros
            are seconds like others, as released; an absent stream is masked all the same.
        norm_decay: running batch statistics become this much old + the rest new, as released .999,
            which takes 3,000 steps to forget the start; with fewer steps take 0.99 or less.

    Raises:
        ValueError: an argument is unknown or does not go with another; the message says which.
    """

    has_contributions = True
    default_explanation = "contributions"

    def __init__(
        self,
        *,
        heads: dict[str, int],
        video_shape: tuple[int, ...] | None = (10, 1920),
        audio_shape: tuple[int, ...] | None = (10, 12, 8, 512),
        modalities: tuple[str, ...] = (VIDEO, AUDIO),
        width: int = 512,
        film: Literal["audio", "video", "both", "none"] = "audio",
        residual: Literal["audio", "video", "both", "none"] = "none",
        attention: Literal["joint", "temporal", "modality", "none"] = "joint",
        fusion: Literal["concatenation", "addition", "mcb", "dmr"] = "concatenation",
        scorer: Literal["paper", "released"] = "released",
        mcb_size: int = 8192,
        logit_norm: bool = True,
        masked: bool = True,
        norm_decay: float = 0.999,
    ) -> None:
        super().__init__("mafnet", locals())
        self.modalities = tuple(modalities)
        self.masked = masked
        self._check()

        shapes = {VIDEO: video_shape, AUDIO: audio_shape}
        self.shapes = {name: tuple(shapes[name] or ()) for name in self.modalities}
        for name in self.modalities:
            other = self._other(name)
            modulated = other is not None and name in STREAMS[film]
            stream = FeatureStream(
                self.shapes[name],
                width,
                block=modulated or name in STREAMS[residual],
                condition=self.shapes[other][-1] if other and modulated else None,
                norm_decay=norm_decay,
            )
            self.add_module(name, stream)
        self.attention = CellAttention(width, kind=attention, scorer=scorer)
        size = (len(self.modalities), width)
        self.fusion: PoolingFusion
        if len(self.modalities) == 1 or fusion == "concatenation":
            self.fusion = Concatenation(*size)
        elif fusion == "addition":
            self.fusion = Addition(*size)
        elif fusion == "dmr":
            self.fusion = DualMultimodalResidual(*size)
        else:
            self.fusion = CompactBilinear(*size, size=mcb_size)
        self.head = NormedLinear(
            self.fusion.size, sum(heads.values()), norm_decay=norm_decay if logit_norm else None
        )

    def encode(
        self,
        inputs: Mapping[str, Tensor],
        *,
        present: Mapping[str, Tensor] | None = None,
        valid: Mapping[str, Tensor] | None = None,
        token_mask: Mapping[str, Tensor] | None = None,
        maps: bool = False,
    ) -> Encoded:
        """A hidden vector per second and stream, (B, T, H); with FiLM it knows the other stream.

        Args:
            token_mask: {modality: (B, T) bool}; true hides a second from everything.
        """
        check_modalities(inputs, self.modalities)
        used = [name for name in self.modalities if name in inputs]
        for name in used:
            self.stream(name).check(name, inputs[name])
        seconds = {name: inputs[name].shape[1] for name in used}
        if len(set(seconds.values())) > 1:
            raise ValueError(
                f"inputs have {seconds} seconds; all streams must have the same number: pad the "
                "shorter one and say so in valid"
            )
        kind = self.head.linear.weight.dtype  # features may be stored in half precision
        inputs = {name: inputs[name].to(kind) for name in self.modalities if name in inputs}
        present = present_streams(inputs, present, valid)
        padded = padded_streams(inputs, present, valid)
        hidden = token_mask or {}
        real = seconds_that_count(inputs, present, padded, hidden)
        counted = real if self.masked else seconds_that_count(inputs, present, {}, hidden)
        inputs = {name: blanked_seconds(x, real[name]) for name, x in inputs.items()}

        tokens, pooled = {}, {}
        for name, x in inputs.items():
            other = self._other(name)
            tokens[name] = self.stream(name)(
                x,
                condition=grid_mean(inputs[other]) if other and other in inputs else None,
                known=counted.get(other) if other else None,
                mask=counted[name],
            )
            pooled[name] = pool(tokens[name], counted[name], kind="gap")
        key_mask = {name: mask for name, mask in counted.items() if mask is not None}
        return Encoded(tokens, pooled, present, key_mask or None)

    def fuse(self, encoded: Encoded, *, maps: bool = False) -> Output:
        """Weighted sums over seconds, fusion and classifier.

        With `maps`, `attention["cells"]` (B, T, K): what each second (T) and modality (K, in order
        of `modalities`) weighs; for attention over modalities, its softmax divided by the seconds.
        `contributions["cells"]` (B, T, K, C): what each adds to each logit, and
        `contributions["constant"]` (C,): logits are exactly their sum. After `mcb` and `dmr`, which
        are not linear, there is no such split: `contributions` is `None`.
        """
        given, masks = encoded.tokens, encoded.key_mask or {}
        some = next(iter(given.values()))
        columns = [given.get(name, torch.zeros_like(some)) for name in self.modalities]
        cells, mask = torch.stack(columns, dim=2), None  # zeros for a stream left out
        if masks or len(given) < len(self.modalities):
            every = some.new_ones(some.shape[:2], dtype=torch.bool)
            counted = [masks.get(k, every if k in given else ~every) for k in self.modalities]
            mask = torch.stack(counted, dim=2)
        weights = self.attention(cells, mask=mask)
        weighted = weights[..., None] * cells  # (B, T, K, H)
        pooled = weighted.sum(1)
        joined = self.fusion(pooled, present=None if mask is None else mask.any(1))
        logits, scale, constant = self.head(joined)
        named = zip(self.modalities, pooled.unbind(1), strict=True)
        output = Output(
            logits=logits,
            tokens=encoded.tokens,
            pooled={name: x for name, x in named if name in encoded.tokens},
            encoded=encoded.pooled,
        )
        split = self.fusion.columns(self.head.linear.weight)
        if maps:
            output.attention = {"cells": weights}
        if maps and split is not None:
            shares = torch.einsum("btkh,ckh->btkc", weighted, split) * scale
            output.contributions = {"cells": shares, "constant": constant}
        return output

    def around_film(
        self,
        inputs: Mapping[str, Tensor],
        *,
        present: Mapping[str, Tensor] | None = None,
        valid: Mapping[str, Tensor] | None = None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """{modality: (before, after)}, each (B, H), of the streams that FiLM modulates here.

        The channels of the residual block just before and just after FiLM (paper, figure 7), their
        mean over the map and over the seconds that count. Arguments as of `encode`.
        """
        seen: dict[str, list[Tensor]] = {}
        with ExitStack() as stack:
            for name in self.modalities:
                block = self.stream(name).block
                if block is not None and block.film is not None:
                    results = seen.setdefault(name, [])
                    for part in (block.norm, block.film):
                        hook = partial(lambda kept, _part, _given, x: kept.append(x), results)
                        stack.callback(part.register_forward_hook(hook).remove)
            encoded = self.encode(inputs, present=present, valid=valid)
        masks, channels_around = encoded.key_mask or {}, {}
        for name, (channels, *modulation) in ((n, s) for n, s in seen.items() if len(s) > 1):
            gamma, beta = modulation[0]
            before = channels.flatten(1, -2).mean(1) if channels.ndim > 2 else channels
            both = (before, gamma * before + beta)  # FiLM is alike at all places of a map
            seconds = [x.unflatten(0, encoded.tokens[name].shape[:2]) for x in both]
            before, after = (pool(x, masks.get(name), kind="gap") for x in seconds)
            channels_around[name] = (before, after)
        return channels_around

    def update_paths(
        self,
        *,
        released: bool = False,
        generator: Literal["modulated", "conditioning"] = "modulated",
    ) -> dict[str, list[str]]:
        """{modality: names of its parameters}, so that a step may leave one path alone.

        Args:
            released: as the released training has it, which goes by words in the names. What has
                neither word is in both paths: scorer, fusion and classifier, but the dense layers
                as well. So a step of the audio path leaves nothing of the visual one alone but its
                batch norm's scale and shift. False: scorer, fusion and classifier are in no path.
            generator: whose path FiLM's generator is in: of the stream it modulates, as released,
                or of the stream it reads.
        """
        paths: dict[str, list[str]] = {name: [] for name in self.modalities}
        for key, _ in self.named_parameters():
            path = key.split(".")[0]
            if generator == "conditioning" and ".film." in key:
                path = self._other(path) or path
            neutral = path not in paths or ".dense." in key
            owners = paths if released and neutral else {path} & set(paths)
            for name in owners:
                paths[name].append(key)
        return paths

    def stream(self, name: str) -> FeatureStream:
        """The part that belongs to one modality."""
        return getattr(self, name)

    def _other(self, name: str) -> str | None:
        """The other modality, if there are two."""
        return next((other for other in self.modalities if other != name), None)

    def _check(self) -> None:
        """Arguments that are unknown or do not go together: `ValueError`."""
        given = self.info.arguments
        for what, known in (("film", STREAMS), ("residual", STREAMS), ("fusion", FUSIONS)):
            if given[what] not in known:
                raise unknown_name(what, given[what], known)
        for name in ("width", "mcb_size"):
            if given[name] < 1:
                raise ValueError(f"{name} is {given[name]}; accepted: 1 or more")
        if not 0 <= given["norm_decay"] < 1:
            raise ValueError(f"norm_decay is {given['norm_decay']}; accepted: 0 to below 1")
        for name in self.modalities:
            if name not in MODALITIES:
                raise unknown_name("modality", name, MODALITIES)
            check_shape(name, given[f"{name}_shape"])
        if len(set(self.modalities)) != len(self.modalities) or not self.modalities:
            raise ValueError(
                f"modalities are {self.modalities}; one or two different names are accepted, "
                f"of {MODALITIES}"
            )
        seconds = {given[f"{name}_shape"][0] for name in self.modalities}
        if len(seconds) > 1:
            raise ValueError(
                f"video_shape is {given['video_shape']} and audio_shape {given['audio_shape']}; "
                "their first number, the seconds, must be the same"
            )
        if given["attention"] == "modality" and len(self.modalities) == 1:
            raise ValueError(
                f"attention is 'modality', but modalities are {self.modalities}: with one stream "
                "there is nothing to choose from; take joint, temporal or none"
            )
