"""Examines a clip: what its streams hold, gaps in time, loudness, motion, what is damaged.

Packets are read from end to end, pictures and sound decoded up to a budget of about a second of
one core; of a longer clip, parts spread over it. `Health.unseen` says what was left out.
What the numbers mean for training is for others to say (`doctor/`).
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from sightsound.media.decode import DecodeError, opened
from sightsound.media.downmix import channels_of, counted
from sightsound.media.fingerprint import RATE_HZ, SECONDS, fingerprint, likeness
from sightsound.media.frames import VideoTrack, read_frames
from sightsound.media.packets import Packets, Timing
from sightsound.media.probe import AudioStreamInfo, VideoStreamInfo, probe
from sightsound.media.sound import AudioTrack, Samples, read_audio
from sightsound.media.track import Track

WHOLE_PIXELS = 300e6  # a clip of no more is decoded whole: 10 s of 1280x720 at 30 frames per second
PART_PIXELS = 60e6  # that much of a larger one
NUM_PARTS = 16
WHOLE_SECONDS = 120.0  # of sound: the same for it, about half a second of work
PART_SECONDS = 30.0
NUM_SOUND_PARTS = 4

SIDE = 32  # pixels of the small grey pictures that are compared
PRINT_SIDE = 16  # and of those kept as the fingerprint of the pictures
PRINT_TIMES = (0.125, 0.375, 0.625, 0.875)  # shares of the clip at which they are taken
NUM_POINTS = 200  # of the outline of the sound
RATE_OF_SOUND_HZ = 16000
_BLOCK_SECONDS = 0.1  # loudness is that of the loudest tenth of a second
_SILENCE_DB = -120.0  # written for no sound at all
_SAME_LEVELS = 1  # a cell that changes by no more is the same: rounding, and codecs at rest
_JPEG_QUALITY = 70  # of thumbnails: 3 kB for 160x90


@dataclass(frozen=True)
class Pictures:
    """What the video stream shows during the clip."""

    codec: str
    height: int  # as displayed
    width: int
    frames_per_second: float | None  # as the file says
    timing: Timing
    num_decoded: int
    decoded_seconds: float  # from the first to the last frame decoded
    moving: float  # share of the decoded frames that differ from the one before
    change: int  # levels by which some cell of the picture changes over the clip, of 255
    contrast: int  # largest difference of levels within a picture
    prints: bytes  # small grey pictures at `PRINT_TIMES`; empty if nothing was decoded
    stored_height: int = 0  # of all pixels that are stored; 0 where it was not asked
    stored_width: int = 0
    pixel_aspect: Fraction = Fraction(1)  # width / height of a pixel on the screen


@dataclass(frozen=True)
class Sound:
    """What the audio stream lets hear during the clip."""

    codec: str
    rate_hz: int
    timing: Timing
    loudest_db: float  # loudest tenth of a second of all channels as one; full scale is 0
    channels_db: tuple[float, ...]  # each channel that is mixed in, over all that was decoded
    mono_db: float  # all channels as one, the same
    outline: bytes  # peaks over the clip, 255 at full scale
    prints: bytes  # see `fingerprint`


@dataclass(frozen=True)
class Health:
    """What an examination found. Times are seconds of the file."""

    start_seconds: float = 0.0
    end_seconds: float = 0.0
    file_seconds: float = 0.0
    video: Pictures | None = None
    audio: Sound | None = None
    unreadable: tuple[str, ...] = ()  # why the file, or a stream of it, does not decode at all
    problems: tuple[str, ...] = ()  # what is damaged, in sentences
    unseen: str = ""  # what was not decoded
    joined: tuple[str, ...] = ()  # where recordings were joined, in sentences
    choices: tuple[str, ...] = ()  # which of several tracks are taken


def examine(
    path: str | Path,
    *,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    audio_path: str | Path | None = None,
) -> Health:
    """The health of the clip [start_seconds, end_seconds) of a file; by default all of it.

    `audio_path` names the file that has the sound, if it is another one. Raises `DecodeError` if a
    file cannot be opened or has no stream that can be decoded.
    """
    info = probe(path)
    heard = info if audio_path is None else probe(audio_path)
    duration = max(info.duration_seconds, heard.duration_seconds)
    stop = min(duration, math.inf if end_seconds is None else end_seconds)
    unreadable = info.problems
    if heard is not info:  # of each file, only the stream that is used
        unreadable = (
            *(cause for cause in info.problems if "video" in cause),
            *(cause for cause in heard.problems if "audio" in cause),
        )
    health = Health(start_seconds, stop, duration, unreadable=unreadable)
    if stop <= start_seconds:
        return health
    if info.video is not None:
        health = _with_pictures(health, path, info.video)
    if heard.audio is not None:
        health = _with_sound(health, audio_path or path, heard.audio)
    return health


def compare_sound(first: tuple[str | Path, float, float], second: tuple) -> float:
    """`likeness` of the starts of two parts (path, start_seconds, end_seconds) of files."""
    return likeness(_start_of_sound(*first), _start_of_sound(*second))


@lru_cache(maxsize=64)  # 40 MB: a clip is often compared with several others in turn
def _start_of_sound(path: str | Path, start: float, stop: float) -> np.ndarray:
    sound = read_audio(path, start, min(stop, start + SECONDS), RATE_HZ)
    return np.zeros(1, np.float32) if sound is None else sound.samples


def thumbnail(path: str | Path, *, at_seconds: float, size: tuple[int, int]) -> bytes:
    """The frame shown at a time as JPEG of `size` (H, W); empty without a video stream."""
    from PIL import Image

    frames = read_frames(path, np.array([at_seconds]), size)
    if frames is None:
        return b""
    file = io.BytesIO()
    Image.fromarray(frames.pixels[0].transpose(1, 2, 0)).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


# --- pictures -----------------------------------------------------------------------------------


def _with_pictures(health: Health, path: str | Path, info: VideoStreamInfo) -> Health:
    start, stop = health.start_seconds, health.end_seconds
    with opened(path, start_seconds=start) as media:  # open to the end: `track` reads its headers
        track = VideoTrack.find(media)
        assert track is not None  # `info` is about it
        packets = Packets.of(track)
        timing = packets.timing(start, stop)
        if timing is not None:
            pieces = _pieces(packets, start, stop, num_pixels=info.height * info.width)
            look = _looked_at(path, packets, pieces, timing, track=track)
            pictures = Pictures(
                codec=info.codec,
                height=info.shown_height,
                width=info.shown_width,
                frames_per_second=info.frames_per_second,
                timing=timing,
                num_decoded=len(look.times),
                stored_height=info.height,
                stored_width=info.width,
                pixel_aspect=info.display.pixel_aspect,
                **look.measures(timing),
            )
            health = dataclasses.replace(health, video=pictures)
            if sum(map(len, pieces)) < timing.num_packets:
                seen = f"{len(look.times)} of {timing.num_packets} pictures"
                health = _noted(health, unseen=f"all but {seen}")
        return _with_track(_noted(health, problems=track.damage(since=start, until=stop)), track)


def _pieces(packets: Packets, start: float, stop: float, *, num_pixels: int) -> list[range]:
    """Which packets to decode: all of the clip, or some from each of several keyframes."""
    wanted = np.flatnonzero(packets.inside(start, stop))
    keyframes = np.flatnonzero(packets.is_keyframe)
    before = keyframes[keyframes <= wanted[0]]
    first, end = int(before[-1]) if len(before) else 0, int(wanted[-1]) + 1
    if (end - first) * num_pixels <= WHOLE_PIXELS:
        return [range(first, end)]
    inside = [first, *keyframes[(keyframes > first) & (keyframes < end)].tolist()]
    chosen = np.linspace(0, len(inside) - 1, min(NUM_PARTS, len(inside))).round().astype(int)
    starts = [inside[index] for index in chosen]
    length = max(2, int(PART_PIXELS / num_pixels / len(starts)))
    ends = [*starts[1:], end]
    return [range(k, min(k + length, e)) for k, e in zip(starts, ends, strict=True)]


def _looked_at(
    path: str | Path, known: Packets, pieces: list[range], timing: Timing, *, track: VideoTrack
) -> _Look:
    """What decoding the pieces shows; `track` notes what fails, each moment once."""
    look = _Look()
    with opened(path, start_seconds=timing.start_seconds) as media:
        decoding = VideoTrack.find(media)
        assert decoding is not None  # `track` is the same stream
        packets = _numbered(decoding, known, since=float(known.times[pieces[0].start]))
        for piece in pieces:
            for packet in _piece(decoding, packets, piece):
                for frame in decoding.decode(packet):
                    ticks = frame.dts if frame.pts is None else frame.pts
                    time = math.nan if ticks is None else decoding.seconds(ticks)
                    if not time < timing.start_seconds and not time >= timing.end_seconds:
                        look.add(time, frame, piece=piece.start)
            decoding.stream.codec_context.flush_buffers()
    track.failures = list(dict(track.failures + decoding.failures).items())
    return look


def _numbered(
    track: VideoTrack, known: Packets, *, since: float
) -> Iterator[tuple[int, av.Packet]]:
    """(index among `known`, packet), from a keyframe shown by `since` seconds or the start on."""
    packets = track.packets(since)
    first = next(packets, None)
    if first is None:
        return
    number: int | None = 0
    if track.is_sought and first.pts is not None:
        number = known.keyframe_at(track.seconds(first.pts))
    if number is None:  # its time was guessed from those before it
        track.reopen()
        yield from enumerate(track.packets())
        return
    yield from enumerate(chain([first], packets), number)


def _piece(
    track: VideoTrack, packets: Iterator[tuple[int, av.Packet]], piece: range
) -> Iterator[av.Packet]:
    """The packets of a piece, then the empty one that flushes the decoder."""
    for number, packet in packets:
        if number in piece and packet.size > 0:
            yield packet
        if number >= piece.stop - 1:
            break
    last = av.Packet()
    last.stream = track.stream
    yield last


class _Look:
    """Small grey pictures of the frames decoded, and what they tell."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._greys: list[np.ndarray] = []
        self._pieces: list[int] = []
        self._reformatter = VideoReformatter()

    def add(self, time: float, frame: av.VideoFrame, *, piece: int) -> None:
        """Take the next frame of a piece."""
        small = self._reformatter.reformat(
            frame,
            width=SIDE,
            height=SIDE,
            format="gray",
            interpolation=Interpolation.AREA,
            threads=1,
        )
        plane = np.frombuffer(bytes(small.planes[0]), np.uint8).reshape(SIDE, -1)[:, :SIDE]
        self._greys.append(plane.astype(np.int16))
        self.times.append(time)
        self._pieces.append(piece)

    def measures(self, timing: Timing) -> dict:
        """The fields of `Pictures` that need decoded frames."""
        if not self.times:
            return {
                "decoded_seconds": 0.0,
                "moving": 0.0,
                "change": 0,
                "contrast": 0,
                "prints": b"",
            }
        greys, times = np.stack(self._greys), np.nan_to_num(np.array(self.times))
        together = np.diff(self._pieces) == 0
        steps = np.abs(np.diff(greys, axis=0)).max(axis=(1, 2))[together]
        return {
            "decoded_seconds": float(times.max() - times.min()),
            "moving": float((steps > _SAME_LEVELS).mean()) if len(steps) else 0.0,
            "change": int(np.ptp(greys, axis=0).max()),
            "contrast": int(np.ptp(greys, axis=(1, 2)).max()),
            "prints": _prints(greys, times, timing),
        }


