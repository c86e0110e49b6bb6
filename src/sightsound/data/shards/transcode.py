"""A stretch of a clip, decoded once: JPEG pictures and FLAC sound, all that shards hold of it.

Times stay those of the file, so whoever asks for a moment gets the frame, and for a sample the
sample, that the file itself would give. Free of torch: it runs in a process that may be lost.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import av
import numpy as np

from sightsound.config.settings import ShardSettings
from sightsound.media.clips import is_outside
from sightsound.media.decode import DecodeError, opened
from sightsound.media.display import AS_STORED
from sightsound.media.flac import as_16_bits, encode_flac
from sightsound.media.frames import (
    SHORTCUTS,
    TICK_SECONDS,
    Frames,
    NeedsAll,
    Shortcuts,
    VideoTrack,
)
from sightsound.media.jpeg import JpegEncoder
from sightsound.media.pixels import orientation_of
from sightsound.media.probe import read_duration
from sightsound.media.sound import Samples, read_audio

_STEADY = 1.001  # a stream of 10 frames per second is one of at most 10, rounding or not
# How far a file may go on after its header says it ends: windows of short clips reach there.
_BEYOND_SECONDS = 10.0
_PADDING_SECONDS = 0.25  # how far sound goes on as a rule: codecs fill up their last packet

Stream = TypeVar("Stream")


@dataclass(frozen=True)
class Stretch:
    """The part [start, end) of a file whose sound may lie in another one."""

    path: Path
    audio_path: Path | None = None
    start_seconds: float = 0.0
    end_seconds: float | None = None  # None: to the end of the file


@dataclass(frozen=True)
class Pictures:
    """The frames of a stretch."""

    height: int  # as displayed (`ShardSettings.picture`); `jpegs` may be smaller
    width: int
    times_seconds: list[float]  # when each of `jpegs` is first shown
    end_seconds: float | None  # of what is shown; None if it goes on after the stretch
    jpegs: list[bytes]
    left_out: bool  # whether the stretch has frames that are not kept
    problems: list[str]


@dataclass(frozen=True)
class Sound:
    """The sound of a stretch, mono."""

    rate_hz: int
    first_sample: int  # after time 0
    num_samples: int
    valid: list[list[int]]  # [start, stop) of samples that were heard, after time 0
    header: bytes
    blocks: list[bytes]  # of `flac.BLOCK_SAMPLES` each
    problems: list[str]


@dataclass(frozen=True)
class Condensed:
    """What is left of a stretch."""

    duration_seconds: float  # of the file; 0 if it cannot be read
    audio_duration_seconds: float  # of the file that the sound is in
    pictures: Pictures | None
    sound: Sound | None
    failures: list[tuple[str, str]]  # "video" or "audio", and why there is nothing of it

    def has_content(self, stretch: Stretch) -> bool:
        """True if a frame or a sample of it lies in the stretch."""
        longest = max(self.duration_seconds, self.audio_duration_seconds)
        if is_outside(stretch.start_seconds, longest):
            return False
        end = self.pictures.end_seconds if self.pictures is not None else -math.inf
        seen = end is None or end > stretch.start_seconds
        return seen or (self.sound is not None and bool(self.sound.valid))


def condense(stretch: Stretch, settings: ShardSettings) -> Condensed:
    """Everything that can be decoded of a stretch; what fails is noted."""
    failures: list[tuple[str, str]] = []
    sound_path = stretch.audio_path or stretch.path
    duration = _attempt("video", read_duration, stretch.path, failures=failures)
    audio_duration = duration
    if stretch.audio_path is not None:
        audio_duration = _attempt("audio", read_duration, sound_path, failures=failures)
    elif failures:
        failures.append(("audio", failures[0][1]))
    pictures = sound = None
    if duration is not None:
        stop = _stop(stretch, duration)
        pictures = _attempt("video", _pictures, stretch, stop, settings, failures=failures)
    if audio_duration is not None:
        stop = _stop(stretch, audio_duration)
        sound = _attempt("audio", _sound, stretch, stop, settings, failures=failures)
    return Condensed(duration or 0.0, audio_duration or 0.0, pictures, sound, failures)


def _attempt(
    modality: str, read: Callable[..., Stream], *args: object, failures: list[tuple[str, str]]
) -> Stream | None:
    """What `read` gives; if it fails, `failures` is added to."""
    try:
        return read(*args)
    except DecodeError as error:
        failures.append((modality, error.cause))
        return None


def _stop(stretch: Stretch, duration: float) -> float:
    """Where the stretch ends as far as headers tell, in seconds of the file."""
    return duration if stretch.end_seconds is None else stretch.end_seconds


# --- pictures -----------------------------------------------------------------------------------


def _pictures(stretch: Stretch, stop: float, settings: ShardSettings) -> Pictures | None:
    """The frames to keep; `None` without a video stream."""
    for shortcuts in SHORTCUTS:
        with suppress(NeedsAll):
            return _decoded(stretch, stop, settings, shortcuts)
    raise AssertionError("frames were needed that nothing left out")


def _decoded(
    stretch: Stretch, stop: float, settings: ShardSettings, shortcuts: Shortcuts
) -> Pictures | None:
    """See `_pictures`. Raises `NeedsAll` if something was left out that is needed."""
    start, end = stretch.start_seconds, stretch.end_seconds
    with opened(stretch.path, start_seconds=start) as media:
        track = VideoTrack.find(media)
        if track is None:
            return None
        wanted = _wanted(track, start, stop, settings.frames_per_second, open_end=end is None)
        approximate = settings.approximate and wanted is not None
        if "frames" in shortcuts and wanted is not None:
            track.skip_nonref(np.empty(0) if approximate else wanted + TICK_SECONDS)
        keeper = _Keeper(wanted, start, settings, track=track)
        limit = math.inf if end is None else end
        ended = True
        for time, _, frame in track.pictures(start if shortcuts else -math.inf):
            keeper.add(time, frame)
            if time >= limit:
                ended = False
                break
        if track.num_frames == 0:
            if track.is_empty:
                return None
            track.check_skipped(np.empty(0), None)
            track.raise_nothing_decoded(start)
        pictures = keeper.result(
            track.shown_until() if ended else None,
            track.problems(until=limit),
            skipped=track.has_skipped_frames,
        )
        if wanted is not None:
            track.check_skipped(wanted, keeper.shown(pictures), approximate=approximate)
        return pictures if pictures.jpegs else None


def _wanted(
    track: VideoTrack, start: float, stop: float, rate: float, *, open_end: bool
) -> np.ndarray | None:
    """Times (T,) of the frames to keep: a regular grid; `None` to keep all, as of slow streams."""
    own_rate = track.stream.average_rate
    if not rate or own_rate and own_rate <= rate * _STEADY:
        return None
    length = stop - start + (_BEYOND_SECONDS if open_end else 0.0)
    return start + np.arange(max(1, math.ceil(length * rate))) / rate


class _Keeper:
    """Takes frames in order of time and keeps, as JPEG pictures, those that are wanted."""

    def __init__(
        self,
        wanted: np.ndarray | None,
        start: float,
        settings: ShardSettings,
        *,
        track: VideoTrack,
    ) -> None:
        self._grid = None if wanted is None else wanted + TICK_SECONDS
        self._start = start + TICK_SECONDS
        self._settings = settings
        self._track = track
        self._encode: JpegEncoder | None = None
        self._size = (0, 0)  # displayed, of the first frame
        self._shown: tuple[float, av.VideoFrame] | None = None
        self._seen: list[float] = []  # when each frame decoded is first shown
        self._times: list[float] = []
        self._jpegs: list[bytes] = []
        self._left_out = False

    def add(self, time: float, frame: av.VideoFrame) -> None:
        """Take the next frame: the last one is kept if it was wanted before `time`."""
        self._keep(before=time)
        self._shown = (time, frame)
        self._seen.append(time)

    def result(
        self, end_seconds: float | None, problems: tuple[str, ...], *, skipped: bool
    ) -> Pictures:
        """Everything that was kept; `end_seconds` is `None` if the last frame was not wanted.

        `skipped`: some frames were not even decoded.
        """
        if end_seconds is not None:
            self._keep(before=math.inf)
        return Pictures(
            *self._size,
            self._times,
            end_seconds,
            self._jpegs,
            left_out=self._left_out or skipped,
            problems=list(problems),
        )

    def shown(self, pictures: Pictures) -> Frames:
        """Which of the frames decoded is shown when, in the form of `Frames`."""
        seen = np.array(self._seen)
        places = np.searchsorted(seen, self._grid, side="right") - 1
        valid = places >= 0
        if pictures.end_seconds is not None:
            valid &= self._grid < pictures.end_seconds
        return Frames(np.empty(0), seen[np.maximum(places, 0)], valid)

    def _keep(self, *, before: float) -> None:
        """Encode the frame shown until `before` if it is wanted."""
        if self._shown is None:
            return
        time, frame = self._shown
        first = len(self._seen) == 1  # also shown, not valid, at earlier times
        if self._grid is None:
            wanted = before > self._start
        else:
            since = 0 if first else bisect_left(self._grid, time)
            wanted = bisect_left(self._grid, before) > since
        if wanted:
            self._times.append(time)
            self._jpegs.append(self._encoded(frame))
        else:
            self._left_out |= before > self._start

    def _encoded(self, frame: av.VideoFrame) -> bytes:
        stored = self._settings.picture == "stored"
        display = AS_STORED if stored else self._track.display_of(frame)
        if self._encode is None:
            size = display.size(frame.height, frame.width)
            self._size = orientation_of(frame).displayed(*size)
            scale = min(1.0, self._settings.short_side / min(self._size))
            size = tuple(max(1, round(length * scale)) for length in self._size)
            quality = self._settings.quality
            codec = self._track.stream.codec_context.name
            self._encode = JpegEncoder(size, quality=quality, codec=codec)
        return self._encode(frame, display)


# --- sound --------------------------------------------------------------------------------------


def _sound(stretch: Stretch, stop: float, settings: ShardSettings) -> Sound | None:
    """The sound as samples of 16 bits; `None` without an audio stream."""
    path, start = stretch.audio_path or stretch.path, stretch.start_seconds
    open_end, rate = stretch.end_seconds is None, settings.rate_hz
    # At least one sample more: windows round both their start and their length.
    stop = max(start, stop) + (_PADDING_SECONDS if open_end else 1 / rate)
    samples = read_audio(path, start, stop, rate, downmix=settings.downmix)
    while samples is not None and open_end and samples.valid[-1]:
        stop += _BEYOND_SECONDS  # the header is wrong
        samples = read_audio(path, start, stop, rate, downmix=settings.downmix)
    return None if samples is None else _encoded_sound(samples, round(start * rate), rate)


def _encoded_sound(samples: Samples, first: int, rate: int) -> Sound:
    edges = np.flatnonzero(np.diff(samples.valid, prepend=False, append=False))
    count = int(edges[-1]) if len(edges) else 0  # silence after the end is not stored
    header, blocks = b"", []
    if count:
        header, blocks = encode_flac(as_16_bits(samples.samples[:count]), rate)
    valid = (first + edges).reshape(-1, 2).tolist()
    return Sound(rate, first, count, valid, header, blocks, list(samples.problems))
