"""Runs with an evaluation, for tests of reports: a tiny model, and logits drawn at random."""

from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from small import SMALL_MBT

from sightsound.config.settings import EvaluateSettings
from sightsound.evaluation.results import Evaluation, Scored, verdict, write_evaluation
from sightsound.evaluation.scoring import row_scores
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.models.mbt import MBT

FRONT_END = FrontEnd(
    "tiny",
    AudioFrontEnd(num_frames=32, num_mels=16),
    VideoFrontEnd(num_frames=4, window_seconds=1.0, height=16, width=16, short_side=16),
)
BOTH, HEARD, SEEN = "audio+video", "audio alone", "video alone"
STRENGTH = {BOTH: 2.5, HEARD: 1.5, SEEN: 1.0, "audio": 1.5}
RESAMPLINGS = 40


def save_model(run: Path, labels: dict[str, list[str]], task: str, *modalities: str) -> None:
    """`run`/model: an untrained MBT for these classes."""
    heads = {head: len(names) for head, names in labels.items()}
    model = MBT(**SMALL_MBT | {"heads": heads, "modalities": modalities or ("audio", "video")})
    known = {"front_end": FRONT_END.to_dict(), "labels": labels, "task": task}
    model.info = dataclasses.replace(model.info, **known)
    model.save_pretrained(run / "model")


def write_run(
    run: Path,
    *,
    labels: dict[str, list[str]],
    task: str = "single",
    num_clips: int = 60,
    rows: tuple[str, ...] = (BOTH, HEARD, SEEN),
    absent: int = 0,
    seed: int = 0,
    bootstrap: int = RESAMPLINGS,
) -> Path:
    """A run whose evaluation has `rows`; its clips are nowhere. The last row lacks `absent`."""
    rng = np.random.default_rng(seed)
    sizes = [len(names) for names in labels.values()]
    truth = [np.eye(size)[np.arange(num_clips) % size] for size in sizes]
    targets = np.concatenate(truth, axis=1)
    if task == "multi":
        targets = np.maximum(targets, rng.random(targets.shape) < 0.2)
    streams = {}
    for row in rows:
        logits = STRENGTH[row] * targets + rng.standard_normal(targets.shape)
        streams[row] = Scored([f"{k}.mp4" for k in range(num_clips)], logits, targets)
    streams[rows[-1]].logits[:absent] = np.nan
    settings = EvaluateSettings(bootstrap=bootstrap)
    known = {"task": task, "heads": dict(zip(labels, sizes, strict=True)), "bootstrap": bootstrap}
    found = {row: row_scores(scored, **known) for row, scored in streams.items()}
    evaluation = Evaluation(found, streams, task, labels, str(run / "gone.csv"), "test", [])
    evaluation.verdict = verdict(evaluation, resamplings=bootstrap)
    evaluation.absent = {row: scored.num_absent for row, scored in streams.items()}
    save_model(run, labels, task, *(("audio",) if rows == ("audio",) else ()))
    write_evaluation(evaluation, run / "evaluation", settings=settings)
    return run


class Tables(HTMLParser):
    """{id: rows of the text of cells} of the tables of a page, its block of numbers, its text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.attributes: list[tuple[str, dict[str, str]]] = []
        self._rows: list[list[str]] | None = None
        self._open: list[str] = []
        self._in_cell, self._json, self.text = False, "", ""
        self.feed(page.read_text(encoding="utf-8"))
        self.numbers = json.loads(self._json)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.attributes.append((tag, values))
        if tag == "table":
            self._rows = self.tables.setdefault(values.get("id", ""), [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in ("th", "td") and self._rows is not None:
            self._rows[-1].append("")
            self._in_cell = True
        elif tag == "script":
            self._open.append(values.get("id", "script"))

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._rows = None
        elif tag in ("th", "td"):
            self._in_cell = False
        elif tag == "script":
            self._open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open == ["numbers"]:
            self._json += data
        elif self._in_cell and self._rows is not None:
            self._rows[-1][-1] += data
