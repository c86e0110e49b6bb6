"""Which packets hold frames that someone asked for: the others need decoding only as references.

H.264 and HEVC mark frames that no other frame refers to (most B frames; half of all in usual
files). Left out, they change no other frame, so those that nobody asked for can be spared and the
rest comes out bit for bit as before, in about half the time. That holds where the times of packets
are in the order of the pictures; `frames.py` looks for signs that they are not.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator

import av
import numpy as np

CODECS = frozenset({"h264", "hevc"})
_AHEAD = 40  # packets: frames are stored at most 16 before or after their place in time


class Sparing:
    """Packets in the order of decoding, each with whether its frame is shown at a wanted time."""

    def __init__(self, wanted: np.ndarray, *, seconds: Callable[[int], float]) -> None:
        """`wanted` (T,) seconds, with the slack of comparisons; `seconds` of a timestamp."""
        self._wanted = sorted(wanted.tolist())
        self._seconds = seconds
        self._starts: list[float] = []  # of frames around the packet in hand, in order of time
        self._needed: list[float] = []  # starts of frames that must be decoded, in order of time
        self.has_spared = False  # whether any frame need not be decoded

    def planned(self, packets: Iterator[av.Packet]) -> Iterator[tuple[av.Packet, bool]]:
        """(packet, whether its frame is wanted)."""
        ahead: deque[av.Packet] = deque()
        passed: deque[float] = deque()
        for packet in packets:
            ahead.append(packet)
            if packet.pts is not None:
                insort(self._starts, self._seconds(packet.pts))
            if len(ahead) > _AHEAD:
                yield self._judged(ahead.popleft(), passed=passed)
        while ahead:
            yield self._judged(ahead.popleft(), passed=passed)

    def delivered(self, wanted: np.ndarray, shown: np.ndarray) -> bool:
        """Whether the frames `shown` (T,) at `wanted` (T,) are the right ones, as far as known."""
        places = (bisect_right(self._needed, time) - 1 for time in wanted.tolist())
        return all(
            place < 0 or self._needed[place] == start
            for place, start in zip(places, shown, strict=True)
        )

    def _judged(self, packet: av.Packet, *, passed: deque[float]) -> tuple[av.Packet, bool]:
        if packet.pts is None:
            return packet, True
        start = self._seconds(packet.pts)
        place = bisect_right(self._starts, start)
        stop = self._starts[place] if place < len(self._starts) else math.inf
        last = bisect_right(self._wanted, math.nextafter(stop, -math.inf)) - 1
        needed = last >= 0 and self._wanted[last] >= start
        if needed:
            insort(self._needed, start)
        self.has_spared |= not needed
        passed.append(start)
        if len(passed) > _AHEAD:
            self._starts.remove(passed.popleft())
        return packet, needed
