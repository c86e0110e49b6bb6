"""EPIC-Sounds (Huh et al. 2023): audible events in the untrimmed videos of EPIC-KITCHENS-100.

`annotation_id,participant_id,video_id,start_timestamp,stop_timestamp,...,class,class_id`; times are
HH:mm:ss.SSS. 44 classes, one per event; events overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    file_split,
    label_named,
    named_rows,
    seconds,
    wrong_line,
)

_NEEDED = ("annotation_id", "video_id", "start_timestamp", "stop_timestamp")


def epic_sounds(paths: Sequence[Path]) -> Listing:
    """EPIC_Sounds_train.csv, EPIC_Sounds_validation.csv, or their folder; clips are parts of the
    videos of EPIC-KITCHENS-100 or of their sound. From the repository epic-sounds-annotations."""
    files = annotation_files(paths, "EPIC_Sounds_train.csv", "EPIC_Sounds_validation.csv")
    names: dict[int, str] = {}
    clips = [clip for file in files for clip in _clips(file, names)]
    missing = sorted(set(range(max(names, default=0))) - set(names))
    notes = [f"the lists given name no class with the numbers {missing}"] if missing else []
    return Listing(clips, {"label": [names[index] for index in sorted(names)]}, notes)


def _clips(path: Path, names: dict[int, str]) -> list[Clip]:
    """Those of one list; what numbers are called is added to `names`."""
    split, clips = file_split(path), []
    for number, cells in named_rows(path, *_NEEDED):
        if "class" not in cells or "class_id" not in cells:
            raise ValueError(
                f"{path} has no columns class and class_id: it is the list of a test without "
                "labels; leave it out"
            )
        label = label_named(path, number, cells["class"])
        index = cells["class_id"]
        if not index.isdigit() or names.setdefault(int(index), label) != label:
            raise wrong_line(path, number, f"class_id {index!r} of {label!r} is another class's")
        start, end = seconds(path, number, cells["start_timestamp"], cells["stop_timestamp"])
        name, video = cells["annotation_id"], cells["video_id"]
        clips.append(Clip(name, (label,), split, (name,), video, start, end))
    return clips
