"""Deletion tests: does the class lose more without what an explanation points at than else?

Insertion and deletion curves (Petsiuk et al. 2018), of any map: deletion hides the cells of a clip,
those that count most first; the probability of the class should fall at once. Insertion starts from
nothing and shows them in the same order; it should rise at once. The area between both curves says
how good the order is, and is compared with that of random orders of the same cells: what a model
does to damaged clips is the same in both. Every stream loses the same part of its cells in a step,
in its own order, so that a method is not judged by how it weighs one stream against the other.
Hidden is 0, the mean of the normalised input.

Of MAFnet's seconds also without a single one: a cell, a second of one stream, is hidden from
everything, from FiLM, attention and sums. If what an explanation points at were of no consequence,
a random cell of the clip would do as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sightsound.explain.explanation import (
    Explanation,
    ExplanationTarget,
    SecondTable,
    make_target,
)
from sightsound.explain.occlusion import hidden, over
from sightsound.metrics.scores import mean_interval
from sightsound.predict import Predictor, probabilities
from sightsound.seeding import stable_seed
from sightsound.types import Batch

STEPS = 16
RANDOM_ORDERS = 4
EVIDENCE, ATTENTION, RANDOM = "evidence", "attention", "random"
_CASES_AT_ONCE = 32
_RESAMPLINGS = 1000


# --- curves -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curves:
    """The probability of one clip's class while its cells go or come."""

    id: str
    shown: str
    shares: np.ndarray  # (S + 1,) of every stream's cells that are hidden, or shown: 0 to 1
    deletion: np.ndarray  # (S + 1,)
    insertion: np.ndarray  # (S + 1,)
    random_deletion: np.ndarray  # (R, S + 1) of random orders
    random_insertion: np.ndarray  # (R, S + 1)

    @property
    def area(self) -> float:
        """Between insertion and deletion: 1 at best, below 0 where the order is upside down."""
        return float(_area(self.insertion, self.shares) - _area(self.deletion, self.shares))

    @property
    def random_area(self) -> float:
        """The same of random orders, their mean."""
        between = _area(self.random_insertion, self.shares)
        return float((between - _area(self.random_deletion, self.shares)).mean())

    @property
    def above_random(self) -> float:
        """`area` less `random_area`."""
        return self.area - self.random_area


