"""Gathers the clips of messy data: whatever a table or folder tells, refused by training or not.

`load_manifest` stops at the first thing that is wrong, as training should. Here rows keep what is
readable of them, and what `load_manifest` says is kept as `Clips.refusal`. Where it says nothing,
rows, ids and splits are the same. Free of torch.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sightsound.config.settings import DataSettings
from sightsound.data.columns import guess, is_known, parse_columns
from sightsound.data.exclude import read_exclude
from sightsound.data.folders import OTHER_SUFFIXES, Layout, layout, located, walk
from sightsound.data.manifest import load_manifest
from sightsound.data.records import TABLE_NAMES
from sightsound.data.rows import HEADS, LABEL, SUFFIXES, Manifest, Row, default_id, is_split
from sightsound.data.shards.index import ABOUT_NAME
from sightsound.data.tables import is_table, open_table


@dataclass(frozen=True)
class Clips:
    """What there is to examine."""

    rows: tuple[Row, ...]  # labels and splits are empty where they cannot be made out
    task: str  # single, multi, heads
    source: Path  # the table, folder or file that was read
    refusal: str = ""  # why training would refuse the data
    others: tuple[Path, ...] = ()  # files that a folder of clips also holds; perhaps clips, too


def gather(settings: DataSettings) -> Clips:
    """Everything that `settings.path` may mean: a manifest, a folder or one media file.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: no clip can be made out; what `load_manifest` says about it.
    """
    source = _source(settings.path)
    read, refusal = _read(settings)
    others: list[Path] = []
    if source.is_dir():
        rows, task = list(_folder_rows(source, others=others)), "single"
    elif is_table(source):
        cells: list[dict[str, str]] = []
        if not read:  # as text, as far as columns are clear
            table = open_table(source, known=is_known)
            positions = guess(table, parse_columns(settings.columns))
            cells = [{name: line.cells[i] for name, i in positions.items()} for line in table.lines]
        task = settings.task
        if task == "auto":
            has_bars = any("|" in line.get(LABEL, "") for line in cells)
            has_heads = any(set(HEADS) <= line.keys() for line in cells)
            task = "heads" if has_heads else "multi" if has_bars else "single"
        rows = [_row(line, folder=source.parent, task=task) for line in cells if line.get("path")]
    elif source.suffix.lower() in OTHER_SUFFIXES:
        raise ValueError(refusal)
    else:  # one clip: nothing to train on, but much to know
        rows, task, refusal = [Row(source.name, source, ())], "single", ""
    if read:
        rows, task = list(read.rows), read.task
    if settings.exclude and not read:
        excluded = read_exclude(settings.exclude, (row.id for row in rows))
        rows = [row for row in rows if row.id not in excluded]
    if not rows and not others:
        raise ValueError(refusal or f"no clips in {str(source)!r}")
    return Clips(tuple(rows), task, source, refusal, tuple(others))


def _source(path: str) -> Path:
    """The table, folder or file to read."""
    source = Path(os.path.abspath(Path(path).expanduser()))
    folder = source if source.is_dir() else source.parent
    if (folder / ABOUT_NAME).is_file():
        raise ValueError(
            f"{str(folder)!r} holds shards; doctor looks at media files: name the folder or "
            "manifest that the shards were made from"
        )
    tables = [source / name for name in TABLE_NAMES if (source / name).is_file()]
    return tables[0] if tables else source


def _read(settings: DataSettings) -> tuple[Manifest | None, str]:
    """What training would read, if it can be, and what it would say against it.

    Missing files are found one by one later.
    """
    settings = dataclasses.replace(settings, bad_files="drop")
    refusal = ""
    try:
        load_manifest(settings)
    except ValueError as error:
        refusal = str(error)
    try:
        return load_manifest(settings, draw=False), refusal
    except ValueError:
        return None, refusal


# --- tables -------------------------------------------------------------------------------------


def _row(cells: dict[str, str], *, folder: Path, task: str) -> Row:
    start, end = (_seconds(cells.get(name, "")) for name in ("start_seconds", "end_seconds"))
    audio_path, split = cells.get("audio_path"), cells.get("split", "")
    return Row(
        id=cells.get("id") or default_id(cells["path"], start or 0.0),
        path=located(folder, cells["path"]),
        labels=_labels(cells, task=task),
        start_seconds=start or 0.0,
        end_seconds=end,
        split=split if is_split(split) else "",
        audio_path=located(folder, audio_path) if audio_path else None,
        group=cells.get("group", ""),
    )


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


def _labels(cells: dict[str, str], *, task: str) -> tuple[str, ...] | dict[str, str]:
    if task == "heads":
        return {head: cells[head] for head in HEADS if cells.get(head)}
    label = cells.get(LABEL, "")
    names = label.split("|") if task == "multi" else [label]
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


# --- folders ------------------------------------------------------------------------------------


def _folder_rows(folder: Path, *, others: list[Path]) -> Iterator[Row]:
    """Clips below a folder; files that may be clips under another name are added to `others`."""
    try:
        found = layout(folder)
    except ValueError:  # training refuses it: nothing is known of its folders
        found = Layout(folder, {})
    for directory, paths in walk(folder):
        cells = found.cells(directory if directory.is_relative_to(found.base) else found.base)
        for path in paths:
            if path.name.startswith("."):
                continue
            if path.suffix.lower() in SUFFIXES:
                relative = path.relative_to(folder)
                yield Row(
                    id=relative.as_posix(),
                    path=path,
                    labels=(cells[LABEL],) if cells[LABEL] else (),
                    split=cells["split"],
                    group=relative.parent.as_posix() if cells["group"] else "",
                )
            elif path.suffix.lower() not in OTHER_SUFFIXES:
                others.append(path)
