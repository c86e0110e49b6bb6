"""Pictures of clips: what a model saw, heard and said.

Drawn with matplotlib's Agg canvas, so that no display is needed and nothing global changes.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sightsound.files import write_whole
from sightsound.media.front_end import FrontEnd
from sightsound.types import Clip

COLOURS = {"audio+video": "#4c4c4c", "audio": "#d9822b", "video": "#3b7dd8"}


def clip_picture(
    path: str | Path,
    clip: Clip,
    front_end: FrontEnd,
    scores: dict[str, dict[str, float]],
    *,
    title: str = "",
    top: int = 5,
) -> Path:
    """Draw frames, spectrogram and the likeliest classes of one clip; the path of the PNG.

    `scores` {stream: {class name: probability}}, the whole model first, as in `Prediction`.
    A stream that the clip lacks is said to be missing.
    """
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    frames, sound, bars = np.ravel(
        np.asarray(figure.subfigures(3, 1, height_ratios=[1.0, 1.1, 1.3]))
    )
    figure.suptitle(title)
    _draw_frames(frames, clip)
    _draw_sound(sound.add_subplot(), clip, front_end)
    _draw_scores(bars.add_subplot(), scores, top=top)
    return save_picture(figure, path)


def _draw_frames(figure: Figure, clip: Clip) -> None:
    """The frames (T, C, H, W) side by side; padding is marked."""
    if clip.video is None:
        say_missing(figure.add_subplot(), "no pictures")
        return
    axes = np.atleast_1d(figure.subplots(1, len(clip.video)))
    for index, (axis, frame) in enumerate(zip(axes, clip.video, strict=True)):
        axis.imshow(frame.permute(1, 2, 0).numpy())
        valid = clip.video_valid is None or bool(clip.video_valid[index])
        axis.set_title(f"frame {index + 1}" + ("" if valid else " (padding)"), fontsize=9)
        axis.set_axis_off()


def _draw_sound(axes: Axes, clip: Clip, front_end: FrontEnd) -> None:
    """The log-mel (1, F, M) over time, low bins below."""
    if clip.audio is None:
        say_missing(axes, "no sound")
        return
    seconds = front_end.audio.window_seconds
    spectrogram = clip.audio[0].T.numpy()
    extent = (0.0, seconds, 0.0, spectrogram.shape[0])
    axes.imshow(spectrogram, origin="lower", aspect="auto", cmap="magma", extent=extent)
    axes.set_xlabel("seconds of the window")
    axes.set_ylabel("mel bin")
    axes.set_title("what is heard: log-mel spectrogram", fontsize=10)


def _draw_scores(axes: Axes, scores: dict[str, dict[str, float]], *, top: int) -> None:
    """One group of bars per class, one bar per stream."""
    whole = next(iter(scores.values()))
    names = sorted(whole, key=whole.__getitem__, reverse=True)[:top]
    height = 0.8 / len(scores)
    for index, (stream, values) in enumerate(scores.items()):
        places = np.arange(len(names)) + index * height
        widths = [values[name] for name in names]
        label = stream if index == 0 else f"{stream} alone"
        axes.barh(places, widths, height, label=label, color=COLOURS[stream])
    axes.set_yticks(np.arange(len(names)) + 0.4 - height / 2, names, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("probability")
    axes.legend(loc="lower right")


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the top left corner of the page."""
    page_width, page_height = figure.get_size_inches()
    return figure.add_axes(
        (
            left / page_width,
            1 - (top + height) / page_height,
            width / page_width,
            height / page_height,
        )
    )


def write_at(figure: Figure, place: tuple[float, float], text: str, **style: Any) -> None:
    """`text` with its base line at `place`, in inches from the top left corner."""
    width, height = figure.get_size_inches()
    x, y = place[0] / width, 1 - place[1] / height
    figure.text(x, y, text, parse_math=False, **{"fontsize": 9, **style})


def shortened(text: str) -> str:
    """At most 120 signs of it: the end of a path says more than its middle."""
    return text if len(text) <= 120 else f"{text[:30]} ... {text[-80:]}"


def say_missing(axes: Axes, text: str) -> None:
    """Empty axes with `text` in the middle."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()


def save_picture(figure: Figure, path: str | Path) -> Path:
    """Write `figure` as a PNG, whole or not at all; its path."""
    path = Path(path)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():  # names in scripts that the font lacks: boxes stand for them
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(buffer, dpi=110, format="png")
    write_whole(path, buffer.getvalue())
    return path
