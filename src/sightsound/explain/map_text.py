"""Maps in words and numbers: a table, JSON, lines of a table of clips or of cells."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sightsound.explain.localization import Best, best_places
from sightsound.explain.maps import Maps
from sightsound.explain.text import clock
from sightsound.media.front_end import FrontEnd
from sightsound.media.logmel import band_edges
from sightsound.preview.model_inputs import ModelInput
from sightsound.types import MODALITIES, VIDEO, WORDS, Problem

if TYPE_CHECKING:
    from rich.table import Table

_DIGITS = 6
_KINDS = {"second": "second", "region": "ninth of the frame", "band": "quarter of the mel bins"}
_CELL_COLUMNS = (
    "id",
    "class",
    "method",
    "modality",
    "start_seconds",
    "end_seconds",
    "top",
    "bottom",
    "left",
    "right",
    "low_hz",
    "high_hz",
    "value",
)


@dataclass(frozen=True)
class Looked:
    """One clip: its maps, where they lie, what the streams add, and what the clip is."""

    maps: Maps
    shapley: Maps | None  # `None`: the model has one stream
    seen: ModelInput | None
    front_end: FrontEnd
    truth: str = ""  # the clip's own classes, if it is labelled

    @property
    def places(self) -> dict[str, dict[str, Best]]:
        """See `best_places`."""
        return best_places(self.maps, self.front_end, seen=self.seen)


def headline(looked: Looked) -> str:
    """The class asked about, its probability, and what is true."""
    maps = looked.maps
    text = f"{maps.shown} ({100 * maps.probability:.1f} %), by {maps.method}"
    return text + (f"; the true class is {looked.truth}" if looked.truth else "")


def share_lines(looked: Looked) -> list[str]:
    """How much sound and pictures count: by Shapley's value, of the map, and what crossed."""
    maps, shapley, lines = looked.maps, looked.shapley, []
    if maps.method == "leave_one_out":
        lines.append(f"of the probability is lost without it: {_points(maps.effects)}")
    if shapley is not None:
        nothing = 100 * (shapley.probability - sum(shapley.effects.values()))
        points = _points(shapley.effects)
        lines.append(f"of the probability: {points}, from {nothing:.0f} % with neither (Shapley)")
    if maps.streams and len(maps.shares) > 1:
        lines.append(f"of the map: {percentages(maps.shares)}")
    crossed = [
        f"{WORDS[reader]} {100 * (1 - shares[reader]):.0f} % from {WORDS[other]}"
        for reader, shares in maps.crossing.items()
        for other in shares
        if other != reader
    ]
    return lines + ([f"taken over in fusion: {', '.join(crossed)}"] if crossed else [])


def stream_words(looked: Looked) -> str:
    """What the streams add, by Shapley's value; of a model of one stream its share of the map.

    Shares of a map are no substitute: a class that many parts tell does without each of them.
    """
    shapley = looked.shapley
    return percentages(looked.maps.shares) if shapley is None else _points(shapley.effects)


def _points(effects: dict[str, float]) -> str:
    names = [name for name in MODALITIES if name in effects]
    return ", ".join(f"{WORDS[name]} {100 * effects[name]:+z.0f} points" for name in names)


def percentages(shares: dict[str, float]) -> str:
    """Such as "pictures 61 %, sound 39 %"."""
    names = [name for name in MODALITIES if name in shares]
    return ", ".join(f"{WORDS[name]} {100 * shares[name]:.0f} %" for name in names)


def place_words(kind: str, best: Best) -> str:
    """Such as "1-2 s", "upper left", "250-700 Hz"."""
    if kind == "region":
        return best.name
    if kind == "band":
        return f"{_hertz(best.start)}-{_hertz(best.stop)} Hz"
    return f"{clock(best.start)}-{clock(best.stop)} s"


def _hertz(value: float) -> str:
    return f"{value:.0f}" if value < 1000 else f"{round(value, -1):.0f}"


def as_table(clips: Sequence[Looked]) -> str:
    """For a terminal: when, where and how high; an even map's share beside each."""
    from rich.console import Console

    buffer = io.StringIO()
    console = Console(file=buffer, width=100)
    for looked in clips:
        console.out(looked.maps.id)
        console.out(headline(looked))
        for line in share_lines(looked):
            console.out(line)
        if looked.places:
            console.print(_table(looked))
        for note in _notes(looked):
            console.out(note)
        console.out()
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).rstrip()


def _table(looked: Looked) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("", "most at", "share of the map", "if it were even"):
        table.add_column(title, justify="left" if title in ("", "most at") else "right")
    for name, kinds in looked.places.items():
        for place, (kind, best) in enumerate(kinds.items()):
            cells = [WORDS[name] if place == 0 else "", place_words(kind, best)]
            table.add_row(
                *map(Text, cells), f"{100 * best.share:.0f} %", f"{100 * best.even:.0f} %"
            )
    return table


def _notes(looked: Looked) -> list[str]:
    maps, places = looked.maps, looked.places
    notes = ["rollout does not tell classes apart"] if maps.method == "rollout" else []
    return notes + [
        f"{WORDS[name]}: nothing speaks for {maps.shown}"
        for name in maps.streams
        if name not in places
    ]


def as_json(clips: Sequence[Looked], *, cells: bool = True) -> str:
    """One object per clip in a list."""
    return json.dumps([record(looked, cells=cells) for looked in clips], indent=2)


