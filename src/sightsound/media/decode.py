"""Media files to arrays: frames shown at given times, sound between two times.

Time 0 is the earliest start of a video or audio stream, and all times are seconds on the clock of
the container, so streams that start late, edit lists and large offsets need no care from callers.
Files are read from the start in one sequential pass, packet by packet: a packet that fails costs
what it holds, not the rest of the file. Everything here runs in the calling thread.

Not done: de-interlacing, stretching of non-square pixels, tone mapping of HDR.
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

import av
import numpy as np
import soxr
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideData
from av.stream import Discard, Disposition, Stream
from av.video.frame import PictureType
from av.video.reformatter import Interpolation, VideoReformatter

from sightsound.media.geometry import Box, full_box

Crop = Callable[[int, int], Box]
"""From the displayed (height, width) to the part that is wanted."""

_TICK_SECONDS = 1e-6  # slack when times are compared: far below any frame, far above float noise
_MAX_READ_ERRORS = 50  # in a row, without one packet between them: then the rest is lost
_PREROLL_SECONDS = 1.0  # sound decoded ahead of a window: covers overlap, reservoirs, start-up
_MAX_LATE_PACKETS = 4  # in a row: a single one may have a damaged timestamp
_GAP_SECONDS = 0.02  # jumps of audio timestamps below this are jitter; lost packets are longer
_MAX_RATE_HZ = 1_000_000  # more is damage, and would fill the memory
_EDGE_SECONDS = 0.02  # sound on either side of a window that the resampler's filter sees
_MISSING_SECONDS = 0.25  # a stream that ends this much before its header says is truncated
_MAX_SCALED_PIXELS = 1 << 24  # above this a crop is cut out before it is enlarged
# Containers that mark frames from which decoding can start; elsewhere the mark is guessed.
_INDEXED_CONTAINERS = frozenset({"mov", "mp4", "matroska", "webm"})


class DecodeError(RuntimeError):
    """A file, or a stream of it, of which nothing could be decoded."""

    def __init__(self, path: str | Path, start_seconds: float, cause: str) -> None:
        super().__init__(path, start_seconds, cause)  # these arguments make it picklable
        self.path = str(path)
        self.start_seconds = start_seconds
        self.cause = cause

    def __str__(self) -> str:
        return f"cannot decode {self.path!r} from {self.start_seconds:.3f} s: {self.cause}"


@dataclass(frozen=True)
class VideoStreamInfo:
    """The first real video stream."""

    codec: str
    height: int  # as displayed, after rotation
    width: int
    frames_per_second: float | None  # average; `None`: the file does not say
    start_seconds: float  # after time 0
    duration_seconds: float | None
    rotation_degrees: int  # counterclockwise, already applied to height and width


@dataclass(frozen=True)
class AudioStreamInfo:
    """The first audio stream."""

    codec: str
    rate_hz: int
    num_channels: int
    start_seconds: float  # after time 0; 0 where the header does not say (Matroska)
    duration_seconds: float | None


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds, as its headers (and its first frame) say."""

    path: str
    duration_seconds: float  # from time 0 to the end of the longest stream
    video: VideoStreamInfo | None
    audio: AudioStreamInfo | None
    missing: tuple[str, ...]  # of "video", "audio": no such stream, or one that cannot be decoded
    problems: tuple[str, ...] = ()


@dataclass
class Frames:
    """Frames of one file."""

    pixels: np.ndarray  # (T, C, H, W) uint8, RGB
    times_seconds: np.ndarray  # (T,) float64: when the frames given were really shown first
    valid: np.ndarray  # (T,) bool: false before the first frame and from the end of the stream on
    problems: tuple[str, ...] = ()


@dataclass
class Samples:
    """Sound of one file."""

    samples: np.ndarray  # (S,) float32 in [-1, 1], mono; zero where not valid
    valid: np.ndarray  # (S,) bool: false outside the stream and where packets are lost
    problems: tuple[str, ...] = ()


