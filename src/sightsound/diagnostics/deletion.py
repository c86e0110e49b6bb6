"""Do explanations point at what carries the answer? (Petsiuk et al. 2018, insertion and deletion)

The cells of every stream are shown, and hidden, in the order in which the map says that they count:
the area between the two curves is compared with that of random orders of the same clips. See
`explain/curves.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sightsound.diagnostics.explained import maps_of, questions
from sightsound.diagnostics.finding import Check, Curve, Finding, compare, curve
from sightsound.diagnostics.trial import Trial
from sightsound.explain.curves import Curves, insertion_deletion

STEPS = 8  # 54 passes for a clip, with two random orders
RANDOM_ORDERS = 2


def deletion(trial: Trial) -> Check:
    """Area between insertion and deletion, in the order of the map and in random order."""
    asked, found = questions(trial), []
    for question in asked:
        found += insertion_deletion(
            trial.predictor,
            question.batch,
            maps_of([question]),
            steps=STEPS,
            random_orders=RANDOM_ORDERS,
            seed=trial.seed,
        )
    area, at_random = (
        np.array([getattr(clip, name) for clip in found]) for name in ("area", "random_area")
    )
    finding = compare("in random order instead", area, at_random, seed=trial.seed)
    sentence = _sentence(finding, asked[0].method)
    curves = tuple(_curves(found, seed=trial.seed))
    return Check("deletion", sentence, (finding,), measure="area", curves=curves)


def _curves(found: list[Curves], *, seed: int) -> Iterator[Curve]:
    """The probability of the class while cells come or go."""
    for words, kind in (("shown", "insertion"), ("hidden", "deletion")):
        explained = np.stack([getattr(clip, kind) for clip in found])
        at_random = np.stack([getattr(clip, f"random_{kind}").mean(0) for clip in found])
        yield curve(f"{words}, explained first", found[0].shares, explained, seed=seed)
        yield curve(f"{words}, random order", found[0].shares, at_random, seed=seed)


def _sentence(finding: Finding, method: str) -> str:
    if finding.shrinks:
        text = "point at what carries the answer"
    elif finding.cost_high < 0:
        text = "point away from what carries the answer"
    else:
        text = "are no better here than random parts"
    interval = f"95 % interval {finding.cost_low:z.2f} to {finding.cost_high:z.2f}"
    return (
        f"Explanations by {method} {text}: the area between insertion and deletion is "
        f"{finding.before:z.2f}, with random parts {finding.after:z.2f}; {finding.cost:z.2f} more "
        f"({interval})."
    )
