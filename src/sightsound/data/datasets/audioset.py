"""AudioSet (Gemmeke et al. 2017): segments of YouTube videos, several of 527 classes each.

`YTID, start_seconds, end_seconds, positive_labels` below three lines that begin with `#`; a blank
after every comma, so that the quoted labels do not begin their cell. Ids may begin with `-`. Lists
that somebody saved again have a plain header, and commas at the end of lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    csv_rows,
    display_names,
    file_split,
    is_header,
    machine_ids,
    seconds,
    wrong_line,
)
from sightsound.data.datasets.youtube_names import youtube_names

NUM_500K, PER_CLASS_500K = 500_000, 200_000  # paper MBT, section 4.1; arXiv v1, footnote 1


def audioset(paths: Sequence[Path]) -> Listing:
    """eval_segments.csv, balanced_train_segments.csv, unbalanced_train_segments.csv: give those
    you want; class_labels_indices.csv is built in. From AudioSet's download page."""
    files = annotation_files(paths, "*_segments.csv", "class_labels_indices.csv")
    names, files = machine_ids(files)
    clips = (clip for file in files for clip in _clips(file, names))
    return Listing(clips, {"label": list(names.values())})


def audioset_500k(paths: Sequence[Path]) -> Listing:
    """The same files; of the training clips on disk 500,000 are kept, at most 200,000 of a class,
    chosen as for AS-500K in the MBT paper (docs/mbt.md)."""
    listing = audioset(paths)
    listing.num_train, listing.per_class = NUM_500K, PER_CLASS_500K
    return listing


def _clips(path: Path, names: dict[str, str]) -> Iterator[Clip]:
    split = file_split(path)
    for number, cells in csv_rows(path):
        if cells[0].startswith("#") or is_header(cells[1:3]):
            continue
        if len(cells) < 4:
            raise wrong_line(path, number, "expected YTID, start_seconds, end_seconds, labels")
        video, place = cells[0], f"line {number}"
        start, end = seconds(path, number, cells[1], cells[2])
        labels = display_names(",".join(cells[3:]), names, path=path, place=place)
        files = (*youtube_names(video, start, end), f"Y{video}")
        yield Clip(video, labels, split, files, video, start, end)
