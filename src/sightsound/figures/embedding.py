"""Clips as points of the plane: those that the model finds alike lie together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sightsound.figures.style import INK, MANY, SOFT, apart, legend, new_axes, short


def embedding_figure(
    points: np.ndarray,
    classes: np.ndarray,
    labels: Sequence[str],
    *,
    wrong: np.ndarray,
    title: str = "",
) -> Figure:
    """Points (n, 2) in the colour of their class (n,), as in MAFnet's figure 7.

    `wrong` (n,) marks clips that the model mistakes: crosses. Class -1 stands for none: grey. Up to
    ten classes are listed; of more, as many are named in the picture as find room.
    """
    figure, axes = new_axes(4.3, title=title)
    colours = np.array([SOFT if k < 0 else MANY[k % len(MANY)] for k in classes])
    for which, marker, size in ((~wrong, "o", 12), (wrong, "x", 20)):
        look: dict[str, Any] = {"c": colours[which], "marker": marker, "s": size, "alpha": 0.75}
        axes.scatter(*points[which].T, linewidths=0 if marker == "o" else 1.1, **look)
    present = [int(k) for k in np.unique(classes) if k >= 0]
    if len(present) <= len(MANY):
        for k in present:
            name = f" {short([labels[k]])[0]}"  # see `legend`
            axes.scatter([], [], color=MANY[k % len(MANY)], s=16, label=name)
        legend(axes, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2)
    else:
        _name_in_place(axes, points, classes, labels)
    axes.set(xticks=[], yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    return figure


def _name_in_place(
    axes: Axes, points: np.ndarray, classes: np.ndarray, labels: Sequence[str]
) -> None:
    """Names of classes at the clip in their middle, largest classes first."""
    numbers, counts = np.unique(classes[classes >= 0], return_counts=True)
    middles = {}
    for k in numbers[np.argsort(-counts, kind="stable")]:
        own = points[classes == k]
        middles[int(k)] = own[np.abs(own - np.median(own, axis=0)).sum(1).argmin()]
    room = np.ptp(points, axis=0) * (0.3, 0.045)  # a name takes about so much
    for k in apart(middles, room=room):
        (x, y), name = middles[k], short([labels[k]], most=18)[0]
        axes.text(x, y, name, ha="center", fontsize=7, color=INK, parse_math=False)
