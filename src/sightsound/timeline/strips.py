"""Plots scores over time, one row per class: a PNG and an HTML page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sightsound.figures.clips import COLOURS
from sightsound.pages.write import write_page
from sightsound.timeline.events import cell_scores, cell_times, find_events
from sightsound.timeline.score import Timeline
from sightsound.timeline.text import extent, headline, notes, short_clock

MOST_CLASSES = 12
MOST_COLUMNS = 1200  # of a strip: about as many as it has pixels
ROW = 20  # pixels of the page for a class
FEW_COLUMNS = 300  # each is wider than a pixel: drawn with sharp edges
MOST_LINES = 1000  # of the page's table: a page of half a megabyte
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)  # between ticks, s
_MOST_STEPS = 5


@dataclass(frozen=True)
class Strips:
    """What is drawn of each stream."""

    classes: list[str]
    edges: np.ndarray  # (C + 1,) seconds
    scores: dict[str, np.ndarray]  # {stream: (C, classes)}, the highest score in each column


def strips_of(timeline: Timeline) -> Strips:
    """The classes with the highest scores anywhere, in the model's order."""
    cells = {name: cell_scores(timeline, i) for i, name in enumerate(timeline.streams)}
    times = cell_times(timeline)
    highest = np.nan_to_num(np.concatenate(list(cells.values()))).max(0)
    chosen = np.sort(np.argsort(-highest, kind="stable")[:MOST_CLASSES])
    step = -(-(len(times) - 1) // MOST_COLUMNS)
    starts = np.arange(0, len(times) - 1, step)
    return Strips(
        [timeline.classes[index] for index in chosen],
        np.append(times[starts], times[-1]),
        {name: np.fmax.reduceat(x[:, chosen], starts) for name, x in cells.items()},
    )


def ticks(start_seconds: float, end_seconds: float) -> list[float]:
    """Round times within a stretch, a few of them."""
    length = end_seconds - start_seconds
    step = next((s for s in _STEPS if length / s <= _MOST_STEPS), _STEPS[-1])
    return np.arange(-(-start_seconds // step) * step, end_seconds + 1e-6, step).tolist()


def alone(timeline: Timeline, stream: str) -> str:
    """What a stream is called beside the whole model."""
    return stream if stream == timeline.streams[0] else f"{stream} alone"


# --- picture ------------------------------------------------------------------------------------


def timeline_picture(path: str | Path, timeline: Timeline) -> Path:
    """Draw the scores of the whole model and of each stream alone; the path of the PNG."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    from sightsound.figures.clips import save_picture

    strips = strips_of(timeline)
    number = len(strips.scores)
    size = 1.1 + number * (0.5 + 0.24 * len(strips.classes))
    figure = Figure(figsize=(12, size), layout="constrained")
    figure.suptitle(headline(timeline), fontsize=11, parse_math=False)
    panels = figure.subplots(number, 1, sharex=True, squeeze=False)[:, 0]
    rows = np.arange(len(strips.classes) + 1)
    for axes, (stream, scores) in zip(panels, strips.scores.items(), strict=True):
        colours = LinearSegmentedColormap.from_list("scores", ["white", COLOURS[stream]])
        axes.set_facecolor("#e4e4e4")  # where a stream is missing
        axes.pcolormesh(strips.edges, rows, scores.T, cmap=colours, vmin=0, vmax=1)
        axes.set_yticks(rows[:-1] + 0.5, strips.classes, fontsize=8, parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_title(alone(timeline, stream), fontsize=10, loc="left")
    times = ticks(strips.edges[0], strips.edges[-1])
    panels[-1].set_xticks(times, [short_clock(time) for time in times])
    return save_picture(figure, path)


# --- page ---------------------------------------------------------------------------------------


def timeline_page(path: Path, timeline: Timeline, *, threshold: float) -> None:
    """Write the page: strips, and a table of events."""
    strips = strips_of(timeline)
    start, end = float(strips.edges[0]), float(strips.edges[-1])
    events = find_events(timeline, threshold=threshold)
    write_page(
        Path(__file__).with_name("page.html"),
        path,
        title=timeline.file,
        extent=extent(timeline),
        notes=notes(timeline),
        threshold=threshold,
        start=start,
        length=end - start,
        classes=strips.classes,
        row=ROW,
        few=len(strips.edges) <= FEW_COLUMNS,
        streams=[
            {"name": alone(timeline, name), "image": _image(scores, colour=COLOURS[name])}
            for name, scores in strips.scores.items()
        ],
        ticks=[
            {"share": 100 * (time - start) / (end - start), "text": short_clock(time)}
            for time in ticks(start, end)
        ],
        events=[
            {"from": short_clock(e.start_seconds), "to": short_clock(e.end_seconds), "event": e}
            for e in events[:MOST_LINES]
        ],
        num_more=max(0, len(events) - MOST_LINES),
    )


def _image(scores: np.ndarray, *, colour: str) -> str:
    """A PNG in base 64, more opaque the higher the score; of full height: only columns may blur."""
    from matplotlib.colors import to_rgb
    from matplotlib.image import imsave

    rows = np.nan_to_num(scores.T).repeat(ROW, axis=0)
    pixels = np.empty((*rows.shape, 4), np.uint8)
    pixels[..., :3] = np.round(255 * np.array(to_rgb(colour)))
    pixels[..., 3] = np.round(255 * rows)
    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
