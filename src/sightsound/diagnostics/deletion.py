"""Do explanations point at what carries the answer? (Petsiuk et al. 2018, insertion and deletion)

The cells of every stream are shown, and hidden, in the order in which the map says that they count:
the area between the two curves is compared with that of random orders of the same clips. See
`explain/deletion.py`.
"""

from __future__ import annotations

import numpy as np

from sightsound.diagnostics.finding import Check, Finding, compare, curve
from sightsound.diagnostics.trial import Trial, explain_targets, explanation_targets
from sightsound.explain.deletion import insertion_deletion

STEPS = 8  # 54 passes for a clip, with two random orders
RANDOM_ORDERS = 2


def deletion(trial: Trial) -> Check:
    """Area between insertion and deletion, in the order of the map and in random order."""
    targets, clips = explanation_targets(trial), []
    how = {"steps": STEPS, "random_orders": RANDOM_ORDERS, "seed": trial.seed}
    for target in targets:
        explained = explain_targets([target])
        clips += insertion_deletion(trial.predictor, target.batch, explained, **how)
    area = np.array([clip.area for clip in clips])
    at_random = np.array([clip.random_area for clip in clips])
    finding = compare("in random order instead", area, at_random, seed=trial.seed)
    curves = []
    for words, kind in (("shown", "insertion"), ("hidden", "deletion")):
        first = np.stack([getattr(clip, kind) for clip in clips])
        random = np.stack([getattr(clip, f"random_{kind}").mean(0) for clip in clips])
        for order, values in (("explained first", first), ("random order", random)):
            curves.append(curve(f"{words}, {order}", clips[0].shares, values, seed=trial.seed))
    sentence = _sentence(finding, targets[0].method)
    return Check("deletion", sentence, (finding,), measure="area", curves=tuple(curves))


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
