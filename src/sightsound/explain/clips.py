"""Explanations of a data set's clips, with what the model was given of each.

`explain_files` reads some clips one after the other, `explain_loader` those of a split.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader
from sightsound.data.rows import Row
from sightsound.data.sampling import eval_batches
from sightsound.explain.explanation import Explanation, explain_batch
from sightsound.explain.localization import Location, localize
from sightsound.features.cache import FeatureDataset
from sightsound.media.clips import Window, centre_window, wrapped_times
from sightsound.media.front_end import FrontEnd
from sightsound.predict import Predictor
from sightsound.preview.model_inputs import ModelInput, clip_window, read_inputs
from sightsound.types import Batch

BATCH_SIZE = 8  # maps take many passes, and memory


@dataclass(frozen=True)
class ClipExplanation:
    """An explanation, and the clip that it is about."""

    explanation: Explanation
    front_end: FrontEnd
    truth: str = ""  # the clip's own classes, if it is labelled
    shapley: Explanation | None = None  # `None`: not asked for, or the model has one stream
    given: ModelInput | None = None  # what the model read of the clip
    second_starts: np.ndarray | None = None  # (T,) of `explanation.seconds`, seconds of the file

    @cached_property
    def locations(self) -> dict[str, dict[str, Location]]:
        """See `localize`."""
        return localize(self.explanation, self.front_end, given=self.given)


def explain_files(
    predictor: Predictor, clips: ClipDataset, **ask: Any
) -> Iterator[tuple[ModelInput, ClipExplanation | None]]:
    """What the model reads of every clip, and the explanation of those that can be read.

    `ask`: arguments of `explain_batch`.
    """
    for start in range(0, len(clips), BATCH_SIZE):
        batch, inputs = read_inputs(clips, range(start, min(start + BATCH_SIZE, len(clips))))
        found: dict[str, ClipExplanation] = {}
        if batch is not None:
            batch = predictor.encoding(batch.to(predictor.device))
            explained = explain_clips(predictor, batch, clips, **ask)
            found = {clip.explanation.id: clip for clip in explained}
        for given in inputs:
            clip = found.get(given.row.id)
            yield given, None if clip is None else dataclasses.replace(clip, given=given)


def explain_loader(
    predictor: Predictor, loader: Loader, *, batch_size: int = BATCH_SIZE, **ask: Any
) -> Iterator[tuple[Batch, list[ClipExplanation]]]:
    """Batches as the model reads them, with the explanation of every clip; see `explain_clips`."""
    source = loader.dataset
    clips = source.clips if isinstance(source, FeatureDataset) else source
    assert isinstance(clips, ClipDataset)  # of which windows are known
    for batch in loader.iterate(eval_batches(len(clips), batch_size=batch_size)):
        if batch is not None:
            batch = predictor.encoding(batch.to(predictor.device))
            yield batch, explain_clips(predictor, batch, clips, **ask)


def explain_clips(
    predictor: Predictor,
    batch: Batch,
    clips: ClipDataset,
    *,
    with_shapley: bool = True,
    shown: str | None = None,
    **ask: Any,
) -> list[ClipExplanation]:
    """The explanation of every clip of a batch that is ready for the model, cut from `clips`.

    `shown`, `ask`: see `explain_batch`; `with_shapley`: also what each of two streams adds.
    """
    explanations = explain_batch(predictor, batch, shown=shown, **ask)
    effects: list[Explanation | None] = [None] * len(explanations)
    if with_shapley and len(predictor.modalities) > 1:
        effects = [*explain_batch(predictor, batch, method="shapley", shown=shown)]
    rows, found = {row.id: row for row in clips.rows}, []
    for explanation, shapley in zip(explanations, effects, strict=True):
        row = rows[explanation.id]
        labels = row.labels
        if isinstance(labels, dict):
            labels = tuple(f"{head}:{name}" for head, name in labels.items())
        starts = None if explanation.seconds is None else second_starts(clips, row)
        clip = ClipExplanation(explanation, clips.front_end, " + ".join(labels), shapley)
        found.append(dataclasses.replace(clip, second_starts=starts))
    return found


def second_starts(clips: ClipDataset, row: Row) -> np.ndarray:
    """(T,) when each second that a model of features reads starts, in seconds of the file."""
    features, start = clips.front_end.features, row.start_seconds
    assert features is not None
    count = features.segments
    settings, window = clips.settings, Window(start, start)
    if settings.windows != "start" or settings.wrap:
        window = clip_window(clips, row)
    if settings.windows != "start":
        start += centre_window(window.length_seconds, count).start_seconds
    times = start + np.arange(count, dtype=float)
    return wrapped_times(times, window) if settings.wrap else times
