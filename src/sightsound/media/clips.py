"""Which window of a clip is looked at, and when its frames are: pure arithmetic.

Every window is half-open, [start, stop), in seconds after time 0 of the file.

    duration   |----------------------------------|
    window          [-------------------)
    8 frames          x x  x  x  x  x x x             each in the middle of its eighth
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Window:
    """The times t with start_seconds <= t < stop_seconds."""

    start_seconds: float
    stop_seconds: float

    @property
    def length_seconds(self) -> float:
        """How long the window is."""
        return self.stop_seconds - self.start_seconds

    def shifted(self, seconds: float) -> Window:
        """The window moved later by `seconds`: from a clip's own time to that of its file."""
        return Window(self.start_seconds + seconds, self.stop_seconds + seconds)


def is_outside(start_seconds: float, file_seconds: float) -> bool:
    """Whether a clip begins when its file has ended: nothing of it is there.

    Codecs fill up their last packet, so a few samples may follow; they are no clip. Of a file whose
    length is 0, that is unknown, it must be tried.
    """
    return 0 < file_seconds <= start_seconds


def random_window(duration: float, length: float, *, generator: np.random.Generator) -> Window:
    """A window anywhere in the clip, uniformly; at 0 if the clip is shorter."""
    return _window_at(duration, length, share=float(generator.random()))


def centre_window(duration: float, length: float) -> Window:
    """The window in the middle; at 0 if the clip is shorter."""
    return _window_at(duration, length, share=0.5)


def uniform_windows(duration: float, length: float, num_views: int) -> list[Window]:
    """`num_views` windows from the first to the last possible, equally spaced.

    One view is the centre. A clip shorter than the window gives the same window each time.
    """
    if num_views < 1:
        raise ValueError(f"num_views: got {num_views}; accepted: 1 or more")
    if num_views == 1:
        return [centre_window(duration, length)]
    return [_window_at(duration, length, share=s) for s in np.linspace(0.0, 1.0, num_views)]


def sample_windows(
    duration: float,
    video_length: float,
    audio_length: float,
    *,
    mode: Literal["random", "centre", "start", "official"],
    synchronous: bool,
    generator: np.random.Generator | None = None,
) -> tuple[Window, Window]:
    """One window for video and one for audio, each of its own length.

    Synchronous: the longer window lies anywhere in the clip and the shorter one anywhere inside the
    longer; of equal length, both are the same (paper MBT, section 4.3.2). In mode "official" the
    video window lies anywhere and the audio window starts with it, as in the official MBT: what is
    re-used is the start as a share of the clip, not of the places of the window. So a longer audio
    window may run past the end (8 s of sound with 2.56 s of video, from 10 s: three times in four).
    The official code rounds the start of the sound to its blocks of one second; here it is not
    rounded. Not synchronous: each is drawn on its own.
    """
    if mode == "centre":
        return centre_window(duration, video_length), centre_window(duration, audio_length)
    if mode == "start":
        return Window(0.0, video_length), Window(0.0, audio_length)
    if mode not in ("random", "official"):
        raise ValueError(f"mode: got {mode!r}; accepted: 'random', 'centre', 'start', 'official'")
    if generator is None:
        raise ValueError(f"generator: got None; mode {mode!r} needs one (np.random.Generator)")
    if synchronous and mode == "random":
        long, short = max(video_length, audio_length), min(video_length, audio_length)
        outer = random_window(duration, long, generator=generator)
        # Inside the part of the outer window that has content, if the clip is shorter than it.
        inner = random_window(min(long, duration), short, generator=generator)
        inner = inner.shifted(outer.start_seconds)
        return (outer, inner) if video_length >= audio_length else (inner, outer)
    video = random_window(duration, video_length, generator=generator)
    if synchronous:
        return video, Window(video.start_seconds, video.start_seconds + audio_length)
    return video, random_window(duration, audio_length, generator=generator)


def frame_times(window: Window, num_frames: int, stride_seconds: float | None = None) -> np.ndarray:
    """When to look at `num_frames` frames, (num_frames,) float64 seconds.

    The window is divided equally, or, given `stride_seconds`, into pieces of that length from its
    start; each time is the middle of its piece. The middle, because a time at the very edge of a
    stream falls before its first frame as soon as the container rounds to milliseconds or starts
    the sound a few milliseconds earlier. (Paper MBT, section 4.2: 8 frames over t seconds, stride
    t * 25 / 8 frames at 25 frames per second.)
    """
    if num_frames < 1:
        raise ValueError(f"num_frames: got {num_frames}; accepted: 1 or more")
    if stride_seconds is None:
        stride_seconds = window.length_seconds / num_frames
    return window.start_seconds + (np.arange(num_frames) + 0.5) * stride_seconds


def wrapped_times(times: np.ndarray, clip: Window) -> np.ndarray:
    """`times` (T,) with those past the end of `clip` going on at its start, as often as needed."""
    if clip.length_seconds <= 0:
        return times
    return clip.start_seconds + (times - clip.start_seconds) % clip.length_seconds


def wrapped_pieces(start: int, count: int, length: int) -> list[tuple[int, int]]:
    """(start, stop) of the pieces that `count` samples from `start` on take of a clip.

    The clip has `length` samples; where it ends, they go on at its start, as often as needed.
    """
    if length < 1:
        raise ValueError(f"length: got {length}; accepted: 1 or more")
    pieces, begin = [], start % length
    while count > 0:
        stop = min(length, begin + count)
        pieces.append((begin, stop))
        count, begin = count - (stop - begin), 0
    return pieces


def _window_at(duration: float, length: float, *, share: float) -> Window:
    """`share` 0 is the first window that fits, 1 the last."""
    if not (duration >= 0.0 and length > 0.0):
        raise ValueError(
            f"duration, length: got {duration}, {length}; accepted: not negative, above 0"
        )
    start = float(share) * max(duration - length, 0.0)
    return Window(start, start + length)
