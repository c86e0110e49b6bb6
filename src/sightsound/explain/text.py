"""Explanations in words and numbers: for a terminal, as JSON, as lines of a table."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sightsound.explain.clips import ClipExplanation
from sightsound.explain.explanation import SecondTable
from sightsound.explain.localization import Location
from sightsound.files import csv_text
from sightsound.media.logmel import band_edges
from sightsound.types import AUDIO, MODALITIES, VIDEO, WORDS

if TYPE_CHECKING:
    from rich.table import Table

VERBS = {VIDEO: "seen", AUDIO: "heard"}
_DIGITS = 6
_WIDEST = 24  # signs in the heading of a column
_ALIKE = 0.05  # a share of attention this near to a half is no preference: a guess
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


# --- in words -----------------------------------------------------------------------------------


def headline(clip: ClipExplanation) -> str:
    """The class explained and its probability, with its rival's or the method."""
    explanation, seconds = clip.explanation, clip.explanation.seconds
    if seconds is None:
        chance = f"{100 * explanation.probability:.1f} %"
        return f"{explanation.shown} ({chance}), by {explanation.method}"
    shown, rival = seconds.shown, seconds.rival
    pairs = zip(seconds.classes, seconds.probabilities, strict=True)
    words = [f"{name} ({100 * probability:.1f} %)" for name, probability in pairs]
    if rival is None:
        return words[shown]
    ahead = seconds.probabilities[shown] >= seconds.probabilities[rival]
    return f"{words[shown]}, {'before' if ahead else 'behind'} {words[rival]}"


def summary(clip: ClipExplanation) -> list[str]:
    """How much sound and pictures count: by Shapley's value, of the map, and what crossed."""
    explanation, lines = clip.explanation, []
    if explanation.seconds is not None:
        return [sentence(clip)]
    if explanation.method == "leave_one_out":
        lines.append(f"of the probability is lost without it: {points(explanation.effects)}")
    if clip.shapley is not None:
        effects = clip.shapley.effects
        nothing = 100 * (clip.shapley.probability - sum(effects.values()))
        lines.append(
            f"of the probability: {points(effects)}, from {nothing:.0f} % with neither (Shapley)"
        )
    if explanation.streams and len(explanation.shares) > 1:
        lines.append(f"of the map: {percentages(explanation.shares)}")
    crossed = [
        f"{WORDS[reader]} {100 * (1 - shares[reader]):.0f} % from {WORDS[other]}"
        for reader, shares in explanation.crossing.items()
        for other in shares
        if other != reader
    ]
    return lines + ([f"taken over in fusion: {', '.join(crossed)}"] if crossed else [])


def sentence(clip: ClipExplanation) -> str:
    """Whether the clip was mostly seen or heard, in which cell, and which speaks for the class."""
    seconds, starts = clip.explanation.seconds, clip.second_starts
    assert seconds is not None and starts is not None

    def cell_name(values: np.ndarray) -> str:
        second, k = seconds.cell(values)
        return f"{WORDS[seconds.modalities[k]]} at {second_name(starts[second])} s"

    name, share = max(seconds.shares.items(), key=lambda item: item[1])
    kind = preference(seconds)
    if len(seconds.shares) == 1 or min(seconds.shares.values()) == 0:
        words = f"only {kind}"
    elif kind == "alike":
        words = f"seen and heard alike ({100 * share:.0f} % of the attention on {WORDS[name]})"
    else:
        words = f"mostly {kind} ({100 * share:.0f} % of the attention)"
    text, evidence = f"{words}, above all {cell_name(seconds.attention)}", seconds.evidence
    if evidence is None:
        return text
    label, rival = repr(seconds.classes[seconds.shown]), rival_name(seconds)
    label += "" if rival is None else f" over {rival!r}"
    value = evidence[seconds.cell(evidence)]
    return f"{text}; most for {label}: {cell_name(evidence)} ({value:+z.2f})"


def preference(seconds: SecondTable) -> str:
    """Where most of the attention lies: "seen", "heard" or "alike"."""
    name, share = max(seconds.shares.items(), key=lambda item: item[1])
    return VERBS[name] if share > 0.5 + _ALIKE else "alike"