def _prints(greys: np.ndarray, times: np.ndarray, timing: Timing) -> bytes:
    """The frames nearest to `PRINT_TIMES`, smaller still."""
    length = timing.end_seconds - timing.start_seconds
    wanted = [timing.start_seconds + share * length for share in PRINT_TIMES]
    chosen = greys[[int(np.abs(times - time).argmin()) for time in wanted]]
    cells = chosen.reshape(len(wanted), PRINT_SIDE, SIDE // PRINT_SIDE, PRINT_SIDE, -1)
    return cells.mean(axis=(2, 4)).round().astype(np.uint8).tobytes()


# --- sound --------------------------------------------------------------------------------------


def _with_sound(health: Health, path: str | Path, info: AudioStreamInfo) -> Health:
    start, stop = health.start_seconds, health.end_seconds
    with opened(path, start_seconds=start) as media:
        track = AudioTrack.find(media)
        assert track is not None  # `info` is about it
        timing = Packets.of(track).timing(start, stop)
        lost = track.damage(since=start, until=stop)
        health = _with_track(health, track)
        joined = track.joins()
    if timing is None:
        return _noted(health, problems=lost)
    # All of the sound, or parts spread over it.
    begin, end = timing.start_seconds, timing.end_seconds
    windows = [(begin, end)]
    if end - begin > WHOLE_SECONDS:
        starts = np.linspace(begin, end - PART_SECONDS, NUM_SOUND_PARTS).tolist()
        windows = [(part, part + PART_SECONDS) for part in starts]
    try:
        parts = [read_audio(path, *window, RATE_OF_SOUND_HZ) for window in windows]
    except DecodeError as error:
        return _noted(health, unreadable=(error.cause,))
    heard = [part for part in parts if part is not None]
    samples = np.concatenate([part.samples[part.valid] for part in heard] or [np.empty(0, "f4")])
    told = dict.fromkeys(text for part in heard for text in part.problems)
    problems = tuple(text for text in told if text not in joined) or lost
    if not len(samples):
        return _noted(health, problems=problems)
    channels, mono = _levels(path, windows)
    sound = Sound(
        codec=info.codec,
        rate_hz=info.rate_hz,
        timing=timing,
        loudest_db=_loudest(samples),
        channels_db=channels,
        mono_db=mono,
        outline=_outline(health, windows, parts),
        prints=fingerprint(heard[0].samples, RATE_OF_SOUND_HZ),
    )
    if len(windows) > 1:
        seconds = NUM_SOUND_PARTS * PART_SECONDS
        health = _noted(health, unseen=f"all but {seconds:.0f} of {end - begin:.0f} s of sound")
    return dataclasses.replace(_noted(health, problems=problems), audio=sound)


def _levels(
    path: str | Path, windows: list[tuple[float, float]]
) -> tuple[tuple[float, ...], float]:
    """Loudness of each channel that counts and of all as one, in decibels of full scale."""
    squares, count = np.zeros(1), 0
    for start, stop in windows:
        with opened(path, start_seconds=start) as media:
            track = AudioTrack.find(media)
            assert track is not None  # it was examined before
            for time, _, mixed, frame in track.sound(start, stop):
                channels = _full_scale(channels_of(frame))[counted(frame.layout)]
                rows = np.vstack([channels, mixed])
                rows = rows[:, np.isfinite(mixed)]
                end = time + frame.samples / frame.sample_rate
                if time < stop and end > start and (count == 0 or len(rows) == len(squares)):
                    squares = squares + np.square(rows).sum(axis=1)
                    count += rows.shape[1]
    *channels, of_all = (_decibels(float(value) / max(1, count)) for value in squares)
    return tuple(channels), of_all


def _full_scale(samples: np.ndarray) -> np.ndarray:
    """(channels, S) of any type as float64 between -1 and 1."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    half = 1 << (8 * samples.dtype.itemsize - 1)
    return (samples.astype(np.float64) - (half if samples.dtype.kind == "u" else 0)) / half


def _loudest(samples: np.ndarray) -> float:
    """Of the loudest tenth of a second, in decibels of full scale; a constant is no sound."""
    size = min(len(samples), int(_BLOCK_SECONDS * RATE_OF_SOUND_HZ))
    blocks = samples[: len(samples) // size * size].reshape(-1, size) - samples.mean()
    return _decibels(float(np.square(blocks, dtype=np.float64).mean(axis=1).max()))


def _decibels(power: float) -> float:
    return 10 * math.log10(power) if power > 10 ** (_SILENCE_DB / 10) else _SILENCE_DB


def _outline(
    health: Health, windows: list[tuple[float, float]], parts: list[Samples | None]
) -> bytes:
    """The largest sample at each of `NUM_POINTS` moments of the clip."""
    peaks = np.zeros(NUM_POINTS, np.float32)
    scale = NUM_POINTS / (health.end_seconds - health.start_seconds)
    for (start, _), part in zip(windows, parts, strict=True):
        if part is not None:
            times = start - health.start_seconds + np.arange(len(part.samples)) / RATE_OF_SOUND_HZ
            points = np.clip((times * scale).astype(int), 0, NUM_POINTS - 1)
            np.maximum.at(peaks, points, np.abs(part.samples))
    return np.round(np.minimum(peaks, 1.0) * 255).astype(np.uint8).tobytes()


def _with_track(health: Health, track: Track) -> Health:
    """`health` with what is to be known about a track, though it is no damage."""
    joined = track.joins(since=health.start_seconds, until=health.end_seconds)
    return dataclasses.replace(
        health,
        joined=health.joined + joined,
        choices=health.choices + tuple(filter(None, [track.choice])),
    )


def _noted(
    health: Health, *, problems: tuple = (), unreadable: tuple = (), unseen: str = ""
) -> Health:
    """`health` with more to say."""
    return dataclasses.replace(
        health,
        problems=health.problems + problems,
        unreadable=health.unreadable + unreadable,
        unseen="; ".join(filter(None, [health.unseen, unseen])),
    )
