"""Runs every cell of the chosen studies with every seed; goes on after an interruption.

    OUTPUT/base.yaml                     the configuration that everything is compared with
    OUTPUT/cells/CELL/seed_N/            one run and its result.json
    OUTPUT/results.json                  every result so far
    OUTPUT/STUDY/table.md table.csv figure.png figure.svg

Tables and figures are rewritten after every run. The same command again goes on where it was
stopped; a run that failed is tried again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from sightsound.ablate.cells import LOGITS, Result, finished, read_result, run_cell, told
from sightsound.ablate.figure import draw
from sightsound.ablate.plan import Cell, Plan, differences, make_plan
from sightsound.ablate.report import Results, format_score, points_table, write_tables
from sightsound.ablate.studies import Study
from sightsound.build import features_folder
from sightsound.config.load import config_text, load_config
from sightsound.config.settings import RunConfig
from sightsound.data.manifest import load_manifest
from sightsound.data.rows import Manifest
from sightsound.evaluation.evaluate import scored_split
from sightsound.files import write_whole
from sightsound.flops import AUDIOSET, EPIC, assumed_heads, made_up_manifest

BASE_FILE = "base.yaml"


@dataclass
class Ablation:
    """What is to be run, and what has been."""

    base: RunConfig
    plans: list[Plan]
    seeds: list[int]
    manifest: Manifest
    results: Results = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Where everything is written."""
        return Path(self.base.output)

    @property
    def cells(self) -> dict[str, Cell]:
        """{name: cell} of all studies; cells that they share once."""
        points = [point for plan in self.plans for point in plan.points]
        found = [cell for point in points for cell in (*point.cell.mean_of, point.cell)]
        return {cell.name: cell for cell in found}

    @property
    def averaged(self) -> set[str]:
        """Names of the cells whose logits others average."""
        return {part.name for cell in self.cells.values() for part in cell.mean_of}

    @property
    def runs(self) -> list[tuple[Cell, int]]:
        """Every cell with the first seed, then with the next: a whole picture comes early."""
        return [(cell, seed) for seed in self.seeds for cell in self.cells.values()]

    def folder(self, cell: Cell, seed: int) -> Path:
        """The directory of one run."""
        return self.directory / "cells" / cell.name / f"seed_{seed}"

    @property
    def failures(self) -> list[Result]:
        """Results of the runs that failed."""
        return [result for result in self.results.values() if "failed" in result]


def prepare(base: RunConfig, studies: Sequence[Study], seeds: Sequence[int]) -> Ablation:
    """Every cell resolved and checked; nothing is trained or written.

    Without data (`base.data.path` empty) the models are sized for the classes of AudioSet.

    Raises:
        ValueError: a value, a study or the data do not fit; the message says where.
    """
    if base.train.devices > 1:
        raise ValueError(
            f"--train.devices is {base.train.devices}, but an ablation trains each cell on one "
            "device; leave it out"
        )
    base.data.features = str(features_folder(base) or "none")  # one folder for all cells
    manifest = made_up_manifest(assumed_heads(base))
    if base.data.path:
        manifest = load_manifest(base.data, seed=seeds[0])
        for split in ("train", scored_split(manifest, base.evaluate.split)):
            if not manifest.split(split):
                raise ValueError(
                    f"{manifest.source} has no clips in split {split!r}; it has: "
                    f"{', '.join(manifest.splits)} (choose what is scored with --evaluate.split)"
                )
    return Ablation(base, [make_plan(s, base, manifest) for s in studies], list(seeds), manifest)


def run(ablation: Ablation, *, keep_models: bool = False, console: Console | None = None) -> None:
    """Train and score what is missing; `ablation.results` and all files are filled.

    Raises:
        ValueError: the output directory holds something else.
    """
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    _open(ablation)
    ablation.results |= _finished_runs(ablation)
    total = len(ablation.runs)
    missing = [(c, seed) for c, seed in ablation.runs if (c.name, seed) not in ablation.results]
    done = f", {total - len(missing)} of them finished already" if len(missing) < total else ""
    where = ablation.directory / "cells"
    console.print(f"{_counts(ablation)}{done}; logs in {where}", markup=False)
    started = time.monotonic()
    for number, (cell, seed) in enumerate(missing, start=1):
        with console.status(f"{cell.name}, seed {seed}"):
            result = run_cell(
                cell,
                seed=seed,
                directory=ablation.folder(cell, seed),
                clips=ablation.manifest.id_hash,
                keep_models=keep_models,
                keep_logits=cell.name in ablation.averaged,
            )
        ablation.results[cell.name, seed] = result
        write(ablation)
        name, took = f"{cell.name}, seed {seed}", _duration(result["seconds"])
        line = f"{name}: failed after {took}: {result['failed']}" if "failed" in result else ""
        line = line or f"{name}: {format_score(result)} in {took}"
        seconds = (time.monotonic() - started) / number * (len(missing) - number)
        left = f"; about {_duration(seconds)} left" if seconds else ""
        console.print(f"[{total - len(missing) + number}/{total}] {line}{left}", markup=False)
    if not missing:  # other studies of the same cells have other tables
        write(ablation)


