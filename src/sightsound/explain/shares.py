"""How much sound and pictures count against one another, and MAFnet's own account of it.

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

from sightsound.explain.contributions import check_explains
from sightsound.explain.maps import Maps, Question, shares_of


def leave_one_out(question: Question) -> list[Maps]:
    """Records without maps; shares are of |what the class loses without the stream|."""
    return _answer(question, left_out_of(question))


def shapley(question: Question) -> list[Maps]:
    """Records without maps; shares are of |Shapley value of the stream|."""
    return _answer(question, shapley_of(question))


def left_out_of(question: Question) -> dict[str, Tensor]:
    """{modality: (B,)}: the probability with all streams minus that without this one."""
    value = _values(question)
    whole = value(frozenset(question.inputs))
    found = {name: whole - value(frozenset(question.inputs) - {name}) for name in question.inputs}
    return _of_present(question, found)


def shapley_of(question: Question) -> dict[str, Tensor]:
    """{modality: (B,)}: exact Shapley values; they sum to the probability less that of nothing."""
    names = frozenset(question.inputs)
    value = _values(question)
    found = {}
    for name in question.inputs:
        alone = value(frozenset({name})) - value(frozenset())
        last = value(names) - value(names - {name})
        found[name] = (alone + last) / 2
    return _of_present(question, found)


def _of_present(question: Question, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Zero, exactly, for a stream that a clip does not have."""
    return {name: x.masked_fill(~question.present[name], 0.0) for name, x in values.items()}


def probability_of_nothing(question: Question) -> Tensor:
    """(B,) of the class asked about if nothing is seen or heard.

    One of its head's classes; of several labels its prevalence. A model that does not know it, from
    elsewhere or trained before it was stored, has one class of all, too: a clip of one label.
    """
    places, known = question.places, question.model.info.prevalence
    if question.task == "multi" and known:
        return torch.tensor(known, device=places.device)[places]
    sizes = torch.tensor(list(question.model.heads.values()), device=places.device)
    return 1 / sizes.repeat_interleave(sizes)[places]


def _values(question: Question) -> Callable[[frozenset[str]], Tensor]:
    """The probability (B,) of the class asked about from some of the streams alone.

    Where a clip has none of them it is `probability_of_nothing`.
    """

    @functools.cache
    @torch.inference_mode()
    def value(names: frozenset[str]) -> Tensor:
        found = probability_of_nothing(question)
        there = torch.stack([question.present[name] for name in names] or [found < 0]).any(0)
        if there.any():
            part = question.rows(there.nonzero().flatten())
            masks = {"present": part.batch.present, "valid": part.batch.valid}
            masks = {key: {n: mask[n] for n in names} for key, mask in masks.items()}
            chosen = {n: x for n, x in part.inputs.items() if n in names}
            found[there] = part.probability(part.model(chosen, **masks).logits)
        return found

    return value


def _answer(question: Question, values: Mapping[str, Tensor]) -> list[Maps]:
    rows = [{name: float(x[row]) for name, x in values.items()} for row in question.clips]
    return question.answer({}, shares=[shares_of(row) for row in rows], effects=rows)


# --- MAFnet -------------------------------------------------------------------------------------


def contribution_maps(question: Question) -> list[Maps]:
    """What each second of each stream adds to the logit, exactly: `contributions.py`, as maps.

    Where that is no sum, behind `mcb` and `dmr`, the attention of each second.

    Raises:
        ValueError: another model than MAFnet.
    """
    model = question.model
    check_explains(model)
    with torch.inference_mode():
        output = model(question.inputs, **question.masks, maps=True)
    if output.contributions is None:
        cells = output.attention["cells"]
    else:
        every = output.contributions["cells"]  # (B, T, K, C)
        cells = every[torch.arange(len(every)), :, :, question.places]
    maps = dict(zip(model.modalities, cells.unbind(2), strict=True))
    return question.answer({name: question.as_map(name, maps[name]) for name in question.inputs})
