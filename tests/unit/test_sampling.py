"""Order of clips: every row once, classes equally often, the same for the same seed."""

from collections import Counter

import pytest

from sightsound.data.sampling import epoch_batches, eval_batches, rank_slice, train_keys


def flat(batches: list[list]) -> list:
    return [item for batch in batches for item in batch]


def test_every_row_once_in_an_order_of_seed_and_epoch():
    batches = epoch_batches(10, seed=0, epoch=0, batch_size=4, drop_last=False)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(flat(batches)) == list(range(10))
    assert batches == epoch_batches(10, seed=0, epoch=0, batch_size=4, drop_last=False)
    assert batches != epoch_batches(10, seed=0, epoch=1, batch_size=4, drop_last=False)
    assert batches != epoch_batches(10, seed=1, epoch=0, batch_size=4, drop_last=False)


def test_incomplete_batch_is_dropped_unless_it_is_the_only_one():
    assert [len(b) for b in epoch_batches(10, seed=0, epoch=0, batch_size=4)] == [4, 4]
    assert [len(b) for b in epoch_batches(3, seed=0, epoch=0, batch_size=4)] == [3]


def test_balanced_classes_come_equally_often():
    classes = [list(range(90)), list(range(90, 97)), [], [97, 98, 99]]
    batches = epoch_batches(100, seed=0, epoch=0, batch_size=10, balanced=classes)
    rows = flat(batches)
    drawn = Counter(next(i for i, c in enumerate(classes) if row in c) for row in rows)
    assert sorted(drawn.values()) == [33, 33, 34]
    small = Counter(row for row in rows if row >= 97)
    assert set(small.values()) <= {11, 12}  # rows of a class take turns
    assert batches == epoch_batches(100, seed=0, epoch=0, batch_size=10, balanced=classes)


def test_views_are_consecutive_and_stay_on_one_rank():
    assert flat(eval_batches(2, views=2, batch_size=3)) == [
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 0),
        (0, 1, 1),
    ]
    parts = [flat(eval_batches(5, views=2, batch_size=3, rank=r, world_size=2)) for r in (0, 1)]
    assert {key[1] for key in parts[0]} == {0, 2, 4}
    assert sorted(parts[0] + parts[1]) == flat(eval_batches(5, views=2, batch_size=3))


def test_ranks_share_batches_evenly():
    batches = [[0, 1, 2, 3], [4, 5, 6], [7]]
    assert rank_slice(batches, rank=0, world_size=2) == [[0, 2], [4]]
    assert rank_slice(batches, rank=1, world_size=2) == [[1, 3], [5]]
    assert rank_slice(batches, rank=0, world_size=1) == batches


def test_train_keys():
    assert train_keys([[(3, 0), (1, 0)]], epoch=7) == [[(7, 3, 0), (7, 1, 0)]]


def test_nothing_to_draw_from_is_refused():
    with pytest.raises(ValueError, match="num_rows is 0 and batch_size 4; both must be at least 1"):
        epoch_batches(0, seed=0, epoch=0, batch_size=4)
    with pytest.raises(ValueError, match="balanced sampling needs clips with labels"):
        epoch_batches(3, seed=0, epoch=0, batch_size=4, balanced=[[], []])


def test_empty_batches_are_refused():
    with pytest.raises(ValueError, match="batch_size is 0; accepted: 1 or more"):
        eval_batches(3, batch_size=0)
