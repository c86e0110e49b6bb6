"""Writes predictions as the VGGSounder benchmark reads them (Zverev et al. 2025), as JSON.

    {"<video id>": {"predictions": {"a": [class, ...], "v": [...], "av": [...]},
                    "logits": {"a": [...], "v": [...], "av": [...]}}}

"a" is the audio stream alone, "v" the video stream alone, "av" both. That is what the page of its
package (0.1.6) shows, where the file is a pickle. Its list of classes has 309 names while its
example speaks of 310 logits, so logits are written only in the order of a list that is given.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightsound.data.rows import SUFFIXES
from sightsound.evaluation.results import Evaluation, Scored
from sightsound.predict import BOTH
from sightsound.types import AUDIO, VIDEO

ROWS = {"a": (f"{AUDIO} alone", AUDIO), "v": (f"{VIDEO} alone", VIDEO), "av": (BOTH,)}


def vggsounder_json(evaluation: Evaluation, *, classes: Sequence[str] | None = None) -> str:
    """Every clip of the evaluation, by the video id in its name.

    "predictions": the likeliest class, with several labels all of at least one half; none where
    the clip has no such stream. "logits", if `classes` is given, in its order; none, too, where the
    clip has no such stream.

    Raises:
        ValueError: several heads, classes that the model lacks, two clips of one name.
    """
    if len(evaluation.labels) > 1:
        raise ValueError(
            f"VGGSounder has one label per class, this model has the heads "
            f"{', '.join(evaluation.labels)}; accepted: a model with one head"
        )
    ((_, labels),) = evaluation.labels.items()
    columns = None if classes is None else _columns(labels, classes)
    streams = {
        key: evaluation.streams[row]
        for key, rows in ROWS.items()
        for row in rows
        if row in evaluation.streams
    }
    table: dict[str, dict[str, Any]] = {}
    for index, clip in enumerate(evaluation.ids):
        name = video_id(clip)
        if name in table:
            raise ValueError(
                f"two clips are called {name!r}, one of them {clip!r}; ids must differ"
            )
        decided = {key: _decided(s, index, labels, evaluation.task) for key, s in streams.items()}
        table[name] = {"predictions": decided}
        if columns is not None:
            table[name]["logits"] = {
                key: scored.logits[index, columns].tolist() if scored.present[index] else []
                for key, scored in streams.items()
            }
    return json.dumps(table) + "\n"


def video_id(clip: str) -> str:
    """The name in a clip's id, without folders, suffix and start: such as "--U7joUcTCo_000000"."""
    name = re.sub(r"#[\d.e+-]+$", "", clip).rpartition("/")[2]  # the start: `default_id`
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in SUFFIXES else name


def read_classes(path: str | Path) -> list[str]:
    """The names in the package's `classes.csv`, with the column "display_name", in its order."""
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if "display_name" not in (reader.fieldnames or ()):
            raise ValueError(
                f"{path} has no column 'display_name'; accepted: VGGSounder's classes.csv"
            )
        return [line["display_name"] for line in reader]


def _columns(labels: Sequence[str], classes: Sequence[str]) -> list[int]:
    columns = {name: column for column, name in enumerate(labels)}
    missing = [name for name in classes if name not in columns]
    if missing:
        raise ValueError(
            f"the model lacks {len(missing)} of the {len(classes)} classes of the list, such as "
            f"{missing[0]!r}; leave the list out to write predictions without logits"
        )
    return [columns[name] for name in classes]


def _decided(scored: Scored, index: int, labels: Sequence[str], task: str) -> list[str]:
    logits = scored.logits[index]
    if np.isnan(logits).any():
        return []
    decided = np.flatnonzero(logits >= 0) if task == "multi" else [logits.argmax()]
    return [labels[int(k)] for k in decided]
