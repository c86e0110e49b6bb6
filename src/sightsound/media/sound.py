"""The sound of a file between two times: mono, at the rate wanted, with what is missing marked.

Windows far into a file are decoded from a second ahead, and are what decoding all of it gives: to
the bit for PCM, FLAC and ALAC, and, within rounding, for MP3, AAC and Opus. Noise that a codec does
not store but lets the decoder draw (AAC at low rates, AC-3) is other noise of the same strength.
Vorbis in Matroska may lie up to a millisecond, to which timestamps are rounded there, beside it.

`decode.py` says what holds for every stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soxr
from av.audio.stream import AudioStream

from sightsound.media.decode import DecodeError, opened
from sightsound.media.downmix import mono
from sightsound.media.front_end import Downmix
from sightsound.media.sample_clock import Stamped, counted, timed
from sightsound.media.track import Track

PREROLL_SECONDS = 1.0  # sound decoded ahead of a window: covers overlap, reservoirs, start-up
# Windows that start before are decoded from the start of the file: only then is a sample the same
# whatever the window and the codec.
FROM_START_SECONDS = 30.0
MAX_LATE_PACKETS = 4  # in a row: a single one may have a damaged timestamp
_UNEQUAL_CODECS = frozenset({"vorbis"})  # whose frames have several lengths
_MAX_RATE_HZ = 1_000_000  # more is damage, and would fill the memory
NO_NUMBERS = "no sample of the audio stream is a number (all are nan or inf)"
_EDGE_SECONDS = 0.02  # sound on either side of a window that the resampler's filter sees


@dataclass
class Samples:
    """Sound of one file."""

    samples: np.ndarray  # (S,) float32 in [-1, 1], mono; zero where not valid
    valid: np.ndarray  # (S,) bool: false outside the stream and where packets are lost
    problems: tuple[str, ...] = ()


def read_audio(
    path: str | Path,
    start_seconds: float,
    stop_seconds: float,
    rate: int = 16000,
    *,
    downmix: Downmix = "itu",
) -> Samples | None:
    """The sound in [start_seconds, stop_seconds), all channels as one, at `rate` per second.

    Sample k is the one nearest to start_seconds + k / rate, and there are
    round((stop_seconds - start_seconds) * rate) of them. What lies outside the stream, or was lost,
    is zero and not valid; so are samples that are not numbers. Without an audio stream the result
    is `None`. Raises `DecodeError` if there is an audio stream but nothing of it can be decoded.
    """
    if not (math.isfinite(start_seconds) and start_seconds <= stop_seconds < math.inf):
        raise ValueError(
            f"start_seconds, stop_seconds: got {start_seconds}, {stop_seconds}; accepted: finite "
            "numbers, the start not after the stop"
        )
    with opened(path, start_seconds=start_seconds) as media:
        track = AudioTrack.find(media)
        if track is None:
            return None
        window = SoundWindow(start_seconds, stop_seconds, rate)
        for piece in track.sound(start_seconds, stop_seconds, downmix):
            window.write(piece.frame.sample_rate, piece.position, piece.samples)
        try:
            if not track.has_sound(start_seconds):
                return None
        except DecodeError:
            if not _has_any_sound(path, downmix):
                raise
        return window.result(track.problems(since=start_seconds, until=stop_seconds))


def _has_any_sound(path: str | Path, downmix: Downmix) -> bool:
    """Whether a sample of the stream decodes anywhere: then a window without any is a gap."""
    with opened(path, start_seconds=0.0) as media:
        track = AudioTrack.find(media)
        pieces = () if track is None else track.sound(0.0, math.inf, downmix)
        return any(np.isfinite(piece.samples).any() for piece in pieces)


class Piece(NamedTuple):
    """A decoded frame of sound."""

    seconds: float  # when it starts, after time 0
    position: int  # the same in samples at its own rate
    samples: np.ndarray  # (S,) float32, all channels as one, not finite where a sample is lost
    frame: av.AudioFrame


class AudioTrack(Track[av.AudioFrame]):
    """The audio stream: its frames in order of reading."""

    kind = "audio"
    stream: AudioStream

    _has_numbers: bool | None = None  # whether a sample is one; None: there is none

    def sound(self, start: float, stop: float, downmix: Downmix = "itu") -> Iterator[Piece]:
        """What may be heard in [start, stop), and a little around it."""
        first = start - PREROLL_SECONDS if start > FROM_START_SECONDS else -math.inf
        frames = self._stamped(first, stop)
        if first > -math.inf:
            frames = self._counted(frames)
        for time, (_, length, frame) in timed(frames):
            self.end_seconds = time + length
            samples = mono(frame, downmix)
            if self._has_numbers is not True and len(samples):
                self._has_numbers = bool(np.isfinite(samples).any())
            # The nearest sample, the later one of two that are equally near: 5 ms are 220.5 samples
            # at 44,100 Hz. The slack keeps frames that follow one another from being rounded
            # differently.
            position = math.floor(time * frame.sample_rate + 0.5 + 1e-3)
            yield Piece(time, position, samples, frame)

    def _stamped(self, first: float, stop: float) -> Iterator[Stamped[av.AudioFrame]]:
        """Frames that may be sound, with what the file says about when.

        Leaves out packets that end before `first`, and ends well after `stop`.
        """
        num_late = 0
        for packet in self.packets(first):
            if self.beginning is None and packet.size > 0 and not packet.is_discard:
                self.beginning = packet
            if packet.pts is not None:
                time = self.seconds(packet.pts)
                length = self.seconds(packet.duration or 0) - self.seconds(0)
                if time + length < first:
                    continue
                num_late = num_late + 1 if time > stop + PREROLL_SECONDS else 0
                if num_late > MAX_LATE_PACKETS:
                    return
            for frame in self.decode(packet):
                time = math.nan if frame.pts is None else self.seconds(frame.pts)
                if 0 < frame.sample_rate <= _MAX_RATE_HZ and frame.layout.nb_channels:
                    yield Stamped(time, frame.samples / frame.sample_rate, frame)
                else:
                    when = self.end_seconds or 0.0 if math.isnan(time) else time
                    self.failures.append((when, f"impossible rate of {frame.sample_rate} Hz"))

    def _counted(
        self, frames: Iterator[Stamped[av.AudioFrame]]
    ) -> Iterator[Stamped[av.AudioFrame]]:
        """The same, the first ones with times counted from the start of the stream."""
        leading = list(islice(frames, 2))
        packet = self.beginning  # known now that packets were read
        if packet is not None and packet.pts is not None and leading and not self.jumps:
            cut = _num_cut(packet) / leading[0].frame.sample_rate
            base = self.stream.time_base or Fraction(1)
            ticks = packet.pts + math.floor(cut / base + 0.5)  # as FFmpeg rounds
            if self.stream.codec_context.name not in _UNEQUAL_CODECS:
                leading = counted(leading, beginning=self.seconds(ticks) - cut)
        yield from leading
        yield from frames

    def has_sound(self, start_seconds: float) -> bool:
        """Once `sound` is read: false if the stream is empty; `DecodeError` if nothing decoded."""
        if self.num_frames == 0:
            if self.is_empty:
                return False
            if self.failures or self.num_packets == 0:
                self.raise_nothing_decoded(start_seconds)
        if self._has_numbers is False:
            raise DecodeError(self.media.path, start_seconds, NO_NUMBERS)
        return True


@dataclass
class _Line:
    """Sound at a stream's own rate, sample n being at n / rate seconds after time 0.

    The line starts where a sample of both rates falls on the same time, so that the result does not
    depend on where the window starts.
    """

    first: int  # sample of the stream with which it begins
    skip: int  # samples at the rate wanted that lie before the window
    samples: np.ndarray  # (S,) float32
    heard: np.ndarray  # (S,) bool


class SoundWindow:
    """Places decoded sound on a clock of samples and resamples what a window covers."""

    def __init__(self, start: float, stop: float, rate: int) -> None:
        self._rate = rate
        self._first = round(start * rate)
        self._num_samples = round((stop - start) * rate)
        # One line per rate found in the stream, which is nearly always one.
        self._lines: dict[int, _Line] = {}

    def write(self, rate: int, position: int, samples: np.ndarray) -> None:
        """Take decoded sound (S,) at `rate`, from sample `position` after time 0 on.

        What is not finite is lost; what lies outside the window is left out.
        """
        line = self._lines.get(rate)
        if line is None:
            common = math.gcd(rate, self._rate)
            step, out_step = rate // common, self._rate // common
            edge = math.ceil(_EDGE_SECONDS * self._rate / out_step)
            block = self._first // out_step - edge  # of `step` samples, as long as of `out_step`
            stop_block = -(-(self._first + self._num_samples) // out_step) + edge
            length, skip = (stop_block - block) * step, self._first - block * out_step
            empty = np.zeros(length, dtype=np.float32), np.zeros(length, dtype=bool)
            line = self._lines[rate] = _Line(block * step, skip, *empty)
        begin = position - line.first
        low, high = max(begin, 0), min(begin + len(samples), len(line.samples))
        if low < high:
            line.samples[low:high] = samples[low - begin : high - begin]
            line.heard[low:high] = True

    def result(self, problems: tuple[str, ...] = ()) -> Samples:
        """The sound of the window, with these `problems` and those of what was written to it."""
        result = np.zeros(self._num_samples, dtype=np.float32)
        valid = np.zeros(self._num_samples, dtype=bool)
        num_lost = 0
        for rate, line in self._lines.items():
            samples, heard = line.samples, line.heard
            ends = line.skip, line.skip + self._num_samples
            lost = ~np.isfinite(samples)
            if lost.any():
                low, high = (-(-end * rate // self._rate) for end in ends)
                num_lost += int(np.count_nonzero(lost[low:high]))
                samples, heard = np.where(lost, np.float32(0), samples), heard & ~lost
            if rate != self._rate:
                samples = soxr.resample(samples, rate, self._rate)
            nearest = np.minimum(np.arange(*ends) * rate // self._rate, len(heard) - 1)
            heard = heard[nearest]
            result[heard] = np.clip(samples[slice(*ends)], -1.0, 1.0)[heard]
            valid |= heard
        if num_lost:
            text = f"audio: {num_lost} sample(s) are not numbers (nan, inf) and count as lost"
            problems = (*problems, text)
        return Samples(result, valid, problems)


def _num_cut(packet: av.Packet) -> int:
    """Samples that a decoder cuts off the start of a packet: codecs need them to start up."""
    if not packet.has_sidedata("skip_samples"):
        return 0
    return int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little")
