"""VGGSounder (Zverev et al. 2025): VGGSound's test clips again, with all labels that hold.

`video_id,label,modality,background_music,static_image,voice_over`, one row per label; `video_id` is
`<id>_<start:06d>` as in VGGSound. The labels of all modalities (A, V, AV) are those of the clip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    class_table,
    csv_rows,
    label_named,
    named_rows,
    seconds,
)
from sightsound.data.datasets.youtube_names import youtube_names

LENGTH_SECONDS = 10.0


def vggsounder(paths: Sequence[Path]) -> Listing:
    """vggsounder.csv (or vggsounder+background-music.csv); for the order of classes VGGSound's
    stat.csv or VGGSounder's classes.csv, if you have it. From the repository VGGSounder."""
    files = annotation_files(paths, "vggsounder.csv", "classes.csv", "stat.csv")
    orders = {file: _order(file) for file in files}
    order = next((order for order in orders.values() if order), None)
    clips: dict[str, Clip] = {}
    modalities: Counter[str] = Counter()
    for file in files:
        if not orders[file]:
            _read(file, clips, modalities)
    said = ", ".join(f"{number} {name}" for name, number in sorted(modalities.items()))
    notes = [f"labels of all modalities are read: {said}"]
    return Listing(clips.values(), {"label": order} if order else None, notes)


def _order(path: Path) -> list[str]:
    """The classes of a table of classes or a stat.csv; nothing if `path` is the list."""
    if table := class_table(path):
        return list(table.values())
    rows = [cells for _, cells in csv_rows(path)]
    counted = all(len(cells) in (2, 3) and cells[1].isdigit() for cells in rows)
    return [cells[0] for cells in rows] if counted else []


def _read(path: Path, clips: dict[str, Clip], modalities: Counter[str]) -> None:
    """Add the rows of `path` to `clips` {video_id: clip}."""
    for number, cells in named_rows(path, "video_id", "label"):
        name, label = cells["video_id"], label_named(path, number, cells["label"])
        modalities[cells.get("modality") or "unnamed"] += 1
        if name not in clips:
            video, _, text = name.rpartition("_")
            (start,) = seconds(path, number, text)
            end = start + LENGTH_SECONDS
            names = youtube_names(video, start, end)
            clips[name] = Clip(name, (), "test", names, video, start, end)
        labels = dict.fromkeys([*clips[name].labels, label])
        clips[name] = clips[name]._replace(labels=tuple(labels))
