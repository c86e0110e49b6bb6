"""One clock for all streams of a file, whatever its container says.

    the container's clock   1.4 ... 6.4 | 1.4 ... 6.4      a recorder that started anew
    time                    0.0 ... 5.0 | 5.0 ... 10.0     what follows is played on

Containers made for broadcasting may jump in time. As the ffmpeg command does (its manual,
`-dts_delta_threshold`: 10 s), a jump moves everything after it, pictures and sound alike, so that
the stream that jumps goes on where it was; time never goes back (by more than a tenth of a second,
as measured with ffmpeg 5.1), and gaps of up to 10 s remain gaps. Unlike there, a packet of the old
recording that comes late, behind the first of the new one, keeps its time.

What a header says about lengths counts where the container has a table of its packets, and of PCM
where the file has as many bytes. Elsewhere FFmpeg guesses, from the bit rate or from the last
timestamp, and the packets are read instead.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

import av
import numpy as np
from av.container import InputContainer
from av.stream import Stream

FORWARD_SECONDS = 10.0  # a longer leap is one of the clock
BACK_SECONDS = 0.1
# MPEG's clock of 33 bits at 90 kHz turns over after a day, and FFmpeg goes on counting then.
_MPEG_TURN_SECONDS = 2**33 / 90000
_LATE_SECONDS = 1.0  # a packet of the old recording comes at most that much after the new began
_MAX_READ_ERRORS = 50


@dataclass(frozen=True)
class Jump:
    """A leap of a container's clock that was bridged."""

    at_seconds: float  # after time 0
    by_seconds: float  # what the container's clock did; `nan` where another file was appended

    def __str__(self) -> str:
        leap = math.remainder(self.by_seconds, _MPEG_TURN_SECONDS)
        how = f"the clock jumps by {leap:+.2f} s"
        if math.isnan(self.by_seconds):
            how = "another recording is joined"
        return f"at {self.at_seconds:.2f} s {how}; what follows is played on"


@dataclass(frozen=True)
class Shifts:
    """What to add to the timestamps of a stream, from which of its packets on."""

    numbers: tuple[int, ...] = (0,)
    ticks: tuple[int, ...] = (0,)

    def at(self, number: int) -> int:
        """For packet `number` of the stream, in the order of the file."""
        return self.ticks[bisect_right(self.numbers, number) - 1]


@dataclass(frozen=True)
class Clock:
    """What reading all packets told; seconds of the container's clock, bridged."""

    ends: dict[int, float] = field(default_factory=dict)  # by stream index, of what it holds
    shifts: dict[int, Shifts] = field(default_factory=dict)
    jumps: tuple[Jump, ...] = ()


def read_clock(container: InputContainer, streams: list[Stream], *, may_jump: bool) -> Clock:
    """Reads all packets of `streams` from here on, decodes nothing.

    `may_jump`: whether packets must be read before their times are known.
    """
    packets = list(_stamps(container, streams))
    bases = {stream.index: float(stream.time_base or 0) for stream in streams}
    bridge = _Bridge(bases)
    if may_jump and _is_uneven(packets, bases):
        for index, stamp, _, duration in packets:
            bridge.add(index, stamp, duration)
    shifts = bridge.shifts()
    ends: dict[int, float] = {}
    counts, after = dict.fromkeys(bases, 0), dict.fromkeys(bases, 0)
    for index, _, start, duration in packets:
        shift = shifts[index].at(counts[index]) if index in shifts else 0
        counts[index] += 1
        # Raw streams have no timestamps: one packet follows the other.
        after[index] = (after[index] if start is None else start) + duration
        end = (after[index] + shift) * bases[index]
        ends[index] = max(end, ends.get(index, end))
    return Clock(ends, shifts, tuple(bridge.jumps))


_Stamp = tuple[int, int | None, int | None, int]  # stream index, dts (or pts), pts (or dts), length


