"""Scores every window of a file, with the whole model and with each stream alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from sightsound.data.loader import collate, is_dropped
from sightsound.predict import Predictor, named_scores, probabilities
from sightsound.timeline.windows import Grid, Plan, plan_windows, window_clips
from sightsound.types import Clip

BATCH_SIZE = 16  # windows at a time: larger ones are hardly faster on a CPU, and take memory
_DIGITS = 6  # of a score, as they are written: a run that is resumed gives the same numbers


@dataclass
class Scored:
    """Windows that come one after the other."""

    scores: np.ndarray  # (N, streams, K) float32 probabilities; nan where the stream is missing
    problems: list[str]  # one for each window; empty: none


@dataclass
class Timeline:
    """The windows of a file and their scores; those not there yet are nan."""

    file: str
    grid: Grid
    task: str
    streams: tuple[str, ...]  # the whole model first
    heads: dict[str, list[str]]  # {head: class names}
    scores: np.ndarray  # (N, streams, K) of all windows planned, see `Scored`
    problems: list[str] = field(default_factory=list)  # one for each window that is there

    @property
    def classes(self) -> list[str]:
        """The K names; with several heads "head:class"."""
        return list(named_scores(torch.zeros(self.scores.shape[2]), self.heads))

    @property
    def num_windows(self) -> int:
        """How many are there."""
        return len(self.problems)

    @property
    def end_seconds(self) -> float:
        """Where the last window ends that is there; the start if none is."""
        if not self.num_windows:
            return self.grid.start_seconds
        return self.grid.window(self.num_windows - 1).stop_seconds

    def add(self, scored: Scored) -> None:
        """Take the next windows."""
        first = self.num_windows
        self.scores[first : first + len(scored.scores)] = scored.scores
        self.problems += scored.problems


def make_timeline(
    predictor: Predictor,
    path: str | Path,
    *,
    window_seconds: float,
    hop_seconds: float,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> Timeline:
    """Scores of windows of `window_seconds` every `hop_seconds` over a file or a stretch of it.

    Raises:
        ValueError: windows that are none, or that the model cannot look at.
        DecodeError: the file cannot be opened.
    """
    plan = plan_windows(
        predictor,
        path,
        window_seconds=window_seconds,
        hop_seconds=hop_seconds,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
    )
    timeline = empty_timeline(predictor, plan)
    for scored in score_windows(predictor, plan):
        timeline.add(scored)
    return timeline


def empty_timeline(predictor: Predictor, plan: Plan) -> Timeline:
    """Without any window yet."""
    streams = tuple(predictor.streams)
    shape = (plan.grid.num_windows, len(streams), sum(predictor.model.heads.values()))
    scores = np.full(shape, np.nan, np.float32)
    return Timeline(plan.path.name, plan.grid, predictor.task, streams, predictor.labels, scores)


def score_windows(predictor: Predictor, plan: Plan, *, first: int = 0) -> Iterator[Scored]:
    """Windows from `first` on, some at a time."""
    clips = window_clips(predictor, plan, first=first)
    while batch := list(itertools.islice(clips, BATCH_SIZE)):
        yield Scored(
            scores_of(predictor, batch),
            [
                "; ".join(dict.fromkeys(p.cause for p in clip.problems if p.action != "dropped"))
                for clip in batch
            ],
        )


def scores_of(predictor: Predictor, clips: Sequence[Clip]) -> np.ndarray:
    """(B, streams, K) float32 probabilities of clips, nan for a stream that one lacks."""
    found = torch.full(
        (len(clips), len(predictor.streams), sum(predictor.model.heads.values())), torch.nan
    )
    batch = collate(clips)
    if batch is not None:
        there = torch.tensor([not is_dropped(clip) for clip in clips])
        logits = torch.stack(list(predictor.stream_logits(batch).values()), dim=1)
        found[there] = probabilities(logits, predictor.task, predictor.model.heads).cpu()
    return found.numpy().round(_DIGITS)
