"""Scores of a model on a split: both streams, each alone, and the average of two unimodal models.

All rows of the table see the same clips and views, and logits are averaged over views. The row of
a stream is of the clips that have it; the others are counted. Where rows are compared on the same
clips, such a clip counts as a guess, see `metrics`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sightsound.build import features_folder, model_source
from sightsound.config.settings import BadFiles, DataSettings, EvaluateSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader
from sightsound.data.manifest import load_manifest, other_data
from sightsound.data.rows import SPELLINGS, Manifest, Row
from sightsound.evaluation.results import (
    TRAINED,
    Evaluation,
    Scored,
    verdict,
    write_evaluation,
)
from sightsound.evaluation.scoring import collect, on_common_clips, row_scores, with_late_average
from sightsound.features.cache import FeatureDataset
from sightsound.features.extract import Progress, with_features
from sightsound.predict import BOTH, Predictor
from sightsound.types import AUDIO, VIDEO, Problem

AUTO = "auto"  # the split that the data has for scores


def evaluate(
    predictor: Predictor,
    manifest: Manifest,
    settings: EvaluateSettings,
    *,
    output: str | Path | None = None,
    late: tuple[Predictor, Predictor] | None = None,
    num_workers: int = 0,
    bad_files: BadFiles = "error",
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
                heads=predictor.heads,
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
        write_evaluation(evaluation, Path(output), settings=settings)
    return evaluation


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
    bad_files: BadFiles,
) -> tuple[dict[str, Scored], list[Problem]]:
    """Every job on every clip: one pass over the files for each way of reading them."""
    groups: dict[tuple, dict[str, Predictor]] = {}
    for name, predictor in jobs.items():
        cut = (predictor.front_end.id, predictor.crop, predictor.wrap, predictor.windows)
        groups.setdefault((*cut, *sorted(predictor.modalities)), {})[name] = predictor
    streams: dict[str, Scored] = {}
    problems: dict[Problem, None] = {}
    for group in groups.values():
        reader = next(iter(group.values()))
        clips = reader.dataset(manifest, rows, views=settings.views, bad_files=bad_files)
        dataset = stored(clips, reader, num_workers=num_workers)
        with Loader(dataset, num_workers=num_workers) as loader:
            alone = next(iter(jobs)) in group
            streams |= collect(group, loader, batch_size=settings.batch_size, alone=alone)
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


def evaluate_saved(
    model: str | Path,
    data: str | None = None,
    *,
    changes: dict[str, Any] | None = None,
    late: Sequence[str] | None = None,
    output: str | Path | None = None,
    num_workers: int = 0,
    bad_files: BadFiles = "error",
    exclude: str | None = None,
    columns: str | None = None,
    seed: int = 0,
) -> Evaluation:
    """`evaluate` of a run or model directory; without `data`, on the data of its run.

    Settings are those of the run with `changes`. Splits of data that names none are drawn as in
    training: with the run's seed and shares. Without `exclude`, the run's own data lacks what it
    lacked in training; `columns` are as in `DataSettings`. Tables go to `output`, by default to
    `evaluation/` in the run, beside a model directory, or here for a model of the hub.

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
    wanted = other_data(
        saved.data if saved is not None else DataSettings(),
        data,
        task=predictor.task,
        columns=columns,
        exclude=exclude,
        bad_files=bad_files,
    )
    manifest = load_manifest(
        wanted, seed=saved.seed if saved is not None else 0, labels=predictor.labels
    )
    changes = changes or {}
    split = split_of_run(manifest, changes.get("split"), settings)
    in_hub = str(model).startswith("hf:")
    default = Path("." if in_hub else Path(model_source(model)).parent) / "evaluation"
    return evaluate(
        predictor,
        manifest,
        dataclasses.replace(settings, **changes | {"split": split}),
        output=output or default,
        late=(Predictor(late[0]), Predictor(late[1])) if late else None,
        num_workers=num_workers,
        bad_files=bad_files,
        seed=seed,
    )
