"""The picture of an explanation: what the model was given along time, and what of it counts.

Of maps, over seconds of the file:

    class and clip; how much sound and pictures count
    frames, evenly chosen, with what counts in each
    how much each moment of the pictures counts
    log-mel spectrogram with what counts in it
    how much each moment of the sound counts

Of MAFnet's seconds, a column for each:

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
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sightsound.explain.clips import ClipExplanation
from sightsound.explain.explanation import SecondTable
from sightsound.explain.heatmap import LEGEND, heatmap, sound_picture, strengths
from sightsound.explain.text import VERBS, clock, headline, rival_name, summary
from sightsound.figures.clips import (
    COLOURS,
    axes_at,
    save_picture,
    say_missing,
    shortened,
    write_at,
)
from sightsound.media.logmel import band_edges
from sightsound.preview.model_inputs import ModelInput, pixels, runs_of
from sightsound.types import AUDIO, MODALITIES, VIDEO, WORDS

_NOTHING = 0.4  # inches for a stream that is missing
_TONES = (250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz, written beside a spectrogram
_RANGE = 8.0  # the colours of attention go from an eighth of an even share to eight times it
_STEPS = {1 / 8: "1/8", 1.0: "1", 8.0: "8"}
_LEAST = 1.0  # the colours of contributions reach this far, over the number of cells: a guess
_HATCH: dict[str, Any] = {
    "facecolor": "0.93",
    "edgecolor": "0.6",
    "hatch": "////",
    "linewidth": 0,
}
_EVENT = "#2a9d4a"


def timeline_plot(
    path: str | Path, clip: ClipExplanation, *, event: tuple[float, float] | None = None
) -> Path:
    """Draw an explanation over what the model was given of its clip; the path of the PNG.

    Args:
        event: its start and end, in seconds of the file, if they are known; of MAFnet only.
    """
    given = clip.given
    assert given is not None
    if clip.explanation.seconds is None:
        figure = _MapPage(clip, given).draw()
    else:
        figure = _SecondPage(clip, given, clip.explanation.seconds).draw(event)
    return save_picture(figure, path)


class _Page:
    """A figure that is drawn from top to bottom; all lengths are inches."""

    figure: Figure
    left: float
    main: float  # width of the part that runs along time

    def __init__(self, clip: ClipExplanation, given: ModelInput) -> None:
        self.clip, self.given = clip, given
        self.explanation, self.front_end = clip.explanation, clip.front_end
        self.top = 0.0

    def axes(self, height: float, *, left: float = 0.0, width: float | None = None) -> Axes:
        """Axes at the current height, `left` inches from the first second."""
        width = self.main if width is None else width
        return axes_at(self.figure, self.left + left, self.top, width, height)

    def write(self, left: float, down: float, text: str, **style: Any) -> None:
        """Text whose base line is `down` inches below the current height."""
        write_at(self.figure, (self.left + left, self.top + down), text, **style)


# --- maps ---------------------------------------------------------------------------------------


class _MapPage(_Page):
    left, main, right = 0.8, 9.6, 0.3
    line, gap, profile, sound, ticks = 0.2, 0.12, 0.55, 1.6, 0.32
    most_frames = 8

    def draw(self) -> Figure:
        given, video = self.given, self.front_end.video
        shown: list[int] = []  # frames, evenly chosen
        if given.video is not None:
            count = len(given.video)
            number = min(count, self.most_frames)
            shown = [int((index + 0.5) * count / number) for index in range(number)]
        width = self.main / max(1, len(shown))
        heights = {
            VIDEO: width * video.height / video.width if shown else _NOTHING,
            AUDIO: _NOTHING if given.audio is None else self.sound,
        }
        streams, lines = self.explanation.streams, summary(self.clip)
        height = 0.55 + self.line * (len(lines) + 1) + 2 * self.gap
        for name, part in heights.items():
            height += (part + self.profile + 2 * self.gap + self.ticks) * (name in streams)
        self.figure = Figure(figsize=(self.left + self.main + self.right, height))
        truth = f"; the true class is {self.clip.truth}" if self.clip.truth else ""
        self.write(0.0, 0.28, headline(self.clip) + truth, fontsize=12, weight="bold")
        self.write(0.0, 0.48, shortened(self.explanation.id), color="0.4")
        self.top = 0.55
        for line in lines:
            self.top += self.line
            self.write(0.0, 0.0, line)
        self.top += self.line
        self.write(0.0, 0.0, LEGEND, color="0.4", fontsize=8)
        self.top += 2 * self.gap
        values = strengths(self.explanation)
        for name, part in heights.items():
            if name not in streams:
                continue
            if name == VIDEO:
                self.draw_frames(values[name], shown, part)
            else:
                self.draw_sound(values[name], part)
            self.top += part + self.gap
            self.draw_profile(name, streams[name])
        return self.figure

    def draw_frames(self, values: np.ndarray, shown: list[int], height: float) -> None:
        """Frames with what counts in each, over the seconds that follow below."""
        if self.given.video is None:
            say_missing(self.axes(height), "no pictures")
            return
        frames, width = pixels(self.given.video, self.front_end), self.main / len(shown)
        for column, index in enumerate(shown):
            axes = self.axes(height, left=column * width + 0.02, width=width - 0.04)
            cell = index * len(values) // len(frames)
            axes.imshow(heatmap(frames[index], values[cell]), aspect="auto")
            axes.set(xticks=[], yticks=[])

    def draw_sound(self, values: np.ndarray, height: float) -> None:
        """The spectrogram in grey, low frequencies below, with what counts in it."""
        axes, audio = self.axes(height), self.front_end.audio
        if self.given.audio is None:
            say_missing(axes, "no sound")
            return
        picture = sound_picture(self.given.audio, self.front_end)
        axes.imshow(heatmap(picture, values.T), origin="lower", aspect="auto")
        axes.set(xticks=[], yticks=[])
        if audio.spectrum != "waveform":
            edges = band_edges(audio)
            tones = [tone for tone in _TONES if edges[0] < tone < edges[-1]]
            bins = np.interp(tones, edges, np.arange(len(picture) + 1)) - 0.5
            names = [f"{tone} Hz" if tone < 1000 else f"{tone // 1000} kHz" for tone in tones]
            axes.set_yticks(bins, names, fontsize=8)

    def draw_profile(self, name: str, values: np.ndarray) -> None:
        """How much each moment counts, over seconds of the file."""
        profile = values.reshape(len(values), -1).sum(1)
        axes = self.axes(self.profile)
        start, length = self.given.starts.get(name, 0.0), self.given.lengths[name]
        step = length / len(profile)
        starts = start + step * np.arange(len(profile))
        axes.bar(starts, profile, step, align="edge", color=COLOURS[name])
        axes.axhline(0, color="0.6", linewidth=0.6)
        axes.set_xlim(start, start + length)
        axes.set_yticks([])
        axes.set_ylabel("counts", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        self.top += self.profile + self.ticks + self.gap


# --- seconds ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """A table of cells to draw."""

    title: str
    values: np.ndarray  # (T, K)
    form: str  # of a number in a cell
    sums: list[str]  # beside each stream
    colours: ScalarMappable
    ticks: dict[float, str]  # of the colour bar


def _rows(seconds: SecondTable) -> list[_Row]:
    """Attention; contributions to the class shown; these minus those to its rival."""
    title = "attention (1: an even share)"
    if seconds.padded_share > 0:
        title += f"; {100 * seconds.padded_share:.1f} % of it is on padding"
    shares = [f"{100 * share:.0f} %" for share in seconds.shares.values()]
    colours = ScalarMappable(LogNorm(1 / _RANGE, _RANGE, clip=True), "PuOr_r")
    rows = [_Row(title, seconds.times_neutral, ".2f", shares, colours, _STEPS)]
    if seconds.contributions is None or seconds.constant is None:
        return rows
    parts = seconds.contributions, seconds.constant, seconds.logits
    name = seconds.classes[seconds.shown]
    sums = {name: [part[..., seconds.shown] for part in parts]}
    if seconds.rival is not None:
        less = [part[..., seconds.rival] for part in parts]
        pairs = zip(sums[name], less, strict=True)
        sums[f"{name} minus {rival_name(seconds)}"] = [x - y for x, y in pairs]
    least = _LEAST / seconds.attention.size
    largest = max(least, *(float(np.abs(values).max()) for values, _, _ in sums.values()))
    ticks = {-largest: f"{-largest:.2g}", 0.0: "0", largest: f"+{largest:.2g}"}
    colours = ScalarMappable(Normalize(-largest, largest), "RdBu_r")
    for what, (values, constant, logit) in sums.items():
        title = f"for {what}: contributions and {constant:+z.2f} make the logit {logit:+z.2f}"
        beside = [f"{x:+z.2f}" for x in values.sum(0)]
        rows.append(_Row(title, values, "+z.2f", beside, colours, ticks))
    return rows


class _SecondPage(_Page):
    """T columns of the same place in all parts."""

    left, right = 0.95, 1.6
    widest, narrowest = 8.6, 5.7  # all seconds; the bar above them, at least
    largest_frame, smallest_frame = 1.9, 0.55
    heading, bar, event, label, row, gap = 0.6, 0.24, 0.24, 0.3, 0.34, 0.1
    sound, ticks = 1.3, 0.5
    room = 0.42  # of a cell that has its number written in it
    many_seconds = 12  # above it not every second has its number below

    def __init__(self, clip: ClipExplanation, given: ModelInput, seconds: SecondTable) -> None:
        super().__init__(clip, given)
        assert clip.second_starts is not None
        self.seconds, self.starts = seconds, clip.second_starts
        self.count = len(self.starts)
        # Pictures above sound, in whichever order the model has them.
        self.streams = [name for name in MODALITIES if name in seconds.modalities]
        self.order = [seconds.modalities.index(name) for name in self.streams]
        self.cell = min(self.largest_frame, self.widest / self.count)
        self.main = self.cell * self.count
        self.wide = max(self.main, self.narrowest)

    def draw(self, event: tuple[float, float] | None) -> Figure:
        rows, video = _rows(self.seconds), self.front_end.video
        step = math.ceil(self.smallest_frame / self.cell)  # seconds that share a frame
        width = self.cell * min(step, self.count)
        nothing = np.asarray(self.seconds.padded.all(0))
        padded = dict(zip(self.seconds.modalities, nothing, strict=True))
        frame = _NOTHING if padded.get(VIDEO, True) else width * video.height / video.width
        sound = _NOTHING if padded.get(AUDIO, True) else self.sound
        with_event = self.event * (event is not None)
        height = self.heading + self.bar + 4 * self.gap + with_event + sound + self.ticks
        height += (frame + self.gap) * (VIDEO in self.streams)
        height += (self.label + self.row * len(self.streams)) * len(rows)
        self.figure = Figure(figsize=(self.left + self.wide + self.right, height))
        self.draw_heading()
        if VIDEO in self.streams:
            self.draw_frames(step, width, frame)
            self.top += frame + self.gap
        if event is not None:
            self.draw_event(*event)
        for row in rows:
            self.draw_row(row)
        self.top += 2 * self.gap
        self.draw_sound(self.axes(sound))
        return self.figure

    def draw_heading(self) -> None:
        """The class in words, the clip, and a bar: how much was seen, how much heard."""
        signs = int(10 * (self.wide + self.right))
        title = textwrap.shorten(headline(self.clip), signs, placeholder=" ...")
        self.write(0.0, 0.28, title, fontsize=12, weight="bold")
        truth = f"true class {self.clip.truth}; " if self.clip.truth else ""
        self.write(0.0, 0.48, truth + shortened(self.explanation.id), color="0.4")
        self.top += self.heading
        axes, left = self.axes(self.bar, width=self.wide), 0.0
        for name in self.streams:
            share = self.seconds.shares[name]
            axes.barh(0, share, 1, left=left, color=COLOURS[name])
            text = f"{VERBS[name]} {100 * share:.0f} %" if share > 0.12 else ""
            axes.text(left + share / 2, 0, text, ha="center", va="center_baseline", color="white")
            left += share
        axes.set(xlim=(0, 1), ylim=(-0.5, 0.5))
        axes.set_axis_off()
        self.top += self.bar + 2 * self.gap

    def draw_frames(self, step: int, width: float, height: float) -> None:
        """A frame of each second, or of every few of them; hatched where there is none."""
        if self.given.video is None:
            say_missing(self.axes(height), "no pictures")
            return
        frames = pixels(self.given.video, self.front_end)
        per_second = len(frames) // self.count
        for second in range(0, self.count, step):
            middle = min(second + step // 2, self.count - 1)
            index, left = middle * per_second + per_second // 2, second * self.cell
            own = min(width, self.main - left)
            axes = self.axes(height, left=left + 0.02, width=own - 0.04)
            axes.set(xticks=[], yticks=[])
            if self.given.valid[VIDEO][index]:
                axes.imshow(frames[index], aspect="auto")
            else:
                axes.add_patch(Rectangle((0, 0), 1, 1, **_HATCH))

    def draw_event(self, start: float, stop: float) -> None:
        """A bar where the event is."""
        height = self.event - self.gap
        axes = self.axes(height)
        axes.barh(0, stop - start, 1, left=start - self.starts[0], color=_EVENT)
        axes.set(xlim=(0, self.count), ylim=(-0.5, 0.5))
        axes.set_axis_off()
        self.write(-0.1, height, "event", color=_EVENT, ha="right")
        self.top += self.event

    def draw_row(self, row: _Row) -> None:
        """A line per stream, with its sum and the colours beside."""
        self.write(0.0, self.label - 0.08, shortened(row.title))
        self.top += self.label
        height = self.row * len(self.streams)
        self.draw_cells(self.axes(height), row)
        for line, k in enumerate(self.order):
            self.write(self.main + 0.1, self.row * (line + 0.65), row.sums[k])
        bar = self.axes(height, left=self.wide + 0.75, width=0.12)
        colours = self.figure.colorbar(row.colours, cax=bar)
        colours.set_ticks(list(row.ticks), labels=list(row.ticks.values()), fontsize=8)
        colours.minorticks_off()
        self.top += height

    def draw_cells(self, axes: Axes, row: _Row) -> None:
        """Colours and numbers; padding is hatched, over its colour if it has any weight."""
        for line, k in enumerate(self.order):
            for second, value in enumerate(row.values[:, k]):
                padded = self.seconds.padded[second, k]
                empty = padded and not value
                colour = row.colours.to_rgba(value)
                style = (_HATCH if padded else {}) | ({} if empty else {"facecolor": colour})
                axes.add_patch(Rectangle((second, line), 1, 1, **style))
                if self.cell >= self.room and not empty:
                    dark = float(np.dot(colour[:3], (0.3, 0.59, 0.11))) < 0.5
                    style = {"fontsize": 8, "color": "white" if dark else "black"}
                    style |= {"ha": "center", "va": "center_baseline"}
                    axes.text(second + 0.5, line + 0.5, format(value, row.form), **style)
        axes.set(xlim=(0, self.count), ylim=(len(self.order), 0), xticks=[])
        axes.set_yticks(np.arange(len(self.order)) + 0.5, [WORDS[name] for name in self.streams])
        axes.vlines(range(1, self.count), 0, len(self.order), color="white", linewidth=1)
        axes.hlines(range(1, len(self.order)), 0, self.count, color="white", linewidth=1)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    def draw_sound(self, axes: Axes) -> None:
        """What is heard, low frequencies below; padding is hatched."""
        audio = self.given.audio
        if audio is None:
            text = "no sound" if AUDIO in self.streams else "this model does not listen"
            axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
        elif self.front_end.audio.spectrum == "waveform":
            samples = audio[0].flatten().numpy()
            times = np.linspace(0, self.count, len(samples), endpoint=False)
            axes.plot(times, samples, linewidth=0.4, color=COLOURS[AUDIO])
        else:
            values = audio[0].T.numpy()  # (M, F)
            extent = (0, self.count, 0, len(values))
            axes.imshow(values, origin="lower", aspect="auto", cmap="magma", extent=extent)
        if audio is not None:
            valid = self.given.valid[AUDIO].numpy()
            for run in runs_of(~valid):
                left, right = (edge * self.count / len(valid) for edge in run)
                axes.axvspan(left, right, **_HATCH)
        axes.set_yticks([])
        axes.set_xlim(0, self.count)
        ticks = range(0, self.count + 1, math.ceil(self.count / self.many_seconds))
        labels = [self.starts[x] if x < self.count else self.starts[-1] + 1 for x in ticks]
        axes.set_xticks(ticks, [clock(label) for label in labels], fontsize=8)
        axes.set_xlabel("seconds of the file", fontsize=8, labelpad=1)