def rival_name(seconds: SecondTable) -> str | None:
    """The likeliest other class."""
    return None if seconds.rival is None else seconds.classes[seconds.rival]


def stream_words(clip: ClipExplanation) -> str:
    """What the streams add, by Shapley's value; of a model of one stream its share of the map.

    Shares of a map are no substitute: a class that many parts tell does without each of them.
    """
    if clip.shapley is None:
        return percentages(clip.explanation.shares)
    return points(clip.shapley.effects)


def points(effects: dict[str, float]) -> str:
    """Such as "pictures +61 points, sound -3 points"."""
    names = [name for name in MODALITIES if name in effects]
    return ", ".join(f"{WORDS[name]} {100 * effects[name]:+z.0f} points" for name in names)


def percentages(shares: dict[str, float]) -> str:
    """Such as "pictures 61 %, sound 39 %"."""
    names = [name for name in MODALITIES if name in shares]
    return ", ".join(f"{WORDS[name]} {100 * shares[name]:.0f} %" for name in names)


def second_name(start: float) -> str:
    """The second from `start` on, such as "2-3"."""
    return f"{clock(start)}-{clock(start + 1)}"


def clock(seconds: float) -> str:
    """Seconds with up to two places."""
    return f"{round(seconds, 2):.10g}"


def location_words(kind: str, location: Location) -> str:
    """Such as "1-2 s", "upper left", "250-700 Hz"."""
    if kind == "region":
        return location.name
    ends = location.start, location.stop
    if kind == "band":
        return "-".join(f"{x if x < 1000 else round(x, -1):.0f}" for x in ends) + " Hz"
    return "-".join(map(clock, ends)) + " s"


# --- for a terminal -----------------------------------------------------------------------------


def as_table(clips: Sequence[ClipExplanation]) -> str:
    """When, where and how high, an even map's share beside each; of MAFnet a line per second."""
    from rich.console import Console

    buffer = io.StringIO()
    console = Console(file=buffer, width=100)
    for clip in clips:
        console.out(clip.explanation.id)
        console.out(headline(clip) + (f"; the true class is {clip.truth}" if clip.truth else ""))
        for line in summary(clip):
            console.out(line)
        if clip.explanation.seconds is not None:
            console.print(_second_table(clip))
        elif clip.locations:
            console.print(_location_table(clip))
        for note in _notes(clip):
            console.out(note)
        console.out()
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).rstrip()


def _location_table(clip: ClipExplanation) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("", "most at", "share of the map", "if it were even"):
        table.add_column(title, justify="left" if title in ("", "most at") else "right")
    for name, kinds in clip.locations.items():
        for index, (kind, one) in enumerate(kinds.items()):
            cells = [WORDS[name] if index == 0 else "", location_words(kind, one)]
            shares = [f"{100 * one.share:.0f} %", f"{100 * one.even:.0f} %"]
            table.add_row(*map(Text, cells), *shares)
    return table


def _second_table(clip: ClipExplanation) -> Table:
    """Attention and contributions of each stream, a line per second."""
    from rich.table import Table
    from rich.text import Text

    seconds, starts = clip.explanation.seconds, clip.second_starts
    assert seconds is not None and starts is not None
    kinds = [("x neutral", ".2f", seconds.times_neutral)]  # title, format, values (T, K)
    if seconds.contribution is not None:
        title = f"for {seconds.classes[seconds.shown]}"
        kinds.append((title, "+z.2f", seconds.contribution))
    if seconds.difference is not None:
        kinds.append((f"minus {rival_name(seconds)}", "+z.2f", seconds.difference))
    table = Table(box=None, pad_edge=False)
    table.add_column(Text("\nseconds"))
    lines = [[second_name(start)] for start in starts] + [["all"]]
    for k, (name, share) in enumerate(seconds.shares.items()):
        for index, (title, form, values) in enumerate(kinds):
            title = title if len(title) <= _WIDEST else f"{title[: _WIDEST - 3]}..."
            table.add_column(Text(f"{'' if index else WORDS[name]}\n{title}"), justify="right")
            for second, value in enumerate(values[:, k]):
                nothing = seconds.padded[second, k] and not value
                lines[second].append("-" if nothing else format(value, form))
            lines[-1].append(format(values[:, k].sum(), form) if index else f"{100 * share:.0f} %")
    for line in lines:
        table.add_row(*line)
    return table


