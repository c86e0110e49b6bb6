"""Whether explanations depend on what was learned (Adebayo et al. 2018, "Sanity Checks ...").

The model's weights are destroyed from the head down, more layers at each step, and every clip's
maps are drawn again for the class that the whole model named. An explanation of the model changes
with it; one that does not shows edges of the picture rather than reasons. Measured is the rank
correlation of each map with that of the whole model.

A tensor is destroyed by putting its numbers in random order, so that sizes stay those of trained
weights (Adebayo et al. draw new ones; a head that starts at zero would leave nothing to explain).
"From the head down" is against the order in which parts run, those of both streams at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from sightsound.diagnostics.finding import Check, Finding, compare, through
from sightsound.diagnostics.trial import Trial, explain_targets, explanation_targets
from sightsound.explain.explanation import ExplanationTarget
from sightsound.models.pretrained import Pretrained
from sightsound.seeding import stable_seed
from sightsound.types import WORDS

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the parts, after the whole head alone
ALIKE = 0.5  # a correlation above this, with nothing learned left, is called unmoved. A guess.


def randomise(trial: Trial) -> Check:
    """Rank correlation of maps with those of the whole model, layers destroyed from the head on."""
    model, targets = trial.predictor.model, explanation_targets(trial)
    whole = explain_targets(targets)
    names = from_the_head(model, targets[0])
    counts = steps(names)
    found: dict[str, list[Finding]] = {}  # of each stream
    for count, what in counts.items():
        with destroyed(model, names[:count], seed=trial.seed):
            changed = explain_targets(targets)
        for name in whole[0].streams:
            pairs = zip(whole, changed, strict=True)
            alike = [rank_correlation(a.streams[name], b.streams[name]) for a, b in pairs]
            values = np.array([value for value in alike if value is not None])
            if len(values):  # else no clip has any order to lose
                before, what_of = np.ones(len(values)), f"{WORDS[name]}, {what}"
                finding = compare(what_of, before, values, seed=trial.seed)
                found.setdefault(WORDS[name], []).append(finding)
    if not found:
        return Check("randomise", "Maps are the same in every cell: there is no order to lose.")
    shares = [count / len(names) for count in counts]
    return Check(
        "randomise",
        _sentence({name: findings[-1] for name, findings in found.items()}, targets[0].method),
        tuple(itertools.chain(*found.values())),
        measure="rank correlation",
        curves=tuple(through(name, shares, findings) for name, findings in found.items()),
    )


def steps(names: Sequence[str]) -> dict[int, str]:
    """{how many of the parts `names` are destroyed: in words}; first all of the head, alone."""
    head = sum(name.split(".")[0] == names[0].split(".")[0] for name in names)
    counts = {
        max(head, round(share * len(names))): f"{100 * share:.0f} % destroyed" for share in SHARES
    }
    return {head: "head destroyed"} | {n: what for n, what in counts.items() if n > head}


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's, of two maps, without the cells that are 0 in both: padding.

    0 if `b` is the same everywhere, which is not alike; `None` if `a` is.
    """
    counted = (a != 0) | (b != 0)
    a, b = _ranks(a[counted]), _ranks(b[counted])
    if not len(a) or np.ptp(a) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(b) else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """(n,) place of each value in order; equal ones share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[group]


def _sentence(ends: dict[str, Finding], method: str) -> str:
    """`ends` {stream: with every layer destroyed}."""
    values = ", ".join(
        f"{name} {end.after:z.2f} (95 % interval {end.low:z.2f} to {end.high:z.2f})"
        for name, end in ends.items()
    )
    if all(finding.high < ALIKE for finding in ends.values()):
        text = "depend on what was learned: with every layer destroyed their maps are others"
    elif any(finding.low > ALIKE for finding in ends.values()):
        text = "hardly depend on what was learned: with every layer destroyed maps stay alike"
    else:
        text = "depend on what was learned in part: with every layer destroyed maps change"
    return f"Explanations by {method} {text}, rank correlation of {values}."


# --- destroying ---------------------------------------------------------------------------------


def from_the_head(model: Pretrained, target: ExplanationTarget) -> list[str]:
    """Names of the modules with tensors of their own, in the order they are destroyed in.

    Against the order in which they run. Those of two encoders, which run one after the other, are
    put side by side, by how far along each is in its own.
    """
    names = {m: name for name, m in model.named_modules() if [*m.parameters(recurse=False)]}
    ran: dict[str, None] = {}  # in order
    handles = [
        module.register_forward_pre_hook(lambda module, args: ran.setdefault(names[module]))
        for module in names
    ]
    try:
        with torch.inference_mode():
            model(target.inputs, **target.masks)
    finally:
        for handle in handles:
            handle.remove()
    order = [*ran]
    for name in names.values():
        if name not in ran:  # tokens and positions that its parts or, without any, the head reads
            parts = [i for i, other in enumerate(order) if other.startswith(f"{name}.")]
            order.insert(parts[0] if parts else len(order), name)
    encoders = {m: [n for n in order if n.split(".")[0] == m] for m in model.modalities}
    height = {name: 1 + index / len(order) for index, name in enumerate(order)}
    for own in encoders.values():
        height |= {name: index / len(own) for index, name in enumerate(own)}
    return sorted(order, key=height.__getitem__, reverse=True)


@contextmanager
def destroyed(model: nn.Module, names: Sequence[str], *, seed: int) -> Iterator[None]:
    """Within it, the tensors of these modules hold their numbers in random order."""
    kept: list[tuple[nn.Parameter, Tensor]] = []
    try:
        for name in names:
            generator = torch.Generator().manual_seed(stable_seed(seed, "destroyed", name))
            for tensor in model.get_submodule(name).parameters(recurse=False):
                kept.append((tensor, tensor.detach().clone()))
                order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
                with torch.no_grad():
                    tensor.copy_(tensor.flatten()[order].view_as(tensor))
        yield
    finally:
        with torch.no_grad():
            for tensor, values in reversed(kept):  # one may be shared by two modules
                tensor.copy_(values)
