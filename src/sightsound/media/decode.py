"""Opening a media file and reading its packets: what pictures and sound have in common.

Time 0 is the earliest start of a video or audio stream, and all times are seconds on the clock of
the container, so streams that start late, edit lists and large offsets need no care from callers.
Files are read in one sequential pass, packet by packet, from the start or from a keyframe that
`seek.py` finds: a packet that fails costs what it holds, not the rest of the file. Everything here
runs in the calling thread.

Recordings that were joined play one after the other: `clock.py` bridges the jumps of a container's
clock, `links.py` finds files that were appended.

`probe.py` says what a file holds, `frames.py` reads its pictures, `sound.py` its sound.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from sightsound.media.clock import (
    Clock,
    Jump,
    Shifts,
    counts_bytes,
    header_counts,
    may_jump,
    read_clock,
)
from sightsound.media.links import links
from sightsound.media.source import Source, find

# Containers of which FFmpeg knows how long each stream is; elsewhere streams get the file's length.
_OWN_LENGTHS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "avi"})
# How long the last picture is held under the sound: longer than a slide of a talk or a lyric. After
# it, a single picture says no more about the sound.
HOLD_SECONDS = 60.0
MISSING_SECONDS = 0.25  # a stream that ends this much before its header says is truncated
_ROUNDING_SECONDS = 0.1  # a length that packets confirm so far is kept: it leaves out padding


_KINDS = {"video": VideoStream, "audio": AudioStream}


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
    try:
        source = find(path)
        first, *following = links(source) or (source,)
        with closing(Media(path, first, following=tuple(following))) as media:
            if not media.real_streams():
                raise DecodeError(path, start_seconds, "no video and no audio stream")
            yield media
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(path, start_seconds, cause_of(error)) from error


def cause_of(error: Exception) -> str:
    """What went wrong, in FFmpeg's words, without the path (it is in the message anyway)."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _container(source: Source) -> InputContainer:
    return av.open(source.location(), metadata_errors="replace")