def _finished_runs(ablation: Ablation) -> Results:
    """What earlier calls have finished in the same directory."""
    found: Results = {}
    for cell, seed in ablation.runs:
        folder = ablation.folder(cell, seed)
        result = finished(cell, folder, clips=ablation.manifest.id_hash)
        if result is not None:
            found[cell.name, seed] = result
    for cell, seed in ablation.runs:  # what is still to be averaged, and was not kept
        for part in cell.mean_of if (cell.name, seed) not in found else ():
            if not (ablation.folder(part, seed) / LOGITS).is_file():
                found.pop((part.name, seed), None)
    return found


def _open(ablation: Ablation) -> None:
    """The output directory, holding nothing or this very ablation."""
    directory, saved = ablation.directory, ablation.directory / BASE_FILE
    if saved.is_file():
        found = differences(load_config(saved), ablation.base)
        if found:
            raise ValueError(f"{directory} holds another ablation: {told(found)}")
        return
    if directory.is_dir() and any(directory.iterdir()):
        raise ValueError(f"{directory} holds something else; give another --output")
    directory.mkdir(parents=True, exist_ok=True)
    write_whole(saved, config_text(ablation.base))


def write(ablation: Ablation) -> None:
    """Write `results.json`, of earlier studies in the directory too, and every study's files."""
    folders = sorted((ablation.directory / "cells").glob("*/seed_*"))
    found = [result for folder in folders if (result := read_result(folder)) is not None]
    write_whole(ablation.directory / "results.json", json.dumps(found, indent=1) + "\n")
    for plan in ablation.plans:
        folder = ablation.directory / plan.study.name
        folder.mkdir(exist_ok=True)
        write_tables(folder, plan, ablation.results, seeds=ablation.seeds)
        draw(folder, plan, ablation.results, seeds=ablation.seeds)


# ---------------------------------------------------------------------------- in words


def _counts(ablation: Ablation) -> str:
    cells, seeds = len(ablation.cells), len(ablation.seeds)
    plural = "" if seeds == 1 else "s"
    return f"{cells * seeds} runs: {cells} cells x {seeds} seed{plural}"


def _duration(seconds: float) -> str:
    """45 s, 12 min, 3.4 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def summary(ablation: Ablation) -> str:
    """Every study's table and where the files are."""
    parts = []
    for plan in ablation.plans:
        folder = ablation.directory / plan.study.name
        parts += [(folder / "table.md").read_text(), f"Figure: {folder / 'figure.png'}", ""]
    return "\n".join([*parts, f"All results: {ablation.directory / 'results.json'}"])


def failure_sentence(ablation: Ablation) -> str:
    """How many runs failed and why the first did; empty if none did."""
    failures = ablation.failures
    if not failures:
        return ""
    first = failures[0]
    return (
        f"{len(failures)} of {len(ablation.runs)} runs failed, the first: {first['cell']}, seed "
        f"{first['seed']}: {first['failed']}; the same command tries them again"
    )


def listing(ablation: Ablation) -> str:
    """Points, sizes, work and cells of every study, for a dry run."""
    lines = []
    for plan in ablation.plans:
        lines += [f"Study {plan.study.name}: {plan.study.title}", ""]
        lines += [*points_table(plan), ""]
    if not ablation.base.data.path:
        sizes = ", ".join(f"{name} {size}" for name, size in ablation.manifest.num_classes.items())
        known = {tuple(AUDIOSET.items()): "AudioSet", tuple(EPIC.items()): "Epic-Kitchens-100"}
        where = known[tuple(ablation.manifest.num_classes.items())]
        total = sum(ablation.manifest.num_classes.values())
        several = f" ({sizes})" if len(ablation.manifest.num_classes) > 1 else ""
        lines.append(f"No data given: sized for the {total} classes{several} of {where}.")
    seeds = ", ".join(map(str, ablation.seeds))
    return "\n".join(
        [
            *lines,
            f"{_counts(ablation)} ({seeds}). A cell is named by what it changes in the recipe; "
            "points with the same cell share its runs.",
            "GFLOP: one clip, one view, forward pass.",
        ]
    )
