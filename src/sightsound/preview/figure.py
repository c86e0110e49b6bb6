"""One picture of what a model is given of some clips: frames, log-mel, labels, masks, times.

A panel for each clip, all sizes in inches:

    id and labels
    time line: the file, the windows of pictures and sound in it, the frames    | facts
    frames, as many in a line as fit                                            | and
    log-mel spectrogram                                                         | remarks
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sightsound.figures.clips import (
    COLOURS,
    axes_at,
    save_picture,
    say_missing,
    shortened,
    write_at,
)
from sightsound.media.front_end import FrontEnd
from sightsound.preview.model_inputs import Seen, pixels, remarks, runs_of, values_in_words
from sightsound.types import AUDIO, VIDEO, WORDS

_WIDTH, _LEFT, _MAIN = 13.2, 0.75, 8.6  # of the page; of time line, frames and spectrogram
_TEXT_LEFT, _TEXT_SIGNS, _TEXT_LINE = 10.2, 42, 0.185
_HEADER, _TITLE, _TIMES, _SOUND, _MISSING, _GAP = 0.5, 0.42, 0.95, 2.0, 0.5, 0.3
_TICKS = 0.42  # below time line and spectrogram, part of their heights
_FRAME_TITLE, _FRAME_SPACE = 0.2, 0.07
_FRAMES_IN_LINE, _LARGEST_FRAME = 8, 1.7
_RANGE = 2.0  # deviations that the colours of the log-mel cover at least
_NEAREST_TICKS = 0.04
_BAR = 0.66  # height of a bar of the time line, of 1
_WARNING = "#b00020"


def preview_picture(
    path: str | Path, seen: Sequence[Seen], front_end: FrontEnd, *, title: str
) -> Path:
    """Draw `seen`, made by `front_end`, one below the other; the path of the PNG."""
    panels = [_blocks(look, front_end) for look in seen]
    heights = [_panel_height(look, blocks) for look, blocks in zip(seen, panels, strict=True)]
    figure = Figure(figsize=(_WIDTH, _HEADER + sum(heights)))
    write_at(figure, (_LEFT, 0.3), title, color="0.4")
    top = _HEADER
    for look, blocks, height in zip(seen, panels, heights, strict=True):
        _draw_panel(figure, look, front_end, blocks, top=top)
        top += height
    return save_picture(figure, path)


# --- layout -------------------------------------------------------------------------------------


def _blocks(seen: Seen, front_end: FrontEnd) -> dict[str, float]:
    """{name: height} of what a panel has below its title, from top to bottom."""
    if not (seen.duration or seen.streams()):
        return {"nothing": _MISSING}
    blocks = {"times": _TIMES}
    if VIDEO in seen.lengths:
        columns, _, height = _grid(front_end)
        lines = math.ceil(front_end.video.num_frames / columns)
        drawn = lines * (height + _FRAME_TITLE + _FRAME_SPACE)
        blocks[VIDEO] = _MISSING if seen.video is None else drawn
    if AUDIO in seen.lengths:
        blocks[AUDIO] = _MISSING if seen.audio is None else _SOUND
    return blocks


def _grid(front_end: FrontEnd) -> tuple[int, float, float]:
    """Frames in a line, and the width and height of one."""
    video = front_end.video
    columns = min(video.num_frames, _FRAMES_IN_LINE)
    width = min(_MAIN / columns - _FRAME_SPACE, _LARGEST_FRAME * video.width / video.height)
    return columns, width, width * video.height / video.width


def _panel_height(seen: Seen, blocks: dict[str, float]) -> float:
    text = _TEXT_LINE * len(_facts(seen))
    return _TITLE + max(sum(blocks.values()), text) + _GAP


# --- one clip -----------------------------------------------------------------------------------


def _draw_panel(
    figure: Figure, seen: Seen, front_end: FrontEnd, blocks: dict[str, float], *, top: float
) -> None:
    shown = textwrap.shorten(seen.labels or Path(seen.row.id).name, 100, placeholder=" ...")
    write_at(figure, (_LEFT, top + 0.2), shown, fontsize=12, weight="bold")
    write_at(figure, (_LEFT, top + 0.36), shortened(seen.row.id), color="0.4")
    top += _TITLE
    for number, (text, style) in enumerate(_facts(seen), start=1):
        write_at(figure, (_TEXT_LEFT, top + number * _TEXT_LINE), text, **style)
    for name, height in blocks.items():
        if name == "times":
            _draw_times(axes_at(figure, _LEFT, top + 0.1, _MAIN, height - _TICKS - 0.1), seen)
        elif name not in seen.streams():
            axes = axes_at(figure, _LEFT, top, _MAIN, height)
            say_missing(axes, f"no {WORDS.get(name, 'picture and no sound can be read')}")
        elif name == VIDEO:
            _draw_frames(figure, seen, front_end, top=top)
        else:
            _draw_sound(figure, seen, front_end, top=top, height=height - _TICKS)
        top += height


def _facts(seen: Seen) -> list[tuple[str, dict]]:
    """Lines of text with their style: shapes, masks, values, remarks."""
    lines: list[tuple[str, dict]] = []
    for name, stream in seen.streams().items():
        valid = seen.valid[name]
        text = [
            f"{int(valid.sum())} of {len(valid)} frames valid",
            *([seen.cut] if name == VIDEO and seen.cut else []),
            values_in_words(seen, name),
            *([f"label: {seen.labels_apart[name]}"] if name in seen.labels_apart else []),
        ]
        shape = " x ".join(map(str, stream.shape))
        lines += [(f"{WORDS[name]}  {shape}", {"weight": "bold", "color": COLOURS[name]})]
        lines += [(line, {}) for part in text for line in textwrap.wrap(part, _TEXT_SIGNS)]
        lines += [("", {})]
    if seen.partner:
        text = f"partner for mixing: {seen.partner}"
        lines += [*((line, {}) for line in textwrap.wrap(text, _TEXT_SIGNS)), ("", {})]
    for remark in remarks(seen):
        lines += [(line, {"color": _WARNING}) for line in textwrap.wrap(remark, _TEXT_SIGNS)]
    return lines


def _draw_times(axes: Axes, seen: Seen) -> None:
    """Bars for the file and for the windows in it, hatched where those found nothing."""
    lanes = ["file", *(WORDS[name] for name in seen.lengths)]
    _bars(axes, 0, [(0.0, seen.duration)], color="0.88")
    _bars(axes, 0, [(seen.stretch.start_seconds, seen.stretch.stop_seconds)], color="0.7")
    end = seen.duration
    for lane, name in enumerate(seen.lengths, start=1):
        window = seen.window_parts(name)
        end = max([end, *(stop for _, stop in window)])
        _bars(axes, lane, window, facecolor="none", edgecolor=COLOURS[name], hatch="////")
        _bars(axes, lane, seen.decoded_parts(name), color=COLOURS[name])
    if _have_room(seen, end):
        shown = seen.times[seen.decoded[VIDEO].numpy()]
        axes.vlines(shown, 1 - _BAR / 2, 1 + _BAR / 2, color="black", linewidth=1.2)
    axes.set_yticks(range(len(lanes)), lanes, fontsize=9)
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_xlim(0, end)
    axes.xaxis.set_major_locator(_locator())
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("seconds of the file", fontsize=8, labelpad=1)


def _have_room(seen: Seen, end: float) -> bool:
    """Whether the frames can be told apart on a line of `end` seconds."""
    if seen.times is None or VIDEO not in seen.decoded:
        return False
    return seen.lengths[VIDEO] / len(seen.times) / end * _MAIN > _NEAREST_TICKS


def _locator() -> MaxNLocator:
    return MaxNLocator(10, steps=[1, 2, 2.5, 5, 10])


def _bars(axes: Axes, lane: int, parts: Sequence[tuple[float, float]], **style: object) -> None:
    spans = [(start, stop - start) for start, stop in parts]
    axes.broken_barh(spans, (lane - _BAR / 2, _BAR), **style)


def _draw_frames(figure: Figure, seen: Seen, front_end: FrontEnd, *, top: float) -> None:
    """The frames with their times."""
    columns, width, height = _grid(front_end)
    for index, picture in enumerate(pixels(seen, front_end)):
        line, column = divmod(index, columns)
        left = _LEFT + column * (width + _FRAME_SPACE)
        above = top + line * (height + _FRAME_TITLE + _FRAME_SPACE) + _FRAME_TITLE
        axes = axes_at(figure, left, above, width, height)
        axes.imshow(picture)
        axes.set(xticks=[], yticks=[])
        valid = bool(seen.valid[VIDEO][index])
        time = "" if seen.times is None else f"{seen.times[index]:.2f} s"
        text = time if valid else "padding"
        axes.set_title(text, fontsize=8, pad=2, color="black" if valid else _WARNING)


def _draw_sound(
    figure: Figure, seen: Seen, front_end: FrontEnd, *, top: float, height: float
) -> None:
    """The normalised log-mel over seconds of the file, low bins below; padding is hatched."""
    axes = axes_at(figure, _LEFT, top + 0.1, _MAIN, height - 0.1)
    values = seen.audio[0].T.numpy()  # (M, F)
    start = seen.starts.get(AUDIO, seen.stretch.start_seconds)
    length = seen.lengths[AUDIO]
    low, high = np.percentile(values, [1, 99])
    image = axes.imshow(
        values,
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(start, start + length, 0, len(values)),
        vmin=min(-_RANGE, low),
        vmax=max(_RANGE, high),
    )
    for first, last in runs_of(~seen.valid[AUDIO].numpy()):
        left, right = (start + place * length / values.shape[1] for place in (first, last))
        axes.axvspan(left, right, facecolor="0.85", edgecolor="0.5", hatch="///", linewidth=0)
    _draw_clock(axes, seen, start=start, stop=start + length)
    axes.set_ylabel("mel bin", fontsize=8, labelpad=2)
    axes.tick_params(labelsize=8)
    bar = figure.colorbar(
        image, cax=axes_at(figure, _LEFT + _MAIN + 0.08, top + 0.1, 0.1, height - 0.1)
    )
    bar.ax.tick_params(labelsize=8)


def _draw_clock(axes: Axes, seen: Seen, *, start: float, stop: float) -> None:
    """Seconds of the file below the spectrogram; a line where the window wraps."""
    axes.xaxis.set_major_locator(_locator())
    label = "seconds of the file"
    if seen.shift_frames:
        label += (
            f", before a shift of up to {seen.shift_frames} frames (augment.audio_shift_frames)"
        )
    if seen.wraps:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{seen.file_seconds(x):.4g}"))
        joint = seen.stretch.stop_seconds
        while joint < stop - 1e-6:
            axes.axvline(joint, color="white", linestyle="--", linewidth=1)
            joint += seen.stretch.length_seconds
    axes.set_xlim(start, stop)
    axes.set_xlabel(label, fontsize=8, labelpad=1)
