"""Writes a timeline to a folder; its CSV grows window by window and can be resumed.

`settings.json` says what the lines are of, so that the same command goes on after an interruption
and another one does not mix with it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sightsound.files import csv_rows, write_whole
from sightsound.media.source import find
from sightsound.predict import Predictor
from sightsound.timeline.score import Scored, Timeline
from sightsound.timeline.strips import timeline_page, timeline_picture
from sightsound.timeline.text import (
    FIXED_COLUMNS,
    as_csv,
    as_json,
    as_srt,
    as_vtt,
    window_rows,
)
from sightsound.timeline.windows import Plan

CSV, SETTINGS = "timeline.csv", "settings.json"
RESULTS = ("timeline.json", "timeline.srt", "timeline.vtt", "timeline.png", "timeline.html")


def settings_of(predictor: Predictor, plan: Plan) -> dict[str, Any]:
    """What scores depend on: the file, the windows, the model's weights and how it is fed."""
    changed, size = find(plan.path).version
    digest = hashlib.sha256()
    for name, tensor in predictor.model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    weights_hash = digest.hexdigest()[:16]
    return {
        "file": str(plan.path),
        "bytes": size,
        "changed_ns": changed,
        **asdict(plan.grid),
        "front_end": plan.front_end.id,
        "crop": predictor.crop,
        "weights": weights_hash,
    }


def resume(folder: Path, timeline: Timeline, settings: dict[str, Any]) -> None:
    """Begin in `folder`, or take up the windows that it holds already.

    Raises:
        ValueError: it holds windows of something else.
    """
    if (folder / CSV).is_file():
        file = folder / SETTINGS
        found = json.loads(file.read_text()) if file.is_file() else {}
        differing = [name for name in settings if found.get(name) != settings[name]]
        if differing:
            raise ValueError(
                f"folder {str(folder)!r} holds a timeline with other settings "
                f"({', '.join(differing)}); give another --output, or delete it to begin anew"
            )
        timeline.add(_read(folder / CSV, timeline))
    write_whole(folder / SETTINGS, f"{json.dumps(settings, indent=2)}\n")
    rewrite(folder, timeline)
    for name in RESULTS:  # of fewer windows
        (folder / name).unlink(missing_ok=True)


def rewrite(folder: Path, timeline: Timeline) -> None:
    """Write all lines again: none that was cut off is left."""
    write_whole(folder / CSV, as_csv(timeline))


def _read(file: Path, timeline: Timeline) -> Scored:
    """The windows of which every line is there, whole."""
    text = file.read_text(encoding="utf-8")
    rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))[1:]
    number, first = len(timeline.streams), len(FIXED_COLUMNS)
    count = min(len(rows) // number, timeline.grid.num_windows)
    scores = np.full((count, *timeline.scores.shape[1:]), np.nan, np.float32)
    for index in range(count):
        for stream, row in enumerate(rows[index * number : (index + 1) * number]):
            if row[first]:
                scores[index, stream] = row[first:]
    column = FIXED_COLUMNS.index("problem")
    return Scored(scores, [rows[index * number][column] for index in range(count)])


def append(folder: Path, timeline: Timeline, *, number: int) -> None:
    """Write the last `number` windows."""
    with (folder / CSV).open("a", encoding="utf-8") as file:
        file.write(csv_rows(window_rows(timeline, timeline.num_windows - number)))


def write_results(folder: Path, timeline: Timeline, *, threshold: float) -> None:
    """Everything but `timeline.csv`."""
    for name, text_of in {"json": as_json, "srt": as_srt, "vtt": as_vtt}.items():
        write_whole(folder / f"timeline.{name}", text_of(timeline, threshold=threshold))
    timeline_picture(folder / "timeline.png", timeline)
    timeline_page(folder / "timeline.html", timeline, threshold=threshold)
