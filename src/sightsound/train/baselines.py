"""What a model of two streams has to beat, trained with its own recipe and scored in one table.

    OUTPUT/baselines/audio video         the same model of one stream
    OUTPUT/baselines/linear_probe        one linear layer, where the model reads features
    OUTPUT/baselines.json baselines.md   their scores beside those of the run

Data, seed and settings are those of the run. What is finished is kept, what was interrupted goes
on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from sightsound.build import build_front_end, build_model, features_folder
from sightsound.config.load import changed
from sightsound.config.settings import RunConfig
from sightsound.data.manifest import load_manifest
from sightsound.data.rows import id_hash
from sightsound.evaluation.evaluate import clips_of, evaluate_saved, scored_split
from sightsound.evaluation.results import MAIN_SCORE, SCORE_WORDS, Evaluation
from sightsound.files import write_whole
from sightsound.train.loop import train
from sightsound.train.optim import freeze
from sightsound.types import AUDIO, VIDEO

PROBE = "linear probe"  # a row of the table; the others are those of `evaluate`
_PROBE = "linear_probe"  # its model
# What only a model of two streams can do.
_TWO_STREAMS = {"train.skip_video": 0.0, "train.skip_audio": 0.0, "train.skip_released": False}


def variants(config: RunConfig) -> dict[str, RunConfig]:
    """{folder: configuration} of the baselines of a run; each in OUTPUT/baselines/FOLDER.

    Features are those of the run.
    """
    features = features_folder(config)
    models: dict[str, dict[str, Any]] = {n: {"model.modalities": [n]} for n in (AUDIO, VIDEO)}
    if config.front_end.get("features"):
        models[_PROBE] = {"model.name": _PROBE, "train.init": [], "train.freeze": []}
    return {
        name: changed(
            config,
            {
                **_TWO_STREAMS,
                "data.features": str(features.absolute()) if features else "none",
                **model,
                "output": str(Path(config.output) / "baselines" / name),
            },
        )
        for name, model in models.items()
    }


def check(config: RunConfig) -> None:
    """Nothing, if the baselines of `config` can be trained and scored: before hours of training.

    Raises:
        ValueError: the model has one stream, the data lacks the split that is scored, and the like.
    """
    if config.train.overfit or config.train.devices > 1:
        raise ValueError(
            "--baselines trains whole models, one after another on one device; leave out "
            f"--{'overfit' if config.train.overfit else 'train.devices'}"
        )
    given = config.model.get("modalities") or []
    if len(given) < 2:
        raise ValueError(
            f"--baselines compares two streams with each of them, but model.modalities is "
            f"[{', '.join(given)}]; leave out one of the two options"
        )
    manifest = load_manifest(config.data, seed=config.seed)
    clips_of(manifest, scored_split(manifest, config.evaluate.split))
    front_end = build_front_end(config.front_end)
    for baseline in variants(config).values():
        with torch.device("meta"):
            model = build_model(baseline.model, manifest, front_end)
        freeze(model, baseline.train.freeze)


def run(config: RunConfig, *, console: Console | None = None) -> Evaluation:
    """The scores of the finished run in `config.output` and of its baselines, also as files.

    Rows are those of `evaluate` with its late average, and `PROBE`.
    """
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    folders = {}
    for name, baseline in variants(config).items():
        folders[name] = Path(baseline.output)
        console.print(f"Baseline {name}, with the same recipe", markup=False)
        begun = (folders[name] / "config.yaml").is_file()
        train(baseline, resume=begun, console=console)
    output, late = Path(config.output), [str(folders[name]) for name in (AUDIO, VIDEO)]
    evaluation = _evaluated(config, output, late=late)
    if _PROBE in folders:
        probe = _evaluated(config, folders[_PROBE])
        evaluation.rows[PROBE] = next(iter(probe.rows.values()))
    content = {
        "rows": evaluation.rows,
        "verdict": evaluation.verdict,
        "source": evaluation.source,
        "split": evaluation.split,
        "num_clips": len(evaluation.ids),
        "ids": id_hash(evaluation.ids),
    }
    write_whole(output / "baselines.json", json.dumps(content, indent=1) + "\n")
    write_whole(output / "baselines.md", markdown(evaluation))
    return evaluation


def _evaluated(config: RunConfig, run: Path, *, late: list[str] | None = None) -> Evaluation:
    """`evaluate` of one run, with its settings; tables in RUN/evaluation."""
    data = config.data
    return evaluate_saved(
        run, late=late, num_workers=data.num_workers, bad_files=data.bad_files, seed=config.seed
    )


def markdown(evaluation: Evaluation) -> str:
    """The table, with 95 % intervals over clips, and what each row is."""
    name = MAIN_SCORE[evaluation.task]
    lines = [
        f"{len(evaluation.ids)} clips of {evaluation.source}, split {evaluation.split} "
        f"(ids {id_hash(evaluation.ids)}).",
        "",
        f"| | {SCORE_WORDS[name]} (%) | 95 % interval | clips |",
        "|---|---|---|---|",
    ]
    for row, values in evaluation.rows.items():
        interval = ""
        if f"{name}_low" in values:
            low, high = (100 * values[f"{name}_{end}"] for end in ("low", "high"))
            interval = f"{low:.1f} to {high:.1f}"
        cells = (row, f"{100 * values[name]:.1f}", interval, f"{values['num_clips']:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", _MEANING, "", evaluation.verdict, ""])


_MEANING = (
    "`alone`: the same model with the other stream masked. `model`: trained on that stream only, "
    "with the same recipe. `average`: of the logits of these two."
)
