"""Maps of the clips of a trial, for the checks of explanations."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sightsound.diagnostics.trial import Trial, batches
from sightsound.explain.maps import METHODS, Maps, Question, ask, automatic, rows_of_batch
from sightsound.registry import resolve

MOST_CLIPS = 32  # the first ones: maps take many passes


def questions(trial: Trial) -> list[Question]:
    """What the model's usual method explains: of each clip the class that the model names."""
    predictor, found = trial.predictor, []
    rows = torch.arange(min(MOST_CLIPS, len(trial.clips)))
    for batch in batches(rows_of_batch(trial.clips, rows), trial.batch_size):
        batch = predictor.encoding(batch.to(predictor.device))
        found.append(ask(predictor, batch, method=automatic(predictor.model), shown=None))
    return found


def maps_of(asked: Sequence[Question]) -> list[Maps]:
    """The maps that answer these questions, for the same classes whatever the model says now."""
    explain = resolve(METHODS, asked[0].method, kind="method of explanation")
    return [maps for question in asked for maps in explain(question)]
