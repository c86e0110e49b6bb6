"""AVE (Tian et al. 2018) for whole videos: 10 s of YouTube videos, one of 28 classes each.

Lines are `Category&VideoID&Quality&StartTime&EndTime`, with a header in the released
Annotations.txt only. The times of the event are not read: the label is that of the whole video,
which is another task than localising the event. A line is a clip and its id: a video may be
listed with two classes, even in two splits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    label_named,
    split_named,
    text_lines,
    wrong_line,
)


@dataclass(frozen=True)
class _Line:
    text: str
    label: str
    video: str
    split: str
    empty: bool


def ave(paths: Sequence[Path], *, test_list: int = 402) -> Listing:
    """trainSet.txt, valSet.txt, testSet.txt, or their folder: in the archive of AVE_Dataset.
    --test_list 394 leaves out test videos that are in train, too."""
    files = annotation_files(paths, "Annotations.txt", "*Set.txt")
    lines = {file: list(_lines(file)) for file in files}
    order = list(dict.fromkeys(line.label for found in lines.values() for line in found))
    named = any(split_named(file.stem) for file in files)
    if named:  # Annotations.txt, which names no splits, then only gives the order of classes
        lines = {file: found for file, found in lines.items() if split_named(file.stem)}
    rows = [line for found in lines.values() for line in found]
    notes = [f"the label is that of the whole video; {sum(r.empty for r in rows)} events of 0 s"]
    if test_list == 394:  # what published accuracies are multiples of (MAFnet's most likely test)
        trained = {row.video for row in rows if row.split == "train"}
        kept = [row for row in rows if row.split != "test" or row.video not in trained]
        notes.append(
            f"--test_list 394: {len(rows) - len(kept)} test lines are left out whose video is in "
            f"train; {sum(row.split == 'test' for row in kept)} are left"
        )
        rows = kept
    clips = (
        Clip(r.text, (r.label,), r.split, (r.text,), r.video, group="" if r.split else r.video)
        for r in rows
    )
    return Listing(clips, {"label": order}, notes)


def _lines(path: Path) -> Iterator[_Line]:
    split = split_named(path.stem)
    for number, text in text_lines(path):
        cells = [cell.strip() for cell in text.split("&")]
        if cells[1:2] == ["VideoID"]:
            continue
        if len(cells) != 5:
            raise wrong_line(path, number, "expected Category&VideoID&Quality&StartTime&EndTime")
        label, video, _, start, end = cells
        label = label_named(path, number, label)
        yield _Line("&".join(cells), label, video, split, empty=start == end)
