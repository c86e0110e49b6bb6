"""A timeline as a table, CSV, JSON, or subtitles (SRT, WebVTT)."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from html import escape
from typing import Any

import numpy as np

from sightsound.files import csv_rows
from sightsound.predict import BOTH
from sightsound.timeline.events import Cue, Event, cues_of, find_events
from sightsound.timeline.score import Timeline
from sightsound.types import WORDS

MOST_EVENTS = 40  # in the terminal
FIXED_COLUMNS = ("start_seconds", "end_seconds", "stream", "label", "score", "problem")


def clock(seconds: float, *, mark: str = ".") -> str:
    """hh:mm:ss.mmm, with `mark` before the thousandths."""
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"


def short_clock(seconds: float) -> str:
    """m:ss or h:mm:ss, with tenths where there are any."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    ticks = f"{rest // 10:02d}" + (f".{rest % 10}" if rest % 10 else "")
    return f"{hours}:{minutes:02d}:{ticks}" if hours else f"{minutes}:{ticks}"


# --- table --------------------------------------------------------------------------------------


def as_table(timeline: Timeline, *, threshold: float) -> str:
    """The events of the whole model, the longest ones if there are many, and what was missing."""
    from rich.console import Console

    events = find_events(timeline, threshold=threshold)
    shown = sorted(events, key=lambda e: e.start_seconds - e.end_seconds)[:MOST_EVENTS]
    buffer = io.StringIO()
    console = Console(file=buffer, width=100)
    console.out(headline(timeline))
    if shown:
        console.print(_table(sorted(shown, key=lambda event: event.start_seconds)))
    if len(shown) < len(events):
        left = len(events) - len(shown)
        console.out(f"and {left} shorter events; --format csv or --output has all")
    for note in notes(timeline):
        console.out(note)
    if not events:
        console.out(f"no class reaches {threshold:g}; take a lower --threshold")
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).rstrip()


def _table(events: Iterable[Event]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("from", "to", "class", "mean", "highest"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for event in events:
        times = short_clock(event.start_seconds), short_clock(event.end_seconds)
        scores = (f"{100 * score:.0f} %" for score in (event.mean, event.highest))
        table.add_row(*times, Text(event.label), *scores)
    return table


def headline(timeline: Timeline) -> str:
    """File and extent, in a line."""
    return f"{timeline.file}, {extent(timeline)}"


def extent(timeline: Timeline) -> str:
    """What was looked at."""
    grid, number = timeline.grid, timeline.num_windows
    span = f"{short_clock(grid.start_seconds)} to {short_clock(timeline.end_seconds)}"
    windows = "1 window" if number == 1 else f"{number} windows"
    windows += f" of {grid.window_seconds:g} s every {grid.hop_seconds:g} s"
    unfinished = "" if number == grid.num_windows else f", of {grid.num_windows}"
    return f"{span}: {windows}{unfinished}"


def notes(timeline: Timeline) -> list[str]:
    """What was missing or damaged, a sentence each."""
    number = timeline.num_windows
    missing = np.isnan(timeline.scores[:number]).all(2).sum(0)
    found = []
    for stream, count in zip(timeline.streams, missing, strict=True):
        if count:
            word = "sound and no pictures" if stream == BOTH else WORDS[stream]
            where = "any window" if count == number else f"{count} of {number} windows"
            found.append(f"no {word} in {where}")
    damaged = [problem for problem in timeline.problems if problem]
    if damaged:
        where = f"{len(damaged)} of {number} windows"
        found.append(f"data with problems in {where}, such as: {damaged[0]}")
    return found


# --- CSV ----------------------------------------------------------------------------------------


def as_csv(timeline: Timeline) -> str:
    """A header, then a line for each window and stream."""
    return csv_rows([[*FIXED_COLUMNS, *timeline.classes], *window_rows(timeline, 0)])


def window_rows(timeline: Timeline, first: int) -> Iterator[list[str]]:
    """A row for each stream of the windows from `first` on, empty where a stream is missing."""
    classes = timeline.classes
    for index in range(first, timeline.num_windows):
        window, problem = timeline.grid.window(index), timeline.problems[index]
        for stream, scores in zip(timeline.streams, timeline.scores[index], strict=True):
            values = ["", ""] + [""] * len(classes)
            if not np.isnan(scores).any():
                best = int(scores.argmax())
                values = [classes[best], *map(_number, (scores[best], *scores))]
            times = map(_number, (window.start_seconds, window.stop_seconds))
            yield [*times, stream, *values[:2], problem, *values[2:]]


def _number(value: float) -> str:
    """Up to six decimals."""
    return f"{float(value):.6f}".rstrip("0").rstrip(".")


# --- JSON ---------------------------------------------------------------------------------------


def as_json(timeline: Timeline, *, threshold: float) -> str:
    """One object: what was looked at, events of each stream, and a line for each window."""
    events = {
        stream: [asdict(event) for event in find_events(timeline, threshold=threshold, stream=i)]
        for i, stream in enumerate(timeline.streams)
    }
    head = {
        "file": timeline.file,
        **asdict(timeline.grid),
        "threshold": threshold,
        "num_windows": timeline.num_windows,
        "num_planned": timeline.grid.num_windows,
        "notes": notes(timeline),
        "classes": timeline.classes,
    }
    lines = []
    for index, problem in enumerate(timeline.problems):
        scores = {
            stream: [round(float(value), 6) for value in values]
            for stream, values in zip(timeline.streams, timeline.scores[index], strict=True)
            if not math.isnan(values[0])
        }
        window = timeline.grid.window(index)
        times = {"start_seconds": window.start_seconds, "end_seconds": window.stop_seconds}
        lines.append(json.dumps(times | {"scores": scores, "problem": problem}))
    windows, text = ",\n".join(lines), json.dumps(head | {"events": events}, indent=2)
    return f'{text[:-2]},\n  "windows": [\n{windows}\n]\n}}\n'


# --- subtitles ----------------------------------------------------------------------------------


def as_srt(timeline: Timeline, *, threshold: float) -> str:
    """SubRip: numbered cues, commas before thousandths."""
    cues = cues_of(find_events(timeline, threshold=threshold))
    return "\n".join(
        f"{number}\n{_span(cue, mark=',')}\n{_lines(cue)}\n"
        for number, cue in enumerate(cues, start=1)
    )


def as_vtt(timeline: Timeline, *, threshold: float) -> str:
    """WebVTT."""
    cues = cues_of(find_events(timeline, threshold=threshold))
    texts = (f"{_span(cue, mark='.')}\n{escape(_lines(cue), quote=False)}\n" for cue in cues)
    return "\n".join(["WEBVTT\n", *texts])


def _span(cue: Cue, *, mark: str) -> str:
    return f"{clock(cue.start_seconds, mark=mark)} --> {clock(cue.end_seconds, mark=mark)}"


def _lines(cue: Cue) -> str:
    """A line for each event; an arrow in a class name would look like a time, a break as an end."""
    texts = (f"{event.label} ({100 * event.mean:.0f} %)" for event in cue.events)
    return "\n".join(" ".join(text.replace("-->", "→").split()) for text in texts)
