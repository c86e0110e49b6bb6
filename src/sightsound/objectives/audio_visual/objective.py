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
from typing import Literal

import torch
from torch import Tensor, nn

from sightsound.models.backbone import Backbone, input_shape
from sightsound.objectives.audio_visual.contrastive import DIRECTIONS, Contrastive, Direction
from sightsound.objectives.audio_visual.masking import (
    AUDIO_MASKING,
    VIDEO_MASKING,
    Hidden,
    Hiding,
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
        self.embedding = dict(
            embedding_width=embedding_width, temperature=temperature, direction=direction
        )
        self.hiding = Hiding(
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

    def prepare(self, model: nn.Module) -> AudioVisual:
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
        output, inputs = _shapes(model)
        before = {name: output.encoded[name].shape[1] for name in MODALITIES}
        after = {name: output.pooled[name].shape[1] for name in MODALITIES}
        if self._has("contrastive"):
            self.contrastive = Contrastive(before, **self.embedding)
        if self._has("matching"):
            self.matching = Matching(after)
        if self._has("masked"):
            self.streams = {name: model.stream(name) for name in self._masked_streams()}
            _check_frames(self.streams)
            cells = {n: s.cells(input_shape(n, inputs[n])) for n, s in self.streams.items()}
            channels = {VIDEO: inputs[VIDEO].shape[2], AUDIO: inputs[AUDIO].shape[1]}
            self.reconstruction = Reconstruction(after, channels, cells)
        return self

    def forward(
        self, model: nn.Module, batch: Batch, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss () and logs {name: ()}: "loss", each loss, and "matching_accuracy".

        Args:
            generator: what is hidden and which pairs are wrong is drawn from it; on the device of
                the batch.
        """
        if not self._has("contrastive", "matching", "masked"):
            losses, logs = self._classification(model(batch.inputs, **batch.masks), batch)
            return self._total(losses, logs)
        if not self._prepared():
            raise ValueError("objective 'avt' does not know its model yet: call prepare(model)")
        clean = hidden = Hidden(batch.inputs)
        if self._has("masked"):
            hidden = self.hiding(batch, self.streams, generator=generator)
            clean = clean if self.separate_clean_pass else hidden
        encoded, output = self._pass(model, clean, batch)
        losses, logs = {}, {}
        if self._has("classification"):
            losses, logs = self._classification(output, batch)
        self._add_pairs(losses, logs, model, batch, encoded, output, generator=generator)
        if self._has("masked"):
            if clean is not hidden:
                _, output = self._pass(model, hidden, batch)
            parts = self._reconstruct(hidden, output, batch)
            losses["masked"] = sum(parts.values(), start=_zero(self.reconstruction))
            logs |= {f"masked_{name}": value for name, value in parts.items()}
        return self._total(losses, logs)

    def _pass(
        self, model: nn.Module, hidden: Hidden, batch: Batch
    ) -> tuple[Encoded, Output | None]:
        """The model's two halves; fusion only where somebody reads it."""
        token_mask = {"token_mask": hidden.token_mask} if hidden.token_mask else {}
        encoded = model.encode(hidden.inputs, **batch.masks, **token_mask)
        if not self._has("classification", "matching", "masked"):
            return encoded, None
        return encoded, model.fuse(encoded)

    def _classification(self, output: Output, batch: Batch) -> tuple[dict, dict]:
        """The labels' loss of an output that is there already, and its own logs."""
        loss, logs = self.classification(lambda *_, **__: output, batch)
        logs.pop("loss")
        return {"classification": loss}, logs

    def _add_pairs(
        self,
        losses: dict[str, Tensor],
        logs: dict[str, Tensor],
        model: nn.Module,
        batch: Batch,
        encoded: Encoded,
        output: Output | None,
        *,
        generator: torch.Generator | None,
    ) -> None:
        """Contrastive loss and matching, over the clips that have both streams."""
        rows = _with_both(encoded, batch)
        numbers = [stable_seed(name) for name in batch.source or batch.id]
        source = torch.tensor(numbers, device=rows.device)[rows]
        similarity = None
        if self._has("contrastive"):
            embedded = self.contrastive.embed(
                {name: values[rows] for name, values in encoded.pooled.items()}
            )
            losses["contrastive"] = self.contrastive(embedded, source)
            if self.negatives == "hard":
                similarity = embedded[AUDIO].detach() @ embedded[VIDEO].detach().T
                similarity = similarity / self.contrastive.temperature
        if self._has("matching"):
            pairs = right_and_wrong(rows, source, similarity=similarity, generator=generator)
            if pairs is None:
                losses["matching"] = _zero(self.matching)
                return
            losses["matching"], logs["matching_accuracy"] = self.matching(
                model, encoded, output, pairs
            )

    def _reconstruct(self, hidden: Hidden, output: Output, batch: Batch) -> dict[str, Tensor]:
        cells = {
            name: self.streams[name].cells(input_shape(name, batch.inputs[name]))
            for name in hidden.scored
        }
        return self.reconstruction(output.tokens, cells, target=batch.inputs, scored=hidden.scored)

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

    def _prepared(self) -> bool:
        made = (self.contrastive, self.matching, self.reconstruction)
        return any(part is not None for part in made)

    def _masked_streams(self) -> list[str]:
        kinds = {VIDEO: self.hiding.video, AUDIO: self.hiding.audio}
        return [name for name, kind in kinds.items() if kind != "none"]

    def _check(self) -> None:
        for name, value in self.weights.items():
            if value < 0:
                raise ValueError(f"{name}_weight is {value}; accepted: 0 (off) or more")
        if not self._has(*self.weights):
            raise ValueError("all weights of the objective are 0; one must be above 0")
        hiding, direction = self.hiding, self.embedding["direction"]
        for kind, given, known in (
            ("direction", direction, DIRECTIONS),
            ("negatives", self.negatives, NEGATIVES),
            ("video_masking", hiding.video, VIDEO_MASKING),
            ("audio_masking", hiding.audio, AUDIO_MASKING),
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
        if not 0 < hiding.share < 1:
            raise ValueError(f"mask_share is {hiding.share}; accepted: between 0 and 1, as 0.04")
        if hiding.num_segments < 2:
            raise ValueError(f"num_segments is {hiding.num_segments}; accepted: 2 or more")
        if hiding.window < 3 or hiding.window % 2 == 0:
            raise ValueError(f"window is {hiding.window}; accepted: an odd number from 3 on")


def _check_frames(streams: dict[str, Backbone]) -> None:
    if VIDEO in streams and streams[VIDEO].frame_sampling:
        raise ValueError(
            "the model chooses frames itself (frame_sampling), so hidden ones cannot be compared "
            "with its input; set frame_sampling to null, or video_masking to none"
        )


def _with_both(encoded: Encoded, batch: Batch) -> Tensor:
    """(n,) long: rows of the batch that have both streams."""
    device = next(iter(encoded.pooled.values())).device
    here = torch.ones(len(batch), dtype=torch.bool, device=device)
    for name in MODALITIES:
        if name not in encoded.pooled:
            here = torch.zeros_like(here)
        elif encoded.present is not None:
            here = here & encoded.present[name]
    return here.nonzero()[:, 0]


def _zero(module: nn.Module) -> Tensor:
    """0 () that is a function of `module`, for a batch that has nothing for it to learn from."""
    return sum(0.0 * parameter.sum() for parameter in module.parameters())


def _shapes(model: nn.Module) -> tuple[Output, dict[str, Tensor]]:
    """The model's output for its example inputs, without numbers, and these inputs."""
    inputs = {name: values.to("meta") for name, values in model.example_inputs(2).items()}
    tensors = [*model.named_parameters(), *model.named_buffers()]
    state = {name: tensor.detach().to("meta") for name, tensor in tensors}
    with torch.no_grad():
        return torch.func.functional_call(model, state, (inputs,)), inputs
