"""Lists of files and their labels, one clip per line: `path label`, `path label label ...`.

Those of PySlowFast and MMAction2, whose labels are numbers, and plain ones of one's own. There is
no header; paths may have blanks in them. Free of torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sightsound.data.datasets.listing import csv_rows, read_json, text_lines, wrong_line
from sightsound.data.datasets.media_index import is_sound
from sightsound.data.rows import SUFFIXES

_SUFFIX = "|".join(re.escape(suffix) for suffix in sorted({*SUFFIXES, ".npy"}))
_FILE = re.compile(rf'"?(?P<path>.+?(?:{_SUFFIX}))"?(?P<rest>$|[\s,;].*)', re.IGNORECASE)
_FOLDER = re.compile(r"(?P<path>.+?)(?P<rest>(?:[ ,\t]+\d+)+)")


class Line(NamedTuple):
    """One line of a list."""

    path: str
    labels: tuple[str, ...]  # as written: names or numbers


def read_line(text: str, *, counts_frames: bool = False) -> Line | None:
    """The path and the labels of a line; `None`: it is none.

    A path without a media suffix is a folder of frames or a name, and the first of several numbers
    behind it the count of its frames; with `counts_frames` that of sound files as well (MMAction2).
    """
    text = text.strip()
    found = _FILE.fullmatch(text)
    named = found or _FOLDER.fullmatch(text)
    if named is None:
        return None
    path, labels = named["path"], _labels(named["rest"])
    counted = not found or (counts_frames and is_sound_like(path))
    return Line(path, labels[1:] if counted and len(labels) > 1 else labels)


def is_sound_like(path: str) -> bool:
    """Whether `path` is a sound file, or the array of a spectrogram."""
    suffix = "." + path.rpartition(".")[2]
    return is_sound(suffix) or suffix.lower() == ".npy"


def _labels(text: str) -> tuple[str, ...]:
    """What stands between tabs, else between commas or semicolons, else between blanks."""
    divider = next((mark for mark in "\t;," if mark in text), None)
    parts = (part.strip(' "') for part in text.strip().split(divider))
    return tuple(dict.fromkeys(part for part in parts if part))


def class_map(path: Path) -> list[str] | None:
    """The class names in `path`, in order of their numbers; `None` if it lists clips.

    JSON, {name: number} or a list; a table `id,name`; or one name per line.

    Raises:
        ValueError: JSON of another kind, or a table with gaps.
    """
    if path.suffix.lower() == ".json":
        return _names_in(read_json(path), path=path)
    if path.suffix.lower() == ".csv" and (table := _table(path)):
        return table
    lines = [line.strip() for _, line in text_lines(path)]
    return None if any(read_line(line) for line in lines) else lines


def _names_in(content: object, *, path: Path) -> list[str]:
    if content and isinstance(content, list) and all(isinstance(name, str) for name in content):
        return content
    numbers = content if isinstance(content, dict) else {}
    found = {number: name for name, number in numbers.items() if type(number) is int}
    if not found or sorted(found) != list(range(len(numbers))):
        raise ValueError(
            f"{path}: expected the numbers of classes, {{name: number}} from 0 on, or a list of "
            "names"
        )
    return [found[number] for number in range(len(found))]


def _table(path: Path) -> list[str]:
    """The names of a table `id,name`; nothing if it is another."""
    rows = csv_rows(path)
    _, columns = next(rows, (0, []))
    if [name.lower() for name in columns] not in (["id", "name"], ["id", "key"]):
        return []
    names: list[str] = []
    for number, cells in rows:
        if len(cells) != 2 or cells[0] != str(len(names)):
            raise wrong_line(path, number, f"expected id {len(names)} and a name")
        names.append(cells[1])
    return names


def numbered(lists: Sequence[Path], *, counts_frames: bool = False) -> list[str]:
    """Names for classes of which `lists` say only the number: class_000 and so on."""
    found = [label for file in lists for _, label in numbers_in(file, counts_frames=counts_frames)]
    return [f"class_{index:03d}" for index in range(1 + max(found, default=-1))]


def numbers_in(path: Path, *, counts_frames: bool = False) -> Iterator[tuple[int, int]]:
    """(line number, class number) of every label of a list that is a number."""
    for number, text in text_lines(path):
        line = read_line(text, counts_frames=counts_frames)
        for label in line.labels if line else ():
            if label.isdigit():
                yield number, int(label)
