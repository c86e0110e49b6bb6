"""AVT's objective: classification, and what sound and pictures teach each other without labels.

loss = classification + 0.5 contrastive + 0.1 matching + 0.01 masked (paper AVT, equation 8).

One pass through the model, with something hidden, serves all four (the paper hides 4 % so as not to
hurt the classifier, and speaks of no second pass); matching runs fusion once more. A weight of 0
switches a loss off: it costs nothing then. With `classification_weight` 0 no label is read.

The model needs `encode` and `fuse` and two streams; `prepare` looks at it once and makes the layers
that the losses need on top. They are saved with the run, not with the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sightsound.models.backbone import Backbone, input_shape
from sightsound.models.backbone_model import BackboneModel
from sightsound.objectives.audio_visual.contrastive import DIRECTIONS, Contrastive, Direction
from sightsound.objectives.audio_visual.masking import (
    AUDIO_MASKING,
    VIDEO_MASKING,
    MaskedBatch,
    Masking,
)
from sightsound.objectives.audio_visual.matching import NEGATIVES, Matching, right_and_wrong
from sightsound.objectives.audio_visual.reconstruction import Reconstruction
from sightsound.objectives.audio_visual.segments import NUM_SEGMENTS, WINDOW
from sightsound.registry import OBJECTIVES, resolve, unknown_name
from sightsound.seeding import stable_seed
from sightsound.types import AUDIO, MODALITIES, VIDEO, Batch, Encoded, Output


class AudioVisual(nn.Module):
    """Loss of a batch under a model; see the module's text for the terms.

    Args:
        task: as of `Classification`, like `heads` and the five arguments after the weights.
        classification_weight: 2 with two heads gives the sum of their losses, not the mean.
        contrastive_weight: streams before fusion: those of one clip are alike.
        matching_weight: streams after fusion: do they belong together?
        masked_weight: what was hidden is reconstructed.
        embedding_width: of the space in which streams are compared.
        temperature: of the contrastive loss.
        direction: of the contrastive loss, `both`, `audio_to_video` or `video_to_audio`.
        negatives: wrong pairs of matching, `hard` (from the contrastive similarities) or `random`.
        video_masking: what is hidden of the pictures: `tokens`, `pixels` or `none`.
        audio_masking: what is hidden of the sound: `segments`, `tokens` or `none`.
        mask_share: how much of it.
        num_segments: the sound is cut into at most this many.
        window: frames that the search for segments smooths over.
        everywhere: reconstruct what is shown, too.
        separate_clean_pass: hide in a second pass; the other losses then see everything.

    Raises:
        ValueError: arguments that do not go together; the message says which.
    """

    def __init__(
        self,
        *,
        task: str,
        heads: dict[str, int],
        classification_weight: float = 1.0,
        contrastive_weight: float = 0.5,
        matching_weight: float = 0.1,
        masked_weight: float = 0.01,
        label_smoothing: float = 0.0,
        average_weight: float = 1.0,
        stream_weight: float = 0.0,
        class_weights: Sequence[float] | None = None,
        embedding_width: int = 256,
        temperature: float = 0.07,
        direction: Direction = "both",
        negatives: Literal["hard", "random"] = "hard",
        video_masking: Literal["tokens", "pixels", "none"] = "tokens",
        audio_masking: Literal["segments", "tokens", "none"] = "segments",
        mask_share: float = 0.04,
        num_segments: int = NUM_SEGMENTS,
        window: int = WINDOW,
        everywhere: bool = False,
        separate_clean_pass: bool = False,
    ) -> None:
        super().__init__()
        self.weights = {
            "classification": classification_weight,
            "contrastive": contrastive_weight,
            "matching": matching_weight,
            "masked": masked_weight,
        }
        self.negatives, self.separate_clean_pass = negatives, separate_clean_pass
        self.embedding: dict[str, Any] = dict(
            embedding_width=embedding_width, temperature=temperature, direction=direction
        )
        self.masking = Masking(
            video_masking, audio_masking, mask_share, num_segments, window, everywhere
        )
        self._check()
        self.classification = resolve(OBJECTIVES, "classification", kind="objective")(
            task=task,
            heads=heads,
            label_smoothing=label_smoothing,
            average_weight=average_weight,
            stream_weight=stream_weight,
            class_weights=class_weights,
        )
        self.contrastive: Contrastive | None = None
        self.matching: Matching | None = None
        self.reconstruction: Reconstruction | None = None
        self.streams: dict[str, Backbone] = {}  # the model's; a plain table: not saved here

    def prepare(self, model: BackboneModel) -> AudioVisual:
        """Make the layers that the losses need on top of `model`, and return itself.

        Raises:
            ValueError: the model has one stream only, or chooses frames itself.
        """
        if not self._has("contrastive", "matching", "masked"):
            return self
        if set(model.modalities) != set(MODALITIES):
            raise ValueError(
                f"objective 'avt' compares sound and pictures, but the model's modalities are "
                f"{tuple(model.modalities)}; take objective 'classification', or a model of both"
            )
        # Without numbers, on the meta device: the widths alone are looked at.
        inputs = {name: values.to("meta") for name, values in model.example_inputs(2).items()}
        tensors = [*model.named_parameters(), *model.named_buffers()]
        state = {name: tensor.detach().to("meta") for name, tensor in tensors}
        with torch.no_grad():
            output: Output = torch.func.functional_call(model, state, (inputs,))
        before = {name: output.encoded[name].shape[1] for name in MODALITIES}
        after = {name: output.pooled[name].shape[1] for name in MODALITIES}
        if self._has("contrastive"):
            self.contrastive = Contrastive(before, **self.embedding)
        if self._has("matching"):
            self.matching = Matching(after)
        if self._has("masked"):
            self.streams = {name: model.stream(name) for name in self._masked_streams()}
            if any(stream.frame_sampling for stream in self.streams.values()):
                raise ValueError(
                    "the model chooses frames itself (frame_sampling), so hidden ones cannot be "
                    "compared with its input; set frame_sampling to null, or video_masking to none"
                )
            cells = {n: s.cells(input_shape(n, inputs[n])) for n, s in self.streams.items()}
            channels = {VIDEO: inputs[VIDEO].shape[2], AUDIO: inputs[AUDIO].shape[1]}
            self.reconstruction = Reconstruction(after, channels, cells)
        return self

    def forward(
        self, model: BackboneModel, batch: Batch, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss () and logs {name: ()}: "loss", each loss, and "matching_accuracy".

        Args:
            generator: what is hidden and which pairs are wrong is drawn from it; on the device of
                the batch.
        """
        if not self._has("contrastive", "matching", "masked"):
            losses, logs = self._classification(model(batch.inputs, **batch.masks), batch)
            return self._total(losses, logs)
        if not any((self.contrastive, self.matching, self.reconstruction)):
            raise ValueError("objective 'avt' does not know its model yet: call prepare(model)")
        clean = masked = MaskedBatch(batch.inputs)
        if self.reconstruction is not None:
            masked = self.masking(batch, self.streams, generator=generator)
            clean = clean if self.separate_clean_pass else masked
        encoded = self._encode(model, clean, batch)
        losses, logs = {}, {}
        output = None  # fusion runs only where somebody reads it
        if self._has("classification", "matching", "masked"):
            output = model.fuse(encoded)
        if output is not None and self._has("classification"):
            losses, logs = self._classification(output, batch)
        similarity, rows, source = None, *_pairs(encoded, batch)
        if self.contrastive is not None:
            embedded = self.contrastive.embed({k: x[rows] for k, x in encoded.pooled.items()})
            losses["contrastive"] = self.contrastive(embedded, source)
            if self.negatives == "hard":
                similarity = embedded[AUDIO].detach() @ embedded[VIDEO].detach().T
                similarity = similarity / self.contrastive.temperature
        if self.matching is not None and output is not None:
            pairs = right_and_wrong(rows, source, similarity=similarity, generator=generator)
            if pairs is None:
                losses["matching"] = _zero(self.matching)
            else:
                results = self.matching(model, encoded, output, pairs)
                losses["matching"], logs["matching_accuracy"] = results
        if self.reconstruction is not None and output is not None:
            if clean is not masked:
                output = model.fuse(self._encode(model, masked, batch))
            shapes = {name: input_shape(name, batch.inputs[name]) for name in masked.scored}
            parts = self.reconstruction(
                output.tokens,
                {name: self.streams[name].cells(shape) for name, shape in shapes.items()},
                target=batch.inputs,
                scored=masked.scored,
            )
            losses["masked"] = sum(parts.values(), start=_zero(self.reconstruction))
            logs |= {f"masked_{name}": value for name, value in parts.items()}
        return self._total(losses, logs)

    def _encode(self, model: BackboneModel, masked: MaskedBatch, batch: Batch) -> Encoded:
        masks, token_mask = batch.masks, masked.token_mask or None
        present, valid = masks.get("present"), masks.get("valid")
        return model.encode(masked.inputs, present=present, valid=valid, token_mask=token_mask)

    def _classification(self, output: Output, batch: Batch) -> tuple[dict, dict]:
        """The labels' loss of an output that is there already, and its own logs."""
        loss, logs = self.classification(lambda *_, **__: output, batch)
        logs.pop("loss")
        return {"classification": loss}, logs

    def _total(self, losses: dict, logs: dict) -> tuple[Tensor, dict[str, Tensor]]:
        total = sum(self.weights[name] * value for name, value in losses.items())
        logs = {"loss": total, **losses, **logs}
        return total, {name: value.detach() for name, value in logs.items()}

    @property
    def pairs_streams(self) -> bool:
        """Whether it learns which sound and which pictures go together."""
        return self._has("contrastive", "matching")

    def _has(self, *names: str) -> bool:
        """Whether one of these losses is switched on."""
        return any(self.weights[name] > 0 for name in names)

    def _masked_streams(self) -> list[str]:
        kinds = {VIDEO: self.masking.video, AUDIO: self.masking.audio}
        return [name for name, kind in kinds.items() if kind != "none"]

    def _check(self) -> None:
        for name, value in self.weights.items():
            if value < 0:
                raise ValueError(f"{name}_weight is {value}; accepted: 0 (off) or more")
        if not self._has(*self.weights):
            raise ValueError("all weights of the objective are 0; one must be above 0")
        masking, direction = self.masking, self.embedding["direction"]
        for kind, given, known in (
            ("direction", direction, DIRECTIONS),
            ("negatives", self.negatives, NEGATIVES),
            ("video_masking", masking.video, VIDEO_MASKING),
            ("audio_masking", masking.audio, AUDIO_MASKING),
        ):
            if given not in known:
                raise unknown_name(kind, given, known)
        if self._has("matching") and self.negatives == "hard" and not self._has("contrastive"):
            raise ValueError(
                "negatives is 'hard', but contrastive_weight is 0, so nothing says which pairs are "
                "alike; take negatives 'random', or a contrastive_weight above 0"
            )
        if self._has("masked") and not self._masked_streams():
            raise ValueError(
                "video_masking and audio_masking are both 'none', so nothing is hidden; set "
                "masked_weight to 0, or hide something"
            )
        if not 0 < masking.share < 1:
            raise ValueError(f"mask_share is {masking.share}; accepted: between 0 and 1, as 0.04")
        if masking.num_segments < 2:
            raise ValueError(f"num_segments is {masking.num_segments}; accepted: 2 or more")
        if masking.window < 3 or masking.window % 2 == 0:
            raise ValueError(f"window is {masking.window}; accepted: an odd number from 3 on")


def _pairs(encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
    """(n,) long: rows of the batch that have both streams, and the number of each one's source."""
    device = next(iter(encoded.pooled.values())).device
    here = torch.ones(len(batch), dtype=torch.bool, device=device)
    for name in MODALITIES:
        if name not in encoded.pooled:
            here = torch.zeros_like(here)
        elif encoded.present is not None:
            here = here & encoded.present[name]
    rows = here.nonzero()[:, 0]
    numbers = [stable_seed(name) for name in batch.source or batch.id]
    return rows, torch.tensor(numbers, device=device)[rows]


def _zero(module: nn.Module) -> Tensor:
    """0 () that is a function of `module`, for a batch that has nothing for it to learn from."""
    return torch.stack([0.0 * parameter.sum() for parameter in module.parameters()]).sum()
