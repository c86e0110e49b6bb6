"""Finds events in the scores of windows: which class, from when to when.

A cell is a hop long, and its score is the mean over the windows that hold its middle. So every
cell is judged by as many windows, half of them reaching further back and half further ahead: where
one class gives way to another, windows are mixed, but what each side gets of them is alike.

    class        aaaaaaaaaaaaaaaaaabbbbbbbbbbbbbb
    windows            [aaaaaaaaaa)
                            [aaaaaaab..)
                                 [aabbbbbb..)
                                      [bbbbbbbb..)
    cells        aaaaaaaaaaaaaaaaaaabbbbbbbbbbbbb       the boundary is at most a hop off

That bound holds for a model whose score grows evenly with the share of a window that a class fills.
An event shorter than a window comes out about as long as a window.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sightsound.timeline.score import Timeline


@dataclass(frozen=True)
class Event:
    """A class over a stretch of time."""

    start_seconds: float
    end_seconds: float
    label: str
    mean: float  # score over its cells
    highest: float


@dataclass(frozen=True)
class Cue:
    """Events of one moment: cues follow one another and never overlap."""

    start_seconds: float
    end_seconds: float
    events: tuple[Event, ...]


def cell_times(timeline: Timeline) -> np.ndarray:
    """(C + 1,) seconds: where cells begin, and where the last one ends."""
    grid, end = timeline.grid, timeline.end_seconds
    number = math.ceil((end - grid.start_seconds) / grid.hop_seconds - 1e-6)
    starts = np.round(grid.start_seconds + np.arange(number) * grid.hop_seconds, 6)
    return np.append(starts, end)


def cell_scores(timeline: Timeline, stream: int = 0) -> np.ndarray:
    """(C, K): the mean over the windows that hold a cell's middle; nan where they lack the stream.

    Args:
        stream: index into `timeline.streams`.
    """
    scores = timeline.scores[: timeline.num_windows, stream].astype(np.float64)
    number = len(cell_times(timeline)) - 1
    known = np.asarray(np.isfinite(scores).all(1))
    sums = _running(np.where(known[:, None], scores, 0.0))
    counts = _running(known[:, None].astype(float))
    reach = timeline.grid.window_seconds / timeline.grid.hop_seconds
    cells = np.arange(number)
    first = np.clip(np.floor(cells + 0.5 - reach).astype(int) + 1, 0, len(scores))
    stop = np.clip(cells + 1, 0, len(scores))
    first = np.minimum(first, stop - 1)  # a cell that only the end of the last window reaches
    count = counts[stop] - counts[first]
    return np.divide(
        sums[stop] - sums[first],
        count,
        out=np.full((number, scores.shape[1]), np.nan),
        where=count > 0,
    )


def _running(values: np.ndarray) -> np.ndarray:
    """(N + 1, K) sums of the first 0, 1, ... N rows."""
    return np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(0)])


def find_events(timeline: Timeline, *, threshold: float, stream: int = 0) -> list[Event]:
    """Consecutive cells of one class, in order of time.

    The class is the likeliest of its head or, where clips have several labels, above half of
    `threshold`. An event is kept if its highest score reaches `threshold`, and goes from the first
    to the last cell with at least half of that score: where an event begins, half of what windows
    see is the event.
    """
    check_threshold(threshold)
    cells, times = cell_scores(timeline, stream), cell_times(timeline)
    events = []
    for index, there in _candidates(cells, timeline, threshold=threshold):
        for first, stop in _runs(there):
            scores = cells[first:stop, index]
            highest = scores.max()
            if highest >= threshold:
                inside = np.flatnonzero(scores >= highest / 2)
                begin, end = first + inside[0], first + inside[-1] + 1
                mean = float(cells[begin:end, index].mean())
                span = float(times[begin]), float(times[end])
                events.append(Event(*span, timeline.classes[index], mean, float(highest)))
    return sorted(events, key=lambda event: (event.start_seconds, -event.highest))


def check_threshold(threshold: float) -> None:
    """`ValueError` unless it is a score that an event can reach."""
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold:g}; accepted: above 0, at most 1")


def _candidates(
    cells: np.ndarray, timeline: Timeline, *, threshold: float
) -> Iterator[tuple[int, np.ndarray]]:
    """(class, (C,) bool: cells that may be of an event of it) of every class that has any."""
    known = np.isfinite(cells).all(1)
    there = np.zeros(cells.shape, dtype=bool)
    if timeline.task == "multi":
        there[known] = cells[known] >= threshold / 2
    else:
        first = 0
        for names in timeline.heads.values():
            top = first + cells[known, first : first + len(names)].argmax(1)
            there[np.flatnonzero(known), top] = True
            first += len(names)
    for index in np.flatnonzero(there.any(0)):
        yield int(index), there[:, index]


def _runs(there: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first, stop) of the stretches of true in (C,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(int)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def cues_of(events: Sequence[Event]) -> list[Cue]:
    """Stretches with the same events, to the millisecond; those without any are left out.

    Args:
        events: in order of time.
    """
    edges = sorted({round(t, 3) for e in events for t in (e.start_seconds, e.end_seconds)})
    waiting, shown, cues = deque(events), [], []
    for start, end in zip(edges, edges[1:], strict=False):
        middle = (start + end) / 2
        while waiting and waiting[0].start_seconds <= middle:
            shown.append(waiting.popleft())
        shown = [event for event in shown if event.end_seconds > middle]
        if shown:
            cues.append(Cue(start, end, tuple(shown)))
    return cues
