"""Transcodes a clip to what shards hold of it: JPEG pictures and FLAC sound.

Times stay those of the file, so that a reader gets the frame shown at a time, and a sample, that
the file itself would give. Free of torch: it runs in a decode process.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import av
import numpy as np

from sightsound.config.settings import ShardSettings
from sightsound.data.rows import Row
from sightsound.media.clips import is_outside
from sightsound.media.decode import DecodeError, opened
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
from sightsound.media.sound import read_audio

_STEADY = 1.001  # a stream of 10 frames per second is one of at most 10, rounding or not
# How far a file may go on after its header says it ends: windows of short clips reach there.
_BEYOND_SECONDS = 10.0
_PADDING_SECONDS = 0.25  # how far sound goes on as a rule: codecs fill up their last packet

Result = TypeVar("Result")


@dataclass(frozen=True)
class Pictures:
    """The frames of a clip."""

    height: int  # as displayed (`ShardSettings.picture`); `jpegs` may be smaller
    width: int
    times_seconds: list[float]  # when each of `jpegs` is first shown
    end_seconds: float | None  # of what is shown; None if it goes on after the clip
    jpegs: list[bytes]
    left_out: bool  # whether the clip has frames that are not kept
    problems: list[str]


@dataclass(frozen=True)
class Sound:
    """The sound of a clip, mono."""

    rate_hz: int
    first_sample: int  # after time 0
    num_samples: int
    valid: list[list[int]]  # [start, stop) of samples that were heard, after time 0
    header: bytes
    blocks: list[bytes]  # of `flac.BLOCK_SAMPLES` each
    problems: list[str]


@dataclass(frozen=True)
class Transcoded:
    """What shards hold of a clip."""

    duration_seconds: float  # of the file; 0 if it cannot be read
    audio_duration_seconds: float  # of the file that the sound is in
    pictures: Pictures | None
    sound: Sound | None
    failures: list[tuple[str, str]]  # "video" or "audio", and why there is nothing of it

    def has_content(self, row: Row) -> bool:
        """True if a frame or a sample of it lies in the clip."""
        longest = max(self.duration_seconds, self.audio_duration_seconds)
        if is_outside(row.start_seconds, longest):
            return False
        end = self.pictures.end_seconds if self.pictures is not None else -math.inf
        seen = end is None or end > row.start_seconds
        return seen or (self.sound is not None and bool(self.sound.valid))


def transcode(row: Row, settings: ShardSettings) -> Transcoded:
    """Everything that can be decoded of a clip; what fails is noted."""
    failures: list[tuple[str, str]] = []
    duration = _attempt("video", read_duration, row.path, failures=failures)
    audio_duration = duration
    if row.audio_path is not None:
        audio_duration = _attempt("audio", read_duration, row.audio_path, failures=failures)
    elif failures:
        failures.append(("audio", failures[0][1]))
    pictures = sound = None
    # Clips without an end stop where headers say that their file does.
    if duration is not None:
        stop = duration if row.end_seconds is None else row.end_seconds
        pictures = _attempt("video", _pictures, row, stop, settings, failures=failures)
    if audio_duration is not None:
        stop = audio_duration if row.end_seconds is None else row.end_seconds
        sound = _attempt("audio", _sound, row, stop, settings, failures=failures)
    return Transcoded(duration or 0.0, audio_duration or 0.0, pictures, sound, failures)


def _attempt(
    modality: str, read: Callable[..., Result], *args: object, failures: list[tuple[str, str]]
) -> Result | None:
    """What `read` gives; if it fails, `failures` is added to."""
    try:
        return read(*args)
    except DecodeError as error:
        failures.append((modality, error.cause))
        return None


# --- pictures -----------------------------------------------------------------------------------


def _pictures(row: Row, stop: float, settings: ShardSettings) -> Pictures | None:
    """The frames to keep; `None` without a video stream."""
    for shortcuts in SHORTCUTS:
        with suppress(NeedsAll):
            return _decoded(row, stop, settings, shortcuts)
    raise AssertionError("frames were needed that nothing left out")


def _decoded(
    row: Row, stop: float, settings: ShardSettings, shortcuts: Shortcuts
) -> Pictures | None:
    """See `_pictures`. Raises `NeedsAll` if something was left out that is needed."""
    start, end = row.start_seconds, row.end_seconds
    with opened(row.path, start_seconds=start) as media:
        track = VideoTrack.find(media)
        if track is None:
            return None
        # Times (T,) of the frames to keep: a regular grid; `None` to keep all, as of slow streams.
        wanted, rate, own = None, settings.frames_per_second, track.stream.average_rate
        if rate and (not own or own > rate * _STEADY):
            length = stop - start + (_BEYOND_SECONDS if end is None else 0.0)
            wanted = start + np.arange(max(1, math.ceil(length * rate))) / rate
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
            shown = keeper.shown(wanted, pictures)
            track.check_skipped(wanted, shown, approximate=approximate)
        return pictures if pictures.jpegs else None


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

    def shown(self, wanted: np.ndarray, pictures: Pictures) -> Frames:
        """Which of the frames decoded is shown at `wanted` (T,) seconds, as `Frames`."""
        ticks, seen = wanted + TICK_SECONDS, np.array(self._seen)
        indices = np.searchsorted(seen, ticks, side="right") - 1
        valid = indices >= 0
        if pictures.end_seconds is not None:
            valid &= ticks < pictures.end_seconds
        return Frames(np.empty(0), seen[np.maximum(indices, 0)], valid)

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
        display = self._track.display_of(frame, self._settings.picture)
        if self._encode is None:
            shown = display.size(frame.height, frame.width)
            height, width = self._size = orientation_of(frame).displayed(*shown)
            scale = min(1.0, self._settings.short_side / min(self._size))
            self._encode = JpegEncoder(
                (max(1, round(height * scale)), max(1, round(width * scale))),
                quality=self._settings.quality,
                codec=self._track.stream.codec_context.name,
            )
        return self._encode(frame, display)


# --- sound --------------------------------------------------------------------------------------


def _sound(row: Row, stop: float, settings: ShardSettings) -> Sound | None:
    """The sound as samples of 16 bits; `None` without an audio stream."""
    path, start = row.audio_path or row.path, row.start_seconds
    open_end, rate = row.end_seconds is None, settings.rate_hz
    # At least one sample more: windows round both their start and their length.
    stop = max(start, stop) + (_PADDING_SECONDS if open_end else 1 / rate)
    samples = read_audio(path, start, stop, rate, downmix=settings.downmix)
    while samples is not None and open_end and samples.valid[-1]:
        stop += _BEYOND_SECONDS  # the header is wrong
        samples = read_audio(path, start, stop, rate, downmix=settings.downmix)
    if samples is None:
        return None
    edges = np.flatnonzero(np.diff(samples.valid, prepend=False, append=False))
    first, count = round(start * rate), 0
    header, blocks = b"", list[bytes]()
    if len(edges):
        count = int(edges[-1])  # silence after the end is not stored
        header, blocks = encode_flac(as_16_bits(samples.samples[:count]), rate)
    valid = (first + edges).reshape(-1, 2).tolist()
    return Sound(rate, first, count, valid, header, blocks, list(samples.problems))
