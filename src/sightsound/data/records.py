"""The lines of tables and the clips of folders as text, before anything is made of them.

Free of torch.
"""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sightsound.data.rows import HEADS, LABEL, SPLITS, SUFFIXES
from sightsound.data.shards.index import Index, is_index
from sightsound.registry import unknown_name

COLUMNS = (
    "path",
    "label",
    "start_seconds",
    "end_seconds",
    "split",
    "id",
    "audio_path",
    "group",
    "verb",
    "noun",
)
TABLE_NAMES = ("manifest.csv", "manifest.parquet")


def index_of(source: Path) -> Index | None:
    """The index of a folder of shards, if `source` is one."""
    return Index(source) if is_index(source) else None


@dataclass(frozen=True)
class Record:
    """One line of a table as text: `place` says where it stands."""

    place: str
    cells: dict[str, str]

    def error(self, message: str) -> ValueError:
        return ValueError(f"{self.place}: {message}")


def read_records(source: Path, *, labelled: bool) -> Iterator[Record]:
    """The clips that a table or folder names, as text.

    Raises:
        ValueError: what cannot be read so, naming file and line.
    """
    if source.is_dir():
        return _folder_records(source) if labelled else _nested_records(source)
    return _table_records(source, labelled=labelled)


def nothing_there(source: Path) -> str:
    """Why a table or folder without clips has none."""
    if source.is_dir():
        return f"no file in it or below it has one of the suffixes {' '.join(sorted(SUFFIXES))}"
    return "the table has no rows below its header"


def _table_records(path: Path, *, labelled: bool) -> Iterator[Record]:
    if path.suffix == ".parquet":
        return _parquet_records(path, labelled=labelled)
    if path.suffix == ".csv":
        return _csv_records(path, labelled=labelled)
    raise ValueError(
        f"cannot read {str(path)!r} as a manifest; accepted: .csv, .parquet or a folder"
    )


def _csv_records(path: Path, *, labelled: bool) -> Iterator[Record]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        columns = [name.strip() for name in next(reader, [])]
        _check_columns(columns, path=path, labelled=labelled)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            place = f"{path}, line {reader.line_num}"
            if len(cells) > len(columns):
                raise ValueError(
                    f"{place}: {len(cells)} cells but {len(columns)} columns; quote cells that "
                    "contain commas"
                )
            cells += [""] * (len(columns) - len(cells))
            yield Record(place, {n: c.strip() for n, c in zip(columns, cells, strict=True)})


def _parquet_records(path: Path, *, labelled: bool) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise ValueError(f"cannot read {str(path)!r} as Parquet: {error}") from error
    if index_of(path) is not None:
        table = table.select([name for name in table.column_names if name in COLUMNS])
    _check_columns(table.column_names, path=path, labelled=labelled)
    for number, cells in enumerate(table.to_pylist(), start=1):
        yield Record(f"{path}, row {number}", {name: _text(cell) for name, cell in cells.items()})


def _text(cell: object) -> str:
    missing = cell is None or (isinstance(cell, float) and math.isnan(cell))
    return "" if missing else str(cell).strip()


def _check_columns(columns: Sequence[str], *, path: Path, labelled: bool) -> None:
    for name in columns:
        if name not in COLUMNS:
            error = unknown_name("column", name, COLUMNS)
            raise ValueError(f"{path}: {error} Rename or remove it.")
    doubled = [name for name, number in Counter(columns).items() if number > 1]
    if doubled:
        raise ValueError(f"{path}: column {doubled[0]!r} appears twice")
    if "path" not in columns or (labelled and not has_labels(columns)):
        raise ValueError(
            f"{path}: columns {', '.join(columns) or '(none)'}; needed: path, and label or both "
            "verb and noun (clips without labels are for 'sightsound pretrain')"
        )


def has_labels(columns: Iterable[str]) -> bool:
    """True if there is a column for every head of some task."""
    return LABEL in columns or set(HEADS) <= set(columns)


def _folder_records(folder: Path) -> Iterator[Record]:
    """Clips of class folders, with or without a level of splits above them."""
    top = _subfolders(folder)
    if not top:
        _check_no_clips(folder)
        raise ValueError(
            f"no clips in {str(folder)!r}: expected a folder for each class with its clips "
            f"(such as .mp4), or {' or '.join(TABLE_NAMES)}"
        )
    named = {entry.name for entry in top} <= set(SPLITS)
    levels = [(entry, entry.name) for entry in top] if named else [(folder, "")]
    _check_no_clips(folder)
    for level, split in levels:
        _check_no_clips(level)
        for class_folder in _subfolders(level):
            yield from _class_records(class_folder, folder=folder, split=split)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _is_clip(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _check_no_clips(folder: Path) -> None:
    stray = sorted(path.name for path in folder.iterdir() if path.is_file() and _is_clip(path))
    if stray:
        raise ValueError(
            f"{stray[0]!r} lies directly in {str(folder)!r}, outside any class folder; move clips "
            "into folders named after their classes, or write a manifest"
        )


def walk(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Every folder below one, itself included, with its files, in order.

    Left out are folders with a dot in front and links to a folder around them, which have no end.

    Raises:
        PermissionError: a folder may not be read.
    """
    for directory, subfolders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        here = Path(directory)
        subfolders[:] = sorted(n for n in subfolders if n[0] != "." and not _is_loop(here / n))
        yield here, sorted(here / name for name in names)


def _is_loop(path: Path) -> bool:
    return path.is_symlink() and any(path.samefile(above) for above in path.parents)


def _refuse(error: OSError) -> None:
    raise error


def _class_records(class_folder: Path, *, folder: Path, split: str) -> Iterator[Record]:
    """Clips below one class folder; those in one of its sub-folders form a group."""
    empty = True
    for directory, paths in walk(class_folder):
        group = directory.relative_to(folder).as_posix()
        for path in paths:
            if _is_clip(path):
                empty = False
                cells = {"path": path.relative_to(folder).as_posix(), "split": split}
                cells |= {LABEL: class_folder.name}
                cells |= {"group": group} if directory != class_folder else {}
                yield Record(str(path), cells)
    if empty:
        raise ValueError(
            f"class folder {str(class_folder)!r} holds no clips; accepted suffixes: "
            f"{' '.join(sorted(SUFFIXES))}. Remove the folder or add clips"
        )


def _nested_records(folder: Path) -> Iterator[Record]:
    """All clips of a folder; those that lie like in class folders get their label and group."""
    top = _subfolders(folder)
    named = bool(top) and {entry.name for entry in top} <= set(SPLITS)
    for directory, paths in walk(folder):
        inside = directory.relative_to(folder).parts
        split = inside[0] if named and inside else ""
        classes = inside[1:] if split else inside
        for path in filter(_is_clip, paths):
            cells = {"path": path.relative_to(folder).as_posix(), "split": split}
            cells |= {LABEL: classes[0] if classes else ""}
            cells |= {"group": "/".join(inside)} if len(classes) > 1 else {}
            yield Record(str(path), cells)
