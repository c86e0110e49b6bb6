"""Opening a media file and reading its packets: what pictures and sound have in common.

Time 0 is the earliest start of a video or audio stream, and all times are seconds on the clock of
the container, so streams that start late, edit lists and large offsets need no care from callers.
Files are read in one sequential pass, packet by packet, from the start or from a keyframe that
`seek.py` finds: a packet that fails costs what it holds, not the rest of the file. Everything here
runs in the calling thread.

`probe.py` says what a file holds, `frames.py` reads its pictures, `sound.py` its sound.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import ClassVar, Literal, NoReturn, Self

import av
from av.container import InputContainer
from av.stream import Discard, Disposition, Stream

from sightsound.media.seek import seek

_MAX_READ_ERRORS = 50  # in a row, without one packet between them: then the rest is lost
_MISSING_SECONDS = 0.25  # a stream that ends this much before its header says is truncated


class DecodeError(RuntimeError):
    """A file, or a stream of it, of which nothing could be decoded."""

    def __init__(self, path: str | Path, start_seconds: float, cause: str) -> None:
        super().__init__(path, start_seconds, cause)  # these arguments make it picklable
        self.path = str(path)
        self.start_seconds = start_seconds
        self.cause = cause

    def __str__(self) -> str:
        return f"cannot decode {self.path!r} from {self.start_seconds:.3f} s: {self.cause}"


@contextmanager
def opened(path: str | Path, *, start_seconds: float) -> Iterator[Media]:
    """The opened file; every failure of FFmpeg inside the block becomes a `DecodeError`."""
    if not os.path.isfile(path):
        cause = "not a file" if os.path.exists(path) else "no such file"
        raise DecodeError(path, start_seconds, cause)
    try:
        with closing(Media(path, _container(path))) as media:
            if not media.real_streams():
                raise DecodeError(path, start_seconds, "no video and no audio stream")
            yield media
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(path, start_seconds, _describe(error)) from error


def _container(path: str | Path) -> InputContainer:
    # "file:" keeps FFmpeg from reading a protocol or a pattern into a name.
    return av.open(f"file:{os.fspath(path)}", metadata_errors="replace")


def _describe(error: Exception) -> str:
    """What went wrong, in FFmpeg's words, without the path (it is in the message anyway)."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class Media:
    """An open file and its clock."""

    def __init__(self, path: str | Path, container: InputContainer) -> None:
        self.path = path
        self.container = container
        streams = [s for s in self.real_streams() if s.start_time is not None]
        self.origin = min((s.start_time * s.time_base for s in streams), default=Fraction(0))

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def reopen(self) -> None:
        """Back to the start, with all streams new."""
        self.close()
        self.container = _container(self.path)

    def real_streams(self) -> list[Stream]:
        """Video, without attached pictures, and audio."""
        return [*self.streams("video"), *self.streams("audio")]

    def streams(self, kind: str) -> list[Stream]:
        """All streams of a kind; pictures attached to a sound file are no video."""
        still = Disposition.attached_pic | Disposition.timed_thumbnails
        streams = getattr(self.container.streams, kind)
        return [s for s in streams if not s.disposition & still and s.time_base]

    def stream(self, kind: str) -> Stream | None:
        """The first stream of a kind that has a decoder; `None` if there is none of this kind."""
        streams = self.streams(kind)
        for stream in streams:
            if stream.codec_context is not None:
                return stream
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


class Track:
    """One stream while it is being decoded, with a record of what failed."""

    kind: ClassVar[Literal["video", "audio"]]

    def __init__(self, media: Media, stream: Stream) -> None:
        self.media = media
        self.stream = stream
        # Seconds are (ticks * scale - offset) / divisor: whole numbers until the last step.
        base, origin = stream.time_base, media.origin
        self._scale = base.numerator * origin.denominator
        self._offset = origin.numerator * base.denominator
        self._divisor = base.denominator * origin.denominator
        self.is_sought = False  # packets before the first one were not read
        self.num_packets = 0
        self.num_frames = 0
        self.failures: list[tuple[float, str]] = []  # to read or decode a packet: when, why
        self.end_seconds: float | None = None  # of the last frame decoded
        self.use_alone()

    def use_alone(self) -> None:
        """Read no other stream of the file, and decode in this thread."""
        self.stream.codec_context.thread_count = 1
        self.stream.codec_context.thread_type = "NONE"
        for stream in self.media.container.streams:
            chosen = stream.index == self.stream.index
            stream.discard = Discard.default if chosen else Discard.all

    def reopen(self) -> None:
        """Back to the start of the file, whose other streams are no longer those of before."""
        index = self.stream.index  # FFmpeg frees what it says of a stream when it closes the file
        self.media.reopen()
        self.stream = self.media.container.streams[index]
        self.use_alone()

    @classmethod
    def find(cls, media: Media) -> Self | None:
        """The first stream of this kind that has a decoder; `None` if there is none at all."""
        stream = media.stream(cls.kind)
        return None if stream is None else cls(media, stream)

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
    def is_empty(self) -> bool:
        """Nothing was stored, and the header promises nothing."""
        return self.num_packets == 0 and not self.stream.duration and not self.failures

    def raise_nothing_decoded(self, start_seconds: float) -> NoReturn:
        """Raises the `DecodeError` that says why."""
        cause = self.failures[0][1] if self.failures else "no data"
        text = f"nothing of the {self.stream.type} stream could be decoded ({cause})"
        raise DecodeError(self.media.path, start_seconds, text)

    def problems(self, *, since: float = -math.inf, until: float = math.inf) -> tuple[str, ...]:
        """What failed between two times, in sentences."""
        kind = self.stream.type
        causes = [cause for time, cause in self.failures if since <= time <= until]
        found = []
        if causes:
            found.append(f"{kind}: {len(causes)} damaged packet(s) ({causes[0]})")
        end, expected = self.end_seconds, self.header_end_seconds
        if end is not None and expected is not None and expected - end > _MISSING_SECONDS:
            if end < until:
                found.append(f"{kind}: ends at {end:.2f} s, its header says {expected:.2f} s")
        return tuple(found)

    def packets(self, since: float = -math.inf) -> Iterator[av.Packet]:
        """All packets, then the empty one that flushes the decoder; read errors are survived.

        What comes before a keyframe that is shown by `since` seconds may be left out.
        """
        errors = 0
        first = seek(self, since)
        self.is_sought = first is not None
        found = iter([first] if self.is_sought else [])
        while errors <= _MAX_READ_ERRORS:
            try:
                for packet in chain(found, self.media.packets([self.stream])):
                    errors = 0
                    self.num_packets += packet.size > 0
                    yield packet
                return
            except av.FFmpegError as error:
                errors += 1
                self.failures.append((self.end_seconds or 0.0, _describe(error)))

    def decoded(self, packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame | av.AudioFrame]:
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
        time = self.end_seconds or 0.0 if packet.pts is None else self.seconds(packet.pts)
        self.failures.append((time, cause))


def _matroska_end_seconds(tag: str, origin: Fraction) -> float | None:
    """Where a stream ends by its tag DURATION, such as 00:00:03.004000000; `None` without one."""
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", tag)
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - float(origin)
