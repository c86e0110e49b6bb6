"""Which clips come at which step, and how long they were waited for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from sightsound.data.sampling import Key, epoch_batches, rank_slice, train_keys, with_turns
from sightsound.train.assemble import Parts
from sightsound.types import Batch


def step_keys(parts: Parts, first_step: int) -> Iterator[list[Key]]:
    """(epoch, row, view) of each micro-batch from `first_step` on: a function of the step."""
    settings = parts.config.train
    size = settings.batch_size // settings.accumulate
    for step in range(first_step, parts.total):
        epoch, index = divmod(step, parts.steps_per_epoch)
        if step == first_step or index == 0:
            batches = train_keys(
                _epoch(parts, epoch), epoch=epoch, repeats=parts.config.data.repeats
            )
        batch = batches[index]
        yield from (batch[start : start + size] for start in range(0, len(batch), size))


def _epoch(parts: Parts, epoch: int) -> list[list[tuple[int, int]]]:
    """Rows and turns of each batch that this process takes from an epoch, without repeats."""
    world_size, rows = parts.fabric.world_size, parts.train_clips.rows
    num_clips = parts.config.train.batch_size // parts.config.data.repeats
    batches = epoch_batches(
        len(rows),
        seed=parts.config.seed,
        epoch=epoch,
        batch_size=num_clips * world_size,
        balanced=parts.manifest.class_rows(rows) if parts.config.data.balanced else None,
    )
    return rank_slice(with_turns(batches), rank=parts.fabric.global_rank, world_size=world_size)


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