def probe(path: str | Path) -> MediaInfo:
    """What `path` holds: streams, durations, rates, displayed size, what is missing.

    Decodes the first frame, because only frames tell their rotation. Raises `DecodeError` if the
    file cannot be opened or has no stream that can be decoded.
    """
    problems: list[str] = []
    with _opened(path, start_seconds=0.0) as media:
        audio = _probe_audio(media, problems=problems)
        video = _probe_video(media, problems=problems)
        duration = media.header_duration_seconds()
    missing = tuple(name for name, info in (("video", video), ("audio", audio)) if info is None)
    if len(missing) == 2:
        raise DecodeError(path, 0.0, "; ".join(problems) or "empty streams")
    if duration is None:  # recorded without an end in mind: what browsers write, for instance
        with _opened(path, start_seconds=0.0) as media:
            duration = media.scanned_duration_seconds()
    return MediaInfo(str(path), duration, video, audio, missing, tuple(problems))


def read_frames(
    path: str | Path,
    times_seconds: np.ndarray,
    size: tuple[int, int],
    *,
    crop: Crop | None = None,
) -> Frames | None:
    """The frames shown at `times_seconds` (T,), scaled to `size` (H, W).

    The frame shown at a time is the last one that starts at or before it. Times before the first
    frame get the first frame, times from the end of the stream on the last one; `valid` is false
    there. `crop` chooses the part that is scaled (default: all of it; the aspect ratio changes if
    it differs). Without a video stream (cover art is none) the result is `None`. Raises
    `DecodeError` if there is a video stream but no frame of it can be decoded.
    """
    wanted = np.asarray(times_seconds, dtype=np.float64)
    if wanted.ndim != 1 or len(wanted) == 0 or not np.isfinite(wanted).all():
        raise ValueError(
            f"times_seconds: got {times_seconds!r}; accepted: one or more finite numbers, (T,)"
        )
    if min(size) < 1:
        raise ValueError(f"size: got {size}; accepted: (height, width), both at least 1")
    convert = _Converter(size, crop=crop)
    try:
        return _read_frames(path, wanted, convert=convert, skip=True)
    except _FalseKeyframe:
        return _read_frames(path, wanted, convert=convert, skip=False)


def read_frame_times(path: str | Path) -> np.ndarray | None:
    """When each frame of the video stream is first shown, (N,) float64 seconds.

    Decodes the whole stream. `None` and `DecodeError` as in `read_frames`.
    """
    with _opened(path, start_seconds=0.0) as media:
        track = media.track("video")
        if track is None:
            return None
        times = [time for time, _, _ in track.pictures(-math.inf)]
        if not times and not track.is_empty:
            track.raise_nothing_decoded(0.0)
        return np.array(times) if times else None


def read_audio(
    path: str | Path, start_seconds: float, stop_seconds: float, rate: int = 16000
) -> Samples | None:
    """The sound in [start_seconds, stop_seconds), mean of all channels, at `rate` per second.

    Sample k is the one nearest to start_seconds + k / rate, and there are
    round((stop_seconds - start_seconds) * rate) of them. What lies outside the stream, or was lost,
    is zero and not valid. Without an audio stream the result is `None`. Raises `DecodeError` if
    there is an audio stream but nothing of it can be decoded.
    """
    if not (math.isfinite(start_seconds) and start_seconds <= stop_seconds < math.inf):
        raise ValueError(
            f"start_seconds, stop_seconds: got {start_seconds}, {stop_seconds}; accepted: finite "
            "numbers, the start not after the stop"
        )
    with _opened(path, start_seconds=start_seconds) as media:
        track = media.track("audio")
        if track is None:
            return None
        window = _SoundWindow(start_seconds, stop_seconds, rate)
        for time, frame in track.sound(start_seconds, stop_seconds):
            window.add(time, frame)
        if track.num_frames == 0:
            if track.is_empty:
                return None
            if track.num_failures or track.num_packets == 0:
                track.raise_nothing_decoded(start_seconds)
        samples, valid = window.result()
        problems = track.problems(since=start_seconds, until=stop_seconds)
        return Samples(samples, valid, problems)


class _FalseKeyframe(Exception):
    """Decoding cannot start where the container says it can."""


