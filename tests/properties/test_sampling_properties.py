"""What `data/sampling.py` promises of the order of clips, for any number of them."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sightsound.data.sampling import (
    epoch_batches,
    eval_batches,
    rank_slice,
    train_keys,
    with_turns,
)

numbers = st.integers(1, 200)
sizes = st.integers(1, 40)
draws = st.fixed_dictionaries({"seed": st.integers(0, 2**32), "epoch": st.integers(0, 1000)})


def flat(batches: list[list]) -> list:
    return [item for batch in batches for item in batch]


@given(numbers, sizes, draws)
def test_every_row_comes_once_in_an_epoch(num_rows, batch_size, draw):
    batches = epoch_batches(num_rows, batch_size=batch_size, drop_last=False, **draw)
    assert sorted(flat(batches)) == list(range(num_rows))
    assert {len(batch) for batch in batches[:-1]} <= {batch_size}
    assert 1 <= len(batches[-1]) <= batch_size
    assert batches == epoch_batches(num_rows, batch_size=batch_size, drop_last=False, **draw)
    whole = epoch_batches(num_rows, batch_size=batch_size, **draw)
    assert whole == (batches[: num_rows // batch_size] or batches)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any), numbers, draws)
def test_balanced_classes_and_the_rows_of_each_take_turns(counts, num_draws, draw):
    rows = iter(range(sum(counts)))
    classes = [[next(rows) for _ in range(count)] for count in counts]
    batches = epoch_batches(num_draws, batch_size=8, balanced=classes, drop_last=False, **draw)
    drawn = Counter(flat(batches))
    assert drawn.total() == num_draws
    of_class = [sum(drawn[row] for row in rows) for rows in classes if rows]
    assert sum(of_class) == num_draws and max(of_class) - min(of_class) <= 1
    for rows in filter(None, classes):
        times = [drawn[row] for row in rows]
        assert max(times) - min(times) <= 1


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=9), max_size=9), st.integers(1, 4))
def test_no_key_comes_twice_in_an_epoch(batches, repeats):
    turns = with_turns(batches)
    assert [[row for row, _ in batch] for batch in turns] == batches
    keys = train_keys(turns, epoch=3, repeats=repeats)
    assert len(set(flat(keys))) == len(flat(keys)) == repeats * len(flat(batches))
    counts = Counter(flat(batches))
    for row in counts:
        views = [view for _, index, view in flat(keys) if index == row]
        assert views == list(range(repeats * counts[row]))
    for batch, own in zip(keys, batches, strict=True):
        assert [row for _, row, _ in batch] == [row for row in own for _ in range(repeats)]


@given(numbers, st.integers(1, 5), sizes, st.integers(1, 8))
def test_processes_share_the_clips_to_score(num_rows, views, batch_size, world_size):
    ranks = [
        eval_batches(num_rows, views=views, batch_size=batch_size, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    keys = [key for batches in ranks for key in flat(batches)]
    assert sorted(keys) == [(0, row, view) for row in range(num_rows) for view in range(views)]
    for batches in ranks:
        assert all(len(batch) <= batch_size for batch in batches)
        assert flat(batches) == sorted(flat(batches))
    owners = [{row for _, row, _ in flat(batches)} for batches in ranks]
    assert sum(map(len, owners)) == num_rows  # no clip's views on two


@given(numbers, sizes, st.integers(1, 8), draws)
def test_processes_train_on_as_many_batches_of_as_many_clips(num_rows, size, world_size, draw):
    batches = epoch_batches(num_rows, batch_size=size, drop_last=False, **draw)
    ranks = [rank_slice(batches, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({tuple(map(len, parts)) for parts in ranks}) == 1
    kept = [batch for batch in batches if len(batch) >= world_size]
    assert [len(parts) for parts in ranks] == [len(kept)] * world_size
    for number, batch in enumerate(kept):
        shared = flat([parts[number] for parts in ranks])
        assert len(set(shared)) == len(shared) > len(batch) - world_size
        assert set(shared) <= set(batch)