def _stamps(container: InputContainer, streams: list[Stream]) -> Iterable[_Stamp]:
    """Of all packets, in ticks; read errors are survived, as they are in decoding."""
    errors = 0
    while errors <= _MAX_READ_ERRORS:
        try:
            for packet in container.demux(streams):
                errors = 0
                if packet.size > 0:
                    dts = packet.pts if packet.dts is None else packet.dts
                    pts = packet.dts if packet.pts is None else packet.pts
                    yield packet.stream_index, dts, pts, packet.duration or 0
            return
        except av.FFmpegError:
            errors += 1
        except IndexError:
            # PyAV 18 trips over streams that were found while reading, when all has been read.
            return


def _is_uneven(packets: list[_Stamp], bases: dict[int, float]) -> bool:
    """Whether any stream goes back or leaps: a quick look at what is nearly always even."""
    stamped = [(index, dts * bases[index]) for index, dts, _, _ in packets if dts is not None]
    columns = np.array(stamped).reshape(-1, 2)
    firsts = [columns[columns[:, 0] == index, 1] for index in bases]
    steps = [np.diff(times) for times in firsts]
    starts = [times[0] for times in firsts if len(times)]
    return any(((step < -BACK_SECONDS) | (step > FORWARD_SECONDS)).any() for step in steps) or bool(
        starts and max(starts) - min(starts) > FORWARD_SECONDS
    )


class _Line:
    """One stream on the bridged clock."""

    def __init__(self, base: float) -> None:
        self.base = base
        self.offset = 0.0
        self.last = self.next = math.nan  # seconds: start of the last packet, end of it
        self.num_packets = 0
        self.numbers, self.ticks = [0], [0]

    def fits(self, time: float) -> bool:
        """Whether a packet may follow at `time`; anything may come first."""
        early = time < self.last - BACK_SECONDS
        return not early and not time > self.next + FORWARD_SECONDS

    def follow(self, time: float, offset: float, duration: int) -> None:
        """The next packet is at `time`, after `offset` was added to its stamp."""
        ticks = round(offset / self.base)
        if ticks != self.ticks[-1]:
            self.numbers.append(self.num_packets)
            self.ticks.append(ticks)
        length = duration * self.base or max(0.0, min(time - self.last, BACK_SECONDS))
        self.offset, self.last, self.next = offset, time, time + length


class _Bridge:
    """Places packets in the order of the file; see the top of this module."""

    def __init__(self, bases: dict[int, float]) -> None:
        self._lines = {index: _Line(base) for index, base in bases.items()}
        self._offsets = [0.0]  # of the recordings so far
        self._opened = -math.inf  # when the latest of them began
        self._reached = math.nan  # by the last packet of any stream
        self.jumps: list[Jump] = []

    def add(self, index: int, stamp: int | None, duration: int) -> None:
        """Take the next packet."""
        line = self._lines[index]
        if stamp is not None:
            time = stamp * line.base
            offset = self._offset(line, time)
            line.follow(time + offset, offset, duration)
            self._reached = line.last
        line.num_packets += 1

    def shifts(self) -> dict[int, Shifts]:
        """By stream index, of streams that are shifted at all."""
        return {
            index: Shifts(tuple(line.numbers), tuple(line.ticks))
            for index, line in self._lines.items()
            if any(line.ticks)
        }

    def _offset(self, line: _Line, time: float) -> float:
        latest, own = self._offsets[-1], line.offset
        if math.isnan(line.last):
            apart = abs(time + latest - self._reached)
            return self._open(self._reached, time) if apart > FORWARD_SECONDS else latest
        # A packet of an older recording may come after the latest one began.
        nearer = abs(time + own - line.next) < abs(time + latest - line.next)
        is_late = nearer and line.fits(time + own) and time + own <= self._opened + _LATE_SECONDS
        if line.fits(time + latest) and not is_late:
            return latest
        for offset in (own, *self._offsets[-2:-1]):
            if line.fits(time + offset):
                return offset
        return self._open(line.next, time)

    def _open(self, reached: float, time: float) -> float:
        """Another recording begins with a packet stamped `time`, which follows at `reached`."""
        offset = reached - time
        self.jumps.append(Jump(reached, self._offsets[-1] - offset))
        self._offsets.append(offset)
        self._opened = reached
        return offset
