"""What an evaluation found: its record, the table and sentences about it, and its files."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sightsound.config.settings import EvaluateSettings
from sightsound.data.rows import id_hash
from sightsound.files import atomic_file, csv_text, write_whole
from sightsound.library_errors import read_object, reading
from sightsound.metrics import statistics
from sightsound.metrics.scores import (
    Score,
    joint_top_k_hits,
    labelled,
    per_class,
    score_functions,
    top_k_hits,
)
from sightsound.metrics.statistics import ModalityConfusion, Paired, paired_bootstrap, paired_scores
from sightsound.predict import BOTH, probabilities
from sightsound.types import AUDIO, VIDEO, Problem

MAIN_SCORE = {"single": "top1", "multi": "map", "heads": "top1", "none": "loss"}
SCORE_WORDS = {"top1": "top-1", "top5": "top-5", "map": "mAP"}
LATE = "average of both models"  # the row of late fusion
TRAINED = {AUDIO: "audio model", VIDEO: "video model"}  # the rows of unimodal models
TABLE = "predictions.parquet"
AGAIN = "evaluate again with 'sightsound evaluate'"
_WIDEST = 240  # columns of the table: a terminal that is narrower wraps its lines, and cuts nothing


@dataclass
class Scored:
    """Logits of one model or stream for every clip."""

    ids: list[str]
    logits: np.ndarray  # (n, K), nan where the clip has no such stream
    targets: np.ndarray  # (n, K)

    @property
    def present(self) -> np.ndarray:
        """(n,) bool: clips that have this stream."""
        return ~np.isnan(self.logits).any(1)

    @property
    def num_absent(self) -> int:
        """Clips without this stream."""
        return int((~self.present).sum())

    def only(self, kept: np.ndarray) -> Scored:
        """The clips for which `kept` (n,) is true."""
        ids = [clip for clip, is_kept in zip(self.ids, kept, strict=True) if is_kept]
        return Scored(ids, self.logits[kept], self.targets[kept])


@dataclass
class Evaluation:
    """Everything one evaluation found."""

    rows: dict[str, dict[str, float]]  # {row of the table: {score: share}}
    streams: dict[str, Scored]  # {row of the table: logits of its clips}
    task: str
    labels: dict[str, list[str]]
    source: str
    split: str
    problems: list[Problem]
    verdict: str = ""
    directory: Path | None = None
    absent: dict[str, int] = field(default_factory=dict)  # {row: clips without that stream}

    @property
    def heads(self) -> dict[str, int]:
        """{head: number of classes}."""
        return {head: len(names) for head, names in self.labels.items()}

    @property
    def ids(self) -> list[str]:
        """Clips that were scored."""
        return next(iter(self.streams.values())).ids

    def score_functions(self, row: str) -> dict[str, Score]:
        """`metrics.score_functions` of a row's clips; with one label or heads of labelled ones."""
        scored = self.streams[row]
        if self.task != "multi":
            scored = scored.only(labelled(scored.targets, heads=self.heads))
        return score_functions(
            scored.logits,
            scored.targets,
            task=self.task,
            heads=self.heads,
            present=scored.present,
        )

    def text(self) -> str:
        """The table, what it means in words, and where the details lie."""
        clips = f"{len(self.ids)} clips of {self.source}, split {self.split}"
        lines = [f"{clips} (ids {id_hash(self.ids)})", "", score_table(self), self.verdict]
        for row, count in self.absent.items():
            if count:
                have = "have" if count != 1 else "has"
                where = f"{clips_words(count)} {have} no such stream"
                lines.append(f"{row}: {where}; this row is of the others.")
        if self.problems:
            actions = [problem.action for problem in self.problems]
            counts = ", ".join(f"{actions.count(a)} {a}" for a in sorted(set(actions)))
            first = f"{self.problems[0].path}: {self.problems[0].cause}"
            lines.append(f"Files with problems: {counts}; the first: {first}")
        if self.directory is not None:
            lines.append(f"Predictions, classes and scores: {self.directory}")
        return "\n".join(lines)


# ---------------------------------------------------------------------------- scores of rows


def hits(evaluation: Evaluation, row: str) -> np.ndarray:
    """(n,) 1 where the likeliest class, or combination of classes, is right; of labelled clips.

    Where there is no such stream, how likely a guess is right.
    """
    scored, heads = evaluation.streams[row], evaluation.heads
    scored = scored.only(labelled(scored.targets, heads=heads))
    top_hits = top_k_hits
    if evaluation.task == "heads":
        top_hits = functools.partial(joint_top_k_hits, heads=heads)
    return top_hits(scored.logits, scored.targets, k=1, present=scored.present)


