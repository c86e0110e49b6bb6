"""VGGSound (Chen et al. 2020): stretches of 10 s of YouTube videos, one of 309 classes each.

vggsound.csv has no header: `youtube_id,start_seconds,label,split`; clips are called
`<id>_<start:06d>`. The test lists of its repository are `<id>_<start:06d>.mp4,label`; stat.csv is
`label,count` and more, and gives the order of classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sightsound.data.listing import (
    Clip,
    Listing,
    annotation_files,
    csv_rows,
    seconds,
    split_named,
    wrong_line,
    youtube_names,
)

LENGTH_SECONDS = 10.0


def vggsound(paths: Sequence[Path]) -> Listing:
    """vggsound.csv; stat.csv, if you have it, for its order of classes. Or test.csv of its
    repository alone. From VGGSound's page."""
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
        if len(cells) == 4 and split_named(cells[3]):
            (start,) = seconds(path, number, cells[1])
            yield _clip(cells[0], start, cells[2], split_named(cells[3]))
        elif len(cells) == 2 and cells[0].endswith(".mp4"):
            video, _, start_text = cells[0].removesuffix(".mp4").rpartition("_")
            (start,) = seconds(path, number, start_text)
            yield _clip(video, start, cells[1], "test")
        elif number > 1:  # the first line may be a header that somebody added
            raise wrong_line(path, number, "expected youtube_id,start_seconds,label,split")


def _clip(video: str, start: float, label: str, split: str) -> Clip:
    end = start + LENGTH_SECONDS
    name = f"{video}_{int(start):06d}"
    return Clip(name, (label,), split, youtube_names(video, start, end), video, start, end)
