"""Scores of predictions: accuracy, mean average precision, joint accuracy, with intervals.

Everything takes whole arrays, scores (n, K) and targets (n, K), one row per clip, and NumPy alone.
Several heads lie side by side. Intervals are percentile bootstraps over clips.

Average precision ranks clips against one another, so it is taken from probabilities: of one label,
softmax within the head (an offset of all logits of a clip changes none). Of several labels logits
give the same order as their sigmoids. `average_precisions` ranks what it is given.

A clip may have no scores, because it lacks the stream that a model looks at; where two rows are
compared on the same clips it can not be left out. `present` (n,) says which clips have scores, the
others then count as a guess: each class ranks where its mean probability does, and a hit is as
likely as with classes drawn at random, 1/K for one label of K classes.

Two conventions are those of the official MBT code: the accuracy of several labels is the target's
value at the highest score (so a clip without a label counts 0), and average precision is that of
scikit-learn. A class without a positive clip has none: it is left out of the mean ("skip", as with
old scikit-learn), or counts 0 ("zero", as with scikit-learn 1.x). Published numbers use either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from sightsound.registry import unknown_name

# Positive clips of a class for an interval of mAP: it is then missing from fewer than one resampled
# set in a hundred.
_FEWEST_POSITIVES = 5
TASKS = ("single", "multi", "heads")
EmptyClass = Literal["skip", "zero"]
Score = Callable[[np.ndarray], float]  # how often each clip counts, (n,) -> score


def summarise(
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    task: str,
    heads: dict[str, int],
    bootstrap: int = 0,
    seed: int = 0,
    empty_class: EmptyClass = "skip",
    present: np.ndarray | None = None,
) -> dict[str, float]:
    """Every score that fits `task`, as shares in [0, 1]; `scores` are logits.

    "top1", "top5" and "map" for one or several labels. For several heads "top1" and "top5" are
    joint (verb and noun both right, of the pairs' products) and "verb_top1" ... are each head's.
    "num_clips" counts the clips scored: with one label or heads, those without a label are not.
    With `bootstrap` resamplings each score has its 95 % interval, "top1_low" and "top1_high";
    that of "map" needs five clips of every class. Clips that are not `present` (n,) are guessed.

    Raises:
        ValueError: unknown task, shapes that do not fit, scores that are not finite, no clips.
    """
    if bootstrap < 0:
        raise ValueError(f"bootstrap is {bootstrap}; accepted: 0 (no intervals) or more")
    scores, targets, present = _checked(scores, targets, present, task=task, heads=heads)
    if not len(scores):
        raise ValueError(
            "scores and targets are empty; give at least one clip: is the split empty?"
        )
    if task != "multi":
        kept = labelled(targets, heads=heads)
        scores, targets, present = scores[kept], targets[kept], present[kept]
        if not kept.any():
            raise ValueError(
                f"none of the {len(kept)} clips has a label in every head {sorted(heads)}; nothing "
                "can be scored: does this split carry labels?"
            )
    parts = score_functions(
        scores, targets, task=task, heads=heads, empty_class=empty_class, present=present
    )
    result: dict[str, float] = {"num_clips": len(scores)}
    positives = (targets > 0).sum(axis=0)
    has_enough = (positives[positives > 0] >= _FEWEST_POSITIVES).all()
    for name, score in parts.items():
        result[name] = score(np.ones(len(scores)))
        if bootstrap and (name != "map" or has_enough):
            low, high = bootstrap_interval(score, len(scores), resamplings=bootstrap, seed=seed)
            result |= {f"{name}_low": low, f"{name}_high": high}
    return result


def per_class(
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    task: str,
    heads: dict[str, int],
    labels: Mapping[str, Sequence[str]],
    present: np.ndarray | None = None,
) -> list[dict[str, object]]:
    """One row per class: how many clips, how often found, how often right, what it is taken for.

    `scores` are logits, `labels` {head: class names}. Keys: head, label, num_clips, recall,
    precision, average_precision, mistaken_for. With several labels, where nothing is decided,
    recall, precision and mistaken_for are `None`; a score that does not exist (no clip, nothing
    predicted) is `None`, too. Clips that are not `present` (n,) are guessed in recall and average
    precision.
    """
    scores, targets, present = _checked(scores, targets, present, task=task, heads=heads)
    rows: list[dict[str, object]] = []
    decided = task != "multi"
    for head, columns in head_slices(heads).items():
        part, truth, there = scores[:, columns], targets[:, columns], present
        if decided:
            kept = truth.sum(1) > 0
            part, truth, there = part[kept], truth[kept], present[kept]
        names = labels[head]
        ranked = ranked_by(part, task=task, heads={head: len(names)}, present=there)
        precisions = average_precisions(ranked, truth)
        counts = confusion(part[there], truth[there])
        hits = top_k_hits(part, truth, k=1, present=there)
        for index, name in enumerate(names):
            own = truth[:, index] > 0
            wrong = np.where(np.arange(len(names)) == index, 0, counts[index])
            row: dict[str, object] = {"head": head, "label": name, "num_clips": int(own.sum())}
            row |= dict.fromkeys(("recall", "precision", "average_precision", "mistaken_for"))
            if not np.isnan(precisions[index]):
                row["average_precision"] = float(precisions[index])
            if decided:
                row["recall"] = _share(hits[own].sum(), own.sum())
                row["precision"] = _share(counts[index, index], counts[:, index].sum())
                row["mistaken_for"] = names[int(wrong.argmax())] if wrong.any() else None
            rows.append(row)
    return rows


def confusion(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Counts (K, K) of the labelled clips by true class (row) and highest score (column)."""
    kept = targets.sum(1) > 0
    counts = np.zeros((targets.shape[1],) * 2, dtype=int)
    np.add.at(counts, (targets[kept].argmax(1), scores[kept].argmax(1)), 1)
    return counts


def top_k_hits(
    scores: np.ndarray, targets: np.ndarray, *, k: int, present: np.ndarray | None = None
) -> np.ndarray:
    """(n,) the largest target among the k highest scores: 1 if a right class is among them.

    Equal scores are ordered by class index. Clips that are not `present` (n,) are guessed.
    """
    highest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(targets, highest, axis=1).max(1)
    if present is None or present.all():
        return hits
    guessed = guessed_hits((targets > 0).sum(1), num_classes=targets.shape[1], k=k)
    return np.where(present, hits, guessed)


def joint_top_k_hits(
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    heads: dict[str, int],
    k: int,
    present: np.ndarray | None = None,
) -> np.ndarray:
    """(n,) 1 if the right combination of all heads is among the k likeliest.

    A combination's probability is the product of its classes' softmax; `scores` are logits. The k
    likeliest are made of the k likeliest of each head, so that no other is looked at. Clips that
    are not `present` (n,) are guessed.
    """
    joint, truth = np.ones((len(scores), 1)), np.ones((len(scores), 1))
    for columns in head_slices(heads).values():
        part, part_truth = _highest(_softmax(scores[:, columns]), targets[:, columns], k=k)
        joint = (joint[:, :, None] * part[:, None, :]).reshape(len(scores), -1)
        truth = (truth[:, :, None] * part_truth[:, None, :]).reshape(len(scores), -1)
        joint, truth = _highest(joint, truth, k=k)
    hits = top_k_hits(joint, truth, k=k)
    if present is None or present.all():
        return hits
    right = [(targets[:, columns] > 0).sum(1) for columns in head_slices(heads).values()]
    guessed = guessed_hits(np.prod(right, axis=0), num_classes=math.prod(heads.values()), k=k)
    return np.where(present, hits, guessed)


def guessed_hits(num_right: np.ndarray, *, num_classes: int, k: int) -> np.ndarray:
    """(n,) probability that k classes drawn at random hold one of `num_right` (n,) right ones.

    One less that of k misses in a row, without putting back: 1/K for k = 1 and one right class.
    """
    left = num_classes - np.arange(min(k, num_classes))
    return 1 - np.prod(1 - num_right[:, None] / left, axis=1)


def ranked_by(
    scores: np.ndarray, *, task: str, heads: dict[str, int], present: np.ndarray | None = None
) -> np.ndarray:
    """(n, K) what average precision ranks clips by, from logits (n, K).

    The softmax of each head, or with several labels the logits, in the order of their sigmoids.
    Clips that are not `present` (n,) rank as the mean probability of the others.
    """
    if task == "multi":
        ranked = np.array(scores, dtype=float)
    else:
        parts = [_softmax(scores[:, columns]) for columns in head_slices(heads).values()]
        ranked = np.concatenate(parts, axis=1)
    if present is not None and not present.all():
        if not present.any():
            ranked[~present] = 0.0
        elif task == "multi":  # log(mean p / mean (1 - p)) without overflow
            yes, no = (
                np.logaddexp.reduce(-np.logaddexp(0, -x))
                for x in (ranked[present], -ranked[present])
            )
            ranked[~present] = yes - no
        else:
            ranked[~present] = ranked[present].mean(0)
    return ranked


def average_precisions(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(K,) average precision of each class; nan for a class without a positive clip.

    Clips are ranked by `scores` as they are; see `ranked_by` for those of logits.
    """
    return np.array([ranking(np.ones(len(scores))) for ranking in _rankings(scores, targets)])


def mean_average_precision(
    scores: np.ndarray, targets: np.ndarray, *, empty_class: EmptyClass = "skip"
) -> float:
    """Mean of `average_precisions`; a class without a positive clip is left out or counts 0."""
    return _mean_over_classes(average_precisions(scores, targets), empty_class=empty_class)


def bootstrap_interval(
    score: Score, num_clips: int, *, resamplings: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
    """Lowest and highest score of the central `level` of resampled sets of `num_clips` clips.

    `score` takes how often each clip was drawn, (num_clips,).
    """
    values = resampled(score, num_clips, resamplings=resamplings, seed=seed)
    if np.isnan(values).all():  # a score that does not exist: no positive clip at all
        return math.nan, math.nan
    tail = 50 * (1 - level)
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)


def mean_interval(values: np.ndarray, *, resamplings: int, seed: int) -> tuple[float, float]:
    """`bootstrap_interval` of the mean of per-clip values (n,)."""
    return bootstrap_interval(
        lambda counts: float(counts @ values / counts.sum()),
        len(values),
        resamplings=resamplings,
        seed=seed,
    )


def resampled(score: Score, num_clips: int, *, resamplings: int, seed: int) -> np.ndarray:
    """(resamplings,) the score of sets of `num_clips` clips, drawn with repetition."""
    generator = np.random.default_rng(seed)
    draws = (generator.integers(num_clips, size=num_clips) for _ in range(resamplings))
    return np.array([score(np.bincount(d, minlength=num_clips).astype(float)) for d in draws])


def head_slices(heads: dict[str, int]) -> dict[str, slice]:
    """{head: its columns}, in the order of `heads`."""
    stops = np.cumsum(list(heads.values())).tolist()
    return {
        name: slice(stop - size, stop)
        for (name, size), stop in zip(heads.items(), stops, strict=True)
    }


def labelled(targets: np.ndarray, *, heads: dict[str, int]) -> np.ndarray:
    """(n,) bool: clips that have a label in every head."""
    return np.all([targets[:, s].sum(1) > 0 for s in head_slices(heads).values()], axis=0)


def score_functions(
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    task: str,
    heads: dict[str, int],
    empty_class: EmptyClass = "skip",
    present: np.ndarray | None = None,
) -> dict[str, Score]:
    """{name: score as a function of how often each clip counts}, those of `summarise`.

    `scores` are logits. With one label or heads every clip must have a label in every head, see
    `labelled`; those not `present` (n,) are guessed. Rankings are computed once.
    """

    def mean(values: np.ndarray) -> Score:
        return lambda counts: float(counts @ values / counts.sum())

    if task == "heads":
        functions = {
            f"top{k}": mean(joint_top_k_hits(scores, targets, heads=heads, k=k, present=present))
            for k in (1, 5)
        }
        for head, s in head_slices(heads).items():
            for k in (1, 5):
                hits = top_k_hits(scores[:, s], targets[:, s], k=k, present=present)
                functions[f"{head}_top{k}"] = mean(hits)
        return functions
    functions = {f"top{k}": mean(top_k_hits(scores, targets, k=k, present=present)) for k in (1, 5)}
    rankings = _rankings(ranked_by(scores, task=task, heads=heads, present=present), targets)

    def mean_over_classes(counts: np.ndarray) -> float:
        values = np.array([ranking(counts) for ranking in rankings])
        return _mean_over_classes(values, empty_class=empty_class)

    return functions | {"map": mean_over_classes}


def _mean_over_classes(values: np.ndarray, *, empty_class: EmptyClass) -> float:
    """The mean; nan where there is no class to average over."""
    if empty_class not in ("skip", "zero"):
        raise unknown_name("empty_class", empty_class, ("skip", "zero"))
    if empty_class == "zero":
        return float(np.nan_to_num(values, nan=0.0).mean())
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else float("nan")


def _rankings(scores: np.ndarray, targets: np.ndarray) -> list[Score]:
    return [_ranking(*columns) for columns in zip(scores.T, targets.T > 0, strict=True)]


def _ranking(scores: np.ndarray, positive: np.ndarray) -> Score:
    """Average precision of one class as a function of how often each clip counts.

    AP = sum over positives of the precision at their threshold / number of positives, where clips
    with equal scores share one threshold.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    thresholds = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # last of its equals
    hits = np.flatnonzero(positive[order])
    ends = thresholds[np.searchsorted(thresholds, hits)]
    last_hits = np.searchsorted(hits, ends, side="right") - 1

    def average_precision(counts: np.ndarray) -> float:
        counts = counts[order]
        seen, weight = np.cumsum(counts)[ends], counts[hits]
        if not weight.sum():
            return float("nan")
        found = np.cumsum(weight)[last_hits]
        return float(weight @ (found / np.maximum(seen, 1)) / weight.sum())

    return average_precision


def _share(part: float, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _highest(values: np.ndarray, others: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k highest of `values` (n, K) of each row, in their order, and those of `others` there."""
    columns = np.sort(np.argsort(-values, axis=1, kind="stable")[:, :k], axis=1)
    return np.take_along_axis(values, columns, axis=1), np.take_along_axis(others, columns, axis=1)


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _checked(
    scores: np.ndarray,
    targets: np.ndarray,
    present: np.ndarray | None,
    *,
    task: str,
    heads: dict[str, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores and targets as float64, and who is present; see `summarise` for what is refused."""
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)
    scores, targets = np.asarray(scores, dtype=float), np.asarray(targets, dtype=float)
    num_classes = sum(heads.values())
    if scores.ndim != 2 or scores.shape != targets.shape or scores.shape[1] != num_classes:
        raise ValueError(
            f"scores are {scores.shape} and targets {targets.shape}; both must be "
            f"(n, {num_classes}) for heads {heads}"
        )
    present = np.ones(len(scores), bool) if present is None else present
    finite = np.isfinite(scores).all(1)
    if not finite[present].all():
        bad = int((present & ~finite).argmax())
        raise ValueError(
            f"scores of row {bad} are not finite: {scores[bad]}; the model has diverged, or its "
            "input held nan"
        )
    return scores, targets, present
