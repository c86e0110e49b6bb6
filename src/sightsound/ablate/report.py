"""Tables of a study: mean and standard deviation over seeds, failed runs included."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sightsound.ablate.plan import Plan, Point
from sightsound.evaluation.results import SCORE_WORDS
from sightsound.files import csv_rows, write_whole

Results = dict[tuple[str, int], dict[str, Any]]  # {(name of the cell, seed): result.json}
MAIN = "score"  # column of the whole model; the others are its streams alone


class Score(NamedTuple):
    """Mean over `num` seeds and sample standard deviation, `None` of a single seed."""

    mean: float
    deviation: float | None
    num: int


@dataclass(frozen=True)
class Row:
    """One point of a study with what its runs came to."""

    point: Point
    words: tuple[str, ...]  # one per axis
    scores: dict[str, Score]  # {"score", "audio alone", "video alone"}; empty before the first run
    failed: dict[int, str]  # {seed: reason}
    seconds: float | None  # mean of runs that were not interrupted


def make_rows(plan: Plan, results: Results, *, seeds: Sequence[int]) -> list[Row]:
    """A row for each point, in order."""
    rows = []
    for point in plan.points:
        runs = [results[point.cell.name, s] for s in seeds if (point.cell.name, s) in results]
        good = [result for result in runs if "failed" not in result]
        times = [result["seconds"] for result in good if not result["resumed"]]
        columns: dict[str, list[float]] = {}  # a score per run: the whole model, streams alone
        for result in good:
            columns.setdefault(MAIN, []).append(result["score"])
            for name, values in list(result["rows"].items())[1:]:
                columns.setdefault(name, []).append(values[result["score_name"]])
        rows.append(
            Row(
                point=point,
                words=tuple(a.say(v) for a, v in zip(plan.study.axes, point.values, strict=True)),
                scores={name: summarise(values) for name, values in columns.items()},
                failed={result["seed"]: result["failed"] for result in runs if "failed" in result},
                seconds=statistics.fmean(times) if times else None,
            )
        )
    return rows


def summarise(values: Sequence[float]) -> Score:
    """Mean and sample standard deviation (n - 1) of one score per seed."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Score(statistics.fmean(values), deviation, len(values))


def score_word(results: Results) -> str:
    """What is scored, in words: "top-1" or "mAP"; "score" before the first result."""
    names = [result["score_name"] for result in results.values() if "failed" not in result]
    return SCORE_WORDS[names[0]] if names else "score"


def format_score(result: Mapping[str, Any]) -> str:
    """`top-1 93.3 %` of one result."""
    return f"{SCORE_WORDS[result['score_name']]} {100 * result['score']:.1f} %"


# ---------------------------------------------------------------------------- files


def write_tables(folder: Path, plan: Plan, results: Results, *, seeds: Sequence[int]) -> None:
    """`table.md` to read and `table.csv` to go on with, in `folder`."""
    rows = make_rows(plan, results, seeds=seeds)
    write_whole(folder / "table.md", markdown(plan, rows, results, seeds=seeds))
    write_whole(folder / "table.csv", csv_text(plan, rows))


def markdown(plan: Plan, rows: Sequence[Row], results: Results, *, seeds: Sequence[int]) -> str:
    """The table under a heading that says what, on which clips, how often."""
    study = plan.study
    own = {p.cell.name for p in plan.points}
    results = {key: result for key, result in results.items() if key[0] in own}
    word, streams = score_word(results), _stream_columns(rows)
    lines = [f"# {study.title}", "", f"Study `{study.name}` ({study.source}). {study.note}"]
    header = [*_axis_labels(plan), word, *streams, "n", "GFLOP", "parameters (M)", "s per run"]
    table = [header, *(_cell_texts(row, streams) for row in rows)]
    lines += ["", _scored_on(results, word, seeds=seeds), "", *_aligned(table)]
    # A cell that stands at several points fails once.
    failed = {(row.point.cell.name, s): why for row in rows for s, why in row.failed.items()}
    if failed:
        lines += ["", "Failed:", ""]
        lines += [f"* {name}, seed {seed}: {why}" for (name, seed), why in failed.items()]
    lines += ["", *_provenance(results)]
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def _scored_on(results: Results, word: str, *, seeds: Sequence[int]) -> str:
    tests = {
        f"{test['num_clips']} clips of {test['source']}, split {test['split']} (ids {test['ids']})"
        for result in results.values()
        if (test := result.get("test"))
    }
    where = "; ".join(sorted(tests)) or "nothing yet"
    listed = ", ".join(map(str, seeds))
    return (
        f"{word} in % on {where}. Mean ± sample standard deviation over n of the seeds {listed}, "
        "the bars of the figure; alone: the same model with the other stream masked. GFLOP: one "
        "clip, one view, forward pass."
    )


