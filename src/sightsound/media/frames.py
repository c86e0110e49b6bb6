"""The frames of a file that are shown at given times, as pixels.

A frame is shown from its start to the start of the next one, the last to its end or, where sound
goes on after it, as long as that does (`Media.shown_until`). Where the container marks keyframes,
decoding starts at the last one that is early enough. `decode.py` says what holds for every stream.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.stream import Stream
from av.video.frame import PictureType
from av.video.stream import VideoStream

from sightsound.media.aperture import apertures
from sightsound.media.decode import Media, opened
from sightsound.media.display import AS_STORED, Cut, Display, sane_aspect
from sightsound.media.front_end import Picture
from sightsound.media.geometry import Crop
from sightsound.media.pixels import Converter
from sightsound.media.seek import is_in_order
from sightsound.media.skip_nonref import CODECS, SkipNonref
from sightsound.media.track import Track

_MAX_LATE = 0.25  # seconds; approximate frames that were shown longer ago are decoded exactly
_LEAP_SECONDS = 1.0  # between frames; whether a later one is true shows the frame after it
TICK_SECONDS = 1e-6  # slack when times are compared: far below any frame, far above float noise
# Containers that mark frames from which decoding can start, or hold codecs whose packets say so
# themselves (MPEG-TS, MPEG-PS); elsewhere the mark is guessed.
_MARKED_CONTAINERS = frozenset({"mov", "mp4", "matroska", "webm", "flv", "mpegts", "mpeg"})
# Containers that know the order of decoding only: times of packets are guessed, wrong for B frames.
_UNTIMED_CONTAINERS = frozenset({"avi"})

Shortcuts = frozenset[str]
# What may be left out: packets before the last keyframe, frames that no other refers to. Tried in
# this order until one does not raise `NeedsAll`, as the last never does.
SHORTCUTS: tuple[Shortcuts, ...] = (
    frozenset({"packets", "frames"}),
    frozenset({"packets"}),
    frozenset(),
)


class NeedsAll(Exception):
    """What was left out is needed: packets before a keyframe in name only, or too many frames."""


@dataclass
class Frames:
    """Frames of one file."""

    pixels: np.ndarray  # (T, C, H, W) uint8, RGB
    times_seconds: np.ndarray  # (T,) float64: when the frames given were really shown first
    valid: np.ndarray  # (T,) bool: false before the first frame and once the last is not shown
    problems: tuple[str, ...] = ()


def read_frames(
    path: str | Path,
    times_seconds: np.ndarray,
    size: tuple[int, int],
    *,
    crop: Crop | None = None,
    approximate: bool = False,
    picture: Picture = "displayed",
) -> Frames | None:
    """The frames shown at `times_seconds` (T,), scaled to `size` (H, W).

    The frame shown at a time is the last one that starts at or before it. Times before the first
    frame get the first frame, times after the last one is shown get the last; `valid` is false
    there. `crop` chooses the part that is scaled (default: all of it; the aspect ratio changes if
    it differs). Without a video stream (cover art is none) the result is `None`. Raises
    `DecodeError` if there is a video stream but no frame of it can be decoded.

    `approximate` leaves out frames that no other frame refers to (most B frames): about twice as
    fast, and the frame given may be one of the frames just before the right one. Its true time is
    in `Frames.times_seconds`.

    `picture` "displayed" is what a player shows: cropped as the container says, with pixels of the
    shape that they have on the screen; "stored" takes all pixels of a frame for square.
    """
    wanted = np.asarray(times_seconds, dtype=np.float64)
    if wanted.ndim != 1 or len(wanted) == 0 or not np.isfinite(wanted).all():
        raise ValueError(
            f"times_seconds: got {times_seconds!r}; accepted: one or more finite numbers, (T,)"
        )
    if min(size) < 1:
        raise ValueError(f"size: got {size}; accepted: (height, width), both at least 1")
    convert = Converter(size, crop=crop)
    order, last = np.argsort(wanted, kind="stable"), float(wanted.max())
    pixels = np.empty((len(wanted), 3, *convert.size), dtype=np.uint8)
    times, valid = np.empty(len(wanted)), np.empty(len(wanted), dtype=bool)
    for shortcuts in SHORTCUTS:
        with suppress(NeedsAll), opened(path, start_seconds=float(wanted.min())) as media:
            track = VideoTrack.find(media)
            if track is None:
                return None
            done = 0
            for stop, time, frame, is_valid in track.shown(
                wanted[order], shortcuts, approximate=approximate
            ):
                rows = order[done:stop]
                convert(frame, out=pixels[rows[0]], display=track.display_of(frame, picture))
                pixels[rows[1:]] = pixels[rows[0]]
                times[rows], valid[rows], done = time, is_valid, stop
            if not done:
                return None
            frames = Frames(pixels, times, valid, track.problems(until=last))
            track.check_skipped(wanted, frames, approximate=approximate)
            return frames
    raise AssertionError("frames were needed that nothing left out")


def read_frame_times(path: str | Path) -> np.ndarray | None:
    """When each frame of the video stream is first shown, (N,) float64 seconds.

    Decodes the whole stream. `None` and `DecodeError` as in `read_frames`.
    """
    with opened(path, start_seconds=0.0) as media:
        track = VideoTrack.find(media)
        if track is None:
            return None
        times = [time for time, _, _ in track.pictures(-math.inf)]
        if not times and not track.is_empty:
            track.raise_nothing_decoded(0.0)
        return np.array(times) if times else None


class VideoTrack(Track[av.VideoFrame]):
    """The video stream: its frames in order of time."""

    kind = "video"
    stream: VideoStream

    def __init__(self, media: Media, stream: Stream) -> None:
        super().__init__(media, stream)
        # Of pixels: as the stream says before anything is decoded, and as the container does where
        # that differs; then as the stream says from which tick on.
        own = self.stream.codec_context.sample_aspect_ratio
        said = self.stream.sample_aspect_ratio
        self._first_aspect = own
        self._container_aspect: Fraction | None = None if said == own else said
        self._aspects: list[tuple[int, Fraction | None]] = []
        self._has_skipped = False  # packets before the keyframe
        self._keyframe_seconds = -math.inf  # where decoding starts if something was skipped
        rate = stream.average_rate
        self._frame_seconds = float(1 / rate) if rate else 0.0
        self._skip: SkipNonref | None = None

    def display_of(self, frame: av.VideoFrame, picture: Picture = "displayed") -> Display:
        """How a player shows a frame of this stream; as it is stored if `picture` says so."""
        if picture == "stored":
            return AS_STORED
        aspect = self._container_aspect
        if not aspect and self._aspects:
            ticks = math.inf if frame.pts is None else frame.pts
            before = [aspect for tick, aspect in self._aspects if tick <= ticks]
            aspect = before[-1] if before else self._aspects[0][1]
        elif not aspect:
            aspect = self.stream.codec_context.sample_aspect_ratio
        cut = self._cut
        if cut.top + cut.bottom >= frame.height or cut.left + cut.right >= frame.width:
            cut = Cut()  # nothing would be left
        return Display(sane_aspect(aspect), cut)

    @property
    def is_shown_as_stored(self) -> bool:
        """Whether its first frames, as far as is known before they are decoded, are."""
        aspect = sane_aspect(self._container_aspect or self._first_aspect)
        return Display(aspect, self._cut) == AS_STORED

    @cached_property
    def _cut(self) -> Cut:
        media = self.media
        cuts = apertures(media.source, media.container.format.name)
        number = [stream.index for stream in media.streams(self.kind)].index(self.stream.index)
        return cuts[number] if number < len(cuts) else Cut()

    def skip_nonref(self, wanted: np.ndarray) -> None:
        """From now on, decode frames that no other refers to only at `wanted` (T,) seconds.

        With none wanted, for every codec; otherwise where it is known to change nothing.
        """
        if self.media.following:  # each recording has ticks of its own
            return
        timed = self.media.container.format.name not in _UNTIMED_CONTAINERS
        if len(wanted) == 0 or (timed and self.stream.codec_context.name in CODECS):
            self._skip = SkipNonref(wanted, self)

    @property
    def has_skipped_frames(self) -> bool:
        """Whether a frame was perhaps not decoded because nobody wants it."""
        return self._skip is not None and self._skip.has_skipped

    def check_skipped(
        self, wanted: np.ndarray, frames: Frames | None, *, approximate: bool = False
    ) -> None:
        """Raises `NeedsAll` unless `frames` are what decoding everything would have given."""
        if self._skip is None:
            return
        if frames is None:
            raise NeedsAll
        if approximate:
            end = math.inf if self.end_seconds is None else self.end_seconds
            shown_at = np.minimum(wanted, end)  # from then on the last frame is held
            if (shown_at - frames.times_seconds)[frames.valid].max(initial=0) > _MAX_LATE:
                raise NeedsAll
        elif self.failures or not self._skip.is_right(wanted + TICK_SECONDS, frames.times_seconds):
            raise NeedsAll

    def shown_until(self) -> float:
        """Once all frames are decoded: until when the last is shown; see `Media.shown_until`."""
        return self.media.shown_until(self.stream, self.end_seconds or 0.0)

    def first_picture(self) -> tuple[float, av.VideoFrame] | None:
        """Start and first frame, `None` if the stream is empty; `DecodeError` if none decodes."""
        for time, _, frame in self.pictures(-math.inf):
            return time, frame
        if not self.is_empty:
            self.raise_nothing_decoded(0.0)
        return None

    def shown(
        self, wanted: np.ndarray, shortcuts: Shortcuts, *, approximate: bool = False
    ) -> Iterator[tuple[int, float, av.VideoFrame, np.ndarray]]:
        """The frames shown at `wanted` (T,) seconds, which ascend; none if the stream is empty.

        Yields for each frame up to which of the times it is shown, when it was shown first, the
        frame, and at which of these times it is valid, (n,) bool. Raises `NeedsAll` if a shortcut
        might change the result; `check_skipped` looks at the frames given.
        """
        first, ticks = float(wanted[0]), wanted + TICK_SECONDS
        if "frames" in shortcuts:
            self.skip_nonref(np.empty(0) if approximate else ticks)
        done, last = 0, None
        for time, _, frame in self.pictures(first if shortcuts else -math.inf):
            stop = bisect_left(ticks, time, lo=done)
            if stop > done:
                yield stop, *(last or (time, frame)), np.full(stop - done, last is not None)
                done = stop
                if done == len(wanted):
                    return
            last = time, frame
        if last is not None:
            yield len(wanted), *last, ticks[done:] < self.shown_until()
        elif not self.is_empty:
            self.check_skipped(wanted, None, approximate=approximate)
            self.raise_nothing_decoded(first)

    def pictures(self, from_seconds: float) -> Iterator[tuple[float, float, av.VideoFrame]]:
        """(start, end, frame) in order of time, beginning at or before `from_seconds`.

        Raises `NeedsAll` if what was left out before it turns out to be needed.
        """
        names = set(self.media.container.format.name.split(","))
        is_ordered = names & _UNTIMED_CONTAINERS and is_in_order(self.stream)
        if names & _MARKED_CONTAINERS or is_ordered:
            packets = self._from_last_keyframe(from_seconds)
        else:
            packets = self.packets()
        if self._skip is not None:
            packets = self._skip.packets(packets)
        last = -math.inf
        for time, frame in self._timed(packets):
            if self._skip is not None and (time < last or frame.interlaced_frame):
                # The times are not those of the pictures, so that no plan can be made; or of a pair
                # of fields one may be referred to and the other not.
                raise NeedsAll
            if time < max(last, self._keyframe_seconds - TICK_SECONDS):
                continue  # the clock jumped back, or a frame that leads an open group
            if last == -math.inf and self._has_skipped:
                # With x264's intra-refresh, say, keyframes in name only are P frames of rubbish.
                is_keyframe = abs(time - self._keyframe_seconds) < TICK_SECONDS
                if not is_keyframe or frame.pict_type != PictureType.I:
                    raise NeedsAll
            if frame.duration:
                self._frame_seconds = self.seconds(frame.duration) - self.seconds(0)
            elif not self._frame_seconds and last > -math.inf:
                self._frame_seconds = time - last
            last = time
            end = time + self._frame_seconds
            self.end_seconds = end if self._skip is None else max(end, self.end_seconds or end)
            yield time, end, frame
        if last == -math.inf and self._has_skipped:
            raise NeedsAll

    def _timed(self, packets: Iterator[av.Packet]) -> Iterator[tuple[float, av.VideoFrame]]:
        """(start, frame), but for those alone far ahead of both neighbours: their time is false.

        They would hide everything up to that time. Only such leaps are held until the next frame.
        """
        last, held = -math.inf, None
        for ticks, frame in self._decoded(packets):
            if ticks is not None:
                time = self.seconds(ticks)
            else:
                time = last + self._frame_seconds if last > -math.inf else 0.0
            if held is not None and last <= time < held[0]:
                if self._skip is not None:
                    raise NeedsAll
            elif held is not None:
                yield held
                last = held[0]
            held = (time, frame) if last > -math.inf and time > last + _LEAP_SECONDS else None
            if held is None:
                last = max(last, time)
                yield time, frame
        if held is not None:
            yield held

    def _decoded(self, packets: Iterator[av.Packet]) -> Iterator[tuple[int | None, av.VideoFrame]]:
        """(timestamp, frame); notes where the shape of pixels changes.

        Frames come in the order of showing. Where only the order of decoding is known, so do the
        times of the packets once sorted, but for those that fail: no frame comes of them.
        """
        is_untimed = self.media.container.format.name in _UNTIMED_CONTAINERS
        waiting: list[int] = []  # a heap: of packets whose frames are still to come
        for packet in packets:
            noted = packet.pts if is_untimed and self._skip is None and packet.size > 0 else None
            if noted is not None:
                heapq.heappush(waiting, noted)
            before = len(self.failures), self.num_frames
            for frame in self.decode(packet):
                ticks = frame.dts if frame.pts is None else frame.pts
                yield heapq.heappop(waiting) if waiting else ticks, frame
            has_failed = len(self.failures) > before[0] and self.num_frames == before[1]
            if noted is not None and has_failed and noted in waiting:
                waiting.remove(noted)
                heapq.heapify(waiting)
            if packet.is_keyframe or not self._aspects:  # only those may bring another
                aspect = packet.stream.codec_context.sample_aspect_ratio  # as of this packet
                if packet.pts is not None and [aspect] != [a for _, a in self._aspects[-1:]]:
                    self._aspects.append((packet.pts, aspect))

    def _from_last_keyframe(self, from_seconds: float) -> Iterator[av.Packet]:
        """The packets, but for what lies before the last keyframe that is shown by `from_seconds`.

        Packets are held until one is shown later than that. The frames wanted are shown at or after
        the keyframe and do not refer to anything before it: in an open group, only frames that are
        shown before the keyframe do. `pictures` looks at whether it is one.
        """
        packets = self.packets(from_seconds)
        held: list[av.Packet] = []
        for packet in packets:
            if packet.pts is None or self.seconds(packet.pts) > from_seconds:
                return chain(held, (packet,), packets)
            if packet.is_keyframe:
                self._has_skipped |= self.is_sought or bool(held)
                if self._has_skipped:
                    self._keyframe_seconds = self.seconds(packet.pts)
                held.clear()
            held.append(packet)
        return iter(held)
