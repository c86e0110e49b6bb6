"""Where a map lies: the second, the part of the frame, the band of frequencies.

Each is the best of a few even parts, with the share of the map that lies in it and the share that
an even map would have there: only the distance of the two says something. What speaks against the
class, below zero, does not count.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from sightsound.explain.explanation import Explanation
from sightsound.media.front_end import AudioFrontEnd, FrontEnd
from sightsound.media.logmel import band_edges
from sightsound.preview.model_inputs import ModelInput
from sightsound.types import AUDIO, VIDEO

SECOND = 1.0
THIRDS = 3
BANDS = 4
ROWS, COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


@dataclass(frozen=True)
class Location:
    """A part of the input, and how much of a map lies there."""

    share: float
    even: float  # of a map that is the same everywhere
    start: float = 0.0  # seconds of the file, or Hz
    stop: float = 0.0
    name: str = ""  # of a part of the frame


def best_second(values: np.ndarray, *, length_seconds: float) -> Location:
    """The stretch of about a second, or the cell, with most of a map, from the window's start."""
    profile = positive(values).reshape(len(values), -1).sum(1)
    width = min(len(profile), max(1, round(SECOND * len(profile) / length_seconds)))
    first, share = _best_run(profile, width)
    step = length_seconds / len(profile)
    return Location(share, width / len(profile), step * first, step * (first + width))


def best_region(values: np.ndarray) -> Location | None:
    """The ninth of the frame with most of a map (T', H', W'); `None`: too few cells to tell."""
    frame = positive(values).sum(0)
    if min(frame.shape) < 2:
        return None
    rows, columns = map(_thirds, frame.shape)
    thirds = rows @ frame @ columns.T
    row, column = np.unravel_index(thirds.argmax(), thirds.shape)
    name = "centre" if row == column == 1 else f"{ROWS[row]} {COLUMNS[column]}"
    return Location(_share(thirds.max(), frame.sum()), 1 / THIRDS**2, name=name)


def best_band(values: np.ndarray, audio: AudioFrontEnd) -> Location | None:
    """The quarter of the mel bins with most of a map (F', M'); `None`: these are no frequencies."""
    if audio.spectrum == "waveform" or values.shape[1] < 2:
        return None
    profile = positive(values).sum(0)
    width = max(1, round(len(profile) / BANDS))
    first, share = _best_run(profile, width)
    edges = band_edges(audio)
    bins = np.array([first, first + width]) * audio.num_mels / len(profile)
    low, high = np.interp(bins, np.arange(audio.num_mels + 1), edges)
    return Location(share, width / len(profile), float(low), float(high))


def localize(
    explanation: Explanation, front_end: FrontEnd, *, given: ModelInput | None = None
) -> dict[str, dict[str, Location]]:
    """{modality: {"second", "region", "band": Location}}, as far as they can be told.

    Args:
        given: the clip as `front_end` delivers it, so that times are those of the file; without it
            they count from the start of the stream's window.
    """
    lengths = {VIDEO: front_end.video.span_seconds, AUDIO: front_end.audio.window_seconds}
    located: dict[str, dict[str, Location]] = {}
    for name, values in explanation.streams.items():
        if not positive(values).any():
            continue
        second = best_second(values, length_seconds=lengths[name])
        if given is not None and name in given.starts:
            shifted = [given.starts[name] + x for x in (second.start, second.stop)]
            start, stop = given.parts(*shifted)[0]
            second = dataclasses.replace(second, start=start, stop=stop)
        located[name] = {"second": second}
        kind = "region" if name == VIDEO else "band"
        other = best_region(values) if name == VIDEO else best_band(values, front_end.audio)
        if other is not None:
            located[name][kind] = other
    return located


def positive(values: np.ndarray) -> np.ndarray:
    """What speaks for the class."""
    return np.clip(values, 0.0, None).astype(np.float64)


def _best_run(profile: np.ndarray, width: int) -> tuple[int, float]:
    """Where `width` neighbours have the largest sum, and their share of all."""
    sums = np.convolve(profile, np.ones(width), mode="valid")
    first = int(sums.argmax())
    return first, _share(sums[first], profile.sum())


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _thirds(size: int) -> np.ndarray:
    """(3, size): how much of each of `size` cells lies in each third."""
    edges, cells = np.arange(THIRDS + 1) * size / THIRDS, np.arange(size)
    low = np.maximum(edges[:-1, None], cells)
    high = np.minimum(edges[1:, None], cells + 1)
    return np.clip(high - low, 0.0, None)