def _read_frames(
    path: str | Path, wanted: np.ndarray, *, convert: _Converter, skip: bool
) -> Frames | None:
    """See `read_frames`; with `skip`, decoding starts at the last keyframe that is early enough."""
    first, last = float(wanted.min()), float(wanted.max())
    with _opened(path, start_seconds=first) as media:
        track = media.track("video")
        if track is None:
            return None
        picker = _Picker(wanted, convert=convert)
        for time, end, frame in track.pictures(first if skip else -math.inf):
            if picker.add(time, end, frame):
                break
        if track.num_frames == 0:
            if track.is_empty:
                return None
            track.raise_nothing_decoded(first)
        return picker.result(problems=track.problems(until=last))


@contextmanager
def _opened(path: str | Path, *, start_seconds: float) -> Iterator[_Media]:
    """The opened file; every failure of FFmpeg inside the block becomes a `DecodeError`."""
    if not os.path.isfile(path):
        cause = "not a file" if os.path.exists(path) else "no such file"
        raise DecodeError(path, start_seconds, cause)
    try:
        # "file:" keeps FFmpeg from reading a protocol or a pattern into a name.
        with av.open(f"file:{os.fspath(path)}", metadata_errors="replace") as container:
            media = _Media(path, container)
            if not media.real_streams():
                raise DecodeError(path, start_seconds, "no video and no audio stream")
            yield media
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(path, start_seconds, _describe(error)) from error


