"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sightsound.figures.style import WIDTH_INCHES, short, tidy

_MANY_CLASSES = 25  # above this numbers in the cells cannot be read
_TOO_MANY = 60  # above this not even the names of classes can


def confusion_figure(counts: np.ndarray, labels: Sequence[str], *, title: str = "") -> Figure:
    """Counts (K, K), true class by row, predicted by column.

    Colour is the share of the row's clips, numbers are clips. Of many classes the numbers, of very
    many also the names are left out.

    Raises:
        ValueError: `counts` is not (K, K) for K labels.
    """
    if counts.shape != (len(labels), len(labels)):
        raise ValueError(
            f"counts has shape {counts.shape}; {len(labels)} labels need "
            f"({len(labels)}, {len(labels)})"
        )
    named = len(labels) <= _TOO_MANY
    side = max(WIDTH_INCHES, 1.8 + 0.25 * len(labels)) if named else WIDTH_INCHES
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = tidy(figure.add_subplot(), title=title)
    axes.grid(visible=False)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="none")
    for row, column in (
        zip(*np.nonzero(counts), strict=True) if len(labels) <= _MANY_CLASSES else ()
    ):
        colour = "white" if shares[row, column] > 0.5 else "black"
        style: dict[str, Any] = {"ha": "center", "va": "center", "color": colour, "fontsize": 7.5}
        axes.text(column, row, counts[row, column], **style)
    names = short(labels) if named else []
    ticks = np.arange(len(names))
    look: dict[str, Any] = {"fontsize": 7.5, "parse_math": False}
    axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor", **look)
    axes.set_yticks(ticks, names, **look)
    words = "" if named else f" ({len(labels)}, in their order)"
    axes.set_xlabel(f"predicted class{words}")
    axes.set_ylabel(f"true class{words}")
    return figure
