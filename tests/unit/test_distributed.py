"""Several processes: each clip goes to one of them, in every epoch and wherever a run resumes."""

from collections import Counter
from itertools import islice
from types import SimpleNamespace

import pytest

from sightsound.config.settings import DataSettings, RunConfig, TrainSettings
from sightsound.data.sampling import Key
from sightsound.train.batches import step_keys

CLASSES = [list(range(24)), list(range(24, 30)), [30, 31]]  # large, small, tiny
NUM_ROWS = 32
BATCH = 4
EPOCHS = 3


def make_parts(*, rank: int, world_size: int, balanced: bool, accumulate: int = 1):
    """As much of `Parts` as decides which clips come at which step."""
    steps = NUM_ROWS // (BATCH * world_size)
    config = RunConfig(
        model={},
        data=DataSettings(path="x", balanced=balanced),
        train=TrainSettings(epochs=EPOCHS, batch_size=BATCH, accumulate=accumulate),
    )
    return SimpleNamespace(
        config=config,
        fabric=SimpleNamespace(global_rank=rank, world_size=world_size),
        train_clips=SimpleNamespace(rows=[None] * NUM_ROWS),
        manifest=SimpleNamespace(class_rows=lambda rows: CLASSES),
        steps_per_epoch=steps,
        total=EPOCHS * steps,
    )


def keys_of_ranks(*, world_size: int, balanced: bool) -> list[list[list[Key]]]:
    """[rank][step]: keys."""
    return [
        list(step_keys(make_parts(rank=rank, world_size=world_size, balanced=balanced), 0))
        for rank in range(world_size)
    ]


@pytest.mark.parametrize("balanced", [False, True], ids=["plain", "balanced"])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_processes_share_out_one_order(world_size, balanced):
    """The same examples in the same steps as one process with larger batches, each once."""
    found = keys_of_ranks(world_size=world_size, balanced=balanced)
    steps = EPOCHS * NUM_ROWS // (BATCH * world_size)
    assert [[len(batch) for batch in part] for part in found] == [[BATCH] * steps] * world_size
    keys = [key for part in found for batch in part for key in batch]
    assert len(set(keys)) == len(keys)  # also (row, turn) of balanced batches
    alone = [
        key for part in keys_of_ranks(world_size=1, balanced=balanced) for b in part for key in b
    ]
    assert sorted(keys) == sorted(alone)
    together = [sorted(key for part in found for key in part[step]) for step in range(steps)]
    size = BATCH * world_size
    assert together == [sorted(alone[start : start + size]) for start in range(0, len(alone), size)]


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_in_a_balanced_epoch_the_clips_of_a_class_come_equally_often(world_size):
    found = keys_of_ranks(world_size=world_size, balanced=True)
    for epoch in range(EPOCHS):
        rows = Counter(row for part in found for b in part for e, row, _ in b if e == epoch)
        counts = [[rows[row] for row in members] for members in CLASSES]
        assert all(max(each) - min(each) <= 1 for each in counts)
        totals = [sum(each) for each in counts]
        assert max(totals) - min(totals) <= 1 and sum(totals) == NUM_ROWS
        assert max(counts[0]) == 1  # 24 clips for 10 or 11 draws


@pytest.mark.parametrize("balanced", [False, True], ids=["plain", "balanced"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resuming_asks_for_what_is_left(balanced, accumulate):
    parts = make_parts(rank=1, world_size=2, balanced=balanced, accumulate=accumulate)
    whole = list(step_keys(parts, 0))
    assert len(whole) == parts.total * accumulate
    for step in (1, parts.steps_per_epoch, parts.steps_per_epoch + 3, parts.total - 1):
        assert list(step_keys(parts, step)) == list(islice(whole, step * accumulate, None))
