"""Reads folders of clips: folders are classes, perhaps above or below a level of splits.

Folders without clips may lie beside splits, and so may anything that this program wrote. Free of
torch.
"""

from __future__ import annotations

import functools
import logging
import os
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sightsound.data.records import TABLE_NAMES, Record, metadata_of, table_records
from sightsound.data.rows import LABEL, SUFFIXES
from sightsound.data.splits import (
    look_like_parts,
    look_like_splits,
    split_like,
    splits_named,
)

OTHER_SUFFIXES = frozenset(  # of files beside clips that nobody takes for clips
    ".bak .bib .bmp .bz2 .cfg .ckpt .csv .db .doc .docx .gif .gz .h5 .htm .html .ini .ipynb .jpeg "
    ".jpg .json .jsonl .log .mat .md .npy .npz .odt .onnx .parquet .part .pdf .pickle .pkl .png "
    ".ppt .pptx .pt .pth .py .rar .rst .safetensors .sh .sqlite .srt .ssa .svg .tar .tex .tif "
    ".tiff .tmp .toml .tsv .txt .vtt .webp .xls .xlsx .xml .yaml .yml .zip .zst".split()
)
_GENERAL = frozenset("data dataset datasets video videos clips media audio files raw".split())
_RENAME = (
    "call splits train, val and test (or training, valid, validation, dev, testing, eval), or "
    "write a manifest with a column split"
)
OUTPUT_MARK = ".sightsound"  # an empty file in a folder that is written to while clips are read
FILM = ".film.mp4"  # how films of `explain --video` end; the numbers behind them lie beside them
_BESIDE_FILMS = frozenset({"maps.json", "contributions.json"})
_GENERATED = (  # files and folders in a generated data set
    {"synthetic.json", "truth.csv"},
    {"new_clip.mp4", "clips", "run"},  # demo
)
_OUTPUTS = (  # files in a folder that this program wrote
    *_GENERATED,
    {"config.yaml", "environment.json"},  # a run
    {"config.json", "model.safetensors"},
    {"shards.json"},
    {"summary.json", "predictions.csv"},  # an evaluation
    {"findings.csv", "report.html"},  # of doctor
    {"maps.json", "maps.csv"},  # of explain
    {"contributions.csv", "contributions.json"},
    {"timeline.csv", "settings.json"},
    {"comparison.json"},
    {"probe.json"},
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """How the folders of a data set are to be read."""

    base: Path  # the folder whose folders are splits or classes
    splits: dict[str, str]  # {name of a folder: split}; empty: no folder is a split
    classes_above: bool = False  # class/split/clip, not split/class/clip
    beside: tuple[Path, ...] = ()  # folders of that level without clips

    def cells(self, directory: Path) -> dict[str, str]:
        """Split, label and group of clips in `directory`; empty where there is none."""
        inside = directory.relative_to(self.base).parts if directory != self.base else ()
        classes = list(inside)
        level = int(self.classes_above)
        split = ""
        if self.splits and len(classes) > level:
            split = self.splits.get(classes.pop(level), "")
        label = classes[0] if classes else ""
        return {"split": split, LABEL: label, "group": "/".join(inside) if classes[1:] else ""}


# --- how folders are to be read -----------------------------------------------------------------


def layout(folder: Path, *, labelled: bool = True) -> Layout:
    """What the folders in `folder` are, by their names and by where clips lie.

    Raises:
        ValueError: folders look like splits, but cannot be taken for them.
    """
    held = _subfolders_with_clips(folder)
    names = [path.name for path in held]
    beside = tuple(path for path in _subfolders(folder) if path not in held)
    splits = splits_named(names)
    if splits and not _is_class(held, splits):
        _check_splits(folder, held, splits)
        return Layout(folder, splits, beside=beside)
    inner = _level_below(folder, held, labelled=labelled)
    if inner is not None:
        return replace(inner, beside=inner.beside + beside)
    if labelled and (look_like_splits(names) or look_like_parts(names)):
        shown = ", ".join(names[:4])
        raise ValueError(f"{shown} in {str(folder)!r} look like splits, not classes: {_RENAME}")
    below = _splits_below(held, labelled=labelled)
    return Layout(folder, below, classes_above=bool(below), beside=beside)


def _is_class(held: Sequence[Path], splits: dict[str, str]) -> bool:
    """Whether one folder with the name of a split is a class: trains, beside cars and buses."""
    others = [path.name for path in held if path.name not in splits]
    if len(splits) > 1 or not others or any(split_like(name) for name in others):
        return False
    (named,) = (path for path in held if path.name in splits)
    if not _clips_in(named):
        return False
    _log.warning("%s is taken for a class, like %s beside it", named, ", ".join(others[:3]))
    return True


def _check_splits(folder: Path, held: Sequence[Path], splits: dict[str, str]) -> None:
    others = [path.name for path in held if path.name not in splits]
    if others:
        raise ValueError(
            f"{', '.join(splits)} in {str(folder)!r} look like splits, but {others[0]!r} beside "
            f"them holds clips, too: move it elsewhere, {_RENAME}"
        )
    for name, split in splits.items():
        twice = [other for other in splits if other != name and splits[other] == split]
        if twice:
            raise ValueError(
                f"{name!r} and {twice[0]!r} in {str(folder)!r} are two names of one split "
                f"({split}): put their clips together, or rename one, or write a manifest with a "
                "column split"
            )


def _level_below(folder: Path, held: Sequence[Path], *, labelled: bool) -> Layout | None:
    """The layout of the only folder with clips, if that is but a level above the data."""
    if len(held) != 1 or _clips_in(folder) or _clips_in(held[0]):
        return None
    below = _subfolders_with_clips(held[0])
    named = splits_named(path.name for path in below)
    holding = any(path.name in named and not _clips_in(path) for path in below)
    if held[0].name.casefold() in _GENERAL or holding:
        return layout(held[0], labelled=labelled)
    return _level_below(held[0], below, labelled=labelled)


def _splits_below(held: Sequence[Path], *, labelled: bool) -> dict[str, str]:
    """Splits in the class folders: all folders in them, of all of them, are."""
    below = {path: _subfolders_with_clips(path) for path in held}
    names = {p.name for paths in below.values() for p in paths}
    splits = splits_named(names)
    if not splits:
        return {}
    complete = all(paths and not _clips_in(path) for path, paths in below.items())
    flat = all(_clips_in(p) for paths in below.values() for p in paths)
    if complete and flat and splits.keys() == names:
        for path, paths in below.items():
            _check_splits(path, paths, {p.name: splits[p.name] for p in paths})
        return splits
    if labelled and len(set(splits.values())) > 1:
        raise ValueError(
            f"{', '.join(sorted(splits))} look like splits, but they lie below other folders of "
            f"{str(held[0].parent)!r}, and not all clips lie directly in them: put splits above "
            "classes (train/dog/1.mp4), or write a manifest with a column split"
        )
    return {}


# --- records ------------------------------------------------------------------------------------


def class_folder_records(folder: Path, columns: Mapping[str, str]) -> Iterator[Record]:
    """Clips of class folders, with or without a level of splits.

    Where a table `metadata.csv` lies in the folder of each split, clips are those of the tables;
    `columns` {our name: the table's} as for any table.

    Raises:
        ValueError: a class without clips, a clip outside all classes, or see `layout`.
    """
    if not _subfolders(folder):
        _check_no_clips(folder)
        expected = (
            "expected a folder for each class with its clips (such as .mp4), or "
            f"{' or '.join(TABLE_NAMES)}"
        )
        raise ValueError(f"no clips in {str(folder)!r}: {packed_clips(folder) or expected}")
    found = layout(folder)
    _check_no_clips(folder)
    _check_no_clips(found.base)
    described = _described(folder, found, columns, labelled=True)
    if described:
        yield from described
        return
    above = found.splits and not found.classes_above
    for level in [found.base / name for name in sorted(found.splits)] if above else [found.base]:
        _check_no_clips(level)
        for path in _subfolders(level):
            if _holds_clips(path) or is_output(path):
                continue
            suffixes = {file.suffix.lower() for _, files in walk(path) for file in files}
            if not suffixes or suffixes - OTHER_SUFFIXES - {""}:  # empty, or clips unknown to us
                raise ValueError(
                    f"class folder {str(path)!r} holds no clips; accepted suffixes: "
                    f"{' '.join(sorted(SUFFIXES))}. Add clips, or move it elsewhere if it is no "
                    "class"
                )
    yield from _records(folder, found)


def nested_records(folder: Path, columns: Mapping[str, str]) -> Iterator[Record]:
    """All clips of a folder; those that lie like in class folders get their label and group."""
    found = layout(folder, labelled=False)
    described = _described(folder, found, columns, labelled=False)
    yield from described or _records(folder, found)


def _described(
    folder: Path, found: Layout, columns: Mapping[str, str], *, labelled: bool
) -> list[Record]:
    """Clips of the tables in the folders of the splits; none if there are no such tables."""
    if found.classes_above:
        return []
    records: list[Record] = []
    lacking: list[Path] = []
    for level in sorted(found.base / name for name in found.splits):
        table = metadata_of(level, columns=columns, labelled=labelled)
        if table is None:
            lacking.append(level)
            continue
        above = level.relative_to(folder).as_posix()
        for record in table_records(table, columns=columns, labelled=labelled):
            cells = record.cells | {"path": f"{above}/{record.cells['path']}"}
            if cells.get("audio_path"):
                cells["audio_path"] = f"{above}/{cells['audio_path']}"
            cells["split"] = found.splits[level.name]
            records.append(replace(record, cells=cells))
    if lacking and len(lacking) < len(found.splits):
        raise ValueError(f"{str(lacking[0])!r} has no metadata.csv, but other splits have one")
    return records


def _records(folder: Path, found: Layout) -> Iterator[Record]:
    """Every clip below `folder`; what is left out is told in one line."""
    skipped = [
        f"{str(path)!r}, {'which sightsound wrote' if is_output(path) else 'without clips'}"
        for path in found.beside
    ]
    base = found.base
    for directory, paths in walk(folder):
        if any(directory.is_relative_to(path) for path in found.beside):
            continue
        films = [path for path in paths if path.name.endswith(FILM)]
        clips = _clips_of(paths)
        if len(films) > sum(path in clips for path in films):
            skipped.append(f"films of 'sightsound explain' in {str(directory)!r}")
        cells = found.cells(directory if directory.is_relative_to(base) else base)
        if cells["group"]:
            cells["group"] = directory.relative_to(folder).as_posix()
        cells = {k: v for k, v in cells.items() if v or k != "group"}
        for path in clips:
            yield Record(str(path), {"path": path.relative_to(folder).as_posix()} | cells)
    if skipped:
        _log.warning("%s: left out: %s", folder, "; ".join(skipped))


def _check_no_clips(folder: Path) -> None:
    stray = sorted(path.name for path in _clips_in(folder))
    if stray:
        raise ValueError(
            f"{stray[0]!r} lies directly in {str(folder)!r}, outside any class folder; move clips "
            "into folders named after their classes, or write a manifest"
        )


def packed_clips(folder: Path) -> str:
    """What to do with files of packed clips in `folder`; nothing where there are none."""
    readers = {".tar": "webdataset", ".parquet": "huggingface-parquet"}
    suffixes = {path.suffix for _, paths in walk(folder) for path in paths}
    for suffix in readers.keys() & suffixes:
        return (
            f"for clips in {suffix} files write a manifest, 'sightsound manifest {readers[suffix]}'"
        )
    return ""


# --- files --------------------------------------------------------------------------------------


def located(folder: Path, name: str) -> Path:
    """The absolute path of `name`, relative to `folder`, as it is spelled on the disk.

    The same letters come composed (NFC, most systems) or decomposed (NFD, older Macs): a file is
    looked for in both. One that is not there keeps the name that it was given.
    """
    path = Path(os.path.normpath(folder / name))
    if str(path).isascii() or path.exists():
        return path
    here = Path(path.anchor)
    for part in path.parts[1:]:
        if not part.isascii() and not (here / part).exists():
            part = _composed_names(here).get(unicodedata.normalize("NFC", part), part)
        here /= part
    return here


@functools.lru_cache(maxsize=64)
def _composed_names(folder: Path) -> dict[str, str]:
    """{composed name: name on the disk}."""
    names = os.listdir(folder) if folder.is_dir() else []
    return {unicodedata.normalize("NFC", name): name for name in names}


def is_output(folder: Path, *, levels: int = 2) -> bool:
    """Whether this program wrote a folder, or one below it, such as `a` in `runs`."""
    entries = {path.name: path for path in folder.iterdir()}
    if OUTPUT_MARK in entries or any(made <= entries.keys() for made in _OUTPUTS):
        return True
    folders = [path for path in entries.values() if path.is_dir()] if levels else []
    return any(is_output(path, levels=levels - 1) for path in folders)


def _is_generated(names: Collection[str]) -> bool:
    """Whether a folder with these entries is a generated data set, such as the demo's."""
    return any(made <= {*names} for made in _GENERATED)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _subfolders_with_clips(folder: Path) -> list[Path]:
    return [path for path in _subfolders(folder) if _holds_clips(path)]


def _holds_clips(folder: Path) -> bool:
    if _is_generated(os.listdir(folder)):
        return False
    return any(_clips_of(paths) for _, paths in walk(folder))


def _clips_in(folder: Path) -> list[Path]:
    """Clips that lie directly in `folder`."""
    return _clips_of([path for path in folder.iterdir() if not path.is_dir()])


def _clips_of(paths: Sequence[Path]) -> list[Path]:
    """Those of the files of one folder that are clips, and not films of `explain`."""
    clips = [p for p in paths if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    if _BESIDE_FILMS.isdisjoint(path.name for path in paths):
        return clips
    return [path for path in clips if not path.name.endswith(FILM)]


def walk(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Every folder below one, itself included, with its files, in order.

    Left out are folders with a dot in front, data sets that this program generated, and links to a
    folder around them, which have no end.

    Raises:
        PermissionError: a folder may not be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    def is_loop(path: Path) -> bool:
        return path.is_symlink() and any(path.samefile(above) for above in path.parents)

    for directory, subfolders, names in os.walk(folder, followlinks=True, onerror=refuse):
        here = Path(directory)
        if here != folder and _is_generated([*subfolders, *names]):
            subfolders.clear()
            continue
        subfolders[:] = sorted(n for n in subfolders if n[0] != "." and not is_loop(here / n))
        yield here, sorted(here / name for name in names)
