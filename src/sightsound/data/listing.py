"""What the official files of a data set list, and how they are read: shared by `datasets/`.

A reader turns annotation files into a `Listing`; `data/matching.py` looks the clips up on disk.
Free of torch.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from sightsound.data.classes import LISTS
from sightsound.registry import nearest_path, unknown_name


class Clip(NamedTuple):
    """One clip as an official file lists it, on disk or not."""

    id: str
    labels: tuple[str, ...] | dict[str, str]  # names; {head: name}
    split: str
    names: tuple[str, ...]  # of its file, without suffix, perhaps with folders; first found counts
    source: str = ""  # the video it is from; a file of this name may hold all of that
    start_seconds: float = 0.0  # within `source`
    end_seconds: float | None = None
    files: tuple[str, ...] = ()  # whole paths, which come before any name
    group: str = ""


@dataclass
class Listing:
    """All clips that the files list, and the official order of classes."""

    clips: Iterable[Clip]
    labels: dict[str, list[str]] | None = None  # {head: names}; None: those of the clips, sorted
    notes: list[str] = field(default_factory=list)  # for the report; may grow with the clips
    num_train: int | None = None  # keep a more balanced subset of so many training clips


def youtube_names(video: str, start: float, end: float) -> tuple[str, ...]:
    """Names under which downloaders keep the stretch [start, end) of a YouTube video."""
    first, last = int(start), int(end)
    return (
        f"{video}_{first:06d}_{last:06d}",
        f"{video}_{first:06d}",
        f"{video}_{first}_{last}",
        f"{video}_{start * 1000:.0f}_{end * 1000:.0f}",
        f"{video}_{first}",
    )


# --- files --------------------------------------------------------------------------------------


def annotation_files(paths: Sequence[Path], *patterns: str) -> list[Path]:
    """`paths`, with each folder replaced by the files in it that match one of `patterns`.

    A pattern may have a folder before the name, `*/metadata.csv`; capital letters do not matter.

    Raises:
        FileNotFoundError: there is no such file or folder, or a folder holds none of the files.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = _matching(path, patterns)
            if not found:
                raise FileNotFoundError(
                    f"folder {str(path)!r} holds no annotation file; looked for "
                    f"{', '.join(patterns)}"
                )
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(f"no file or folder {str(path)!r}.{nearest_path(path)}")
    return list(dict.fromkeys(files))


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    found = []
    for depth in {pattern.count("/") for pattern in patterns}:
        here = [pattern.lower() for pattern in patterns if pattern.count("/") == depth]
        for file in folder.glob("/".join("*" * (depth + 1))):
            name = file.relative_to(folder).as_posix().lower()
            if any(fnmatch(name, pattern) for pattern in here) and file.is_file():
                found.append(file)
    return sorted(found)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of every line that is not blank.

    Raises:
        ValueError: the file is not text in UTF-8.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not text in UTF-8: {error}") from error


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every row; blanks around cells and before quotes do not count.

    Raises:
        ValueError: the file is not a CSV table in UTF-8.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            for cells in reader:
                cells = [cell.strip() for cell in cells]
                if any(cells):
                    yield reader.line_num, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{str(path)!r} is not a CSV table in UTF-8: {error}") from error


def named_rows(path: Path, *needed: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, {column: cell}) of every row below the header.

    Raises:
        ValueError: a column of `needed` is missing.
    """
    rows = csv_rows(path)
    _, columns = next(rows, (0, []))
    missing = [name for name in needed if name not in columns]
    if missing:
        raise ValueError(
            f"{path}: column {missing[0]!r} is missing; its first line is "
            f"{','.join(columns)[:200]!r}"
        )
    for number, cells in rows:
        if len(cells) < len(columns):
            raise wrong_line(path, number, f"{len(cells)} cells but {len(columns)} columns")
        yield number, dict(zip(columns, cells, strict=False))


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not JSON: {error}") from error


def wrong_line(path: Path, number: int, message: str) -> ValueError:
    """The error that line `number` of `path` is not as it should be."""
    return ValueError(f"{path}, line {number}: {message}")


def seconds(path: Path, number: int, *texts: str) -> list[float]:
    """Each of `texts` as a number of seconds, `HH:MM:SS.SS` included.

    Raises:
        ValueError: something else, naming the line.
    """
    try:
        return [_seconds(text) for text in texts]
    except ValueError:
        problem = f"{', '.join(map(repr, texts))}: no times in seconds"
        raise wrong_line(path, number, problem) from None


def _seconds(text: str) -> float:
    if ":" not in text:
        return float(text)
    parts = [float(part) for part in text.split(":")]
    return sum(part * 60**place for place, part in enumerate(reversed(parts)))


# --- splits and classes -------------------------------------------------------------------------

_SPLITS = {"train": "train", "val": "val", "test": "test", "eval": "test"}
_IN_A_NAME = re.compile(r"(?<![a-z])(train|val|test|eval)")


def split_named(text: str) -> str:
    """train, val or test if `text` says so in any of the usual spellings, else nothing."""
    found = _IN_A_NAME.search(text.lower())
    return _SPLITS[found[1]] if found else ""


def file_split(path: Path) -> str:
    """The split that the name of an annotation file tells.

    Raises:
        ValueError: it tells none.
    """
    split = split_named(path.stem)
    if not split:
        raise ValueError(
            f"the name of {str(path)!r} does not tell its split; rename it so that it holds train, "
            "val, test or eval"
        )
    return split


def class_table(path: Path) -> dict[str, str] | None:
    """{machine id: display name} of a class_labels_indices.csv in its order; None: it is not one.

    Raises:
        ValueError: its numbers are not 0, 1, 2 and so on.
    """
    rows = csv_rows(path)
    _, columns = next(rows, (0, []))
    if columns[:3] != ["index", "mid", "display_name"]:
        return None
    names = {}
    for number, cells in rows:
        if len(cells) != 3 or cells[0] != str(len(names)):
            raise wrong_line(path, number, f"expected index {len(names)}, an id and a name")
        names[cells[1]] = cells[2]
    return names


def machine_ids(files: Sequence[Path]) -> tuple[dict[str, str], list[Path]]:
    """{machine id: display name} of AudioSet, or of a table among `files`; and the other files."""
    tables = {file: class_table(file) for file in files if file.suffix == ".csv"}
    given = [table for table in tables.values() if table is not None]
    names = given[0] if given else class_table(LISTS / "audioset.csv") or {}
    return names, [file for file in files if tables.get(file) is None]


def display_names(text: str, names: dict[str, str], *, path: Path, place: str) -> tuple[str, ...]:
    """The class names behind `text`, machine ids between commas, with stray quotes or not.

    Raises:
        ValueError: an id that is not among `names`.
    """
    try:
        return tuple(names[mid.strip(' "')] for mid in text.split(","))
    except KeyError as error:
        problem = unknown_name("label", error.args[0], names)
        raise ValueError(
            f"{path}, {place}: {str(problem).partition(';')[0]}; give the class_labels_indices.csv "
            "that belongs to this file as well"
        ) from None
