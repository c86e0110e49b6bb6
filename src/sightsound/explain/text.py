"""An explanation in words and numbers: one sentence, a table, JSON, lines of a table of clips."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sightsound.explain.contributions import Explanation
from sightsound.files import csv_rows
from sightsound.types import AUDIO, VIDEO, WORDS

if TYPE_CHECKING:
    import pyarrow

VERBS = {VIDEO: "seen", AUDIO: "heard"}
_WIDEST = 24  # signs in the heading of a column
_ALIKE = 0.05  # a share of attention this near to a half is no preference: a guess


def sentence(explanation: Explanation) -> str:
    """Whether the clip was mostly seen or heard, in which cell, and which speaks for the class."""
    cell = explanation.cell(explanation.attention)
    text = f"{_preference_words(explanation)}, above all {cell_name(explanation, *cell)}"
    if explanation.evidence is None:
        return text
    best = explanation.cell(explanation.evidence)
    name = repr(explanation.classes[explanation.shown])
    name += "" if explanation.rival is None else f" over {rival_name(explanation)!r}"
    value = explanation.evidence[best]
    return f"{text}; most for {name}: {cell_name(explanation, *best)} ({value:+z.2f})"


def preference(explanation: Explanation) -> str:
    """Where most of the attention lies: "seen", "heard" or "alike"."""
    name, share = _larger_share(explanation)
    return VERBS[name] if share > 0.5 + _ALIKE else "alike"


def _larger_share(explanation: Explanation) -> tuple[str, float]:
    return max(explanation.shares.items(), key=lambda item: item[1])


def _preference_words(explanation: Explanation) -> str:
    (name, share), kind = _larger_share(explanation), preference(explanation)
    if len(explanation.shares) == 1 or min(explanation.shares.values()) == 0:
        return f"only {kind}"
    if kind == "alike":
        return f"seen and heard alike ({100 * share:.0f} % of the attention on {WORDS[name]})"
    return f"mostly {kind} ({100 * share:.0f} % of the attention)"


def cell_name(explanation: Explanation, second: int, k: int) -> str:
    """Such as "sound at 2-3 s"."""
    return f"{WORDS[explanation.modalities[k]]} at {stretch(explanation.starts[second])} s"


def stretch(start: float) -> str:
    """The second from `start` on, such as "2-3"."""
    return f"{clock(start)}-{clock(start + 1)}"


def clock(seconds: float) -> str:
    """Seconds with up to two places."""
    return f"{round(seconds, 2):.10g}"


def rival_name(explanation: Explanation) -> str | None:
    """The likeliest other class."""
    return None if explanation.rival is None else explanation.classes[explanation.rival]


def headline(explanation: Explanation) -> str:
    """The class explained and its rival with their probabilities."""
    shown, rival = explanation.shown, explanation.rival
    text = _with_probability(explanation, shown)
    if rival is not None:
        ahead = explanation.probabilities[shown] >= explanation.probabilities[rival]
        text += f", {'before' if ahead else 'behind'} {_with_probability(explanation, rival)}"
    return text


def _with_probability(explanation: Explanation, place: int) -> str:
    return f"{explanation.classes[place]} ({100 * explanation.probabilities[place]:.1f} %)"


def as_table(explanations: Sequence[Explanation]) -> str:
    """For a terminal: a line per second, attention and contributions of each stream."""
    from rich.console import Console

    buffer = io.StringIO()
    console = Console(file=buffer, width=100)
    for explanation in explanations:
        console.out(explanation.id)
        truth = f"; the true class is {explanation.truth}" if explanation.truth else ""
        console.out(headline(explanation) + truth)
        console.out(sentence(explanation))
        console.print(_table(explanation))
        for line in _sums(explanation):
            console.out(line)
        console.out()
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).rstrip()


def _table(explanation: Explanation) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column(Text("\nseconds"))
    columns = []
    for k, name in enumerate(explanation.modalities):
        for index, (title, kind, values) in enumerate(_columns(explanation)):
            top = WORDS[name] if index == 0 else ""
            table.add_column(Text(f"{top}\n{title}"), justify="right")
            columns.append((kind, values[:, k], explanation.padded[:, k]))
    for second, start in enumerate(explanation.starts):
        cells = [
            "-" if padded[second] and not values[second] else format(values[second], kind)
            for kind, values, padded in columns
        ]
        table.add_row(stretch(start), *cells)
    table.add_row("all", *_totals(explanation))
    return table


def _columns(explanation: Explanation) -> list[tuple[str, str, np.ndarray]]:
    """(title, format, values (T, K)) of what the table says about each stream."""
    columns = [("x neutral", ".2f", explanation.times_neutral)]
    if explanation.contribution is not None:
        title = f"for {explanation.classes[explanation.shown]}"
        columns.append((_heading(title), "+z.2f", explanation.contribution))
    if explanation.difference is not None:
        title = f"minus {rival_name(explanation)}"
        columns.append((_heading(title), "+z.2f", explanation.difference))
    return columns


def _heading(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


def _totals(explanation: Explanation) -> list[str]:
    cells = []
    for k, share in enumerate(explanation.shares.values()):
        cells.append(f"{100 * share:.0f} %")
        cells += [f"{values[:, k].sum():+z.2f}" for _, _, values in _columns(explanation)[1:]]
    return cells


def _sums(explanation: Explanation) -> list[str]:
    """How the contributions make up the logit, and what lies on padding."""
    shown, name = explanation.shown, explanation.classes[explanation.shown]
    lines = [f"{100 * explanation.padded_share:.1f} % of the attention is on padding"]
    lines = lines if explanation.padded_share > 0 else []
    if explanation.contribution is None:
        return [*lines, "no contributions: this model's fusion is not linear, attention is all"]
    total, constant = explanation.contribution.sum(), explanation.constant[shown]
    text = f"logit of {name}: {total:+z.2f} from the cells, {constant:+z.2f} constant"
    return [*lines, f"{text}, {explanation.logits[shown]:+z.2f} together"]


def as_json(explanations: Sequence[Explanation]) -> str:
    """One object per clip in a list, with every class."""
    return json.dumps([record(explanation) for explanation in explanations], indent=2)


def record(explanation: Explanation) -> dict[str, Any]:
    """JSON values: the cells of the class shown, and every class with its contributions."""
    return {
        "id": explanation.id,
        "sentence": sentence(explanation),
        "class": explanation.classes[explanation.shown],
        "runner_up": rival_name(explanation),
        "truth": explanation.truth,
        "shares": {name: round(share, 6) for name, share in explanation.shares.items()},
        "padded_share": round(explanation.padded_share, 6),
        "modalities": list(explanation.modalities),
        "cells": list(cell_rows(explanation)),
        "classes": _class_records(explanation),
    }


def _class_records(explanation: Explanation) -> dict[str, dict[str, Any]]:
    """{class: logit, probability, constant and contributions (T, K)}."""
    records = {}
    for place, name in enumerate(explanation.classes):
        numbers = {"logit": explanation.logits, "probability": explanation.probabilities}
        if explanation.contributions is not None:
            numbers |= {"constant": explanation.constant}
        records[name] = {key: _number(values[place]) for key, values in numbers.items()}
        if explanation.contributions is not None:
            shares = explanation.contributions[..., place]
            records[name]["contributions"] = [[_number(x) for x in line] for line in shares]
    return records


def _number(value: np.floating) -> float:
    """The shortest number that is this one in single precision."""
    return float(str(value))


def cell_rows(explanation: Explanation) -> Iterator[dict[str, Any]]:
    """A line per second and stream: attention and contribution to the class shown."""
    neutral = explanation.times_neutral
    parts = {"contribution": explanation.contribution, "minus_runner_up": explanation.difference}
    for second, start in enumerate(explanation.starts.tolist()):
        for k, modality in enumerate(explanation.modalities):
            yield {
                "second": second,
                "start_seconds": start,
                "end_seconds": start + 1,
                "modality": modality,
                "attention": _number(explanation.attention[second, k]),
                "times_neutral": _number(np.float32(neutral[second, k])),
                **{
                    name: None if values is None else _number(values[second, k])
                    for name, values in parts.items()
                },
                "padded": bool(explanation.padded[second, k]),
            }


def cell_table(explanations: Sequence[Explanation]) -> pyarrow.Table:
    """`cell_rows` of many clips under one another, with the clip, its class and the runner-up."""
    import pyarrow

    lines = []
    for explanation in explanations:
        about = {
            "id": explanation.id,
            "class": explanation.classes[explanation.shown],
            "runner_up": rival_name(explanation),
        }
        lines += [about | cells for cells in cell_rows(explanation)]
    return pyarrow.Table.from_pylist(lines)


def as_csv(table: pyarrow.Table) -> str:
    """A table as CSV with a header."""
    return csv_rows([table.column_names, *zip(*table.to_pydict().values(), strict=True)])
