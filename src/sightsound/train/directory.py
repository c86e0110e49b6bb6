"""The directory of a run: everything about it in one place.

config.yaml      the resolved configuration, accepted back by --config
labels.json      class names in order
environment.json versions, hardware, command, commit
metrics.jsonl    one line per step and per validation; log.txt: what the terminal said
problems.csv     files that could not be used, where there were any
checkpoints/     last state, for --resume
model/           the best model so far, for evaluate and predict
objective.safetensors  the layers of its losses, where they have some, for index and search
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import yaml

from sightsound.configuration import config_text
from sightsound.files import write_whole
from sightsound.run import RunConfig

_MAY_DIFFER = {"output"}  # a run may be moved and resumed


def open_run(config: RunConfig, *, resume: bool) -> Path:
    """The run's directory, with its configuration and environment saved.

    A run that ended before its first checkpoint has nothing to lose: it is started anew.

    Raises:
        ValueError: it holds a run already and `resume` is off, or the configurations differ.
        FileNotFoundError: there is nothing to resume.
    """
    directory = Path(config.output)
    saved = directory / "config.yaml"
    has_checkpoint = (directory / "checkpoints" / "last").is_file()
    if resume and not saved.is_file():
        raise FileNotFoundError(
            f"nothing to resume in {directory}: it has no config.yaml; leave out --resume"
        )
    if has_checkpoint and not resume:
        raise ValueError(
            f"{directory} already holds a run; give --resume to go on with it, or another --output"
        )
    directory.mkdir(parents=True, exist_ok=True)
    if has_checkpoint:
        _check_same(config, saved)
        return directory
    (directory / "metrics.jsonl").unlink(missing_ok=True)
    (directory / "problems.csv").unlink(missing_ok=True)
    write_whole(directory / "environment.json", json.dumps(environment(), indent=1))
    write_whole(saved, config_text(config))
    return directory


def environment() -> dict:
    """Versions, hardware, command and commit of this process."""
    import torch

    packages = ("sightsound", "torch", "av", "numpy", "soxr", "lightning-fabric")
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: metadata.version(name) for name in packages},
        "command": sys.argv,
        "commit": _commit(),
    }


def _check_same(config: RunConfig, saved: Path) -> None:
    old, new = yaml.safe_load(saved.read_text()), yaml.safe_load(config_text(config))
    differing = sorted(_differences(old, new, prefix="") - _MAY_DIFFER)
    if differing:
        raise ValueError(
            f"cannot resume {saved.parent}: these settings differ from its config.yaml: "
            f"{', '.join(differing)}; leave them as they were, or start another run"
        )


def _differences(old: object, new: object, *, prefix: str) -> set[str]:
    """Dotted names whose values differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return set() if old == new else {prefix}
    found = set()
    for key in old.keys() | new.keys():
        name = f"{prefix}.{key}" if prefix else str(key)
        found |= _differences(old.get(key), new.get(key), prefix=name)
    return found


def _commit() -> str | None:
    """Commit of the source tree, where the package runs from one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine
        return None
    return result.stdout.strip() or None
