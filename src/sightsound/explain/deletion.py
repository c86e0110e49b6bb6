"""The deletion test: does the class lose more without the top cell than without a random one?

A cell, a second of one stream, is hidden from everything: FiLM, attention and sums. If what an
explanation points at were of no consequence, a random cell of the clip would do as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sightsound.explain.contributions import Explanation
from sightsound.metrics.scores import bootstrap_interval
from sightsound.predict import Predictor, probabilities
from sightsound.seeding import stable_seed
from sightsound.types import Batch

EVIDENCE, ATTENTION, RANDOM = "evidence", "attention", "random"
_RESAMPLINGS = 1000


@dataclass(frozen=True)
class Deleted:
    """A cell that was hidden, and what the class shown lost."""

    second: int
    modality: str
    drop: float  # probability with all cells minus that without this one


def delete(
    predictor: Predictor, batch: Batch, explanations: Sequence[Explanation], *, seed: int
) -> list[dict[str, Deleted]]:
    """The test on a batch that is ready: {how the cell was chosen: it}, empty for a single cell.

    Hidden are, one after another, the cell with most evidence for the class shown, the one with
    most attention, and a random one other than the first of these.
    """
    chosen = [_choose(explanation, seed=seed) for explanation in explanations]
    found: list[dict[str, Deleted]] = [{} for _ in explanations]
    for how in next((list(cells) for cells in chosen if cells), []):
        places = {index: cells[how] for index, cells in enumerate(chosen) if cells}
        scores = _without(predictor, batch, places, explanations[0].attention.shape)
        for index, (second, k) in places.items():
            one = explanations[index]
            drop = one.probabilities[one.shown] - scores[index, one.shown]
            found[index][how] = Deleted(second, one.modalities[k], float(drop))
    return found


def _choose(explanation: Explanation, *, seed: int) -> dict[str, tuple[int, int]]:
    """{how: (second, stream)}; empty if there is no other cell."""
    cells = {ATTENTION: explanation.cell(explanation.attention)}
    if explanation.evidence is not None:
        cells = {EVIDENCE: explanation.cell(explanation.evidence)} | cells
    first = next(iter(cells.values()))
    others = [cell for cell in np.argwhere(~explanation.padded).tolist() if tuple(cell) != first]
    if not others:
        return {}
    generator = np.random.default_rng(stable_seed(seed, "deletion", explanation.id))
    return cells | {RANDOM: tuple(others[generator.integers(len(others))])}


@torch.inference_mode()
def _without(
    predictor: Predictor,
    batch: Batch,
    places: dict[int, tuple[int, int]],
    shape: tuple[int, int],
) -> np.ndarray:
    """(B, C) probabilities, with a cell (second, stream) of the clips at `places` hidden."""
    hidden = torch.zeros((len(batch), *shape), dtype=torch.bool)
    for index, cell in places.items():
        hidden[(index, *cell)] = True
    inputs = {name: x for name, x in batch.inputs.items() if name in predictor.modalities}
    columns = hidden.to(predictor.device).unbind(2)
    masks = {n: m for n, m in zip(predictor.modalities, columns, strict=True) if n in inputs}
    model = predictor.model
    logits = model.fuse(model.encode(inputs, token_mask=masks, **batch.masks)).logits.float()
    return probabilities(logits, predictor.task, model.heads).cpu().numpy()


def summarise(deletions: Sequence[dict[str, Deleted]], *, seed: int) -> dict[str, Any]:
    """Mean drops, and by how much they exceed the random cell's with a paired 95 % interval."""
    tested = [cells for cells in deletions if cells]
    counts = {"num_clips": len(tested), "num_single_cell": len(deletions) - len(tested)}
    if not tested:
        return counts
    drops = {how: np.array([cells[how].drop for cells in tested]) for how in tested[0]}
    above = {how: values - drops[RANDOM] for how, values in drops.items() if how != RANDOM}
    return counts | {
        "seed": seed,
        "mean_drop": {how: float(values.mean()) for how, values in drops.items()},
        "above_random": {how: _interval(values, seed=seed) for how, values in above.items()},
    }


def _interval(values: np.ndarray, *, seed: int) -> dict[str, float]:
    """Mean of (n,) differences and its bootstrap interval over clips."""
    low, high = bootstrap_interval(
        lambda counts: float(counts @ values / counts.sum()),
        len(values),
        resamplings=_RESAMPLINGS,
        seed=seed,
    )
    return {"mean": float(values.mean()), "low": low, "high": high}