class Media:
    """An open file and its clock.

    Args:
        path: the file.
        source: its bytes, or those of the first of the recordings that were joined in it.
        following: the others.
        begins: when the container begins, in seconds after time 0.
    """

    def __init__(
        self,
        path: str | Path,
        source: Source,
        *,
        following: tuple[Source, ...] = (),
        begins: Fraction = Fraction(0),
    ) -> None:
        self.path = path
        self.source = source
        self.container = _container(source)
        self.following = following
        self.begins = begins
        streams = [s for s in self.real_streams() if s.start_time is not None]
        start = min((s.start_time * s.time_base for s in streams), default=Fraction(0))
        self.origin = start - begins  # time 0 on the clock of the container

    @property
    def can_be_sought(self) -> bool:
        """Whether the time of a packet is known without those before it."""
        return not self.is_joined

    @property
    def is_joined(self) -> bool:
        """Whether the file holds several recordings, each with a clock of its own."""
        return bool(self.following or self.jumps())

    @cached_property
    def clock(self) -> Clock:
        """What all packets tell; they are read once for each file and process."""
        return _clock(self.source)

    def jumps(self) -> list[Jump]:
        """Where the container's clock leaps, in seconds after time 0."""
        found = self.clock.jumps if may_jump(self.container) else ()
        return [Jump(jump.at_seconds - float(self.origin), jump.by_seconds) for jump in found]

    def shifts(self, stream: Stream) -> Shifts:
        """What bridges these leaps for the packets of a stream."""
        bridged = self.clock.shifts if may_jump(self.container) else {}
        return bridged.get(stream.index, Shifts())

    def recordings(self) -> Iterator[Media]:
        """This one, then those that follow it, each open until the next is asked for."""
        yield self
        begins = self.begins
        last = self
        for link in self.following:
            begins += last.read_seconds()
            with closing(Media(self.path, link, begins=begins)) as last:
                yield last

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def reopen(self) -> None:
        """Back to the start, with all streams new."""
        self.close()
        self.container = _container(self.source)

    def real_streams(self) -> list[Stream]:
        """Video, without attached pictures, and audio."""
        return [*self.streams("video"), *self.streams("audio")]

    def streams(self, kind: str) -> list[Stream]:
        """All streams that were of a kind when the file was opened.

        Pictures attached to a sound file are no video. While an MPEG-TS file is read, FFmpeg may
        make a stream of sound one of pictures, as its last program table says.
        """
        still = Disposition.attached_pic | Disposition.timed_thumbnails
        streams = [s for s in self.container.streams if isinstance(s, _KINDS[kind])]
        return [s for s in streams if not s.disposition & still and s.time_base]

    def stream(self, kind: str) -> Stream | None:
        """The stream of a kind that players take; `None` if there is none of this kind.

        Of those that have a decoder, the first that is marked as the default, or just the first.
        """
        streams = self.streams(kind)
        usable = [stream for stream in streams if stream.codec_context is not None]
        if streams and not usable:
            raise DecodeError(self.path, 0.0, f"no decoder for the {kind} stream")
        return min(usable, key=lambda stream: not is_default(stream), default=None)

    def duration_seconds(self) -> float:
        """From time 0 to the end of the longest stream of pictures or sound.

        As the header says; where it does not, guesses, or counts other streams, as packets say.
        """
        if self.following:
            *_, last = self.recordings()
            return float(last.begins + last.read_seconds())
        known = self._header_seconds()
        if known is not None:
            return known
        read, guess = float(self.read_seconds()), self._file_seconds()
        return read if guess is None or abs(guess - read) > _ROUNDING_SECONDS else guess

    def read_seconds(self) -> Fraction:
        """How long this recording is by its packets."""
        end = max(self.clock.ends.values(), default=0.0)
        return max(Fraction(0), Fraction(round(end * 1e6), 10**6) - self.origin - self.begins)

    def end_seconds(self, stream: Stream) -> float | None:
        """Where a stream ends if its header is right, in seconds after time 0."""
        if not header_counts(self.container):
            return None
        if self.container.format.name not in _OWN_LENGTHS:
            tag = _matroska_end_seconds(stream.metadata.get("DURATION", ""), self.origin)
            return self._unsaid_end_seconds(stream) if tag is None else tag
        if stream.duration and stream.start_time is not None:
            ticks = stream.start_time + stream.duration
            return float(ticks * stream.time_base - self.origin)
        return None

    def _unsaid_end_seconds(self, stream: Stream) -> float | None:
        """Where the packets of a stream end; the end of the file if that was cut off."""
        promised = None if self._has_other_streams() else self._file_seconds()
        if promised is not None and promised - self.read_seconds() > MISSING_SECONDS:
            return promised
        end = self.clock.ends.get(stream.index)
        return None if end is None else end - float(self.origin)

    def shown_until(self, stream: Stream, end: float) -> float:
        """Until when the last picture of a stream is shown that ends at `end`.

        Players hold it while the sound goes on; here for at most `HOLD_SECONDS`, and not where
        pictures are missing that the header promises.
        """
        promised = None if self.following else self.end_seconds(stream)
        if promised is not None and promised - end > MISSING_SECONDS:
            return end
        return max(end, min(self._sound_end_seconds(), end + HOLD_SECONDS))

    def _sound_end_seconds(self) -> float:
        sounds = [s for s in self.streams("audio") if s.codec_context is not None]
        if not sounds:
            return -math.inf
        if self.following:
            return self.duration_seconds()
        stream = self.stream("audio")
        end = self.end_seconds(stream)
        return self.clock.ends.get(stream.index, 0.0) - float(self.origin) if end is None else end

    def _header_seconds(self) -> float | None:
        """The length as the header says; `None` if it does not, or counts what is no picture."""
        if not header_counts(self.container) and not self._holds_all_samples():
            return None
        if not self._has_other_streams():
            return self._file_seconds()
        ends = [self.end_seconds(stream) for stream in self.real_streams()]
        return None if None in ends else max(ends)

    def _holds_all_samples(self) -> bool:
        """Of PCM: whether the file has as many bytes as its header says, or more."""
        stream = self.container.streams[0]
        if not counts_bytes(self.container, stream) or not stream.duration:
            return False
        num_bits = stream.duration * stream.time_base * stream.codec_context.bit_rate
        return num_bits <= 8 * self.source.size

    def _has_other_streams(self) -> bool:
        """Whether there are subtitles, data or attached pictures, which may last longer."""
        return len(self.real_streams()) < len(self.container.streams)

    def _file_seconds(self) -> float | None:
        """What FFmpeg takes for the length of the file, subtitles and all."""
        if self.container.duration is None:
            return None
        start = Fraction(self.container.start_time or 0, av.time_base)
        return float(Fraction(self.container.duration, av.time_base) + start - self.origin)

    def packets(self, streams: list[Stream]) -> Iterator[av.Packet]:
        """The packets from here on, then an empty one for each stream: it flushes the decoder."""
        try:
            yield from self.container.demux(streams)
        except IndexError:
            # PyAV 18 trips over streams that were found while reading, when all has been read.
            return


def is_default(stream: Stream) -> bool:
    """Whether the file marks the stream as the one to take."""
    return bool(stream.disposition & Disposition.default)


@lru_cache(maxsize=256)
def _clock(source: Source) -> Clock:
    """See `Media.clock`."""
    with closing(Media(source.file, source)) as media:
        return read_clock(media.container, media.real_streams())


def _matroska_end_seconds(tag: str, origin: Fraction) -> float | None:
    """Where a stream ends by its tag DURATION, such as 00:00:03.004000000; `None` without one."""
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", tag)
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - float(origin)
