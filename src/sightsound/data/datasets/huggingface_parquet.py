"""Parquet tables of Hugging Face whose clips are embedded: read in place, nothing is unpacked.

A column `video` or `audio` holds `{bytes, path}`; `label` is a number of the class names in the
table's schema, or a name. A clip is called `train-00000-of-00002.parquet/video/17.mp4`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    folder_split,
    split_named,
)
from sightsound.data.datasets.media_index import is_sound
from sightsound.data.rows import SUFFIXES
from sightsound.media.source import open_table

_LARGE_BYTES = 64 << 20  # more than `media.source` keeps
_LABELS = ("label", "labels", "category", "class")


def huggingface_parquet(paths: Sequence[Path]) -> Listing:
    """Parquet tables with clips in a column {bytes, path} and label or labels, or their folder:
    what the Hub converts data sets to. The split is in the name of a table or its folder; --media
    is not needed."""
    files = annotation_files(paths, "*.parquet", "*/*.parquet", packed=True)
    try:
        tables = {file: open_table(file) for file in files}
    except OSError as error:
        raise ValueError(str(error)) from error
    names = [_class_names(table) for table in tables.values()]
    order = next((each for each in names if each), None)
    clips = (clip for file, table in tables.items() for clip in _clips(file, table, order))
    sizes = [
        table.metadata.row_group(index).total_byte_size
        for table in tables.values()
        for index in range(table.num_row_groups)
    ]
    notes = []
    if max(sizes, default=0) > _LARGE_BYTES:
        notes = [
            f"groups of rows have up to {max(sizes) >> 20} MB, of which half is read for every "
            "clip; 'sightsound prepare' makes shards that are read faster"
        ]
    return Listing(clips, {"label": order} if order else None, notes)


def _clips(path: Path, table: Any, order: list[str] | None) -> Iterator[Clip]:
    embedded, label = _columns(path, table)
    split = folder_split(path) or split_named(path.stem)
    stem = f"{folder_split(path)}/{path.stem}".lstrip("/")
    columns = [label, *(f"{name}.path" for name in embedded)]
    number = 0
    for group in range(table.num_row_groups):
        rows = table.read_row_group(group, columns=columns, use_threads=False).to_pylist()
        held = {name: _held(table, group, name) for name in embedded}
        for index, cells in enumerate(rows):
            labels = _names(cells[label], order, place=f"{path}, row {number}")
            paths = {name: (cells[name] or {}).get("path") or "" for name in embedded}
            inside = [name for name, has in held.items() if has is None or has[index]]
            files = [_inside(path, name, number, paths[name]) for name in inside]
            apart = [PurePosixPath(paths[name]).stem for name in embedded if name not in inside]
            names = tuple(name for name in apart if name)
            yield Clip(f"{stem}/{number}", labels, split, names, files=tuple(files))
            number += 1


def _columns(path: Path, table: Any) -> tuple[list[str], str]:
    """The columns with clips, pictures first, and the one with labels."""
    kinds = {field.name: field.type for field in table.schema_arrow}
    embedded = [name for name, kind in kinds.items() if _holds_clips(kind)]
    label = next((name for name in _LABELS if name in kinds), None)
    if not embedded or label is None:
        raise ValueError(
            f"{path}: columns {', '.join(kinds)}; needed: one of clips, {{bytes, path}}, and "
            f"{', '.join(_LABELS[:-1])} or {_LABELS[-1]}"
        )
    return sorted(embedded, key=lambda name: "audio" in name), label


def _holds_clips(kind: Any) -> bool:
    import pyarrow

    inner = {kind[i].name for i in range(kind.num_fields)} if pyarrow.types.is_struct(kind) else ()
    return {"bytes", "path"} <= set(inner)


def _held(table: Any, group: int, column: str) -> list[bool] | None:
    """Which rows of a group have bytes; `None`: all have, as its statistics say."""
    about = table.metadata.row_group(group)
    parts = map(about.column, range(about.num_columns))
    part = next(part for part in parts if part.path_in_schema == f"{column}.bytes")
    if part.statistics is not None and part.statistics.null_count == 0:
        return None
    import pyarrow.compute

    cells = table.read_row_group(group, columns=[f"{column}.bytes"], use_threads=False)
    return pyarrow.compute.struct_field(cells[column], "bytes").is_valid().to_pylist()


def _inside(path: Path, column: str, row: int, name: str) -> str:
    """What the clip in a cell is called, with the suffix of the file that it was."""
    suffix = os.path.splitext(name)[1].lower()
    usual = ".wav" if "audio" in column else ".mp4"
    right = suffix in SUFFIXES and is_sound(suffix) == ("audio" in column)
    return str(path.absolute() / column / f"{row}{suffix if right else usual}")


def _names(value: Any, order: list[str] | None, *, place: str) -> tuple[str, ...]:
    several = value if isinstance(value, list) else [value]
    if not several or not all(isinstance(each, str | int) and each != "" for each in several):
        raise ValueError(f"{place}: label {value!r}; accepted: a name, a number, a list of them")
    try:
        found = [order[each] if order and isinstance(each, int) else str(each) for each in several]
    except IndexError:
        raise ValueError(f"{place}: label {value!r} of {len(order or ())} classes") from None
    return tuple(dict.fromkeys(found))


def _class_names(table: Any) -> list[str] | None:
    """The names that the schema gives the class numbers, `{"info": {"features": {...}}}`."""
    about = (table.schema_arrow.metadata or {}).get(b"huggingface")
    features = json.loads(about).get("info", {}).get("features", {}) if about else {}
    for name in _LABELS:
        kind = features.get(name, {})
        kind = kind.get("feature", kind) if isinstance(kind, dict) else {}
        if isinstance(kind, dict) and kind.get("names"):
            return list(map(str, kind["names"]))
    return None