def _describe(error: Exception) -> str:
    """What went wrong, in FFmpeg's words, without the path (it is in the message anyway)."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class _Media:
    """An open file and its clock."""

    def __init__(self, path: str | Path, container: InputContainer) -> None:
        self.path = path
        self.container = container
        streams = [s for s in self.real_streams() if s.start_time is not None]
        self.origin = min((s.start_time * s.time_base for s in streams), default=Fraction(0))

    def real_streams(self) -> list[Stream]:
        """Video, without attached pictures, and audio."""
        return [*self.streams("video"), *self.streams("audio")]

    def streams(self, kind: str) -> list[Stream]:
        """All streams of a kind; pictures attached to a sound file are no video."""
        still = Disposition.attached_pic | Disposition.timed_thumbnails
        streams = getattr(self.container.streams, kind)
        return [s for s in streams if not s.disposition & still and s.time_base]

    def track(self, kind: str) -> _Track | None:
        """The first stream of a kind that has a decoder; `None` if there is none of this kind."""
        streams = self.streams(kind)
        for stream in streams:
            if stream.codec_context is not None:
                return _Track(self, stream)
        if streams:
            raise DecodeError(self.path, 0.0, f"no decoder for the {kind} stream")
        return None

    def header_duration_seconds(self) -> float | None:
        """From time 0 to the end of the longest stream, if the file says so."""
        if self.container.duration is None:
            return None
        start = Fraction(self.container.start_time or 0, av.time_base)
        return float(Fraction(self.container.duration, av.time_base) + start - self.origin)

    def scanned_duration_seconds(self) -> float:
        """The same from the packets: reads the whole file, decodes nothing."""
        ends = [0.0]
        for packet in self.packets(self.real_streams()):
            if packet.pts is not None:
                end = (packet.pts + (packet.duration or 0)) * packet.stream.time_base
                ends.append(float(end - self.origin))
        return max(ends)

    def packets(self, streams: list[Stream]) -> Iterator[av.Packet]:
        """The packets from here on, then an empty one for each stream: it flushes the decoder."""
        try:
            yield from self.container.demux(streams)
        except IndexError:
            # PyAV 18 trips over streams that were found while reading, when all has been read.
            return


class _Track:
    """One stream while it is being decoded, with a record of what failed."""

    def __init__(self, media: _Media, stream: Stream) -> None:
        self.media = media
        self.stream = stream
        # Seconds are (ticks * scale - offset) / divisor: whole numbers until the last step.
        base, origin = stream.time_base, media.origin
        self._scale = base.numerator * origin.denominator
        self._offset = origin.numerator * base.denominator
        self._divisor = base.denominator * origin.denominator
        self.num_packets = 0
        self.num_frames = 0
        self.num_skipped = 0
        self._keyframe_seconds = -math.inf  # where decoding starts if something was skipped
        self._failures: list[tuple[float, str]] = []
        self._end_seconds: float | None = None
        self._frame_seconds = self._usual_frame_seconds()
        self._use_one_thread()

    def _use_one_thread(self) -> None:
        self.stream.codec_context.thread_count = 1
        self.stream.codec_context.thread_type = "NONE"
        for stream in self.media.container.streams:
            chosen = stream.index == self.stream.index
            stream.discard = Discard.default if chosen else Discard.all

    def _usual_frame_seconds(self) -> float:
        rate = self.stream.average_rate if self.stream.type == "video" else None
        return float(1 / rate) if rate else 0.0

    def seconds(self, ticks: int) -> float:
        """A timestamp of this stream in seconds after time 0."""
        return (ticks * self._scale - self._offset) / self._divisor

    @property
    def header_start_seconds(self) -> float:
        """Where the stream starts after time 0."""
        start = self.stream.start_time
        return 0.0 if start is None else self.seconds(start)

    @property
    def header_duration_seconds(self) -> float | None:
        """How long the stream is if its header is right."""
        return float(self.stream.duration * self.stream.time_base) if self.stream.duration else None

    @property
    def header_end_seconds(self) -> float | None:
        """Where the stream ends if its header is right."""
        duration = self.header_duration_seconds
        if duration is not None:
            return self.header_start_seconds + duration
        return _matroska_end_seconds(self.stream.metadata.get("DURATION", ""), self.media.origin)

    @property
    def num_failures(self) -> int:
        """Packets that did not decode, and failures to read one."""
        return len(self._failures)

    @property
    def is_empty(self) -> bool:
        """Nothing was stored, and the header promises nothing."""
        return self.num_packets == 0 and not self.stream.duration and not self._failures

    def first_picture(self) -> tuple[float, av.VideoFrame] | None:
        """Start and first frame, `None` if the stream is empty; `DecodeError` if none decodes."""
        for time, _, frame in self.pictures(-math.inf):
            return time, frame
        if not self.is_empty:
            self.raise_nothing_decoded(0.0)
        return None

    def raise_nothing_decoded(self, start_seconds: float) -> NoReturn:
        """Raises the `DecodeError` that says why."""
        cause = self._failures[0][1] if self._failures else "no data"
        text = f"nothing of the {self.stream.type} stream could be decoded ({cause})"
        raise DecodeError(self.media.path, start_seconds, text)

    def problems(self, *, since: float = -math.inf, until: float = math.inf) -> tuple[str, ...]:
        """What failed between two times, in sentences."""
        kind = self.stream.type
        causes = [cause for time, cause in self._failures if since <= time <= until]
        found = []
        if causes:
            found.append(f"{kind}: {len(causes)} damaged packet(s) ({causes[0]})")
        end, expected = self._end_seconds, self.header_end_seconds
        if end is not None and expected is not None and expected - end > _MISSING_SECONDS:
            if end < until:
                found.append(f"{kind}: ends at {end:.2f} s, its header says {expected:.2f} s")
        return tuple(found)

    def pictures(self, from_seconds: float) -> Iterator[tuple[float, float, av.VideoFrame]]:
        """(start, end, frame) in order of time, beginning at or before `from_seconds`.

        Raises `_FalseKeyframe` if what was left out before it turns out to be needed.
        """
        last = -math.inf
        packets = self._packets()
        if _INDEXED_CONTAINERS & set(self.media.container.format.name.split(",")):
            packets = self._from_last_keyframe(packets, from_seconds)
        for frame in self._decoded(packets):
            ticks = frame.pts if frame.pts is not None else frame.dts
            time = self._next_seconds(last) if ticks is None else self.seconds(ticks)
            if time < max(last, self._keyframe_seconds - _TICK_SECONDS):
                continue  # the clock jumped back, or a frame that leads an open group
            if last == -math.inf:
                self._check_keyframe(time, frame)
            if frame.duration:
                self._frame_seconds = self.seconds(frame.duration) - self.seconds(0)
            elif not self._frame_seconds and last > -math.inf:
                self._frame_seconds = time - last
            last = time
            self._end_seconds = time + self._frame_seconds
            yield time, self._end_seconds, frame
        if last == -math.inf and self.num_skipped:
            raise _FalseKeyframe

    def _check_keyframe(self, time: float, frame: av.VideoFrame) -> None:
        """With x264's intra-refresh, say, keyframes in name only are P frames that show rubbish."""
        shown = abs(time - self._keyframe_seconds) < _TICK_SECONDS
        if self.num_skipped and not (shown and frame.pict_type == PictureType.I):
            raise _FalseKeyframe

    def _next_seconds(self, last: float) -> float:
        return last + self._frame_seconds if last > -math.inf else 0.0

    def sound(self, start: float, stop: float) -> Iterator[tuple[float, av.AudioFrame]]:
        """(start, frame) of what may be heard in [start, stop), and a little around it."""
        expected = math.nan
        for frame in self._decoded(self._around(self._packets(), start=start, stop=stop)):
            time = self._sound_seconds(frame, expected)
            if not (0 < frame.sample_rate <= _MAX_RATE_HZ and frame.layout.nb_channels):
                self._failures.append((time, f"impossible rate of {frame.sample_rate} Hz"))
                continue
            expected = time + frame.samples / frame.sample_rate
            self._end_seconds = expected
            yield time, frame

    def _sound_seconds(self, frame: av.AudioFrame, expected: float) -> float:
        """When a frame starts: where the last one ended, unless its timestamp says otherwise."""
        time = math.nan if frame.pts is None else self.seconds(frame.pts)
        if math.isnan(time) and math.isnan(expected):
            return 0.0
        return expected if math.isnan(time) or abs(time - expected) < _GAP_SECONDS else time

    def _packets(self) -> Iterator[av.Packet]:
        """All packets, then the empty one that flushes the decoder; read errors are survived."""
        errors = 0
        while errors <= _MAX_READ_ERRORS:
            try:
                for packet in self.media.packets([self.stream]):
                    errors = 0
                    self.num_packets += packet.size > 0
                    yield packet
                return
            except av.FFmpegError as error:
                errors += 1
                self._failures.append((self._end_seconds or 0.0, _describe(error)))

    def _decoded(self, packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame | av.AudioFrame]:
        """The frames that decode; what fails is noted."""
        for packet in packets:
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                if packet.size > 0:
                    self._note_failure(packet, cause=_describe(error))
                continue
            for frame in frames:
                self.num_frames += 1
                if frame.is_corrupt:
                    self._note_failure(packet, cause="the decoder marked a frame as damaged")
                yield frame

    def _note_failure(self, packet: av.Packet, *, cause: str) -> None:
        time = self._end_seconds or 0.0 if packet.pts is None else self.seconds(packet.pts)
        self._failures.append((time, cause))

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
                self.num_skipped += len(held)
                self._keyframe_seconds = self.seconds(packet.pts) if self.num_skipped else -math.inf
                held.clear()
            held.append(packet)
        yield from held

    def _around(
        self, packets: Iterator[av.Packet], *, start: float, stop: float
    ) -> Iterator[av.Packet]:
        """Leaves out packets well before `start` and ends well after `stop`."""
        num_late = 0
        for packet in packets:
            if packet.pts is not None:
                time = self.seconds(packet.pts)
                length = self.seconds(packet.duration or 0) - self.seconds(0)
                if time + length < start - _PREROLL_SECONDS:
                    self.num_skipped += 1
                    continue
                num_late = num_late + 1 if time > stop + _PREROLL_SECONDS else 0
                if num_late > _MAX_LATE_PACKETS:
                    return
            yield packet


