"""The interface through which data sets read clips: a duration, frames and sound of a path.

`FileReader` decodes media files in the calling process, `DecodeProcessReader` in a subprocess;
`data/shards` reads clips that were decoded once and stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from sightsound.media.frames import Frames, read_frames
from sightsound.media.front_end import Downmix, Picture
from sightsound.media.geometry import Crop
from sightsound.media.probe import read_duration
from sightsound.media.sound import Samples, read_audio


class Reader(Protocol):
    """Answers about clips; it can be pickled. Every question may raise a `DecodeError`."""

    def duration(self, path: str | Path) -> float:
        """Seconds from time 0 to the end of the longest stream."""

    def frames(
        self,
        path: str | Path,
        times_seconds: np.ndarray,
        size: tuple[int, int],
        *,
        crop: Crop | None = None,
    ) -> Frames | None:
        """The frames shown at `times_seconds` (T,), as `media.frames.read_frames` gives them."""

    def sound(
        self, path: str | Path, start_seconds: float, stop_seconds: float, rate: int
    ) -> Samples | None:
        """The sound in [start, stop) at `rate`, as `media.sound.read_audio` gives it."""

    def close(self) -> None:
        """Give back processes and files that are held; the next question takes them again."""


@dataclass(frozen=True)
class FileReader:
    """Reads media files here and now.

    See `media.frames.read_frames` for `approximate` and `picture`, `media.downmix` for `downmix`.
    """

    approximate: bool = False
    downmix: Downmix = "itu"
    picture: Picture = "displayed"

    def duration(self, path: str | Path) -> float:
        """Seconds from time 0 to the end of the longest stream."""
        return read_duration(path)

    def frames(
        self,
        path: str | Path,
        times_seconds: np.ndarray,
        size: tuple[int, int],
        *,
        crop: Crop | None = None,
    ) -> Frames | None:
        """See `Reader`."""
        return read_frames(
            path,
            times_seconds,
            size,
            crop=crop,
            approximate=self.approximate,
            picture=self.picture,
        )

    def sound(
        self, path: str | Path, start_seconds: float, stop_seconds: float, rate: int
    ) -> Samples | None:
        """See `Reader`."""
        return read_audio(path, start_seconds, stop_seconds, rate, downmix=self.downmix)

    def close(self) -> None:
        """See `Reader`: nothing is held."""
