"""Kinetics-400/600/700 (Kay et al. 2017) and the Kinetics-Sounds subsets: one class per clip.

Tables: `label,youtube_id,time_start,time_end,split`, of Kinetics-400 with `is_cc`; its test table
has no labels. Clips are called `<id>_<start:06d>_<end:06d>`, in folders of classes or not. Lists of
PySlowFast and MMAction2: `path label`, `folder frames label`, no header, paths with blanks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from sightsound.data.classes import class_names
from sightsound.data.listing import (
    Clip,
    Listing,
    annotation_files,
    csv_rows,
    file_split,
    named_rows,
    read_json,
    seconds,
    split_named,
    text_lines,
    wrong_line,
    youtube_names,
)
from sightsound.data.rows import SUFFIXES

_PATTERNS = (
    *(f"*{split}*.{kind}" for split in ("train", "val", "test") for kind in ("csv", "txt")),
    "label_map*.txt",
)
_NEEDED = ("youtube_id", "time_start", "time_end")
_UNIQUE = re.compile(r"[\w-]{11}(_\d{6}_\d{6})?")  # a YouTube id, perhaps with the seconds
_LIST_LINE = re.compile(r"(?P<path>.+?)(?:[ ,\t]\d+)?[ ,\t](?P<label>\d+)")


def kinetics(paths: Sequence[Path]) -> Listing:
    """train.csv, val.csv of Kinetics-400, -600 or -700 (its page, or the mirror of CVDF); or lists
    of PySlowFast or MMAction2 and, for the names of classes, label_map_k400.txt."""
    files = annotation_files(paths, *_PATTERNS)
    tables = [file for file in files if _is_table(file)]
    maps = {file: _label_map(file) for file in files if file not in tables}
    order = next((names for names in maps.values() if names), None)
    notes: list[str] = []
    lists = [file for file, names in maps.items() if not names]
    if lists and order is None:
        order = _numbered(lists)
        notes.append("classes have numbers for names; a label map, given as well, names them")
    listing = Listing((), {"label": order} if order else None, notes)
    listing.clips = _all_clips(tables, lists, order or [], notes)
    return listing


def kinetics_sounds_31(paths: Sequence[Path]) -> Listing:
    """The same files; the 31 classes of AdaMML."""
    return _only(kinetics(paths), "kinetics-sounds-31")


def kinetics_sounds_32(paths: Sequence[Path]) -> Listing:
    """The same files; the 32 classes of CrissCross."""
    return _only(kinetics(paths), "kinetics-sounds-32")


def kinetics_sounds_34(paths: Sequence[Path]) -> Listing:
    """The same files; the 34 classes of Look, Listen and Learn, seven of them under names that
    Kinetics does not have."""
    return _only(kinetics(paths), "kinetics-sounds-34")


def _only(listing: Listing, name: str) -> Listing:
    """The clips whose class is in the list called `name`, in its order of classes."""
    names = class_names(name)
    clips, known = listing.clips, frozenset(names)
    listing.clips = (clip for clip in clips if known.issuperset(clip.labels))
    listing.labels = {"label": names}
    listing.notes.append(f"classes: list {name} (recipes/classes/README.md tells where it is from)")
    return listing


def _all_clips(
    tables: list[Path], lists: list[Path], order: list[str], notes: list[str]
) -> Iterator[Clip]:
    for file in tables:
        yield from _table_clips(file, notes)
    for file in lists:
        yield from _list_clips(file, order)


# --- tables -------------------------------------------------------------------------------------


def _is_table(path: Path) -> bool:
    return path.suffix == ".csv" and "youtube_id" in next(csv_rows(path), (0, []))[1]


def _table_clips(path: Path, notes: list[str]) -> Iterator[Clip]:
    for number, cells in named_rows(path, *_NEEDED):
        if "label" not in cells:
            notes.append(f"{path.name} has no labels and is left out")
            return
        split = split_named(cells.get("split", "")) or file_split(path)
        video = cells["youtube_id"]
        start, end = seconds(path, number, cells["time_start"], cells["time_end"])
        names = youtube_names(video, start, end)
        yield Clip(names[0], (_plain(cells["label"]),), split, names, video, start, end)


def _plain(label: str) -> str:
    return label.strip('" ').replace("_", " ")


# --- lists --------------------------------------------------------------------------------------


def _label_map(path: Path) -> list[str]:
    """The class names in `path`, JSON {name: number} or one per line; nothing if it lists clips."""
    if path.suffix == ".json":
        numbers = read_json(path)
        return [_plain(name) for name in sorted(numbers, key=numbers.__getitem__)]
    lines = [line.strip() for _, line in text_lines(path)]
    listed = any(_LIST_LINE.fullmatch(line) for line in lines)
    return [] if listed else [_plain(line) for line in lines]


def _numbered(lists: list[Path]) -> list[str]:
    found = [_LIST_LINE.fullmatch(line.strip()) for file in lists for _, line in text_lines(file)]
    return [f"class_{index:03d}" for index in range(1 + max(int(m["label"]) for m in found if m))]


def _list_clips(path: Path, order: list[str]) -> Iterator[Clip]:
    split = file_split(path)
    for number, line in text_lines(path):
        found = _LIST_LINE.fullmatch(line.strip())
        if not found or int(found["label"]) >= len(order):
            raise wrong_line(path, number, f"expected a path and one of {len(order)} class numbers")
        name = PurePosixPath(_without_suffix(found["path"]))
        unique = (name.name,) if _UNIQUE.fullmatch(name.name) else ()  # in any folder
        names = ("/".join(name.parts[-2:]).lstrip("/"), *unique)
        files = (found["path"],) if os.path.isabs(found["path"]) else ()
        label = order[int(found["label"])]
        yield Clip(str(name), (label,), split, names, files=files)


def _without_suffix(path: str) -> str:
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in (*SUFFIXES, ".npy") else path
