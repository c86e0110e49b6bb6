"""JSON lists of the CAV-MAE family (CAV-MAE, AST, EquiAV and others): pictures, sound and labels.

`{"data": [{"video_id", "wav", "video_path", "labels": "/m/a,/m/b"}]}`. `video_path` is the folder
of extracted frames there, which is not read: the video is looked up by `video_id`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    display_names,
    file_split,
    machine_ids,
    read_json,
)


def cavmae(paths: Sequence[Path]) -> Listing:
    """JSON lists of CAV-MAE, AST and relatives, with train, val, test or eval in their names (20k
    and 2m are train); their class_labels_indices.csv unless it is AudioSet's."""
    files = annotation_files(paths, "*.json", "class_labels_indices*.csv")
    names, files = machine_ids(files)
    clips = (clip for file in files for clip in _clips(file, names))
    return Listing(clips, {"label": list(names.values())})


def _clips(path: Path, names: dict[str, str]) -> Iterator[Clip]:
    split = "train" if {"20k", "2m", "500k"} & set(path.stem.split("_")) else file_split(path)
    for number, entry in enumerate(_entries(path)):
        place = f"data[{number}]"
        try:
            labels, sound = entry["labels"], str(entry.get("wav") or "")
            labels = labels if isinstance(labels, str) else ",".join(labels)
        except (KeyError, TypeError, AttributeError):
            raise ValueError(f"{path}, {place}: expected video_id, wav and labels") from None
        stem = PurePosixPath(sound).stem
        video = str(entry.get("video_id") or stem)
        file_names = tuple(dict.fromkeys(filter(None, (video, stem))))
        found = display_names(labels, names, path=path, place=place)
        yield Clip(video, found, split, file_names, files=(sound,) if sound else ())


def _entries(path: Path) -> list[Any]:
    content = read_json(path)
    entries = content.get("data") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f'{path}: expected {{"data": [...]}} with video_id, wav and labels')
    return entries
