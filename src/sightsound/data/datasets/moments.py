"""Moments in Time (Monfort et al. 2019): clips of 3 s, one class each; Multi-Moments, several.

No headers: `path,label,agreements,disagreements` and `label,index`; of Multi-Moments
`path,index,index,...`. A clip is `training/<path>` or `validation/<path>`, the path beginning with
a class; of Multi-Moments `videos/<path>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    csv_rows,
    file_split,
    label_named,
    wrong_line,
)


def moments(paths: Sequence[Path]) -> Listing:
    """trainingSet.csv, validationSet.csv, moments_categories.txt, or their folder: they are in the
    archives of Moments in Time and Multi-Moments in Time (several labels)."""
    files = annotation_files(paths, "train*.csv", "validation*.csv", "moments_categories.txt")
    tables = [file for file in files if "categories" in file.name]
    order = _order(tables[0]) if tables else None
    clips = (clip for file in files if file not in tables for clip in _clips(file, order))
    return Listing(clips, {"label": order} if order else None)


def _order(path: Path) -> list[str]:
    rows = list(csv_rows(path))
    for number, cells in rows:
        if len(cells) != 2 or not cells[1].isdigit():
            raise wrong_line(path, number, "expected label,index")
    return [cells[0] for _, cells in sorted(rows, key=lambda row: int(row[1][1]))]


def _clips(path: Path, order: list[str] | None) -> Iterator[Clip]:
    split = file_split(path)
    for number, cells in csv_rows(path):
        if len(cells) < 2 or "." not in cells[0]:
            if number > 1:  # the first line may be a header that somebody added
                raise wrong_line(path, number, "expected path,label,agreements,disagreements")
            continue
        name = PurePosixPath(cells[0]).with_suffix("").as_posix()
        labels: tuple[str, ...] = (label_named(path, number, cells[1]),)
        if cells[1].isdigit():
            labels = _named(cells[1:], order, path=path, number=number)
        yield Clip(cells[0], labels, split, (name,))


def _named(
    cells: Sequence[str], order: list[str] | None, *, path: Path, number: int
) -> tuple[str, ...]:
    """The classes behind the numbers of a line of Multi-Moments."""
    if order is None:
        raise ValueError(
            f"{path} numbers its classes, as Multi-Moments does; give its moments_categories.txt "
            "as well"
        )
    numbers = [cell for cell in cells if cell]
    if not all(cell.isdigit() and int(cell) < len(order) for cell in numbers):
        raise wrong_line(path, number, f"expected path and numbers of {len(order)} classes")
    return tuple(dict.fromkeys(order[int(cell)] for cell in numbers))
