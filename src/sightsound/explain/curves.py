"""Insertion and deletion curves (Petsiuk et al. 2018): do the marked cells carry the answer?

Deletion hides the cells of a clip, those that count most first; the probability of the class should
fall at once. Insertion starts from nothing and shows them in the same order; it should rise at
once. The area between both curves says how good the order is, and is compared with that of random
orders of the same cells: what a model does to damaged clips is the same in both.

Every stream loses the same part of its cells in a step, in its own order, so that a method is not
judged by how it weighs one stream against the other. Hidden is 0, the mean of the normalised input.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sightsound.explain.maps import Maps, Question, ask
from sightsound.explain.occlusion import hidden, over
from sightsound.predict import Predictor
from sightsound.seeding import stable_seed
from sightsound.types import Batch

STEPS = 16
RANDOM_ORDERS = 4
_CASES_AT_ONCE = 32


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
    maps: Sequence[Maps],
    *,
    steps: int = STEPS,
    random_orders: int = RANDOM_ORDERS,
    seed: int = 0,
) -> list[Curves]:
    """The curves of each clip of a batch that is ready, for the class its map is about.

    Args:
        maps: one per clip, in order, with a map of every stream that the model reads.
        steps: in which all cells go; a pass through the model for each, four times.
        random_orders: to compare with.
        seed: of these.

    Raises:
        ValueError: other clips than those of the batch, a method without maps.
    """
    if [one.id for one in maps] != batch.id:
        raise ValueError("maps are not those of the batch's clips, in order: explain this batch")
    bare = next((one.method for one in maps if not one.streams), None)
    if bare:
        raise ValueError(
            f"{bare} says how much streams count, not which of their cells; take the maps of "
            "rollout, grad_cam or occlusion"
        )
    question = ask(predictor, batch, method=maps[0].method, shown=maps[0].shown)
    places = [question.classes.index(one.shown) for one in maps]
    question = dataclasses.replace(question, places=question.places.new_tensor(places))
    shares = np.arange(steps + 1) / steps
    found = []
    for one, clip in zip(maps, question.parts(1), strict=True):
        generator = np.random.default_rng(stable_seed(seed, "curves", one.id))
        orders = [ranks(one, generator=generator)]
        orders += [ranks(one, generator=generator, at_random=True) for _ in range(random_orders)]
        goes, comes = np.split(_probabilities(clip, orders, shares), 2, axis=1)
        found.append(Curves(one.id, one.shown, shares, goes[0], comes[0], goes[1:], comes[1:]))
    return found


def ranks(
    maps: Maps, *, generator: np.random.Generator, at_random: bool = False
) -> dict[str, np.ndarray]:
    """{modality: (*cells) in 0 to below 1}: 0 for the cell that counts most; ties are drawn."""
    found = {}
    for name, values in maps.streams.items():
        first = generator.permutation(values.size)
        order = first if at_random else first[np.argsort(-values.ravel()[first], kind="stable")]
        place = np.empty(values.size)
        place[order] = np.arange(values.size) / values.size
        found[name] = place.reshape(values.shape)
    return found


def _probabilities(
    clip: Question, orders: Sequence[Mapping[str, np.ndarray]], shares: np.ndarray
) -> np.ndarray:
    """(orders, 2 * (S + 1)): the class without the first cells, then with nothing but them."""
    cases = [(order, share, shown) for order in orders for shown in (0, 1) for share in shares]
    scores = []
    for start in range(0, len(cases), _CASES_AT_ONCE):
        part = cases[start : start + _CASES_AT_ONCE]
        many = clip.rows(torch.zeros(len(part), dtype=torch.long, device=clip.places.device))
        inputs = {}
        for name, values in many.inputs.items():
            first = np.stack([(order[name] < share) != shown for order, share, shown in part])
            cells = torch.from_numpy(first).to(values.device)
            cells = cells.flatten(1) if many.batch.encoded else cells  # (B, T) of (B, T, 1, 1)
            inputs[name] = hidden(values, over(cells, clip.shape(name)), name)
        scores.append(many.probability(many.model(inputs, **many.masks).logits))
    return torch.cat(scores).cpu().numpy().reshape(len(orders), -1)
