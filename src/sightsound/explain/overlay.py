"""A film of one clip: what is seen and heard, what of it counts, and what is said meanwhile.

    what the camera saw  |  the same in grey, its map over it in colour
    the spectrogram, and below it the same in grey with its map; a line marks the moment
    scores of classes over time, or of the whole clip

The film shows the model's window, with the sound and the frames of the file at their own times; a
map stays for as long as its cell stands for. All but frames, map and line is drawn once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sightsound.explain.clips import ClipExplanation
from sightsound.explain.heatmap import LEGEND, heatmap, sound_picture, strengths
from sightsound.explain.text import stream_words
from sightsound.figures.clips import axes_at, shortened, write_at
from sightsound.figures.style import legend, short
from sightsound.media.decode import DecodeError
from sightsound.media.encode import AAC_RATES_HZ, write_frames
from sightsound.media.probe import probe
from sightsound.media.reader import Reader
from sightsound.preview.model_inputs import ModelInput
from sightsound.types import AUDIO, VIDEO

_DPI = 100
_WIDTH = 960  # pixels
_LEFT, _RIGHT, _GAP = 40, 20, 20
_HEADING, _CAPTION, _TICKS, _LEGEND = 84, 26, 46, 18
_SOUND, _SCORES, _TIME = 110, 170, 14  # heights
_SMOOTH = 20  # frames per second at least: the line must not jump
_FAST = 31  # at most
_READ_AT_ONCE = 48  # frames
_TOP = 5  # classes
_QUALITY = 23  # of x264
_LINE = np.array([0, 200, 120], np.uint8)


@dataclass(frozen=True)
class Curves:
    """Scores over time; between two times they hold."""

    times: np.ndarray  # (C + 1,) seconds of the file
    scores: Mapping[str, np.ndarray]  # {class: (C,)}
    what: str = "what is said meanwhile"


def write_overlay(
    path: str | Path,
    clip: ClipExplanation,
    *,
    reader: Reader,
    scores: Mapping[str, float],
    curves: Curves | None = None,
) -> Path:
    """Write an .mp4 with sound of what counts in one clip, whole or not at all; its path.

    Args:
        clip: with what the model was given of it.
        reader: of its files, such as that of its data set.
        scores: {class: probability} of the clip.
        curves: the same over time; `None`: bars of `scores`.

    Raises:
        ValueError: nothing of the clip was read.
        DecodeError: its file cannot be decoded (any more).
    """
    given = clip.given
    assert given is not None
    start, stop = film_window(given)
    page = _Page(clip, given, start=start, stop=stop)
    page.draw(scores, curves)
    rate = _frame_rate(given)
    rate_hz = clip.front_end.audio.rate_hz  # what is heard is what the model is given
    rate_hz = rate_hz if rate_hz in AAC_RATES_HZ else 48000
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_frames(
        path,
        page.frames(reader, rate),
        size=page.size,
        frames_per_second=float(rate),
        waveform=_sound(given, reader, start, stop, rate_hz),
        rate_hz=rate_hz,
        crf=_QUALITY,
    )
    return path


def film_window(given: ModelInput) -> tuple[float, float]:
    """(start, stop) of all windows; what lies outside the clip is left out, unless it wraps."""
    start = min(given.starts.values(), default=0.0)
    stop = max((x + given.lengths[name] for name, x in given.starts.items()), default=0.0)
    if not given.wraps:
        start = max(start, given.clip_window.start_seconds)
        stop = min(stop, given.clip_window.stop_seconds)
    if start >= stop or not given.streams():
        raise ValueError(f"nothing of {given.row.id!r} could be read, so there is no film of it")
    return start, stop


def _frame_rate(given: ModelInput) -> Fraction:
    """A multiple of the file's own rate that is smooth, so that its frames stay as long as there.

    Or a part of it, where that is high; 25 where there is none.
    """
    try:
        info = probe(given.row.path).video
    except (DecodeError, OSError):  # no file of its own: decoded before
        info = None
    rate = Fraction(info.frames_per_second if info and info.frames_per_second else 25)
    rate = rate.limit_denominator(1001)
    rate *= max(1, math.ceil(_SMOOTH / rate))
    return rate / math.ceil(rate / _FAST)


def _sound(
    given: ModelInput, reader: Reader, start: float, stop: float, rate_hz: int
) -> np.ndarray | None:
    """(S,) of the window; `None` if the file has none, or none that the model could be given."""
    if AUDIO in given.lengths and given.audio is None:
        return None
    path = given.row.audio_path or given.row.path
    parts = [reader.sound(path, *part, rate_hz) for part in given.parts(start, stop)]
    samples = [part.samples for part in parts if part is not None]
    return np.concatenate(samples) if samples and len(samples) == len(parts) else None


# --- drawing ------------------------------------------------------------------------------------


class _Page:
    """The picture behind every frame of the film, in pixels, and where its moving parts go."""

    def __init__(
        self, clip: ClipExplanation, given: ModelInput, *, start: float, stop: float
    ) -> None:
        self.clip, self.given = clip, given
        self.start, self.length = start, stop - start
        self.panel = (0, 0)  # (H, W)
        if VIDEO in given.lengths:
            width = (_WIDTH - _LEFT - _GAP - _RIGHT) // 2
            video = clip.front_end.video
            self.panel = (width * video.height // video.width, width)
        self.lines: list[tuple[int, int]] = []  # (top, bottom) of the parts that share the time
        self.values = strengths(clip.explanation)
        self.panel_top, self.top = _HEADING + _CAPTION, _HEADING
        self.background: np.ndarray = np.empty((0, 0, 3), np.uint8)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the film."""
        height, width = len(self.background), self.background.shape[1]
        return height, width

    def draw(self, scores: Mapping[str, float], curves: Curves | None) -> None:
        """All that does not move."""
        audio = self.given.audio
        if self.panel[0]:
            self.top = self.panel_top + self.panel[0]
        height = self.top
        height += 2 * (_CAPTION + _SOUND) if audio is not None else _CAPTION + _TIME
        height += _TICKS + _CAPTION + _SCORES + _GAP
        height += (_TICKS + _LEGEND) * (curves is not None)
        height += height % 2
        self.figure = Figure(figsize=(_WIDTH / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
        self._draw_heading()
        if audio is not None:
            last = self._draw_sound(sound_picture(audio, self.clip.front_end))
        else:
            self.top += _CAPTION
            last = self._axes(_TIME)
            last.set(xlim=(0, self.length), ylim=(0, 1), yticks=[])
            self._place_line(_TIME)
        self._draw_seconds(last)
        self.top += _TICKS
        if curves is not None:
            self._draw_curves(curves)
        else:
            self._draw_bars(scores)
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        self.background = np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def _write(self, left: int, base: int, text: str, **style: Any) -> None:
        write_at(self.figure, (left / _DPI, base / _DPI), text, **style)

    def _axes(self, height: int, *, left: int = _LEFT) -> Axes:
        """Axes at the current height, as wide as the page."""
        width = _WIDTH - left - _RIGHT
        inches = (length / _DPI for length in (left, self.top, width, height))
        return axes_at(self.figure, *inches)

    def _draw_heading(self) -> None:
        """The class, the clip, how much each stream counts; captions of the frames."""
        one, truth = self.clip.explanation, self.clip.truth
        title = f"{one.shown} ({100 * one.probability:.1f} %)"
        about = (f"true class {truth}; " if truth else "") + shortened(one.id)
        words = f"{one.method}: {stream_words(self.clip)}. {LEGEND}"
        self._write(_LEFT, 28, title, fontsize=14, weight="bold")
        self._write(_LEFT, 50, about, color="0.35")
        self._write(_LEFT, 70, words, color="0.35", fontsize=8)
        if self.panel[0]:
            base = self.panel_top - 8
            self._write(_LEFT, base, "what is seen")
            self._write(_LEFT + self.panel[1] + _GAP, base, "what of it counts")
            if self.given.video is None:
                middle = self.panel_top + self.panel[0] // 2
                self._write(_WIDTH // 2, middle, "no pictures", ha="center")

    def _draw_sound(self, picture: np.ndarray) -> Axes:
        """The spectrogram (M, F, 3) as it is and with its map; the lower one."""
        values = self.values.get(AUDIO, np.zeros((1, 1)))
        images = {"what is heard": picture, "what of it counts": heatmap(picture, values.T)}
        for text, image in images.items():
            self._write(_LEFT, self.top + _CAPTION - 7, text)
            self.top += _CAPTION
            axes = self._axes(_SOUND)
            left = self.given.starts[AUDIO] - self.start
            extent = (left, left + self.given.lengths[AUDIO], 0, 1)
            axes.imshow(image, origin="lower", aspect="auto", extent=extent)
            axes.set(xlim=(0, self.length), yticks=[], xticks=[])
            self._place_line(_SOUND)
        return axes  # type: ignore[possibly-undefined]  # there are two images

    def _draw_seconds(self, axes: Axes) -> None:
        """Seconds of the file below."""
        step = next(s for s in (0.25, 0.5, 1, 2, 5, 10, 30, 60, math.inf) if 20 * s > self.length)
        step = min(step, self.length)
        first = math.ceil(self.start / step - 1e-6)
        last = math.floor((self.start + self.length) / step + 1e-6)
        ticks = np.arange(first, last + 1) * step
        labels = [f"{self.given.file_seconds(tick):.10g}" for tick in ticks]
        axes.set_xticks(ticks - self.start, labels, fontsize=8)
        axes.set_xlabel("seconds of the file", fontsize=8, labelpad=1)

    def _draw_curves(self, curves: Curves) -> None:
        names = _top({name: np.nan_to_num(values).max() for name, values in curves.scores.items()})
        self._write(_LEFT, self.top + _CAPTION - 7, curves.what)
        self.top += _CAPTION + _LEGEND
        axes = self._axes(_SCORES)
        edges = np.asarray(curves.times) - self.start
        for name, label in zip(names, short(names), strict=True):
            label = f" {label}"  # see `legend`
            axes.stairs(curves.scores[name], edges, label=label, baseline=None, linewidth=1.8)
        axes.set(xlim=(0, self.length), ylim=(0, 1.02), yticks=[0, 0.5, 1])
        axes.tick_params(labelsize=8)
        style = {"ncols": _TOP, "borderaxespad": 0.2, "handlelength": 1.2}
        legend(axes, loc="lower left", bbox_to_anchor=(0, 1), **style)
        self._draw_seconds(axes)
        self._place_line(_SCORES)

    def _draw_bars(self, scores: Mapping[str, float]) -> None:
        names, shown = _top(scores), self.clip.explanation.shown
        self._write(_LEFT, self.top + _CAPTION - 7, "what is said of the whole clip")
        self.top += _CAPTION
        axes = self._axes(_SCORES - _GAP, left=230)
        colours = ["#d62728" if name == shown else "0.6" for name in names]
        axes.barh(range(len(names)), [scores[name] for name in names], color=colours)
        labels = [name[-34:] for name in names]
        axes.set_yticks(range(len(names)), labels, fontsize=9, parse_math=False)
        axes.set(xlim=(0, 1), xticks=[0, 0.5, 1], ylim=(len(names) - 0.5, -0.5))
        axes.tick_params(axis="x", labelsize=8)

    def _place_line(self, height: int) -> None:
        self.lines.append((self.top, self.top + height))
        self.top += height

    # --- what moves -----------------------------------------------------------------------------

    def frames(self, reader: Reader, rate: Fraction) -> Iterator[np.ndarray]:
        """The film, (H, W, 3) uint8 at a time."""
        count = max(1, math.ceil(self.length * rate - 1e-6))
        times = self.start + np.arange(count) / float(rate)
        for first in range(0, count, _READ_AT_ONCE):
            part = times[first : first + _READ_AT_ONCE]
            pictures = None
            if self.given.video is not None:
                wanted = np.array([self.given.file_seconds(time) for time in part])
                path, crop = self.given.row.path, self.given.crop
                pictures = reader.frames(path, wanted, self.panel, crop=crop)
            for index, time in enumerate(part):
                picture = None if pictures is None else pictures.pixels[index].transpose(1, 2, 0)
                yield self._frame(time, picture)

    def _frame(self, time: float, picture: np.ndarray | None) -> np.ndarray:
        """The background with a picture (H, W, 3), its map, and the line at a moment."""
        frame = self.background.copy()
        if picture is not None:
            height, width = self.panel
            rows = slice(self.panel_top, self.panel_top + height)
            frame[rows, _LEFT : _LEFT + width] = picture
            left, values = _LEFT + width + _GAP, self.values.get(VIDEO)
            share = (time - self.given.starts[VIDEO]) / self.given.lengths[VIDEO]
            cell = np.zeros((1, 1))  # nothing outside the window
            if values is not None and 0 <= share < 1:
                cell = values[int(share * len(values) + 1e-9)]
            frame[rows, left : left + width] = heatmap(picture, cell)
        column = int(_LEFT + (_WIDTH - _LEFT - _RIGHT) * (time - self.start) / self.length)
        for top, bottom in self.lines:
            frame[top:bottom, column : column + 2] = _LINE
        return frame


def _top(scores: Mapping[str, float]) -> list[str]:
    return sorted(scores, key=scores.__getitem__, reverse=True)[:_TOP]
