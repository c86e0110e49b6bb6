"""Tables as programs save them: CSV with any separator, JSON lines, Parquet. Free of torch."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightsound.data.text import read_text
from sightsound.library_errors import reading

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".pq")
_SEPARATORS = ",;\t|"
_SAVE_AS = "save it as 'CSV UTF-8', or from Python with to_csv(..., index=False)"
_PROGRAMS = (".xls", ".xlsx", ".xlsm", ".ods", ".numbers", ".pkl", ".pickle", ".feather", ".arrow")
_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z")
csv.field_size_limit(1 << 30)  # columns that nobody reads may hold whole transcripts


@dataclass(frozen=True)
class Line:
    """One row of a table as text; a list is joined by bars."""

    place: str  # file and line
    cells: tuple[str, ...]  # one for each column
    problem: str = ""  # what is wrong with the line


@dataclass(frozen=True)
class Table:
    """The columns of a table, stripped, and its rows."""

    path: Path
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    has_decimal_commas: bool = False  # where commas do not separate cells, 1,5 is a number


def is_table(path: Path) -> bool:
    """Whether the name of `path` is that of a table that can be read."""
    return path.suffix.lower() in SUFFIXES


def open_table(path: Path, *, known: Callable[[str], bool]) -> Table:
    """The table in `path`; cells are stripped, rows without any are left out.

    `known` says of a column's name whether it means something, which tells the separator.

    Raises:
        ValueError: another kind of file, or damaged, naming file and line.
    """
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return _parquet(path)
    if suffix in (".jsonl", ".ndjson", ".json"):
        return _json(path)
    if suffix in SUFFIXES:
        return _csv(path, known=known)
    remedy = ""
    if suffix in _PROGRAMS:
        remedy = f": {_SAVE_AS}"
    elif suffix in _PACKED:
        remedy = ": unpack it first"
    raise ValueError(
        f"cannot read {str(path)!r} as a manifest{remedy}; accepted: {', '.join(SUFFIXES)} or a "
        "folder"
    )


# --- text with separators -----------------------------------------------------------------------


def _csv(path: Path, *, known: Callable[[str], bool]) -> Table:
    text = read_text(path)
    said = re.match(r"sep=(.)\r?\n", text)  # Excel's way to name the separator
    first = 1 if said else 0
    text = text[said.end() :] if said else text
    separator = said[1] if said else _separator(text, known=known)
    rows = _csv_rows(text, separator, path=path, first=first)
    _, columns = next(rows, ("", []))
    while columns and not columns[-1]:
        columns = columns[:-1]
    lines = tuple(_csv_lines(rows, columns=columns, separator=separator))
    return Table(path, tuple(columns), lines, has_decimal_commas=separator != ",")


def _separator(text: str, *, known: Callable[[str], bool]) -> str:
    """The one that gives the most known columns, then the most columns."""
    header = next((line for line in text.splitlines() if line.strip()), "")

    def score(separator: str) -> tuple[int, int]:
        columns = next(csv.reader([header], delimiter=separator), [])
        return sum(known(name.strip()) for name in columns), len(columns)

    return max(_SEPARATORS, key=score)


def _csv_rows(text: str, separator: str, *, path: Path, first: int) -> Iterator[tuple[str, list]]:
    """(place, stripped cells) of every row that has a cell."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    while True:
        place = f"{path}, line {first + reader.line_num + 1}"
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"{place}: no table of cells ({error})") from error
        if any(cells):
            yield place, cells


def _csv_lines(
    rows: Iterator[tuple[str, list]], *, columns: Sequence[str], separator: str
) -> Iterator[Line]:
    for place, cells in rows:
        problem = ""
        if any(cells[len(columns) :]):
            kind = {"\t": "tabs", ",": "commas", ";": "semicolons"}.get(separator, "bars")
            problem = (
                f"{len(cells)} cells but {len(columns)} columns; quote cells that contain {kind}"
            )
        cells += [""] * (len(columns) - len(cells))
        yield Line(place, tuple(cells[: len(columns)]), problem)


# --- JSON and Parquet ---------------------------------------------------------------------------


def _json(path: Path) -> Table:
    """Lines of objects, or one list of them; columns are those of all lines."""
    found = list(_objects(path))
    columns = tuple(dict.fromkeys(name for _, cells in found for name in cells))
    return _typed(path, columns, found)


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    text = read_text(path)
    if path.suffix.lower() == ".json":
        content = _parsed(text, place=str(path))
        entries = content if isinstance(content, list) else [content]
        found = ((f"{path}, entry {number}", entry) for number, entry in enumerate(entries, 1))
    else:
        lines = ((f"{path}, line {n}", line) for n, line in enumerate(text.split("\n"), 1))
        found = ((p, _parsed(line, place=p)) for p, line in lines if line.strip(" \t\r\ufeff"))
    for place, entry in found:
        if not isinstance(entry, dict) or all(isinstance(v, dict) for v in entry.values()):
            raise ValueError(
                f"{place}: expected an object for every clip, such as "
                '{"path": "1.mp4", "label": "dog"}'
            )
        yield place, entry


def _parsed(text: str, *, place: str) -> Any:
    try:
        return json.loads(text.strip("\ufeff"))
    except ValueError as error:
        raise ValueError(f"{place}: not JSON: {error}") from error


def _parquet(path: Path) -> Table:
    import pyarrow.parquet

    with reading(path, remedy="it cannot be read as Parquet: write it again"):
        table = pyarrow.parquet.read_table(path)
    rows = ((f"{path}, row {number}", cells) for number, cells in enumerate(table.to_pylist(), 1))
    return _typed(path, table.column_names, rows)


def _typed(path: Path, columns: Sequence[str], rows: Iterable[tuple[str, dict]]) -> Table:
    """A table of cells that are more than text."""
    names = tuple(name.strip() for name in columns)
    return Table(path, names, tuple(_typed_lines(rows, columns)))


def _typed_lines(rows: Iterable[tuple[str, dict]], columns: Sequence[str]) -> Iterator[Line]:
    for place, cells in rows:
        texts = tuple(_text(cells.get(name), place=place) for name in columns)
        if any(texts):
            yield Line(place, texts)


def _text(value: object, *, place: str) -> str:
    if isinstance(value, (list, tuple)):
        parts = [_text(part, place=place) for part in value]
        if any("|" in part for part in parts):
            raise ValueError(f"{place}: {value} holds a bar, which separates labels; rename it")
        return "|".join(parts)
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value).strip()
