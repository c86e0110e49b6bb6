"""EPIC-KITCHENS-100 (Damen et al. 2022): narrated actions in untrimmed videos, a verb and a noun.

Columns are read by name: the README's table has one more than the files. Times are HH:mm:ss.SS. A
verb or noun is its class, not the narrated word: `verb_class` 0 is "take", whether it was
"grab" or "pick-up".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    file_split,
    named_rows,
    seconds,
    wrong_line,
)

_PATTERNS = (
    "EPIC_100_train.csv",
    "EPIC_100_validation.csv",
    "EPIC_100_*verb_classes*.csv",
    "EPIC_100_*noun_classes*.csv",
)
_NEEDED = ("narration_id", "video_id", "start_timestamp", "stop_timestamp")


def epic_kitchens(paths: Sequence[Path]) -> Listing:
    """EPIC_100_train.csv, EPIC_100_validation.csv, EPIC_100_verb_classes.csv,
    EPIC_100_noun_classes.csv, or the folder that holds them. From the repository
    epic-kitchens-100-annotations."""
    files = annotation_files(paths, *_PATTERNS)
    tables = {head: _class_file(files, head) for head in ("verb", "noun")}
    orders = {head: _order(file) for head, file in tables.items()}
    lists = [file for file in files if "_classes" not in file.name]
    return Listing((clip for file in lists for clip in _clips(file, orders)), orders)


def _class_file(files: Sequence[Path], head: str) -> Path:
    """The table of classes of `head`: given, or beside the lists."""
    pattern = f"*{head}_classes*.csv"
    near = [found for file in files for found in sorted(file.parent.glob(pattern))]
    found = [file for file in files if file.match(pattern)] + near
    if not found:
        raise FileNotFoundError(
            f"EPIC_100_{head}_classes.csv is needed for the names of classes; give it as well, or "
            f"put it beside {str(files[0])!r}"
        )
    return found[0]


def _order(path: Path) -> list[str]:
    names: list[str] = []
    for number, cells in named_rows(path, "id", "key"):
        if cells["id"] != str(len(names)):
            raise wrong_line(path, number, f"expected id {len(names)}, found {cells['id']!r}")
        names.append(cells["key"])
    return names


def _clips(path: Path, orders: dict[str, list[str]]) -> Iterator[Clip]:
    split = file_split(path)
    for number, cells in named_rows(path, *_NEEDED):
        if "verb_class" not in cells or "noun_class" not in cells:
            raise ValueError(
                f"{path} has no columns verb_class and noun_class: it is the list of a test "
                "without labels; leave it out"
            )
        labels = {}
        for head, names in orders.items():
            index = cells[f"{head}_class"]
            if not index.isdigit() or int(index) >= len(names):
                raise wrong_line(path, number, f"{head}_class {index!r} of {len(names)} classes")
            labels[head] = names[int(index)]
        start, end = seconds(path, number, cells["start_timestamp"], cells["stop_timestamp"])
        name, video = cells["narration_id"], cells["video_id"]
        yield Clip(name, labels, split, (name,), video, start, end)
