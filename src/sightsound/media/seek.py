"""Going to a place far into a file without reading what lies before it.

    packets    k . . . . k . . . . k . . . . k . .      k: decoding may start here
    asked for                         ^ since
    sought                         ^                    the last k at least a second earlier

What is read from there on is what reading from the start comes to in the end, packet by packet:
`frames.py` and `sound.py` leave out the same packets either way, so pictures and sound are the same
to the bit. That needs timestamps that are stored or counted, and an index that is true, or one that
FFmpeg makes on the way: files are sought into where there are both, and the first packet shows
where the index led.
If that is too late, it is tried again from further back, and in the end from the start.
"""

from __future__ import annotations

import math
from typing import Protocol

import av
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from sightsound.media.decode import Media

NEAR_SECONDS = 30.0  # what lies before is read in a few milliseconds
_MARGIN_SECONDS = 1.0  # indexes tell when packets are decoded; they are shown up to so much later
_BACK_SECONDS = (0.0, 10.0, 60.0)  # further back each time, where an index is not quite true
# Timestamps stored with the packets, and an index; where it is missing FFmpeg makes one.
_INDEXED = frozenset({"mov", "mp4", "matroska", "webm"})
# Matroska indexes pictures only, where there are any.
_INDEXED_BY_PICTURES = frozenset({"matroska", "webm"})
_NUMBERED = frozenset({"flac"})  # each packet says which sample is its first
_ORDERED = frozenset({"avi"})  # its index numbers the packets: their times, unless reordered
# No index, but the times of packets are stored, and the clock is known not to jump.
_SEARCHED = frozenset({"mpegts", "flv"})
# Nothing but packets one after the other: FFmpeg itself reads up to the place, and counts.
_FOLLOWING = frozenset({"mp3", "aac", "ac3", "eac3", "dts"})


class Seekable(Protocol):
    """What is asked of a `Track`."""

    media: Media
    stream: Stream
    beginning: av.Packet | None

    def seconds(self, ticks: int) -> float:
        """A timestamp in seconds after time 0."""
        ...

    def use(self, media: Media, stream: Stream) -> None:
        """Read no other stream."""
        ...

    def reopen(self) -> None:
        """Back to the start of the file."""
        ...


def can_seek(track: Seekable) -> bool:
    """Whether reading from the middle gives the packets that reading from the start would."""
    if track.media.is_joined:
        return False
    names = set(track.media.container.format.name.split(","))
    return bool(
        names & (_INDEXED | _NUMBERED | _SEARCHED | _FOLLOWING)
        or track.media.counts_bytes(track.stream)
        or (names & _ORDERED and is_in_order(track.stream))
    )


def is_in_order(stream: Stream) -> bool:
    """Whether packets come in the order in which they are shown, as far as FFmpeg has seen."""
    return not (isinstance(stream, VideoStream) and stream.codec_context.has_b_frames)


def seek(track: Seekable, since: float) -> av.Packet | None:
    """The packet to go on from: a keyframe that is shown by `since` seconds.

    `None`: nothing was left out, and the file is at its start. It may have been opened anew.
    """
    if since <= NEAR_SECONDS or not can_seek(track):
        return None
    track.beginning = _next(track, shown=True)
    for back in _BACK_SECONDS:
        aim = since - _MARGIN_SECONDS - back
        packet = _landed(track, aim) if aim > NEAR_SECONDS / 2 else None
        while packet is not None and packet.pts is not None and track.seconds(packet.pts) <= since:
            if packet.is_keyframe:
                return packet
            packet = _next(track)
    track.reopen()
    return None


def _landed(track: Seekable, aim: float) -> av.Packet | None:
    """The first packet after a jump to `aim` seconds; `None` if that fails or nothing follows."""
    guide = track.stream  # the stream whose index is used
    if _INDEXED_BY_PICTURES & set(track.media.container.format.name.split(",")):
        guide = next(iter(track.media.streams("video")), guide)
    assert guide.time_base is not None  # `Media.streams` takes no others
    ticks = math.floor((aim + float(track.media.origin)) / float(guide.time_base))
    guide.discard = Discard.default  # FFmpeg does not index what it discards
    try:
        track.media.container.seek(ticks, stream=guide)
    except av.FFmpegError:
        return None
    track.use(track.media, track.stream)
    return _next(track)


def _next(track: Seekable, *, shown: bool = False) -> av.Packet | None:
    """The next packet, of those that are `shown` if edit lists cut off others; `None`: no more."""
    try:
        for packet in track.media.container.demux([track.stream]):
            if not (shown and packet.is_discard):
                return packet
    except (av.FFmpegError, IndexError):  # as in `Track.packets`
        return None
    return None
