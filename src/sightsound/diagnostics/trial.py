"""A model and the clips on which the checks try it, read once."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader
from sightsound.data.sampling import eval_batches
from sightsound.diagnostics.finding import Finding, compare
from sightsound.explain.explanation import (
    METHODS,
    Explanation,
    ExplanationTarget,
    make_target,
    rows_of_batch,
)
from sightsound.features.cache import FeatureDataset
from sightsound.metrics.scores import head_slices, labelled
from sightsound.predict import Predictor, named_scores
from sightsound.registry import resolve
from sightsound.seeding import stable_seed
from sightsound.types import AUDIO, Batch

MOST_EXPLAINED = 32  # the first clips: maps take many passes


@dataclass(frozen=True)
class Trial:
    """A model and labelled clips, one view of each."""

    predictor: Predictor
    clips: Batch  # all of them, on the CPU: as the loader delivers them, or features
    batch_size: int = 32  # that the model is given at once
    seed: int = 0
    shifts: tuple[float, ...] = ()  # seconds; empty: chosen by the length of the clips

    @property
    def two_streams(self) -> bool:
        """Whether the model looks and listens."""
        return len(self.predictor.modalities) > 1

    @cached_property
    def complete(self) -> Batch:
        """The clips that have all streams of the model."""
        here = [self.clips.present[name] for name in self.predictor.modalities]
        return _chosen(self.clips, torch.stack(here).all(0))

    @cached_property
    def whole(self) -> np.ndarray:
        """`decide` on the complete clips."""
        return self.decide(self.complete)

    @property
    def heads(self) -> dict[str, slice]:
        """{head: its columns of the logits}."""
        return head_slices(self.predictor.model.heads)

    @property
    def classes(self) -> list[str]:
        """Names of the K columns of the logits."""
        columns = torch.zeros(sum(self.predictor.model.heads.values()))
        return list(named_scores(columns, self.predictor.labels))

    def logits(self, batch: Batch, modalities: Sequence[str] | None = None) -> np.ndarray:
        """(n, K) of the clips of `batch`, from `modalities` alone (default: all)."""
        parts = batches(batch, self.batch_size)
        return np.concatenate(
            [self.predictor.logits(part, modalities).cpu().numpy() for part in parts]
        )

    def decisions(self, logits: np.ndarray) -> np.ndarray:
        """(n, number of heads) column of the likeliest class of each head."""
        return np.stack([s.start + logits[:, s].argmax(1) for s in self.heads.values()], axis=1)

    def decide(self, batch: Batch) -> np.ndarray:
        """`decisions` on the clips of `batch`."""
        return self.decisions(self.logits(batch))

    def compare(
        self,
        what: str,
        before: np.ndarray,
        after: np.ndarray,
        targets: np.ndarray,
        label: str = "",
        chance: float | None = None,
    ) -> Finding:
        """The finding that two sets of decisions (n, heads) on clips with these targets make."""
        return compare(
            what,
            hits(before, targets),
            hits(after, targets),
            seed=self.seed,
            label=label,
            chance=chance,
            same=float((before == after).all(1).mean()),
        )


def agreement(decisions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(n, m): 1 where decision j of (m, heads) is among the labels of clip i, targets (n, K).

    Of several heads, all must be. The diagonal, for as many decisions as clips, are the hits.
    """
    return targets.astype(float)[:, decisions].prod(-1)


