"""One figure of all checks: what the model scores before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sightsound.diagnostics.finding import Check, Finding
from sightsound.figures.clips import COLOURS, save_picture, shortened
from sightsound.types import AUDIO, VIDEO

SOUND, PICTURES, WHOLE = COLOURS[AUDIO], COLOURS[VIDEO], COLOURS["audio+video"]
MANY_CLASSES = 25  # above this a panel of classes cannot be read
TITLES = {
    "swap": "Sound or pictures of another class",
    "shift": "Sound that comes late",
    "streams": "One stream left out",
    "knockout": "Exchange between streams cut",
    "deletion": "Explained parts shown or hidden",
    "randomise": "Maps after layers are destroyed",
}


CURVES = {  # what is along x, and along y
    "shift": ("seconds late", "score, %"),
    "deletion": ("share of the parts", "probability of the class"),
    "randomise": ("share of the layers destroyed", "rank correlation"),
}


def checks_figure(path: Path, checks: Sequence[Check], *, title: str) -> None:
    """Draw the checks that have numbers; no picture if none has."""
    panels: list[tuple[Callable[[Axes, Check], None], Check]] = []
    for check in checks:
        if check.findings:
            panels.append((_curves if check.curves else _bars, check))
        if 1 < len({f.label for f in check.findings} - {""}) <= MANY_CLASSES:
            panels.append((_classes, check))
    if not panels:
        return
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(6.2 * columns, 3.4 * rows), layout="constrained")
    figure.suptitle(shortened(title), fontsize=10)
    axes = np.atleast_1d(figure.subplots(rows, columns)).flatten()
    for axis, (draw, check) in zip(axes, panels, strict=False):
        title = TITLES[check.name] + (", by class" if draw is _classes else "")
        axis.set_title(title, fontsize=10)
        draw(axis, check)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    save_picture(figure, path)


def _bars(axes: Axes, check: Check) -> None:
    """A bar for each score on all clips, a line where it was before."""
    for row, finding in enumerate(check.overall):
        axes.barh(row, 100 * finding.after, 0.6, color=_colour(finding.what))
        _interval(axes, finding, row, "#555555")
        before = np.full(2, 100 * finding.before)
        axes.plot(before, [row - 0.4, row + 0.4], color="black", linewidth=2)
    axes.set_yticks(
        range(len(check.overall)), [finding.what for finding in check.overall], parse_math=False
    )
    axes.invert_yaxis()
    axes.set_xlabel("score, %; black line: before", fontsize=8)


def _interval(axes: Axes, finding: Finding, row: float, colour: str) -> None:
    axes.plot([100 * finding.low, 100 * finding.high], [row, row], color=colour, linewidth=1.2)


def _classes(axes: Axes, check: Check) -> None:
    """For each class how much is left: one dot per thing done."""
    labels = list(dict.fromkeys(f.label for f in check.findings if f.label))
    kinds = list(dict.fromkeys(finding.what for finding in check.findings))
    for index, kind in enumerate(kinds):
        own = [f for f in check.findings if f.label and f.what == kind]
        rows = [labels.index(f.label) + 0.24 * (index - (len(kinds) - 1) / 2) for f in own]
        values = [100 * f.after for f in own]
        axes.scatter(values, rows, color=_colour(kind), label=kind, s=22, zorder=3)
        for row, finding in zip(rows, own, strict=True):
            _interval(axes, finding, row, _colour(kind))
    own = [f for f in check.findings if f.label and f.what == kinds[0]]
    axes.scatter(
        [100 * f.before for f in own],
        [labels.index(f.label) for f in own],
        color="black",
        marker="|",
        s=120,
        label="before",
    )
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set_ylim(len(labels) + 0.6, -0.6)  # room for the legend below the last class
    axes.set_xlim(-3, 103)
    axes.set_xlabel("score of the class, %", fontsize=8)
    axes.legend(fontsize=7, loc="lower center", ncols=len(kinds) + 1, frameon=False)


def _curves(axes: Axes, check: Check) -> None:
    """The curves of a check with their intervals; what is random is dashed."""
    scale = 100 if check.measure == "score" else 1
    for curve in check.curves:
        style = "--" if "random" in curve.name else "-"
        colour = _colour(curve.name)
        mean, low, high = (scale * np.array(x) for x in (curve.mean, curve.low, curve.high))
        axes.plot(curve.x, mean, style, marker=".", label=curve.name, color=colour)
        axes.fill_between(curve.x, low, high, alpha=0.15, color=colour, linewidth=0)
    along, value = CURVES[check.name]
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.05 * scale)
    axes.set_xlabel(along, fontsize=8)
    axes.set_ylabel(value, fontsize=8)
    axes.legend(fontsize=7)


def _colour(what: str) -> str:
    """Grey for a control and for both streams."""
    if "another" in what:
        return WHOLE
    if "sound" in what:
        return SOUND
    return PICTURES if "pictures" in what or "shown" in what else WHOLE
