"""The lines of tables as text, cleaned, before anything is made of them. Free of torch."""

from __future__ import annotations

import dataclasses
import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sightsound.data.columns import COLUMNS, choose, guess, has_labels, is_known
from sightsound.data.rows import HEADS, LABEL, SPELLINGS
from sightsound.data.shards.index import Index, is_index
from sightsound.data.split_names import look_like_splits, splits_named
from sightsound.data.tables import Line, Table, open_table

TABLE_NAMES = ("manifest.csv", "manifest.parquet")
METADATA_NAMES = ("metadata.csv", "metadata.jsonl")  # of Hugging Face's videofolder, audiofolder
_log = logging.getLogger(__name__)


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


def table_records(path: Path, *, columns: Mapping[str, str], labelled: bool) -> list[Record]:
    """The rows of a table under our names; `columns` {our name: the table's} where it is said.

    Raises:
        ValueError: what cannot be read so, naming file and line.
    """
    table = open_table(path, known=is_known)
    if is_index(path):
        chosen, note = {n: i for i, n in enumerate(table.columns) if n in COLUMNS}, ""
    else:
        found = choose(table, columns, labelled=labelled)
        chosen, note = found.positions, found.note
    records = [_record(line, chosen, table) for line in table.lines]
    records = _without_decimals(records)
    if "split" not in {*chosen, *columns}:
        records = _splits_of_folders(records, path=path)
    if note:
        _log.warning("%s", note)
    return records


def metadata_of(folder: Path, *, columns: Mapping[str, str], labelled: bool) -> Path | None:
    """Hugging Face's `metadata.csv` or `.jsonl` in `folder`, if it names files and classes."""
    for path in (folder / name for name in METADATA_NAMES):
        if path.is_file():
            found = guess(open_table(path, known=is_known), columns)
            if "path" in found and (has_labels(found) or not labelled):
                return path
            _log.warning("%s is not read: no columns for files and their classes", path)
    return None


def column_names(path: Path) -> tuple[str, ...]:
    """The columns of a table as they are called there."""
    return open_table(path, known=is_known).columns


def _record(line: Line, chosen: Mapping[str, int], table: Table) -> Record:
    cells = {name: line.cells[position] for name, position in chosen.items()}
    record = Record(line.place, cells)
    if line.problem:
        raise record.error(line.problem)
    for name, cell in cells.items():
        if "\n" in cell:
            raise record.error(f"{name} holds a line break; is a quotation mark missing?")
    for name in ("path", "audio_path"):
        if "\\" in cells.get(name, ""):
            cells[name] = _with_slashes(cells[name], folder=table.path.parent)
    for name in ("start_seconds", "end_seconds"):
        if table.has_decimal_commas and re.fullmatch(r"\d+,\d+", cells.get(name, "")):
            cells[name] = cells[name].replace(",", ".")
    for name in {LABEL, *HEADS} & cells.keys():
        cells[name] = unicodedata.normalize("NFC", cells[name])
    if "split" in cells:
        cells["split"] = SPELLINGS.get(cells["split"].casefold(), cells["split"])
    return record


def _with_slashes(name: str, *, folder: Path) -> str:
    """A path as written on Windows, unless there is a file whose name has a backslash."""
    return name if (folder / name).exists() else name.replace("\\", "/")


def _without_decimals(records: list[Record]) -> list[Record]:
    """Classes that are numbers, which programs save as `3.0` beside empty cells, as `3`."""
    for name in (LABEL, *HEADS):
        found = {part for r in records for part in r.cells.get(name, "").split("|") if part}
        if found and all(re.fullmatch(r"-?\d+\.0+", part) for part in found):
            for record in records:
                record.cells[name] = re.sub(r"\.0+(?=\||$)", "", record.cells[name])
    return records


def _splits_of_folders(records: list[Record], *, path: Path) -> list[Record]:
    """A column split after the folders in `path`, if below those that all share, all are splits.

    Raises:
        ValueError: they look like splits, but cannot be taken for them.
    """
    folders = [PurePosixPath(record.cells["path"]).parts[:-1] for record in records]
    level = _num_shared(folders)
    names = {folder[level] if len(folder) > level else "" for folder in folders}
    splits = splits_named(names)
    if len(names) < 2 or splits.keys() != names:
        if look_like_splits(names):
            raise ValueError(
                f"{path}: the folders {', '.join(sorted(names)[:4])} of its clips look like "
                "splits: add a column split, or --columns split= draws splits anew"
            )
        return records
    _log.warning("%s: no column split; taken from the folders %s", path, ", ".join(sorted(names)))
    return [
        dataclasses.replace(r, cells=r.cells | {"split": splits[folder[level]]})
        for r, folder in zip(records, folders, strict=True)
    ]


def _num_shared(folders: Sequence[tuple[str, ...]]) -> int:
    """How many folders all paths begin with."""
    number = 0
    for level in zip(*folders, strict=False):
        if len(set(level)) > 1:
            break
        number += 1
    return number


# --- several lines of one clip ------------------------------------------------------------------


def joined(records: Sequence[Record], *, task: str, path: Path) -> list[Record]:
    """Records with one for each clip: repeated lines count once, and their labels are put together.

    Lines are of one clip if they agree in all but the label.

    Raises:
        ValueError: they differ in their label, and `task` is "single".
    """
    if task == "heads" or not records or LABEL not in records[0].cells:
        return _distinct(records, path=path)
    found: dict[tuple, Record] = {}
    labels: dict[tuple, list[str]] = {}
    for record in records:
        key = tuple(cell for name, cell in record.cells.items() if name != LABEL)
        first, label = found.setdefault(key, record), record.cells[LABEL]
        if task == "single" and label != first.cells[LABEL]:
            raise record.error(
                f"label {label!r}, but at {first.place} the same clip has {first.cells[LABEL]!r}; "
                "--data.task multi gives it both, or leave one line out"
            )
        labels.setdefault(key, []).append(label)
    united = [_united(record, labels[key]) for key, record in found.items()]
    _tell(records, united, path=path)
    return united


def _united(record: Record, labels: Iterable[str]) -> Record:
    names = dict.fromkeys(name.strip() for label in labels for name in label.split("|"))
    if len(names) == 1:
        return record
    text = "|".join(filter(None, names))
    return dataclasses.replace(record, cells=record.cells | {LABEL: text})


def _distinct(records: Sequence[Record], *, path: Path) -> list[Record]:
    found: dict[tuple, Record] = {}
    for record in records:
        found.setdefault(tuple(record.cells.items()), record)
    _tell(records, list(found.values()), path=path)
    return list(found.values())


def _tell(records: Sequence[Record], kept: Sequence[Record], *, path: Path) -> None:
    if len(kept) < len(records):
        several = any("|" in r.cells.get(LABEL, "") for r in kept)
        how = " with all their labels (task multi)" if several else ""
        _log.warning(
            "%s: %d lines are of clips that other lines name, too; each clip counts once%s",
            path,
            len(records) - len(kept),
            how,
        )
