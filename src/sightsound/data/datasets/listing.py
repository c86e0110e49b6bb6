"""Reads the official files of data sets: records and helpers that the readers here share.

A reader turns annotation files into a `Listing`; `matching.py` looks the clips up on disk.
Free of torch.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sightsound.data.datasets.classes import LISTS
from sightsound.data.tables import check_text, stated_encoding
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
    untrimmed: bool = False  # whatever file is found is all of the recording, not the clip alone


@dataclass
class Listing:
    """All clips that the files list, and the official order of classes."""

    clips: Iterable[Clip]
    labels: dict[str, list[str]] | None = None  # {head: names}; None: those of the clips, sorted
    notes: list[str] = field(default_factory=list)  # for the report; may grow with the clips
    num_train: int | None = None  # keep a more balanced subset of so many training clips
    per_class: int | None = None  # of which no class has more


# --- files --------------------------------------------------------------------------------------


def annotation_files(paths: Sequence[Path], *patterns: str, packed: bool = False) -> list[Path]:
    """`paths`, with each folder replaced by the files in it that match one of `patterns`.

    A pattern may have a folder before the name, `*/metadata.csv`; capital letters do not matter.
    All must be text, unless they may hold clips, `packed`.

    Raises:
        FileNotFoundError: there is no such file or folder, or a folder holds none of the files.
        ValueError: a file is no text.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            depths = {pattern.count("/") for pattern in patterns}
            inside = (f for depth in depths for f in path.glob("/".join("*" * (depth + 1))))
            matching = sorted(f for f in inside if _matches(f, path, patterns) and f.is_file())
            if not matching:
                raise FileNotFoundError(
                    f"folder {str(path)!r} holds no annotation file; looked for "
                    f"{', '.join(patterns)}"
                )
            files += matching
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(f"no file or folder {str(path)!r}.{nearest_path(path)}")
    for file in () if packed else files:
        check_text(file)
    return list(dict.fromkeys(files))


def _matches(file: Path, folder: Path, patterns: Sequence[str]) -> bool:
    """Whether the name of a file in `folder` is as one of `patterns`; `*` is no slash."""
    name = file.relative_to(folder).as_posix().lower()
    return any(
        fnmatch(name, pattern.lower()) and name.count("/") == pattern.count("/")
        for pattern in patterns
    )


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of every line that is not blank.

    Raises:
        ValueError: the file is not text in UTF-8.
    """
    try:
        with path.open(newline="", encoding=stated_encoding(path)) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeError as error:
        raise ValueError(f"{str(path)!r} is not text in UTF-8: {error}") from error


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every row; blanks around cells and before quotes do not count.

    Cells are divided by commas, or by tabs or semicolons where the first lines are.

    Raises:
        ValueError: the file is not a CSV table in UTF-8.
    """
    try:
        delimiter = _delimiter(path)
        with path.open(newline="", encoding=stated_encoding(path)) as file:
            reader = csv.reader(file, skipinitialspace=True, delimiter=delimiter)
            for cells in reader:
                cells = [cell.strip() for cell in cells]
                if "#NAME?" in cells:  # an id that begins with "-", taken for a formula
                    problem = "a spreadsheet has replaced an id by #NAME?; take the original file"
                    raise wrong_line(path, reader.line_num, problem)
                if any(cells):
                    yield reader.line_num, cells
    except (UnicodeError, csv.Error) as error:
        raise ValueError(f"{str(path)!r} is not a CSV table in UTF-8: {error}") from error


def _delimiter(path: Path) -> str:
    """A tab where there is one, a semicolon where a line has several, else a comma."""
    with path.open(newline="", encoding=stated_encoding(path)) as file:
        lines = [line for line in islice(file, 20) if not line.startswith("#")]
    if any("\t" in line.strip() for line in lines):
        return "\t"
    several = [line for line in lines if re.sub('"[^"]*"', "", line).count(";") > 1]
    return ";" if lines and len(several) == len(lines) else ","


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
        return json.loads(path.read_text(encoding=stated_encoding(path)))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is not JSON: {error}") from error


def wrong_line(path: Path, place: int | str, message: str) -> ValueError:
    """The error that a line of `path`, or another place in it, is not as it should be."""
    return ValueError(f"{path}, {f'line {place}' if isinstance(place, int) else place}: {message}")


def seconds(path: Path, place: int | str, *texts: str) -> list[float]:
    """Each of `texts` as a number of seconds, `HH:MM:SS.SS` included.

    Raises:
        ValueError: something else, or less than 0, naming the line.
    """
    try:
        return [_seconds(text) for text in texts]
    except ValueError:
        problem = f"{', '.join(map(repr, texts))}: no times in seconds"
        raise wrong_line(path, place, problem) from None


def _seconds(text: str) -> float:
    parts = [float(part) for part in text.split(":")]
    value = sum(part * 60**power for power, part in enumerate(reversed(parts)))
    if not (math.isfinite(value) and all(part >= 0 for part in parts)):
        raise ValueError(text)
    return value


def is_header(cells: Sequence[str]) -> bool:
    """Whether `cells`, which should be times, are the words of a header that somebody added."""
    return not any(re.search(r"\d|^\W*(nan|inf)", cell, re.IGNORECASE) for cell in cells)


def label_named(path: Path, place: int | str, label: str) -> str:
    """`label` without blanks around it.

    Raises:
        ValueError: nothing is left, naming the line.
    """
    if not label.strip():
        raise wrong_line(path, place, "the label is empty; name the class, or remove the line")
    return label.strip()


# --- splits and classes -------------------------------------------------------------------------

_FOLDERS = frozenset("train training val valid validation test testing eval".split())
_SPLITS = {"train": "train", "val": "val", "test": "test", "eval": "test"}
_IN_A_NAME = re.compile(  # AStest, KineticsTrain, VAL_LIST, but not latest
    r"(?<![a-z])(train|val|test|eval)|(Train|Val|Test|Eval)|(?<![A-Za-z])(TRAIN|VAL|TEST|EVAL)"
)


def split_named(text: str) -> str:
    """train, val or test if `text` says so in any of the usual spellings, else nothing."""
    found = _IN_A_NAME.search(text)
    return _SPLITS[found[0].lower()] if found else ""


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


def folder_split(path: Path) -> str:
    """The split that the folder of `path` is of, as in `validation/labels.json`, or nothing."""
    name = path.absolute().parent.name.lower()
    return split_named(name) if name in _FOLDERS else ""


def class_table(path: Path) -> dict[str, str] | None:
    """{machine id: display name} of a class_labels_indices.csv in its order; None: it is not one.

    Raises:
        ValueError: its numbers are not 0, 1, 2 and so on.
    """
    rows = csv_rows(path)
    _, columns = next(rows, (0, []))
    if columns[:3] != ["index", "mid", "display_name"]:
        return None
    names: dict[str, str] = {}
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
        ValueError: an id that is not among `names`, or none at all.
    """
    ids = [mid.strip(' "') for mid in text.split(",")]
    if not any(ids):
        raise ValueError(f"{path}, {place}: no label; name the classes, or remove the entry")
    try:
        return tuple(names[mid] for mid in ids if mid)  # spreadsheets fill lines with commas
    except KeyError as error:
        problem = unknown_name("label", error.args[0], names)
        raise ValueError(
            f"{path}, {place}: {str(problem).partition(';')[0]}; give the class_labels_indices.csv "
            "that belongs to this file as well"
        ) from None