def _matroska_end_seconds(tag: str, origin: Fraction) -> float | None:
    """Where a stream ends by its tag DURATION, such as 00:00:03.004000000; `None` without one."""
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", tag)
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - float(origin)


class _Picker:
    """Chooses from frames in order of time those shown at the wanted times."""

    def __init__(self, wanted: np.ndarray, *, convert: _Converter) -> None:
        self._wanted = wanted
        self._order = np.argsort(wanted, kind="stable")
        self._next = 0  # position in `_order`
        self._convert = convert
        self._shown: tuple[float, float, av.VideoFrame] | None = None
        self._pixels = np.empty((len(wanted), 3, *convert.size), dtype=np.uint8)
        self._times = np.empty(len(wanted))
        self._valid = np.empty(len(wanted), dtype=bool)

    def add(self, time: float, end: float, frame: av.VideoFrame) -> bool:
        """Take the next frame; true once nothing more is wanted."""
        if self._shown is not None:
            self._give(self._shown, before=time, valid_before=math.inf)
        elif self._wanted.min() + _TICK_SECONDS < time:
            self._give((time, end, frame), before=time, valid_before=-math.inf)
        self._shown = (time, end, frame)
        return self._next == len(self._order)

    def result(self, *, problems: tuple[str, ...]) -> Frames:
        """Everything wanted; what is still open gets the last frame."""
        if self._next < len(self._order):
            assert self._shown is not None
            self._give(self._shown, before=math.inf, valid_before=self._shown[1])
        return Frames(self._pixels, self._times, self._valid, problems)

    def _give(
        self, shown: tuple[float, float, av.VideoFrame], *, before: float, valid_before: float
    ) -> None:
        """The frame shown, to all times still open that lie before another time."""
        first = None
        while self._next < len(self._order):
            index = self._order[self._next]
            if self._wanted[index] + _TICK_SECONDS >= before:
                return
            if first is None:
                first = index
                self._convert(shown[2], out=self._pixels[index])
            else:
                self._pixels[index] = self._pixels[first]
            self._times[index] = shown[0]
            self._valid[index] = self._wanted[index] + _TICK_SECONDS < valid_before
            self._next += 1