def record(looked: Looked, *, cells: bool = True) -> dict[str, Any]:
    """JSON values; `maps` are the cells themselves."""
    maps = looked.maps
    values = {
        "id": maps.id,
        "class": maps.shown,
        "probability": round(maps.probability, _DIGITS),
        "truth": looked.truth,
        "method": maps.method,
        "shares": _rounded(maps.shares),
        "shapley": None if looked.shapley is None else _rounded(looked.shapley.effects),
        "crossing": {reader: _rounded(shares) for reader, shares in maps.crossing.items()},
        "places": {
            name: {kind: _place_record(kind, best) for kind, best in kinds.items()}
            for name, kinds in looked.places.items()
        },
    }
    numbers = {name: _nested(x) for name, x in maps.streams.items()} if cells else {}
    return values | ({"maps": numbers} if cells else {})


def _place_record(kind: str, best: Best) -> dict[str, Any]:
    share = {"share": round(best.share, _DIGITS), "even": round(best.even, _DIGITS)}
    if kind == "region":
        return {"name": best.name} | share
    unit = "hz" if kind == "band" else "seconds"
    ends = {f"start_{unit}": best.start, f"end_{unit}": best.stop}
    return {key: round(value, 3) for key, value in ends.items()} | share


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, _DIGITS) for name, value in values.items()}


def _nested(values: np.ndarray) -> list:
    """Lists of the shortest numbers that are these in single precision."""
    if values.ndim == 0:
        return float(str(np.float32(values)))
    return [_nested(part) for part in values]


def clip_line(looked: Looked) -> dict[str, Any]:
    """Class, shares and places of one clip, for a table of clips."""
    maps, effects = looked.maps, {} if looked.shapley is None else looked.shapley.effects
    line = {
        "id": maps.id,
        "label": looked.truth,
        "class": maps.shown,
        "probability": maps.probability,
        "method": maps.method,
        **{f"{name}_share": share for name, share in maps.shares.items()},
        **{f"{name}_shapley": effect for name, effect in effects.items()},
    }
    for name, kinds in looked.places.items():
        for kind, best in kinds.items():
            values = _place_record(kind, best)
            line |= {f"{name}_{kind}_{key}": value for key, value in values.items()}
    return line


def split_text(clips: Sequence[Looked], problems: Sequence[Problem]) -> str:
    """What the clips of a split have in common, in a few lines.

    A clip without one of the streams tells nothing of how much they count against one another.
    """
    lines = [f"By {clips[0].maps.method}, mean over clips:"]
    whole = [one for one in clips if _has_all_streams(one)]
    if len(whole) < len(clips):
        lines[0] = f"{lines[0][:-1]}; shares over the {len(whole)} with both streams:"
    if whole and whole[0].maps.streams and len(whole[0].maps.shares) > 1:
        lines.append(f"of the map: {percentages(_means([one.maps.shares for one in whole]))}")
    if whole and whole[0].shapley is not None:
        effects = _means([one.shapley.effects for one in whole])
        lines.append(f"of the probability: {_points(effects)} (Shapley)")
    for name in clips[0].maps.streams:
        kinds = [one.places[name] for one in clips if name in one.places]
        for kind in dict.fromkeys(kind for each in kinds for kind in each):
            best = [each[kind] for each in kinds if kind in each]
            share, even = (100 * np.mean([getattr(x, k) for x in best]) for k in ("share", "even"))
            lines.append(
                f"{WORDS[name]}: {share:.0f} % of the map in its best {_KINDS[kind]}, "
                f"{even:.0f} % if it were even"
            )
    if problems:
        first = problems[0]
        lines.append(
            f"Files with problems: {len(problems)}; the first: {first.path}: {first.cause}"
        )
    return "\n".join(lines)


def _has_all_streams(looked: Looked) -> bool:
    """Whether every stream adds something: what an absent one adds is exactly zero."""
    return looked.shapley is None or all(looked.shapley.effects.values())


def _means(values: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([each[name] for each in values])) for name in values[0]}


def table_lines(clips: Sequence[Looked]) -> list[dict[str, Any]]:
    """A line for every cell; of methods that make no maps, for every clip."""
    cells = [line for looked in clips for line in cell_lines(looked)]
    return cells or [clip_line(looked) for looked in clips]


def cell_lines(looked: Looked) -> Iterator[dict[str, Any]]:
    """A line per cell: its time in the file, its part of the frame or its band, and its value.

    Rows and columns of the frame count from 0, the upper left, to 1.
    """
    maps, audio = looked.maps, looked.front_end.audio
    hertz = None if audio.spectrum == "waveform" else band_edges(audio)
    for name, values in maps.streams.items():
        if looked.seen is None or name not in looked.seen.starts:
            continue
        start, length = looked.seen.starts[name], looked.seen.lengths[name]
        for place, value in np.ndenumerate(values):
            time, *others = (
                (cell / count, (cell + 1) / count)
                for cell, count in zip(place, values.shape, strict=True)
            )
            file_seconds = [looked.seen.file_seconds(start + share * length) for share in time]
            line = dict.fromkeys(_CELL_COLUMNS) | {
                "id": maps.id,
                "class": maps.shown,
                "method": maps.method,
                "modality": name,
                "start_seconds": round(file_seconds[0], 3),
                "end_seconds": round(file_seconds[0] + (time[1] - time[0]) * length, 3),
                "value": float(str(value)),
            }
            if name == VIDEO:
                (top, bottom), (left, right) = others
                line |= {"top": top, "bottom": bottom, "left": left, "right": right}
            elif hertz is not None:
                places = np.array(others[0]) * audio.num_mels
                low, high = np.interp(places, np.arange(audio.num_mels + 1), hertz)
                line |= {"low_hz": round(float(low), 1), "high_hz": round(float(high), 1)}
            yield line
