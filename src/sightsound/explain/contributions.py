"""What each second of each stream adds to a logit of MAFnet, exactly, beside its attention.

Attention alone hides whether a cell speaks for or against a class. Neither is a cause:
`deletion.py` measures what happens without a cell. With FiLM, what the sound adds is heard in the
light of what is seen.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sightsound.explain.explanation import Explanation, ExplanationTarget, SecondTable
from sightsound.metrics.scores import head_slices
from sightsound.models.pretrained import Pretrained
from sightsound.predict import probabilities


def check_has_contributions(model: Pretrained) -> None:
    """`ValueError` unless this model is a sum over seconds of its streams."""
    if not model.has_contributions:
        raise ValueError(
            f"models {model.info.name!r} are no sums of seconds; contributions are those of "
            "mafnet; ask by rollout, grad_cam or occlusion"
        )


@torch.inference_mode()
def contributions(target: ExplanationTarget) -> list[Explanation]:
    """What each second of each stream adds to the logit; `seconds` has it for every class.

    Where the logit is no sum, behind `mcb` and `dmr`, maps are the attention of each second.

    Raises:
        ValueError: another model than MAFnet.
    """
    model, batch = target.model, target.batch
    check_has_contributions(model)
    output = model(target.inputs, **target.masks, maps=True)
    scores = probabilities(output.logits.float(), target.task, model.heads)
    cells = attention = output.attention["cells"]  # (B, T, K)
    parts = output.contributions
    if parts is not None:
        rows = torch.arange(len(cells), device=cells.device)
        cells = parts["cells"][rows, :, :, target.shown]
    seconds = []
    for row in range(len(scores)):
        shown, likely = int(target.shown[row]), scores[row].tolist()
        columns = next(c for c in head_slices(model.heads).values() if c.start <= shown < c.stop)
        others = [index for index in range(columns.start, columns.stop) if index != shown]
        padded = np.ones((cells.shape[1], len(model.modalities)), bool)
        for k, name in enumerate(model.modalities):
            if name in target.inputs:
                there = batch.valid[name][row] & batch.present[name][row]
                padded[:, k] = ~there.cpu().numpy()
        seconds.append(
            SecondTable(
                modalities=model.modalities,
                classes=target.classes,
                shown=shown,
                rival=max(others, key=likely.__getitem__, default=None),
                logits=_numbers(output.logits[row]),
                probabilities=_numbers(scores[row]),
                attention=_numbers(attention[row]),
                contributions=None if parts is None else _numbers(parts["cells"][row]),
                constant=None if parts is None else _numbers(parts["constant"]),
                padded=padded,
            )
        )
    maps = dict(zip(model.modalities, cells.unbind(2), strict=True))
    return target.answer({name: maps[name] for name in target.inputs}, seconds=seconds)


def _numbers(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
