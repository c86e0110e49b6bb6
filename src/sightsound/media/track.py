"""One stream of an open file while it is read: its packets, its clock, and what failed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Generic, Literal, NoReturn, Self, TypeVar

import av
from av.stream import Discard, Disposition, Stream

from sightsound.media.clock import Jump
from sightsound.media.decode import MISSING_SECONDS, DecodeError, Media, cause_of
from sightsound.media.seek import seek

_MAX_READ_ERRORS = 50  # in a row, without one packet between them: then the rest is lost
_JOIN_SECONDS = 1.0  # around a join, where an MPEG transport stream's counters do not go on


FrameT = TypeVar("FrameT", bound=av.VideoFrame | av.AudioFrame)


class Track(Generic[FrameT]):
    """One stream while it is being decoded, with a record of what failed."""

    kind: ClassVar[Literal["video", "audio"]]

    def __init__(self, media: Media, stream: Stream) -> None:
        self.media = media
        self.stream = stream  # of the first recording: those that follow are closed once read
        self.is_sought = False  # packets before the first one were not read,
        self.beginning: av.Packet | None = None  # but this one, the first of the stream
        self.num_packets = 0
        self.num_frames = 0
        self.failures: list[tuple[float, str]] = []  # to read or decode a packet: when, why
        self.jumps: list[Jump] = []  # from one recording to the next
        self.end_seconds: float | None = None  # of the last frame decoded
        self.use(media, stream)

    def use(self, media: Media, stream: Stream) -> None:
        """From now on, read this stream of this recording alone, and decode in this thread."""
        # Seconds are (ticks * scale - offset) / divisor: whole numbers until the last step.
        base, origin = stream.time_base, media.origin
        assert base is not None  # `Media.streams` takes no others
        self._scale = base.numerator * origin.denominator
        self._offset = origin.numerator * base.denominator
        self._divisor = base.denominator * origin.denominator
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        for other in media.container.streams:
            other.discard = Discard.default if other.index == stream.index else Discard.all

    def reopen(self) -> None:
        """Back to the start of the file, whose other streams are no longer those of before."""
        index = self.stream.index  # FFmpeg frees what it says of a stream when it closes the file
        self.media.reopen()
        self.stream = self.media.container.streams[index]
        self.use(self.media, self.stream)

    @classmethod
    def find(cls, media: Media) -> Self | None:
        """The stream of this kind that players take; `None` if there is none at all."""
        stream = media.stream(cls.kind)
        return None if stream is None else cls(media, stream)

    def seconds(self, ticks: int) -> float:
        """A timestamp of this stream in seconds after time 0."""
        return (ticks * self._scale - self._offset) / self._divisor

    @property
    def header_duration_seconds(self) -> float | None:
        """How long the stream is if its header is right."""
        length, base = self.stream.duration, self.stream.time_base
        return float(length * base) if length and base else None

    @property
    def is_empty(self) -> bool:
        """Nothing was stored, and the header promises nothing."""
        return self.num_packets == 0 and not self.stream.duration and not self.failures

    def raise_nothing_decoded(self, start_seconds: float) -> NoReturn:
        """Raises the `DecodeError` that says why."""
        cause = self.failures[0][1] if self.failures else "no data"
        text = f"nothing of the {self.stream.type} stream could be decoded ({cause})"
        raise DecodeError(self.media.path, start_seconds, text)

    @property
    def choice(self) -> str:
        """Which of several streams of its kind this is, in words; empty for the only one."""
        streams = self.media.streams(self.kind)
        if len(streams) < 2:
            return ""
        number = [stream.index for stream in streams].index(self.stream.index) + 1
        is_default = self.stream.disposition & Disposition.default
        why = "marked as default" if is_default else "the first that decodes"
        return f"{self.kind}: track {number} of {len(streams)} is taken, {why}"

    def problems(self, *, since: float = -math.inf, until: float = math.inf) -> tuple[str, ...]:
        """What failed, and what was joined, between two times, in sentences."""
        return self.damage(since=since, until=until) + self.joins(since=since, until=until)

    def joins(self, *, since: float = -math.inf, until: float = math.inf) -> tuple[str, ...]:
        """Where recordings were joined between two times, in sentences."""
        jumps = [jump for jump in self.jumps if since <= jump.at_seconds <= until]
        return tuple(f"{self.kind}: {jump}" for jump in jumps)

    def damage(self, *, since: float = -math.inf, until: float = math.inf) -> tuple[str, ...]:
        """What failed between two times, in sentences."""
        kind = self.stream.type
        causes = [cause for time, cause in self.failures if since <= time <= until]
        sentences = []
        if causes:
            sentences.append(f"{kind}: {len(causes)} damaged packet(s) ({causes[0]})")
        end = self.end_seconds
        if end is not None and end < until and not self.media.following:
            expected = self.media.end_seconds(self.stream)
            if expected is not None and expected - end > MISSING_SECONDS:
                text = f"{kind}: ends at {end:.2f} s, its header says {expected:.2f} s"
                sentences.append(text)
        return tuple(sentences)

    def is_at_join(self, seconds: float) -> bool:
        """Whether packets count as damaged there only since their numbers start anew."""
        return any(abs(seconds - jump.at_seconds) < _JOIN_SECONDS for jump in self.jumps)

    def packets(self, since: float = -math.inf) -> Iterator[av.Packet]:
        """All packets, then the empty one that flushes the decoder; read errors are survived.

        What comes before a keyframe that is shown by `since` seconds may be left out. Of recordings
        that were joined, one after the other.
        """
        first = seek(self, since)
        self.is_sought = first is not None
        if first is not None:
            self.num_packets += first.size > 0
            yield first
        for media in self.media.recordings():
            stream = self.stream if media is self.media else media.stream(self.kind)
            if stream is None:
                continue
            if media is not self.media:
                self.use(media, stream)
                self.jumps.append(Jump(float(media.begins), math.nan))
            self.jumps += media.jumps()
            shifts, number, num_errors = media.shifts(stream), 0, 0
            while num_errors <= _MAX_READ_ERRORS:
                try:
                    for packet in media.container.demux([stream]):
                        num_errors = 0
                        ticks = shifts.at(number)
                        if ticks and packet.pts is not None:
                            packet.pts += ticks
                        if ticks and packet.dts is not None:
                            packet.dts += ticks
                        number += packet.size > 0
                        self.num_packets += packet.size > 0
                        yield packet
                    break
                except av.FFmpegError as error:
                    num_errors += 1
                    self.failures.append((self.end_seconds or 0.0, cause_of(error)))
                except IndexError:
                    # PyAV 18 trips over streams found while reading, when all has been read.
                    break

    def decode(self, packet: av.Packet) -> Iterator[FrameT]:
        """The frames that come out of the decoder for a packet; what fails is noted."""
        try:
            frames: list[FrameT] = packet.decode()  # type: ignore[assignment]  # of the stream
        except av.FFmpegError as error:
            if packet.size > 0:
                self._note_failure(packet, cause=cause_of(error))
            return
        for frame in frames:
            self.num_frames += 1
            if frame.is_corrupt:
                self._note_failure(packet, cause="the decoder marked a frame as damaged")
            yield frame

    def _note_failure(self, packet: av.Packet, *, cause: str) -> None:
        time = self.end_seconds or 0.0 if packet.pts is None else self.seconds(packet.pts)
        self.failures.append((time, cause))