def _notes(clip: ClipExplanation) -> list[str]:
    """What a reader must know; of MAFnet how the contributions make up the logit."""
    explanation, seconds = clip.explanation, clip.explanation.seconds
    if seconds is None:
        rollout = explanation.method == "rollout"
        notes = ["rollout does not tell classes apart"] if rollout else []
        return notes + [
            f"{WORDS[name]}: nothing speaks for {explanation.shown}"
            for name in explanation.streams
            if name not in clip.locations
        ]
    padded, shown, notes = seconds.padded_share, seconds.shown, []
    if padded > 0:
        notes.append(f"{100 * padded:.1f} % of the attention is on padding")
    if seconds.contribution is None or seconds.constant is None:
        return [*notes, "no contributions: this model's fusion is not linear, attention is all"]
    total, constant = seconds.contribution.sum(), seconds.constant[shown]
    text = f"logit of {seconds.classes[shown]}: {total:+z.2f} from the cells, {constant:+z.2f}"
    return [*notes, f"{text} constant, {seconds.logits[shown]:+z.2f} together"]


# --- numbers ------------------------------------------------------------------------------------


def as_json(clips: Sequence[ClipExplanation], *, cells: bool = True) -> str:
    """One object per clip in a list."""
    return json.dumps([record(clip, cells=cells) for clip in clips], indent=2)


def record(clip: ClipExplanation, *, cells: bool = True) -> dict[str, Any]:
    """JSON values; `maps` are the cells themselves; of MAFnet every class with its numbers."""
    explanation = clip.explanation
    if explanation.seconds is not None:
        return _second_record(clip, explanation.seconds)
    values = {
        "id": explanation.id,
        "class": explanation.shown,
        "probability": round(explanation.probability, _DIGITS),
        "truth": clip.truth,
        "method": explanation.method,
        "shares": _rounded(explanation.shares),
        "shapley": None if clip.shapley is None else _rounded(clip.shapley.effects),
        "crossing": {reader: _rounded(shares) for reader, shares in explanation.crossing.items()},
        "places": {
            name: {kind: _location_record(kind, one) for kind, one in kinds.items()}
            for name, kinds in clip.locations.items()
        },
    }
    if cells:
        values["maps"] = {name: _numbers(x) for name, x in explanation.streams.items()}
    return values


def _second_record(clip: ClipExplanation, seconds: SecondTable) -> dict[str, Any]:
    classes = {}
    for index, name in enumerate(seconds.classes):
        values = {"logit": seconds.logits[index], "probability": seconds.probabilities[index]}
        if seconds.contributions is not None and seconds.constant is not None:
            values["constant"] = seconds.constant[index]
            values["contributions"] = seconds.contributions[..., index]
        classes[name] = {key: _numbers(value) for key, value in values.items()}
    return {
        "id": clip.explanation.id,
        "sentence": sentence(clip),
        "class": seconds.classes[seconds.shown],
        "runner_up": rival_name(seconds),
        "truth": clip.truth,
        "shares": _rounded(seconds.shares),
        "padded_share": round(seconds.padded_share, _DIGITS),
        "modalities": list(seconds.modalities),
        "cells": list(_second_lines(clip, seconds)),
        "classes": classes,
    }


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, _DIGITS) for name, value in values.items()}


def _numbers(values: np.ndarray | np.floating) -> Any:
    """Nested lists of the shortest numbers that are these in single precision."""
    if values.ndim == 0 or isinstance(values, np.floating):
        return float(str(np.float32(values)))
    return [_numbers(part) for part in values]


