"""Which clips form which batch: pure functions of (seed, epoch), so that resuming needs no state.

A key (epoch, index, view) names one example: `ClipDataset[key]` gives the same clip always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sightsound.config.settings import RunConfig
from sightsound.data.rows import Manifest, Row
from sightsound.seeding import stable_seed

Key = tuple[int, int, int]  # epoch, index of the row, view


def epoch_batches(
    num_rows: int,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    balanced: Sequence[Sequence[int]] | None = None,
    drop_last: bool = True,
) -> list[list[int]]:
    """Row indices of every batch of one epoch, in order.

    Every row comes once; with `balanced` (the row indices of each class) every class comes
    equally often, its rows in turn, over an epoch of the same length. `drop_last` leaves out an
    incomplete last batch, except where it would be the only one.

    Raises:
        ValueError: no rows, or a batch size below 1.
    """
    if num_rows < 1 or batch_size < 1:
        raise ValueError(
            f"num_rows is {num_rows} and batch_size {batch_size}; both must be at least 1"
        )
    generator = np.random.default_rng(stable_seed(seed, epoch, "order"))
    if balanced is None:
        order = generator.permutation(num_rows)
    else:
        order = _balanced_order(num_rows, classes=balanced, generator=generator)
    return _cut(order.tolist(), batch_size=batch_size, drop_last=drop_last)


def with_turns(batches: Sequence[Sequence[int]]) -> list[list[tuple[int, int]]]:
    """(row, turn) in place of each row: how often the row has come before in this epoch.

    Balanced batches hold rows of small classes several times; each time they are cut anew.
    """
    seen: Counter[int] = Counter()
    turns: list[list[tuple[int, int]]] = []
    for batch in batches:
        turns.append([])
        for row in batch:
            turns[-1].append((row, seen[row]))
            seen[row] += 1
    return turns


def train_keys(
    batches: Sequence[Sequence[tuple[int, int]]], *, epoch: int, repeats: int = 1
) -> list[list[Key]]:
    """The keys of batches of (row, turn): `repeats` views of each, one after the other."""
    return [
        [(epoch, row, turn * repeats + view) for row, turn in batch for view in range(repeats)]
        for batch in batches
    ]


def epoch_steps(
    config: RunConfig,
    manifest: Manifest,
    rows: Sequence[Row],
    *,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
) -> list[list[list[Key]]]:
    """The keys of every pass through the model of every step of an epoch of training.

    Of `rows`, in this process. A step has several passes with `train.accumulate`.
    """
    num_clips = max(1, config.train.batch_size // config.data.repeats)
    batches = epoch_batches(
        len(rows),
        seed=config.seed,
        epoch=epoch,
        batch_size=num_clips * world_size,
        balanced=manifest.class_rows(rows) if config.data.balanced else None,
    )
    own = rank_slice(with_turns(batches), rank=rank, world_size=world_size)
    size = config.train.batch_size // config.train.accumulate
    return [
        [keys[start : start + size] for start in range(0, len(keys), size)]
        for keys in train_keys(own, epoch=epoch, repeats=config.data.repeats)
    ]


def pass_seed(seed: int, step: int, index: int, *, purpose: str, rank: int = 0) -> int:
    """Of what is drawn in pass `index` of training step `step`: "augment" or "model"."""
    return stable_seed(seed, step, index, rank, purpose)


def eval_batches(
    num_rows: int, *, views: int = 1, batch_size: int, rank: int = 0, world_size: int = 1
) -> list[list[Key]]:
    """Keys in the order of rows, the views of a clip one after the other.

    A process takes every `world_size`-th row, so that the views of a clip stay together and no
    clip is scored twice.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; accepted: 1 or more")
    keys = [
        (0, index, view) for index in range(rank, num_rows, world_size) for view in range(views)
    ]
    return _cut(keys, batch_size=batch_size, drop_last=False)


def rank_slice(batches: Sequence[list], *, rank: int, world_size: int) -> list[list]:
    """This process's part of every global batch: as many batches on each rank.

    Global batches hold world_size times the clips of a device. One that does not divide evenly
    gives up its last clips; one that is smaller than `world_size` is left out.
    """
    parts = []
    for batch in batches:
        even = len(batch) - len(batch) % world_size
        if even:
            parts.append(batch[rank:even:world_size])
    return parts


def _cut(order: list, *, batch_size: int, drop_last: bool) -> list[list]:
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if drop_last and len(batches) > 1 and len(batches[-1]) < batch_size:
        batches.pop()
    return batches


def _balanced_order(
    num_draws: int, *, classes: Sequence[Sequence[int]], generator: np.random.Generator
) -> np.ndarray:
    """(num_draws,) row indices; the counts of any two classes differ by at most one."""
    classes = [list(rows) for rows in classes if len(rows)]
    if not classes:
        raise ValueError("balanced sampling needs clips with labels; no class has any")
    shares = np.full(len(classes), num_draws // len(classes))
    shares[generator.permutation(len(classes))[: num_draws % len(classes)]] += 1
    drawn = []
    for rows, share in zip(classes, shares, strict=True):
        rounds = -(-int(share) // len(rows))
        turns = [generator.permutation(rows) for _ in range(rounds)]
        drawn.append(np.concatenate([*turns, np.empty(0, np.int64)])[:share].astype(np.int64))
    return generator.permutation(np.concatenate(drawn))
