"""Which clips come at which step of a run."""

from __future__ import annotations

from collections.abc import Iterator

from sightsound.data.sampling import Key, epoch_steps
from sightsound.train.assemble import Parts


def step_keys(parts: Parts, first_step: int) -> Iterator[list[Key]]:
    """(epoch, row, view) of each micro-batch from `first_step` on: a function of the step."""
    steps: list[list[list[Key]]] = []
    for step in range(first_step, parts.total):
        epoch, index = divmod(step, parts.steps_per_epoch)
        if index == 0 or not steps:
            steps = epoch_steps(
                parts.config,
                parts.manifest,
                parts.train_clips.rows,
                epoch=epoch,
                rank=parts.fabric.global_rank,
                world_size=parts.fabric.world_size,
            )
        yield from steps[index]
