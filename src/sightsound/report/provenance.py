"""The data, code, hardware and commands behind the numbers of a report."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sightsound.data.rows import id_hash
from sightsound.evaluation.results import LATE, Evaluation
from sightsound.library_errors import read_object
from sightsound.predict import Predictor

_THIS = "sightsound"


def provenance(
    predictor: Predictor,
    evaluation: Evaluation,
    *,
    folder: Path,
    settings: dict[str, Any],
    command: Sequence[str],
) -> dict[str, str]:
    """{what: in words}, in the order of the page; what is not known is left out.

    `folder` is that of the run, `settings` those of the evaluation, `command` the arguments that
    make the page.
    """
    path = folder / "environment.json"
    remedy = "put back a copy, or remove it: the page then does without"
    environment = read_object(path, remedy=remedy) if path.is_file() else {}
    config, info = predictor.config, predictor.model.info
    packages, decoder, hardware = environment.get("packages", {}), "", ""
    if config is not None:
        decoder = config.data.decoder + (", approximate" if config.data.approximate else "")
    if environment:
        machine = environment["gpu"] or f"{environment['cpu_count']} CPU cores"
        hardware = f"{machine}, Python {environment['python']}, {environment['platform']}"
    millions = sum(p.numel() for p in predictor.model.parameters()) / 1e6
    found = {
        "data": f"{evaluation.source}, split {evaluation.split}",
        "clips": f"{len(evaluation.ids)}, ids {id_hash(evaluation.ids)}",
        "files with problems": str(len(evaluation.problems)),
        "evaluation": ", ".join(f"{name} {value}" for name, value in settings.items()),
        "model": f"{info.name}, {millions:.3g} M parameters",
        "streams": " and ".join(predictor.modalities),
        "front end": predictor.front_end.id,
        "decoder": decoder,
        "seed": str(config.seed) if config is not None else "",
        "trained with": ", ".join(f"{name} {version}" for name, version in packages.items()),
        "commit": environment.get("commit") or "",
        "hardware": hardware,
        "model written": _time_of(folder / "model" / "model.safetensors"),
        "evaluated": _time_of((evaluation.directory or folder) / "predictions.parquet"),
        "this page": f"{_THIS} {version(_THIS)}, {time.strftime('%Y-%m-%d %H:%M')}",
        "commands": "\n".join(_commands(environment, evaluation, settings, command)),
    }
    return {name: words for name, words in found.items() if words}


def _time_of(path: Path) -> str:
    if not path.is_file():
        return ""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))


def _commands(
    environment: dict[str, Any],
    evaluation: Evaluation,
    settings: dict[str, Any],
    command: Sequence[str],
) -> list[str]:
    """How the run was trained, where that is known, and evaluated, and how the page was made."""
    trained = environment.get("command")
    chosen = [f"--{name}={value}" for name, value in settings.items()]
    chosen += ["--late", "AUDIO_MODEL", "VIDEO_MODEL"] if LATE in evaluation.streams else []
    lines = [["evaluate", command[0], evaluation.source, *chosen], ["report", *command]]
    return [shlex.join([_THIS, *words]) for words in [*([trained[1:]] if trained else []), *lines]]