class _Converter:
    """Turns decoded frames into RGB of one size: scaled by swscale, cropped, turned upright."""

    def __init__(self, size: tuple[int, int], *, crop: Crop | None) -> None:
        self.size = (int(size[0]), int(size[1]))
        self._crop = crop or full_box
        self._boxes: dict[tuple[int, int], Box] = {}  # one draw per clip, not per frame
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame, *, out: np.ndarray) -> None:
        """Writes to `out` (C, H, W)."""
        turn = _orientation(frame)
        shape = turn.displayed(frame.height, frame.width)
        box = self._box(*shape)
        # The whole frame is scaled so that the box has the size of the output, then cut.
        height = max(self.size[0], round(shape[0] * self.size[0] / box.height))
        width = max(self.size[1], round(shape[1] * self.size[1] / box.width))
        if height * width > _MAX_SCALED_PIXELS:
            self._magnify(frame, turn=turn, box=box, out=out)
            return
        top = min(round(box.top * height / shape[0]), height - self.size[0])
        left = min(round(box.left * width / shape[1]), width - self.size[1])
        rows, columns = slice(top, top + self.size[0]), slice(left, left + self.size[1])
        planes = self._scaled(frame, *turn.displayed(height, width))
        for channel, plane in zip(out, planes, strict=True):
            channel[:] = turn.apply(plane)[rows, columns]

    def _magnify(
        self, frame: av.VideoFrame, *, turn: _Orientation, box: Box, out: np.ndarray
    ) -> None:
        """For a small box of a large frame: cut to whole pixels first, then scaled."""
        rows = slice(math.floor(box.top), math.ceil(box.top + box.height))
        columns = slice(math.floor(box.left), math.ceil(box.left + box.width))
        planes = self._scaled(frame, frame.height, frame.width)
        part = np.stack([turn.apply(plane)[rows, columns] for plane in planes], axis=-1)
        cut = av.VideoFrame.from_ndarray(part, format="rgb24")
        out[:] = self._scaled(cut, *self.size)

    def _scaled(self, frame: av.VideoFrame, height: int, width: int) -> list[np.ndarray]:
        """Red, green and blue of the whole frame, each (H, W) uint8."""
        # Planar and with accurate rounding: packed RGB comes out 1 to 3 levels too dark.
        scaled = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="gbrp",
            interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND,
            threads=1,
        )
        green, blue, red = (
            np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, :width]
            for plane in scaled.planes
        )
        return [red, green, blue]

    def _box(self, height: int, width: int) -> Box:
        if (height, width) not in self._boxes:
            self._boxes[height, width] = _checked(self._crop(height, width), height, width)
        return self._boxes[height, width]


