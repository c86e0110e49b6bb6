"""The numbers of the page, computed from the predictions that `evaluate` saved.

Plain JSON values, also in the page itself: nothing is rounded here, and what does not exist is
`None`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch

from sightsound.evaluation.compare import truth_probability
from sightsound.evaluation.results import (
    LATE,
    MAIN_SCORE,
    TRAINED,
    Evaluation,
    class_rows,
    hits,
    modality_confusion,
    paired_difference,
    prediction_rows,
    right,
)
from sightsound.evaluation.scoring import row_scores, with_late_average
from sightsound.metrics.scores import confusion, head_slices, labelled
from sightsound.metrics.statistics import (
    Calibration,
    Paired,
    calibration,
    mcnemar,
)
from sightsound.predict import BOTH, probabilities
from sightsound.types import AUDIO, VIDEO

ALONE = {AUDIO: f"{AUDIO} alone", VIDEO: f"{VIDEO} alone"}
AVERAGE = "average of both alone"
CLASS_SCORE = {"single": "recall", "heads": "recall", "multi": "average_precision"}
NUM_CLIPS = 8  # of each kind shown
NUM_PAIRS = 12  # of classes that are confused
_SETTLED = 0.05  # the usual limit of p


def with_average(evaluation: Evaluation, *, resamplings: int, seed: int) -> Evaluation:
    """`evaluation` with the average of the streams alone as late fusion.

    As it is where two trained models were evaluated beside it, or where there are no two streams.
    """
    streams = evaluation.streams
    if LATE in streams or not set(ALONE.values()) <= set(streams):
        return evaluation
    alone = {TRAINED[name]: streams[row] for name, row in ALONE.items()}
    scored = with_late_average(alone)[LATE]
    row = row_scores(
        scored,
        task=evaluation.task,
        heads=evaluation.heads,
        bootstrap=resamplings,
        seed=seed,
    )
    return dataclasses.replace(
        evaluation,
        streams=streams | {AVERAGE: scored},
        rows=evaluation.rows | {AVERAGE: row},
        absent=evaluation.absent | {AVERAGE: scored.num_absent},
    )


def numbers(evaluation: Evaluation, *, resamplings: int, seed: int) -> dict[str, Any]:
    """Everything that the page says in figures."""
    spoiling = modality_confusion(evaluation)
    found = {
        "num_clips": len(evaluation.ids),
        "task": evaluation.task,
        "main_score": MAIN_SCORE[evaluation.task],
        "scores": evaluation.rows,
        "absent": evaluation.absent,
        "against": against(evaluation, resamplings=resamplings, seed=seed),
        "classes": classes(evaluation),
        "confused": confused(evaluation),
        "modality_confusion": dataclasses.asdict(spoiling) if spoiling is not None else None,
        "calibration": {
            name: dataclasses.asdict(values) for name, values in calibrations(evaluation).items()
        },
        "clips": clips(evaluation),
    }
    return plain(found)


def plain(value: Any) -> Any:
    """`value` as JSON takes it: lists for arrays, `None` for what is not a number."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- fusion against every other row -------------------------------------------------------------


def against(evaluation: Evaluation, *, resamplings: int, seed: int) -> dict[str, dict[str, Any]]:
    """{other row: what both streams together do better, tested on the same clips}.

    Of the main score the difference, its 95 % interval and p; of the likeliest class being right
    McNemar's counts and p. Nothing where the model has one stream, or no clip is labelled.
    """
    main = MAIN_SCORE[evaluation.task]
    if BOTH not in evaluation.rows or math.isnan(evaluation.rows[BOTH][main]):
        return {}
    found = {}
    for row in evaluation.streams:
        if row != BOTH:
            draws = {"resamplings": resamplings, "seed": seed}
            paired = paired_difference(evaluation, BOTH, row, **draws)
            test = mcnemar(hits(evaluation, BOTH), hits(evaluation, row))
            found[row] = {
                "difference": paired.difference,
                "low": paired.low,
                "high": paired.high,
                "p": paired.p,
                "only_both": test.only_a,
                "only_other": test.only_b,
                "mcnemar_p": test.p,
                "words": in_words(paired),
            }
    return found


def in_words(paired: Paired) -> str:
    """What a paired difference of both streams together to something else means."""
    if paired.p > _SETTLED:
        return "no clear difference"
    return "both are better" if paired.difference > 0 else "both are worse"


# --- classes ------------------------------------------------------------------------------------


