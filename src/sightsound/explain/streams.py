"""How much sound and pictures count against one another.

`leave_one_out`: what the class loses without a stream. `shapley`: what a stream adds, on average
over both orders in which the two can come (Shapley 1953); so the parts add up to what the model
says with both beyond what it says with neither. No model answers without any stream: an even score
over the classes of the head stands for that, and with several labels, where classes do not share
one, the class's prevalence, its share of the training clips.

Both are probabilities. Absent streams are masked, as in data that lack them, and have no share.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sightsound.explain.explanation import Explanation, ExplanationTarget, shares_of


def leave_one_out(target: ExplanationTarget) -> list[Explanation]:
    """Records without maps; shares are of |what the class loses without the stream|."""
    value, names = _values(target), frozenset(target.inputs)
    return _answer(target, {name: value(names) - value(names - {name}) for name in target.inputs})


def shapley(target: ExplanationTarget) -> list[Explanation]:
    """Records without maps; shares are of |Shapley value of the stream|.

    The values of a clip sum to its probability less that of `probability_of_nothing`.
    """
    value, names, effects = _values(target), frozenset(target.inputs), {}
    for name in target.inputs:
        alone = value(frozenset({name})) - value(frozenset())
        last = value(names) - value(names - {name})
        effects[name] = (alone + last) / 2
    return _answer(target, effects)


def probability_of_nothing(target: ExplanationTarget) -> Tensor:
    """(B,) of the class asked about if nothing is seen or heard.

    One of its head's classes; of several labels its prevalence. A model that does not know it, from
    elsewhere or trained before it was stored, has one class of all, too: a clip of one label.
    """
    shown, known = target.shown, target.model.info.prevalence
    if target.task == "multi" and known:
        return torch.tensor(known, device=shown.device)[shown]
    sizes = torch.tensor(list(target.model.heads.values()), device=shown.device)
    return 1 / sizes.repeat_interleave(sizes)[shown]


def _values(target: ExplanationTarget) -> Callable[[frozenset[str]], Tensor]:
    """The probability (B,) of the class asked about from some of the streams alone.

    Where a clip has none of them it is `probability_of_nothing`.
    """

    @functools.cache
    @torch.inference_mode()
    def value(names: frozenset[str]) -> Tensor:
        scores = probability_of_nothing(target)
        there = torch.stack([target.present[name] for name in names] or [scores < 0]).any(0)
        if there.any():
            part = target.rows(there.nonzero().flatten())
            masks = {"present": part.batch.present, "valid": part.batch.valid}
            masks = {key: {n: mask[n] for n in names} for key, mask in masks.items()}
            inputs = {n: x for n, x in part.inputs.items() if n in names}
            scores[there] = part.probability(part.model(inputs, **masks).logits)
        return scores

    return value


def _answer(target: ExplanationTarget, values: Mapping[str, Tensor]) -> list[Explanation]:
    """Zero, exactly, for a stream that a clip does not have."""
    values = {name: x.masked_fill(~target.present[name], 0.0) for name, x in values.items()}
    effects = [{n: float(x[row]) for n, x in values.items()} for row in range(len(target.batch))]
    return target.answer({}, shares=[shares_of(each) for each in effects], effects=effects)
