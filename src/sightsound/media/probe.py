"""What a media file holds: streams, durations, rates, displayed size, what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sightsound.media.decode import DecodeError, Media, opened
from sightsound.media.display import Display
from sightsound.media.frames import VideoTrack
from sightsound.media.pixels import orientation_of
from sightsound.media.sound import AudioTrack


@dataclass(frozen=True)
class VideoStreamInfo:
    """The video stream that players take: the default one, no attached picture."""

    codec: str
    height: int  # of all pixels that are stored, after rotation
    width: int
    frames_per_second: float | None  # average; `None`: the file does not say
    start_seconds: float  # after time 0
    duration_seconds: float | None
    rotation_degrees: int  # counterclockwise, already applied to height and width
    shown_height: int  # as displayed: cropped, stretched to its shape on a screen, and turned
    shown_width: int
    display: Display  # what makes them differ


@dataclass(frozen=True)
class AudioStreamInfo:
    """The audio stream that players take: the default one."""

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


def probe(path: str | Path) -> MediaInfo:
    """What `path` holds: streams, durations, rates, displayed size, what is missing.

    Decodes the first frame, because only frames tell their rotation. Raises `DecodeError` if the
    file cannot be opened or has no stream that can be decoded.
    """
    problems: list[str] = []
    with opened(path, start_seconds=0.0) as media:
        audio = _probe_audio(media, problems=problems)
        video = _probe_video(media, problems=problems)
        duration = media.duration_seconds()
    missing = tuple(name for name, info in (("video", video), ("audio", audio)) if info is None)
    if len(missing) == 2:
        raise DecodeError(path, 0.0, "; ".join(problems) or "empty streams")
    return MediaInfo(str(path), duration, video, audio, missing, tuple(problems))


def read_duration(path: str | Path) -> float:
    """Seconds from time 0 to the end of the longest stream, without decoding anything.

    Raises `DecodeError` if the file cannot be opened or has no video and no audio stream.
    """
    with opened(path, start_seconds=0.0) as media:
        return media.duration_seconds()


def _probe_video(media: Media, *, problems: list[str]) -> VideoStreamInfo | None:
    try:
        track = VideoTrack.find(media)
        found = None if track is None else track.first_picture()
    except DecodeError as error:
        problems.append(error.cause)
        return None
    if track is None or found is None:
        return None
    start, frame = found
    turn = orientation_of(frame)
    display = track.display_of(frame)
    height, width = turn.displayed(frame.height, frame.width)
    shown_height, shown_width = turn.displayed(*display.size(frame.height, frame.width))
    rate = track.stream.average_rate
    return VideoStreamInfo(
        codec=track.stream.codec_context.codec.name,
        height=height,
        width=width,
        frames_per_second=float(rate) if rate else None,
        start_seconds=start,
        duration_seconds=track.header_duration_seconds,
        rotation_degrees=turn.degrees,
        shown_height=shown_height,
        shown_width=shown_width,
        display=display,
    )


def _probe_audio(media: Media, *, problems: list[str]) -> AudioStreamInfo | None:
    try:
        track = AudioTrack.find(media)
    except DecodeError as error:
        problems.append(error.cause)
        return None
    if track is None:
        return None
    context, start = track.stream.codec_context, track.stream.start_time
    return AudioStreamInfo(
        codec=context.codec.name,
        rate_hz=context.sample_rate,
        num_channels=context.layout.nb_channels,
        start_seconds=0.0 if start is None else track.seconds(start),
        duration_seconds=track.header_duration_seconds,
    )
