"""Folders of clips: the folders are the classes, perhaps below a level of splits. Free of torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sightsound.data.records import TABLE_NAMES, Record
from sightsound.data.rows import LABEL, SPLITS, SUFFIXES


def class_folder_records(folder: Path) -> Iterator[Record]:
    """Clips of class folders, with or without a level of splits above them."""
    top = _subfolders(folder)
    if not top:
        _check_no_clips(folder)
        raise ValueError(
            f"no clips in {str(folder)!r}: expected a folder for each class with its clips "
            f"(such as .mp4), or {' or '.join(TABLE_NAMES)}"
        )
    named = {entry.name for entry in top} <= set(SPLITS)
    levels = [(entry, entry.name) for entry in top] if named else [(folder, "")]
    _check_no_clips(folder)
    for level, split in levels:
        _check_no_clips(level)
        for class_folder in _subfolders(level):
            yield from _class_records(class_folder, folder=folder, split=split)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _is_clip(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _check_no_clips(folder: Path) -> None:
    stray = sorted(path.name for path in folder.iterdir() if path.is_file() and _is_clip(path))
    if stray:
        raise ValueError(
            f"{stray[0]!r} lies directly in {str(folder)!r}, outside any class folder; move clips "
            "into folders named after their classes, or write a manifest"
        )


def walk(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Every folder below one, itself included, with its files, in order.

    Left out are folders with a dot in front and links to a folder around them, which have no end.

    Raises:
        PermissionError: a folder may not be read.
    """
    for directory, subfolders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        here = Path(directory)
        subfolders[:] = sorted(n for n in subfolders if n[0] != "." and not _is_loop(here / n))
        yield here, sorted(here / name for name in names)


def _is_loop(path: Path) -> bool:
    return path.is_symlink() and any(path.samefile(above) for above in path.parents)


def _refuse(error: OSError) -> None:
    raise error


def _class_records(class_folder: Path, *, folder: Path, split: str) -> Iterator[Record]:
    """Clips below one class folder; those in one of its sub-folders form a group."""
    empty = True
    for directory, paths in walk(class_folder):
        group = directory.relative_to(folder).as_posix()
        for path in paths:
            if _is_clip(path):
                empty = False
                cells = {"path": path.relative_to(folder).as_posix(), "split": split}
                cells |= {LABEL: class_folder.name}
                cells |= {"group": group} if directory != class_folder else {}
                yield Record(str(path), cells)
    if empty:
        raise ValueError(
            f"class folder {str(class_folder)!r} holds no clips; accepted suffixes: "
            f"{' '.join(sorted(SUFFIXES))}. Remove the folder or add clips"
        )


def nested_records(folder: Path) -> Iterator[Record]:
    """All clips of a folder; those that lie like in class folders get their label and group."""
    top = _subfolders(folder)
    named = bool(top) and {entry.name for entry in top} <= set(SPLITS)
    for directory, paths in walk(folder):
        inside = directory.relative_to(folder).parts
        split = inside[0] if named and inside else ""
        classes = inside[1:] if split else inside
        for path in filter(_is_clip, paths):
            cells = {"path": path.relative_to(folder).as_posix(), "split": split}
            cells |= {LABEL: classes[0] if classes else ""}
            cells |= {"group": "/".join(inside)} if len(classes) > 1 else {}
            yield Record(str(path), cells)
