"""CREMA-D (Cao et al. 2014): 91 actors, 12 sentences, 6 emotions; everything is in the file name.

`1001_DFA_ANG_XX` is actor, sentence, emotion and its intensity: the emotion that was acted, not
what raters saw or heard. There is no official split: an
actor is a group, so no actor is in two splits, whichever way they are drawn. Papers on joint
training (OGM-GE and its successors) have lists `1001_DFA_ANG_XX,ANG` of a split of their own, with
every actor in both parts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    csv_rows,
    split_named,
    wrong_line,
)
from sightsound.data.rows import SUFFIXES

EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
_NAME = re.compile(r"(\d{4})_[A-Z]{3}_([A-Z]{3})_[A-Z0-9]+")
_COLUMNS = ("filename", "clipname", "file", "name")  # of its several tables, without capitals


def cremad(paths: Sequence[Path]) -> Listing:
    """SentenceFilenames.csv (or summaryTable.csv, tabulatedVotes.csv), or the folder of the clips
    if you lack it: from the repository CREMA-D. Or the lists train.csv, test.csv and stat.csv of
    OGM-GE and its successors, with their split."""
    files = annotation_files(paths, "SentenceFilenames.csv", *(f"*{s}" for s in SUFFIXES))
    orders = {file: _order(file) for file in files}
    order = next((names for names in orders.values() if names), list(EMOTIONS.values()))
    lists = [file for file in files if not orders[file]]
    named = [file for file in lists if _split(file)]
    clips = [clip for file in named or lists for clip in _clips(file)]
    notes = [f"{', '.join(sorted({file.name for file in named}))} name the split, not by actor"]
    if not named:
        notes = ["no official split: one is drawn on loading, with no actor in two of its parts"]
    return Listing(clips, {"label": order}, notes)


def _split(path: Path) -> str:
    return "" if path.suffix.lower() in SUFFIXES else split_named(path.stem)


def _order(path: Path) -> list[str]:
    """The emotions of a stat.csv, one code per line; nothing if `path` is something else."""
    if path.suffix.lower() in SUFFIXES:
        return []
    rows = [cells for _, cells in csv_rows(path)]
    codes = [cells[0] for cells in rows]
    return [EMOTIONS[code] for code in codes] if set(codes) <= set(EMOTIONS) else []


def _clips(path: Path) -> Iterator[Clip]:
    split = _split(path)
    for number, name, code in _names(path):
        parts = _NAME.fullmatch(name)
        emotion = EMOTIONS.get(code or (parts[2] if parts else ""))
        if not parts or not emotion:
            raise wrong_line(path, number, f"{name!r} is no name such as 1001_DFA_ANG_XX")
        yield Clip(name, (emotion,), split, (name,), group="" if split else parts[1])


def _names(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line number, name of the clip, its emotion if the list has it apart)."""
    if path.suffix.lower() in SUFFIXES:
        yield 1, path.stem, ""
        return
    column = None
    for number, cells in csv_rows(path):
        if column is None:
            columns = [cell.lower() for cell in cells]
            column = next((columns.index(name) for name in _COLUMNS if name in columns), -1)
            if column >= 0:
                continue
        if column >= 0:
            yield number, _stem(cells[min(column, len(cells) - 1)]), ""
        else:
            code = cells[1] if len(cells) == 2 else ""
            yield number, _stem(cells[0]), code


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name