def _checked(box: Box, height: int, width: int) -> Box:
    slack = 1e-6 * max(height, width)
    inside = box.top >= -slack and box.left >= -slack and box.height > 0 and box.width > 0
    inside = inside and box.top + box.height <= height + slack
    if not (inside and box.left + box.width <= width + slack):
        raise ValueError(f"crop: got {box} for a frame of {height}x{width}; accepted: a box inside")
    return box


@dataclass(frozen=True)
class _Orientation:
    """One of the eight ways to lay a picture: transposed first, then flipped."""

    transposed: bool = False
    flipped_rows: bool = False
    flipped_columns: bool = False

    @property
    def degrees(self) -> int:
        """Counterclockwise; a mirrored picture counts as its rotation after the mirror."""
        if self.transposed:
            return 90 if self.flipped_rows else 270
        return 180 if self.flipped_rows else 0

    def displayed(self, height: int, width: int) -> tuple[int, int]:
        """Stored to displayed size, or back."""
        return (width, height) if self.transposed else (height, width)

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W) as stored to (H, W) as displayed: a view."""
        pixels = pixels.swapaxes(0, 1) if self.transposed else pixels
        pixels = pixels[::-1] if self.flipped_rows else pixels
        return pixels[:, ::-1] if self.flipped_columns else pixels


_UPRIGHT = _Orientation()


def _orientation(frame: av.VideoFrame) -> _Orientation:
    """From the display matrix: x' = a x + c y, y' = b x + d y (ISO 14496-12, section 6.2.2)."""
    side_data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if side_data is None:
        return _UPRIGHT
    a, b, _, c, d = struct.unpack("=5i", bytes(side_data)[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return _Orientation(False, flipped_rows=d < 0, flipped_columns=a < 0)
    return _Orientation(True, flipped_rows=b < 0, flipped_columns=c < 0)


class _SoundWindow:
    """Places decoded sound on a clock of samples and resamples what a window covers."""

    def __init__(self, start: float, stop: float, rate: int) -> None:
        self._rate = rate
        self._first = round(start * rate)
        self._num_samples = round((stop - start) * rate)
        # One line per rate found in the stream, which is nearly always one.
        self._lines: dict[int, _Line] = {}

    def add(self, time: float, frame: av.AudioFrame) -> None:
        """Take a decoded frame that starts at `time`."""
        rate = frame.sample_rate
        if rate not in self._lines:
            self._lines[rate] = _Line(self._first, self._num_samples, self._rate, rate)
        self._lines[rate].write(round(time * rate), _mono(frame))

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """samples (S,) float32 and valid (S,) bool."""
        samples = np.zeros(self._num_samples, dtype=np.float32)
        valid = np.zeros(self._num_samples, dtype=bool)
        for line in self._lines.values():
            part, heard = line.resampled()
            samples[heard] = part[heard]
            valid |= heard
        return samples, valid


class _Line:
    """Sound at the stream's own rate, sample n being at n / rate seconds after time 0.

    The line starts where a sample of both rates falls on the same time, so that the result does not
    depend on where the window starts.
    """

    def __init__(self, first: int, num_samples: int, out_rate: int, rate: int) -> None:
        self._rate, self._out_rate = rate, out_rate
        self._out_first, self._num_samples = first, num_samples
        step, out_step = _ratio(rate, out_rate)
        edge = math.ceil(_EDGE_SECONDS * out_rate / out_step)
        block = first // out_step - edge  # blocks of `step` samples last as long as of `out_step`
        stop_block = -(-(first + num_samples) // out_step) + edge
        self._first = block * step
        self._skip = first - block * out_step
        self._samples = np.zeros((stop_block - block) * step, dtype=np.float32)
        self._heard = np.zeros(len(self._samples), dtype=bool)

    def write(self, position: int, samples: np.ndarray) -> None:
        """Sound (S,) from sample `position` on; what lies outside the window is left out."""
        begin = position - self._first
        low, high = max(begin, 0), min(begin + len(samples), len(self._samples))
        if low < high:
            self._samples[low:high] = samples[low - begin : high - begin]
            self._heard[low:high] = True

    def resampled(self) -> tuple[np.ndarray, np.ndarray]:
        """samples (S,) in [-1, 1] and whether they were heard (S,), at the wanted rate."""
        samples = self._samples
        if self._rate != self._out_rate:
            samples = soxr.resample(samples, self._rate, self._out_rate)
        part = samples[self._skip : self._skip + self._num_samples]
        out = np.arange(self._skip, self._skip + self._num_samples)
        nearest = np.minimum(out * self._rate // self._out_rate, len(self._heard) - 1)
        return np.clip(part, -1.0, 1.0), self._heard[nearest]


def _ratio(rate: int, out_rate: int) -> tuple[int, int]:
    common = math.gcd(rate, out_rate)
    return rate // common, out_rate // common


# FFmpeg's sample formats; the planar ones have the same names with a "p" behind.
_SAMPLE_TYPES = {
    "u8": np.uint8,
    "s16": np.int16,
    "s32": np.int32,
    "s64": np.int64,
    "flt": np.float32,
    "dbl": np.float64,
}


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """The mean of a frame's channels, (S,) float32, full scale 1."""
    samples = _channels(frame)
    if samples.dtype.kind == "f":
        return samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)
    bits = 8 * samples.dtype.itemsize - 1
    middle = 1 << bits if samples.dtype.kind == "u" else 0
    return ((samples.mean(axis=0, dtype=np.float64) - middle) / (1 << bits)).astype(np.float32)


