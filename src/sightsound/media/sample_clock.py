"""When frames of sound start, where samples follow one another but their timestamps are off.

    stamps     |    |  |      |   | |     jitter: recorders that stamp by the wall clock
    time       |    |    |    |    |      one frame begins where the last one ended

    stamps     |    |    |           |    |    |     three packets lost
    time       |    |    |           |    |    |

A stamp that is off by 100 ms or more is believed: that is where ffmpeg's `aresample=async=1` mends
the sound (FFmpeg's manual, resampler option `min_hard_comp`). ffmpeg takes everything less for
jitter, and so shortens sound by what was lost. Here a smaller step, of 20 ms or more, is lost sound
if it is about as long as one or more whole packets, and lasts: no stamp soon after it is as early
as those before it. Jitter returns.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from statistics import median
from typing import Generic, NamedTuple, TypeVar

BELIEVED_SECONDS = 0.1
_GAP_SECONDS = 0.02  # no packet in use is much shorter
_ROUNDING_SECONDS = 2.5e-3  # of two stamps in milliseconds (Matroska, FLV), and a little
_ROUNDED_SECONDS = 1.05e-3  # what the rounding of the first stamp and of a later one comes to
_NUM_AROUND = 8  # frames before and after a step that are looked at; a guess, about 0.2 s

T = TypeVar("T")


class Stamped(NamedTuple, Generic[T]):
    """A frame with what its file says about it."""

    seconds: float  # when it starts; nan where nothing is said
    length_seconds: float
    frame: T


def counted(leading: list[Stamped[T]], *, beginning: float) -> list[Stamped[T]]:
    """The first one or two frames from the middle of a stream, with exact times if they are known.

    That is where reading from the start comes to: it believes the first timestamp, `beginning`, and
    counts samples from there. Later timestamps are rounded to milliseconds in Matroska, and in
    files copied from there; if all frames are as long as the last one here, they say which it is.
    The one before, of which Opus decoders cut something off, ends where it starts.
    """
    last = leading[-1]
    length = last.length_seconds
    if math.isnan(last.seconds) or not length:
        return leading
    start = beginning + round((last.seconds - beginning) / length) * length
    if abs(start - last.seconds) > _ROUNDED_SECONDS:
        return leading
    exact = [last._replace(seconds=start)]
    for each in reversed(leading[:-1]):
        ends = start - each.length_seconds
        follows = abs(each.seconds - ends) < _ROUNDING_SECONDS
        exact.insert(0, each._replace(seconds=ends) if follows else each)
    return exact


def timed(frames: Iterable[Stamped[T]]) -> Iterator[tuple[float, Stamped[T]]]:
    """(start in seconds, frame) of frames in the order of decoding.

    Looks a few frames ahead where a stamp is off.
    """
    frames, ahead = iter(frames), deque[Stamped[T]]()
    expected = math.nan  # where the last frame ended
    before: deque[float] = deque(maxlen=_NUM_AROUND)  # how late the last stamps were
    while (frame := ahead.popleft() if ahead else next(frames, None)) is not None:
        late = frame.seconds - expected
        if _GAP_SECONDS <= late < BELIEVED_SECONDS:
            ahead.extend(islice(frames, _NUM_AROUND - len(ahead)))
        time = expected
        if math.isnan(time):
            time = 0.0 if math.isnan(frame.seconds) else frame.seconds
        elif abs(late) >= BELIEVED_SECONDS or (
            late >= _GAP_SECONDS and _is_loss([frame, *ahead], expected, [*before] or [0.0])
        ):
            time = frame.seconds
            before.clear()
        elif not math.isnan(late):
            before.append(late)
        expected = time + frame.length_seconds
        yield time, frame


def _is_loss(frames: list[Stamped], expected: float, before: list[float]) -> bool:
    """Whether sound is missing before the first of some frames, `expected` where the last ended.

    `before`: how late the frames before it came.
    """
    first, after = frames[0], []
    for frame in frames:  # up to one whose stamp is believed anyway
        late = frame.seconds - expected
        if abs(late) >= BELIEVED_SECONDS:
            break
        if not math.isnan(late):
            after.append(late)
        expected += frame.length_seconds
    if min(after) - max(before) < _GAP_SECONDS - _ROUNDING_SECONDS:
        return False
    step = median(after) - median(before)
    lengths = {round(each.length_seconds, 6) for each in frames}
    packets = step / max(first.length_seconds, 1e-6)
    noise = max(after) - min(after) + max(before) - min(before)
    odd = abs(packets - round(packets)) * first.length_seconds
    return len(lengths) > 1 or (round(packets) > 0 and odd <= _ROUNDING_SECONDS + noise)
