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
from typing import Any

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
from sightsound.preview.model_inputs import (
    ModelInput,
    pixels,
    remarks,
    runs_of,
    values_in_words,
)
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
    path: str | Path, inputs: Sequence[ModelInput], front_end: FrontEnd, *, title: str
) -> Path:
    """Draw `inputs`, made by `front_end`, one below the other; the path of the PNG."""
    panels = [(_blocks(given, front_end), _facts(given)) for given in inputs]
    heights = [
        _TITLE + max(sum(blocks.values()), _TEXT_LINE * len(facts)) + _GAP
        for blocks, facts in panels
    ]
    figure = Figure(figsize=(_WIDTH, _HEADER + sum(heights)))
    write_at(figure, (_LEFT, 0.3), title, color="0.4")
    top = _HEADER
    for given, (blocks, facts), height in zip(inputs, panels, heights, strict=True):
        _draw_panel(figure, given, front_end, blocks, facts, top=top)
        top += height
    return save_picture(figure, path)


def _blocks(given: ModelInput, front_end: FrontEnd) -> dict[str, float]:
    """{name: height} of what a panel has below its title, from top to bottom."""
    if not (given.duration or given.streams()):
        return {"nothing": _MISSING}
    blocks = {"times": _TIMES}
    if VIDEO in given.lengths:
        columns, _, height = _grid(front_end)
        lines = math.ceil(front_end.video.num_frames / columns)
        drawn = lines * (height + _FRAME_TITLE + _FRAME_SPACE)
        blocks[VIDEO] = _MISSING if given.video is None else drawn
    if AUDIO in given.lengths:
        blocks[AUDIO] = _MISSING if given.audio is None else _SOUND
    return blocks


def _grid(front_end: FrontEnd) -> tuple[int, float, float]:
    """Frames in a line, and the width and height of one."""
    video = front_end.video
    columns = min(video.num_frames, _FRAMES_IN_LINE)
    width = min(_MAIN / columns - _FRAME_SPACE, _LARGEST_FRAME * video.width / video.height)
    return columns, width, width * video.height / video.width


def _facts(given: ModelInput) -> list[tuple[str, dict[str, str]]]:
    """Lines of text with their style: shapes, masks, values, remarks."""
    lines: list[tuple[str, dict[str, str]]] = []

    def add(text: str, **style: str) -> None:
        lines.extend((line, style) for line in textwrap.wrap(text, _TEXT_SIGNS))

    for name, stream in given.streams().items():
        valid, shape = given.valid[name], " x ".join(map(str, stream.shape))
        lines.append((f"{WORDS[name]}  {shape}", {"weight": "bold", "color": COLOURS[name]}))
        add(f"{int(valid.sum())} of {len(valid)} frames valid")
        add(given.cut if name == VIDEO else "")
        add(values_in_words(given, name))
        if name in given.labels_apart:
            add(f"label: {given.labels_apart[name]}")
        lines.append(("", {}))
    if given.partner:
        add(f"partner for mixing: {given.partner}")
        lines.append(("", {}))
    for remark in remarks(given):
        add(remark, color=_WARNING)
    return lines


# --- one clip -----------------------------------------------------------------------------------


def _draw_panel(
    figure: Figure,
    given: ModelInput,
    front_end: FrontEnd,
    blocks: dict[str, float],
    facts: list[tuple[str, dict[str, str]]],
    *,
    top: float,
) -> None:
    shown = textwrap.shorten(given.labels or Path(given.row.id).name, 100, placeholder=" ...")
    write_at(figure, (_LEFT, top + 0.2), shown, fontsize=12, weight="bold")
    write_at(figure, (_LEFT, top + 0.36), shortened(given.row.id), color="0.4")
    top += _TITLE
    for number, (text, style) in enumerate(facts, start=1):
        write_at(figure, (_TEXT_LEFT, top + number * _TEXT_LINE), text, **style)
    for name, height in blocks.items():
        if name == "times":
            _draw_times(axes_at(figure, _LEFT, top + 0.1, _MAIN, height - _TICKS - 0.1), given)
        elif name == VIDEO and given.video is not None:
            _draw_frames(figure, given, pixels(given.video, front_end), _grid(front_end), top=top)
        elif name == AUDIO and given.audio is not None:
            _draw_sound(figure, given, given.audio[0].T.numpy(), top=top, height=height - _TICKS)
        else:
            axes = axes_at(figure, _LEFT, top, _MAIN, height)
            say_missing(axes, f"no {WORDS.get(name, 'picture and no sound can be read')}")
        top += height


