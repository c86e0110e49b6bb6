"""VGGSound (Chen et al. 2020): 10 s of YouTube videos, one of 309 classes each; and VGGSounder.

vggsound.csv has no header: `youtube_id,start_seconds,label,split`; clips are called
`<id>_<start:06d>`. The lists of its repository are `<id>_<start:06d>.mp4,label`, of the split that
their name says; stat.csv is `label,count` and more, and gives the order of classes.

VGGSounder (Zverev et al. 2025) labels the test clips again, with all labels that hold. Its
`video_id,label,modality,background_music,static_image,voice_over` has one row per label; `video_id`
is `<id>_<start:06d>`. The labels of all modalities (A, V, AV) are those of the clip.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    class_table,
    csv_rows,
    file_split,
    is_header,
    label_named,
    named_rows,
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


def vggsounder(paths: Sequence[Path]) -> Listing:
    """vggsounder.csv (or vggsounder+background-music.csv); for the order of classes VGGSound's
    stat.csv or VGGSounder's classes.csv, if you have it. From the repository VGGSounder."""
    files = annotation_files(paths, "vggsounder.csv", "classes.csv", "stat.csv")
    orders = {file: _order(file) for file in files}
    order = next((order for order in orders.values() if order), None)
    clips: dict[str, Clip] = {}
    modalities: Counter[str] = Counter()
    for file in (file for file in files if not orders[file]):
        for number, cells in named_rows(file, "video_id", "label"):
            name, label = cells["video_id"], label_named(file, number, cells["label"])
            modalities[cells.get("modality") or "unnamed"] += 1
            if name not in clips:
                video, _, text = name.rpartition("_")
                (start,) = seconds(file, number, text)
                clips[name] = _clip(name, video, start, labels=(), split="test")
            labels = tuple(dict.fromkeys([*clips[name].labels, label]))
            clips[name] = clips[name]._replace(labels=labels)
    said = ", ".join(f"{number} {name}" for name, number in sorted(modalities.items()))
    notes = [f"labels of all modalities are read: {said}"]
    return Listing(clips.values(), {"label": order} if order else None, notes)


def _order(path: Path) -> list[str]:
    """The classes of a table of classes or a stat.csv; nothing if `path` is a list of clips."""
    if table := class_table(path):
        return list(table.values())
    rows = [cells for _, cells in csv_rows(path)]
    counted = all(len(cells) in (2, 3) and cells[1].isdigit() for cells in rows)
    return [cells[0] for cells in rows] if counted else []


def _clips(path: Path) -> Iterator[Clip]:
    for number, cells in csv_rows(path):
        while len(cells) > 2 and not cells[-1]:  # commas at the end, as spreadsheets leave them
            cells.pop()
        video, _, text = os.path.splitext(cells[0])[0].rpartition("_")  # <id>_<start:06d>.mp4
        if len(cells) == 4 and not is_header(cells[1:2]) and split_named(cells[3]):
            video, text, label, split = cells[0], cells[1], cells[2], split_named(cells[3])
        elif len(cells) == 2 and video and text.isdigit():
            label, split = cells[1], file_split(path)
        elif number > 1:  # the first line may be a header that somebody added
            raise wrong_line(path, number, "expected youtube_id,start_seconds,label,split")
        else:
            continue
        (start,) = seconds(path, number, text)
        labels = (label_named(path, number, label),)
        yield _clip(f"{video}_{int(start):06d}", video, start, labels=labels, split=split)


def _clip(name: str, video: str, start: float, *, labels: tuple[str, ...], split: str) -> Clip:
    end = start + LENGTH_SECONDS
    return Clip(name, labels, split, youtube_names(video, start, end), video, start, end)
