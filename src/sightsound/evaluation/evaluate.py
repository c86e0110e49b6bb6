"""Scores of a model on a split: both streams, each alone, and what two unimodal models make of it.

The same clips and views for every row, logits averaged over views, one table. The row of a stream
is of the clips that have it; the others are counted. Where rows are compared on the same clips,
such a clip counts as a guess, see `metrics`.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sightsound.build import features_folder, model_source
from sightsound.config.settings import DataSettings, EvaluateSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader
from sightsound.data.manifest import load_manifest, other_data
from sightsound.data.rows import SPELLINGS, Manifest, Row, id_hash
from sightsound.data.sampling import eval_batches
from sightsound.features.cache import FeatureDataset
from sightsound.features.extract import Progress, with_features
from sightsound.files import atomic_file, csv_text, write_whole
from sightsound.metrics.scores import (
    Score,
    joint_top_k_hits,
    labelled,
    per_class,
    score_functions,
    summarise,
    top_k_hits,
)
from sightsound.metrics.statistics import (
    ModalityConfusion,
    Paired,
    modality_confusion,
    paired_bootstrap,
    paired_scores,
)
from sightsound.predict import BOTH, Predictor, probabilities
from sightsound.types import AUDIO, VIDEO, Batch, Problem

MAIN_SCORE = {"single": "top1", "multi": "map", "heads": "top1", "none": "loss"}
SCORE_WORDS = {"top1": "top-1", "top5": "top-5", "map": "mAP"}
LATE = "average of both models"
WIDEST = 240  # columns of the table: a terminal that is narrower wraps its lines, and cuts nothing
TRAINED = {AUDIO: "audio model", VIDEO: "video model"}


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
    streams: dict[str, Scored]
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

    def text(self) -> str:
        """The table, what it means in words, and where the details lie."""
        lines = [_title(self), "", score_table(self), self.verdict]
        lines += [_absent_words(name, count) for name, count in self.absent.items() if count]
        if self.problems:
            lines.append(_problem_words(self.problems))
        if self.directory is not None:
            lines.append(f"Predictions, classes and scores: {self.directory}")
        return "\n".join(lines)


# ---------------------------------------------------------------------------- scoring


def score_clips(
    model: nn.Module, loader: Loader, *, batch_size: int
) -> tuple[dict[str, float], list[Problem]]:
    """Scores of the whole model on the loader's clips, without intervals, and what went wrong.

    For use during training: the model's mode is restored. Keep the `loader` between calls, so that
    its workers stay.
    """
    was_training = model.training
    device = next(model.parameters()).device
    predictor = Predictor(model, device=device)
    try:
        name = next(iter(predictor.streams))
        scored = collect({name: predictor}, loader, batch_size=batch_size)[name]
    finally:
        model.train(was_training)
    return row_scores(scored, task=predictor.task, heads=model.heads), loader.problems


def collect(
    jobs: dict[str, Predictor], loader: Loader, *, batch_size: int, alone: bool = False
) -> dict[str, Scored]:
    """Logits of each job for every clip of the loader, averaged over views.

    Args:
        jobs: {row: predictor} that share one front end.
        alone: also the streams of each predictor alone, in rows of their own.

    Raises:
        ValueError: every clip was dropped.
    """
    batches = eval_batches(len(loader.dataset), views=loader.dataset.views, batch_size=batch_size)
    found = Sums()
    for batch in loader.iterate(batches):
        if batch is None:
            continue
        for name, predictor in jobs.items():
            for row, logits in _rows(name, predictor, batch, alone=alone).items():
                found.add(row, batch, logits.cpu())
    if not found.targets:
        causes = [problem.cause for problem in loader.problems]
        raise ValueError(f"none of the {len(loader.dataset)} clips could be read: {causes[0]}")
    return found.scored()


def _rows(name: str, predictor: Predictor, batch: Batch, *, alone: bool) -> dict[str, Tensor]:
    """{row of the table: (B, K) logits}."""
    if not alone or len(predictor.streams) == 1:
        return {name: predictor.logits(batch)}
    return {
        name if stream == BOTH else f"{stream} alone": logits
        for stream, logits in predictor.stream_logits(batch).items()
    }


class Sums:
    """Logits by row and clip, summed over the views that have the stream."""

    def __init__(self) -> None:
        self.sums: dict[str, dict[str, Tensor]] = {}
        self.views: dict[str, dict[str, int]] = {}
        self.targets: dict[str, Tensor] = {}

    def add(self, row: str, batch: Batch, logits: Tensor) -> None:
        """Add the views of a batch, logits (B, K)."""
        sums, views = self.sums.setdefault(row, {}), self.views.setdefault(row, {})
        for clip, target, values in zip(batch.id, batch.target, logits, strict=True):
            self.targets.setdefault(clip, target)
            sums.setdefault(clip, torch.zeros_like(values))
            views.setdefault(clip, 0)
            if not values.isnan().any():
                sums[clip] = sums[clip] + values
                views[clip] += 1

    def scored(self) -> dict[str, Scored]:
        """The means, nan for clips that never had the stream."""
        result = {}
        for row, sums in self.sums.items():
            ids = list(sums)
            views = self.views[row]
            means = [sums[i] / views[i] if views[i] else sums[i] * torch.nan for i in ids]
            targets = torch.stack([self.targets[i] for i in ids])
            result[row] = Scored(ids, torch.stack(means).numpy(), targets.numpy())
        return result


# ---------------------------------------------------------------------------- evaluation


def evaluate(
    predictor: Predictor,
    manifest: Manifest,
    settings: EvaluateSettings,
    *,
    output: str | Path | None = None,
    late: tuple[Predictor, Predictor] | None = None,
    num_workers: int = 0,
    bad_files: str = "error",
    seed: int = 0,
) -> Evaluation:
    """The table of `predictor` on one split of `manifest`, written to `output` if given.

    `late`: an audio model and a video model, scored on the same clips, with their average.

    Raises:
        ValueError: the split is empty, or the models do not fit together.
    """
    settings = dataclasses.replace(settings, split=scored_split(manifest, settings.split))
    rows = clips_of(manifest, settings.split)
    name = BOTH if len(predictor.streams) > 1 else predictor.modalities[0]
    jobs = {name: predictor} | late_jobs(predictor, late)
    streams, problems = _score_all(
        jobs, manifest, rows, settings, num_workers=num_workers, bad_files=bad_files
    )
    if late is not None:
        streams = with_late_average(streams)
    evaluation = Evaluation(
        rows={
            row: row_scores(
                scored,
                task=predictor.task,
                heads=predictor.model.heads,
                bootstrap=settings.bootstrap,
                seed=seed,
            )
            for row, scored in streams.items()
        },
        streams=streams,
        task=predictor.task,
        labels=predictor.labels,
        source=str(manifest.source),
        split=settings.split,
        problems=problems,
        absent={row: scored.num_absent for row, scored in streams.items()},
    )
    evaluation.verdict = verdict(evaluation, resamplings=settings.bootstrap, seed=seed)
    if output is not None:
        write(evaluation, Path(output), settings=settings)
    return evaluation


AUTO = "auto"  # the split that the data has for scores


def scored_split(manifest: Manifest, split: str = AUTO) -> str:
    """`split`; of "auto" the one that `manifest` has for scores.

    That is test, or where there is none val, or else the only one that is not train.

    Raises:
        ValueError: "auto", but there are training clips only, or several such splits.
    """
    if split != AUTO:
        return manifest.split_name(split)
    others = [name for name in manifest.splits if name != "train"]
    usual = [name for name in ("test", "val") if name in others]
    if usual or len(others) == 1:
        return [*usual, *others][0]
    what = "neither test nor val clips" if others else "training clips only"
    raise ValueError(
        f"{manifest.source} has {what}, in: {', '.join(manifest.splits)}; say which to score with "
        "--split"
    )


def split_of_run(manifest: Manifest, asked: str | None, settings: EvaluateSettings) -> str:
    """The split that is `asked` for, else that of a run's `settings`, as far as there is one.

    A run made for other data may have one that `manifest` lacks: then as "auto".
    """
    named = {SPELLINGS.get(part.casefold(), part) for part in settings.split.split("+")}
    its_own = named & {*manifest.splits}
    return scored_split(manifest, asked or (settings.split if its_own else AUTO))


def clips_of(manifest: Manifest, split: str) -> list[Row]:
    """The rows of a split.

    Raises:
        ValueError: there are none; the message says which splits there are.
    """
    rows = manifest.split(split)
    if not rows:
        raise ValueError(
            f"{manifest.source} has no clips in split {split!r}; it has: "
            f"{', '.join(manifest.splits)} (choose with --split)"
        )
    return rows


def late_jobs(
    predictor: Predictor, late: tuple[Predictor, Predictor] | None
) -> dict[str, Predictor]:
    """{row: predictor} of the unimodal models, checked."""
    jobs = {}
    for modality, model in zip((AUDIO, VIDEO), late or (), strict=False):
        if model.modalities != (modality,):
            raise ValueError(
                f"--late needs an audio model and a video model, in this order; the one given for "
                f"{modality} looks at {' and '.join(model.modalities)}"
            )
        if model.labels != predictor.labels:
            raise ValueError(
                f"the {modality} model of --late was trained on other classes than the model: "
                f"{_few(model.labels)} instead of {_few(predictor.labels)}"
            )
        if model.task != predictor.task:
            raise ValueError(
                f"the {modality} model of --late was trained for the task {model.task!r}, the "
                f"model for {predictor.task!r}"
            )
        jobs[TRAINED[modality]] = model
    return jobs


def _few(labels: dict[str, list[str]]) -> str:
    names = [name for classes in labels.values() for name in classes]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _score_all(
    jobs: dict[str, Predictor],
    manifest: Manifest,
    rows: Sequence[Row],
    settings: EvaluateSettings,
    *,
    num_workers: int,
    bad_files: str,
) -> tuple[dict[str, Scored], list[Problem]]:
    """Every job on every clip: one pass over the files for each way of reading them."""
    streams: dict[str, Scored] = {}
    problems: dict[Problem, None] = {}
    first = next(iter(jobs))
    for group in _same_input(jobs):
        dataset = next(iter(group.values())).dataset(
            manifest, rows, views=settings.views, bad_files=bad_files
        )
        dataset = stored(dataset, next(iter(group.values())), num_workers=num_workers)
        with Loader(dataset, num_workers=num_workers) as loader:
            streams |= collect(group, loader, batch_size=settings.batch_size, alone=first in group)
            problems |= dict.fromkeys(loader.problems)
    return on_common_clips(streams), list(problems)


def stored(
    clips: ClipDataset,
    predictor: Predictor,
    *,
    num_workers: int,
    progress: Progress | None = None,
) -> ClipDataset | FeatureDataset:
    """The clips as features from the run's folder, where its model reads features.

    Those not yet there are computed first; `progress(done, of)` is called meanwhile.
    """
    folder = features_folder(predictor.config) if predictor.config is not None else None
    if predictor.front_end.features is None or folder is None:
        return clips
    encoding = predictor.encoding
    return with_features(clips, folder, encoding, num_workers=num_workers, progress=progress)


def _same_input(jobs: dict[str, Predictor]) -> Iterator[dict[str, Predictor]]:
    """Jobs that read files in the same way, together."""
    groups: dict[tuple, dict[str, Predictor]] = {}
    for name, predictor in jobs.items():
        cut = (predictor.front_end.id, predictor.crop, predictor.wrap, predictor.windows)
        key = (*cut, tuple(sorted(predictor.modalities)))
        groups.setdefault(key, {})[name] = predictor
    yield from groups.values()


def on_common_clips(streams: dict[str, Scored]) -> dict[str, Scored]:
    """Only clips that every row has: a dropped file is dropped for all."""
    common = set.intersection(*(set(scored.ids) for scored in streams.values()))
    result = {}
    for name, scored in streams.items():
        result[name] = scored.only(np.array([clip in common for clip in scored.ids], bool))
    return result


def with_late_average(streams: dict[str, Scored]) -> dict[str, Scored]:
    """`streams` and the mean of the logits of the two unimodal models."""
    audio, video = (streams[TRAINED[name]] for name in (AUDIO, VIDEO))
    both = np.stack([audio.logits, video.logits])
    seen = ~np.isnan(both)
    total = np.nan_to_num(both).sum(0)
    mean = np.where(seen.any(0), total / np.maximum(seen.sum(0), 1), np.nan)
    return streams | {LATE: Scored(audio.ids, mean, audio.targets)}


def row_scores(
    scored: Scored, *, task: str, heads: dict[str, int], bootstrap: int = 0, seed: int = 0
) -> dict[str, float]:
    """`metrics.summarise` of the clips that have the stream; nan where none of them has it.

    Raises:
        ValueError: no clip has a label.
    """
    here, asked = scored.only(scored.present), {"task": task, "heads": heads}
    if len(here.ids) and (task == "multi" or labelled(here.targets, heads=heads).any()):
        return summarise(here.logits, here.targets, bootstrap=bootstrap, seed=seed, **asked)
    guessed = summarise(scored.logits, scored.targets, present=scored.present, **asked)
    return dict.fromkeys(guessed, math.nan) | {"num_clips": 0}


# ---------------------------------------------------------------------------- in words


def verdict(evaluation: Evaluation, *, resamplings: int, seed: int = 0) -> str:
    """Whether looking and listening together beats the better single stream, in one sentence."""
    score = MAIN_SCORE[evaluation.task]
    singles = [row for row in evaluation.streams if row not in (BOTH, LATE)]
    if BOTH not in evaluation.rows or not singles or math.isnan(evaluation.rows[BOTH][score]):
        return ""
    shares = {row: paired_score(evaluation, row) for row in (BOTH, *singles)}
    best = max(singles, key=shares.get)
    words = f"{BOTH} {100 * shares[BOTH]:.1f} %, {best} {100 * shares[best]:.1f} %"
    words += _guessed_words(evaluation.streams[best].num_absent)
    if shares[BOTH] <= shares[best]:
        return f"Fusion does not beat the better single stream here: {words}."
    points = 100 * (shares[BOTH] - shares[best])
    low, high = _difference_interval(evaluation, best, resamplings=resamplings, seed=seed)
    if low is not None and low <= 0:
        return (
            f"Fusion is {points:.1f} points above the better single stream, but that may be "
            f"chance (95 % interval {100 * low:.1f} to {100 * high:.1f}): {words}."
        )
    interval = f" (95 % interval {100 * low:.1f} to {100 * high:.1f})" if low is not None else ""
    return f"Fusion beats the better single stream by {points:.1f} points{interval}: {words}."


def _guessed_words(count: int) -> str:
    return f" with a guess for {clips_words(count)} without it" if count else ""


def clips_words(count: int) -> str:
    """Such as "1 clip" or "12 clips"."""
    return f"{count} clip{'s' if count != 1 else ''}"


def _difference_interval(
    evaluation: Evaluation, best: str, *, resamplings: int, seed: int
) -> tuple[float, float] | tuple[None, None]:
    """Interval of the difference in the main score."""
    if not resamplings:
        return None, None
    found = paired_difference(evaluation, BOTH, best, resamplings=resamplings, seed=seed)
    return found.low, found.high


def paired_score(evaluation: Evaluation, row: str) -> float:
    """The main score on all clips; those without the stream count as a guess."""
    if evaluation.task != "multi":
        return float(hits(evaluation, row).mean())
    return _average_precision(evaluation, row)(np.ones(len(evaluation.ids)))


def _average_precision(evaluation: Evaluation, row: str) -> Score:
    scored = evaluation.streams[row]
    functions = score_functions(
        scored.logits,
        scored.targets,
        task=evaluation.task,
        heads=evaluation.heads,
        present=scored.present,
    )
    return functions["map"]


def paired_difference(
    evaluation: Evaluation, a: str, b: str, *, resamplings: int, seed: int
) -> Paired:
    """The main score of row `a` minus that of row `b`, on the same clips."""
    draws = {"resamplings": resamplings, "seed": seed}
    if evaluation.task != "multi":
        return paired_bootstrap(hits(evaluation, a), hits(evaluation, b), **draws)
    scores = (_average_precision(evaluation, row) for row in (a, b))
    return paired_scores(*scores, num_clips=len(evaluation.ids), **draws)


def hits(evaluation: Evaluation, row: str) -> np.ndarray:
    """(n,) 1 where the likeliest class, or combination of classes, is right; of labelled clips.

    Where there is no such stream, how likely a guess is right.
    """
    scored, heads = evaluation.streams[row], evaluation.heads
    scored = scored.only(labelled(scored.targets, heads=heads))
    asked = {"k": 1, "present": scored.present}
    if evaluation.task == "heads":
        return joint_top_k_hits(scored.logits, scored.targets, heads=heads, **asked)
    return top_k_hits(scored.logits, scored.targets, **asked)


def right(evaluation: Evaluation, row: str) -> np.ndarray:
    """(n,) bool: the labelled clips that have the stream and are a hit."""
    scored = evaluation.streams[row]
    kept = labelled(scored.targets, heads=evaluation.heads)
    return scored.present[kept] & (hits(evaluation, row) > 0)


def spoilt(evaluation: Evaluation) -> ModalityConfusion | None:
    """Clips that a stream alone gets right and both together wrong, of those with labels.

    `None` where the evaluation has no such rows or no label.
    """
    rows = (BOTH, f"{AUDIO} alone", f"{VIDEO} alone")
    if not set(rows) <= set(evaluation.streams):
        return None
    found = [hits(evaluation, row) for row in rows]
    return modality_confusion(*found) if len(found[0]) else None


def _title(evaluation: Evaluation) -> str:
    return (
        f"{len(evaluation.ids)} clips of {evaluation.source}, split {evaluation.split} "
        f"(ids {id_hash(evaluation.ids)})"
    )


def _absent_words(row: str, count: int) -> str:
    have = "have" if count != 1 else "has"
    return f"{row}: {clips_words(count)} {have} no such stream; this row is of the others."


def _problem_words(problems: Sequence[Problem]) -> str:
    actions = [problem.action for problem in problems]
    counts = ", ".join(f"{actions.count(a)} {a}" for a in sorted(set(actions)))
    return f"Files with problems: {counts}; the first: {problems[0].path}: {problems[0].cause}"


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
    Console(file=buffer, width=WIDEST).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def score_words(score: str) -> str:
    """Such as "top-1" or "verb top-1"."""
    return SCORE_WORDS.get(score, score.replace("_top", " top-"))


def shown_scores(evaluation: Evaluation) -> list[str]:
    """Scores in the table: top-5 only where there are more than five classes."""
    names = next(iter(evaluation.rows.values()))
    hidden = ("_low", "_high")
    shown = [name for name in names if name != "num_clips" and not name.endswith(hidden)]
    few = max(evaluation.heads.values()) <= 5
    return [name for name in shown if not (few and name.endswith("top5"))]


def _cell(values: dict[str, float], score: str) -> str:
    if math.isnan(values[score]):
        return "–"
    text = f"{100 * values[score]:.1f}"
    if f"{score}_low" not in values:
        return text
    return f"{text} ({100 * values[f'{score}_low']:.1f}-{100 * values[f'{score}_high']:.1f})"


# ---------------------------------------------------------------------------- files


def write(evaluation: Evaluation, directory: Path, *, settings: EvaluateSettings) -> None:
    """`summary.json`, `per_class.csv`, `predictions.csv`, `predictions.parquet`, `problems.csv`."""
    directory.mkdir(parents=True, exist_ok=True)
    confusion = spoilt(evaluation)
    summary = {
        "rows": {row: _without_nan(scores) for row, scores in evaluation.rows.items()},
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
    _write_parquet(directory / "predictions.parquet", evaluation)
    evaluation.directory = directory


def _without_nan(scores: dict[str, float]) -> dict[str, float | None]:
    """JSON has no nan: a score that does not exist is null."""
    return {name: None if math.isnan(value) else value for name, value in scores.items()}


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

    `None` for both where the clip has no such stream.
    """
    truth = next(iter(evaluation.streams.values()))
    decided = {name: _decided(scored, evaluation) for name, scored in evaluation.streams.items()}
    for index, clip in enumerate(truth.ids):
        line: dict[str, Any] = {"id": clip, "label": _truth(truth.targets[index], evaluation)}
        for name, cells in decided.items():
            line[name], line[f"{name} probability"] = cells[index]
        yield line


