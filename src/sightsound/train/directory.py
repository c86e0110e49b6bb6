"""The directory of a run: what is in it, who may write to it, and whether it can be resumed.

config.yaml      the resolved configuration, accepted back by --config
labels.json      class names in order
environment.json versions, hardware, command, commit
metrics.jsonl    one line per step and per validation; log.txt: what the terminal said
problems.csv     files that could not be used, where there were any
checkpoints/     last state, for --resume
model/           the best model so far, or the last (train.keep), for evaluate and predict
objective.safetensors  the layers of its losses, where they have some, for index and search
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import yaml

from sightsound.config.load import config_text, flat, load_config, resolved
from sightsound.config.settings import RunConfig
from sightsound.data.folders import OUTPUT_MARK
from sightsound.data.rows import Manifest
from sightsound.files import locked, write_whole
from sightsound.train.checkpoint import last_checkpoint, read_state

CONFIG = "config.yaml"

# What a resumed run may have changed: where things lie, and how fast and how often they come; none
# of it is part of what is learnt.
_MAY_DIFFER = {
    "output",
    *(f"data.{name}" for name in ("path", "columns", "exclude", "features", "cache")),
    *(f"data.{name}" for name in ("num_workers", "time_limit_seconds")),
    *(f"train.{name}" for name in ("checkpoint_every", "tensorboard")),
}


@contextlib.contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Keeps other trainings out of a run's directory; a new one that stays empty is removed.

    Raises:
        ValueError: another training is at work there.
    """
    new = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory, by="sightsound train"):
        try:
            (directory / OUTPUT_MARK).touch()  # it may lie among the clips that are read now
            yield
        finally:
            (directory / OUTPUT_MARK).unlink(missing_ok=True)
            for folder in new:  # the innermost first
                if any(folder.iterdir()):
                    break
                folder.rmdir()


def find_run(directory: Path, *, resume: bool) -> Path | None:
    """The checkpoint to go on from; `None` for a run that starts.

    A run that ended before its first checkpoint has nothing to lose: it is started anew.

    Raises:
        ValueError: `directory` holds a run already and `resume` is off.
        FileNotFoundError: there is nothing to resume.
    """
    checkpoint = last_checkpoint(directory / "checkpoints")
    if resume and not (directory / CONFIG).is_file():
        raise FileNotFoundError(
            f"nothing to resume in {directory}: it has no config.yaml; leave out --resume"
        )
    if checkpoint is not None and not resume:
        raise ValueError(
            f"{directory} already holds a run; give --resume to go on with it, or another --output"
        )
    return checkpoint


def write_run(config: RunConfig, manifest: Manifest, *, starts: bool) -> None:
    """Write the configuration of a run, with everything it leaves open, and its classes.

    Of one that `starts` also the environment; what a lost one left is removed.
    """
    directory = Path(config.output)
    if starts:
        (directory / "metrics.jsonl").unlink(missing_ok=True)
        (directory / "problems.csv").unlink(missing_ok=True)
        write_whole(directory / "environment.json", json.dumps(environment(), indent=1))
    write_whole(directory / CONFIG, config_text(resolved(config)))
    write_whole(directory / "labels.json", json.dumps(manifest.labels, indent=1))


def check_resumable(config: RunConfig, checkpoint: Path, *, manifest: Manifest) -> list[str]:
    """What has changed since the run began and may; one line each.

    Raises:
        ValueError: settings differ that are part of what is learnt, or the clips do.
    """
    saved = Path(config.output) / CONFIG
    both = load_config(saved), resolved(config)  # what older versions lacked was at its default
    old, new = (flat(yaml.safe_load(config_text(each))) for each in both)
    changes = sorted(n for n in old.keys() | new.keys() if old.get(n) != new.get(n))
    differing = [name for name in changes if name not in _MAY_DIFFER]
    if differing:
        raise ValueError(
            f"cannot resume {saved.parent}: these settings differ from its config.yaml: "
            f"{', '.join(differing)}; leave them as they were, or start another run"
        )
    if read_state(checkpoint)["clips"] != manifest.id_hash:
        model = Path(config.output) / "model"
        from_it = f" with --init {model}" if model.is_dir() else ""
        raise ValueError(
            f"cannot resume: {manifest.source} no longer holds the clips this run began with, so "
            f"their order would change; restore them, or start another run{from_it}"
        )
    return [
        f"resumed with --{n} {new.get(n)} (was {'empty' if old.get(n) == '' else old.get(n)})"
        for n in changes
        if n != "output"
    ]


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


def _commit() -> str | None:
    """Commit of the source tree, where the package runs from one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine
        return None
    return result.stdout.strip() or None
