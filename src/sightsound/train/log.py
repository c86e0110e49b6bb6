"""What a run reports while it works: progress bar, metrics.jsonl, log.txt, TensorBoard."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sightsound.evaluation.results import read_problems
from sightsound.files import csv_text, write_whole
from sightsound.optional import require
from sightsound.types import Problem

_SILENCE_SECONDS = 30  # between lines where there is no terminal for a bar
_SMOOTHING = 0.9  # of the displayed loss and speed; a guess that reads well


@contextmanager
def progress_bar(title: str, console: Console) -> Iterator[Callable[[int, int], None]]:
    """A function that takes (done, of) and shows it as a bar; silent where there is no terminal."""
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(title, visible=False)
        yield lambda done, of: progress.update(task, completed=done, total=of, visible=True)


class RunLog:
    """Writes the files of one run and draws its progress; a context manager.

    `metrics.jsonl` holds one object per optimiser step and one per validation, told apart by
    `kind`. On resuming, lines of steps that will be done again are cut off. Without a directory
    (all processes of a distributed run but the first) nothing is written.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        total: int,
        first_step: int,
        console: Console,
        tensorboard: bool = False,
    ) -> None:
        self.directory = directory
        self.console = console
        folder = directory or Path(os.devnull)
        self._metrics = _reopen(folder / "metrics.jsonl" if directory else folder, first_step)
        self._text = (folder / "log.txt" if directory else folder).open("a")
        self._board = None
        if directory and tensorboard:
            writer = require("torch.utils.tensorboard", extra="track").SummaryWriter
            self._board = writer(str(directory / "tensorboard"), purge_step=first_step)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("train", total=total, completed=first_step, text="")
        self._shown: dict[str, float] = {}
        self._total = total
        self._told = time.monotonic()
        known = read_problems(directory / "problems.csv") if directory else []
        self._problems = {_key(problem): problem for problem in known}

    def __enter__(self) -> RunLog:
        if self.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._metrics.close()
        self._text.close()
        if self._board is not None:
            self._board.close()

    def step(self, step: int, values: dict[str, float]) -> None:
        """Record one optimiser step and move the bar."""
        self._write("step", step, values)
        for key in ("loss", "clips_per_second", "data_wait"):
            old = self._shown.get(key, values[key])
            self._shown[key] = _SMOOTHING * old + (1 - _SMOOTHING) * values[key]
        text = (
            f"loss {self._shown['loss']:.3f}  lr {values['learning_rate']:.1e}  "
            f"{self._shown['clips_per_second']:.0f} clips/s  "
            f"waiting for data {self._shown['data_wait']:.0%}"
        )
        self._progress.update(self._task, completed=step + 1, text=text)
        if not self.console.is_terminal and time.monotonic() - self._told > _SILENCE_SECONDS:
            self._told = time.monotonic()
            self.say(f"step {step + 1} of {self._total}: {text}")

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Record the scores after `step` updates."""
        self._write("validation", step - 1, values)

    def say(self, text: str) -> None:
        """A line for the terminal and for log.txt."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)
        self._text.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        self._text.flush()

    def problems(self, problems: Iterable[Problem]) -> None:
        """Count files that could not be used (each once) and list them in problems.csv."""
        new = {_key(problem): problem for problem in problems}
        if new.keys() <= self._problems.keys():
            return
        self._problems |= new
        if self.directory is not None:
            lines = map(dataclasses.asdict, self._problems.values())
            write_whole(self.directory / "problems.csv", csv_text(lines))

    @property
    def num_problems(self) -> int:
        """Distinct problems met so far."""
        return len(self._problems)

    def _write(self, kind: str, step: int, values: dict[str, float]) -> None:
        self._metrics.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._metrics.flush()
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(f"{kind}/{key}", value, step)


def _key(problem: Problem) -> tuple[str, str, str]:
    return problem.id, problem.modality, problem.cause


def _reopen(path: Path, first_step: int) -> TextIO:
    """`path` for appending, without the lines of `first_step` and later or a torn last line."""
    if path.is_file():
        kept = ""
        for line in path.read_text(errors="replace").splitlines():
            try:
                kept += f"{line}\n" if json.loads(line)["step"] < first_step else ""
            except (ValueError, TypeError, KeyError):  # the process died while writing this line
                continue
        write_whole(path, kept)
    return path.open("a")