def _channels(frame: av.AudioFrame) -> np.ndarray:
    """Samples as decoded, (channels, S).

    Not by PyAV's `to_ndarray`: with eight channels or more, which damage can also fake, it takes
    what follows the pointers in memory for further planes, and crashes.
    """
    num_channels, num_samples = frame.layout.nb_channels, frame.samples
    kind = _SAMPLE_TYPES[frame.format.name.removesuffix("p")]
    if frame.format.is_planar:
        planes = [np.frombuffer(p, kind, num_samples) for p in frame.planes[:num_channels]]
        return planes[0][None] if num_channels == 1 else np.stack(planes)
    packed = np.frombuffer(frame.planes[0], kind, num_samples * num_channels)
    return packed.reshape(num_samples, num_channels).T


def _probe_video(media: _Media, *, problems: list[str]) -> VideoStreamInfo | None:
    try:
        track = media.track("video")
        found = None if track is None else track.first_picture()
    except DecodeError as error:
        problems.append(error.cause)
        return None
    if track is None or found is None:
        return None
    start, frame = found
    turn = _orientation(frame)
    height, width = turn.displayed(frame.height, frame.width)
    rate = track.stream.average_rate
    return VideoStreamInfo(
        codec=track.stream.codec_context.codec.name,
        height=height,
        width=width,
        frames_per_second=float(rate) if rate else None,
        start_seconds=start,
        duration_seconds=track.header_duration_seconds,
        rotation_degrees=turn.degrees,
    )


def _probe_audio(media: _Media, *, problems: list[str]) -> AudioStreamInfo | None:
    try:
        track = media.track("audio")
    except DecodeError as error:
        problems.append(error.cause)
        return None
    if track is None:
        return None
    context = track.stream.codec_context
    return AudioStreamInfo(
        codec=context.codec.name,
        rate_hz=context.sample_rate,
        num_channels=context.layout.nb_channels,
        start_seconds=track.header_start_seconds,
        duration_seconds=track.header_duration_seconds,
    )
