"""Whether probabilities mean what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sightsound.figures.style import (
    SOFT,
    WIDTH_INCHES,
    legend,
    stream_colour,
    tidy,
)
from sightsound.metrics.statistics import Calibration

_MARKERS = ("o", "D", "s", "^", "v", "P")


def reliability_figure(calibrations: dict[str, Calibration]) -> Figure:
    """How often predictions of a confidence come true, for each row of the table of scores.

    On the dashed line they come true as often as they say. Below, how many predictions of the
    first row there are of each confidence.
    """
    figure = Figure(figsize=(WIDTH_INCHES, 5.2), layout="constrained")
    axes, below = map(tidy, figure.subplots(2, 1, height_ratios=[4, 1], sharex=True))
    axes.plot([0, 100], [0, 100], color=SOFT, linewidth=0.8, linestyle="--")
    for (name, found), marker in zip(calibrations.items(), _MARKERS, strict=False):
        there = found.count > 0
        points = 100 * found.confidence[there], 100 * found.accuracy[there]
        look: dict[str, Any] = {
            "color": stream_colour(name),
            "marker": marker,
            "markersize": 4,
            "linewidth": 1.3,
        }
        axes.plot(*points, label=f"{name}: error {100 * found.error:.1f} %", **look)
    name, first = next(iter(calibrations.items()))
    edges = np.linspace(0, 100, len(first.count) + 1)
    width = 100 / len(first.count)
    below.bar(edges[:-1], first.count, width, align="edge", color=stream_colour(name), alpha=0.6)
    axes.set(xlim=(0, 100), ylim=(0, 102), ylabel="come true (%)")
    below.set(xlabel="confidence (%)", ylabel="number")
    legend(axes, loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=2)
    return figure
