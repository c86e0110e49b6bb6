"""Figures over classes: how well each is told, by which stream, and what fusion adds.

The bars are those of the MBT paper, figures 9 and 10 of its first version: the classes that are
told best, and those that gain most over one stream alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sightsound.figures.style import (
    BOTH_COLOUR,
    GAIN,
    INK,
    LOSS,
    SOFT,
    apart,
    legend,
    new_axes,
    short,
    stream_colour,
)

MOST_CLASSES = 60  # as in the paper
LOWEST = 10  # of the gains, below the highest, so that losses are not hidden
MOST_NAMES = 16  # in the scatter
_BAR_INCHES = 0.17
_MARKERS = ("o", "D", "s", "^", "v")


def class_bars(scores: dict[str, np.ndarray], labels: Sequence[str], *, score: str) -> Figure:
    """A bar per class for the first row, marks for the others, the best class on top.

    `scores` {row of the table: (K,) shares, nan where there is none}. Of more than 60 classes the
    60 best are drawn (MBT, figure 9).
    """
    (whole, values), *others = scores.items()
    order = [k for k in np.argsort(-values, kind="stable") if not np.isnan(values[k])]
    shown = order[:MOST_CLASSES]
    figure, axes = new_axes(1.1 + _BAR_INCHES * len(shown))
    places = np.arange(len(shown))
    axes.barh(places, 100 * values[shown], 0.7, color=BOTH_COLOUR, alpha=0.55, label=whole)
    for (name, stream), marker in zip(others, _MARKERS, strict=False):
        look: dict[str, Any] = {"color": stream_colour(name), "marker": marker, "zorder": 3}
        axes.scatter(100 * stream[shown], places, 18, label=name, **look)
    _name_classes(axes, [labels[k] for k in shown], places=places)
    axes.set_xlim(0, 102)
    of = f"\n(the best {len(shown)} of {len(order)} classes)" if len(shown) < len(order) else ""
    axes.set_xlabel(f"{score} (%){of}")
    axes.grid(axis="y", visible=False)
    legend(axes, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3)
    return figure


def gain_bars(gain: np.ndarray, labels: Sequence[str], *, over: str, score: str) -> Figure:
    """What fusion adds to `over` in each class, most first; `gain` (K,), nan where there is none.

    Of more than 60 classes the 50 highest and the 10 lowest are drawn (MBT, figure 10).
    """
    order = [k for k in np.argsort(-gain, kind="stable") if not np.isnan(gain[k])]
    cut = len(order) > MOST_CLASSES
    shown = order[: MOST_CLASSES - LOWEST] + order[-LOWEST:] if cut else order
    places = np.arange(len(shown), dtype=float)
    if cut:
        places[-LOWEST:] += 1.0
    figure, axes = new_axes(0.9 + _BAR_INCHES * len(shown))
    points = 100 * gain[shown]
    axes.barh(places, points, 0.7, color=[GAIN if value >= 0 else LOSS for value in points])
    axes.axvline(0, color=SOFT, linewidth=0.8)
    _name_classes(axes, [labels[k] for k in shown], places=places)
    what = f"points of {score} over {over}"
    highest = MOST_CLASSES - LOWEST
    of = f"\n(the {highest} highest and {LOWEST} lowest of {len(order)})" if cut else ""
    axes.set_xlabel(what + of)
    axes.grid(axis="y", visible=False)
    return figure


def modality_scatter(
    audio: np.ndarray,
    video: np.ndarray,
    labels: Sequence[str],
    *,
    counts: np.ndarray,
    gain: np.ndarray,
    score: str,
) -> Figure:
    """Each class by what is heard (x) and seen (y) of it alone: (K,) shares, `counts` of clips.

    Green where both together are better than either (`gain` above 0), red where they are worse.
    Of the classes farthest from the diagonal those are named that find room.
    """
    there = np.flatnonzero(~np.isnan(audio) & ~np.isnan(video))
    figure, axes = new_axes(4.4)
    axes.plot([0, 100], [0, 100], color=SOFT, linewidth=0.8, linestyle="--")
    largest = min(60.0, 2000 / max(1, len(there)))
    size = 10 + largest * np.sqrt(counts[there] / max(1, counts.max()))
    kinds = {"gains from both": (gain > 0, GAIN), "even": (gain == 0, SOFT)}
    kinds["loses"] = (gain < 0, LOSS)
    for name, (which, colour) in kinds.items():
        part = which[there]
        if part.any():
            own = there[part]
            x, y = 100 * audio[own], 100 * video[own]
            look: dict[str, Any] = {"color": colour, "alpha": 0.6, "linewidths": 0}
            axes.scatter(x, y, size[part], label=name, clip_on=False, **look)
    _name_points(axes, audio, video, labels, sorted(there, key=lambda k: -abs(audio[k] - video[k])))
    axes.set(xlim=(-3, 103), ylim=(-3, 103), aspect="equal")
    axes.set_xlabel(f"sound alone: {score} (%)")
    axes.set_ylabel(f"pictures alone: {score} (%)")
    legend(axes, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


def _name_points(
    axes: Axes, audio: np.ndarray, video: np.ndarray, labels: Sequence[str], order: Sequence[int]
) -> None:
    """Names beside the first classes of `order` that find room, towards the middle."""
    far = order[:MOST_NAMES]
    ends = {k: np.array((audio[k] + (-0.3 if audio[k] > 0.5 else 0), video[k])) for k in far}
    for k in apart(ends, room=np.array((0.3, 0.04))):
        left = audio[k] > 0.5
        axes.annotate(
            short([labels[k]], most=20)[0],
            (100 * audio[k], 100 * video[k]),
            xytext=(-6 if left else 6, 3),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=7,
            color=INK,
            parse_math=False,
        )


def _name_classes(axes: Axes, names: Sequence[str], *, places: np.ndarray) -> None:
    axes.set_yticks(places, short(names), fontsize=7.5, parse_math=False)
    axes.set_ylim(places.max(initial=0) + 0.7, -0.7)
