"""Plain lists of one's own: `path label`, or `path label label ...`, one clip per line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    split_named,
    text_lines,
    wrong_line,
)
from sightsound.data.datasets.path_lines import class_map, read_line
from sightsound.registry import unknown_name

_PATTERNS = ("*train*.txt", "*val*.txt", "*test*.txt", "classes.*", "labels.*", "class_names.*")
_CLASSES = re.compile("class|label|categor|names")  # what a list of classes is called


def path_list(paths: Sequence[Path]) -> Listing:
    """train.txt, val.txt, test.txt with a path and one label or several in each line, divided by
    blanks, commas or tabs; one list of another name has no split. And, if labels are numbers or
    have blanks in them, classes.txt (a name per line) or classes.json."""
    files = annotation_files(paths, *_PATTERNS)
    maps = {file: class_map(file) for file in files if _CLASSES.search(file.stem.lower())}
    order = next((names for names in maps.values() if names), None)
    notes: list[str] = []
    lists = [file for file in files if maps.get(file) is None]
    listing = Listing((), {"label": order} if order else None, notes)
    listing.clips = (clip for file in lists for clip in _clips(file, order, notes))
    return listing


def _clips(path: Path, order: list[str] | None, notes: list[str]) -> Iterator[Clip]:
    split, several = split_named(path.stem), 0
    for number, text in text_lines(path):
        line = read_line(text)
        if number == 1 and line is None:  # a header
            continue
        if line is None or not line.labels:
            raise wrong_line(path, number, "expected the path of a media file and its labels")
        labels = line.labels if order is None else _named(line.labels, order, path, number)
        divided = not any(mark in text for mark in "\t;,")
        several += divided and len(labels) > 1 and not any(map(str.isdigit, labels))
        yield _clip(line.path, labels, split)
    if several:
        notes.append(
            f"{several} lines of {path.name} have several labels, divided at blanks; names with "
            "blanks in them need tabs or commas, or a classes.txt"
        )


def _clip(path: str, labels: tuple[str, ...], split: str) -> Clip:
    stem = PurePosixPath(os.path.splitext(path.replace("\\", "/").removeprefix("./"))[0])
    names = dict.fromkeys(("/".join(stem.parts).lstrip("/"), "/".join(stem.parts[-2:]).lstrip("/")))
    return Clip(path, labels, split, tuple(names), files=(path,) if os.path.isabs(path) else ())


def _named(labels: tuple[str, ...], order: list[str], path: Path, number: int) -> tuple[str, ...]:
    """Labels as `order` has them: by name, by number, or one name with blanks in it."""
    if " ".join(labels) in order:
        return (" ".join(labels),)
    numbers = all(label.isdigit() and int(label) < len(order) for label in labels)
    if numbers and not set(labels) <= set(order):
        return tuple(order[int(label)] for label in labels)
    for label in labels:
        if label not in order:
            raise wrong_line(path, number, str(unknown_name("label", label, order)))
    return labels
