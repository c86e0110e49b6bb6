"""One stream of an open file while it is read: its packets, its clock, and what failed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import ClassVar, Literal, NoReturn, Self

import av
from av.stream import Discard, Stream

from sightsound.media.clock import Jump
from sightsound.media.decode import MISSING_SECONDS, DecodeError, Media, cause_of, is_default
from sightsound.media.seek import seek

_MAX_READ_ERRORS = 50  # in a row, without one packet between them: then the rest is lost
_JOIN_SECONDS = 1.0  # around a join, where an MPEG transport stream's counters do not go on


class Track:
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
        self._enter(media, stream)

    def _enter(self, media: Media, stream: Stream) -> None:
        """From now on, packets and timestamps are those of this recording."""
        # Seconds are (ticks * scale - offset) / divisor: whole numbers until the last step.
        base, origin = stream.time_base, media.origin
        self._scale = base.numerator * origin.denominator
        self._offset = origin.numerator * base.denominator
        self._divisor = base.denominator * origin.denominator
        _use_alone(media, stream)

    def use_alone(self) -> None:
        """Read no other stream of the file, and decode in this thread."""
        _use_alone(self.media, self.stream)

    def reopen(self) -> None:
        """Back to the start of the file, whose other streams are no longer those of before."""
        index = self.stream.index  # FFmpeg frees what it says of a stream when it closes the file
        self.media.reopen()
        self.stream = self.media.container.streams[index]
        self.use_alone()

    @classmethod
    def find(cls, media: Media) -> Self | None:
        """The stream of this kind that players take; `None` if there is none at all."""
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
        """Where the stream ends if its header is right; `None` where it is not to be trusted."""
        return None if self.media.following else self.media.end_seconds(self.stream)

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
        place = [stream.index for stream in streams].index(self.stream.index)
        why = "marked as default" if is_default(self.stream) else "the first that decodes"
        return f"{self.kind}: track {place + 1} of {len(streams)} is taken, {why}"

    def problems(self, *, since: float = -math.inf, until: float = math.inf) -> tuple[str, ...]:
        """What failed, and what was joined, between two times, in sentences."""
        return (*self.damage(since=since, until=until), *self.joins(since=since, until=until))

    def damage(self, *, since: float = -math.inf, until: float = math.inf) -> tuple[str, ...]:
        """What failed between two times, in sentences."""
        kind = self.stream.type
        causes = [cause for time, cause in self.failures if since <= time <= until]
        found = []
        if causes:
            found.append(f"{kind}: {len(causes)} damaged packet(s) ({causes[0]})")
        end = self.end_seconds
        if end is not None and end < until:
            expected = self.header_end_seconds
            if expected is not None and expected - end > MISSING_SECONDS:
                found.append(f"{kind}: ends at {end:.2f} s, its header says {expected:.2f} s")
        return tuple(found)

    def joins(self, *, since: float = -math.inf, until: float = math.inf) -> tuple[str, ...]:
        """Where recordings were joined between two times, in sentences."""
        found = [jump for jump in self.jumps if since <= jump.at_seconds <= until]
        return tuple(f"{self.kind}: {jump}" for jump in found)

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
        found = iter([first] if self.is_sought else [])
        for media in self.media.recordings():
            stream = self.stream if media is self.media else media.stream(self.kind)
            if stream is None:
                continue
            if media is not self.media:
                self._enter(media, stream)
                self.jumps.append(Jump(float(media.begins), math.nan))
            self.jumps += media.jumps()
            yield from self._bridged(media, stream, chain(found, self._read(media, stream)))

    def _bridged(
        self, media: Media, stream: Stream, packets: Iterator[av.Packet]
    ) -> Iterator[av.Packet]:
        """The packets of one recording, where its clock does not jump any more."""
        shifts, number = media.shifts(stream), 0
        for packet in packets:
            ticks = shifts.at(number)
            if ticks and packet.pts is not None:
                packet.pts += ticks
            if ticks and packet.dts is not None:
                packet.dts += ticks
            number += packet.size > 0
            self.num_packets += packet.size > 0
            yield packet

    def _read(self, media: Media, stream: Stream) -> Iterator[av.Packet]:
        errors = 0
        while errors <= _MAX_READ_ERRORS:
            try:
                for packet in media.packets([stream]):
                    errors = 0
                    yield packet
                return
            except av.FFmpegError as error:
                errors += 1
                self.failures.append((self.end_seconds or 0.0, cause_of(error)))

    def decoded(self, packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame | av.AudioFrame]:
        """The frames that decode; what fails is noted."""
        for packet in packets:
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                if packet.size > 0:
                    self._note_failure(packet, cause=cause_of(error))
                continue
            for frame in frames:
                self.num_frames += 1
                if frame.is_corrupt:
                    self._note_failure(packet, cause="the decoder marked a frame as damaged")
                yield frame

    def _note_failure(self, packet: av.Packet, *, cause: str) -> None:
        time = self.end_seconds or 0.0 if packet.pts is None else self.seconds(packet.pts)
        self.failures.append((time, cause))


def _use_alone(media: Media, stream: Stream) -> None:
    stream.codec_context.thread_count = 1
    stream.codec_context.thread_type = "NONE"
    for other in media.container.streams:
        chosen = other.index == stream.index
        other.discard = Discard.default if chosen else Discard.all
