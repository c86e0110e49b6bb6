"""Chooses a part of a dataset: a more balanced one for training (AS-500K), or a share of it.

AS-500K is "a (slightly more) balanced subset" of AudioSet's two million clips (paper MBT, section
4.1), "created greedily by restricting the maximum number of samples per class to be 200K" (arXiv
v1, footnote 1). So the clips are visited in random order, and one is taken if *none* of its classes
has as many clips already: only then is the number a maximum. If it were taken as soon as *one* of
its classes has room, speech would go on growing with every clip of speech and birds. Free of torch.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import filterfalse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sightsound.data.exclude import read_exclude
from sightsound.data.rows import LABEL, SPLITS, Row, default_id, is_split, label_pairs
from sightsound.data.tables import arrow_table
from sightsound.files import atomic_file, csv_rows
from sightsound.registry import unknown_name
from sightsound.seeding import stable_seed

if TYPE_CHECKING:
    import pyarrow

_BATCH_ROWS = 65536  # of a CSV file written at once


def share_of(rows: Sequence[Row], *, share: float, seed: int) -> list[Row]:
    """About `share` of `rows`, in their order: a smaller share lies within a larger one.

    Every class keeps a clip, as long as there are as many clips as classes.
    """
    drawn = sorted(range(len(rows)), key=lambda i: stable_seed(seed, "share", rows[i].id))
    seen: set[tuple[str, str]] = set()
    first: list[int] = []  # the first clip of each class drawn
    others: list[int] = []  # what is left
    for index in drawn:
        pairs = label_pairs(rows[index].labels)
        (others if seen.issuperset(pairs) else first).append(index)
        seen.update(pairs)
    count = max(1, round(share * len(rows)))
    return [rows[index] for index in sorted((first + others)[:count])]


# --- a more balanced subset ---------------------------------------------------------------------


@dataclass(frozen=True)
class Balance:
    """How evenly the classes are spread over some clips."""

    num_clips: int
    largest: tuple[str, int]  # class and its number of clips
    smallest: tuple[str, int]  # of the classes that have any
    num_classes: int

    @property
    def imbalance(self) -> float:
        """How many times more clips the largest class has than the smallest."""
        return self.largest[1] / max(1, self.smallest[1])

    def cells(self, name: str) -> tuple[str, ...]:
        """The row called `name` of the table that `Subset.text` shows."""
        ends = (f"{label} {number}" for label, number in (self.largest, self.smallest))
        counts = (str(self.num_clips), str(self.num_classes))
        return (name, *counts, *ends, f"{self.imbalance:.1f}")


@dataclass(frozen=True)
class Subset:
    """What `build_subset` did."""

    path: Path
    per_class: int  # no class has more clips
    before: Balance
    after: Balance
    num_others: int  # clips of other splits, all kept

    def text(self) -> str:
        """A table of two rows, and what else to know."""
        head = ("", "clips", "classes", "largest class", "smallest class", "imbalance")
        lines = [head, self.before.cells("before"), self.after.cells("after")]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        kept = f"; of other splits all {self.num_others} are kept" if self.num_others else ""
        return "\n".join([*table, f"At most {self.per_class} clips of a class{kept}: {self.path}"])


def build_subset(
    source: str | Path,
    output: str | Path,
    *,
    clips: int | None = None,
    per_class: int | None = None,
    exclude: str | None = None,
    seed: int = 0,
) -> Subset:
    """Write the manifest `output` with a more balanced part of the training clips of `source`.

    Training clips are those of split train, or all where there is no column split; other splits
    are kept whole, and so are all columns. With `per_class` no class gets more clips; without it,
    that number is the smallest that leaves `clips`. With both, the visit ends after `clips`. Clips
    without a label count as one more class. Clips that the list `exclude` names are left out of
    every split. The file appears at once, whole.

    Raises:
        ValueError: neither number is given, there are too few clips, or no labels; a file that is
            no manifest, or an output from which its relative paths would lead elsewhere.
    """
    source, output = Path(source), Path(output)
    _check(source, output, clips=clips, per_class=per_class)
    table = arrow_table(source)
    for name in ("path", LABEL):
        if table.column_names.count(name) != 1:
            raise ValueError(
                f"{source}: columns {', '.join(table.column_names)}; needed, once each: path and "
                f"{LABEL}"
            )
    if exclude:
        ids = _ids(table)
        excluded = read_exclude(exclude, ids)
        table = table.filter(np.array([clip not in excluded for clip in ids], bool))
    _check_paths(table, source=source, output=output)
    is_train = _is_train(table, source=source)
    rows = np.flatnonzero(is_train)
    labels = _labels(table, rows, source=source)
    order = np.random.default_rng(stable_seed(seed, "subset")).permutation(len(rows))
    members = _members(labels, order)
    taken, per_class = _chosen(members, len(rows), clips=clips, per_class=per_class, source=source)
    kept = ~is_train
    kept[rows[order[taken]]] = True
    _write(table.filter(kept), output)
    everything = np.ones(len(rows), bool)
    return Subset(
        path=output,
        per_class=per_class,
        before=_balance(members, labels.names, everything),
        after=_balance(members, labels.names, taken),
        num_others=len(table) - len(rows),
    )


@dataclass(frozen=True)
class _Labels:
    """Which clip has which class: pairs, in any order, perhaps repeated."""

    clips: np.ndarray  # positions among the training clips
    classes: np.ndarray  # positions in `names`; len(names) for a clip without a label
    names: list[str]


def _chosen(
    members: list[np.ndarray],
    num_clips: int,
    *,
    clips: int | None,
    per_class: int | None,
    source: Path,
) -> tuple[np.ndarray, int]:
    """Whether each clip is taken, in the order of the visit, and the limit per class."""
    if clips is not None and clips > num_clips:
        raise ValueError(
            f"{source} has {num_clips} training clips, fewer than --clips {clips}; ask for fewer"
        )
    if per_class is None:  # the smallest that leaves `clips` or more while one less does not
        low, per_class = 0, max(map(len, members))
        while clips is not None and per_class - low > 1:
            middle = (low + per_class) // 2
            enough = greedy(members, num_clips, per_class=middle).sum() >= clips
            low, per_class = (low, middle) if enough else (middle, per_class)
    taken = greedy(members, num_clips, per_class=per_class)
    if clips is None:
        return taken, per_class
    number = int(taken.sum())
    if number < clips:
        raise ValueError(
            f"--per_class {per_class} leaves {number} clips of {source}, fewer than --clips "
            f"{clips}; raise the one, lower the other, or leave one out"
        )
    taken[np.flatnonzero(taken)[clips:]] = False
    return taken, per_class


def greedy(members: list[np.ndarray], num_clips: int, *, per_class: int) -> np.ndarray:
    """(num_clips,) bool: taken if none of a clip's classes has `per_class` clips already.

    `members` holds for each class the positions of its clips in the order of the visit, ascending.
    Class after class is closed at the first clip that is one too many. Clips lost to a class that
    is full leave room in others, so a class may be full later than it seemed: it is then looked at
    again in its turn.
    """
    taken = np.ones(num_clips, bool)
    queue = [(int(m[per_class]), k) for k, m in enumerate(members) if len(m) > per_class]
    heapq.heapify(queue)
    while queue:
        position, k = heapq.heappop(queue)
        left = members[k][taken[members[k]]]
        if len(left) <= per_class:
            continue
        if left[per_class] > position:
            heapq.heappush(queue, (int(left[per_class]), k))
        else:
            taken[left[per_class:]] = False
    return taken


def _members(labels: _Labels, order: np.ndarray) -> list[np.ndarray]:
    """For each class, the last being "no label", the positions of its clips in the visit."""
    positions = np.empty_like(order)
    positions[order] = np.arange(len(order))
    pairs = np.sort(labels.classes.astype(np.int64) * len(order) + positions[labels.clips])
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # np.unique takes ten times as long
    stops = np.searchsorted(pairs, np.arange(len(labels.names) + 2) * len(order))
    return [
        pairs[start:stop] - k * len(order)
        for k, (start, stop) in enumerate(zip(stops[:-1], stops[1:], strict=True))
    ]


def _balance(members: list[np.ndarray], names: list[str], taken: np.ndarray) -> Balance:
    counts = [(int(taken[clips].sum()), name) for clips, name in zip(members, names, strict=False)]
    counts = [(number, name) for number, name in counts if number]
    (most, largest), (fewest, smallest) = (f(counts, default=(0, "none")) for f in (max, min))
    return Balance(int(taken.sum()), (largest, most), (smallest, fewest), len(counts))


# --- tables -------------------------------------------------------------------------------------


def _check(source: Path, output: Path, *, clips: int | None, per_class: int | None) -> None:
    if clips is None and per_class is None:
        raise ValueError("how large? Give --clips, --per_class or both")
    for name, number in (("clips", clips), ("per_class", per_class)):
        if number is not None and number < 1:
            raise ValueError(f"--{name} is {number}; accepted: 1 or more")
    for path in (source, output):
        if path.suffix not in (".csv", ".parquet"):
            raise ValueError(f"{str(path)!r} is no manifest; accepted: a .csv or .parquet file")
    if os.path.abspath(source) == os.path.abspath(output):
        raise ValueError(f"--output {str(output)!r} is the manifest itself; choose another name")


def _texts(table: pyarrow.Table, column: str) -> pyarrow.ChunkedArray:
    import pyarrow
    import pyarrow.compute as compute

    texts = compute.fill_null(compute.cast(table.column(column), pyarrow.string()), "")
    return compute.utf8_trim_whitespace(texts)


def _ids(table: pyarrow.Table) -> list[str]:
    """As `load_manifest` calls the clips."""
    columns = [
        _texts(table, name).to_pylist() if name in table.column_names else [""] * len(table)
        for name in ("id", "path", "start_seconds")
    ]
    rows = zip(*columns, strict=True)
    return [clip or default_id(path, float(start or 0)) for clip, path, start in rows]


def _check_paths(table: pyarrow.Table, *, source: Path, output: Path) -> None:
    folder = os.path.abspath(source.parent)
    if folder == os.path.abspath(output.parent):
        return
    names = [name for name in ("path", "audio_path") if name in table.column_names]
    for name in names:
        for text in _texts(table, name).to_pylist():
            if text and not os.path.isabs(text):
                raise ValueError(
                    f"paths such as {text!r} are relative to the manifest: write --output beside "
                    f"it, in {folder!r}"
                )


def _is_train(table: pyarrow.Table, *, source: Path) -> np.ndarray:
    """(number of rows,) bool: the clips to choose from; all where no splits are named."""
    import pyarrow.compute as compute

    everything = np.ones(len(table), bool)
    if "split" not in table.column_names:
        return everything
    splits = _texts(table, "split")
    names = set(compute.unique(splits).to_pylist())
    if names <= {""}:
        return everything
    for name in filterfalse(is_split, names):
        raise ValueError(f"{source}: {unknown_name('split', name, SPLITS)}")
    if "train" not in names:
        raise ValueError(f"{source} has no clips of split train; its splits: {sorted(names)}")
    return compute.equal(splits, "train").to_numpy()


def _labels(table: pyarrow.Table, rows: np.ndarray, *, source: Path) -> _Labels:
    import pyarrow.compute as compute

    parts = compute.split_pattern(_texts(table, LABEL).take(rows), "|").combine_chunks()
    names = compute.utf8_trim_whitespace(compute.list_flatten(parts))
    named = compute.not_equal(names, "")
    clips = compute.list_parent_indices(parts).filter(named).to_numpy()
    codes = names.filter(named).dictionary_encode()
    if not len(codes):
        raise ValueError(f"{source}: no training clip has a label; there is nothing to balance")
    without = np.ones(len(rows), bool)
    without[clips] = False
    without = np.flatnonzero(without)
    classes = codes.indices.to_numpy()
    return _Labels(
        np.concatenate([clips, without]),
        np.concatenate([classes, np.full(len(without), len(codes.dictionary))]),
        codes.dictionary.to_pylist(),
    )


def _write(table: pyarrow.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            parquet.write_table(table, file)
            return
        file.write(csv_rows([table.column_names]).encode())
        for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
            columns = [column.to_pylist() for column in batch.columns]
            file.write(csv_rows(zip(*columns, strict=True)).encode())
