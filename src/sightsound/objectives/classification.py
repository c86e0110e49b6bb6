"""Classification: one label per clip, several labels, or several heads (verb and noun).

Two terms, each with a weight: the loss of the averaged logits, and the loss of each stream's own
logits. The official MBT trains with the second alone (`average_weight` 0, `stream_weight` 1); the
paper describes the first. Losses follow the official code to the letter: binary cross entropy is
*summed* over classes, then averaged over clips; smoothing is y (1 - s) + s / K, also for several
labels; several heads are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightsound.registry import unknown_name
from sightsound.types import Batch, Output

TASKS = ("single", "multi", "heads")


class Classification(nn.Module):
    """Loss of a batch under a model; see the module's text for the terms.

    Args:
        task: "single" (softmax), "multi" (sigmoid per class) or "heads" (softmax per head).
        heads: {head: number of classes}, in the order in which they lie in the logits.
        label_smoothing: s in [0, 1).
        average_weight: weight of the loss of the averaged logits.
        stream_weight: weight of the loss of each stream's own logits, averaged over the streams
            that a clip has, then over clips.
        class_weights: (K,) factors on the terms of the classes before they are summed; the sum is
            not normalised.

    Raises:
        ValueError: unknown task, heads that do not fit it, no or negative weights.
    """

    def __init__(
        self,
        *,
        task: str,
        heads: dict[str, int],
        label_smoothing: float = 0.0,
        average_weight: float = 1.0,
        stream_weight: float = 0.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if task not in TASKS:
            raise unknown_name("task", task, TASKS)
        if not heads or (task != "heads" and len(heads) != 1):
            raise ValueError(
                f"heads are {heads} with task {task!r}: single and multi take exactly one head, "
                "several need task 'heads'"
            )
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"label_smoothing is {label_smoothing}; it must lie in [0, 1), such as .1"
            )
        if min(average_weight, stream_weight) < 0 or average_weight + stream_weight == 0:
            raise ValueError(
                f"average_weight is {average_weight} and stream_weight {stream_weight}; neither "
                "may be negative and one must be above 0"
            )
        num_classes = sum(heads.values())
        if class_weights is not None and len(class_weights) != num_classes:
            raise ValueError(
                f"class_weights has {len(class_weights)} numbers for {num_classes} classes; "
                "give one per class, in the order of the labels"
            )
        self.task, self.heads, self.label_smoothing = task, dict(heads), label_smoothing
        self.average_weight, self.stream_weight = average_weight, stream_weight
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float)
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(
        self, model: nn.Module, batch: Batch, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss () and logs {name: ()}: "loss", "average", and one entry per stream with logits.

        `generator` is not used: nothing is drawn here.
        """
        output = model(batch.inputs, **batch.masks)
        total, logs = output.logits.new_zeros((), dtype=torch.float), {}
        if self.average_weight:
            logs["average"] = self.example_losses(output.logits, batch.target).mean()
            total = total + self.average_weight * logs["average"]
        if self.stream_weight:
            stream, per_stream = self._stream_loss(output, batch)
            logs |= per_stream
            total = total + self.stream_weight * stream
        return total, {name: value.detach() for name, value in {"loss": total, **logs}.items()}

    def example_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss (B,) of each clip; `logits` and `target` are (B, K). In float32 under autocast."""
        if logits.shape != target.shape:
            raise ValueError(
                f"logits are {tuple(logits.shape)} and targets {tuple(target.shape)}; both must be "
                f"(B, {sum(self.heads.values())}) for heads {self.heads}: was the model built for "
                "other classes?"
            )
        losses, start = [], 0
        for size in self.heads.values():
            columns, start = slice(start, start + size), start + size
            own, wanted = logits[:, columns].float(), target[:, columns].float()
            labelled = wanted.sum(1, keepdim=True) > 0
            if self.label_smoothing:
                wanted = smoothed(wanted, self.label_smoothing)
            if self.task == "multi":
                terms = functional.binary_cross_entropy_with_logits(own, wanted, reduction="none")
            else:  # a clip without a label, all zero, costs nothing
                terms = -wanted * labelled * functional.log_softmax(own, dim=1)
            if self.class_weights is not None:
                terms = terms * self.class_weights[columns]
            losses.append(terms.sum(1))
        return torch.stack(losses).mean(0)

    def _stream_loss(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over clips of the mean over the clip's streams; and each stream's own mean."""
        if not output.modality_logits:
            raise ValueError(
                f"stream_weight is {self.stream_weight}, but this model has no logits of its own "
                "streams (pooled classifier): set stream_weight to 0, or use classifier: token"
            )
        targets = batch.modality_target or {}
        names = list(output.modality_logits)
        losses = torch.stack(
            [
                self.example_losses(output.modality_logits[name], targets.get(name, batch.target))
                for name in names
            ]
        )
        present = torch.stack([batch.present[name] for name in names]).to(losses.dtype)
        losses = losses * present
        mean = (losses.sum(0) / present.sum(0).clamp_min(1)).mean()
        each = losses.sum(1) / present.sum(1).clamp_min(1)
        return mean, dict(zip(names, each, strict=True))


def smoothed(target: Tensor, smoothing: float) -> Tensor:
    """`target` (B, K) with label smoothing as in the official MBT: y (1 - s) + s / K."""
    return target * (1 - smoothing) + smoothing / target.shape[1]
