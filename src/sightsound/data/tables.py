"""Reads tables as programs save them: CSV with any separator, JSON lines, Parquet. Free of torch.

Text may be UTF-8, UTF-16 or, from older programs, in Windows' code page 1252.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import logging
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightsound.library_errors import reading

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".pq")
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_REMEDIES = {  # for files that are no tables here
    **dict.fromkeys(
        (".xls", ".xlsx", ".xlsm", ".ods", ".numbers", ".pkl", ".pickle", ".feather", ".arrow"),
        ": save it as 'CSV UTF-8', or from Python with to_csv(..., index=False)",
    ),
    **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst", ".7z"), ": unpack it first"),
}
csv.field_size_limit(1 << 30)  # columns that nobody reads may hold whole transcripts
_MARKS = {  # Unicode standard, 23.8; UTF-32's begins with that of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# How files begin that people give in place of a list or a table.
_KINDS = {
    b"\x1f\x8b": ("compressed with gzip", "unpack it first (gunzip)"),
    b"PK\x03\x04": ("a ZIP archive or an Excel workbook", "unpack it, or save the sheet as CSV"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it first"),
    b"BZh": ("compressed with bzip2", "unpack it first"),
    b"\xfd7zXZ": ("compressed with xz", "unpack it first"),
    b"PAR1": ("a Parquet table", "'sightsound manifest huggingface-parquet' reads those of clips"),
    b"ARROW1": ("an Arrow table", "save it as CSV"),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook", "save the sheet as CSV"),
    b"\x89HDF": ("an HDF5 file", "give the lists that it was made from"),
    b"\x93NUMPY": ("a NumPy array", "give the lists that it was made from"),
    b"\x80": ("a pickle of Python, which is not opened", "give the CSV or text file beside it"),
}
_BROKEN = "\N{REPLACEMENT CHARACTER}"
_log = logging.getLogger(__name__)


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
        table = arrow_table(path)
        rows = ((f"{path}, row {n}", cells) for n, cells in enumerate(table.to_pylist(), 1))
        return _typed(path, table.column_names, rows)
    if suffix in (".jsonl", ".ndjson", ".json"):
        return _json(path)
    if suffix in SUFFIXES:
        return _csv(path, known=known)
    raise ValueError(
        f"cannot read {str(path)!r} as a manifest{_REMEDIES.get(suffix, '')}; accepted: "
        f"{', '.join(SUFFIXES)} or a folder"
    )


def arrow_table(path: Path) -> pyarrow.Table:
    """All columns of a Parquet file as they are, or of a CSV file (commas) as unchanged text.

    This is for tables of millions of rows; `open_table` knows more kinds of files.

    Raises:
        ValueError: the file is damaged.
    """
    import pyarrow
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    if path.suffix.lower() != ".csv":
        with reading(path, remedy="it cannot be read as Parquet: write it again"):
            return parquet.read_table(path)
    with path.open(newline="", encoding="utf-8-sig") as file:
        names = next(csv.reader(file), [])
    types = dict.fromkeys(names, pyarrow.string())
    try:
        table = arrow_csv.read_csv(
            path,
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(column_types=types),
        )
    except pyarrow.ArrowException as error:
        raise ValueError(f"cannot read {str(path)!r} as a manifest: {error}") from error
    return table.rename_columns([name.strip() for name in table.column_names])


def _csv(path: Path, *, known: Callable[[str], bool]) -> Table:
    text = read_text(path)
    said = re.match(r"sep=(.)\r?\n", text)  # Excel's way to name the separator
    text = text[said.end() :] if said else text
    separator = said[1] if said else _separator(text, known=known)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    columns: list[str] = []
    lines: list[Line] = []
    while True:
        place = f"{path}, line {bool(said) + reader.line_num + 1}"
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return Table(path, tuple(columns), tuple(lines), has_decimal_commas=separator != ",")
        except csv.Error as error:
            raise ValueError(f"{place}: no table of cells ({error})") from error
        if not any(cells):
            continue
        if not columns:
            columns = cells[: max(i for i, cell in enumerate(cells) if cell) + 1]
            continue
        problem = ""
        if any(cells[len(columns) :]):
            kind = _SEPARATORS.get(separator, "bars")
            problem = (
                f"{len(cells)} cells but {len(columns)} columns; quote cells that contain {kind}"
            )
        cells += [""] * (len(columns) - len(cells))
        lines.append(Line(place, tuple(cells[: len(columns)]), problem))


def _separator(text: str, *, known: Callable[[str], bool]) -> str:
    """The one that gives the most known columns, then the most columns."""
    header = next((line for line in text.splitlines() if line.strip()), "")

    def score(separator: str) -> tuple[int, int]:
        columns = next(csv.reader([header], delimiter=separator), [])
        return sum(known(name.strip()) for name in columns), len(columns)

    return max(_SEPARATORS, key=score)


def _json(path: Path) -> Table:
    """Lines of objects, or one list of them; columns are those of all lines."""
    text = read_text(path)
    if path.suffix.lower() == ".json":
        content = _parsed(text, place=str(path))
        entries = content if isinstance(content, list) else [content]
        objects = ((f"{path}, entry {number}", entry) for number, entry in enumerate(entries, 1))
    else:
        lines = ((f"{path}, line {n}", line) for n, line in enumerate(text.split("\n"), 1))
        objects = ((p, _parsed(line, place=p)) for p, line in lines if line.strip(" \t\r\ufeff"))
    rows: list[tuple[str, dict[str, Any]]] = []
    for place, entry in objects:
        if not isinstance(entry, dict) or all(isinstance(v, dict) for v in entry.values()):
            raise ValueError(
                f"{place}: expected an object for every clip, such as "
                '{"path": "1.mp4", "label": "dog"}'
            )
        rows.append((place, entry))
    return _typed(path, list(dict.fromkeys(name for _, cells in rows for name in cells)), rows)


def _parsed(text: str, *, place: str) -> Any:
    try:
        return json.loads(text.strip("\ufeff"))
    except ValueError as error:
        raise ValueError(f"{place}: not JSON: {error}") from error


def _typed(path: Path, columns: Sequence[str], rows: Iterable[tuple[str, dict]]) -> Table:
    """A table of cells that are more than text."""
    lines = []
    for place, cells in rows:
        texts = tuple(_text(cells.get(name), place=place) for name in columns)
        if any(texts):
            lines.append(Line(place, texts))
    return Table(path, tuple(name.strip() for name in columns), tuple(lines))


def _text(value: object, *, place: str) -> str:
    if isinstance(value, (list, tuple)):
        parts = [_text(part, place=place) for part in value]
        if any("|" in part for part in parts):
            raise ValueError(f"{place}: {value} holds a bar, which separates labels; rename it")
        return "|".join(parts)
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value).strip()


# --- the text of a file -------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """The text of `path`: by its byte order mark, else UTF-8, else Windows' code page 1252.

    For the last there is a line with a word of it: nothing in the file says that it is right.

    Raises:
        ValueError: it is not text.
    """
    check_text(path)
    content = path.read_bytes()
    encoding = _encoding(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if content.startswith(tuple(_MARKS)) or b"\0" in content:
            raise ValueError(f"{str(path)!r} is not text ({error.reason})") from error
    lenient = content.decode("utf-8", errors="replace")
    if sum(c > "\x7f" and c != _BROKEN for c in lenient) > lenient.count(_BROKEN):
        line = lenient[: lenient.index(_BROKEN)].count("\n") + 1
        raise ValueError(f"{path}, line {line}: not UTF-8, as the rest of the file is; mend it")
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{str(path)!r} is text neither in UTF-8, UTF-16 nor Windows' code page 1252; save it "
            "as 'CSV UTF-8'"
        ) from error
    word = re.search(r"[^\s,;\t]*[^\x00-\x7f][^\s,;\t]*", text)
    _log.warning(
        "%s is not UTF-8; read in Windows' code page 1252 (%r): if names look wrong, save it as "
        "'CSV UTF-8'",
        path,
        word[0] if word else "",
    )
    return text


def stated_encoding(path: Path) -> str:
    """What the first bytes of `path` say: a byte order mark, or zeros as UTF-16 has; else UTF-8."""
    with path.open("rb") as file:
        return _encoding(file.read(200))


def _encoding(content: bytes) -> str:
    head = content[:200]
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    if b"\0" not in head:
        return "utf-8"
    # UTF-16 without a mark has zeros in every other byte of Latin text.
    return "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"


def check_text(path: Path) -> None:
    """Refuse what is no text at all, by its first bytes.

    Raises:
        ValueError: naming what it is, and what to give instead.
    """
    with path.open("rb") as file:
        head = file.read(512)
    for magic, (kind, remedy) in _KINDS.items():
        if head.startswith(magic) and (magic != b"\x80" or head[1:2] in b"\2\3\4\5"):
            raise ValueError(f"{str(path)!r} is {kind}, no list of clips; {remedy}")
    if head[257:262] == b"ustar":
        raise ValueError(
            f"{str(path)!r} is a tar archive, no list of clips; 'sightsound manifest webdataset' "
            "reads tars of clips, lists must be unpacked"
        )