def right(evaluation: Evaluation, row: str) -> np.ndarray:
    """(n,) bool: the labelled clips that have the stream and are a hit."""
    scored = evaluation.streams[row]
    kept = labelled(scored.targets, heads=evaluation.heads)
    return scored.present[kept] & (hits(evaluation, row) > 0)


def paired_score(evaluation: Evaluation, row: str) -> float:
    """The main score on all clips; those without the stream count as a guess."""
    if evaluation.task != "multi":
        return float(hits(evaluation, row).mean())
    return evaluation.score_functions(row)["map"](np.ones(len(evaluation.ids)))


def paired_difference(
    evaluation: Evaluation, a: str, b: str, *, resamplings: int, seed: int
) -> Paired:
    """The main score of row `a` minus that of row `b`, on the same clips."""
    if evaluation.task != "multi":
        rows = (hits(evaluation, row) for row in (a, b))
        return paired_bootstrap(*rows, resamplings=resamplings, seed=seed)
    scores = (evaluation.score_functions(row)["map"] for row in (a, b))
    num_clips = len(evaluation.ids)
    return paired_scores(*scores, num_clips=num_clips, resamplings=resamplings, seed=seed)


def modality_confusion(evaluation: Evaluation) -> ModalityConfusion | None:
    """Clips that a stream alone gets right and both together wrong, of those with labels.

    `None` where the evaluation has no such rows or no label.
    """
    rows = (BOTH, f"{AUDIO} alone", f"{VIDEO} alone")
    if not set(rows) <= set(evaluation.streams):
        return None
    both, audio, video = (hits(evaluation, row) for row in rows)
    return statistics.modality_confusion(both, audio, video) if len(both) else None


# ---------------------------------------------------------------------------- in words


def verdict(evaluation: Evaluation, *, resamplings: int, seed: int = 0) -> str:
    """Whether both streams together beat the better single stream, in one sentence."""
    score = MAIN_SCORE[evaluation.task]
    singles = [row for row in evaluation.streams if row not in (BOTH, LATE)]
    if BOTH not in evaluation.rows or not singles or math.isnan(evaluation.rows[BOTH][score]):
        return ""
    shares = {row: paired_score(evaluation, row) for row in (BOTH, *singles)}
    best = max(singles, key=lambda row: shares[row])
    words = f"{BOTH} {100 * shares[BOTH]:.1f} %, {best} {100 * shares[best]:.1f} %"
    if absent := evaluation.streams[best].num_absent:
        words += f" with a guess for {clips_words(absent)} without it"
    if shares[BOTH] <= shares[best]:
        return f"Fusion does not beat the better single stream here: {words}."
    points, interval = f"{100 * (shares[BOTH] - shares[best]):.1f} points", ""
    if resamplings:
        paired = paired_difference(evaluation, BOTH, best, resamplings=resamplings, seed=seed)
        interval = f"95 % interval {100 * paired.low:.1f} to {100 * paired.high:.1f}"
        if paired.low <= 0:
            return (
                f"Fusion is {points} above the better single stream, but that may be chance "
                f"({interval}): {words}."
            )
        interval = f" ({interval})"
    return f"Fusion beats the better single stream by {points}{interval}: {words}."


def clips_words(count: int) -> str:
    """Such as "1 clip" or "12 clips"."""
    return f"{count} clip{'s' if count != 1 else ''}"


