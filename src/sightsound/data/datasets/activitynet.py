"""ActivityNet (Caba Heilbron et al. 2015): activities in untrimmed videos, one of 200 classes each.

`{"database": {id: {"subset", "duration", "annotations": [{"label", "segment": [start, end]}]}}}`.
Every instance is a clip of its own. Files are called `v_<id>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    label_named,
    read_json,
    seconds,
    split_named,
)


def activitynet(paths: Sequence[Path]) -> Listing:
    """activity_net.v1-3.min.json (or v1-2): each annotated instance is a clip of its video, called
    v_<id>; videos of the test have no labels and are left out. From ActivityNet's page."""
    files = annotation_files(paths, "activity_net*.json")
    notes: list[str] = []
    listing = Listing((), None, notes)
    listing.clips = (clip for file in files for clip in _clips(file, notes))
    return listing


def _clips(path: Path, notes: list[str]) -> Iterator[Clip]:
    unlabelled = early = 0
    for video, entry in _videos(path).items():
        instances = _instances(entry, path=path, video=video)
        unlabelled += not instances
        for number, (label, first, last) in enumerate(instances):
            place = f"{video!r}, annotation {number}"
            early += first < 0
            start, end = seconds(path, place, str(max(first, 0.0)), str(max(last, 0.0)))
            split = split_named(str(entry.get("subset", "")))
            label = label_named(path, place, label)
            yield Clip(f"{video}_{start:g}_{end:g}", (label,), split, (), video, start, end)
    if unlabelled:
        notes.append(f"{unlabelled} videos of {path.name} have no annotations and are left out")
    if early:
        notes.append(f"{early} segments begin before 0 s and are taken from 0 s on")


def _videos(path: Path) -> dict[str, Any]:
    content = read_json(path)
    videos = content.get("database") if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not all(isinstance(each, dict) for each in videos.values()):
        raise ValueError(f'{path}: expected {{"database": {{id: {{"subset", "annotations"}}}}}}')
    return videos


def _instances(entry: dict[str, Any], *, path: Path, video: str) -> list[tuple[str, float, float]]:
    try:
        return [
            (str(each["label"]), float(each["segment"][0]), float(each["segment"][1]))
            for each in entry.get("annotations") or []
            if len(each["segment"]) == 2
        ]
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{path}, {video!r}: expected annotations with a label and a segment [start, end]"
        ) from None
