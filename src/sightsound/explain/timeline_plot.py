"""The picture of an explanation: a column for each second, pictures above sound.

class and its rival, clip
mostly seen or heard: a bar
a frame of each second
attention           pictures | sound    | shares, colours
contributions       pictures | sound    | sums, colours
log-mel spectrogram, or samples, over seconds of the file
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sightsound.explain.contributions import Explanation
from sightsound.explain.text import VERBS, clock, headline, rival_name
from sightsound.figures.clips import (
    COLOURS,
    axes_at,
    save_picture,
    say_missing,
    shortened,
    write_at,
)
from sightsound.media.front_end import FrontEnd
from sightsound.preview.model_inputs import ModelInput, pixels, runs_of
from sightsound.types import AUDIO, MODALITIES, VIDEO, WORDS

# Inches.
_LEFT, _RIGHT = 0.95, 1.6
_WIDEST, _NARROWEST = 8.6, 5.7  # all seconds; the bar above them, at least
_LARGEST_FRAME, _SMALLEST_FRAME, _NOTHING = 1.9, 0.55, 0.4
_HEADING, _BAR, _SPAN, _LABEL, _ROW, _GAP = 0.6, 0.24, 0.24, 0.3, 0.34, 0.1
_SOUND, _TICKS = 1.3, 0.5
_ROOM = 0.42  # of a cell that has its number written in it

_RANGE = 8.0  # the colours of attention go from an eighth of an even share to eight times it
_STEPS = {1 / 8: "1/8", 1.0: "1", 8.0: "8"}
_LEAST = 1.0  # the colours of contributions reach this far, over the number of cells: a guess
_MANY_SECONDS = 12  # above it not every second has its number below
_HATCH = {"facecolor": "0.93", "edgecolor": "0.6", "hatch": "////", "linewidth": 0}
_EVENT = "#2a9d4a"


def strip_picture(
    path: str | Path,
    explanation: Explanation,
    seen: ModelInput,
    front_end: FrontEnd,
    *,
    span: tuple[float, float] | None = None,
) -> Path:
    """Draw an explanation over what the model was given of the clip; the path of the PNG.

    Args:
        seen: the same clip as `front_end` delivers it.
        span: start and end of the event, in seconds of the file, if they are known.
    """
    strips = _strips(explanation)
    page = _Page(explanation, front_end, num_strips=len(strips), with_span=span is not None)
    page.draw_heading()
    page.draw_frames(seen)
    if span is not None:
        page.draw_span(*span)
    for strip in strips:
        page.draw_strip(strip)
    page.draw_sound(seen)
    return save_picture(page.figure, path)


@dataclass(frozen=True)
class _Strip:
    """A table of cells to draw."""

    title: str
    values: np.ndarray  # (T, K)
    form: str  # of a number in a cell
    sums: list[str]  # beside each stream
    colours: ScalarMappable
    ticks: dict[float, str]  # of the colour bar


def _strips(explanation: Explanation) -> list[_Strip]:
    """Attention; contributions to the class shown; these minus those to its rival."""
    title = "attention (1: an even share)"
    if explanation.padded_share > 0:
        title += f"; {100 * explanation.padded_share:.1f} % of it is on padding"
    shares = [f"{100 * share:.0f} %" for share in explanation.shares.values()]
    colours = ScalarMappable(LogNorm(1 / _RANGE, _RANGE, clip=True), "PuOr_r")
    strips = [_Strip(title, explanation.times_neutral, ".2f", shares, colours, _STEPS)]
    if explanation.contribution is None:
        return strips
    tables = _contributions(explanation)
    least = _LEAST / explanation.attention.size
    largest = max(least, *(float(np.abs(values).max()) for values in tables.values()))
    ticks = {-largest: f"{-largest:.2g}", 0.0: "0", largest: f"+{largest:.2g}"}
    colours = ScalarMappable(Normalize(-largest, largest), "RdBu_r")
    return strips + [
        _Strip(title, values, "+z.2f", [f"{x:+z.2f}" for x in values.sum(0)], colours, ticks)
        for title, values in tables.items()
    ]


def _contributions(explanation: Explanation) -> dict[str, np.ndarray]:
    """{title: (T, K)}: for the class shown, and for it rather than its rival."""
    name = explanation.classes[explanation.shown]
    parts = explanation.contributions, explanation.constant, explanation.logits
    sums = {name: [part[..., explanation.shown] for part in parts]}
    if explanation.rival is not None:
        less = [part[..., explanation.rival] for part in parts]
        pairs = zip(sums[name], less, strict=True)
        sums[f"{name} minus {rival_name(explanation)}"] = [x - y for x, y in pairs]
    return {
        f"for {what}: contributions and {constant:+z.2f} make the logit {logit:+z.2f}": values
        for what, (values, constant, logit) in sums.items()
    }


class _Page:
    """A figure that is drawn from top to bottom, with T columns of the same place in all parts."""

    def __init__(
        self, explanation: Explanation, front_end: FrontEnd, *, num_strips: int, with_span: bool
    ) -> None:
        self.explanation, self.front_end = explanation, front_end
        self.count = len(explanation.starts)
        # Pictures above sound, in whichever order the model has them.
        self.streams = [name for name in MODALITIES if name in explanation.modalities]
        self.order = [explanation.modalities.index(name) for name in self.streams]
        self.cell = min(_LARGEST_FRAME, _WIDEST / self.count)
        self.step = math.ceil(_SMALLEST_FRAME / self.cell)  # seconds that share a frame
        self.frame_width = self.cell * min(self.step, self.count)
        self.frame_height = self.frame_width * front_end.video.height / front_end.video.width
        there = dict(zip(explanation.modalities, ~explanation.padded.all(0), strict=True))
        self.frame_height = self.frame_height if there.get(VIDEO) else _NOTHING
        self.sound_height = _SOUND if there.get(AUDIO) else _NOTHING
        self.main = self.cell * self.count
        self.wide = max(self.main, _NARROWEST)
        self.top = 0.0
        height = _HEADING + _BAR + 4 * _GAP + _SPAN * with_span + self.sound_height + _TICKS
        height += (self.frame_height + _GAP) * (VIDEO in self.streams)
        height += (_LABEL + _ROW * len(self.streams)) * num_strips
        self.figure = Figure(figsize=(_LEFT + self.wide + _RIGHT, height))

    def axes(self, height: float, *, left: float = 0.0, width: float | None = None) -> Axes:
        """Axes at the current height, `left` inches from the first second."""
        width = self.main if width is None else width
        return axes_at(self.figure, _LEFT + left, self.top, width, height)

    def write(self, left: float, down: float, text: str, **style: object) -> None:
        """Text whose base line is `down` inches below the current height."""
        write_at(self.figure, (_LEFT + left, self.top + down), text, **style)

    # --- what was said, seen and heard ----------------------------------------------------------

    def draw_heading(self) -> None:
        """The class in words, the clip, and a bar: how much was seen, how much heard."""
        signs = int(10 * (self.wide + _RIGHT))
        title = textwrap.shorten(headline(self.explanation), signs, placeholder=" ...")
        self.write(0.0, 0.28, title, fontsize=12, weight="bold")
        truth = f"true class {self.explanation.truth}; " if self.explanation.truth else ""
        self.write(0.0, 0.48, truth + shortened(self.explanation.id), color="0.4")
        self.top += _HEADING
        axes, place = self.axes(_BAR, width=self.wide), 0.0
        for name in self.streams:
            share = self.explanation.shares[name]
            axes.barh(0, share, 1, left=place, color=COLOURS[name])
            text = f"{VERBS[name]} {100 * share:.0f} %" if share > 0.12 else ""
            axes.text(place + share / 2, 0, text, ha="center", va="center_baseline", color="white")
            place += share
        axes.set(xlim=(0, 1), ylim=(-0.5, 0.5))
        axes.set_axis_off()
        self.top += _BAR + 2 * _GAP

    def draw_frames(self, seen: ModelInput) -> None:
        """A frame of each second, or of every few of them; hatched where there is none."""
        if VIDEO not in self.streams:
            return
        if seen.video is None:
            say_missing(self.axes(self.frame_height), "no pictures")
        else:
            frames = pixels(seen.video, self.front_end)
            per_second = len(frames) // self.count
            for second in range(0, self.count, self.step):
                middle = min(second + self.step // 2, self.count - 1)
                index = middle * per_second + per_second // 2
                left = second * self.cell
                self._draw_frame(frames[index] if seen.valid[VIDEO][index] else None, left)
        self.top += self.frame_height + _GAP

    def _draw_frame(self, frame: np.ndarray | None, left: float) -> None:
        width = min(self.frame_width, self.main - left)
        axes = self.axes(self.frame_height, left=left + 0.02, width=width - 0.04)
        axes.set(xticks=[], yticks=[])
        if frame is None:
            axes.add_patch(Rectangle((0, 0), 1, 1, **_HATCH))
        else:
            axes.imshow(frame, aspect="auto")

    def draw_span(self, start: float, stop: float) -> None:
        """A bar where the event is."""
        axes, first = self.axes(_SPAN - _GAP), self.explanation.starts[0]
        axes.barh(0, stop - start, 1, left=start - first, color=_EVENT)
        axes.set(xlim=(0, self.count), ylim=(-0.5, 0.5))
        axes.set_axis_off()
        self.write(-0.1, _SPAN - _GAP, "event", color=_EVENT, ha="right")
        self.top += _SPAN

    def draw_sound(self, seen: ModelInput) -> None:
        """What is heard, low frequencies below; padding is hatched."""
        self.top += 2 * _GAP
        axes = self.axes(self.sound_height)
        if seen.audio is None:
            text = "no sound" if AUDIO in self.streams else "this model does not listen"
            axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
        else:
            self._draw_heard(axes, seen)
        axes.set_yticks([])
        axes.set_xlim(0, self.count)
        starts = self.explanation.starts
        places = range(0, self.count + 1, math.ceil(self.count / _MANY_SECONDS))
        labels = [starts[x] if x < self.count else starts[-1] + 1 for x in places]
        axes.set_xticks(places, [clock(label) for label in labels], fontsize=8)
        axes.set_xlabel("seconds of the file", fontsize=8, labelpad=1)

    def _draw_heard(self, axes: Axes, seen: ModelInput) -> None:
        if self.front_end.audio.spectrum == "waveform":
            samples = seen.audio[0].flatten().numpy()
            places = np.linspace(0, self.count, len(samples), endpoint=False)
            axes.plot(places, samples, linewidth=0.4, color=COLOURS[AUDIO])
        else:
            values = seen.audio[0].T.numpy()  # (M, F)
            extent = (0, self.count, 0, len(values))
            axes.imshow(values, origin="lower", aspect="auto", cmap="magma", extent=extent)
        valid = seen.valid[AUDIO].numpy()
        for run in runs_of(~valid):
            left, right = (place * self.count / len(valid) for place in run)
            axes.axvspan(left, right, **_HATCH)

    # --- tables of cells ------------------------------------------------------------------------

    def draw_strip(self, strip: _Strip) -> None:
        """A row per stream, with its sum and the colours beside."""
        self.write(0.0, _LABEL - 0.08, shortened(strip.title))
        self.top += _LABEL
        height = _ROW * len(self.streams)
        axes = self.axes(height)
        self._draw_cells(axes, strip)
        for row, k in enumerate(self.order):
            self.write(self.main + 0.1, _ROW * (row + 0.65), strip.sums[k])
        bar = self.axes(height, left=self.wide + 0.75, width=0.12)
        colours = self.figure.colorbar(strip.colours, cax=bar)
        colours.set_ticks(list(strip.ticks), labels=list(strip.ticks.values()), fontsize=8)
        colours.minorticks_off()
        self.top += height

    def _draw_cells(self, axes: Axes, strip: _Strip) -> None:
        """Colours and numbers; padding is hatched, over its colour if it has any weight."""
        for row, k in enumerate(self.order):
            for second, value in enumerate(strip.values[:, k]):
                padded = self.explanation.padded[second, k]
                colour = "none" if padded and not value else strip.colours.to_rgba(value)
                style = _HATCH | ({} if colour == "none" else {"facecolor": colour})
                style = style if padded else {"facecolor": colour}
                axes.add_patch(Rectangle((second, row), 1, 1, **style))
                if self.cell >= _ROOM and colour != "none":
                    self._write_number(axes, (second, row), format(value, strip.form), colour)
        axes.set(xlim=(0, self.count), ylim=(len(self.order), 0), xticks=[])
        axes.set_yticks(np.arange(len(self.order)) + 0.5, [WORDS[name] for name in self.streams])
        axes.vlines(range(1, self.count), 0, len(self.order), color="white", linewidth=1)
        axes.hlines(range(1, len(self.order)), 0, self.count, color="white", linewidth=1)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    def _write_number(
        self, axes: Axes, cell: tuple[int, int], text: str, colour: tuple[float, ...]
    ) -> None:
        """In the middle of a cell (second, row), to be read on its colour."""
        dark = float(np.dot(colour[:3], (0.3, 0.59, 0.11))) < 0.5
        ink = "white" if dark else "black"
        place = (cell[0] + 0.5, cell[1] + 0.5)
        axes.text(*place, text, ha="center", va="center_baseline", fontsize=8, color=ink)