def classes(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One entry per class, in the order of the classes.

    `scores` {row: recall, with several labels average precision} of the clips that have the row's
    stream; `gains` {row: that of both streams on all clips, less that of this one with a guess for
    clips without it}, of `single_rows`, and `gain` the least of them. Precision, average precision
    and what a class is taken for are those of the first row.
    """
    score = CLASS_SCORE[evaluation.task]
    rows = _by_row(evaluation)
    absent = any(scored.num_absent for scored in evaluation.streams.values())
    compared = _by_row(evaluation, guessed=True) if absent else rows
    chosen = ("head", "label", "num_clips", "precision", "average_precision", "mistaken_for")
    found = []
    for index, line in enumerate(next(iter(rows.values()))):
        scores = {row: lines[index][score] for row, lines in rows.items()}
        values = {row: lines[index][score] for row, lines in compared.items()}
        gains = {
            row: None if values[row] is None else values[BOTH] - values[row]
            for row in single_rows(evaluation).values()
        }
        known = [gain for gain in gains.values() if gain is not None]
        gain = min(known) if known and len(known) == len(gains) else None
        entry = {name: line[name] for name in chosen}
        found.append(entry | {"scores": scores, "gains": gains, "gain": gain})
    return found


def _by_row(evaluation: Evaluation, *, guessed: bool = False) -> dict[str, list[dict[str, Any]]]:
    """{row: its lines of `class_rows`}."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for line in class_rows(evaluation, guessed=guessed):
        rows.setdefault(line["stream"], []).append(line)
    return rows


def single_rows(evaluation: Evaluation) -> dict[str, str]:
    """{modality: the row that it is to be compared with}: of its own model, else it alone.

    Nothing where the model has one stream.
    """
    for rows in (TRAINED, ALONE):
        if {BOTH, *rows.values()} <= set(evaluation.streams):
            return rows
    return {}


def confused(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The pairs of classes that the whole model confuses most often; none with several labels."""
    if evaluation.task == "multi":
        return []
    scored, found = next(iter(evaluation.streams.values())), []
    scored = scored.only(scored.present)
    for head, columns in head_slices(evaluation.heads).items():
        counts = confusion(scored.logits[:, columns], scored.targets[:, columns])
        names = evaluation.labels[head]
        for true, taken in np.argwhere(counts * (1 - np.eye(len(counts), dtype=int))):
            number = int(counts[true, taken])
            pair = {"head": head, "label": names[true], "taken_for": names[taken]}
            found.append(pair | {"number": number, "of": int(counts[true].sum())})
    return sorted(found, key=lambda pair: (-pair["number"], pair["of"]))[:NUM_PAIRS]


# --- calibration --------------------------------------------------------------------------------


def calibrations(evaluation: Evaluation) -> dict[str, Calibration]:
    """{row, with several heads also the head: how honest its probabilities are}.

    Over the labelled clips that have the row's stream; nothing where there are none.
    """
    task = "multi" if evaluation.task == "multi" else "single"
    found = {}
    for row, scored in evaluation.streams.items():
        here = scored.only(scored.present)
        logits, targets = torch.from_numpy(here.logits), here.targets
        values = probabilities(logits, evaluation.task, evaluation.heads).numpy()
        for head, columns in head_slices(evaluation.heads).items():
            truth = targets[:, columns]
            name = row if len(evaluation.heads) == 1 else f"{row}, {head}"
            if len(truth) and (task == "multi" or truth.any()):
                found[name] = calibration(values[:, columns], truth, task=task)
    return found


# --- clips --------------------------------------------------------------------------------------


def clips(evaluation: Evaluation) -> dict[str, list[dict[str, Any]]]:
    """{kind: clips}: where both streams help and harm most, and the surest mistakes.

    Measured by how probable the clip's own classes are: with both streams, less that with the
    better stream alone. `rows` {row: what it says, and how probable it finds the truth}, both
    `None` where the clip has no such stream.
    """
    truth = {row: truth_probability(evaluation, row) for row in evaluation.streams}
    whole = next(iter(truth))
    known = labelled(evaluation.streams[whole].targets, heads=evaluation.heads)
    lines = list(prediction_rows(evaluation))
    found: dict[str, list[dict[str, Any]]] = {}

    def show(kind: str, measure: np.ndarray) -> None:
        order = [k for k in np.argsort(-measure, kind="stable") if known[k] and measure[k] > 0]
        found[kind] = [_clip(lines[k], truth, k, measure[k]) for k in order[:NUM_CLIPS]]

    alone = [truth[row] for row in ALONE.values() if row in truth]
    if whole == BOTH and alone:
        change = truth[whole] - np.fmax.reduce(alone)  # of one stream where there is one
        show("helps", change)
        show("harms", -change)
    if evaluation.task != "multi":
        wrong = np.zeros(len(known))
        wrong[known] = ~right(evaluation, whole)
        show("mistakes", wrong * (1 - truth[whole]))
    return found


def _clip(
    line: dict[str, Any], truth: dict[str, np.ndarray], index: int, measure: float
) -> dict[str, Any]:
    rows = {row: {"says": line[row], "truth": values[index]} for row, values in truth.items()}
    return {"id": line["id"], "label": line["label"], "measure": measure, "rows": rows}
