"""All clips of a split explained: tables, the deletion test, and what they say in a few lines."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sightsound.data.loader import Loader
from sightsound.explain.contributions import Explanation, explain_loader
from sightsound.explain.deletion import ATTENTION, EVIDENCE, RANDOM, Deleted, delete, summarise
from sightsound.explain.text import as_csv, cell_table, preference, rival_name
from sightsound.files import write_whole
from sightsound.predict import Predictor
from sightsound.types import MODALITIES, WORDS, Problem

if TYPE_CHECKING:
    import pyarrow

EXACT = 1e-5  # how near contributions and constant come to the logits
_MOSTLY = {"seen": "mostly seen", "heard": "mostly heard", "alike": "seen and heard alike"}
_WHAT = (
    "drop of the probability of the class shown when a cell (a second of a stream) is hidden from "
    "FiLM, attention and sums. evidence: the cell whose contribution to the class, less that to "
    "the runner-up, is the largest; attention: the cell with most of it; random: any other cell "
    "than the first of these. above_random: paired, with a 95 % interval over clips"
)


@dataclass(frozen=True)
class SplitExplanation:
    """What the explanations of many clips have in common."""

    cells: pyarrow.Table  # a line per clip, second and stream
    clips: pyarrow.Table  # a line per clip
    deletion: dict[str, Any]
    problems: tuple[Problem, ...]


def explain_split(
    predictor: Predictor,
    loader: Loader,
    *,
    batch_size: int = 32,
    shown: str | None = None,
    seed: int = 0,
) -> SplitExplanation:
    """Explanations of all clips of `loader`, and the deletion test on them.

    Args:
        shown: the class to explain; `None`: each clip's likeliest.
        seed: of the cells and intervals of the deletion test.

    Raises:
        ValueError: a model without explanations, an unknown class, or no clip that can be read.
    """
    import pyarrow

    cells, clips, deletions = [], [], []
    for batch, found in explain_loader(predictor, loader, batch_size=batch_size, shown=shown):
        tested = delete(predictor, batch, found, seed=seed)
        cells.append(cell_table(found))
        clips += map(_clip_line, found, tested)
        deletions += tested
    if not clips:
        cause = loader.problems[0].cause
        raise ValueError(f"none of the {len(loader.dataset)} clips could be read: {cause}")
    return SplitExplanation(
        pyarrow.concat_tables(cells, promote_options="permissive"),
        pyarrow.Table.from_pylist(clips),
        summarise(deletions, seed=seed),
        tuple(loader.problems),
    )


def _clip_line(explanation: Explanation, tested: dict[str, Deleted]) -> dict[str, Any]:
    shown, constant = explanation.shown, explanation.constant
    return {
        "id": explanation.id,
        "label": explanation.truth,
        "class": explanation.classes[shown],
        "runner_up": rival_name(explanation),
        "probability": float(explanation.probabilities[shown]),
        "logit": float(explanation.logits[shown]),
        "constant": None if constant is None else float(constant[shown]),
        "error": None if constant is None else explanation.error,
        "mostly": preference(explanation),
        **{f"{name}_share": share for name, share in explanation.shares.items()},
        "padded_share": explanation.padded_share,
        **{
            f"{how}_{name}": getattr(tested[how], name) if how in tested else None
            for how in (EVIDENCE, ATTENTION, RANDOM)
            for name in ("second", "modality", "drop")
        },
    }


# --- in words -----------------------------------------------------------------------------------


def as_text(split: SplitExplanation) -> str:
    """What was attended to, whether the sums are exact, what the deletion test says."""
    lines = [_attention_words(split.clips), _sum_words(split.clips), *_deletion_words(split)]
    if split.problems:
        first = split.problems[0]
        lines.append(
            f"Files with problems: {len(split.problems)}; the first: {first.path}: {first.cause}"
        )
    return "\n".join(lines)


def _attention_words(clips: pyarrow.Table) -> str:
    """Shares are means over the clips that have both streams, or, if none has, over all."""
    names = [name for name in MODALITIES if f"{name}_share" in clips.column_names]
    values = np.stack([clips[f"{name}_share"].to_numpy() for name in names])
    whole = (values > 0).all(0)
    means = values[:, whole if whole.any() else slice(None)].mean(1)
    shares = [f"{WORDS[name]} {100 * x:.0f} %" for name, x in zip(names, means, strict=True)]
    if whole.any() and not whole.all():
        shares[-1] += f" in the {whole.sum()} clips with both"
    mostly = Counter(clips["mostly"].to_pylist())
    counts = ", ".join(f"{count} {_MOSTLY[word]}" for word, count in mostly.most_common())
    return f"Attention: {', '.join(shares)}. Clips: {counts}."


def _sum_words(clips: pyarrow.Table) -> str:
    errors = clips["error"].to_pylist()
    if None in errors:
        return "No contributions: behind its attention this model is not linear."
    worst = int(np.argmax(errors))
    text = f"within {errors[worst]:.1e} in all {len(errors)} clips"
    if errors[worst] > EXACT:
        text = f"only within {errors[worst]:.1e}, in {clips['id'][worst]}: more than {EXACT:g}"
    return f"Contributions and constant make up every logit {text}."


def _deletion_words(split: SplitExplanation) -> list[str]:
    """Drops of probability in points."""
    found = split.deletion
    if not found["num_clips"]:
        return ["No deletion test: no clip has a second cell."]
    words = {EVIDENCE: "speaks most for its class", ATTENTION: "has most attention"}
    random = 100 * found["mean_drop"][RANDOM]
    lines = [f"Without a random cell, a clip's class loses {random:z.1f} points of probability."]
    for how, more in found["above_random"].items():
        low, mean, high = (100 * more[key] for key in ("low", "mean", "high"))
        lines.append(
            f"Without the one that {words[how]}, {100 * found['mean_drop'][how]:z.1f}: "
            f"{mean:+z.1f} (95 % interval {low:+z.1f} to {high:+z.1f})."
        )
    if found["num_single_cell"]:
        lines.append(f"Left out, since they have a single cell: {found['num_single_cell']} clips.")
    return lines


def split_json(split: SplitExplanation) -> str:
    """The lines of `clips.csv` and the deletion test."""
    return json.dumps({"clips": split.clips.to_pylist(), "deletion": split.deletion}, indent=2)


# --- files --------------------------------------------------------------------------------------


def write_split(split: SplitExplanation, directory: Path) -> None:
    """`contributions.csv`, `contributions.parquet`, `clips.csv` and `deletion.json`."""
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(split.cells, buffer)
    write_whole(directory / "contributions.parquet", buffer.getvalue())
    write_whole(directory / "contributions.csv", as_csv(split.cells))
    write_whole(directory / "clips.csv", as_csv(split.clips))
    text = json.dumps({"what": _WHAT} | split.deletion, indent=2)
    write_whole(directory / "deletion.json", f"{text}\n")
