"""How a run learned: its loss and its scores on the validation clips, by step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sightsound.figures.style import (
    BOTH_COLOUR,
    LINE,
    MANY,
    WIDTH_INCHES,
    legend,
    tidy,
)
from sightsound.library_errors import reading

MOST_POINTS = 80  # of a curve; means over as many steps as it takes


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`; none where there is no such file.

    A last line that was being written when the run stopped is left out.
    """
    if not path.is_file():
        return []
    text = path.read_text(errors="replace")
    whole = text[: text.rfind("\n") + 1]
    with reading(path, remedy="remove the line that is no JSON"):
        return [json.loads(line) for line in whole.splitlines() if line.strip()]


def learning_curves(lines: Sequence[dict[str, Any]], *, scores: dict[str, str]) -> Figure:
    """Training loss above, validation scores below, both over steps.

    `lines` as `read_metrics` gives them; `scores` {name in the lines: in words}, of those in [0, 1]
    that are drawn. The loss is the mean over neighbouring steps, its range is shaded.
    """
    steps = [line for line in lines if line["kind"] == "step"]
    checks = [line for line in lines if line["kind"] == "validation"]
    figure = Figure(figsize=(WIDTH_INCHES, 4.6 if checks else 2.6), layout="constrained")
    panels = figure.subplots(2 if checks else 1, 1, sharex=True, squeeze=False)[:, 0]
    above = tidy(panels[0])
    groups = np.array_split(np.arange(len(steps)), min(len(steps), MOST_POINTS))
    losses = np.array([line["loss"] for line in steps])
    places = [float(np.mean([steps[k]["step"] + 1 for k in group])) for group in groups]
    parts = [losses[group] for group in groups]
    spans = [min(part) for part in parts], [max(part) for part in parts]
    above.fill_between(places, *spans, color=LINE, linewidth=0)
    above.plot(places, [part.mean() for part in parts], color=BOTH_COLOUR, linewidth=1.3)
    above.set_ylabel("training loss")
    for axes in map(tidy, panels[1:]):
        at = [line["step"] + 1 for line in checks]
        for (name, words), colour in zip(scores.items(), MANY, strict=False):
            values = [100 * line.get(name, np.nan) for line in checks]
            axes.plot(at, values, color=colour, marker="o", markersize=3, label=words)
        axes.set_ylabel("validation (%)")
        legend(axes, loc="lower right")
    panels[-1].set_xlabel("steps")
    return figure
