"""Kinetics-400/600/700 (Kay et al. 2017) and the Kinetics-Sounds subsets: one class per clip.

Tables: `label,youtube_id,time_start,time_end,split`, of Kinetics-400 with `is_cc`; its test table
has no labels. DeepMind's archives hold the same as JSON, `{id: {annotations, subset, ...}}`. Clips
are called `<id>_<start:06d>_<end:06d>`, in folders of classes or not. Lists of PySlowFast and
MMAction2: `path label`, `folder frames label`, no header, paths with blanks, several labels or one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

from sightsound.data.datasets.classes import class_names
from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    csv_rows,
    file_split,
    label_named,
    named_rows,
    read_json,
    seconds,
    split_named,
    text_lines,
    wrong_line,
)
from sightsound.data.datasets.path_lines import class_map, numbered, read_line
from sightsound.data.datasets.youtube_names import youtube_names
from sightsound.data.rows import SUFFIXES

_PATTERNS = (
    *(f"*{split}*.{kind}" for split in ("train", "val", "test") for kind in ("csv", "json", "txt")),
    "label_map*.txt",
)
_NEEDED = ("youtube_id", "time_start", "time_end")
_UNIQUE = re.compile(r"[\w-]{11}(_\d{6}_\d{6})?")  # a YouTube id, perhaps with the seconds


def kinetics(paths: Sequence[Path]) -> Listing:
    """train.csv or train.json, val.csv or val.json of Kinetics-400, -600 or -700 (its page, or the
    mirror of CVDF); or lists of PySlowFast or MMAction2, with one label or several, and, for the
    names of classes, label_map_k400.txt."""
    files = annotation_files(paths, *_PATTERNS)
    csvs = [file for file in files if file.suffix == ".csv"]
    tables = [file for file in csvs if "youtube_id" in next(csv_rows(file), (0, []))[1]]
    tables += [file for file in files if file.with_suffix(".csv") not in tables and _is_json(file)]
    others = [
        file for file in files if file not in tables and file.with_suffix(".csv") not in tables
    ]
    maps = {file: class_map(file) for file in others}
    order = next((list(map(_plain, names)) for names in maps.values() if names), None)
    notes: list[str] = []
    lists = [file for file, names in maps.items() if names is None]
    if lists and order is None:
        order = numbered(lists, counts_frames=True)
        notes.append("classes have numbers for names; a label map, given as well, names them")
    listing = Listing((), {"label": order} if order else None, notes)
    listing.clips = chain(
        *((_json_clips if f.suffix == ".json" else _table_clips)(f, notes) for f in tables),
        *(_list_clips(file, order or []) for file in lists),
    )
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


# --- tables -------------------------------------------------------------------------------------


def _table_clips(path: Path, notes: list[str]) -> Iterator[Clip]:
    for number, cells in named_rows(path, *_NEEDED):
        if "label" not in cells:
            notes.append(f"{path.name} has no labels and is left out")
            return
        split = split_named(cells.get("split", "")) or file_split(path)
        video = cells["youtube_id"]
        start, end = seconds(path, number, cells["time_start"], cells["time_end"])
        names = youtube_names(video, start, end)
        label = _plain(label_named(path, number, cells["label"]))
        yield Clip(names[0], (label,), split, names, video, start, end)


def _plain(label: str) -> str:
    return label.strip('" ').replace("_", " ")


# --- JSON ---------------------------------------------------------------------------------------


def _is_json(path: Path) -> bool:
    """Whether `path` is DeepMind's {id: {annotations, subset, ...}}, not a map of classes."""
    if path.suffix.lower() != ".json":
        return False
    content = read_json(path)
    entries = list(content.values()) if isinstance(content, dict) else []
    return bool(entries) and all(isinstance(each, dict) and "subset" in each for each in entries)


def _json_clips(path: Path, notes: list[str]) -> Iterator[Clip]:
    unlabelled = 0
    for video, entry in read_json(path).items():
        if not entry.get("annotations"):  # the test of the challenge
            unlabelled += 1
            continue
        try:
            label, (first, last) = entry["annotations"]["label"], entry["annotations"]["segment"]
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"{path}, {video!r}: expected annotations with a label and a segment [start, end]"
            ) from None
        start, end = seconds(path, repr(video), str(first), str(last))
        split = split_named(str(entry["subset"])) or file_split(path)
        names = youtube_names(video, start, end)
        label = _plain(label_named(path, repr(video), str(label)))
        yield Clip(names[0], (label,), split, names, video, start, end)
    if unlabelled:
        notes.append(f"{unlabelled} clips of {path.name} have no labels and are left out")


# --- lists --------------------------------------------------------------------------------------


def _list_clips(path: Path, order: list[str]) -> Iterator[Clip]:
    split = file_split(path)
    for number, text in text_lines(path):
        line = read_line(text, counts_frames=True)
        known = line and all(each.isdigit() and int(each) < len(order) for each in line.labels)
        if not line or not line.labels or not known:
            raise wrong_line(path, number, f"expected a path and one of {len(order)} class numbers")
        stem, suffix = os.path.splitext(line.path)
        name = PurePosixPath(stem if suffix.lower() in (*SUFFIXES, ".npy") else line.path)
        unique = (name.name,) if _UNIQUE.fullmatch(name.name) else ()  # in any folder
        names = ("/".join(name.parts[-2:]).lstrip("/"), *unique)
        files = (line.path,) if os.path.isabs(line.path) else ()
        labels = tuple(order[int(label)] for label in line.labels)
        yield Clip(str(name), labels, split, names, files=files)
