"""What the figures share: size, colours, and SVG that follows the page into the dark.

They are drawn for a column of 4.6 inches, so that they can be read on a phone as well. A figure is
saved as PNG by `figures.clips.save_picture`.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sightsound.figures.clips import COLOURS
from sightsound.types import AUDIO, VIDEO

WIDTH_INCHES = 4.6
INK, SOFT, LINE = "#1d2733", "#5b6776", "#d9dfe6"
BOTH_COLOUR, AUDIO_COLOUR, VIDEO_COLOUR = COLOURS.values()
GAIN, LOSS = "#3b7d4f", "#b3261e"
_IN_THE_DARK = {
    INK: "#e3e8ee",
    SOFT: "#9ba8b7",
    LINE: "#343d48",
    BOTH_COLOUR: "#b9c0c9",
    GAIN: "#5fae78",
    LOSS: "#ea6a60",
}
# Of Okabe and Ito, told apart by colour-blind readers; the last ones are darker and lighter kin.
MANY = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7f6000",
    "#8c8c8c",
    "#5b3a99",
    "#a6d854",
)


def stream_colour(row: str) -> str:
    """The colour of a row of the table of scores: that of the streams it has."""
    return {AUDIO: AUDIO_COLOUR, VIDEO: VIDEO_COLOUR}.get(row.split()[0], BOTH_COLOUR)


def new_axes(height_inches: float, *, title: str = "") -> tuple[Figure, Axes]:
    """A new figure of the common width, and its axes with nothing that is not needed."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    return figure, tidy(figure.add_subplot(), title=title)


def tidy(axes: Axes, *, title: str = "") -> Axes:
    """The same axes in the common style."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.tick_params(colors=SOFT, labelcolor=INK, labelsize=8)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    if title:
        axes.set_title(title, color=INK, fontsize=10, parse_math=False)
    return axes


def legend(axes: Axes, **place: Any) -> None:
    """A legend without a frame at a `place` as matplotlib knows it; names are taken as they are.

    A label must not begin with "_": matplotlib leaves it out.
    """
    drawn = axes.legend(frameon=False, fontsize=8, labelcolor=INK, handletextpad=0.5, **place)
    for text in drawn.get_texts():
        text.set_parse_math(False)


def short(names: Iterable[str], *, most: int = 24) -> list[str]:
    """The names, the middle of long ones left out."""
    return [n if len(n) <= most else f"{n[: most - 9]}…{n[-8:]}" for n in names]


def apart(points: dict[int, np.ndarray], *, room: np.ndarray) -> list[int]:
    """The keys of `points` (x, y) around each of which there is `room` (x, y), first come first."""
    kept: list[int] = []
    for key, point in points.items():
        if all((np.abs(point - points[other]) > room).any() for other in kept):
            kept.append(key)
    return kept


def as_svg(figure: Figure) -> str:
    """An SVG picture with letters as text, and with light colours where the reader wants dark.

    Text has the reader's fonts, so that names in any script can be read. The same figure gives the
    same text every time.
    """
    buffer = io.StringIO()
    fixed = matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sightsound"})
    with fixed, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    for light in _IN_THE_DARK:
        text = text.replace(light, f"var(--c{light[1:]})")
    by_day, by_night = (
        ":root{" + "".join(f"--c{name[1:]}:{value};" for name, value in colours.items()) + "}"
        for colours in ({name: name for name in _IN_THE_DARK}, _IN_THE_DARK)
    )
    style = f"{by_day}@media screen and (prefers-color-scheme:dark){{{by_night}}}"
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return text.replace("<defs>", f"<style>{style}</style><defs>", 1)
