"""Checkpoints that are whole or absent, whenever the process dies.

    checkpoints/step_120/   model.safetensors objective.safetensors optimizer.safetensors state.json
    checkpoints/last        one line, "step_120", replaced atomically

A checkpoint is written under a temporary name, flushed to disk and renamed; then `last` is
replaced; only then is the previous one removed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from sightsound.files import atomic_directory, atomic_path, write_whole
from sightsound.library_errors import load_tensors, read_object, save_tensors

_DAMAGED = "put back a copy of this checkpoint, or start the run anew"


def save_checkpoint(
    folder: Path,
    step: int,
    *,
    model: nn.Module,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict,
) -> Path:
    """The directory of the new checkpoint under `folder`; nothing is left of one that fails."""
    target = folder / f"step_{step}"
    optimizer_tensors, optimizer_values = _flatten(optimizer)
    parts = {
        "model": _contiguous(model.state_dict()),
        "objective": _contiguous(objective.state_dict()),
        "optimizer": optimizer_tensors,
    }
    content = {"step": step, "optimizer": optimizer_values, **state}
    with atomic_directory(target, last="state.json") as temporary:
        for name, tensors in parts.items():
            save_tensors(tensors, temporary / f"{name}.safetensors")
        (temporary / "state.json").write_text(json.dumps(content, indent=1))
    write_whole(folder / "last", target.name)
    for path in folder.iterdir():  # older ones, and what an interrupted save left behind
        if path.is_dir() and path != target and "step_" in path.name:
            shutil.rmtree(path)
    return target


def save_objective(path: Path, objective: nn.Module, *, step: int) -> None:
    """The layers that an objective has of its own, as they were after `step`; whole or not at all.

    Nothing is written if it has none.
    """
    tensors = _contiguous(objective.state_dict())
    if tensors:
        with atomic_path(path) as temporary:
            save_tensors(tensors, temporary, metadata={"step": str(step)})


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; `None` before the first one.

    Raises:
        ValueError: the pointer names a directory that is gone.
    """
    pointer = folder / "last"
    if not pointer.is_file():
        return None
    name = pointer.read_text(errors="replace").strip()
    there = sorted(path.parent.name for path in folder.glob("*/state.json"))
    if name not in there:
        remedy = (
            f"write one of these into it: {', '.join(there)}" if there else "start the run anew"
        )
        raise ValueError(f"{pointer} names {name!r}, which is not there (was it moved?); {remedy}")
    return folder / name


def load_checkpoint(
    directory: Path,
    *,
    model: nn.Module,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> dict:
    """The saved `state`, after filling model, objective and optimiser in place."""
    state = read_state(directory)
    for name, part in {"model": model, "objective": objective}.items():
        part.load_state_dict(load_tensors(directory / f"{name}.safetensors", remedy=_DAMAGED))
    tensors = load_tensors(directory / "optimizer.safetensors", remedy=_DAMAGED)
    optimizer.load_state_dict(_unflatten(tensors, state.pop("optimizer")))
    return state


def read_state(directory: Path) -> dict:
    """What `save_checkpoint` was given as `state`, with `step` and numbers of the optimiser."""
    return read_object(directory / "state.json", remedy=_DAMAGED, needs=["step", "optimizer"])


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _flatten(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict]:
    """State as named tensors, and the rest (groups, plain numbers) as JSON values."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, float] = {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value.contiguous()
            elif value is not None:
                numbers[f"{index}.{key}"] = value
    return tensors, {"numbers": numbers, "param_groups": state["param_groups"]}


def _unflatten(tensors: dict[str, Tensor], values: dict) -> dict:
    """The optimiser's `state_dict` from what `_flatten` made of it."""
    state: dict[int, dict] = {}
    for name, value in (tensors | values["numbers"]).items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    return {"state": state, "param_groups": values["param_groups"]}
