"""The picture of maps: frames and spectrogram with their maps over them, along the same seconds.

class and clip; how much sound and pictures count
frames, evenly chosen, with what counts in each
how much each moment of the pictures counts
log-mel spectrogram with what counts in it
how much each moment of the sound counts
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sightsound.explain.heatmap import LEGEND, heated, sound_picture, strengths
from sightsound.explain.map_text import Looked, headline, share_lines
from sightsound.figures.clips import (
    COLOURS,
    axes_at,
    save_picture,
    say_missing,
    shortened,
    write_at,
)
from sightsound.media.logmel import band_edges
from sightsound.preview.model_inputs import pixels
from sightsound.types import AUDIO, VIDEO

_MANY_FRAMES = 8
# Inches.
_LEFT, _RIGHT, _MAIN = 0.8, 0.3, 9.6
_LINE, _GAP, _PROFILE, _SOUND, _NOTHING, _TICKS = 0.2, 0.12, 0.55, 1.6, 0.4, 0.32
_TONES = (250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz, written beside a spectrogram


def map_picture(path: str | Path, looked: Looked) -> Path:
    """Draw a clip's maps over what the model was given of it; the path of the PNG."""
    page = _Page(looked)
    page.draw_heading()
    for name, draw in ((VIDEO, page.draw_frames), (AUDIO, page.draw_sound)):
        if name in looked.maps.streams:
            draw()
            page.draw_profile(name)
    return save_picture(page.figure, path)


class _Page:
    """A figure that is drawn from top to bottom; `looked` has maps and what was seen."""

    def __init__(self, looked: Looked) -> None:
        self.looked, self.maps, self.seen = looked, looked.maps, looked.seen
        streams, seen, video = looked.maps.streams, looked.seen, looked.front_end.video
        self.shown = self._frames_shown() if seen.video is not None else []
        width = _MAIN / max(1, len(self.shown))
        self.frame_height = width * video.height / video.width if self.shown else _NOTHING
        self.sound_height = _SOUND if seen.audio is not None else _NOTHING
        self.top = 0.0
        self.lines, self.heat = share_lines(looked), strengths(looked.maps)
        height = 0.55 + _LINE * (len(self.lines) + 1) + 2 * _GAP
        for name, part in ((VIDEO, self.frame_height), (AUDIO, self.sound_height)):
            height += (part + _PROFILE + 2 * _GAP + _TICKS) * (name in streams)
        self.figure = Figure(figsize=(_LEFT + _MAIN + _RIGHT, height))

    def _frames_shown(self) -> list[int]:
        """At most so many frames, evenly chosen."""
        count = len(self.seen.video)
        number = min(count, _MANY_FRAMES)
        return [int((place + 0.5) * count / number) for place in range(number)]

    def axes(self, height: float, *, left: float = 0.0, width: float = _MAIN) -> Axes:
        return axes_at(self.figure, _LEFT + left, self.top, width, height)

    def draw_heading(self) -> None:
        """The class, the clip, and how much sound and pictures count."""
        write_at(self.figure, (_LEFT, 0.28), headline(self.looked), fontsize=12, weight="bold")
        write_at(self.figure, (_LEFT, 0.48), shortened(self.maps.id), color="0.4")
        self.top = 0.55
        for line in self.lines:
            self.top += _LINE
            write_at(self.figure, (_LEFT, self.top), line)
        self.top += _LINE
        write_at(self.figure, (_LEFT, self.top), LEGEND, color="0.4", fontsize=8)
        self.top += 2 * _GAP

    def draw_frames(self) -> None:
        """Frames with what counts in each, over the seconds that follow below."""
        if not self.shown:
            say_missing(self.axes(self.frame_height), "no pictures")
            self.top += self.frame_height + _GAP
            return
        frames = pixels(self.seen.video, self.looked.front_end)
        values, width = self.heat[VIDEO], _MAIN / len(self.shown)
        for place, index in enumerate(self.shown):
            axes = self.axes(self.frame_height, left=place * width + 0.02, width=width - 0.04)
            cell = index * len(values) // len(frames)
            axes.imshow(heated(frames[index], values[cell]), aspect="auto")
            axes.set(xticks=[], yticks=[])
        self.top += self.frame_height + _GAP

    def draw_sound(self) -> None:
        """The spectrogram in grey, low frequencies below, with what counts in it."""
        axes, audio = self.axes(self.sound_height), self.looked.front_end.audio
        if self.seen.audio is None:
            say_missing(axes, "no sound")
        else:
            picture = sound_picture(self.seen, self.looked.front_end)
            axes.imshow(heated(picture, self.heat[AUDIO].T), origin="lower", aspect="auto")
            axes.set(xticks=[], yticks=[])
            if audio.spectrum != "waveform":
                self._write_tones(axes, len(picture))
        self.top += self.sound_height + _GAP

    def _write_tones(self, axes: Axes, num_mels: int) -> None:
        edges = band_edges(self.looked.front_end.audio)
        tones = [tone for tone in _TONES if edges[0] < tone < edges[-1]]
        places = np.interp(tones, edges, np.arange(num_mels + 1)) - 0.5
        names = [f"{tone} Hz" if tone < 1000 else f"{tone // 1000} kHz" for tone in tones]
        axes.set_yticks(places, names, fontsize=8)

    def draw_profile(self, name: str) -> None:
        """How much each moment counts, over seconds of the file."""
        values = self.maps.streams[name]
        profile = values.reshape(len(values), -1).sum(1)
        axes = self.axes(_PROFILE)
        start = self.seen.starts.get(name, 0.0)
        step = self.seen.lengths[name] / len(profile)
        places = start + step * np.arange(len(profile))
        axes.bar(places, profile, step, align="edge", color=COLOURS[name])
        axes.axhline(0, color="0.6", linewidth=0.6)
        axes.set_xlim(start, start + self.seen.lengths[name])
        axes.set_yticks([])
        axes.set_ylabel("counts", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        self.top += _PROFILE + _TICKS + _GAP
