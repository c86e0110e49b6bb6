"""Builds the plots of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sightsound.evaluation.results import TRAINED, Evaluation, hits, score_words
from sightsound.figures.calibration import reliability_figure
from sightsound.figures.classes import class_bars, gain_bars, modality_scatter
from sightsound.figures.confusion import confusion_figure
from sightsound.figures.curves import learning_curves
from sightsound.figures.embedding import embedding_figure
from sightsound.figures.style import MANY
from sightsound.metrics.scores import confusion, head_slices, labelled
from sightsound.report.embedding import PLACES, Vectors
from sightsound.report.numbers import ALONE, CLASS_SCORE, calibrations, single_rows
from sightsound.types import AUDIO, VIDEO

CLASS_WORDS = {"recall": "recall", "average_precision": "average precision"}
_OVER = {row: f"the {row}" for row in TRAINED.values()} | {row: row for row in ALONE.values()}


@dataclass(frozen=True)
class Drawing:
    """A figure with what it shows, for those who do not see it, too."""

    title: str
    text: str
    figure: Figure


def class_drawings(evaluation: Evaluation, classes: Sequence[dict[str, Any]]) -> dict[str, Drawing]:
    """{name: figure} of what is told and what fusion adds, for each head; see `numbers.classes`."""
    found: dict[str, Drawing] = {}
    for head in evaluation.labels:
        part = [line for line in classes if line["head"] == head]
        more = f", {head}" if len(evaluation.labels) > 1 else ""
        drawn = _of_head(evaluation, part) | _confusion(evaluation, head)
        for name, (title, text, figure) in drawn.items():
            key = f"{name}_{head}" if more else name
            found[key] = Drawing(title + more, text, figure)
    return found


def _of_head(evaluation: Evaluation, classes: Sequence[dict[str, Any]]) -> dict[str, tuple]:
    word = CLASS_WORDS[CLASS_SCORE[evaluation.task]]
    labels = [line["label"] for line in classes]
    whole = next(iter(evaluation.streams))
    singles = single_rows(evaluation)
    rows = [whole, *singles.values()]
    scores = {row: _column([line["scores"][row] for line in classes]) for row in rows}
    if np.isnan(scores[whole]).all():  # no clip of any class
        return {}
    bars = class_bars(scores, labels, score=word)
    found = {"classes": ("How well each class is told", _BARS.format(word), bars)}
    for modality, row in singles.items():
        gains = _column([line["gains"][row] for line in classes])
        figure = gain_bars(gains, labels, over=row, score=word)
        title = f"What fusion adds to {_OVER[row]}"
        found[f"gain_over_{modality}"] = (title, f"{title}: a bar per class. {_IN_TABLE}", figure)
    if singles:
        figure = modality_scatter(
            scores[singles[AUDIO]],
            scores[singles[VIDEO]],
            labels,
            counts=np.array([line["num_clips"] for line in classes]),
            gain=_column([line["gain"] for line in classes]),
            score=word,
        )
        found["modalities"] = ("What is heard and what is seen", _SCATTER, figure)
    return found


def _column(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def _confusion(evaluation: Evaluation, head: str) -> dict[str, tuple]:
    if evaluation.task == "multi":
        return {}
    scored, columns = next(iter(evaluation.streams.values())), head_slices(evaluation.heads)[head]
    scored = scored.only(scored.present)
    counts = confusion(scored.logits[:, columns], scored.targets[:, columns])
    title = "What is taken for what"
    return {"confusion": (title, _CONFUSION, confusion_figure(counts, evaluation.labels[head]))}


def calibration_drawings(evaluation: Evaluation) -> dict[str, Drawing]:
    """Reliability of the rows of one model: both streams and each alone."""
    own = {next(iter(evaluation.streams)), *ALONE.values()}
    found = {
        name: values
        for name, values in calibrations(evaluation).items()
        if name.split(",")[0] in own
    }
    if not found:
        return {}
    title = "Whether probabilities can be trusted"
    return {"calibration": Drawing(title, _RELIABILITY, reliability_figure(found))}


def curve_drawings(lines: Sequence[dict[str, Any]]) -> dict[str, Drawing]:
    """Loss and validation scores of the run; nothing without a log of steps."""
    if not any(line["kind"] == "step" for line in lines):
        return {}
    scores = {name: score_words(name) for name in check_names(lines)}
    figure = learning_curves(lines, scores=scores)
    return {"curves": Drawing("How the run learned", _CURVES, figure)}


def check_names(lines: Sequence[dict[str, Any]]) -> list[str]:
    """The scores of the validations in a log that are shown: shares in [0, 1]."""
    known = {name for line in lines if line["kind"] == "validation" for name in line}
    names = [name for name in ("top1", "map") if name in known]
    return names + sorted(name for name in known if name.endswith("_top1"))


def embedding_drawings(evaluation: Evaluation, places: Vectors) -> dict[str, Drawing]:
    """{name: t-SNE} of each place in the model, coloured by the class of the first head."""
    head, columns = next(iter(head_slices(evaluation.heads).items()))
    whole = next(iter(evaluation.streams.values()))
    targets = whole.targets[:, columns]
    classes = np.where((targets > 0).sum(1) == 1, targets.argmax(1), -1)  # -1: not just one
    number = dict(zip(evaluation.ids, classes.tolist(), strict=True))
    right = dict.fromkeys(evaluation.ids, True)
    if evaluation.task != "multi":
        kept = labelled(whole.targets, heads=evaluation.heads)
        known = [clip for clip, is_known in zip(evaluation.ids, kept, strict=True) if is_known]
        right |= dict(zip(known, hits(evaluation, next(iter(evaluation.streams))) > 0, strict=True))
    found = {}
    for place, (ids, points) in places.items():
        figure = embedding_figure(
            points,
            np.array([number.get(clip, -1) for clip in ids]),
            evaluation.labels[head],
            wrong=np.array([not right.get(clip, True) for clip in ids]),
        )
        title = f"Clips {PLACES[place]}"
        again = " Colours come again for other classes." if columns.stop > len(MANY) else ""
        found[f"tsne_{place}"] = Drawing(title, f"{title}: {_TSNE}{again}", figure)
    return found


_IN_TABLE = "The numbers are in the table of classes."
_BARS = "A bar for the {} of each class, marks for what one stream tells. " + _IN_TABLE
_SCATTER = (
    "Each class by what sound alone and what pictures alone tell of it. Above the diagonal it is "
    f"rather seen, below rather heard. {_IN_TABLE}"
)
_CONFUSION = (
    "True classes by row, predicted ones by column; dark where many clips of the row are. The "
    "pairs that are confused most are listed below."
)
_RELIABILITY = (
    "How often predictions come true, by their confidence; honest ones lie on the diagonal. "
    "The errors are in the table below."
)
_CURVES = "Training loss and validation scores over the steps."
_TSNE = (
    "t-SNE, a point for each clip in the colour of its class; clips that the model finds alike lie "
    "together. Crosses are mistakes."
)
