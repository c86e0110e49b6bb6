"""Moments in Time (Monfort et al. 2019): clips of 3 s, one class each.

No headers: `path,label,agreements,disagreements` and `label,index`. A clip is
`training/<path>` or `validation/<path>`, the path beginning with a class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from sightsound.data.listing import (
    Clip,
    Listing,
    annotation_files,
    csv_rows,
    file_split,
    wrong_line,
)


def moments(paths: Sequence[Path]) -> Listing:
    """trainingSet.csv, validationSet.csv, moments_categories.txt, or their folder: they are in the
    archive of Moments in Time."""
    files = annotation_files(paths, "train*.csv", "validation*.csv", "moments_categories.txt")
    tables = [file for file in files if "categories" in file.name]
    order = _order(tables[0]) if tables else None
    clips = (clip for file in files if file not in tables for clip in _clips(file))
    return Listing(clips, {"label": order} if order else None)


def _order(path: Path) -> list[str]:
    rows = list(csv_rows(path))
    for number, cells in rows:
        if len(cells) != 2 or not cells[1].isdigit():
            raise wrong_line(path, number, "expected label,index")
    return [cells[0] for _, cells in sorted(rows, key=lambda row: int(row[1][1]))]


def _clips(path: Path) -> Iterator[Clip]:
    split = file_split(path)
    for number, cells in csv_rows(path):
        if len(cells) < 2 or "." not in cells[0]:
            if number > 1:  # the first line may be a header that somebody added
                raise wrong_line(path, number, "expected path,label,agreements,disagreements")
            continue
        name = PurePosixPath(cells[0]).with_suffix("").as_posix()
        yield Clip(cells[0], (cells[1],), split, (name,))
