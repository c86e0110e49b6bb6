"""Exports of FiftyOne: labels.json of classified or temporally labelled clips, or samples.json.

labels.json is `{"classes": [...], "labels": {name: target}}`, a target being a number of `classes`
(a name where there are none), or a list of `{"label": target, "timestamps": [start, stop]}`.
samples.json (FiftyOneDataset) is `{"samples": [{"filepath", "tags", FIELD: {"_cls", "label"}}]}`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    folder_split,
    read_json,
    seconds,
    split_named,
)

_KINDS = ("Classification", "Classifications", "TemporalDetection", "TemporalDetections")
_PREFERRED = "ground_truth"


def fiftyone(paths: Sequence[Path]) -> Listing:
    """labels.json (FiftyOneTemporalDetectionDataset with use_timestamps=True, or of
    classifications), or samples.json (FiftyOneDataset), or the folder of the export."""
    files = annotation_files(paths, "labels.json", "samples.json", "*/labels.json")
    notes: list[str] = []
    contents = {file: read_json(file) for file in files}
    classes = [each.get("classes") for each in contents.values() if isinstance(each, dict)]
    order = next((list(map(str, names)) for names in classes if names), None)
    listing = Listing((), {"label": order} if order else None, notes)
    listing.clips = (c for file, content in contents.items() for c in _clips(file, content, notes))
    return listing


def _clips(path: Path, content: Any, notes: list[str]) -> Iterator[Clip]:
    unlabelled = 0
    try:
        if isinstance(content["labels"] if "labels" in content else None, dict):
            clips = _from_labels(path, content["labels"], content.get("classes"))
        else:
            clips = _from_samples(path, content["samples"])
        for clip in clips:
            unlabelled += clip is None
            if clip is not None:
                yield clip
    except (AttributeError, IndexError, KeyError, TypeError):
        raise ValueError(
            f'{path}: expected FiftyOne\'s {{"classes": [...], "labels": {{name: target}}}} or '
            '{"samples": [{"filepath", ...}]}'
        ) from None
    if unlabelled:
        notes.append(f"{unlabelled} clips of {path.name} have no labels and are left out")


def _from_labels(
    path: Path, labels: dict[str, Any], classes: list[str] | None
) -> Iterator[Clip | None]:
    split = folder_split(path)
    for name, target in labels.items():
        stem = os.path.splitext(name)[0] if "/" in name else name
        several = target if isinstance(target, list) else [target]
        events = [each for each in several if isinstance(each, dict)]
        if target is None or not several:
            yield None
        elif events:
            yield from (_event(stem, each, classes, split, path=path) for each in events)
        else:
            yield Clip(stem, tuple(_label(each, classes) for each in several), split, (stem,))


def _label(target: Any, classes: list[str] | None) -> str:
    return str(classes[target]) if classes and isinstance(target, int) else str(target)


def _event(
    name: str, event: dict[str, Any], classes: list[str] | None, split: str, *, path: Path
) -> Clip:
    if "timestamps" not in event:
        raise ValueError(
            f"{path}, {name!r}: events are given in frames, whose rate the file does not tell; "
            "export with use_timestamps=True"
        )
    first, last = event["timestamps"]
    start, end = seconds(path, repr(name), str(first), str(last))
    label = _label(event["label"], classes)
    clip = Clip(f"{name}#{start:g}", (label,), split, (name,))
    return clip._replace(start_seconds=start, end_seconds=end, untrimmed=True)


# --- samples.json -------------------------------------------------------------------------------


def _from_samples(path: Path, samples: list[dict[str, Any]]) -> Iterator[Clip | None]:
    field = _field(path, samples)
    for sample in samples:
        file, label = str(sample["filepath"]), sample.get(field)
        split = next(filter(None, map(split_named, map(str, sample.get("tags") or []))), "")
        stem = os.path.splitext(file)[0]
        names = ("/".join(stem.split("/")[-2:]).lstrip("/"),)
        files = (os.path.join(path.absolute().parent, file),)
        several: list[dict[str, Any]] = []  # the labels of a field of any of the kinds
        if label:
            listed = label.get("classifications", label.get("detections"))
            several = listed if isinstance(listed, list) else [label]
        spans = [each for each in several if "support" in each]
        if not several:
            yield None
        elif not spans:
            found = tuple(dict.fromkeys(str(each["label"]) for each in several))
            yield Clip(stem, found, split, names, files=files)
        for each in spans:
            rate = (sample.get("metadata") or {}).get("frame_rate")
            if not rate:
                raise ValueError(
                    f"{path}, {sample['filepath']!r}: an event in frames, but no "
                    "metadata.frame_rate; compute the metadata before the export"
                )
            first, last = each["support"]  # frames, which count from 1
            start, end = (first - 1) / rate, last / rate
            clip = Clip(f"{stem}#{start:g}", (str(each["label"]),), split, names, files=files)
            yield clip._replace(start_seconds=start, end_seconds=end, untrimmed=True)


def _field(path: Path, samples: list[dict[str, Any]]) -> str:
    """The field that holds the labels: the only one, or ground_truth."""
    kinds = {
        name: value["_cls"]
        for sample in samples
        for name, value in sample.items()
        if isinstance(value, dict) and value.get("_cls") in _KINDS
    }
    if len(kinds) != 1 and _PREFERRED not in kinds:
        raise ValueError(
            f"{path}: fields with labels: {', '.join(kinds) or 'none'}; keep one of them in the "
            f"export, or call it {_PREFERRED}"
        )
    return _PREFERRED if _PREFERRED in kinds else next(iter(kinds))
