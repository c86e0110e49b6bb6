"""Which clips come at which step, and how long they were waited for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from sightsound.data.sampling import Key, epoch_steps
from sightsound.train.assemble import Parts
from sightsound.types import Batch


def step_keys(parts: Parts, first_step: int) -> Iterator[list[Key]]:
    """(epoch, row, view) of each micro-batch from `first_step` on: a function of the step."""
    for step in range(first_step, parts.total):
        epoch, index = divmod(step, parts.steps_per_epoch)
        if step == first_step or index == 0:
            steps = epoch_steps(
                parts.config,
                parts.manifest,
                parts.train_clips.rows,
                epoch=epoch,
                rank=parts.fabric.global_rank,
                world_size=parts.fabric.world_size,
            )
        yield from steps[index]


def timed(batches: Iterable[Batch | None]) -> Iterator[tuple[Batch | None, float]]:
    """Each batch with the seconds that were spent waiting for it."""
    iterator = iter(batches)
    while True:
        started = time.perf_counter()
        try:
            batch = next(iterator)
        except StopIteration:
            return
        yield batch, time.perf_counter() - started