def score_table(evaluation: Evaluation) -> str:
    """Rows of the table with their intervals, for a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = shown_scores(evaluation)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for score in shown:
        table.add_column(score_words(score), justify="right", no_wrap=True)
    counted = len({values["num_clips"] for values in evaluation.rows.values()}) > 1
    if counted:
        table.add_column("clips", justify="right")
    for name, values in evaluation.rows.items():
        cells = [_cell(values, score) for score in shown]
        table.add_row(Text(name), *cells, *([str(values["num_clips"])] if counted else []))
    buffer = io.StringIO()
    Console(file=buffer, width=_WIDEST).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _cell(values: dict[str, float], score: str) -> str:
    if math.isnan(values[score]):
        return "–"
    text = f"{100 * values[score]:.1f}"
    if f"{score}_low" not in values:
        return text
    return f"{text} ({100 * values[f'{score}_low']:.1f}-{100 * values[f'{score}_high']:.1f})"


def score_words(score: str) -> str:
    """Such as "top-1" or "verb top-1"."""
    return SCORE_WORDS.get(score, score.replace("_top", " top-"))


def shown_scores(evaluation: Evaluation) -> list[str]:
    """Scores in the table: top-5 only where there are more than five classes."""
    names = next(iter(evaluation.rows.values()))
    shown = [name for name in names if name != "num_clips" and not name.endswith(("_low", "_high"))]
    few = max(evaluation.heads.values()) <= 5
    return [name for name in shown if not (few and name.endswith("top5"))]


# ---------------------------------------------------------------------------- writing


def write_evaluation(
    evaluation: Evaluation, directory: Path, *, settings: EvaluateSettings
) -> None:
    """`summary.json`, `per_class.csv`, `predictions.csv`, `predictions.parquet`, `problems.csv`."""
    confusion = modality_confusion(evaluation)
    summary = {
        "rows": {
            row: {name: None if math.isnan(value) else value for name, value in scores.items()}
            for row, scores in evaluation.rows.items()  # JSON has no nan
        },
        "verdict": evaluation.verdict,
        "source": evaluation.source,
        "ids": id_hash(evaluation.ids),
        "settings": dataclasses.asdict(settings),
        "absent": evaluation.absent,
        "modality_confusion": dataclasses.asdict(confusion) if confusion is not None else None,
        "num_problems": len(evaluation.problems),
    }
    write_whole(directory / "summary.json", json.dumps(summary, indent=2) + "\n")
    _write_csv(directory / "per_class.csv", class_rows(evaluation))
    _write_csv(directory / "predictions.csv", prediction_rows(evaluation))
    _write_csv(directory / "problems.csv", map(dataclasses.asdict, evaluation.problems))
    _write_predictions(directory / TABLE, evaluation)
    evaluation.directory = directory


def class_rows(evaluation: Evaluation, *, guessed: bool = False) -> Iterator[dict[str, Any]]:
    """One line per row of the table and class; see `metrics.per_class`.

    Of the clips that have the row's stream; `guessed`: of all, so that rows can be compared.
    """
    for name, scored in evaluation.streams.items():
        chosen = scored if guessed else scored.only(scored.present)
        lines = per_class(
            chosen.logits,
            chosen.targets,
            task=evaluation.task,
            heads=evaluation.heads,
            labels=evaluation.labels,
            present=chosen.present,
        )
        yield from ({"stream": name, **line} for line in lines)


def prediction_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """One line per clip: truth, and class and probability of every row of the table.

    `None` for both where the clip has no such stream. Several heads: one each, joined by "|".
    """
    names = [name for classes in evaluation.labels.values() for name in classes]
    truth = next(iter(evaluation.streams.values())).targets
    columns = {row: _likeliest(scored, evaluation) for row, scored in evaluation.streams.items()}
    for index, clip in enumerate(evaluation.ids):
        label = "|".join(name for name, is_so in zip(names, truth[index] > 0, strict=True) if is_so)
        line: dict[str, Any] = {"id": clip, "label": label}
        for row, cells in columns.items():
            line[row], line[f"{row} probability"] = cells[index]
        yield line


def _likeliest(scored: Scored, evaluation: Evaluation) -> list[tuple[str | None, str | None]]:
    """Likeliest class, or one per head, and its probability, of each clip."""
    values = probabilities(torch.from_numpy(scored.logits), evaluation.task, evaluation.heads)
    parts = values.split(list(evaluation.heads.values()), dim=1)
    cells: list[tuple[str | None, str | None]] = []
    for index, is_present in enumerate(scored.present):
        best = [part[index].max(0) for part in parts]
        pairs = zip(best, evaluation.labels.values(), strict=True)
        names = "|".join(classes[int(top.indices)] for top, classes in pairs)
        shares = "|".join(f"{float(top.values):.4f}" for top in best)
        cells.append((names, shares) if is_present else (None, None))
    return cells


def _write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows with the columns of the first; no file if there are none."""
    rows = list(rows)
    if rows:
        write_whole(path, csv_text(rows, list(rows[0])))
    else:
        path.unlink(missing_ok=True)


