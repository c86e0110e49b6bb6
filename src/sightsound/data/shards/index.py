"""The index of a folder of shards: a table of all clips, those that could not be read included.

Its columns are those of a manifest, then `shard`, `key`, `offset`, `size` and `json_size`, and
whether frames were `left_out` and pictures `reduced`; they are empty where a clip is in no shard.
Such clips take part where splits are drawn, so that splits are those of the files that shards were
made from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sightsound.data.rows import HEADS, LABEL
from sightsound.data.shards.format import END, SOUND_SUFFIX, VERSION, key_name
from sightsound.files import atomic_file
from sightsound.media.front_end import AS_BEFORE

INDEX_NAME = "index.parquet"
ABOUT_NAME = "shards.json"
LABELS_NAME = "labels.json"
POORER = ("left_out", "reduced")  # frames that are not stored; pictures stored smaller
_NUMBERS = ("key", "offset", "size", "json_size")
_SECONDS = ("start_seconds", "end_seconds")


@dataclass(frozen=True)
class Index:
    """What an `index.parquet` says, read when it is asked for."""

    path: Path

    @cached_property
    def about(self) -> dict[str, Any]:
        """`shards.json`: version, task and settings."""
        return read_about(self.path.with_name(ABOUT_NAME))

    @cached_property
    def places(self) -> dict[str, np.ndarray]:
        """{"key", "offset", "json_size": (N,) int64} of the stored clips, in order of `key`."""
        import pyarrow.parquet

        columns = ["key", "offset", "json_size"]
        table = pyarrow.parquet.read_table(self.path, columns=columns)
        table = table.filter(table["key"].is_valid()).sort_by("key")
        return {name: table[name].to_numpy() for name in columns}

    def poorer(self) -> frozenset[str]:
        """What of `POORER` holds of some clip, or may hold because an old index does not say."""
        import pyarrow.parquet

        noted = set(POORER) & set(pyarrow.parquet.read_schema(self.path).names)
        table = pyarrow.parquet.read_table(self.path, columns=["key", *sorted(noted)])
        table = table.filter(table["key"].is_valid()).drop(["key"])
        whole = {name for name in noted if table[name].unique().to_pylist() == [False]}
        return frozenset(POORER) - whole

    def paths(self) -> dict[str, tuple[Path, Path]]:
        """{id: where the pictures and the sound of a stored clip are}, as if shards were folders.

        Raises:
            ValueError: a shard is missing or too short.
        """
        import pyarrow.parquet

        columns = ["id", "shard", "key", "offset", "size"]
        table = pyarrow.parquet.read_table(self.path, columns=columns)
        rows = table.filter(table["key"].is_valid()).to_pylist()
        folder = self.path.parent
        _check_files(folder, rows)
        names = ((row["id"], folder / row["shard"] / key_name(row["key"])) for row in rows)
        return {name: (path, path.with_suffix(SOUND_SUFFIX)) for name, path in names}


def read_about(file: Path) -> dict[str, Any]:
    """What a `shards.json` says, with settings that came later as they were before.

    Raises:
        ValueError: it is damaged or of a later version.
    """
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        version = [about[name] for name in ("version", "task", "num_clips", "settings")][0]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{str(file)!r} is damaged; copy it again, or make the shards again in "
            "another folder with 'sightsound prepare'"
        ) from error
    before = {name: old for fields in AS_BEFORE.values() for name, old in fields.items()}
    about["settings"] = before | about["settings"]
    if version > VERSION:
        raise ValueError(
            f"{str(file)!r} is of version {version}, this program reads {VERSION}: "
            "install a newer sightsound"
        )
    return about


def is_index(path: Path) -> bool:
    """True if `path` is the index of shards, and not some other table."""
    return path.name == INDEX_NAME and path.with_name(ABOUT_NAME).is_file()


def write_index(path: Path, rows: Sequence[Mapping[str, Any]], *, task: str) -> None:
    """Write the table, whole or not at all; `rows` {column: value, `None` or missing if empty}."""
    import pyarrow
    import pyarrow.parquet

    labels = HEADS if task == "heads" else (LABEL,)
    kinds = {"path": "string", **dict.fromkeys(labels, "string")}
    kinds |= dict.fromkeys(_SECONDS, "double")
    kinds |= dict.fromkeys(("split", "id", "audio_path", "group", "shard"), "string")
    kinds |= dict.fromkeys(_NUMBERS, "int64") | dict.fromkeys(POORER, "bool")
    schema = pyarrow.schema([(n, pyarrow.type_for_alias(kind)) for n, kind in kinds.items()])
    table = pyarrow.Table.from_pylist([dict(row) for row in rows], schema=schema)
    with atomic_file(path) as file:
        pyarrow.parquet.write_table(table, file)


def _check_files(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    ends: dict[str, int] = {}
    for row in rows:
        ends[row["shard"]] = max(ends.get(row["shard"], 0), row["offset"] + row["size"])
    for name, end in ends.items():
        file, needed = folder / name, end + len(END)
        if not file.is_file():
            raise ValueError(f"shard {str(file)!r} is missing; copy it again, or {_AGAIN}")
        if file.stat().st_size < needed:
            raise ValueError(
                f"shard {str(file)!r} is truncated: {file.stat().st_size} bytes of {needed}; copy "
                f"it again, or {_AGAIN}"
            )


_AGAIN = "make it again: the 'sightsound prepare' that wrote the folder does just that"
