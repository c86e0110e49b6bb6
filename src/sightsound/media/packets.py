"""When the packets of a stream are shown, without decoding them: a whole film in a second or two.

What this tells: where a stream really starts and ends, whether its rate is steady, where it stands
still, what of it never arrived, and where decoding could start.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sightsound.media.decode import opened
from sightsound.media.track import Track

_JITTER = 0.2  # of the usual step: less is not noticed,
_JITTER_SECONDS = 1.5e-3  # nor what rounding to milliseconds does (Matroska, FLV)


@dataclass(frozen=True)
class Timing:
    """When a stream is there, and how evenly, between two times."""

    num_packets: int
    start_seconds: float
    end_seconds: float
    uneven: float  # share of steps from packet to packet that differ from the usual one
    pause_seconds: float  # the longest step, less the usual one
    pause_at_seconds: float


@dataclass(frozen=True)
class Packets:
    """All packets of a stream in the order of the file; (N,) each."""

    times: np.ndarray  # float64 seconds after time 0
    lengths: np.ndarray  # float64 seconds; 0 where the file does not say
    is_keyframe: np.ndarray  # bool
    is_shown: np.ndarray  # bool: false for packets that edit lists cut off

    @classmethod
    def of(cls, track: Track) -> Packets:
        """All packets of `track`, which notes what failed, and where the stream ends.

        Those of the files looked at last are remembered: of one film come many clips.
        """
        about = os.stat(track.media.path)
        key = os.fspath(track.media.path), about.st_size, about.st_mtime_ns
        read = _read(type(track), *key)  # type: ignore[arg-type]  # classes are hashable
        found, track.num_packets, failures, jumps, track.end_seconds = read
        track.failures += failures
        track.jumps += jumps
        return found

    def keyframe_at(self, seconds: float) -> int | None:
        """The index of the keyframe with this time; `None` if there is none."""
        indices = np.flatnonzero(self.is_keyframe & (self.times == seconds))
        return int(indices[0]) if len(indices) else None

    def inside(self, start: float, stop: float) -> np.ndarray:
        """(N,) bool: shown at some time in [start, stop)."""
        length = np.where(self.lengths > 0, self.lengths, self._usual_step(self.is_shown))
        return self.is_shown & (self.times < stop) & (self.times + length > start)

    def timing(self, start: float, stop: float) -> Timing | None:
        """Of what is shown in [start, stop); `None` if nothing is."""
        inside = self.inside(start, stop)
        if not inside.any():
            return None
        times = np.sort(self.times[inside])
        last = np.flatnonzero(inside)[np.argmax(self.times[inside])]
        usual = self._usual_step(inside)
        end = self.times[last] + (self.lengths[last] or usual)
        steps = np.diff(times)
        uneven = np.abs(steps - usual) > _JITTER * usual + _JITTER_SECONDS
        longest = int(steps.argmax()) if len(steps) else 0
        return Timing(
            num_packets=len(times),
            start_seconds=max(float(times[0]), start),
            end_seconds=min(float(end), stop),
            uneven=float(uneven.mean()) if len(steps) else 0.0,
            pause_seconds=float(steps[longest] - usual) if len(steps) else 0.0,
            pause_at_seconds=float(times[longest]),
        )

    def _usual_step(self, chosen: np.ndarray) -> float:
        """The median time from one packet to the next, 0 if there is only one."""
        return float(np.median(np.diff(np.sort(self.times[chosen])))) if chosen.sum() > 1 else 0.0


@lru_cache(maxsize=4)
def _read(kind: type[Track], path: str, size: int, changed: int) -> tuple:
    """See `Packets.of`: the packets, and what reading them told of the track."""
    with opened(path, start_seconds=0.0) as media:
        track = kind.find(media)
        assert track is not None  # the caller has opened it
        rows, after = [], 0.0
        for packet in track.packets():
            ticks = packet.dts if packet.pts is None else packet.pts
            # Raw streams have no timestamps: one packet follows the other.
            time = after if ticks is None else track.seconds(ticks)
            length = track.seconds(packet.duration or 0) - track.seconds(0)
            after = time + length
            shown = packet.size > 0 and not packet.is_discard
            rows.append((time, length, packet.is_keyframe, shown))
            if packet.is_corrupt and not track.is_at_join(time):
                track.failures.append((time, "the file marks it"))
    columns = zip(*rows, strict=True) if rows else [()] * 4
    kinds = (np.float64, np.float64, bool, bool)
    found = Packets(*(np.array(c, kind) for c, kind in zip(columns, kinds, strict=True)))
    if track.kind == "video":  # each picture is shown until the next, whatever the file says
        order = np.flatnonzero(found.is_shown)
        order = order[np.argsort(found.times[order])]
        found.lengths[order[:-1]] = np.diff(found.times[order])
    timing = found.timing(-np.inf, np.inf)
    end = track.end_seconds if timing is None else timing.end_seconds
    return found, track.num_packets, tuple(track.failures), tuple(track.jumps), end
