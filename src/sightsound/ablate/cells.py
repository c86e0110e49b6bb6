"""Trains and scores one cell (one configuration) with one seed; finished cells are kept.

    cells/model.fusion_layer=2/seed_0/    a run like any other (train/directory.py), and
    result.json                           scores, size, time, where they come from

`result.json` appears at once and last: a directory without it is an interrupted run. Then
checkpoints, model and predictions are removed, unless they are to be kept.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from sightsound.ablate.plan import Cell, config_hash, differences
from sightsound.config.load import load_config
from sightsound.config.settings import RunConfig
from sightsound.data.rows import id_hash
from sightsound.evaluation.evaluate import evaluate_saved
from sightsound.evaluation.results import LATE, MAIN_SCORE, TRAINED, Evaluation, read_evaluation
from sightsound.evaluation.scoring import on_common_clips, row_scores, with_late_average
from sightsound.files import write_whole
from sightsound.train.directory import environment
from sightsound.train.loop import train
from sightsound.types import AUDIO, VIDEO

RESULT = "result.json"
LOGITS = "evaluation/predictions.parquet"
_LARGE = ("checkpoints", "model", "evaluation/predictions.csv", LOGITS)
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")

Result = dict[str, Any]  # the content of result.json


def run_cell(
    cell: Cell,
    *,
    seed: int,
    directory: Path,
    clips: str,
    keep_models: bool = False,
    keep_logits: bool = False,
) -> Result:
    """The result of training and scoring `cell`, also in `directory`/result.json.

    An interrupted run goes on from its last checkpoint. A run that fails for a reason of its own
    (numbers that are not finite, no memory, settings that do not suit the data) gives a result with
    the reason under "failed"; it is begun anew the next time.

    Args:
        clips: hash of the clip ids of the data, to notice when they change.
        keep_models: remove nothing.
        keep_logits: another cell averages them.
    """
    config = dataclasses.replace(cell.config, seed=seed, output=str(directory))
    resumed = (directory / "checkpoints" / "last").is_file()
    started = time.perf_counter()
    try:
        outcome = _averaged(cell, directory) if cell.mean_of else _scored(config, _train(config))
    except (ArithmeticError, MemoryError, ValueError, RuntimeError) as error:
        no_memory = any(words in str(error).lower() for words in _NO_MEMORY)
        no_memory = no_memory or isinstance(error, torch.OutOfMemoryError)
        if isinstance(error, RuntimeError) and not no_memory:
            raise
        outcome = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    result = {
        "cell": cell.name,
        "seed": seed,
        "changes": cell.changes,
        **outcome,
        "gflop": round(cell.flops / 1e9, 6),
        "parameters": cell.parameters,
        "seconds": round(time.perf_counter() - started, 2),
        "resumed": resumed,
        "clips": clips,
        "config_hash": config_hash(cell.config),
        "environment": environment(),
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_whole(directory / RESULT, json.dumps(result, indent=1) + "\n")
    if not keep_models:
        remove_large_files(directory, but=(LOGITS,) if keep_logits else ())
    gc.collect()  # what the last model took, also after a failure
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return result


def _train(config: RunConfig) -> Path:
    begun = (Path(config.output) / "config.yaml").is_file()
    return train(config, resume=begun, console=Console(quiet=True))


def _scored(config: RunConfig, run: Path) -> dict[str, Any]:
    """Scores on the split of `evaluate.split`, without intervals: seeds give the deviation."""
    evaluation = evaluate_saved(
        run,
        changes={"bootstrap": 0},
        num_workers=config.data.num_workers,
        bad_files=config.data.bad_files,
        seed=config.seed,
    )
    return _outcome(evaluation, evaluation.rows)


def _outcome(evaluation: Evaluation, rows: dict[str, dict[str, float]]) -> dict[str, Any]:
    """What `rows` say, the first being that of the cell."""
    name = MAIN_SCORE[evaluation.task]
    return {
        "score_name": name,
        "score": next(iter(rows.values()))[name],
        "rows": rows,
        "test": {
            "source": "/".join(Path(evaluation.source).parts[-2:]),
            "split": evaluation.split,
            "num_clips": len(evaluation.ids),
            "ids": id_hash(evaluation.ids),
        },
    }


def _averaged(cell: Cell, directory: Path) -> dict[str, Any]:
    """Scores of the mean of two models' logits: those of the same seed, in their own folders."""
    folders = [directory.parents[1] / part.name / directory.name for part in cell.mean_of]
    for part, folder in zip(cell.mean_of, folders, strict=True):
        if "failed" in (read_result(folder) or {}):
            raise ValueError(f"{part.name}, which it averages, failed")
    found = [read_evaluation(folder) for folder in folders]
    named = zip((TRAINED[AUDIO], TRAINED[VIDEO]), found, strict=True)
    streams = on_common_clips({row: next(iter(each.streams.values())) for row, each in named})
    heads, task = found[0].heads, found[0].task
    scores = row_scores(with_late_average(streams)[LATE], task=task, heads=heads)
    return _outcome(found[0], {LATE: scores})


def remove_large_files(directory: Path, *, but: Sequence[str] = ()) -> None:
    """Keep configuration, log, metrics and scores of a run, remove what fills a disk."""
    for name in set(_LARGE) - set(but):
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def read_result(directory: Path) -> Result | None:
    """What `run_cell` wrote; `None` if the run is not finished."""
    file = directory / RESULT
    return json.loads(file.read_text()) if file.is_file() else None


def finished(cell: Cell, directory: Path, *, clips: str) -> Result | None:
    """The result of `cell` in `directory`; `None` if there is none, or it failed.

    Raises:
        ValueError: it is of another configuration, or of other clips.
    """
    result = read_result(directory)
    if result is None or "failed" in result:
        return None
    if result["clips"] != clips:
        raise ValueError(
            f"{directory} was trained on other clips than {cell.config.data.path!r} holds now; "
            "restore them, or give another --output"
        )
    if not cell.mean_of and result["config_hash"] != config_hash(cell.config):
        found = differences(load_config(directory), cell.config)
        if found:
            raise ValueError(f"{directory} has another configuration: {told(found)}")
    return result


def told(found: dict[str, tuple[Any, Any]]) -> str:
    """Differences between what is there and what is asked for, in words."""
    words = [f"{name} is {old} there and {new} here" for name, (old, new) in found.items()]
    return f"{', '.join(words)}; leave it as it was, or give another --output"
