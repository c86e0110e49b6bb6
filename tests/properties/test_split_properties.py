"""What `data/splits.py` and `data/subset.py` promise of any set of clips."""

import dataclasses
from collections import Counter, defaultdict
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

from sightsound.data.rows import Row
from sightsound.data.splits import TooFewGroups, draw_splits
from sightsound.data.subset import share_of

FOLDER = Path("/clips")
NAMES = "abcd"
seeds = st.integers(0, 2**32)
shares = st.fixed_dictionaries(
    {"val": st.sampled_from([0.0, 0.1, 0.15, 0.3]), "test": st.sampled_from([0.0, 0.15, 0.4])}
)


@st.composite
def clips(draw: st.DrawFn, *, most_labels: int = 2, grouped: bool = True) -> list[Row]:
    """Up to 40 files of one or more clips, some of which belong together."""
    rows = []
    labels = st.lists(st.sampled_from(NAMES), min_size=1, max_size=most_labels, unique=True)
    for file, own in enumerate(draw(st.lists(labels, min_size=1, max_size=40))):
        group = draw(st.sampled_from(["", "", "", "x", "y"])) if grouped else ""
        for clip in range(draw(st.sampled_from([1, 1, 2])) if grouped else 1):
            path = FOLDER / f"{file}.mp4"
            rows.append(
                Row(f"{file}#{clip}", path, tuple(own), start_seconds=float(clip), group=group)
            )
    return rows


def split_or_skip(rows: list[Row], **options) -> list[str]:
    try:
        return draw_splits(rows, folder=FOLDER, **options)
    except TooFewGroups:
        assume(False)


def classes_of(rows: list[Row], splits: list[str]) -> dict[str, set[str]]:
    found = defaultdict(set)
    for row, split in zip(rows, splits, strict=True):
        found[split].update(row.labels)
    return found


@given(clips(), seeds, shares)
def test_every_clip_has_one_split_and_no_group_or_file_is_in_two(rows, seed, shares):
    splits = split_or_skip(rows, seed=seed, shares=shares)
    assert len(splits) == len(rows)
    assert set(splits) == {"train"} | {split for split, share in shares.items() if share}
    of_group = defaultdict(set)
    for row, split in zip(rows, splits, strict=True):
        of_group[row.group or row.path].add(split)
    assert all(len(found) == 1 for found in of_group.values())


@given(clips(), seeds, shares)
def test_every_class_is_in_every_split(rows, seed, shares):
    splits = split_or_skip(rows, seed=seed, shares=shares)
    everything = {name for row in rows for name in row.labels}
    assert all(found == everything for found in classes_of(rows, splits).values())


@given(clips(most_labels=1, grouped=False), seeds, shares)
def test_each_class_gets_its_share(rows, seed, shares):
    splits = split_or_skip(rows, seed=seed, shares=shares)
    totals = Counter(row.labels[0] for row in rows)
    counts = Counter((row.labels[0], split) for row, split in zip(rows, splits, strict=True))
    for split, share in shares.items():
        for name, total in totals.items():
            wanted = max(1, round(share * total)) if share else 0
            assert counts[name, split] == wanted or counts[name, "train"] == 1


@given(clips(), seeds, shares, st.randoms(use_true_random=False))
def test_splits_follow_from_the_seed_not_from_order_or_place(rows, seed, shares, random):
    splits = split_or_skip(rows, seed=seed, shares=shares)
    expected = dict(zip([row.id for row in rows], splits, strict=True))
    elsewhere = Path("/another/disk")
    moved = [
        dataclasses.replace(row, path=elsewhere / row.path.relative_to(FOLDER)) for row in rows
    ]
    random.shuffle(moved)
    again = draw_splits(moved, seed=seed, shares=shares, folder=elsewhere)
    assert dict(zip([row.id for row in moved], again, strict=True)) == expected


@given(clips(), seeds, st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_a_smaller_share_lies_within_a_larger_one(rows, seed, one, other):
    less, more = (share_of(rows, share=share, seed=seed) for share in sorted((one, other)))
    assert set(row.id for row in less) <= set(row.id for row in more)
    for share, part in ((min(one, other), less), (max(one, other), more)):
        assert len(part) == max(1, round(share * len(rows)))
        assert part == [row for row in rows if row in part]  # in their order
        classes = {name for row in rows for name in row.labels}
        if len(part) >= len(classes):
            assert {name for row in part for name in row.labels} == classes
