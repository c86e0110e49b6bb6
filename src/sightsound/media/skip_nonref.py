"""Skips decoding frames that nobody asked for and that no other frame refers to.

H.264 and HEVC mark frames that no other frame refers to (most B frames; half of all in usual
files). Without them all other frames come out bit for bit as before, in about half the time. That
holds where the times of packets are in the order of the pictures; `frames.py` looks for signs that
they are not.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator
from itertools import chain, repeat

import av
import numpy as np

from sightsound.media.track import Track

CODECS = frozenset({"h264", "hevc"})
_AHEAD = 40  # packets: frames are stored at most 16 before or after their place in time


class SkipNonref:
    """Tells the decoder of a track, packet by packet, whether the frame is wanted."""

    def __init__(self, wanted: np.ndarray, track: Track) -> None:
        """`wanted` (T,) seconds, with the slack of comparisons."""
        self._wanted = sorted(wanted.tolist())
        self._track = track
        self._needed: list[float] = []  # starts of frames that must be decoded, in order of time
        self.has_skipped = False  # whether any frame need not be decoded

    def packets(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        """The same packets in the order of decoding; notes how far the stream reaches."""
        track, wanted = self._track, self._wanted
        starts: list[float] = []  # of frames around the packet in hand, in order of time
        ahead: deque[av.Packet] = deque()
        passed: deque[float] = deque()
        for following in chain(packets, repeat(None)):
            if following is not None:
                ahead.append(following)
                if following.pts is not None:
                    insort(starts, track.seconds(following.pts))
                if len(ahead) <= _AHEAD:
                    continue
            elif not ahead:
                return
            packet, needed = ahead.popleft(), True
            if packet.pts is not None:
                start = track.seconds(packet.pts)
                index = bisect_right(starts, start)
                stop = starts[index] if index < len(starts) else math.inf
                last = bisect_right(wanted, math.nextafter(stop, -math.inf)) - 1
                needed = last >= 0 and wanted[last] >= start
                if needed:
                    insort(self._needed, start)
                self.has_skipped |= not needed
                passed.append(start)
                if len(passed) > _AHEAD:
                    starts.remove(passed.popleft())
                end = track.seconds(packet.pts + (packet.duration or 0))
                track.end_seconds = max(end, track.end_seconds or end)
            track.stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
            yield packet

    def is_right(self, wanted: np.ndarray, shown: np.ndarray) -> bool:
        """Whether the frames `shown` (T,) at `wanted` (T,) are the right ones, as far as known."""
        indices = (bisect_right(self._needed, time) - 1 for time in wanted.tolist())
        return all(
            index < 0 or self._needed[index] == start
            for index, start in zip(indices, shown, strict=True)
        )
