"""Plots a study: score over x, one line per variant, error bars over seeds.

Where the paper also shows the work (figure 3) a second panel has GFLOP per clip. Colours are those
of Okabe and Ito, told apart by colour-blind readers; markers and dashes say the same in print.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sightsound.ablate.plan import Plan
from sightsound.ablate.report import MAIN, Results, Row, Score, make_rows, score_word
from sightsound.ablate.studies import Study
from sightsound.files import atomic_path

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
_LONGEST_LABELS = 45  # letters along x that fit side by side
_PANEL_INCHES = (4.4, 3.4)
_SCORE_LABELS = {"top-1": "top-1 accuracy (%)", "mAP": "mAP (%)"}


def draw(folder: Path, plan: Plan, results: Results, *, seeds: Sequence[int]) -> None:
    """`figure.png` and `figure.svg` in `folder`; points without a score are gaps."""
    rows = make_rows(plan, results, seeds=seeds)
    figure = make_figure(plan.study, rows, score=score_word(results))
    for kind in ("png", "svg"):
        date = {"Date": None} if kind == "svg" else None
        with atomic_path(folder / f"figure.{kind}") as temporary:
            figure.savefig(temporary, format=kind, dpi=160, metadata=date)


def make_figure(study: Study, rows: Sequence[Row], *, score: str) -> Figure:
    """One panel, or two where the study has work to show."""
    width, height = _PANEL_INCHES
    panels = 2 if study.has_work else 1
    figure = Figure(figsize=(width * panels, height + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    lines: dict[str, list[Row]] = {}  # {legend: rows along x}
    for row in rows:
        lines.setdefault(", ".join(row.words[1:]), []).append(row)
    _draw_panel(axes[0], study, lines, values=_score_points)
    axes[0].set_ylabel(_SCORE_LABELS.get(score, f"{score} (%)"))
    axes[0].set_ylim(top=min(101.0, axes[0].get_ylim()[1]))  # bars may reach beyond 100 %
    if study.has_work:
        _draw_panel(axes[1], study, lines, values=_work_points)
        axes[1].set_ylabel("GFLOP per clip")
        axes[1].set_ylim(0, 1.05 * axes[1].get_ylim()[1])
    if len(lines) > 1:
        handles, labels = axes[-1].get_legend_handles_labels()
        columns = min(len(lines), 3)
        look = {"frameon": False, "fontsize": 9, "handlelength": 3}
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, **look)
    return figure


def _draw_panel(axes: Axes, study: Study, lines: dict[str, list[Row]], *, values: Any) -> None:
    for index, (name, rows) in enumerate(lines.items()):
        shift = 0.12 * (index - (len(lines) - 1) / 2) if study.x.scale == "names" else 0.0
        x, y, bars = values(rows, places=_places(study, rows), shift=shift)
        axes.errorbar(
            x,
            y,
            yerr=bars,
            label=name,
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            linestyle="" if study.x.scale == "names" else DASHES[index % len(DASHES)],
            markersize=5,
            linewidth=1.5,
            capsize=3,
        )
    _label_x(axes, study, next(iter(lines.values())))
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _places(study: Study, rows: Sequence[Row]) -> list[float]:
    """Where each row stands along x; names stand one after another."""
    if study.x.scale == "names":
        return [float(index) for index in range(len(rows))]
    return [float(row.point.values[0]) for row in rows]


def _score_points(rows: Sequence[Row], *, places: Sequence[float], shift: float) -> tuple:
    """x, mean in % and deviation; a row without a score is a gap in the line."""
    nothing = Score(math.nan, None, 0)
    scores = [row.scores.get(MAIN, nothing) for row in rows]
    means = [100 * score.mean for score in scores]
    return [p + shift for p in places], means, [100 * (score.deviation or 0.0) for score in scores]


def _work_points(rows: Sequence[Row], *, places: Sequence[float], shift: float) -> tuple:
    """x, GFLOP and no bars."""
    return [p + shift for p in places], [row.point.cell.flops / 1e9 for row in rows], None


def _label_x(axes: Axes, study: Study, rows: Sequence[Row]) -> None:
    places = _places(study, rows)
    if study.x.scale == "log":
        axes.set_xscale("log", base=2)
        axes.minorticks_off()
    words = [row.words[0] for row in rows]
    slanted = len("".join(words)) > _LONGEST_LABELS
    if slanted:
        axes.set_xticks(places, words, rotation=30, ha="right", rotation_mode="anchor")
    else:
        axes.set_xticks(places, words)
    if study.x.scale == "names":
        axes.set_xlim(-0.5, len(places) - 0.5)
    axes.set_xlabel(study.x.label)
