"""One page of many clips: of each the frame that counts most, its map and that of the sound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sightsound.explain.clips import ClipExplanation
from sightsound.explain.heatmap import LEGEND, heatmap, sound_picture, strengths
from sightsound.explain.text import stream_words
from sightsound.figures.clips import axes_at, save_picture, say_missing, write_at
from sightsound.preview.model_inputs import ModelInput, pixels
from sightsound.types import AUDIO, VIDEO

# Inches.
_TILE, _GAP, _BETWEEN, _HEADING, _WORDS, _SOUND = 3.2, 0.15, 0.05, 0.7, 0.42, 0.55
_FALSE = "#b0201f"


def contact_sheet(
    path: str | Path, clips: Sequence[ClipExplanation], *, columns: int = 4, title: str = ""
) -> Path:
    """Draw a tile for each clip, row by row; the path of the PNG.

    A tile has the class asked about and the true one, the frame at which the map is strongest, as
    it is and with its map, and the spectrogram with its map. What the model was given of each clip
    is known.

    Raises:
        ValueError: no clips.
    """
    if not clips:
        raise ValueError("there are no clips to draw on a contact sheet")
    columns = min(columns, len(clips))
    video = clips[0].front_end.video
    parts = {VIDEO: (_TILE - _BETWEEN) / 2 * video.height / video.width, AUDIO: _SOUND}
    lengths = {name for clip in clips if clip.given is not None for name in clip.given.lengths}
    parts = {name: part for name, part in parts.items() if name in lengths}
    height = _WORDS + sum(part + _BETWEEN for part in parts.values()) + 2 * _GAP
    rows = math.ceil(len(clips) / columns)
    figure = Figure(figsize=(columns * (_TILE + _GAP) + _GAP, _HEADING + rows * height))
    words = f"{clips[0].explanation.method}. {LEGEND}"
    write_at(figure, (_GAP, 0.3), title or f"{len(clips)} clips", fontsize=12, weight="bold")
    write_at(figure, (_GAP, 0.52), words, color="0.35", fontsize=8)
    for index, clip in enumerate(clips):
        left = _GAP + (index % columns) * (_TILE + _GAP)
        top = _HEADING + (index // columns) * height
        _write_words(figure, clip, left, top)
        top += _WORDS
        assert clip.given is not None
        for name, part in parts.items():
            draw = _draw_frames if name == VIDEO else _draw_sound
            draw(figure, clip, clip.given, left, top, part)
            top += part + _BETWEEN
    return save_picture(figure, path)


def _write_words(figure: Figure, clip: ClipExplanation, left: float, top: float) -> None:
    shown, truth = clip.explanation.shown, clip.truth
    right = not truth or shown in truth.split(" + ")
    text = f"{shown[:30]} {100 * clip.explanation.probability:.0f} %"
    text += "" if right else f", not {truth[:30]}"
    colour = "black" if right else _FALSE
    write_at(figure, (left, top + 0.16), text, color=colour, weight="bold")
    text = f"{stream_words(clip)}; {Path(clip.explanation.id).name[-26:]}"
    write_at(figure, (left, top + 0.33), text, fontsize=7)


def _draw_frames(
    figure: Figure,
    clip: ClipExplanation,
    given: ModelInput,
    left: float,
    top: float,
    height: float,
) -> None:
    """The frame in the middle of the strongest cell, twice."""
    width = (_TILE - _BETWEEN) / 2
    if given.video is None:
        say_missing(axes_at(figure, left, top, _TILE, height), "no pictures")
        return
    frames = pixels(given.video, clip.front_end)
    values = strengths(clip.explanation).get(VIDEO, np.zeros((1, 1, 1)))
    cell = int(np.abs(values).max((1, 2)).argmax())
    picture = frames[int((cell + 0.5) * len(frames) / len(values))]
    for index, image in enumerate((picture, heatmap(picture, values[cell]))):
        axes = axes_at(figure, left + index * (width + _BETWEEN), top, width, height)
        axes.imshow(image, aspect="auto")
        axes.set_axis_off()


def _draw_sound(
    figure: Figure,
    clip: ClipExplanation,
    given: ModelInput,
    left: float,
    top: float,
    height: float,
) -> None:
    axes = axes_at(figure, left, top, _TILE, height)
    if given.audio is None:
        say_missing(axes, "no sound")
        return
    values = strengths(clip.explanation).get(AUDIO, np.zeros((1, 1)))
    image = heatmap(sound_picture(given.audio, clip.front_end), values.T)
    axes.imshow(image, origin="lower", aspect="auto")
    axes.set_axis_off()
