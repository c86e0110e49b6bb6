"""All clips of a split explained: tables, pictures, and what they have in common in a few lines.

Of MAFnet's seconds also whether they add up, and the deletion test.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader
from sightsound.explain.clips import ClipExplanation, explain_loader
from sightsound.explain.deletion import (
    ATTENTION,
    EVIDENCE,
    RANDOM,
    Deleted,
    delete_seconds,
    summarise,
)
from sightsound.explain.text import (
    as_json,
    cell_lines,
    clip_line,
    percentages,
    points,
    preference,
    rival_name,
)
from sightsound.files import csv_rows, csv_text, write_whole
from sightsound.predict import Predictor
from sightsound.preview.model_inputs import evaluation_view
from sightsound.types import MODALITIES, WORDS, Problem

if TYPE_CHECKING:
    import pyarrow

EXACT = 1e-5  # how near contributions and constant come to the logits
_ON_A_SHEET = 24  # clips of a split
_MOSTLY = {"seen": "mostly seen", "heard": "mostly heard", "alike": "seen and heard alike"}
_KINDS = {"second": "second", "region": "ninth of the frame", "band": "quarter of the mel bins"}
_WHAT = (
    "drop of the probability of the class shown when a cell (a second of a stream) is hidden from "
    "FiLM, attention and sums. evidence: the cell whose contribution to the class, less that to "
    "the runner-up, is the largest; attention: the cell with most of it; random: any other cell "
    "than the first of these. above_random: paired, with a 95 % interval over clips"
)


@dataclass(frozen=True)
class SplitExplanation:
    """The explanations of many clips."""

    method: str
    lines: list[dict[str, Any]]  # one per clip
    problems: Sequence[Problem] = ()
    clips: list[ClipExplanation] = field(default_factory=list)  # of maps
    cells: pyarrow.Table | None = None  # of seconds: a line per clip, second and stream
    deletion: dict[str, Any] = field(default_factory=dict)  # of seconds, see `summarise`


def explain_split(
    predictor: Predictor,
    loader: Loader,
    *,
    method: str,
    batch_size: int = 32,
    shown: str | None = None,
    seed: int = 0,
    **options: Any,
) -> SplitExplanation:
    """Explanations of all clips of `loader`; of seconds with the deletion test on them.

    Args:
        batch_size: of the one pass that seconds take.
        shown: the class to explain; `None`: each clip's likeliest.
        seed: of the cells and intervals of the deletion test.
        options: of the method.

    Raises:
        ValueError: no such method or class, or no clip that can be read.
    """
    import pyarrow

    ask: dict[str, Any] = {"method": method, "shown": shown} | options
    of_seconds = method == "contributions"
    if of_seconds:
        ask |= {"batch_size": batch_size, "with_shapley": False}
    lines: list[dict[str, Any]] = []
    clips: list[ClipExplanation] = []
    cells, deletions = [], []
    for batch, found in explain_loader(predictor, loader, **ask):
        if of_seconds:
            tested = delete_seconds(predictor, batch, [c.explanation for c in found], seed=seed)
            table = [line for clip in found for line in cell_lines(clip)]
            cells.append(pyarrow.Table.from_pylist(table))
            lines += map(_second_line, found, tested)
            deletions += tested
        else:
            lines += map(clip_line, found)
            clips += found
    problems = tuple(loader.problems)
    if not lines:
        size = len(loader.dataset)
        raise ValueError(f"none of the {size} clips could be read: {problems[0].cause}")
    if not of_seconds:
        return SplitExplanation(method, lines, problems, clips)
    together = pyarrow.concat_tables(cells, promote_options="permissive")
    test = summarise(deletions, seed=seed)
    return SplitExplanation(method, lines, problems, cells=together, deletion=test)


def _second_line(clip: ClipExplanation, tested: dict[str, Deleted]) -> dict[str, Any]:
    """`clip_line` of MAFnet."""
    seconds = clip.explanation.seconds
    assert seconds is not None
    shown, constant = seconds.shown, seconds.constant
    return {
        "id": clip.explanation.id,
        "label": clip.truth,
        "class": seconds.classes[shown],
        "runner_up": rival_name(seconds),
        "probability": float(seconds.probabilities[shown]),
        "logit": float(seconds.logits[shown]),
        "constant": None if constant is None else float(constant[shown]),
        "error": seconds.error,
        "mostly": preference(seconds),
        **{f"{name}_share": share for name, share in seconds.shares.items()},
        "padded_share": seconds.padded_share,
        **{
            f"{how}_{name}": getattr(tested[how], name) if how in tested else None
            for how in (EVIDENCE, ATTENTION, RANDOM)
            for name in ("second", "modality", "drop")
        },
    }


# --- in words -----------------------------------------------------------------------------------


def split_text(split: SplitExplanation) -> str:
    """What the clips have in common, in a few lines."""
    lines = _map_words(split.clips) if split.clips else _second_words(split)
    if split.problems:
        first = split.problems[0]
        lines.append(
            f"Files with problems: {len(split.problems)}; the first: {first.path}: {first.cause}"
        )
    return "\n".join(lines)


def _map_words(clips: Sequence[ClipExplanation]) -> list[str]:
    """A clip without one of the streams tells nothing of how much they count.

    What an absent stream adds is exactly zero.
    """
    lines = [f"By {clips[0].explanation.method}, mean over clips:"]
    whole = [one for one in clips if one.shapley is None or all(one.shapley.effects.values())]
    if len(whole) < len(clips):
        lines[0] = f"{lines[0][:-1]}; shares over the {len(whole)} with both streams:"
    shares = [one.explanation.shares for one in whole if one.explanation.streams]
    if shares and len(shares[0]) > 1:
        lines.append(f"of the map: {percentages(_means(shares))}")
    effects = [one.shapley.effects for one in whole if one.shapley is not None]
    if effects:
        lines.append(f"of the probability: {points(_means(effects))} (Shapley)")
    for name in clips[0].explanation.streams:
        kinds = [one.locations[name] for one in clips if name in one.locations]
        for kind in dict.fromkeys(kind for each in kinds for kind in each):
            best = [each[kind] for each in kinds if kind in each]
            share, even = (100 * np.mean([getattr(x, k) for x in best]) for k in ("share", "even"))
            lines.append(
                f"{WORDS[name]}: {share:.0f} % of the map in its best {_KINDS[kind]}, "
                f"{even:.0f} % if it were even"
            )
    return lines


def _means(values: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([each[name] for each in values])) for name in values[0]}


def _second_words(split: SplitExplanation) -> list[str]:
    """What was attended to, whether the sums are exact, what the deletion test says.

    Shares are means over the clips that have both streams, or, if none has, over all. Drops of
    probability are in points.
    """
    clips, tested = split.lines, split.deletion
    names = [name for name in MODALITIES if f"{name}_share" in clips[0]]
    values = np.array([[line[f"{name}_share"] for line in clips] for name in names])
    whole = (values > 0).all(0)
    means = values[:, whole if whole.any() else slice(None)].mean(1)
    shares = [f"{WORDS[name]} {100 * x:.0f} %" for name, x in zip(names, means, strict=True)]
    if whole.any() and not whole.all():
        shares[-1] += f" in the {whole.sum()} clips with both"
    mostly = Counter(line["mostly"] for line in clips)
    counts = ", ".join(f"{count} {_MOSTLY[word]}" for word, count in mostly.most_common())
    lines = [f"Attention: {', '.join(shares)}. Clips: {counts}."]
    errors = [line["error"] for line in clips]
    if None in errors:
        lines.append("No contributions: behind its attention this model is not linear.")
    else:
        worst = int(np.argmax(errors))
        text = f"within {errors[worst]:.1e} in all {len(errors)} clips"
        if errors[worst] > EXACT:
            text = f"only within {errors[worst]:.1e}, in {clips[worst]['id']}: more than {EXACT:g}"
        lines.append(f"Contributions and constant make up every logit {text}.")
    if not tested["num_clips"]:
        return [*lines, "No deletion test: no clip has a second cell."]
    words = {EVIDENCE: "speaks most for its class", ATTENTION: "has most attention"}
    random = f"{100 * tested['mean_drop'][RANDOM]:z.1f} points of probability"
    lines.append(f"Without a random cell, a clip's class loses {random}.")
    for how, more in tested["above_random"].items():
        low, mean, high = (100 * more[key] for key in ("low", "mean", "high"))
        lines.append(
            f"Without the one that {words[how]}, {100 * tested['mean_drop'][how]:z.1f}: "
            f"{mean:+z.1f} (95 % interval {low:+z.1f} to {high:+z.1f})."
        )
    if tested["num_single_cell"]:
        lines.append(f"Left out, since they have a single cell: {tested['num_single_cell']} clips.")
    return lines


def split_json(split: SplitExplanation) -> str:
    """A record of each clip; of seconds its line and the deletion test."""
    if split.clips:
        return as_json(split.clips, cells=False)
    return json.dumps({"clips": split.lines, "deletion": split.deletion}, indent=2)


def split_csv(split: SplitExplanation) -> str:
    """A line of each clip; of seconds one of each cell."""
    if split.cells is None:
        return csv_text(split.lines)
    return csv_rows(
        [split.cells.column_names, *zip(*split.cells.to_pydict().values(), strict=True)]
    )


# --- files --------------------------------------------------------------------------------------


def write_split(split: SplitExplanation, directory: Path, clips: ClipDataset) -> list[str]:
    """`METHOD.csv`, and of maps `METHOD.png` with some of `clips`; what was written, in words.

    Of seconds also `contributions.parquet`, `clips.csv` and `deletion.json`.
    """
    table = directory / f"{split.method}.csv"
    write_whole(table, split_csv(split))
    if split.cells is None:
        picture = _draw_sheet(split, directory / f"{split.method}.png", clips)
        return [f"Table: {table}"] + ([f"Some of them: {picture}"] if picture else [])
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(split.cells, buffer)
    write_whole(directory / "contributions.parquet", buffer.getvalue())
    write_whole(directory / "clips.csv", csv_text(split.lines))
    text = json.dumps({"what": _WHAT} | split.deletion, indent=2)
    write_whole(directory / "deletion.json", f"{text}\n")
    return [f"Tables: {directory}"]


def _draw_sheet(split: SplitExplanation, path: Path, clips: ClipDataset) -> Path | None:
    """Some of the clips on one page, chosen at random but always alike, decoded once more."""
    from sightsound.explain.contact_sheet import contact_sheet

    mapped = [clip for clip in split.clips if clip.explanation.streams]
    if not mapped:
        return None
    chosen = np.random.default_rng(0).permutation(len(mapped))[:_ON_A_SHEET]
    drawn = [mapped[index] for index in sorted(chosen)]
    indices = {row.id: index for index, row in enumerate(clips.rows)}
    views = evaluation_view(clips, [indices[clip.explanation.id] for clip in drawn])
    pairs = zip(drawn, views, strict=True)
    drawn = [dataclasses.replace(clip, given=given) for clip, given in pairs]
    return contact_sheet(path, drawn, title=f"{len(drawn)} of {len(mapped)} clips")
