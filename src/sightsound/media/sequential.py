"""One long file read in a single pass, for questions that only go forward in time.

    decoded    ....|=======================|>
    question 1     [---------------)
    question 2          [---------------)
    question 3               [---------------)          what lies before a question is forgotten

What windows share is decoded, scaled and kept once, and answers are those of `FileReader`: frames
to the bit. Of sound, decoders remember what came before, and a window that is read alone starts
them a second before it: up to 30 s into a file the samples are the same to the bit, later as close
as `sound.py` says. What a decoder makes of damaged packets may depend on where it began.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sightsound.media.decode import DecodeError, opened
from sightsound.media.frames import SHORTCUTS, Frames, NeedsAll, Shortcuts, VideoTrack
from sightsound.media.front_end import Downmix, Picture
from sightsound.media.geometry import Crop
from sightsound.media.pixels import Converter
from sightsound.media.probe import read_duration
from sightsound.media.sound import (
    MAX_LATE_PACKETS,
    PREROLL_SECONDS,
    AudioTrack,
    Samples,
    SoundWindow,
)

_PIECE_SECONDS = 0.5  # of sound that is kept together: few pieces are few steps


class SequentialReader:
    """A `Reader` of one file, in the calling process; a question may not look before the last one.

    Args:
        path: the file.
        times_seconds: (N,) every time at which frames will be asked for, in any order.
        downmix: as in `media.sound.read_audio`.
        picture: as in `media.frames.read_frames`.
    """

    def __init__(
        self,
        path: str | Path,
        times_seconds: np.ndarray | None = None,
        *,
        downmix: Downmix = "itu",
        picture: Picture = "displayed",
    ) -> None:
        self.path = Path(path)
        self.times_seconds = np.empty(0) if times_seconds is None else times_seconds
        self.downmix = downmix
        self.picture = picture
        self._pictures: _Pictures | None = None
        self._sound: _Sound | None = None

    def duration(self, path: str | Path) -> float:
        """See `Reader`."""
        self._check(path)
        return read_duration(path)

    def frames(
        self,
        path: str | Path,
        times_seconds: np.ndarray,
        size: tuple[int, int],
        *,
        crop: Crop | None = None,
    ) -> Frames | None:
        """See `Reader`; `size` and `crop` are those of the first question."""
        self._check(path)
        if self._pictures is None:
            wanted = np.unique(self.times_seconds)
            wanted = wanted[wanted >= times_seconds.min()]
            self._pictures = _Pictures(path, wanted, Converter(size, crop=crop), self.picture)
        return self._pictures.at(times_seconds)

    def sound(
        self, path: str | Path, start_seconds: float, stop_seconds: float, rate: int
    ) -> Samples | None:
        """See `Reader`."""
        self._check(path)
        if self._sound is None:
            self._sound = _Sound(path, start_seconds, self.downmix)
        return self._sound.between(start_seconds, stop_seconds, rate)

    def close(self) -> None:
        """Close the file. The next question starts anew."""
        if self._pictures is not None:
            self._pictures.decoding.close()
        if self._sound is not None:
            self._sound.decoding.close()
        self._pictures = self._sound = None

    def _check(self, path: str | Path) -> None:
        if Path(path) != self.path:
            raise ValueError(f"path is {str(path)!r}; this reader reads {str(self.path)!r} only")


# --- pictures -----------------------------------------------------------------------------------


@dataclass
class _Picture:
    """What is shown at a wanted time."""

    pixels: np.ndarray  # (C, H, W) uint8, shared by the times that show the same frame
    time_seconds: float  # when the frame was shown first
    valid: bool


class _Pictures:
    """The frames shown at `wanted` (N,) seconds, in order of time; see `media.frames`."""

    def __init__(
        self, path: str | Path, wanted: np.ndarray, convert: Converter, picture: Picture
    ) -> None:
        self._path = path
        self._wanted = wanted
        self._known = set(wanted.tolist())
        self._convert = convert
        self._picture = picture
        self._num_given = 0
        self._first = -math.inf  # of the last question
        self._kept: dict[float, _Picture] = {}  # in order of time
        self._track: VideoTrack | None = None
        self._error: DecodeError | None = None
        self.decoding = self._decoding()

    def at(self, times: np.ndarray) -> Frames | None:
        """As `read_frames`. Times before the first of them are forgotten."""
        first, last = float(times.min()), float(times.max())
        if first < self._first or not set(times.tolist()) <= self._known:
            raise ValueError(
                f"times_seconds: got {times}; accepted: times that the reader was made for, none "
                f"before {self._first:g} s, the first of the last question"
            )
        self._first = first
        for time in [time for time in self._kept if time < first]:
            del self._kept[time]
        self._advance(last)
        if not self._kept or self._track is None:
            return None
        shown = [self._kept[time] for time in times.tolist()]
        return Frames(
            np.stack([each.pixels for each in shown]),
            np.array([each.time_seconds for each in shown]),
            np.array([each.valid for each in shown]),
            self._track.problems(since=first, until=last),
        )

    def _advance(self, last: float) -> None:
        """Decode until the frame at `last` is known; a failure is one for good."""
        if self._error is not None:
            raise self._error
        try:
            while self._num_given < len(self._wanted) and self._wanted[self._num_given] <= last:
                if next(self.decoding, None) is None:
                    return
        except DecodeError as error:
            self._error = error
            raise

    def _decoding(self) -> Generator[int]:
        """Keeps one wanted frame after the other; yields how many there were.

        If a shortcut turns out to change the result, what is left is done without it.
        """
        for shortcuts in SHORTCUTS:
            with suppress(NeedsAll):
                yield from self._pass(shortcuts)
                return

    def _pass(self, shortcuts: Shortcuts) -> Generator[int]:
        """The frames still wanted, as `read_frames` chooses them, with `shortcuts`."""
        wanted = self._wanted[self._num_given :]
        if not len(wanted):
            return
        with opened(self._path, start_seconds=float(wanted[0])) as media:
            track = self._track = VideoTrack.find(media)
            if track is None:
                return
            done = 0
            for stop, start, frame, valid in track.shown(wanted, shortcuts):
                pixels = np.empty((3, *self._convert.size), dtype=np.uint8)
                self._convert(frame, out=pixels, display=track.display_of(frame, self._picture))
                for time, is_valid in zip(wanted[done:stop].tolist(), valid.tolist(), strict=True):
                    found = Frames(pixels[None], np.array([start]), np.array([is_valid]))
                    track.check_skipped(np.array([time]), found)
                    self._kept[time] = _Picture(pixels, start, is_valid)
                    self._num_given += 1
                    yield self._num_given
                done = stop


# --- sound --------------------------------------------------------------------------------------


class _Sound:
    """The sound from `start` on, piece by piece; see `media.sound`."""

    def __init__(self, path: str | Path, start: float, downmix: Downmix) -> None:
        self._path = path
        self._downmix = downmix
        self._start = start  # of the last question
        self._pieces: deque[tuple[int, int, np.ndarray]] = deque()  # rate, position, samples
        self._joining: list[np.ndarray] = []  # what will be the next piece
        self._join_at = (0, 0)  # its rate and position
        # Of the last frames; of several, since a single one may have a damaged timestamp.
        self._latest = deque([-math.inf] * (MAX_LATE_PACKETS + 1), MAX_LATE_PACKETS + 1)
        self._track: AudioTrack | None = None
        self._error: DecodeError | None = None
        self.decoding = self._decoding()

    def between(self, start: float, stop: float, rate: int) -> Samples | None:
        """As `read_audio`. Sound well before `start` is forgotten."""
        if start < self._start:
            raise ValueError(
                f"start_seconds: got {start:g}; accepted: {self._start:g}, the start of the last "
                "question, or later"
            )
        self._start = start
        self._advance(stop + PREROLL_SECONDS)
        if self._track is None:
            return None
        self._forget(start - PREROLL_SECONDS)
        window = SoundWindow(start, stop, rate)
        for own_rate, position, samples in self._pieces:
            window.write(own_rate, position, samples)
        return window.result(self._track.problems(since=start, until=stop))

    def _advance(self, until: float) -> None:
        """Decode until what follows is later than `until`; a failure is one for good."""
        if self._error is not None:
            raise self._error
        try:
            while min(self._latest) < until:
                self._latest.append(next(self.decoding, math.inf))
        except DecodeError as error:
            self._error = error
            raise
        self._close_piece()

    def _decoding(self) -> Generator[float]:
        """Keeps the sound; yields the time reached."""
        with opened(self._path, start_seconds=self._start) as media:
            track = self._track = AudioTrack.find(media)
            if track is None:
                return
            for piece in track.sound(self._start, math.inf, self._downmix):
                self._keep(piece.frame.sample_rate, piece.position, piece.samples)
                yield piece.seconds
            if not track.has_sound(self._start):
                self._track = None
                return
            while True:  # the file stays open: `problems` looks at its stream
                yield math.inf

    def _keep(self, rate: int, position: int, samples: np.ndarray) -> None:
        """Add to the piece at hand what follows it, else begin another."""
        own_rate, first = self._join_at
        length = sum(map(len, self._joining))
        follows = rate == own_rate and position == first + length
        if not follows or length >= _PIECE_SECONDS * rate:
            self._close_piece()
            self._join_at = (rate, position)
        self._joining.append(samples)

    def _close_piece(self) -> None:
        if self._joining:
            rate, position = self._join_at
            piece = np.concatenate(self._joining)
            self._pieces.append((rate, position, piece))
            self._join_at = (rate, position + len(piece))
            self._joining = []

    def _forget(self, before: float) -> None:
        while self._pieces:
            rate, position, samples = self._pieces[0]
            if (position + len(samples)) / rate >= before:
                return
            self._pieces.popleft()
