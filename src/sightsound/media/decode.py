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

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from sightsound.media.clock import Clock, Jump, Shifts, read_clock
from sightsound.media.links import links
from sightsound.media.source import Source, find

# Containers of which FFmpeg knows how long each stream is; elsewhere streams get the file's length.
_OWN_LENGTHS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "avi"})
# How long the last picture is held under the sound: longer than a slide of a talk or a lyric. After
# it, a single picture says no more about the sound.
HOLD_SECONDS = 60.0
MISSING_SECONDS = 0.25  # a stream that ends this much before its header says is truncated
_ROUNDING_SECONDS = 0.1  # a length that packets confirm so far is kept: it leaves out padding
# Flags of FFmpeg's demuxers (avformat.h): timestamps may jump; and there is no table of packets,
# none in the container (so that FFmpeg makes one while it reads), or no timestamps at all.
_MAY_JUMP = 0x0200
_NO_TABLE = 0x0100 | 0x0080 | _MAY_JUMP
# It has no table either, and stamps of its own accord: what live streams are recorded in.
_LIVE = frozenset({"flv"})
_COUNTED = frozenset({"wav", "w64", "aiff", "au"})  # of PCM every sample has as many bytes

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
        media = Media(path, first, following=tuple(following))
        try:
            if not media.streams():
                raise DecodeError(path, start_seconds, "no video and no audio stream")
            yield media
        finally:
            media.container.close()
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(path, start_seconds, cause_of(error)) from error


def cause_of(error: Exception) -> str:
    """What went wrong, in FFmpeg's words, without the path (it is in the message anyway)."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


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
        self.container = av.open(source.location(), metadata_errors="replace")
        self.following = following
        self.begins = begins
        kind, streams = self.container.format, self.streams()
        # Whether packets must be read before their times are known.
        self.may_jump = bool(kind.flags & _MAY_JUMP) or kind.name in _LIVE
        # Whether the container stores where its streams end; elsewhere FFmpeg guesses.
        self.has_table = not kind.flags & _NO_TABLE and kind.name not in _LIVE
        # Subtitles, data or attached pictures, which may last longer than pictures and sound.
        self.has_other_streams = len(streams) < len(self.container.streams)
        starts = [
            s.start_time * s.time_base for s in streams if s.start_time is not None and s.time_base
        ]
        self.origin = min(starts, default=Fraction(0)) - begins  # time 0 on the container's clock

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
        found = self.clock.jumps if self.may_jump else ()
        return [Jump(jump.at_seconds - float(self.origin), jump.by_seconds) for jump in found]

    def shifts(self, stream: Stream) -> Shifts:
        """What bridges these leaps for the packets of a stream."""
        return (self.clock.shifts if self.may_jump else {}).get(stream.index, Shifts())

    def recordings(self) -> Iterator[Media]:
        """This one, then those that follow it, each open until the next is asked for."""
        yield self
        begins = self.begins
        last = self
        for link in self.following:
            begins += last.read_seconds()
            last = Media(self.path, link, begins=begins)
            with closing(last.container):
                yield last

    def reopen(self) -> None:
        """Back to the start, with all streams new."""
        self.container.close()
        self.container = av.open(self.source.location(), metadata_errors="replace")

    def streams(self, *kinds: str) -> list[Stream]:
        """The streams of some kinds, of video and audio if none is named.

        Pictures attached to a sound file are no video. While an MPEG-TS file is read, FFmpeg may
        make a stream of sound one of pictures, as its last program table says: what counts is what
        a stream was when the file was opened.
        """
        still = Disposition.attached_pic | Disposition.timed_thumbnails
        return [
            stream
            for kind in kinds or _KINDS
            for stream in self.container.streams
            if isinstance(stream, _KINDS[kind])
            and not stream.disposition & still
            and stream.time_base
        ]

    def stream(self, kind: str) -> Stream | None:
        """The stream of a kind that players take; `None` if there is none of this kind.

        Of those that have a decoder, the first that is marked as the default, or just the first.
        """
        streams = self.streams(kind)
        usable = [stream for stream in streams if stream.codec_context is not None]
        if streams and not usable:
            raise DecodeError(self.path, 0.0, f"no decoder for the {kind} stream")
        return min(usable, key=lambda s: not s.disposition & Disposition.default, default=None)

    def counts_bytes(self, stream: Stream) -> bool:
        """Whether a position in the file says which samples are there, and the other way round."""
        is_counted = self.container.format.name in _COUNTED
        return is_counted and stream.codec_context.name.startswith("pcm_")

    def duration_seconds(self) -> float:
        """From time 0 to the end of the longest stream of pictures or sound.

        As the header says; where it does not, guesses, or counts other streams, as packets say.
        """
        if self.following:
            *_, last = self.recordings()
            return float(last.begins + last.read_seconds())
        guess = self._file_seconds()
        if self.has_table or self._holds_all_samples():
            ends = [guess]
            if self.has_other_streams:
                ends = [self.end_seconds(stream) for stream in self.streams()]
            known = [end for end in ends if end is not None]
            if len(known) == len(ends):
                return max(known)
        read = float(self.read_seconds())
        return read if guess is None or abs(guess - read) > _ROUNDING_SECONDS else guess

    def read_seconds(self) -> Fraction:
        """How long this recording is by its packets."""
        end = max(self.clock.ends.values(), default=0.0)
        return max(Fraction(0), Fraction(round(end * 1e6), 10**6) - self.origin - self.begins)

    def end_seconds(self, stream: Stream) -> float | None:
        """Where a stream ends if its header is right, in seconds after time 0.

        In Matroska its tag DURATION says so, such as 00:00:03.004000000; without one, that is where
        its packets end, or the file if that was cut off.
        """
        if not self.has_table:
            return None
        if self.container.format.name in _OWN_LENGTHS:
            if not stream.duration or stream.start_time is None or not stream.time_base:
                return None
            ticks = stream.start_time + stream.duration
            return float(ticks * stream.time_base - self.origin)
        tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
        if tag is not None:
            hours, minutes, seconds = tag.groups()
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - float(self.origin)
        promised = None if self.has_other_streams else self._file_seconds()
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
        sounds = [s for s in self.streams("audio") if s.codec_context is not None]
        if not sounds or (promised is not None and promised - end > MISSING_SECONDS):
            return end
        sound_end: float | None
        if self.following:
            sound_end = self.duration_seconds()
        else:
            sound = self.stream("audio") or sounds[0]
            sound_end = self.end_seconds(sound)
            if sound_end is None:
                sound_end = self.clock.ends.get(sound.index, 0.0) - float(self.origin)
        return max(end, min(sound_end, end + HOLD_SECONDS))

    def _holds_all_samples(self) -> bool:
        """Of PCM: whether the file has as many bytes as its header says, or more."""
        stream = self.container.streams[0]
        base = stream.time_base
        if not self.counts_bytes(stream) or not stream.duration or not base:
            return False
        num_bits = stream.duration * base * (stream.codec_context.bit_rate or 0)
        return num_bits <= 8 * self.source.size

    def _file_seconds(self) -> float | None:
        """What FFmpeg takes for the length of the file, subtitles and all."""
        if self.container.duration is None:
            return None
        start = Fraction(self.container.start_time or 0, av.time_base)
        return float(Fraction(self.container.duration, av.time_base) + start - self.origin)


@lru_cache(maxsize=256)
def _clock(source: Source) -> Clock:
    """See `Media.clock`."""
    media = Media(source.file, source)
    with closing(media.container):
        return read_clock(media.container, media.streams(), may_jump=media.may_jump)