def _draw_times(axes: Axes, given: ModelInput) -> None:
    """Bars for the file and for the windows in it, hatched where those found nothing."""

    def bars(lane: int, parts: Sequence[tuple[float, float]], **style: Any) -> None:
        spans = [(start, stop - start) for start, stop in parts]
        axes.broken_barh(spans, (lane - _BAR / 2, _BAR), **style)

    lanes = ["file", *(WORDS[name] for name in given.lengths)]
    clip = given.clip_window
    bars(0, [(0.0, given.duration)], color="0.88")
    bars(0, [(clip.start_seconds, clip.stop_seconds)], color="0.7")
    end = given.duration
    for lane, name in enumerate(given.lengths, start=1):
        window = given.window_parts(name)
        end = max([end, *(stop for _, stop in window)])
        bars(lane, window, facecolor="none", edgecolor=COLOURS[name], hatch="////")
        bars(lane, given.decoded_parts(name), color=COLOURS[name])
    if given.times is not None and VIDEO in given.decoded:
        between = given.lengths[VIDEO] / len(given.times) / end * _MAIN
        if between > _NEAREST_TICKS:  # inches: they can be told apart
            shown = given.times[given.decoded[VIDEO].numpy()]
            axes.vlines(shown, 1 - _BAR / 2, 1 + _BAR / 2, color="black", linewidth=1.2)
    axes.set_yticks(range(len(lanes)), lanes, fontsize=9)
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_xlim(0, end)
    axes.xaxis.set_major_locator(_locator())
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("seconds of the file", fontsize=8, labelpad=1)


def _locator() -> MaxNLocator:
    return MaxNLocator(10, steps=[1, 2, 2.5, 5, 10])


def _draw_frames(
    figure: Figure,
    given: ModelInput,
    pictures: np.ndarray,
    grid: tuple[int, float, float],
    *,
    top: float,
) -> None:
    """The frames (T, H, W, 3) with their times."""
    columns, width, height = grid
    for index, picture in enumerate(pictures):
        line, column = divmod(index, columns)
        left = _LEFT + column * (width + _FRAME_SPACE)
        above = top + line * (height + _FRAME_TITLE + _FRAME_SPACE) + _FRAME_TITLE
        axes = axes_at(figure, left, above, width, height)
        axes.imshow(picture)
        axes.set(xticks=[], yticks=[])
        valid = bool(given.valid[VIDEO][index])
        time = "" if given.times is None else f"{given.times[index]:.2f} s"
        text = time if valid else "padding"
        axes.set_title(text, fontsize=8, pad=2, color="black" if valid else _WARNING)


def _draw_sound(
    figure: Figure, given: ModelInput, values: np.ndarray, *, top: float, height: float
) -> None:
    """The normalised log-mel (M, F) over seconds of the file, low bins below; padding is hatched.

    A line marks where the window goes on at the start of the clip.
    """
    axes = axes_at(figure, _LEFT, top + 0.1, _MAIN, height - 0.1)
    start, length = given.starts[AUDIO], given.lengths[AUDIO]
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
    for run in runs_of(~given.valid[AUDIO].numpy()):
        left, right = (start + edge * length / values.shape[1] for edge in run)
        axes.axvspan(left, right, facecolor="0.85", edgecolor="0.5", hatch="///", linewidth=0)
    axes.xaxis.set_major_locator(_locator())
    label = "seconds of the file"
    if given.shift_frames:
        label += (
            f", before a shift of up to {given.shift_frames} frames (augment.audio_shift_frames)"
        )
    if given.wraps:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{given.file_seconds(x):.4g}"))
        joint = given.clip_window.stop_seconds
        while joint < start + length - 1e-6:
            axes.axvline(joint, color="white", linestyle="--", linewidth=1)
            joint += given.clip_window.length_seconds
    axes.set_xlim(start, start + length)
    axes.set_xlabel(label, fontsize=8, labelpad=1)
    axes.set_ylabel("mel bin", fontsize=8, labelpad=2)
    axes.tick_params(labelsize=8)
    bar = axes_at(figure, _LEFT + _MAIN + 0.08, top + 0.1, 0.1, height - 0.1)
    figure.colorbar(image, cax=bar).ax.tick_params(labelsize=8)
