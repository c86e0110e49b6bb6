"""Which clips there are: a table or a folder of class folders, checked on loading.

A folder that holds `manifest.csv` or `manifest.parquet` is read by it, or by Hugging Face's
`metadata.csv`; otherwise the folders are classes and splits (`folders.py`). Both give the same ids,
the path relative to the folder. Data that names no splits is split by group (by file where there is
no `group` column; by sub-folder of a class folder), the same for the same seed.

With `data.task` none, for pre-training, no label is needed or kept: a table may lack the column,
and clips may lie anywhere in a folder. Where there are labels, they still decide how splits are
drawn, so that pre-training and training hold the same clips out. Free of torch.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sightsound.config.settings import DataSettings
from sightsound.data.columns import COLUMNS, has_labels, parse_columns
from sightsound.data.exclude import read_exclude
from sightsound.data.folders import class_folder_records, nested_records, packed_clips
from sightsound.data.names import located
from sightsound.data.records import (
    TABLE_NAMES,
    Record,
    column_names,
    index_of,
    joined,
    metadata_of,
    table_records,
)
from sightsound.data.rows import (
    HEADS,
    LABEL,
    SPLITS,
    SUFFIXES,
    TASKS,
    UNLABELLED,
    Manifest,
    Row,
    default_id,
    is_split,
)
from sightsound.data.shards.index import ABOUT_NAME, INDEX_NAME, Index
from sightsound.data.splits import TooFewGroups, draw_splits
from sightsound.data.text import read_text
from sightsound.files import atomic_file, csv_text, write_whole
from sightsound.media.source import exists
from sightsound.registry import nearest_path, unknown_name


def load_manifest(
    settings: DataSettings,
    *,
    seed: int = 0,
    labels: Mapping[str, Sequence[str]] | None = None,
    draw: bool = True,
) -> Manifest:
    """The clips that `settings.path` names, checked, with splits and an order of classes.

    `labels` {head: names} fixes the order (that of a trained model); otherwise `labels.json`
    beside the table does, a list or {head: list}; otherwise names are sorted, numbers by value.
    Clips that `settings.exclude` lists are not looked at, but take part where splits are drawn:
    the others lie in the same splits with and without a list. With `draw` off, clips without a
    split keep none.

    `settings.path` may be a folder of shards: the clips of its index, found there, without those
    that are in quarantine.

    Raises:
        FileNotFoundError: `settings.path` does not exist.
        ValueError: anything else that is wrong, naming file and line.
    """
    source = _source(settings.path, settings)
    folder = source if source.is_dir() else source.parent
    records = _records(source, settings)
    if not records:
        raise ValueError(f"no clips in {str(source)!r}: {_nothing_there(source)}")
    index = index_of(source)
    task = index.about["task"] if index and settings.task == "auto" else settings.task
    unlabelled = task == UNLABELLED
    task = _readable(records, source=source) if unlabelled else _task(task, records, source=source)
    rows = [_row(record, folder=folder, task=task) for record in records]
    _check_unique(rows, records)
    listed = rows
    if settings.exclude:
        rows, records = _without(settings.exclude, rows, records)
    num_excluded = len(listed) - len(rows)
    if index is not None:
        rows, records = _stored(index, rows, records)
    elif settings.bad_files == "error":
        _check_files(rows, records)
    if not unlabelled:
        order = _label_order(rows, records, task=task, folder=folder, given=labels)
    if draw or any(row.split for row in rows):
        draws = {"listed": listed, "source": source, "settings": settings, "seed": seed}
        rows = _with_splits(rows, records, task=UNLABELLED if unlabelled else task, **draws)
    if unlabelled:
        kept = {"labels": ()} | ({"group": ""} if source.is_dir() else {})
        rows = [dataclasses.replace(row, **kept) for row in rows]
        order, task = {LABEL: []}, UNLABELLED
    return Manifest(tuple(rows), order, task, source, num_excluded=num_excluded)


def other_data(
    own: DataSettings,
    data: str | None,
    *,
    columns: str | None = None,
    exclude: str | None = None,
    **changes: Any,
) -> DataSettings:
    """`own`, the settings of a run, with the clips of `data`; `None`: its own.

    The run's list of clips to leave out is for its own data; its columns are for every table that
    has them. Both give way to `columns` and `exclude` where these are given.
    """
    is_own = data is None or bool(own.path) and is_same_path(data, own.path)
    if columns is None:
        columns = own.columns if is_own or _has_columns(data or "", own.columns) else ""
    if exclude is None:
        exclude = own.exclude if is_own else ""
    return dataclasses.replace(
        own, path=data or own.path, columns=columns, exclude=exclude, **changes
    )


def is_same_path(one: str, other: str) -> bool:
    """Whether two names, such as `../clips` and `/data/clips/`, are of one place."""
    return os.path.abspath(one) == os.path.abspath(other)


def _has_columns(data: str, columns: str) -> bool:
    """Whether `data` is a table that has all columns that `columns` names."""
    source = _source(data, DataSettings(columns=columns)) if columns else Path()
    return source.is_file() and set(parse_columns(columns).values()) <= {"", *column_names(source)}


def write_manifest(manifest: Manifest | Sequence[Row], path: str | Path) -> None:
    """Write a table that `load_manifest` reads back; CSV or Parquet by the suffix of `path`.

    Files below the table's folder are written relative to it. The file appears at once, whole.
    """
    path = Path(path)
    rows = manifest.rows if isinstance(manifest, Manifest) else manifest
    lines = [row_cells(row, folder=path.absolute().parent) for row in rows]
    columns = [name for name in COLUMNS if any(line.get(name) for line in lines)]
    if path.suffix == ".parquet":
        _write_parquet(path, lines, columns=columns)
    else:
        chosen = ({name: line.get(name) for name in columns} for line in lines)
        write_whole(path, csv_text(chosen, columns))


def _write_parquet(path: Path, lines: list[dict[str, str]], *, columns: list[str]) -> None:
    import pyarrow
    import pyarrow.parquet

    cells = {name: [line.get(name) or None for line in lines] for name in columns}
    table = pyarrow.table(cells)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        pyarrow.parquet.write_table(table, file)


def row_cells(row: Row, *, folder: Path) -> dict[str, str]:
    """The cells of a table in `folder` that say more of `row` than the default would."""
    cells = {"path": _relative(row.path, folder=folder), "split": row.split, "group": row.group}
    cells |= dict(row.labels) if isinstance(row.labels, Mapping) else {LABEL: "|".join(row.labels)}
    if row.start_seconds:
        cells["start_seconds"] = repr(row.start_seconds)
    if row.end_seconds is not None:
        cells["end_seconds"] = repr(row.end_seconds)
    if row.audio_path is not None:
        cells["audio_path"] = _relative(row.audio_path, folder=folder)
    if row.id != default_id(cells["path"], row.start_seconds):
        cells["id"] = row.id
    return cells


def _relative(path: Path, *, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


# --- reading ------------------------------------------------------------------------------------


def _source(path: str, settings: DataSettings) -> Path:
    """The table or folder to read; a folder with a manifest gives the manifest."""
    if not path:
        raise ValueError("data.path is empty; give a folder of class folders or a manifest (.csv)")
    source = Path(os.path.abspath(Path(path).expanduser()))
    if not source.exists():
        raise FileNotFoundError(f"no file or folder {str(source)!r}.{nearest_path(source)}")
    if source.is_dir():
        tables = [source / name for name in TABLE_NAMES if (source / name).is_file()]
        found = tables[0] if tables else _index_in(source) or _metadata_in(source, settings)
        return found or source
    return source


def _metadata_in(folder: Path, settings: DataSettings) -> Path | None:
    labelled, columns = settings.task != UNLABELLED, parse_columns(settings.columns)
    return metadata_of(folder, columns=columns, labelled=labelled)


def _index_in(folder: Path) -> Path | None:
    """The index of a folder of shards."""
    if not (folder / ABOUT_NAME).is_file():
        return None
    if not (folder / INDEX_NAME).is_file():
        raise ValueError(
            f"the shards in {str(folder)!r} are not finished; complete them with the "
            "'sightsound prepare' that began them"
        )
    return folder / INDEX_NAME


def _records(source: Path, settings: DataSettings) -> list[Record]:
    """The clips that a table or folder names, as text."""
    labelled, columns = settings.task != UNLABELLED, parse_columns(settings.columns)
    if source.is_dir():
        read = class_folder_records if labelled else nested_records
        return list(read(source, columns))
    records = table_records(source, columns=columns, labelled=labelled)
    return joined(records, task=settings.task, path=source)


def _nothing_there(source: Path) -> str:
    if source.is_dir():
        suffixes = " ".join(sorted(SUFFIXES))
        return (
            packed_clips(source) or f"no file in it or below it has one of the suffixes {suffixes}"
        )
    return "the table has no rows below its header"


# --- rows ---------------------------------------------------------------------------------------


def _task(task: str, records: list[Record], *, source: Path) -> str:
    """The task asked for, or what the columns and cells say."""
    columns = records[0].cells
    if task == "auto":
        if set(HEADS) <= set(columns):
            return "heads"
        # In a folder a bar is part of the class name, in a table it separates names.
        several = source.is_file() and any("|" in record.cells[LABEL] for record in records)
        return "multi" if several else "single"
    if task not in TASKS:
        raise unknown_name("task", task, (*TASKS, "auto"))
    needed = HEADS if task == "heads" else (LABEL,)
    missing = [name for name in needed if name not in columns]
    if missing:
        raise ValueError(
            f"{source}: data.task is {task!r}, which needs the column {missing[0]!r}; "
            f"columns: {', '.join(columns)}"
        )
    return task


def _readable(records: list[Record], *, source: Path) -> str:
    """The task of labels that only the draw of splits looks at; none if a clip has no label."""
    if not has_labels(records[0].cells):
        return UNLABELLED
    task = _task("auto", records, source=source)
    heads = HEADS if task == "heads" else (LABEL,)
    complete = all(record.cells[head] for record in records for head in heads)
    return task if complete or task == "multi" else UNLABELLED


def _row(record: Record, *, folder: Path, task: str) -> Row:
    cells = record.cells
    if not cells["path"]:
        raise record.error("path is empty")
    start = _seconds(record, "start_seconds")
    end = _seconds(record, "end_seconds")
    if end is not None and end <= (start or 0.0):
        raise record.error(f"end_seconds {end:g} is not after start_seconds {start or 0:g}")
    split = cells.get("split", "")
    if not is_split(split):
        raise record.error(str(unknown_name("split", split, SPLITS)))
    audio_path = cells.get("audio_path")
    return Row(
        id=cells.get("id") or default_id(cells["path"], start or 0.0),
        path=located(folder, cells["path"]),
        labels=_labels(record, task=task),
        start_seconds=start or 0.0,
        end_seconds=end,
        split=split,
        audio_path=located(folder, audio_path) if audio_path else None,
        group=cells.get("group", ""),
    )


def _seconds(record: Record, column: str) -> float | None:
    text = record.cells.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise record.error(f"{column} is {text!r}; accepted: a number of seconds") from None
    if not 0 <= value < math.inf:
        raise record.error(f"{column} is {text}; accepted: a number of seconds, 0 or more")
    return value


def _labels(record: Record, *, task: str) -> tuple[str, ...] | dict[str, str]:
    if task == UNLABELLED:
        return ()
    if task == "heads":
        empty = [head for head in HEADS if not record.cells[head]]
        if empty:
            raise record.error(f"{empty[0]} is empty; every clip needs a verb and a noun")
        return {head: record.cells[head] for head in HEADS}
    text = record.cells[LABEL]
    if task == "single":
        if not text:
            raise record.error(
                "label is empty; name the class (for clips without any class: --data.task multi)"
            )
        return (text,)
    names = (name.strip() for name in text.split("|"))
    return tuple(dict.fromkeys(name for name in names if name))


def _check_unique(rows: list[Row], records: list[Record]) -> None:
    seen: dict[str, Record] = {}
    for row, record in zip(rows, records, strict=True):
        first = seen.setdefault(row.id, record)
        if first is not record:
            raise record.error(
                f"id {row.id!r} is already used at {first.place}; {_differ(first, record)}"
            )


def _differ(first: Record, second: Record) -> str:
    """What to do about two lines with one id."""
    names = [name for name, cell in second.cells.items() if cell != first.cells[name]]
    if {"path", "start_seconds", "end_seconds", "audio_path"}.isdisjoint(names):
        return f"they are of the same clip, but differ in {', '.join(names)}: leave one out"
    return "ids are unique: give start_seconds or a column id"


def _without(path: str, rows: list[Row], records: list[Record]) -> tuple[list[Row], list[Record]]:
    """What an exclude list leaves."""
    excluded = read_exclude(path, (row.id for row in rows))
    kept = [index for index, row in enumerate(rows) if row.id not in excluded]
    if not kept:
        raise ValueError(f"{path!r} excludes every one of the {len(rows)} clips")
    return [rows[index] for index in kept], [records[index] for index in kept]


def _stored(index: Index, rows: list[Row], records: list[Record]) -> tuple[list[Row], list[Record]]:
    """The clips that are in shards, with their paths there."""
    paths = index.paths()
    kept = [number for number, row in enumerate(rows) if row.id in paths]
    if not kept:
        raise ValueError(
            f"none of the clips in {str(index.path)!r} is in a shard; see quarantine.csv"
        )
    found = []
    for row in map(rows.__getitem__, kept):
        path, audio_path = paths[row.id]
        audio_path = audio_path if row.audio_path is not None else None
        stored = dataclasses.replace(row, path=path, audio_path=audio_path, original=row.path)
        found.append(stored)
    return found, [records[number] for number in kept]


def _check_files(rows: list[Row], records: list[Record]) -> None:
    missing = []
    for row, record in zip(rows, records, strict=True):
        paths = [path for path in (row.path, row.audio_path) if path is not None]
        missing += [(record, path) for path in paths if not exists(path)]
    if missing:
        record, path = missing[0]
        more = f" ({len(missing)} files are missing in all)" if len(missing) > 1 else ""
        raise record.error(
            f"file {str(path)!r} does not exist{more}.{nearest_path(path)} Paths are relative to "
            "the manifest; --data.bad_files drop leaves missing clips out"
        )


# --- order of classes ---------------------------------------------------------------------------


def _label_order(
    rows: list[Row],
    records: list[Record],
    *,
    task: str,
    folder: Path,
    given: Mapping[str, Sequence[str]] | None,
) -> dict[str, list[str]]:
    """{head: names}: given, from labels.json, or sorted; every label of the rows is in it."""
    heads = HEADS if task == "heads" else (LABEL,)
    order = given if given is not None else _labels_json(folder / "labels.json", heads=heads)
    if order is None:
        return {head: _sorted_names(rows, head=head) for head in heads}
    if set(order) != set(heads):
        raise ValueError(
            f"the order of classes is given for {', '.join(order)}, but the data's heads are "
            f"{', '.join(heads)}"
        )
    known = {head: frozenset(order[head]) for head in heads}
    for row, record in zip(rows, records, strict=True):
        for head in heads:
            for name in row.names(head):
                if name not in known[head]:
                    raise record.error(str(unknown_name(head, name, order[head])))
    return {head: list(order[head]) for head in heads}


def _sorted_names(rows: list[Row], *, head: str) -> list[str]:
    names = {name for row in rows for name in row.names(head)}
    numbers = all(name.isascii() and name.isdigit() for name in names)
    return sorted(names, key=(lambda name: (int(name), name)) if numbers else None)


def _labels_json(path: Path, *, heads: Sequence[str]) -> dict[str, list[str]] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    order = {heads[0]: content} if isinstance(content, list) else content
    lists = order.values() if isinstance(order, dict) else [None]
    for names in lists:
        if not isinstance(names, list) or len(set(map(str, names))) != len(names):
            raise ValueError(f"{path}: accepted: a list of distinct names, or {{head: list}}")
    return {head: [str(name) for name in names] for head, names in order.items()}


# --- splits -------------------------------------------------------------------------------------


def _with_splits(
    rows: list[Row],
    records: list[Record],
    *,
    listed: list[Row],
    source: Path,
    settings: DataSettings,
    seed: int,
    task: str,
) -> list[Row]:
    """Rows with a split each: named by the data, or drawn by group among all that are `listed`."""
    unnamed = [record for row, record in zip(rows, records, strict=True) if not row.split]
    if len(unnamed) == len(rows):
        folder = source if source.is_dir() else source.parent
        shares = {"val": settings.val_fraction, "test": settings.test_fraction}
        drawn = _of_classes_in_use(listed, rows)
        draws = {"seed": seed, "shares": shares, "folder": folder}
        if task == UNLABELLED:
            splits = _draw_unlabelled(drawn, by_group=not source.is_dir(), **draws)
        else:
            splits = draw_splits(drawn, **draws)
        by_id = {row.id: split for row, split in zip(drawn, splits, strict=True)}
        return [dataclasses.replace(row, split=by_id[row.id]) for row in rows]
    if unnamed:
        raise unnamed[0].error("split is empty, but other clips have one; name all or none")
    _check_trained(rows, task=task)
    return rows


def _draw_unlabelled(rows: list[Row], *, by_group: bool, **draws: Any) -> list[str]:
    """As with labels where there are some and that is possible; else over all clips.

    The sub-folders of those are groups only if there are classes.
    """
    if any(row.labels for row in rows):
        try:
            return draw_splits(rows, **draws)
        except TooFewGroups:  # the folders are not classes: `train` could not draw these either
            pass
    changes = {"labels": ("",)} | ({} if by_group else {"group": ""})
    return draw_splits([dataclasses.replace(row, **changes) for row in rows], **draws)


def _of_classes_in_use(listed: list[Row], rows: list[Row]) -> list[Row]:
    """Rows that take part in the draw: not those of a class that was excluded altogether."""
    if len(listed) == len(rows):
        return listed
    used = {name for row in rows for name in _all_names(row)}
    return [row for row in listed if used.issuperset(_all_names(row))]


def _all_names(row: Row) -> Iterable[object]:
    return row.labels.items() if isinstance(row.labels, Mapping) else row.labels


def _check_trained(rows: list[Row], *, task: str) -> None:
    """Every class of single-label data has a training clip, where there are training clips."""
    trained = {row.labels for row in rows if row.split == "train"} if task == "single" else set()
    if not trained:
        return
    numbers = Counter(row.labels for row in rows)
    for labels, number in numbers.items():
        if labels not in trained:
            clips = f"{number} clips, none" if number > 1 else "only one clip, which is not"
            raise ValueError(
                f"class {labels[0]!r} has {clips} in train; move clips to train or leave the class "
                "out"
            )