def points_table(plan: Plan) -> list[str]:
    """Lines of a table with every point of a study, before anything is run."""
    table = [[*_axis_labels(plan), "parameters", "GFLOP", "cell"]]
    for row in make_rows(plan, {}, seeds=()):
        cell = row.point.cell
        size = (f"{cell.parameters:,}", f"{cell.flops / 1e9:.4g}")
        table.append([*_axis_words(row), *size, cell.name])
    return _aligned(table)


def _axis_labels(plan: Plan) -> list[str]:
    """Headers of the axes: the lines first, then x, in the order in which a figure is read."""
    labels = [plain_label(axis.label) for axis in plan.study.axes]
    return [*labels[1:], labels[0]]


def _axis_words(row: Row) -> list[str]:
    return [*row.words[1:], row.words[0]]


def _cell_texts(row: Row, streams: Sequence[str]) -> list[str]:
    main = row.scores.get(MAIN)
    return [
        *_axis_words(row),
        percent(main) if main else ("failed" if row.failed else "-"),
        *(percent(row.scores[name]) if name in row.scores else "-" for name in streams),
        str(main.num if main else 0) + (f", {len(row.failed)} failed" if row.failed else ""),
        f"{row.point.cell.flops / 1e9:.4g}",
        f"{row.point.cell.parameters / 1e6:.4g}",
        "-" if row.seconds is None else f"{row.seconds:.0f}",
    ]


def _stream_columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.scores if name != MAIN))


def percent(score: Score) -> str:
    """`93.3 ± 0.4`; of one seed `93.3`."""
    text = f"{100 * score.mean:.1f}"
    return text if score.deviation is None else f"{text} ± {100 * score.deviation:.1f}"


def plain_label(label: str) -> str:
    """An axis label without the mathematics of the figure: "fusion layer"."""
    words = [word for word in label.split() if not word.startswith("$")]
    return " ".join(words)


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Markdown lines whose columns stand under one another, also in a terminal."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        "| " + " | ".join(f"{text:<{w}}" for text, w in zip(row, widths, strict=True)) + " |"
        for row in table
    ]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]


def _provenance(results: Results) -> list[str]:
    """Versions, hardware and command of the runs, each different one once."""
    machines, commands = [], []
    for values in (result["environment"] for result in results.values()):
        packages = values["packages"]
        commit = f", commit {values['commit'][:12]}" if values["commit"] else ""
        machine = values["gpu"] or f"{values['cpu_count']} CPU cores"
        machines.append(
            f"sightsound {packages['sightsound']}{commit}, torch {packages['torch']}, Python "
            f"{values['python']}, {machine}."
        )
        name = Path(values["command"][0]).name.replace("__main__.py", "sightsound")
        commands.append(f"Command: `{shlex.join([name, *values['command'][1:]])}`")
    return list(dict.fromkeys([*machines, *commands]))


def csv_text(plan: Plan, rows: Sequence[Row]) -> str:
    """Plain numbers, scores as shares; one line per point."""
    streams = _stream_columns(rows)
    names = [plain_label(axis.label) for axis in plan.study.axes]
    header = [*names, "cell", "n", "failed", "score", "score_deviation"]
    for stream in streams:
        header += [stream, f"{stream} deviation"]
    lines: list[list[Any]] = [[*header, "gflop", "parameters", "seconds"]]
    for row in rows:
        main = row.scores.get(MAIN, Score(math.nan, None, 0))
        line = [*row.words, row.point.cell.name, main.num, len(row.failed), *_numbers(main)]
        for stream in streams:
            line += _numbers(row.scores.get(stream, Score(math.nan, None, 0)))
        cell = row.point.cell
        lines.append([*line, cell.flops / 1e9, cell.parameters, row.seconds])
    return csv_rows(lines)


def _numbers(score: Score) -> list[float | None]:
    return [None if math.isnan(score.mean) else score.mean, score.deviation]
