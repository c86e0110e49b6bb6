"""CREMA-D (Cao et al. 2014): 91 actors, 12 sentences, 6 emotions; everything is in the file name.

`1001_DFA_ANG_XX` is actor, sentence, emotion and its intensity. There is no official split: an
actor is a group, so no actor is in two splits, whichever way they are drawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sightsound.data.listing import Clip, Listing, annotation_files, csv_rows, wrong_line
from sightsound.data.rows import SUFFIXES

EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
_NAME = re.compile(r"(\d{4})_[A-Z]{3}_([A-Z]{3})_[A-Z]+")


def cremad(paths: Sequence[Path]) -> Listing:
    """SentenceFilenames.csv, or the folder of the clips if you lack it. From the repository
    CREMA-D."""
    files = annotation_files(paths, "SentenceFilenames.csv", *(f"*{s}" for s in SUFFIXES))
    clips = [clip for file in files for clip in _clips(file)]
    notes = ["no official split: one is drawn on loading, with no actor in two of its parts"]
    return Listing(clips, {"label": list(EMOTIONS.values())}, notes)


def _clips(path: Path) -> Iterator[Clip]:
    if path.suffix.lower() in SUFFIXES:
        names = [(1, path.stem)]
    else:
        rows = csv_rows(path)
        next(rows, None)  # Stimulus_Number,Filename
        names = [(number, cells[-1]) for number, cells in rows]
    for number, name in names:
        parts = _NAME.fullmatch(name)
        if not parts or parts[2] not in EMOTIONS:
            raise wrong_line(path, number, f"{name!r} is no name such as 1001_DFA_ANG_XX")
        yield Clip(name, (EMOTIONS[parts[2]],), "", (name,), group=parts[1])
