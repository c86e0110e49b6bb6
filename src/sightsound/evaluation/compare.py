"""Evaluations side by side on the clips they share: paired differences, and what they mean.

Everything is read from what `evaluate` has written, so nothing is decoded or computed again. Clips
are matched by id. The first evaluation is what the others are compared with.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sightsound.data.rows import id_hash
from sightsound.evaluation.results import (
    MAIN_SCORE,
    SCORE_WORDS,
    Evaluation,
    Scored,
    class_rows,
    clips_words,
    evaluation_folder,
    hits,
    modality_confusion,
    prediction_rows,
    right,
    score_table,
    score_words,
    shown_scores,
)
from sightsound.evaluation.scoring import on_common_clips
from sightsound.files import csv_text, write_whole
from sightsound.metrics.scores import labelled, summarise
from sightsound.metrics.statistics import McNemar, Paired, mcnemar, paired_scores
from sightsound.moved import moved_names
from sightsound.predict import probabilities
from sightsound.types import MODALITIES, WORDS

__getattr__ = moved_names(__name__, {"read_evaluation": "sightsound.evaluation.results"})
SHOWN = 5  # classes and clips in the text; the files have all


@dataclass(frozen=True)
class Difference:
    """What row `b` of an evaluation does better or worse than row `a`, on the same clips."""

    a: str
    b: str
    scores: dict[str, Paired]  # of b minus a: above 0, b is better
    mcnemar: McNemar  # of the likeliest class, or combination of classes, being right
    classes: list[dict[str, Any]]  # head, label, num_clips, score, a, b, difference; gains first
    only_a: list[str]  # ids of the clips that only a gets right, those that differ most first
    only_b: list[str]
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """Several evaluations on their common clips, a row each; every other against the first."""

    common: Evaluation  # its rows are named after the evaluations
    rows: dict[str, str]  # {name: row of the evaluation}
    left_out: dict[str, int]  # {name: clips that not all others have}
    num_without: int  # clips that all have, but none with the stream: left out, too
    confusion: dict[str, dict[str, float]]  # {name: modality confusion}, where there are streams
    differences: list[Difference]


def names_of(paths: Sequence[str | Path]) -> list[str]:
    """A short name for each: that of its run's folder, or the whole path where that is not unique.

    Raises:
        ValueError: the same evaluation twice.
    """
    folders = [evaluation_folder(path).resolve() for path in paths]
    if len(set(folders)) < len(folders):
        raise ValueError(f"the same evaluation is given twice: {', '.join(map(str, paths))}")
    runs = [folder.parent if folder.name == "evaluation" else folder for folder in folders]
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def compare(
    evaluations: dict[str, Evaluation],
    *,
    stream: str | None = None,
    resamplings: int = 1000,
    seed: int = 0,
) -> Comparison:
    """`evaluations` {name: evaluation} on the clips that all have, each against the first.

    Args:
        stream: the row to compare, such as "audio+video"; "audio" and "video" are also those
            streams alone; `None`: the first row of each, the whole model.
        resamplings: of the clips, for intervals and p.

    Raises:
        ValueError: fewer than two, other classes, tasks or labels, no such row, no common clip.
    """
    if len(evaluations) < 2:
        raise ValueError("one evaluation cannot be compared; name two or more")
    first, like = next(iter(evaluations.items()))
    rows = {name: _row(name, each, stream) for name, each in evaluations.items()}
    scored = {
        name: _aligned(name, each, rows[name], like=like, first=first)
        for name, each in evaluations.items()
    }
    common = _common(scored)
    ids = common[first].ids
    heard = _with_stream(common, rows)
    both = Evaluation(
        rows={
            name: summarise(
                each.logits,
                each.targets,
                task=like.task,
                heads=like.heads,
                bootstrap=resamplings,
                seed=seed,
                present=each.present,  # a guess for the others, so that every row is of all clips
            )
            for name, each in heard.items()
        },
        streams=heard,
        task=like.task,
        labels=like.labels,
        source=like.source,
        split=like.split,
        problems=[],
        absent={name: each.num_absent for name, each in heard.items()},
    )
    confusion = {}
    for name, each in evaluations.items():
        streams = {row: _in_order(one, ids=ids) for row, one in each.streams.items()}
        shares = modality_confusion(dataclasses.replace(each, streams=streams))
        if shares is not None:
            confusion[name] = dataclasses.asdict(shares)
    return Comparison(
        common=both,
        rows=rows,
        left_out={name: len(each.ids) - len(ids) for name, each in scored.items()},
        num_without=len(ids) - len(both.ids),
        confusion=confusion,
        differences=[
            difference(both, first, name, resamplings=resamplings, seed=seed)
            for name in list(evaluations)[1:]
        ],
    )


def difference(
    evaluation: Evaluation, a: str, b: str, *, resamplings: int = 1000, seed: int = 0
) -> Difference:
    """Row `b` of an evaluation against row `a`: of two models, or of two streams of one model."""
    scores = _score_differences(evaluation, a, b, resamplings=resamplings, seed=seed)
    is_right = {name: right(evaluation, name) for name in (a, b)}
    kept = labelled(evaluation.streams[a].targets, heads=evaluation.heads)
    truth = {name: np.nan_to_num(truth_probability(evaluation, name)[kept]) for name in (a, b)}
    nearer = truth[b] - truth[a]
    ids = np.array(evaluation.ids)[kept]
    order = np.argsort(-nearer, kind="stable")
    return Difference(
        a=a,
        b=b,
        scores=scores,
        mcnemar=mcnemar(hits(evaluation, a), hits(evaluation, b)),
        classes=_class_differences(evaluation, a, b),
        only_a=[str(ids[i]) for i in order[::-1] if is_right[a][i] and not is_right[b][i]],
        only_b=[str(ids[i]) for i in order if is_right[b][i] and not is_right[a][i]],
        verdict=_verdict(evaluation, a, b, scores[MAIN_SCORE[evaluation.task]]),
    )


def _row(name: str, evaluation: Evaluation, stream: str | None) -> str:
    if stream is None:
        return next(iter(evaluation.streams))
    wanted = [stream, f"{stream} alone"] if stream in MODALITIES else [stream]
    for row in wanted:
        if row in evaluation.streams:
            return row
    known = ", ".join(repr(row) for row in evaluation.streams)
    raise ValueError(f"{name} has no row {stream!r}; it has: {known}")


def _aligned(
    name: str, evaluation: Evaluation, row: str, *, like: Evaluation, first: str
) -> Scored:
    """The row with the classes in the order of `like`."""
    if evaluation.task != like.task:
        raise ValueError(
            f"{name} was trained for the task {evaluation.task!r}, {first} for {like.task!r}; only "
            "models of one task can be compared"
        )
    same = {head: sorted(names) for head, names in evaluation.labels.items()}
    if same != {head: sorted(names) for head, names in like.labels.items()}:
        raise ValueError(
            f"{name} and {first} have different classes: {_only(evaluation, like, name)}; "
            f"{_only(like, evaluation, first)}"
        )
    indices = {key: index for index, key in enumerate(_classes(evaluation))}
    columns = [indices[key] for key in _classes(like)]
    scored = evaluation.streams[row]
    return Scored(scored.ids, scored.logits[:, columns], scored.targets[:, columns])


def _classes(evaluation: Evaluation) -> list[tuple[str, str]]:
    return [(head, name) for head, names in evaluation.labels.items() for name in names]


def _only(evaluation: Evaluation, other: Evaluation, name: str) -> str:
    """Some classes that only this one has."""
    known = set(_classes(other))
    names = [label for head, label in _classes(evaluation) if (head, label) not in known]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"only in {name}: {', '.join(names[:SHOWN]) or 'none'}{more}"


def _common(scored: dict[str, Scored]) -> dict[str, Scored]:
    """Each on the clips that all have, in the order of the first."""
    first = next(iter(scored))
    ids = on_common_clips(scored)[first].ids
    common = {name: _in_order(each, ids=ids) for name, each in scored.items()}
    if not ids:
        examples = ", ".join(f"{name}: {s.ids[0]!r}" for name, s in scored.items())
        raise ValueError(
            f"no clip is in all of them, so nothing can be compared; clips are matched by id, such "
            f"as {examples}; evaluate the same manifest"
        )
    for name, each in common.items():
        other = (each.targets != common[first].targets).any(1)
        if other.any():
            raise ValueError(
                f"{name} and {first} have different labels for {int(other.sum())} of {len(ids)} "
                f"clips, such as {ids[int(other.argmax())]!r}; evaluate both with the same manifest"
            )
    return common


def _with_stream(common: dict[str, Scored], rows: dict[str, str]) -> dict[str, Scored]:
    """Each without the clips that lack the stream of every row: they tell nothing about any."""
    here = np.any([scored.present for scored in common.values()], axis=0)
    if not here.any():
        names = " or ".join(map(repr, dict.fromkeys(rows.values())))
        raise ValueError(f"no clip has the stream of {names}; choose another row with --stream")
    return {name: scored.only(here) for name, scored in common.items()}


def _in_order(scored: Scored, *, ids: Sequence[str]) -> Scored:
    indices = {clip: index for index, clip in enumerate(scored.ids)}
    kept = [indices[clip] for clip in ids]
    return Scored(list(ids), scored.logits[kept], scored.targets[kept])


def _score_differences(
    evaluation: Evaluation, a: str, b: str, *, resamplings: int, seed: int
) -> dict[str, Paired]:
    """Of every score; a resampling draws the same clips for both."""
    of_a, of_b = evaluation.score_functions(a), evaluation.score_functions(b)
    labels = labelled(evaluation.streams[a].targets, heads=evaluation.heads)
    count = len(labels) if evaluation.task == "multi" else int(labels.sum())
    return {
        score: paired_scores(
            of_b[score], of_a[score], num_clips=count, resamplings=resamplings, seed=seed
        )
        for score in of_a
    }


def truth_probability(evaluation: Evaluation, row: str) -> np.ndarray:
    """(n,) how probable the labels of each clip are, on average; nan without the stream."""
    scored = evaluation.streams[row]
    values = probabilities(torch.from_numpy(scored.logits), evaluation.task, evaluation.heads)
    count = np.maximum(scored.targets.sum(1), 1)
    return (values.numpy() * scored.targets).sum(1) / count


def _class_differences(evaluation: Evaluation, a: str, b: str) -> list[dict[str, Any]]:
    """Recall of every class, with several labels its average precision; largest gains first."""
    score = "average_precision" if evaluation.task == "multi" else "recall"
    chosen = dataclasses.replace(
        evaluation, streams={name: evaluation.streams[name] for name in (a, b)}
    )
    lines = list(class_rows(chosen, guessed=True))
    half = len(lines) // 2
    rows = [
        {
            "head": old["head"],
            "label": old["label"],
            "num_clips": old["num_clips"],
            "score": score,
            "a": old[score],
            "b": new[score],
            "difference": None if old[score] is None else new[score] - old[score],
        }
        for old, new in zip(lines[:half], lines[half:], strict=True)
    ]
    return sorted(rows, key=lambda line: -(line["difference"] or 0))


# ---------------------------------------------------------------------------- in words


def _verdict(evaluation: Evaluation, a: str, b: str, paired: Paired) -> str:
    """Whether `b` is better, in one sentence."""
    score = MAIN_SCORE[evaluation.task]
    values = [100 * evaluation.rows[name][score] for name in (b, a)]
    words = f"{SCORE_WORDS[score]} {values[0]:.1f} % against {values[1]:.1f} %"
    points = (
        f"{100 * abs(paired.difference):.1f} points {'more' if values[0] >= values[1] else 'fewer'}"
    )
    if paired.low > 0 or paired.high < 0:
        kind = "better" if paired.low > 0 else "worse"
        return f"{b} is {kind} than {a}: {words}, {points} ({_interval_words(paired)})."
    return (
        f"Neither {a} nor {b} is better as far as these {len(evaluation.ids)} clips can tell: "
        f"{b} has {words}, {points} ({_interval_words(paired)})."
    )


def _interval_words(paired: Paired) -> str:
    low, high = 100 * paired.low, 100 * paired.high
    return f"95 % interval {low:+z.1f} to {high:+z.1f}, {_p_words(paired.p)}"


def _p_words(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def as_text(comparison: Comparison) -> str:
    """Scores on the common clips, then every difference: in points, by class, by clip."""
    common = comparison.common
    lines = [f"{len(common.ids)} clips that all have (ids {id_hash(common.ids)})"]
    if comparison.num_without:
        lines[0] += f"; {clips_words(comparison.num_without)} without the stream in all left out"
    for name, row in comparison.rows.items():
        count = comparison.left_out[name]
        extra = f"; {count} more clips of its own are left out" if count else ""
        absent = common.absent[name]
        extra += f"; a guess for {clips_words(absent)} without such a stream" if absent else ""
        lines.append(f"{name}: {row}{extra}")
    lines += ["", score_table(common)]
    for each in comparison.differences:
        lines += [*_difference_lines(common, each), ""]
    for name, shares in comparison.confusion.items():
        alone = ", ".join(f"{100 * shares[m]:.1f} % {word}" for m, word in WORDS.items())
        lines.append(
            f"Modality confusion of {name}: with both streams wrong, but right with one alone: "
            f"{alone}, {100 * shares['either']:.1f} % either"
        )
    if len(comparison.differences) > 1:
        lines.append("Each is compared with the first alone; p is not corrected for their number.")
    return "\n".join(lines).rstrip()


def _difference_lines(common: Evaluation, difference: Difference) -> list[str]:
    lines = [difference.verdict]
    for score in shown_scores(common):
        if score != MAIN_SCORE[common.task]:
            paired, word = difference.scores[score], score_words(score)
            lines.append(
                f"{word}: {100 * paired.difference:+z.1f} points ({_interval_words(paired)})"
            )
    test = difference.mcnemar
    lines.append(
        f"Clips that only {difference.a} gets right: {test.only_a}; only {difference.b}: "
        f"{test.only_b} (McNemar {_p_words(test.p)})"
    )
    changed = [line for line in difference.classes if line["difference"]]
    gains = [line for line in changed if line["difference"] > 0][:SHOWN]
    losses = [line for line in changed[::-1] if line["difference"] < 0][:SHOWN]
    measure = "average precision" if difference.classes[0]["score"] != "recall" else "recall"
    for kind, classes in (("gains", gains), ("losses", losses)):
        if classes:
            listed = ", ".join(
                f"{line['label']}: {100 * line['difference']:+.1f} ({line['num_clips']} clips)"
                for line in classes
            )
            lines.append(f"Classes with the largest {kind} in {measure}: {listed}")
    for name, ids in ((difference.a, difference.only_a), (difference.b, difference.only_b)):
        if ids:
            lines.append(f"Only {name} gets right, for instance: {', '.join(ids[:SHOWN])}")
    return lines


# ---------------------------------------------------------------------------- files


def as_json(comparison: Comparison) -> str:
    """Everything but the predictions."""
    common = comparison.common
    models = {
        name: {
            "row": row,
            "left_out": comparison.left_out[name],
            "absent": common.absent[name],
            "scores": common.rows[name],
            "modality_confusion": comparison.confusion.get(name),
        }
        for name, row in comparison.rows.items()
    }
    table = {
        "num_clips": len(common.ids),
        "ids": id_hash(common.ids),
        "num_without": comparison.num_without,
        "task": common.task,
        "models": models,
        "differences": [dataclasses.asdict(each) for each in comparison.differences],
    }
    return json.dumps(table, indent=2) + "\n"


def score_lines(comparison: Comparison) -> list[dict[str, Any]]:
    """One line per pair and score: both values, the difference, its interval and p."""
    rows = comparison.common.rows
    return [
        {
            "a": each.a,
            "b": each.b,
            "score": score,
            "a_value": rows[each.a][score],
            "b_value": rows[each.b][score],
            **dataclasses.asdict(paired),
        }
        for each in comparison.differences
        for score, paired in each.scores.items()
    ]


def write_comparison(comparison: Comparison, directory: Path) -> None:
    """`comparison.json`, `scores.csv`, `per_class.csv` and `clips.csv`."""
    classes = [
        {"against": each.a, "model": each.b, **line}
        for each in comparison.differences
        for line in each.classes
    ]
    write_whole(directory / "comparison.json", as_json(comparison))
    write_whole(directory / "scores.csv", csv_text(score_lines(comparison)))
    write_whole(directory / "per_class.csv", csv_text(classes))
    write_whole(directory / "clips.csv", csv_text(_clip_lines(comparison)))


def _clip_lines(comparison: Comparison) -> list[dict[str, Any]]:
    """One line per clip: truth, what each says and whether that is right (1 or 0).

    Nothing where a clip has no label, or not the stream.
    """
    common = comparison.common
    kept = labelled(common.streams[next(iter(common.streams))].targets, heads=common.heads)
    lines = list(prediction_rows(common))
    for name, scored in common.streams.items():
        values = np.full(len(kept), np.nan)
        values[kept] = right(common, name)
        values[~scored.present] = np.nan
        for line, value in zip(lines, values, strict=True):
            line[f"{name} right"] = None if np.isnan(value) else int(value)
    return lines
