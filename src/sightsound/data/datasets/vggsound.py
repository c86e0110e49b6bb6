"""VGGSound (Chen et al. 2020): stretches of 10 s of YouTube videos, one of 309 classes each.

vggsound.csv has no header: `youtube_id,start_seconds,label,split`; clips are called
`<id>_<start:06d>`. The lists of its repository are `<id>_<start:06d>.mp4,label`, of the split that
their name says; stat.csv is `label,count` and more, and gives the order of classes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    csv_rows,
    file_split,
    is_header,
    label_named,
    seconds,
    split_named,
    wrong_line,
)
from sightsound.data.datasets.youtube_names import youtube_names

LENGTH_SECONDS = 10.0


def vggsound(paths: Sequence[Path]) -> Listing:
    """vggsound.csv; stat.csv, if you have it, for its order of classes. Or train.csv, test.csv,
    AStest.csv of its repository. From VGGSound's page."""
    files = annotation_files(paths, "vggsound.csv", "stat.csv")
    orders = {file: _order(file) for file in files}
    clips = (clip for file in files if not orders[file] for clip in _clips(file))
    order = next((order for order in orders.values() if order), None)
    return Listing(clips, {"label": order} if order else None)


def _order(path: Path) -> list[str]:
    """The classes of a stat.csv; nothing if `path` is a list of clips."""
    rows = [cells for _, cells in csv_rows(path)]
    counted = all(len(cells) in (2, 3) and cells[1].isdigit() for cells in rows)
    return [cells[0] for cells in rows] if counted else []


def _clips(path: Path) -> Iterator[Clip]:
    for number, cells in csv_rows(path):
        while len(cells) > 2 and not cells[-1]:  # commas at the end, as spreadsheets leave them
            cells.pop()
        if len(cells) == 4 and not is_header(cells[1:2]) and split_named(cells[3]):
            (start,) = seconds(path, number, cells[1])
            label = label_named(path, number, cells[2])
            yield _clip(cells[0], start, label, split_named(cells[3]))
        elif len(cells) == 2 and (named := _named(cells[0])):
            (start,) = seconds(path, number, named[1])
            label = label_named(path, number, cells[1])
            yield _clip(named[0], start, label, file_split(path))
        elif number > 1:  # the first line may be a header that somebody added
            raise wrong_line(path, number, "expected youtube_id,start_seconds,label,split")


def _named(file: str) -> tuple[str, str] | None:
    """The video and the start that `<id>_<start:06d>.mp4` says; `None`: something else."""
    video, _, start = os.path.splitext(file)[0].rpartition("_")
    return (video, start) if video and start.isdigit() else None


def _clip(video: str, start: float, label: str, split: str) -> Clip:
    end = start + LENGTH_SECONDS
    name = f"{video}_{int(start):06d}"
    return Clip(name, (label,), split, youtube_names(video, start, end), video, start, end)
