"""Makes records, one per clip, of the lines of a table: cells as cleaned text under our names.

Free of torch.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sightsound.data.columns import COLUMNS, choose, guess, has_labels, is_known
from sightsound.data.rows import HEADS, LABEL, SPELLINGS
from sightsound.data.shards.index import is_index
from sightsound.data.splits import look_like_splits, splits_named
from sightsound.data.tables import Line, Table, open_table

TABLE_NAMES = ("manifest.csv", "manifest.parquet")
METADATA_NAMES = ("metadata.csv", "metadata.jsonl")  # of Hugging Face's videofolder, audiofolder
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """One clip as text: `place` says where in a table it stands, or which file it is."""

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
        positions, note = {n: i for i, n in enumerate(table.columns) if n in COLUMNS}, ""
    else:
        positions, note = choose(table, columns, labelled=labelled)
    records = [_record(line, positions, table) for line in table.lines]
    for name in (LABEL, *HEADS):  # numbers, which programs save as `3.0` beside empty cells
        parts = {part for r in records for part in r.cells.get(name, "").split("|") if part}
        if parts and all(re.fullmatch(r"-?\d+\.0+", part) for part in parts):
            for record in records:
                record.cells[name] = re.sub(r"\.0+(?=\||$)", "", record.cells[name])
    if "split" not in {*positions, *columns}:
        records = _splits_of_folders(records, path=path)
    if note:
        _log.warning("%s", note)
    return records


def metadata_of(folder: Path, *, columns: Mapping[str, str], labelled: bool) -> Path | None:
    """Hugging Face's `metadata.csv` or `.jsonl` in `folder`, if it names files and classes."""
    for path in (folder / name for name in METADATA_NAMES):
        if path.is_file():
            positions = guess(open_table(path, known=is_known), columns)
            if "path" in positions and (has_labels(positions) or not labelled):
                return path
            _log.warning("%s is not read: no columns for files and their classes", path)
    return None


def _record(line: Line, positions: Mapping[str, int], table: Table) -> Record:
    cells = {name: line.cells[position] for name, position in positions.items()}
    record = Record(line.place, cells)
    if line.problem:
        raise record.error(line.problem)
    for name, cell in cells.items():
        if "\n" in cell:
            raise record.error(f"{name} holds a line break; is a quotation mark missing?")
    for name in ("path", "audio_path"):  # written on Windows, unless a file's name is such
        if "\\" in cells.get(name, "") and not (table.path.parent / cells[name]).exists():
            cells[name] = cells[name].replace("\\", "/")
    for name in ("start_seconds", "end_seconds"):
        if table.has_decimal_commas and re.fullmatch(r"\d+,\d+", cells.get(name, "")):
            cells[name] = cells[name].replace(",", ".")
    for name in {LABEL, *HEADS} & cells.keys():
        cells[name] = unicodedata.normalize("NFC", cells[name])
    if "split" in cells:
        cells["split"] = SPELLINGS.get(cells["split"].casefold(), cells["split"])
    return record


def _splits_of_folders(records: list[Record], *, path: Path) -> list[Record]:
    """A column split after the folders in `path`, if below those that all share, all are splits.

    Raises:
        ValueError: they look like splits, but cannot be taken for them.
    """
    folders = [PurePosixPath(record.cells["path"]).parts[:-1] for record in records]
    level = len(os.path.commonprefix(folders))
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


def joined(records: Sequence[Record], *, task: str, path: Path) -> list[Record]:
    """Records with one for each clip: repeated lines count once, and their labels are put together.

    Lines are of one clip if they agree in all but the label.

    Raises:
        ValueError: they differ in their label, and `task` is "single".
    """
    unites = task != "heads" and bool(records) and LABEL in records[0].cells
    firsts: dict[tuple, Record] = {}
    names: dict[tuple, dict[str, None]] = {}
    for record in records:
        key = tuple(c for name, c in record.cells.items() if not unites or name != LABEL)
        first = firsts.setdefault(key, record)
        if not unites:
            continue
        label = record.cells[LABEL]
        if task == "single" and label != first.cells[LABEL]:
            raise record.error(
                f"label {label!r}, but at {first.place} the same clip has {first.cells[LABEL]!r}; "
                "--data.task multi gives it both, or leave one line out"
            )
        names.setdefault(key, {}).update(dict.fromkeys(n.strip() for n in label.split("|")))
    kept = list(firsts.values())
    if unites:
        kept = [
            dataclasses.replace(r, cells=r.cells | {LABEL: "|".join(filter(None, names[key]))})
            if len(names[key]) > 1
            else r
            for key, r in firsts.items()
        ]
    if len(kept) < len(records):
        several = any("|" in r.cells.get(LABEL, "") for r in kept)
        _log.warning(
            "%s: %d lines are of clips that other lines name, too; each clip counts once%s",
            path,
            len(records) - len(kept),
            " with all their labels (task multi)" if several else "",
        )
    return kept