def _decided(scored: Scored, evaluation: Evaluation) -> list[tuple[str | None, str | None]]:
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


def _truth(target: np.ndarray, evaluation: Evaluation) -> str:
    names = [name for classes in evaluation.labels.values() for name in classes]
    return "|".join(name for name, value in zip(names, target, strict=True) if value > 0)


def _write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows with the columns of the first; no file if there are none."""
    rows = list(rows)
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_whole(path, csv_text(rows, list(rows[0])))


def _write_parquet(path: Path, evaluation: Evaluation) -> None:
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


# ---------------------------------------------------------------------------- from the disk


def evaluate_saved(
    model: str | Path,
    data: str | None = None,
    *,
    changes: dict[str, Any] | None = None,
    late: Sequence[str] | None = None,
    output: str | Path | None = None,
    num_workers: int = 0,
    bad_files: str = "error",
    exclude: str | None = None,
    columns: str | None = None,
    seed: int = 0,
) -> Evaluation:
    """`evaluate` of a run or model directory; without `data`, on the data of its run.

    Settings are those of the run with `changes`. Splits of data that names none are drawn as in
    training: with the run's seed and shares. Without `exclude`, the run's own data lacks what it
    lacked in training; `columns` are as in `DataSettings`.

    Raises:
        ValueError: no data given and the model belongs to no run.
    """
    predictor = Predictor(model)
    saved = predictor.config
    if data is None and (saved is None or not saved.data.path):
        raise ValueError(
            f"{str(model)!r} belongs to no run that names its data; add a folder or manifest: "
            f"'sightsound evaluate {model} DATA'"
        )
    settings = saved.evaluate if saved is not None else EvaluateSettings()
    base = saved.data if saved is not None else DataSettings()
    changed = {"columns": columns, "exclude": exclude, "bad_files": bad_files}
    wanted = other_data(base, data, task=predictor.task, **changed)
    manifest = load_manifest(
        wanted, seed=saved.seed if saved is not None else 0, labels=predictor.labels
    )
    changes = changes or {}
    split = split_of_run(manifest, changes.get("split"), settings)
    return evaluate(
        predictor,
        manifest,
        dataclasses.replace(settings, **changes | {"split": split}),
        output=output or _output_directory(model),
        late=tuple(map(Predictor, late)) if late else None,
        num_workers=num_workers,
        bad_files=bad_files,
        seed=seed,
    )


def _output_directory(model: str | Path) -> Path:
    """`evaluation/` in the run, or beside the model directory, or here for a model of the hub."""
    if str(model).startswith("hf:"):
        return Path("evaluation")
    directory = Path(model_source(model))
    return directory.parent / "evaluation"