def _location_record(kind: str, location: Location) -> dict[str, Any]:
    share = {"share": round(location.share, _DIGITS), "even": round(location.even, _DIGITS)}
    if kind == "region":
        return {"name": location.name} | share
    unit = "hz" if kind == "band" else "seconds"
    ends = {f"start_{unit}": location.start, f"end_{unit}": location.stop}
    return {key: round(value, 3) for key, value in ends.items()} | share


# --- lines of tables ----------------------------------------------------------------------------


def as_csv(clips: Sequence[ClipExplanation]) -> str:
    """A line for every cell; of methods that make no maps, for every clip."""
    cells = [line for clip in clips for line in cell_lines(clip)]
    return csv_text(cells or [clip_line(clip) for clip in clips])


def clip_line(clip: ClipExplanation) -> dict[str, Any]:
    """Class, shares and locations of one clip, for a table of clips."""
    explanation = clip.explanation
    line: dict[str, Any] = {
        "id": explanation.id,
        "label": clip.truth,
        "class": explanation.shown,
        "probability": explanation.probability,
        "method": explanation.method,
        **{f"{name}_share": share for name, share in explanation.shares.items()},
    }
    if clip.shapley is not None:
        effects = clip.shapley.effects
        line |= {f"{name}_shapley": effect for name, effect in effects.items()}
    for name, kinds in clip.locations.items():
        for kind, location in kinds.items():
            values = _location_record(kind, location)
            line |= {f"{name}_{kind}_{key}": value for key, value in values.items()}
    return line


def cell_lines(clip: ClipExplanation) -> Iterator[dict[str, Any]]:
    """A line per cell: its time in the file, its part of the frame or its band, and its value.

    Rows and columns of the frame count from 0, the upper left, to 1. Of MAFnet a line per second
    and stream: attention and contribution to the class shown.
    """
    explanation, given, audio = clip.explanation, clip.given, clip.front_end.audio
    if explanation.seconds is not None:
        about: dict[str, Any] = {"id": explanation.id, "class": explanation.shown}
        about["runner_up"] = rival_name(explanation.seconds)
        for line in _second_lines(clip, explanation.seconds):
            yield about | line
        return
    edges = None if audio.spectrum == "waveform" else band_edges(audio)
    for name, values in explanation.streams.items():
        if given is None or name not in given.starts:
            continue
        start, length = given.starts[name], given.lengths[name]
        for index, value in np.ndenumerate(values):
            (first, last), *others = (
                (cell / count, (cell + 1) / count)
                for cell, count in zip(index, values.shape, strict=True)
            )
            from_seconds = given.file_seconds(start + first * length)
            line = dict.fromkeys(_CELL_COLUMNS) | {
                "id": explanation.id,
                "class": explanation.shown,
                "method": explanation.method,
                "modality": name,
                "start_seconds": round(from_seconds, 3),
                "end_seconds": round(from_seconds + (last - first) * length, 3),
                "value": float(str(value)),
            }
            if name == VIDEO:
                (top, bottom), (left, right) = others
                line |= {"top": top, "bottom": bottom, "left": left, "right": right}
            elif edges is not None:
                bins = np.array(others[0]) * audio.num_mels
                low, high = np.interp(bins, np.arange(audio.num_mels + 1), edges)
                line |= {"low_hz": round(float(low), 1), "high_hz": round(float(high), 1)}
            yield line


def _second_lines(clip: ClipExplanation, seconds: SecondTable) -> Iterator[dict[str, Any]]:
    assert clip.second_starts is not None
    parts = {"contribution": seconds.contribution, "minus_runner_up": seconds.difference}
    neutral = seconds.times_neutral
    for second, start in enumerate(clip.second_starts.tolist()):
        for k, modality in enumerate(seconds.modalities):
            yield {
                "second": second,
                "start_seconds": start,
                "end_seconds": start + 1,
                "modality": modality,
                "attention": _numbers(seconds.attention[second, k]),
                "times_neutral": _numbers(neutral[second, k]),
                **{
                    name: None if values is None else _numbers(values[second, k])
                    for name, values in parts.items()
                },
                "padded": bool(seconds.padded[second, k]),
            }
