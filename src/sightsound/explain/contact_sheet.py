"""One page of many clips: of each the frame that counts most, its map and that of the sound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sightsound.explain.heatmap import LEGEND, heated, sound_picture, strengths
from sightsound.explain.map_text import Looked, stream_words
from sightsound.figures.clips import axes_at, save_picture, say_missing, write_at
from sightsound.preview.model_inputs import pixels
from sightsound.types import AUDIO, VIDEO

# Inches.
_TILE, _GAP, _BETWEEN, _HEADING, _WORDS, _SOUND = 3.2, 0.15, 0.05, 0.7, 0.42, 0.55
_FALSE = "#b0201f"


def contact_sheet(
    path: str | Path, clips: Sequence[Looked], *, columns: int = 4, title: str = ""
) -> Path:
    """Draw a tile for each clip, row by row; the path of the PNG.

    A tile has the class asked about and the true one, the frame at which the map is strongest, as
    it is and with its map, and the spectrogram with its map. All clips have been seen.

    Raises:
        ValueError: no clips.
    """
    if not clips:
        raise ValueError("there are no clips to draw on a contact sheet")
    columns = min(columns, len(clips))
    video = clips[0].front_end.video
    picture = (_TILE - _BETWEEN) / 2 * video.height / video.width
    parts = {VIDEO: (picture, _draw_frames), AUDIO: (_SOUND, _draw_sound)}
    parts = {n: part for n, part in parts.items() if any(n in c.seen.lengths for c in clips)}
    height = _WORDS + sum(part + _BETWEEN for part, _ in parts.values()) + 2 * _GAP
    rows = math.ceil(len(clips) / columns)
    figure = Figure(figsize=(columns * (_TILE + _GAP) + _GAP, _HEADING + rows * height))
    words = f"{clips[0].maps.method}. {LEGEND}"
    write_at(figure, (_GAP, 0.3), title or f"{len(clips)} clips", fontsize=12, weight="bold")
    write_at(figure, (_GAP, 0.52), words, color="0.35", fontsize=8)
    for index, clip in enumerate(clips):
        left = _GAP + (index % columns) * (_TILE + _GAP)
        top = _HEADING + (index // columns) * height
        _write_words(figure, clip, left, top)
        top += _WORDS
        for part, draw in parts.values():
            draw(figure, clip, (left, top), part)
            top += part + _BETWEEN
    return save_picture(figure, path)


def _write_words(figure: Figure, clip: Looked, left: float, top: float) -> None:
    maps, truth = clip.maps, clip.truth
    right = not truth or maps.shown in truth.split(" + ")
    said = f"{maps.shown[:30]} {100 * maps.probability:.0f} %"
    said += "" if right else f", not {truth[:30]}"
    write_at(figure, (left, top + 0.16), said, color="black" if right else _FALSE, weight="bold")
    write_at(
        figure,
        (left, top + 0.33),
        f"{stream_words(clip)}; {Path(maps.id).name[-26:]}",
        fontsize=7,
    )


def _draw_frames(figure: Figure, clip: Looked, place: tuple[float, float], height: float) -> None:
    """The frame in the middle of the strongest cell, twice."""
    left, top = place
    width = (_TILE - _BETWEEN) / 2
    if clip.seen.video is None:
        say_missing(axes_at(figure, left, top, _TILE, height), "no pictures")
        return
    frames = pixels(clip.seen.video, clip.front_end)
    heat = strengths(clip.maps).get(VIDEO, np.zeros((1, 1, 1)))
    cell = int(np.abs(heat).max((1, 2)).argmax())
    picture = frames[int((cell + 0.5) * len(frames) / len(heat))]
    for index, image in enumerate((picture, heated(picture, heat[cell]))):
        axes = axes_at(figure, left + index * (width + _BETWEEN), top, width, height)
        axes.imshow(image, aspect="auto")
        axes.set_axis_off()


def _draw_sound(figure: Figure, clip: Looked, place: tuple[float, float], height: float) -> None:
    axes = axes_at(figure, *place, _TILE, height)
    if clip.seen.audio is None:
        say_missing(axes, "no sound")
        return
    heat = strengths(clip.maps).get(AUDIO, np.zeros((1, 1)))
    image = heated(sound_picture(clip.seen, clip.front_end), heat.T)
    axes.imshow(image, origin="lower", aspect="auto")
    axes.set_axis_off()
