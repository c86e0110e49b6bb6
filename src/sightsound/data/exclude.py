"""Reads lists of clips to leave out, such as `sightsound doctor` writes. Free of torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from sightsound.data.tables import read_text
from sightsound.registry import nearest_path


def read_exclude(path: str | Path, ids: Iterable[str]) -> frozenset[str]:
    """Those of `ids` that a list names: a CSV with a column id, or one id per line.

    Ids that are not in the data do not matter, for a list may serve several parts of a set.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the list names ids, but none of the data; or it is not text.
    """
    path, ids = Path(path), set(ids)
    if not path.is_file():
        raise FileNotFoundError(f"no exclude list {str(path)!r}.{nearest_path(path)}")
    text = read_text(path)
    rows = list(csv.reader(io.StringIO(text, newline="")))
    columns = [name.strip() for name in rows[0]] if rows else []
    if "id" in columns:
        position = columns.index("id")
        cells = [row[position] for row in rows[1:] if len(row) > position]
    else:
        cells = text.splitlines()
    listed = {cell.strip() for cell in cells} - {""}
    excluded = ids & listed
    if listed and not excluded:
        raise ValueError(
            f"{str(path)!r} excludes {min(listed)!r}, but it names no clip of the data, whose ids "
            f"look like {min(ids, default='')!r}; accepted: a CSV with a column id, or one id per "
            "line"
        )
    return frozenset(excluded)
