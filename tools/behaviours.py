"""How much of the package one behaviour goes through: its files, functions and depth, measured.

Run as a script with the tree to be measured first on `PYTHONPATH`; writes one JSON object. A tiny
MBT is trained on generated clips and evaluated, in this process, through the command line's own
function, under `sys.setprofile`. What is counted:

* functions: every `def` of the package that was entered, once, also methods, nested functions and
  generators; no lambdas, no comprehensions, no class bodies, no code that runs at import;
* files: those that hold such a function;
* depth: how many frames of such functions lay on one another at most.

A behaviour is what happens below the frames that open it. Those are found by protocols that do not
depend on the layout of the package:

* training step: in the main process between two steps of the optimiser within an epoch; a worker
  process decodes;
* file to batch: below `__getitem__` of a torch `Dataset` for the first clip, which is decoded in
  this process, and below the first call of a function named `collate`;
* fusion: below `fuse` of a module;
* evaluate: the command `evaluate`, below the command line's `main`; a subprocess decodes.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

CLIPS = {"num_train": 16, "num_val": 8, "num_test": 8}
OPTIONS = {
    "model.width": 16,
    "model.depth": 2,
    "model.num_heads": 2,
    "model.mlp_width": 32,
    "model.fusion_layer": 1,
    "model.video_patch": [1, 16, 16],
    "model.audio_patch": [20, 16],
    "data.cache": "false",
    "train.epochs": 1,
    "train.batch_size": 4,
    "train.evaluate_every": 1,
}
_CO_OPTIMIZED = 1  # code of functions; modules and class bodies lack it

Opens = Callable[[FrameType], bool]


class Trace:
    """The package's functions entered since `start`, and how deep they lay in one another."""

    def __init__(self, root: Path, opens: Opens | None = None) -> None:
        """`opens`: whether a frame begins the behaviour; without it, everything counts."""
        self._root = str(root)
        self._opens = opens
        self._own: dict[CodeType, bool] = {}
        self._stack: list[FrameType] = []
        self._inside = 0  # depth at which the behaviour was opened, from 1 on; 0: not inside
        self.codes: set[CodeType] = set()
        self.deepest: list[CodeType] = []

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and self._counts(frame.f_code):
            self._stack.append(frame)
            if not self._inside and (self._opens is None or self._opens(frame)):
                self._inside = len(self._stack)
            if self._inside:
                self.codes.add(frame.f_code)
                depth = len(self._stack) - self._inside + 1
                if depth > len(self.deepest):
                    self.deepest = [f.f_code for f in self._stack[self._inside - 1 :]]
        elif event == "return" and self._stack and self._stack[-1] is frame:
            self._stack.pop()
            if len(self._stack) < self._inside:
                self._inside = 0

    def _counts(self, code: CodeType) -> bool:
        known = self._own.get(code)
        if known is None:
            known = self._own[code] = (
                code.co_filename.startswith(self._root)
                and not code.co_name.startswith("<")
                and bool(code.co_flags & _CO_OPTIMIZED)
            )
        return known

    def figures(self) -> dict[str, Any]:
        """Numbers of files and functions, depth, and both as lists of "file:line name"."""
        return {
            "files": len({code.co_filename for code in self.codes}),
            "functions": len(self.codes),
            "depth": len(self.deepest),
            "entered": sorted(map(self._place, self.codes)),
            "deepest": [self._place(code) for code in self.deepest],
        }

    def _place(self, code: CodeType) -> str:
        path = Path(code.co_filename).relative_to(self._root)
        return f"{path.as_posix()}:{code.co_firstlineno} {code.co_qualname}"


@contextlib.contextmanager
def traced(trace: Trace) -> Iterator[Trace]:
    """`trace` sees every call in the body."""
    sys.setprofile(trace)
    try:
        yield trace
    finally:
        sys.setprofile(None)


def measure(folder: Path) -> dict[str, dict[str, Any]]:
    """{behaviour: figures}; clips and runs are written to `folder`.

    Raises:
        RuntimeError: a command failed, or nothing opened a behaviour.
    """
    import sightsound
    from sightsound.data.synthetic import write_demo

    root = Path(sightsound.__file__).parent
    step, reading = Trace(root), Trace(root, _first(_reads))
    fusing, evaluating = Trace(root, _fuses), Trace(root)
    clips = str(write_demo(folder / "clips", seed=0, **CLIPS))
    options = [f"--{name}={value}" for name, value in OPTIONS.items()]
    train = ["train", clips, "--config=demo", *options]
    evaluate = ["evaluate", str(folder / "run"), "--num_workers=0"]
    with _second_step(step):
        _run([*train, f"--output={folder / 'run'}", "--data.num_workers=1"])
    with traced(reading):
        here = ["--data.num_workers=0", "--data.time_limit_seconds=0"]
        _run([*train, f"--output={folder / 'here'}", *here])
    with traced(fusing):
        _run(evaluate)
    with traced(evaluating):
        _run(evaluate)
    traces = {
        "training step": step,
        "file to batch": reading,
        "fusion": fusing,
        "evaluate": evaluating,
    }
    for name, trace in traces.items():
        if not trace.codes:
            raise RuntimeError(f"no frame opened the behaviour {name!r}; see {__file__}")
    return {name: trace.figures() for name, trace in traces.items()}


def _reads(frame: FrameType) -> bool:
    from torch.utils.data import Dataset

    if frame.f_code.co_name == "__getitem__":
        return isinstance(frame.f_locals.get("self"), Dataset)
    return frame.f_code.co_name == "collate"


def _fuses(frame: FrameType) -> bool:
    from torch.nn import Module

    return frame.f_code.co_name == "fuse" and isinstance(frame.f_locals.get("self"), Module)


def _first(opens: Opens) -> Opens:
    """`opens`, but each function only once."""
    opened: set[CodeType] = set()

    def first(frame: FrameType) -> bool:
        if frame.f_code in opened or not opens(frame):
            return False
        opened.add(frame.f_code)
        return True

    return first


@contextlib.contextmanager
def _second_step(trace: Trace) -> Iterator[None]:
    """`trace` sees what happens between the first and the second step of an optimiser."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    num_steps = 0

    def after_step(*_: object) -> None:
        nonlocal num_steps
        num_steps += 1
        sys.setprofile(trace if num_steps == 1 else None)

    hook = register_optimizer_step_post_hook(after_step)
    try:
        yield
    finally:
        hook.remove()
        sys.setprofile(None)


def _run(arguments: list[str]) -> None:
    from sightsound.cli import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(arguments)
    if code:
        raise RuntimeError(f"'sightsound {' '.join(arguments)}' failed:\n{said.getvalue()}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(Path(temporary))
    json.dump(found, sys.stdout)