def _area(curve: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return np.trapezoid(curve, shares, axis=-1)


@torch.inference_mode()
def insertion_deletion(
    predictor: Predictor,
    batch: Batch,
    explanations: Sequence[Explanation],
    *,
    steps: int = STEPS,
    random_orders: int = RANDOM_ORDERS,
    seed: int = 0,
) -> list[Curves]:
    """The curves of each clip of a batch that is ready, for the class its map is about.

    Args:
        explanations: one per clip, in order, with a map of every stream that the model reads.
        steps: in which all cells go; a pass through the model for each, four times.
        random_orders: to compare with.
        seed: of these.

    Raises:
        ValueError: other clips than those of the batch, a method without maps.
    """
    if [one.id for one in explanations] != batch.id:
        raise ValueError("maps are not those of the batch's clips, in order: explain this batch")
    bare = next((one.method for one in explanations if not one.streams), None)
    if bare:
        raise ValueError(
            f"{bare} says how much streams count, not which of their cells; take the maps of "
            "rollout, grad_cam or occlusion"
        )
    first = explanations[0]
    target = make_target(predictor, batch, method=first.method, shown=first.shown)
    shown = [target.classes.index(one.shown) for one in explanations]
    target = dataclasses.replace(target, shown=target.shown.new_tensor(shown))
    shares = np.arange(steps + 1) / steps
    found = []
    for one, clip in zip(explanations, target.parts(1), strict=True):
        generator = np.random.default_rng(stable_seed(seed, "curves", one.id))
        orders = [ranks(one, generator=generator)]
        orders += [ranks(one, generator=generator, at_random=True) for _ in range(random_orders)]
        goes, comes = np.split(_probabilities(clip, orders, shares), 2, axis=1)
        found.append(Curves(one.id, one.shown, shares, goes[0], comes[0], goes[1:], comes[1:]))
    return found


def ranks(
    explanation: Explanation, *, generator: np.random.Generator, at_random: bool = False
) -> dict[str, np.ndarray]:
    """{modality: (*cells) in 0 to below 1}: 0 for the cell that counts most; ties are drawn."""
    found = {}
    for name, values in explanation.streams.items():
        first = generator.permutation(values.size)
        order = first if at_random else first[np.argsort(-values.ravel()[first], kind="stable")]
        rank = np.empty(values.size)
        rank[order] = np.arange(values.size) / values.size
        found[name] = rank.reshape(values.shape)
    return found


def _probabilities(
    clip: ExplanationTarget, orders: Sequence[Mapping[str, np.ndarray]], shares: np.ndarray
) -> np.ndarray:
    """(orders, 2 * (S + 1)): the class without the first cells, then with nothing but them."""
    cases = [(order, share, shown) for order in orders for shown in (0, 1) for share in shares]
    scores = []
    for start in range(0, len(cases), _CASES_AT_ONCE):
        part = cases[start : start + _CASES_AT_ONCE]
        many = clip.rows(torch.zeros(len(part), dtype=torch.long, device=clip.shown.device))
        inputs = {}
        for name, values in many.inputs.items():
            first = np.stack([(order[name] < share) != shown for order, share, shown in part])
            cells = torch.from_numpy(first).to(values.device)
            cells = cells.flatten(1) if many.batch.encoded else cells  # (B, T) of (B, T, 1, 1)
            inputs[name] = hidden(values, over(cells, clip.shapes[name]), name)
        scores.append(many.probability(many.model(inputs, **many.masks).logits))
    return torch.cat(scores).cpu().numpy().reshape(len(orders), -1)


# --- a single second ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Deleted:
    """A cell that was hidden, and what the class shown lost."""

    second: int
    modality: str
    drop: float  # probability with all cells minus that without this one


@torch.inference_mode()
def delete_seconds(
    predictor: Predictor, batch: Batch, explanations: Sequence[Explanation], *, seed: int
) -> list[dict[str, Deleted]]:
    """The test on a batch that is ready: {how the cell was chosen: it}, empty for a single cell.

    Hidden are, one after another, the cell with most evidence for the class shown, the one with
    most attention, and a random one other than the first of these.
    """
    tables = [one.seconds for one in explanations]
    chosen = [
        {} if table is None else _choose(table, seed=stable_seed(seed, "deletion", one.id))
        for one, table in zip(explanations, tables, strict=True)
    ]
    inputs = {name: x for name, x in batch.inputs.items() if name in predictor.modalities}
    model, found = predictor.model, [dict[str, Deleted]() for _ in explanations]
    for how in next((list(cells) for cells in chosen if cells), []):
        masks = {name: torch.zeros(x.shape[:2], dtype=torch.bool) for name, x in inputs.items()}
        for index, (table, cells) in enumerate(zip(tables, chosen, strict=True)):
            if table is not None and cells:
                second, k = cells[how]
                masks[table.modalities[k]][index, second] = True
        masks = {name: mask.to(predictor.device) for name, mask in masks.items()}
        logits = model.fuse(model.encode(inputs, token_mask=masks, **batch.masks)).logits.float()
        scores = probabilities(logits, predictor.task, model.heads).cpu().numpy()
        for index, (table, cells) in enumerate(zip(tables, chosen, strict=True)):
            if table is not None and cells:
                second, k = cells[how]
                drop = table.probabilities[table.shown] - scores[index, table.shown]
                found[index][how] = Deleted(second, table.modalities[k], float(drop))
    return found


def _choose(table: SecondTable, *, seed: int) -> dict[str, tuple[int, int]]:
    """{how: (second, stream)}; empty if there is no other cell."""
    cells = {ATTENTION: table.cell(table.attention)}
    if table.evidence is not None:
        cells = {EVIDENCE: table.cell(table.evidence)} | cells
    first = next(iter(cells.values()))
    others = [(t, k) for t, k in np.argwhere(~table.padded).tolist() if (t, k) != first]
    if not others:
        return {}
    return cells | {RANDOM: others[np.random.default_rng(seed).integers(len(others))]}


def summarise(deletions: Sequence[dict[str, Deleted]], *, seed: int) -> dict[str, Any]:
    """Mean drops, and by how much they exceed the random cell's with a paired 95 % interval."""
    tested = [cells for cells in deletions if cells]
    counts = {"num_clips": len(tested), "num_single_cell": len(deletions) - len(tested)}
    if not tested:
        return counts
    drops = {how: np.array([cells[how].drop for cells in tested]) for how in tested[0]}
    above = {}
    for how in [how for how in drops if how != RANDOM]:
        values = drops[how] - drops[RANDOM]
        low, high = mean_interval(values, resamplings=_RESAMPLINGS, seed=seed)
        above[how] = {"mean": float(values.mean()), "low": low, "high": high}
    return counts | {
        "seed": seed,
        "mean_drop": {how: float(values.mean()) for how, values in drops.items()},
        "above_random": above,
    }
