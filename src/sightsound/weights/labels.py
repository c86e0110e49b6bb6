"""Class names for a model from elsewhere: read from a file, those of AudioSet, or numbers."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

from sightsound.data.datasets.classes import class_lists, class_names
from sightsound.models.pretrained import Pretrained

AUDIOSET = "audioset"
AUDIOSET_CLASSES = 527
CONFIG = "config.json"  # of transformers
_NO_NAME = re.compile(r"LABEL_\d+")  # what stands there if nobody gave names
COLUMN = "display_name"  # of AudioSet's class_labels_indices.csv

Names = list[str] | dict[str, list[str]]  # of the only head, or {head: names}


def read_labels(path: str | Path) -> Names:
    """The class names in a file, in order.

    Accepted: one name per line; a CSV table with a column `display_name`; `labels.json`, a list or
    {head: list}; transformers' `config.json` with its `id2label`.

    Raises:
        ValueError: anything else, or names that are empty or come twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = _of_json(text) if path.suffix == ".json" else _listed(text)
    except ValueError as error:  # of characters, JSON, or the column of numbers
        raise ValueError(f"no class names can be read from {str(path)!r}: {error}") from error
    for each in names.values() if isinstance(names, dict) else [names]:
        texts = isinstance(each, list) and all(isinstance(n, str) and n.strip() for n in each)
        if not texts or len(set(each)) != len(each):
            raise ValueError(
                f"{str(path)!r} does not hold distinct class names; accepted: one per line, a "
                f"table with a column {COLUMN}, or labels.json with a list or {{head: list}}"
            )
    return names


def labels_beside(path: str | Path, *, heads: dict[str, int]) -> Path | None:
    """The `config.json` of transformers in a folder, or beside a file, if it names the classes."""
    path = Path(path)
    file = (path if path.is_dir() else path.parent) / CONFIG
    try:
        names = _numbered(json.loads(file.read_text()))
    except (OSError, ValueError):
        return None
    distinct = len(set(names)) == len(names) and not all(map(_NO_NAME.fullmatch, names))
    return file if distinct and [len(names)] == list(heads.values()) else None


def _of_json(text: str) -> Names:
    values = json.loads(text)
    return _numbered(values) or values


def _numbered(values: object) -> list[str]:
    """The names in `id2label`, {"0": name}, by number; empty without one."""
    table = values.get("id2label") if isinstance(values, dict) else None
    if not isinstance(table, dict):
        return []
    return [table[key] for key in sorted(table, key=int)]


def _listed(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if COLUMN not in next(csv.reader(lines), []):
        return lines
    rows = list(csv.DictReader(lines))
    for number, row in enumerate(rows):
        if row.get("index", str(number)) != str(number):
            raise ValueError(f"row {number + 1} has index {row['index']} instead of {number}")
    return [row[COLUMN] or "" for row in rows]


def name_classes(model: Pretrained, names: Names | None, *, source: str = "") -> str:
    """Set `model.info.labels`, and say in words to what.

    `names` were read from `source`; `None`: those of AudioSet for 527 classes, else numbers.

    Raises:
        ValueError: heads or their numbers of classes are not those of the model.
    """
    heads = dict(model.heads)
    if names is not None:
        labels = names if isinstance(names, dict) else {next(iter(heads)): names}
        found = {head: len(each) for head, each in labels.items()}
        if found != heads:
            raise ValueError(
                f"the model has {_in_words(heads)}, but {source!r} has {_in_words(found)}; give a "
                "name for every class, in the model's order"
            )
        model.info.labels = {head: labels[head] for head in heads}
        return f"given: class names of {source}"
    if list(heads.values()) == [AUDIOSET_CLASSES] and AUDIOSET in class_lists():
        model.info.labels = dict.fromkeys(heads, class_names(AUDIOSET))
        return "assumed: the 527 classes are AudioSet's, in the order of its list"
    model.info.labels = {
        head: [f"class_{index:03d}" for index in range(number)] for head, number in heads.items()
    }
    return "assumed: class_000 and so on for class names, which are unknown; --labels gives them"


def _in_words(heads: dict[str, int]) -> str:
    if len(heads) == 1:
        return f"{next(iter(heads.values()))} classes"
    return ", ".join(f"{number} classes of {head}" for head, number in heads.items())
