"""LLP, Look, Listen and Parse (AVVP; Tian et al. 2020): stretches of 10 s, several of 25 classes.

`filename<tab>event_labels`: `<YouTube id>_<start>_<end>` and the classes that occur, seen or heard.
The lists of events within clips (AVVP_eval_audio.csv, AVVP_eval_visual.csv) are another task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    label_named,
    named_rows,
    seconds,
    split_named,
    wrong_line,
)
from sightsound.data.datasets.youtube_names import youtube_names


def llp(paths: Sequence[Path]) -> Listing:
    """AVVP_train.csv, AVVP_val_pd.csv, AVVP_test_pd.csv, or their folder. From the repository
    AVVP-ECCV20."""
    files = annotation_files(paths, "AVVP_train*.csv", "AVVP_val*.csv", "AVVP_test*.csv")
    return Listing(clip for file in files for clip in _clips(file))


def _clips(path: Path) -> Iterator[Clip]:
    for number, cells in named_rows(path, "filename", "event_labels"):
        if "onset" in cells:
            raise ValueError(
                f"{path} lists events within clips; give AVVP_train.csv, AVVP_val_pd.csv and "
                "AVVP_test_pd.csv, which have the labels of whole clips"
            )
        video, *times = cells["filename"].rsplit("_", 2)
        if len(times) != 2:
            raise wrong_line(path, number, "expected <YouTube id>_<start>_<end> and its labels")
        start, end = seconds(path, number, *times)
        text = label_named(path, number, cells["event_labels"].strip(","))
        labels = tuple(dict.fromkeys(label.strip() for label in text.split(",")))
        names = dict.fromkeys((cells["filename"], *youtube_names(video, start, end)))
        split = split_named(path.stem)
        yield Clip(cells["filename"], labels, split, tuple(names), video, start, end)
