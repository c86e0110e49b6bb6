"""Folders of Hugging Face's `videofolder` and `audiofolder`: metadata.csv or metadata.jsonl.

`file_name` is relative to the metadata file; a metadata file in train/, validation/ or test/ speaks
of that split. A list of labels, or a list in `labels`, means several per clip.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    folder_split,
    named_rows,
    split_named,
    text_lines,
    wrong_line,
)

_PATTERNS = ("metadata.csv", "metadata.jsonl", "*/metadata.csv", "*/metadata.jsonl")
_LABELS = ("label", "labels", "category", "class")
_FILES = ("file_name", "video_file_name", "audio_file_name")


def huggingface(paths: Sequence[Path]) -> Listing:
    """metadata.csv or metadata.jsonl with file_name and label, one for each of train/, validation/
    and test/, or one with a column split; or the folder that holds them."""
    files = annotation_files(paths, *_PATTERNS)
    return Listing(clip for file in files for clip in _clips(file))


def _clips(path: Path) -> Iterator[Clip]:
    folder, beside = path.absolute().parent, folder_split(path)
    for number, cells in _entries(path):
        names = [str(cells[column]) for column in _FILES if cells.get(column)]
        labels = next((cells[column] for column in _LABELS if column in cells), None)
        if not names or labels in (None, ""):
            raise wrong_line(
                path, number, f"expected file_name and {', '.join(_LABELS[:-1])} or {_LABELS[-1]}"
            )
        several = labels if isinstance(labels, list) else [labels]
        if not all(isinstance(label, str | int) and str(label).strip() for label in several):
            raise wrong_line(path, number, f"label {labels!r}; accepted: a name, a number, a list")
        files = tuple(os.path.join(folder, name) for name in names)
        stem = os.path.splitext(names[0])[0].removeprefix("./")
        split = split_named(str(cells.get("split") or "")) or beside
        clip_id = f"{beside}/{stem}" if beside else stem
        found = tuple(dict.fromkeys(str(label).strip() for label in several))
        yield Clip(clip_id, found, split, (f"{folder.name}/{stem}",), files=files)


def _entries(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix == ".csv":
        yield from named_rows(path)
        return
    for number, line in text_lines(path):
        try:
            cells = json.loads(line)
        except ValueError as error:
            raise wrong_line(path, number, f"not JSON: {error}") from error
        if not isinstance(cells, dict):
            raise wrong_line(path, number, "expected an object with file_name and label")
        yield number, cells
