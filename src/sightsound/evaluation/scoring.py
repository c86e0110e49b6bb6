"""From clips to scores: logits of models and of their streams alone, averaged over views."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sightsound.data.loader import Loader
from sightsound.data.sampling import eval_batches
from sightsound.evaluation.results import LATE, TRAINED, Scored
from sightsound.metrics.scores import labelled, summarise
from sightsound.models.pretrained import Pretrained
from sightsound.predict import BOTH, Predictor
from sightsound.types import AUDIO, VIDEO, Batch, Problem


def score_clips(
    model: Pretrained, loader: Loader, *, batch_size: int
) -> tuple[dict[str, float], list[Problem]]:
    """Scores of the whole model on the loader's clips, without intervals, and what went wrong.

    For use during training: the model's mode is restored. Keep the `loader` between calls, so that
    its workers stay.
    """
    was_training = model.training
    predictor = Predictor(model, device=next(model.parameters()).device)
    try:
        name = next(iter(predictor.streams))
        scored = collect({name: predictor}, loader, batch_size=batch_size)[name]
    finally:
        model.train(was_training)
    return row_scores(scored, task=predictor.task, heads=predictor.heads), loader.problems


def collect(
    jobs: dict[str, Predictor], loader: Loader, *, batch_size: int, alone: bool = False
) -> dict[str, Scored]:
    """Logits of each job for every clip of the loader, averaged over views.

    Args:
        jobs: {row: predictor} that share one front end.
        alone: also the streams of each predictor alone, in rows of their own.

    Raises:
        ValueError: every clip was dropped.
    """
    batches = eval_batches(len(loader.dataset), views=loader.dataset.views, batch_size=batch_size)
    sums = Sums()
    for batch in loader.iterate(batches):
        if batch is None:
            continue
        for name, predictor in jobs.items():
            if alone and len(predictor.streams) > 1:
                for stream, logits in predictor.stream_logits(batch).items():
                    sums.add(name if stream == BOTH else f"{stream} alone", batch, logits.cpu())
            else:
                sums.add(name, batch, predictor.logits(batch).cpu())
    if not sums.targets:
        causes = [problem.cause for problem in loader.problems]
        raise ValueError(f"none of the {len(loader.dataset)} clips could be read: {causes[0]}")
    return sums.scored()


class Sums:
    """Logits by row and clip, summed over the views that have the stream."""

    def __init__(self) -> None:
        self.sums: dict[str, dict[str, Tensor]] = {}
        self.views: dict[str, dict[str, int]] = {}
        self.targets: dict[str, Tensor] = {}

    def add(self, row: str, batch: Batch, logits: Tensor) -> None:
        """Add the views of a batch, logits (B, K)."""
        sums, views = self.sums.setdefault(row, {}), self.views.setdefault(row, {})
        for clip, target, values in zip(batch.id, batch.target, logits, strict=True):
            self.targets.setdefault(clip, target)
            sums.setdefault(clip, torch.zeros_like(values))
            views.setdefault(clip, 0)
            if not values.isnan().any():
                sums[clip] = sums[clip] + values
                views[clip] += 1

    def scored(self) -> dict[str, Scored]:
        """The means, nan for clips that never had the stream."""
        result = {}
        for row, sums in self.sums.items():
            ids = list(sums)
            views = self.views[row]
            means = [sums[i] / views[i] if views[i] else sums[i] * torch.nan for i in ids]
            targets = torch.stack([self.targets[i] for i in ids])
            result[row] = Scored(ids, torch.stack(means).numpy(), targets.numpy())
        return result


def on_common_clips(streams: dict[str, Scored]) -> dict[str, Scored]:
    """Only clips that every row has: a dropped file is dropped for all."""
    common = set.intersection(*(set(scored.ids) for scored in streams.values()))
    return {
        name: scored.only(np.array([clip in common for clip in scored.ids], bool))
        for name, scored in streams.items()
    }


def with_late_average(streams: dict[str, Scored]) -> dict[str, Scored]:
    """`streams` and the mean of the logits of the two unimodal models."""
    audio, video = (streams[TRAINED[name]] for name in (AUDIO, VIDEO))
    both = np.stack([audio.logits, video.logits])
    known = ~np.isnan(both)
    total = np.nan_to_num(both).sum(0)
    mean = np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)
    return streams | {LATE: Scored(audio.ids, mean, audio.targets)}


def row_scores(
    scored: Scored, *, task: str, heads: dict[str, int], bootstrap: int = 0, seed: int = 0
) -> dict[str, float]:
    """`metrics.summarise` of the clips that have the stream; nan where none of them has it.

    Raises:
        ValueError: no clip has a label.
    """
    here = scored.only(scored.present)
    if len(here.ids) and (task == "multi" or labelled(here.targets, heads=heads).any()):
        return summarise(
            here.logits, here.targets, task=task, heads=heads, bootstrap=bootstrap, seed=seed
        )
    present = scored.present
    guessed = summarise(scored.logits, scored.targets, task=task, heads=heads, present=present)
    return dict.fromkeys(guessed, math.nan) | {"num_clips": 0}