def hits(decisions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(n,): 1 where a clip's decision (of all heads) is among its labels."""
    return np.take_along_axis(targets.astype(float), decisions, axis=1).prod(1)


# --- batches ------------------------------------------------------------------------------------


def with_sound(seen: Batch, clips: Batch, sounds: np.ndarray) -> Batch:
    """`seen` with the sound of the clips of `clips` at `sounds` (n,)."""
    assert clips.audio is not None
    index = torch.as_tensor(sounds)
    return dataclasses.replace(
        seen,
        audio=clips.audio[index],
        present=seen.present | {AUDIO: clips.present[AUDIO][index]},
        valid=seen.valid | {AUDIO: clips.valid[AUDIO][index]},
        complete=seen.complete and clips.complete,
    )


def batches(batch: Batch, size: int) -> list[Batch]:
    """`batch` in parts of at most `size` clips."""
    return [rows_of_batch(batch, rows) for rows in torch.arange(len(batch)).split(size)]


def _chosen(clips: Batch, wanted: torch.Tensor) -> Batch:
    """The clips for which `wanted` (n,) is true; all without a copy."""
    return clips if wanted.all() else rows_of_batch(clips, wanted.nonzero().flatten())


def _joined(parts: Sequence[Batch]) -> Batch:
    """One batch of all clips."""

    def together(values: Sequence[Any]) -> Any:
        first = values[0]
        if isinstance(first, torch.Tensor):
            return torch.cat(list(values))
        if isinstance(first, dict):
            return {key: together([value[key] for value in values]) for key in first}
        if isinstance(first, bool):
            return all(values)
        return None if first is None else type(first)(itertools.chain(*values))

    names = [field.name for field in dataclasses.fields(Batch)]
    return Batch(**{name: together([getattr(part, name) for part in parts]) for name in names})


# --- reading ------------------------------------------------------------------------------------


def chosen(num_rows: int, number: int, *, seed: int) -> list[int]:
    """Which rows of a split are tried: `number` drawn by `seed`, or all, in their order."""
    order = np.random.default_rng(stable_seed(seed, "probe")).permutation(num_rows)
    return sorted(order[:number].tolist())


def read_clips(
    predictor: Predictor,
    dataset: ClipDataset | FeatureDataset,
    *,
    batch_size: int,
    num_workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Batch, int]:
    """The labelled clips of `dataset`, for a model of features as features, and how many are lost.

    All stay in memory. `progress(clips read, clips in all)` is called as they come.

    Raises:
        ValueError: no clip can be read, or none is labelled.
    """
    parts = []
    with Loader(dataset, num_workers=num_workers) as loader:
        keys = eval_batches(len(dataset), batch_size=batch_size)
        for done, batch in enumerate(loader.iterate(keys), start=1):
            if batch is not None and predictor.front_end.features is not None:
                batch = predictor.encoding(batch.to(predictor.device)).to(torch.device("cpu"))
            if batch is not None:
                parts.append(batch)
            if progress is not None:
                progress(min(done * batch_size, len(dataset)), len(dataset))
        problems = loader.problems
    if not parts:
        raise ValueError(f"none of the {len(dataset)} clips could be read: {problems[0].cause}")
    clips = _joined(parts)
    known = torch.from_numpy(labelled(clips.target.numpy(), heads=predictor.model.heads))
    if not known.any():
        raise ValueError(
            f"none of the {len(known)} clips has a label in every head "
            f"{sorted(predictor.model.heads)}; a probe compares decisions with labels"
        )
    return _chosen(clips, known), len(dataset) - int(known.sum())


# --- explanations -------------------------------------------------------------------------------


def explanation_targets(trial: Trial) -> list[ExplanationTarget]:
    """What the model's usual method explains: of each clip the class that the model names."""
    predictor, targets = trial.predictor, []
    rows = torch.arange(min(MOST_EXPLAINED, len(trial.clips)))
    method = predictor.model.default_explanation
    for batch in batches(rows_of_batch(trial.clips, rows), trial.batch_size):
        batch = predictor.encoding(batch.to(predictor.device))
        targets.append(make_target(predictor, batch, method=method, shown=None))
    return targets


def explain_targets(targets: Sequence[ExplanationTarget]) -> list[Explanation]:
    """Explanations of these clips, for the same classes whatever the model says now."""
    explain = resolve(METHODS, targets[0].method, kind="method of explanation")
    return [explanation for target in targets for explanation in explain(target)]
