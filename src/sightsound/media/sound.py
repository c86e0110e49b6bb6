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
from itertools import islice
from pathlib import Path

import av
import numpy as np
import soxr
from av.stream import Stream

from sightsound.media.decode import DecodeError, Media, opened
from sightsound.media.downmix import mono
from sightsound.media.front_end import Downmix
from sightsound.media.sample_clock import SampleClock, Stamped, counted
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
        for time, frame in track.sound(start_seconds, stop_seconds):
            place = sample_at(time, frame.sample_rate)
            window.write(frame.sample_rate, place, track.mono(frame, downmix))
        try:
            if not track.has_sound(start_seconds):
                return None
        except DecodeError:
            if not _has_any_sound(path, downmix):
                raise
        samples, valid = window.result()
        problems = track.problems(since=start_seconds, until=stop_seconds)
        return Samples(samples, valid, problems + window.problems())


def _has_any_sound(path: str | Path, downmix: Downmix) -> bool:
    """Whether a sample of the stream decodes anywhere: then a window without any is a gap."""
    with opened(path, start_seconds=0.0) as media:
        track = AudioTrack.find(media)
        heard = (mono(frame, downmix) for _, frame in track.sound(0.0, math.inf))
        return any(np.isfinite(samples).any() for samples in heard)


class AudioTrack(Track):
    """The audio stream: its frames in order of reading."""

    kind = "audio"

    def __init__(self, media: Media, stream: Stream) -> None:
        super().__init__(media, stream)
        self._has_numbers: bool | None = None  # whether a sample is one; None: there is none

    def mono(self, frame: av.AudioFrame, downmix: Downmix) -> np.ndarray:
        """(S,) float32 of a frame of `sound`, not finite where a sample is lost."""
        samples = mono(frame, downmix)
        if self._has_numbers is not True and len(samples):
            self._has_numbers = bool(np.isfinite(samples).any())
        return samples

    def sound(self, start: float, stop: float) -> Iterator[tuple[float, av.AudioFrame]]:
        """(start, frame) of what may be heard in [start, stop), and a little around it."""
        first = start - PREROLL_SECONDS if start > FROM_START_SECONDS else -math.inf
        packets = self._around(self.packets(first), first=first, stop=stop)
        frames = self._stamped(self.decoded(packets))
        if first > -math.inf:
            frames = self._counted(frames)
        for time, stamped in SampleClock().timed(frames):
            self.end_seconds = time + stamped.length_seconds
            yield time, stamped.frame

    def _stamped(self, frames: Iterator[av.AudioFrame]) -> Iterator[Stamped[av.AudioFrame]]:
        """Frames that may be sound, with what the file says about when."""
        for frame in frames:
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
            ticks = packet.pts + math.floor(cut / self.stream.time_base + 0.5)  # as FFmpeg rounds
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

    def _around(
        self, packets: Iterator[av.Packet], *, first: float, stop: float
    ) -> Iterator[av.Packet]:
        """Leaves out packets that end before `first`, and ends well after `stop`."""
        num_late = 0
        for packet in packets:
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
            yield packet


class SoundWindow:
    """Places decoded sound on a clock of samples and resamples what a window covers."""

    def __init__(self, start: float, stop: float, rate: int) -> None:
        self._rate = rate
        self._first = round(start * rate)
        self._num_samples = round((stop - start) * rate)
        # One line per rate found in the stream, which is nearly always one.
        self._lines: dict[int, Line] = {}

    def write(self, rate: int, position: int, samples: np.ndarray) -> None:
        """Take decoded sound (S,) at `rate`, from sample `position` after time 0 on.

        What is not a number is lost.
        """
        if rate not in self._lines:
            self._lines[rate] = Line(self._first, self._num_samples, self._rate, rate)
        self._lines[rate].write(position, samples)

    def problems(self) -> tuple[str, ...]:
        """What was written to the window but is no sound, in sentences."""
        count = sum(line.num_lost for line in self._lines.values())
        return (not_numbers(count),) if count else ()

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """samples (S,) float32 and valid (S,) bool."""
        samples = np.zeros(self._num_samples, dtype=np.float32)
        valid = np.zeros(self._num_samples, dtype=bool)
        for line in self._lines.values():
            part, heard = line.resampled()
            samples[heard] = part[heard]
            valid |= heard
        return samples, valid


class Line:
    """Sound at the stream's own rate, sample n being at n / rate seconds after time 0.

    The line starts where a sample of both rates falls on the same time, so that the result does not
    depend on where the window starts.
    """

    def __init__(self, first: int, num_samples: int, out_rate: int, rate: int) -> None:
        self._rate, self._out_rate = rate, out_rate
        self._out_first, self._num_samples = first, num_samples
        step, out_step = _ratio(rate, out_rate)
        edge = math.ceil(_EDGE_SECONDS * out_rate / out_step)
        block = first // out_step - edge  # blocks of `step` samples last as long as of `out_step`
        stop_block = -(-(first + num_samples) // out_step) + edge
        self._first = block * step
        self._skip = first - block * out_step
        self._samples = np.zeros((stop_block - block) * step, dtype=np.float32)
        self._heard = np.zeros(len(self._samples), dtype=bool)

    def write(self, position: int, samples: np.ndarray) -> None:
        """Sound (S,) from sample `position` on, not finite where it is lost.

        What lies outside the window is left out.
        """
        begin = position - self._first
        low, high = max(begin, 0), min(begin + len(samples), len(self._samples))
        if low < high:
            self._samples[low:high] = samples[low - begin : high - begin]
            self._heard[low:high] = True

    @property
    def num_lost(self) -> int:
        """How many samples of the window, at the stream's own rate, are not numbers."""
        ends = self._skip, self._skip + self._num_samples
        low, high = (-(-n * self._rate // self._out_rate) for n in ends)
        return int(np.count_nonzero(~np.isfinite(self._samples[low:high])))

    def resampled(self) -> tuple[np.ndarray, np.ndarray]:
        """samples (S,) in [-1, 1] and whether they were heard (S,), at the wanted rate."""
        samples, heard = self._samples, self._heard
        lost = ~np.isfinite(samples)
        if lost.any():
            samples, heard = np.where(lost, np.float32(0), samples), heard & ~lost
        if self._rate != self._out_rate:
            samples = soxr.resample(samples, self._rate, self._out_rate)
        part = samples[self._skip : self._skip + self._num_samples]
        out = np.arange(self._skip, self._skip + self._num_samples)
        nearest = np.minimum(out * self._rate // self._out_rate, len(self._heard) - 1)
        return np.clip(part, -1.0, 1.0), heard[nearest]


def not_numbers(count: int) -> str:
    """What to say of so many samples."""
    return f"audio: {count} sample(s) are not numbers (nan, inf) and count as lost"


def sample_at(seconds: float, rate: int) -> int:
    """The sample nearest to a time, the later one of two that are equally near.

    Half samples occur: 5 ms are 220.5 of them at 44,100 Hz. The slack keeps frames that follow one
    another from being rounded differently.
    """
    return math.floor(seconds * rate + 0.5 + 1e-3)


def _num_cut(packet: av.Packet) -> int:
    """Samples that a decoder cuts off the start of a packet: codecs need them to start up."""
    if not packet.has_sidedata("skip_samples"):
        return 0
    return int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little")


def _ratio(rate: int, out_rate: int) -> tuple[int, int]:
    common = math.gcd(rate, out_rate)
    return rate // common, out_rate // common
