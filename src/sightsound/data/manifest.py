"""Loads a manifest from a table or a folder of class folders, and checks it.

A folder that holds `manifest.csv` or `manifest.parquet` is read by it, or by Hugging Face's
`metadata.csv`; otherwise the folders are classes and splits (`folders.py`). Both give the same ids,
the path relative to the folder. Data that names no splits is split by group (by file where there is
no `group` column; by sub-folder of a class folder), the same for the same seed.

With `data.task` none, for pre-training, no label is needed or kept: a table may lack the column,
and clips may lie anywhere in a folder. Where there are labels, they still decide how splits are
drawn, so that pre-training and training hold the same clips out. Free of torch.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sightsound.config.settings import DataSettings
from sightsound.data.columns import COLUMNS, has_labels, is_known, parse_columns
from sightsound.data.exclude import read_exclude
from sightsound.data.folders import class_folder_records, located, nested_records, packed_clips
from sightsound.data.records import TABLE_NAMES, Record, joined, metadata_of, table_records
from sightsound.data.rows import (
    HEADS,
    LABEL,
    SPLITS,
    SUFFIXES,
    TASKS,
    UNLABELLED,
    Labels,
    Manifest,
    Row,
    default_id,
    in_order,
    is_split,
    label_pairs,
)
from sightsound.data.shards.index import ABOUT_NAME, INDEX_NAME, Index, is_index
from sightsound.data.splits import TooFewGroups, draw_splits
from sightsound.data.tables import open_table, read_text
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
    index = Index(source) if is_index(source) else None
    task = index.about["task"] if index and settings.task == "auto" else settings.task
    unlabelled = task == UNLABELLED
    task = _task(task, records, source=source)
    rows = [_row(record, folder=folder, task=task) for record in records]
    by_id = _by_id(rows, records)
    listed = rows
    if settings.exclude:
        excluded = read_exclude(settings.exclude, by_id)
        rows = [row for row in rows if row.id not in excluded]
        if not rows:
            raise ValueError(f"{settings.exclude!r} excludes every one of the {len(listed)} clips")
    num_excluded = len(listed) - len(rows)
    if index is not None:
        rows = _stored(index, rows)
    elif settings.bad_files == "error":
        _check_files(rows, by_id)
    heads = HEADS if task == "heads" else (LABEL,)
    order = {LABEL: []} if unlabelled else _label_order(rows, by_id, heads, folder, given=labels)
    if any(row.split for row in rows):
        for row in rows:
            if not row.split:
                problem = "split is empty, but other clips have one; name all or none"
                raise by_id[row.id].error(problem)
        if task == "single" and not unlabelled:
            _check_trained(rows)
    elif draw:
        rows = _with_drawn_splits(rows, listed, source, settings, seed=seed, unlabelled=unlabelled)
    if unlabelled:
        task, by_group = UNLABELLED, source.is_file()
        rows = [replace(row, labels=(), group=row.group if by_group else "") for row in rows]
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
        columns = own.columns
        if columns and not is_own:
            source = _source(data or "", DataSettings(columns=columns))
            wanted = {*parse_columns(columns).values()} - {""}
            if not source.is_file() or wanted - {*open_table(source, known=is_known).columns}:
                columns = ""
    if exclude is None:
        exclude = own.exclude if is_own else ""
    return replace(own, path=data or own.path, columns=columns, exclude=exclude, **changes)


def is_same_path(one: str, other: str) -> bool:
    """Whether two names, such as `../clips` and `/data/clips/`, are of one place."""
    return os.path.abspath(one) == os.path.abspath(other)


def write_manifest(manifest: Manifest | Sequence[Row], path: str | Path) -> None:
    """Write a table that `load_manifest` reads back; CSV or Parquet by the suffix of `path`.

    Files below the table's folder are written relative to it. The file appears at once, whole.
    """
    path = Path(path)
    rows = manifest.rows if isinstance(manifest, Manifest) else manifest
    lines = [row_cells(row, folder=path.absolute().parent) for row in rows]
    columns = [name for name in COLUMNS if any(line.get(name) for line in lines)]
    if path.suffix != ".parquet":
        chosen = ({name: line.get(name) for name in columns} for line in lines)
        write_whole(path, csv_text(chosen, columns))
        return
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({name: [line.get(name) or None for line in lines] for name in columns})
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
    """The table or folder to read: in a folder its manifest, index of shards or metadata."""
    if not path:
        raise ValueError("data.path is empty; give a folder of class folders or a manifest (.csv)")
    source = Path(os.path.abspath(Path(path).expanduser()))
    if not source.exists():
        raise FileNotFoundError(f"no file or folder {str(source)!r}.{nearest_path(source)}")
    if not source.is_dir():
        return source
    for name in TABLE_NAMES:
        if (source / name).is_file():
            return source / name
    if (source / ABOUT_NAME).is_file():
        if not (source / INDEX_NAME).is_file():
            raise ValueError(
                f"the shards in {str(source)!r} are not finished; complete them with the "
                "'sightsound prepare' that began them"
            )
        return source / INDEX_NAME
    labelled, columns = settings.task != UNLABELLED, parse_columns(settings.columns)
    return metadata_of(source, columns=columns, labelled=labelled) or source


def _records(source: Path, settings: DataSettings) -> list[Record]:
    """The clips that a table or folder names, as text; at least one."""
    labelled, columns = settings.task != UNLABELLED, parse_columns(settings.columns)
    if source.is_dir():
        read = class_folder_records if labelled else nested_records
        records = list(read(source, columns))
        suffixes = " ".join(sorted(SUFFIXES))
        missing = f"no file in it or below it has one of the suffixes {suffixes}"
    else:
        records = table_records(source, columns=columns, labelled=labelled)
        records = joined(records, task=settings.task, path=source)
        missing = "the table has no rows below its header"
    if not records:
        packed = packed_clips(source) if source.is_dir() else ""
        raise ValueError(f"no clips in {str(source)!r}: {packed or missing}")
    return records


def _task(task: str, records: list[Record], *, source: Path) -> str:
    """The task asked for, or what the columns and cells say.

    Without labels it is the task of those that only the draw of splits looks at, or none if a clip
    has none.
    """
    columns = records[0].cells
    if task == UNLABELLED:
        if not has_labels(columns):
            return UNLABELLED
        task = _task("auto", records, source=source)
        heads = HEADS if task == "heads" else (LABEL,)
        complete = all(record.cells[head] for record in records for head in heads)
        return task if complete or task == "multi" else UNLABELLED
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


def _labels(record: Record, *, task: str) -> Labels:
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


def _by_id(rows: list[Row], records: list[Record]) -> dict[str, Record]:
    """{id: record}: what to name in the errors of a row."""
    by_id: dict[str, Record] = {}
    for row, record in zip(rows, records, strict=True):
        first = by_id.setdefault(row.id, record)
        if first is record:
            continue
        names = [name for name, cell in record.cells.items() if cell != first.cells[name]]
        remedy = "ids are unique: give start_seconds or a column id"
        if {"path", "start_seconds", "end_seconds", "audio_path"}.isdisjoint(names):
            remedy = f"they are of the same clip, but differ in {', '.join(names)}: leave one out"
        raise record.error(f"id {row.id!r} is already used at {first.place}; {remedy}")
    return by_id


def _stored(index: Index, rows: list[Row]) -> list[Row]:
    """The clips that are in shards, with their paths there."""
    paths = index.paths()
    stored = []
    for row in rows:
        if row.id in paths:
            path, audio_path = paths[row.id]
            sound = audio_path if row.audio_path is not None else None
            stored.append(replace(row, path=path, audio_path=sound, original=row.path))
    if not stored:
        raise ValueError(
            f"none of the clips in {str(index.path)!r} is in a shard; see quarantine.csv"
        )
    return stored


def _check_files(rows: list[Row], by_id: Mapping[str, Record]) -> None:
    files = ((row, path) for row in rows for path in (row.path, row.audio_path))
    missing = [(row, path) for row, path in files if path is not None and not exists(path)]
    if missing:
        row, path = missing[0]
        more = f" ({len(missing)} files are missing in all)" if len(missing) > 1 else ""
        raise by_id[row.id].error(
            f"file {str(path)!r} does not exist{more}.{nearest_path(path)} Paths are relative to "
            "the manifest; --data.bad_files drop leaves missing clips out"
        )


# --- classes and splits -------------------------------------------------------------------------


def _label_order(
    rows: list[Row],
    by_id: Mapping[str, Record],
    heads: Sequence[str],
    folder: Path,
    *,
    given: Mapping[str, Sequence[str]] | None,
) -> dict[str, list[str]]:
    """{head: names}: given, from labels.json, or sorted; every label of the rows is in it."""
    order = given if given is not None else _labels_json(folder / "labels.json", heads=heads)
    if order is None:
        return {head: in_order(name for row in rows for name in row.names(head)) for head in heads}
    if set(order) != set(heads):
        raise ValueError(
            f"the order of classes is given for {', '.join(order)}, but the data's heads are "
            f"{', '.join(heads)}"
        )
    known = {head: frozenset(order[head]) for head in heads}
    for row in rows:
        for head, name in label_pairs(row.labels):
            if name not in known[head]:
                raise by_id[row.id].error(str(unknown_name(head, name, order[head])))
    return {head: list(order[head]) for head in heads}


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


def _with_drawn_splits(
    rows: list[Row],
    listed: list[Row],
    source: Path,
    settings: DataSettings,
    *,
    seed: int,
    unlabelled: bool,
) -> list[Row]:
    """Rows with splits that are drawn among all that are `listed`.

    Clips of a class that was excluded altogether do not take part. Without labels to learn, those
    that there are still decide, as in training, if that is possible; else any clip is like another,
    and sub-folders are no groups.
    """
    if len(listed) > len(rows):
        used = {pair for row in rows for pair in label_pairs(row.labels)}
        listed = [row for row in listed if used.issuperset(label_pairs(row.labels))]
    shares = {"val": settings.val_fraction, "test": settings.test_fraction}
    folder = source if source.is_dir() else source.parent
    draw = partial(draw_splits, seed=seed, shares=shares, folder=folder)
    splits: list[str] = []
    if not unlabelled or any(row.labels for row in listed):
        try:
            splits = draw(listed)
        except TooFewGroups:
            if not unlabelled:
                raise
    if not splits:
        by_group = source.is_file()
        alike = [replace(r, labels=("",), group=r.group if by_group else "") for r in listed]
        splits = draw(alike)
    by_id = {row.id: split for row, split in zip(listed, splits, strict=True)}
    return [replace(row, split=by_id[row.id]) for row in rows]


def _check_trained(rows: list[Row]) -> None:
    """Every class of single-label data has a training clip, where there are training clips."""
    trained = {name for row in rows if row.split == "train" for name in row.names(LABEL)}
    numbers = Counter(name for row in rows for name in row.names(LABEL))
    for name, number in numbers.items() if trained else ():
        if name not in trained:
            clips = f"{number} clips, none" if number > 1 else "only one clip, which is not"
            raise ValueError(
                f"class {name!r} has {clips} in train; move clips to train or leave the class out"
            )
