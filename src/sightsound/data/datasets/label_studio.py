"""Exports of Label Studio, of clips that were classified: JSON, JSON_MIN or CSV.

JSON is a list of tasks, `{"data": {"video": URL}, "annotations": [{"result": [{"type": "choices",
"value": {"choices": [...]}}]}]}`; JSON_MIN and CSV have the answer beside the URL, under the name
of the question. Regions of sound (`start` and `end` in seconds) are clips of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    named_rows,
    read_json,
    seconds,
    split_named,
)
from sightsound.data.rows import SUFFIXES

_ANSWERS = ("choice", "choices", "label", "labels", "class", "category")
_UPLOAD = re.compile(r"[0-9a-f]{8}-(.+)")  # what an upload puts before the name


def label_studio(paths: Sequence[Path]) -> Listing:
    """An export of a project with choices (JSON, JSON_MIN or CSV), or with labelled regions of
    sound (JSON). Clips are found by the names in their URLs, with and without what an upload puts
    before them."""
    files = annotation_files(paths, "*.json", "*.csv")
    notes: list[str] = []
    listing = Listing((), None, notes)
    listing.clips = (clip for file in files for clip in _clips(file, notes))
    return listing


def _clips(path: Path, notes: list[str]) -> Iterator[Clip]:
    unanswered = differing = 0
    for place, task in _tasks(path):
        results, other = _results(task, path=path, place=place)
        differing += other
        unanswered += not results
        data = task["data"] if isinstance(task.get("data"), dict) else task
        for labels, start, end in results:
            yield _clip(data, labels, start, end, path=path, place=place)
    if unanswered:
        notes.append(f"{unanswered} tasks of {path.name} have no annotation and are left out")
    if differing:
        notes.append(f"{differing} tasks have annotations that differ; the last one counts")


def _tasks(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, task): of JSON a list of objects, of CSV its rows."""
    if path.suffix.lower() == ".csv":
        for number, cells in named_rows(path):
            yield f"line {number}", dict(cells)
        return
    tasks = read_json(path)
    if (
        not tasks
        or not isinstance(tasks, list)
        or not all(isinstance(task, dict) for task in tasks)
    ):
        raise ValueError(f"{path}: expected Label Studio's JSON or JSON_MIN, a list of tasks")
    for number, task in enumerate(tasks):
        yield f"task {task.get('id', number)}", task


_Result = tuple[tuple[str, ...], float, float | None]  # labels, start and end in seconds


def _results(task: dict[str, Any], *, path: Path, place: str) -> tuple[list[_Result], bool]:
    """The results of a task; and whether several annotators differ, the last of whom counts."""
    if "annotations" not in task:
        labels = _short(task, path=path, place=place)
        return ([(labels, 0.0, None)] if labels else []), False
    try:
        kept = [each for each in task["annotations"] if not each.get("was_cancelled")]
        found = [_long(each["result"], path=path, place=place) for each in kept]
    except (AttributeError, KeyError, TypeError):
        raise ValueError(
            f"{path}, {place}: expected annotations with a result of choices"
        ) from None
    found = [each for each in found if each]
    return (found[-1] if found else []), any(each != found[-1] for each in found)


def _long(result: list[dict[str, Any]], *, path: Path, place: str) -> list[_Result]:
    """Those of one annotator."""
    questions = sorted({each["from_name"] for each in result if each["type"] == "choices"})
    if len(questions) > 1:
        raise ValueError(
            f"{path}, {place}: answers to several questions, {', '.join(questions)}; keep one of "
            "them in the export"
        )
    if any(each["type"] == "timelinelabels" for each in result):
        raise ValueError(
            f"{path}, {place}: a timeline in frames, whose rate the export does not tell; write "
            "start_seconds and end_seconds into a manifest"
        )
    choices = [name for each in result if each["type"] == "choices"
               for name in each["value"]["choices"]]  # fmt: skip
    results: list[_Result] = []
    if choices:
        results.append((tuple(dict.fromkeys(choices)), 0.0, None))
    for region in (each["value"] for each in result if each["type"] == "labels"):
        start, end = seconds(path, place, str(region["start"]), str(region["end"]))
        results.append((tuple(region["labels"]), start, end))
    return results


def _short(task: dict[str, Any], *, path: Path, place: str) -> tuple[str, ...]:
    """The answer of a row of JSON_MIN or CSV: a name, or `{"choices": [...]}`."""
    column = next((name for name in _ANSWERS if name in task), None)
    if column is None:
        raise ValueError(
            f"{path}, {place}: none of {', '.join(_ANSWERS)} among {', '.join(map(str, task))}; "
            "give the export as JSON"
        )
    answer = task[column]
    if isinstance(answer, str) and answer.startswith("{"):
        try:
            answer = json.loads(answer)
        except ValueError:
            answer = None
    if isinstance(answer, dict):
        answer = answer.get("choices")
    names = answer if isinstance(answer, list) else [answer]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}, {place}: {column} is no choice, but {task[column]!r}")
    return tuple(name for name in names if name)


def _clip(
    data: dict[str, Any],
    labels: tuple[str, ...],
    start: float,
    end: float | None,
    *,
    path: Path,
    place: str,
) -> Clip:
    file = next((name for name in map(_file, data.values()) if name), None)
    if file is None:
        raise ValueError(f"{path}, {place}: no URL of a media file among {', '.join(data)}")
    stem = file.with_suffix("")
    upload = _UPLOAD.fullmatch(stem.name)
    names = ["/".join(stem.parts[-2:]).lstrip("/"), stem.name, *([upload[1]] if upload else [])]
    split = split_named(str(data.get("split") or ""))
    clip = Clip(stem.name, labels, split, tuple(dict.fromkeys(names)))
    if end is None:
        return clip
    name = f"{stem.name}#{start:g}"
    return clip._replace(id=name, start_seconds=start, end_seconds=end, untrimmed=True)


def _file(value: object) -> PurePosixPath | None:
    """The path of the media file that `value` is a URL of; `None`: it is none."""
    if not isinstance(value, str):
        return None
    parts = urlsplit(value)
    local = parse_qs(parts.query).get("d")  # /data/local-files/?d=folder/clip.mp4
    file = PurePosixPath(unquote(local[0] if local else parts.path))
    return file if file.suffix.lower() in SUFFIXES else None
