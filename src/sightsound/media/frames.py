"""The frames of a file that are shown at given times, as pixels.

A frame is shown from its start to the start of the next one, the last to its end or, where sound
goes on after it, as long as that does (`Media.shown_until`). Where the container marks keyframes,
decoding starts at the last one that is early enough. `decode.py` says what holds for every stream.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
import numpy as np
from av.stream import Stream
from av.video.frame import PictureType

from sightsound.media.aperture import apertures
from sightsound.media.decode import Media, opened
from sightsound.media.display import AS_STORED, Cut, Display, sane_aspect
from sightsound.media.front_end import Picture
from sightsound.media.geometry import Crop
from sightsound.media.pixels import Converter
from sightsound.media.seek import is_in_order
from sightsound.media.skip_nonref import CODECS, Sparing
from sightsound.media.track import Track

Convert = Callable[..., None]  # a `Converter`, or what calls one in the same way

_MAX_LATE = 0.25  # seconds; approximate frames that were shown longer ago are decoded exactly
_LEAP_SECONDS = 1.0  # between frames; whether a later one is true shows the frame after it
TICK_SECONDS = 1e-6  # slack when times are compared: far below any frame, far above float noise
# Containers that mark frames from which decoding can start, or hold codecs whose packets say so
# themselves (MPEG-TS, MPEG-PS); elsewhere the mark is guessed.
_MARKED_CONTAINERS = frozenset({"mov", "mp4", "matroska", "webm", "flv", "mpegts", "mpeg"})
# Containers that know the order of decoding only: times of packets are guessed, wrong for B frames.
_UNTIMED_CONTAINERS = frozenset({"avi"})


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
    for shortcuts in (SPARING, FROM_KEYFRAME):
        try:
            return _read_frames(
                path, wanted, convert, shortcuts, approximate=approximate, picture=picture
            )
        except NeedsAll:
            continue
    return _read_frames(path, wanted, convert, frozenset(), picture=picture)


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


# What `_read_frames` may leave out: packets before the last keyframe, frames nobody needs.
FROM_KEYFRAME = frozenset({"packets"})
SPARING = frozenset({"packets", "frames"})


class NeedsAll(Exception):
    """What was left out is needed: packets before a keyframe in name only, or too many frames."""


def _read_frames(
    path: str | Path,
    wanted: np.ndarray,
    convert: Converter,
    shortcuts: frozenset[str],
    *,
    picture: Picture = "displayed",
    approximate: bool = False,
) -> Frames | None:
    """See `read_frames`. Raises `NeedsAll` if a shortcut might change the result."""
    first, last = float(wanted.min()), float(wanted.max())
    with opened(path, start_seconds=first) as media:
        track = VideoTrack.find(media)
        if track is None:
            return None
        if "frames" in shortcuts:
            track.spare(np.empty(0) if approximate else wanted + TICK_SECONDS)
        picker = _Picker(wanted, convert=track.converter(convert, picture), size=convert.size)
        for time, end, frame in track.pictures(first if shortcuts else -math.inf):
            if picker.add(time, end, frame):
                break
        if track.num_frames == 0:
            if track.is_empty:
                return None
            track.check_spared(wanted, None, approximate=approximate)
            track.raise_nothing_decoded(first)
        frames = picker.result(track.shown_until, problems=track.problems(until=last))
        track.check_spared(wanted, frames, approximate=approximate)
        return frames


class VideoTrack(Track):
    """The video stream: its frames in order of time."""

    kind = "video"

    def __init__(self, media: Media, stream: Stream) -> None:
        super().__init__(media, stream)
        self._first_aspect = stream.codec_context.sample_aspect_ratio  # before anything is decoded
        self._has_skipped = False  # packets before the keyframe
        self._keyframe_seconds = -math.inf  # where decoding starts if something was skipped
        rate = stream.average_rate
        self._frame_seconds = float(1 / rate) if rate else 0.0
        self._sparing: Sparing | None = None
        self._ticks: list[int] | None = None  # a heap: of packets whose frames are still to come
        self._aspects: list[tuple[int, Fraction | None]] = []  # of pixels, from which tick on

    def converter(self, convert: Converter, picture: Picture) -> Convert:
        """`convert` for frames of this stream, told how each is shown."""
        if picture == "stored":
            return convert
        return lambda frame, *, out: convert(frame, out=out, display=self.display_of(frame))

    def display_of(self, frame: av.VideoFrame) -> Display:
        """How a player shows a frame of this stream."""
        aspect = self._container_aspect or self._aspect_at(frame.pts)
        return Display(sane_aspect(aspect), self._cut).of_picture(frame.height, frame.width)

    @property
    def is_shown_as_stored(self) -> bool:
        """Whether its first frames, as far as is known before they are decoded, are."""
        return Display(sane_aspect(self._container_aspect or self._first_aspect), self._cut) == (
            AS_STORED
        )

    @property
    def _marks_keyframes(self) -> bool:
        """Whether the container says where decoding can start, and when that is shown."""
        names = set(self.media.container.format.name.split(","))
        ordered = names & _UNTIMED_CONTAINERS and is_in_order(self.stream)
        return bool(names & _MARKED_CONTAINERS or ordered)

    def _aspect_at(self, ticks: int | None) -> Fraction | None:
        """The shape of pixels that the stream itself gives for a frame."""
        if not self._aspects:
            return self.stream.codec_context.sample_aspect_ratio
        ticks = math.inf if ticks is None else ticks
        before = [aspect for tick, aspect in self._aspects if tick <= ticks]
        return before[-1] if before else self._aspects[0][1]

    @cached_property
    def _container_aspect(self) -> Fraction | None:
        """The shape of pixels that the container gives, if it differs from the stream's own."""
        found = self.stream.sample_aspect_ratio
        return None if found == self._first_aspect else found

    @cached_property
    def _cut(self) -> Cut:
        media = self.media
        found = apertures(media.source, media.container.format.name)
        place = [stream.index for stream in media.streams(self.kind)].index(self.stream.index)
        return found[place] if place < len(found) else Cut()

    def decoded(self, packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame]:
        """See `Track`; notes where the shape of pixels changes."""
        return super().decoded(self._watched(packets))

    def _watched(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        for packet in packets:
            yield packet
            if self._aspects and not packet.is_keyframe:  # only those may bring another
                continue
            aspect = packet.stream.codec_context.sample_aspect_ratio  # as of this packet
            if packet.pts is not None and [aspect] != [a for _, a in self._aspects[-1:]]:
                self._aspects.append((packet.pts, aspect))

    def spare(self, wanted: np.ndarray) -> None:
        """From now on, decode frames that no other refers to only at `wanted` (T,) seconds.

        With none wanted, for every codec; otherwise where it is known to change nothing.
        """
        if self.media.following:  # each recording has ticks of its own
            return
        timed = self.media.container.format.name not in _UNTIMED_CONTAINERS
        if len(wanted) == 0 or (timed and self.stream.codec_context.name in CODECS):
            self._sparing = Sparing(wanted, seconds=self.seconds)

    @property
    def has_spared(self) -> bool:
        """Whether a frame was perhaps not decoded because nobody wants it."""
        return self._sparing is not None and self._sparing.has_spared

    def check_spared(self, wanted: np.ndarray, frames: Frames | None, *, approximate: bool) -> None:
        """Raises `NeedsAll` unless `frames` are what decoding everything would have given."""
        if self._sparing is None:
            return
        if frames is None:
            raise NeedsAll
        shown_at = np.minimum(wanted, self.end_seconds)  # from then on the last frame is held
        late = (shown_at - frames.times_seconds)[frames.valid].max(initial=0)
        if approximate and late > _MAX_LATE:
            raise NeedsAll
        shown = self._sparing.delivered(wanted + TICK_SECONDS, frames.times_seconds)
        if not approximate and (self.failures or not shown):
            raise NeedsAll

    def shown_until(self) -> float:
        """Once all frames are decoded: until when the last is shown; see `Media.shown_until`."""
        return self.media.shown_until(self.stream, self.end_seconds)

    def first_picture(self) -> tuple[float, av.VideoFrame] | None:
        """Start and first frame, `None` if the stream is empty; `DecodeError` if none decodes."""
        for time, _, frame in self.pictures(-math.inf):
            return time, frame
        if not self.is_empty:
            self.raise_nothing_decoded(0.0)
        return None

    def pictures(self, from_seconds: float) -> Iterator[tuple[float, float, av.VideoFrame]]:
        """(start, end, frame) in order of time, beginning at or before `from_seconds`.

        Raises `NeedsAll` if what was left out before it turns out to be needed.
        """
        last = -math.inf
        if self._marks_keyframes:
            packets = self._from_last_keyframe(self.packets(from_seconds), from_seconds)
        else:
            packets = self.packets()
        if self._sparing is not None:
            packets = self._spared(packets)
        elif self.media.container.format.name in _UNTIMED_CONTAINERS:
            packets = self._noted(packets)
        for time, frame in self._timed(self.decoded(packets)):
            if self._sparing is not None and time < last:
                raise NeedsAll  # the times are not those of the pictures: no plan can be made
            if time < max(last, self._keyframe_seconds - TICK_SECONDS):
                continue  # the clock jumped back, or a frame that leads an open group
            if self._sparing is not None and frame.interlaced_frame:
                raise NeedsAll  # of a pair of fields, one may be referred to and the other not
            if last == -math.inf:
                self._check_keyframe(time, frame)
            if frame.duration:
                self._frame_seconds = self.seconds(frame.duration) - self.seconds(0)
            elif not self._frame_seconds and last > -math.inf:
                self._frame_seconds = time - last
            last = time
            end = time + self._frame_seconds
            self.end_seconds = end if self._sparing is None else max(end, self.end_seconds or end)
            yield time, end, frame
        if last == -math.inf and self._has_skipped:
            raise NeedsAll

    def _timed(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[float, av.VideoFrame]]:
        """(start, frame), but for those alone far ahead of both neighbours: their time is false.

        They would hide everything up to that time. Only such leaps are held until the next frame.
        """
        last, held = -math.inf, None
        for frame in frames:
            ticks = self._ticks_of(frame)
            time = self._next_seconds(last) if ticks is None else self.seconds(ticks)
            if held is not None and last <= time < held[0]:
                if self._sparing is not None:
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

    def _ticks_of(self, frame: av.VideoFrame) -> int | None:
        """When a frame starts. Frames come in the order of showing; where only the order of
        decoding is known, so do the times of the packets, once sorted."""
        if self._ticks:
            return heapq.heappop(self._ticks)
        return frame.pts if frame.pts is not None else frame.dts

    def _noted(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        """Notes the times of packets, but for those that fail: no frame comes of them."""
        self._ticks = []
        for packet in packets:
            before = len(self.failures), self.num_frames
            timed = packet.pts is not None and packet.size > 0
            if timed:
                heapq.heappush(self._ticks, packet.pts)
            yield packet
            failed = len(self.failures) > before[0] and self.num_frames == before[1]
            if timed and failed and packet.pts in self._ticks:
                self._ticks.remove(packet.pts)
                heapq.heapify(self._ticks)

    def _spared(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        """Tells the decoder what each packet is for; notes how far the stream reaches."""
        for packet, needed in self._sparing.planned(packets):
            self.stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
            if packet.pts is not None:
                end = self.seconds(packet.pts + (packet.duration or 0))
                self.end_seconds = max(end, self.end_seconds or end)
            yield packet

    def _check_keyframe(self, time: float, frame: av.VideoFrame) -> None:
        """With x264's intra-refresh, say, keyframes in name only are P frames that show rubbish."""
        shown = abs(time - self._keyframe_seconds) < TICK_SECONDS
        if self._has_skipped and not (shown and frame.pict_type == PictureType.I):
            raise NeedsAll

    def _next_seconds(self, last: float) -> float:
        return last + self._frame_seconds if last > -math.inf else 0.0

    def _from_last_keyframe(
        self, packets: Iterator[av.Packet], from_seconds: float
    ) -> Iterator[av.Packet]:
        """Leaves out what lies before the last keyframe that is shown by `from_seconds`.

        Packets are held until one is shown later than that. The frames wanted are shown at or after
        the keyframe and do not refer to anything before it: in an open group, only frames that are
        shown before the keyframe do. `_check_keyframe` looks at whether it is one.
        """
        held: list[av.Packet] = []
        for packet in packets:
            if packet.pts is None or self.seconds(packet.pts) > from_seconds:
                yield from held
                yield packet
                yield from packets
                return
            if packet.is_keyframe:
                self._has_skipped |= self.is_sought or bool(held)
                self._keyframe_seconds = (
                    self.seconds(packet.pts) if self._has_skipped else -math.inf
                )
                held.clear()
            held.append(packet)
        yield from held


class _Picker:
    """Chooses from frames in order of time those shown at the wanted times."""

    def __init__(self, wanted: np.ndarray, *, convert: Convert, size: tuple[int, int]) -> None:
        self._wanted = wanted
        self._order = np.argsort(wanted, kind="stable")
        self._next = 0  # position in `_order`
        self._convert = convert
        self._shown: tuple[float, float, av.VideoFrame] | None = None
        self._pixels = np.empty((len(wanted), 3, *size), dtype=np.uint8)
        self._times = np.empty(len(wanted))
        self._valid = np.empty(len(wanted), dtype=bool)

    def add(self, time: float, end: float, frame: av.VideoFrame) -> bool:
        """Take the next frame; true once nothing more is wanted."""
        if self._shown is not None:
            self._give(self._shown, before=time, valid_before=math.inf)
        elif self._wanted.min() + TICK_SECONDS < time:
            self._give((time, end, frame), before=time, valid_before=-math.inf)
        self._shown = (time, end, frame)
        return self._next == len(self._order)

    def result(self, shown_until: Callable[[], float], *, problems: tuple[str, ...]) -> Frames:
        """Everything wanted; what is still open gets the last frame, valid while it is shown."""
        if self._next < len(self._order):
            assert self._shown is not None
            self._give(self._shown, before=math.inf, valid_before=shown_until())
        return Frames(self._pixels, self._times, self._valid, problems)

    def _give(
        self, shown: tuple[float, float, av.VideoFrame], *, before: float, valid_before: float
    ) -> None:
        """The frame shown, to all times still open that lie before another time."""
        first = None
        while self._next < len(self._order):
            index = self._order[self._next]
            if self._wanted[index] + TICK_SECONDS >= before:
                return
            if first is None:
                first = index
                self._convert(shown[2], out=self._pixels[index])
            else:
                self._pixels[index] = self._pixels[first]
            self._times[index] = shown[0]
            self._valid[index] = self._wanted[index] + TICK_SECONDS < valid_before
            self._next += 1
