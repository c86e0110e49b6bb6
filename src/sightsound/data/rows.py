"""A row is one clip, a manifest all clips of a dataset and the order of its classes. No torch."""

from __future__ import annotations

import difflib
import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sightsound.registry import unknown_name

SPLITS = ("train", "val", "test")
SPELLINGS = {  # usual names of our splits, where capital letters do not matter
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
LABEL = "label"  # the one head of single- and multi-label data
HEADS = ("verb", "noun")
UNLABELLED = "none"  # the task of data whose labels are not read
TASKS = ("single", "multi", "heads", UNLABELLED)
SUFFIXES = frozenset(
    ".3gp .aac .avi .flac .flv .m2ts .m4a .m4v .mkv .mov .mp3 .mp4 .mpeg .mpg .mts .oga .ogg .ogv "
    ".opus .ts .wav .webm .wma .wmv".split()
)


Labels = tuple[str, ...] | dict[str, str]  # names; {head: name} if the task is "heads"


@dataclass(frozen=True)
class Row:
    """One clip: a file, or the part [start_seconds, end_seconds) of one."""

    id: str
    path: Path  # absolute
    labels: Labels
    start_seconds: float = 0.0
    end_seconds: float | None = None  # None: to the end of the file
    split: str = ""
    audio_path: Path | None = None  # where the sound is, if not in `path`
    group: str = ""  # clips of one group never lie in different splits
    original: Path | None = None  # the file that a clip in a shard was cut from

    @property
    def source(self) -> str:
        """The file that it is cut from: clips of one source show the same event."""
        return str(self.original or self.path)

    def names(self, head: str) -> tuple[str, ...]:
        """Class names under `head`."""
        return (self.labels[head],) if isinstance(self.labels, Mapping) else self.labels


@dataclass(frozen=True)
class Manifest:
    """All clips of a dataset and the order of its classes."""

    rows: tuple[Row, ...]
    labels: dict[str, list[str]]  # {head: class names in order}
    task: str  # single, multi, heads, none
    source: Path  # the table or folder that was read
    num_excluded: int = 0  # clips that it also has, left out by `data.exclude`

    @property
    def folder(self) -> Path:
        """What paths in a table are relative to."""
        return self.source if self.source.is_dir() else self.source.parent

    @property
    def num_classes(self) -> dict[str, int]:
        """{head: number of classes}, the `heads` argument of a model.

        Without labels one, whose logit nobody reads: every model has a head.
        """
        return {head: max(len(names), 1) for head, names in self.labels.items()}

    @property
    def id_hash(self) -> str:
        """Twelve hexadecimal digits that depend on the set of clip ids only."""
        return id_hash(row.id for row in self.rows)

    def split(self, name: str) -> list[Row]:
        """Clips of one split, or of several joined by `+` (`val+test`).

        Raises:
            ValueError: a name that is neither train, val, test nor one that the data names.
        """
        splits = self.split_name(name).split("+")
        return [row for row in self.rows if row.split in splits]

    def split_name(self, name: str) -> str:
        """`name` as the splits are called here: `val+test` for `validation+Test`.

        Raises:
            ValueError: a name that is neither train, val, test nor one that the data names.
        """
        known = {*SPLITS, *self.splits}
        names = [
            part if part in known else SPELLINGS.get(part.casefold(), part)
            for part in name.split("+")
        ]
        for part in names:
            if part not in known:
                raise unknown_name("split", part, known)
        return "+".join(names)

    @property
    def splits(self) -> list[str]:
        """Names of the splits that have clips; see `splits_of`."""
        return splits_of(self.rows)

    def prevalence(self) -> list[float]:
        """Share of the training clips that have each class, of several labels; else nothing."""
        rows = self.split("train")
        if self.task != "multi" or not rows:
            return []
        ((head, names),) = self.labels.items()
        counts = Counter(name for row in rows for name in row.names(head))
        return [counts[name] / len(rows) for name in names]

    def target(self, row: Row) -> np.ndarray:
        """(K,) float32, 1 at every class of `row`; heads lie side by side."""
        parts = []
        for head, names in self.labels.items():
            part = np.zeros(len(names), np.float32)
            part[[names.index(name) for name in row.names(head)]] = 1.0
            parts.append(part)
        return np.concatenate(parts)

    def class_rows(self, rows: Sequence[Row]) -> list[list[int]]:
        """For every class of the first head, the positions in `rows` that carry it."""
        head, names = next(iter(self.labels.items()))
        positions: dict[str, list[int]] = {name: [] for name in names}
        for position, row in enumerate(rows):
            for name in row.names(head):
                positions[name].append(position)
        return list(positions.values())


def label_pairs(labels: Labels) -> list[tuple[str, str]]:
    """(head, name) of every label."""
    if isinstance(labels, dict):
        return list(labels.items())
    return [(LABEL, name) for name in labels]


def in_order(names: Iterable[str]) -> list[str]:
    """Names of classes, sorted; by value if all are numbers."""
    names = {*names}
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def id_hash(ids: Iterable[str]) -> str:
    """Twelve hexadecimal digits that depend on the set of `ids`, not on their order."""
    text = "\n".join(sorted(ids))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def splits_of(rows: Iterable[Row]) -> list[str]:
    """Names of the splits of `rows`: train, val, test, then the data's own by name."""
    return ordered_splits({row.split for row in rows} - {""})


def ordered_splits(names: Iterable[str]) -> list[str]:
    """`names` once each: train, val, test, then others by name."""
    names = {*names}
    return [name for name in SPLITS if name in names] + sorted(names - {*SPLITS})


@functools.cache
def is_split(name: str) -> bool:
    """Whether data may name a split so: as it likes, but for slips in train, val and test.

    A plus joins splits, so that no name has one.
    """
    near = difflib.get_close_matches(name, SPLITS, n=1, cutoff=0.65)
    return "+" not in name and not (near and near[0] not in name)


def default_id(path: str, start_seconds: float) -> str:
    """The id of a clip that has none of its own."""
    return f"{path}#{start_seconds:g}" if start_seconds else path