def _write_predictions(path: Path, evaluation: Evaluation) -> None:
    """The lines of `predictions.csv` and the logits of every row, lists of K numbers."""
    import pyarrow
    import pyarrow.parquet

    rows = list(prediction_rows(evaluation))
    text = pyarrow.string()  # also of a stream that no clip has
    columns = {name: pyarrow.array([row[name] for row in rows], text) for name in rows[0]}
    for name, scored in evaluation.streams.items():
        columns[f"{name} logits"] = pyarrow.array(list(scored.logits))
    labels = {"labels": json.dumps(evaluation.labels), "task": evaluation.task}
    table = pyarrow.table(columns).replace_schema_metadata(labels)
    with atomic_file(path) as file:
        pyarrow.parquet.write_table(table, file)


# ---------------------------------------------------------------------------- reading


def read_evaluation(path: str | Path) -> Evaluation:
    """What `write_evaluation` wrote: `path` is a run, a model directory or its folder.

    Raises:
        FileNotFoundError: no predictions there.
        ValueError: predictions of another kind, without classes, task or logits.
    """
    import pyarrow.parquet

    folder = evaluation_folder(path)
    with reading(folder / TABLE, remedy=AGAIN):
        table = pyarrow.parquet.read_table(folder / TABLE)
    known = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    suffix = " logits"
    names = [name.removesuffix(suffix) for name in table.column_names if name.endswith(suffix)]
    if not names or not {"labels", "task"} <= set(known):
        raise ValueError(
            f"{folder / TABLE} has no classes, task or logits; accepted: the file that 'sightsound "
            "evaluate' writes"
        )
    labels, ids = json.loads(known["labels"]), table["id"].to_pylist()
    targets = _targets(table["label"].to_pylist(), labels, task=known["task"])
    logits = {name: np.stack(table[name + suffix].to_numpy()).astype(float) for name in names}
    summary = read_summary(folder)
    return Evaluation(
        rows={
            row: {name: math.nan if value is None else value for name, value in scores.items()}
            for row, scores in summary["rows"].items()
        },
        streams={name: Scored(ids, values, targets) for name, values in logits.items()},
        task=known["task"],
        labels=labels,
        source=summary["source"],
        split=summary["settings"]["split"],
        problems=read_problems(folder / "problems.csv"),
        verdict=summary["verdict"],
        directory=folder,
        absent=summary["absent"],
    )


def read_summary(folder: Path) -> dict[str, Any]:
    """What `summary.json` of an evaluation says; `ValueError` if it is damaged."""
    needs = ("rows", "source", "settings", "verdict", "absent")
    return read_object(folder / "summary.json", remedy=AGAIN, needs=needs)


def read_problems(path: Path) -> list[Problem]:
    """The problems in a table that an evaluation or a run wrote; none if there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Problem(**line) for line in csv.DictReader(file)]


def evaluation_folder(path: str | Path) -> Path:
    """The folder that holds the predictions of a run, a model directory, or `path` itself."""
    path = Path(path)
    folders = [path, path / "evaluation"]
    if (path / "model.safetensors").is_file():
        folders.append(path.parent / "evaluation")
    for folder in folders:
        if (folder / TABLE).is_file():
            return folder
    raise FileNotFoundError(
        f"no {TABLE} in {str(path)!r} or its folder 'evaluation'; 'sightsound evaluate MODEL' "
        "writes them"
    )


def _targets(texts: Sequence[str], labels: dict[str, list[str]], *, task: str) -> np.ndarray:
    """(n, K) from labels joined by "|"; nothing where a clip lacks the label of a head."""
    starts = np.cumsum([0, *map(len, labels.values())])
    heads = [
        {name: int(start) + index for index, name in enumerate(classes)}
        for start, classes in zip(starts, labels.values(), strict=False)
    ]
    targets = np.zeros((len(texts), starts[-1]))
    for row, text in enumerate(texts):
        if task == "multi":
            targets[row, [heads[0][name] for name in text.split("|") if name]] = 1
        else:
            targets[row, _one_of_each(text, heads)] = 1
    return targets


def _one_of_each(text: str, heads: Sequence[dict[str, int]]) -> list[int]:
    """The columns of one name of each head, none if one lacks; a bar may be part of a name, too."""
    first, *others = heads
    if not others:
        return [first[text]] if text in first else []
    for name, column in first.items():
        if text.startswith(f"{name}|"):
            rest = _one_of_each(text[len(name) + 1 :], others)
            if rest:
                return [column, *rest]
    return []
