"""The sound of a file between two times: mono, at the rate wanted, with what is missing marked.

`decode.py` says what holds for every stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soxr

from sightsound.media.decode import Track, opened

PREROLL_SECONDS = 1.0  # sound decoded ahead of a window: covers overlap, reservoirs, start-up
# Windows that start before are decoded from the start of the file: only then is a sample the same
# whatever the window. Decoders draw noise that codecs leave out, and timestamps may be rounded.
FROM_START_SECONDS = 30.0
MAX_LATE_PACKETS = 4  # in a row: a single one may have a damaged timestamp
_GAP_SECONDS = 0.02  # jumps of audio timestamps below this are jitter; lost packets are longer
_MAX_RATE_HZ = 1_000_000  # more is damage, and would fill the memory
_EDGE_SECONDS = 0.02  # sound on either side of a window that the resampler's filter sees
# FFmpeg's sample formats; the planar ones have the same names with a "p" behind.
_SAMPLE_TYPES = {
    "u8": np.uint8,
    "s16": np.int16,
    "s32": np.int32,
    "s64": np.int64,
    "flt": np.float32,
    "dbl": np.float64,
}


@dataclass
class Samples:
    """Sound of one file."""

    samples: np.ndarray  # (S,) float32 in [-1, 1], mono; zero where not valid
    valid: np.ndarray  # (S,) bool: false outside the stream and where packets are lost
    problems: tuple[str, ...] = ()


def read_audio(
    path: str | Path, start_seconds: float, stop_seconds: float, rate: int = 16000
) -> Samples | None:
    """The sound in [start_seconds, stop_seconds), mean of all channels, at `rate` per second.

    Sample k is the one nearest to start_seconds + k / rate, and there are
    round((stop_seconds - start_seconds) * rate) of them. What lies outside the stream, or was lost,
    is zero and not valid. Without an audio stream the result is `None`. Raises `DecodeError` if
    there is an audio stream but nothing of it can be decoded.
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
            window.write(frame.sample_rate, round(time * frame.sample_rate), mono(frame))
        if not track.has_sound(start_seconds):
            return None
        samples, valid = window.result()
        problems = track.problems(since=start_seconds, until=stop_seconds)
        return Samples(samples, valid, problems)


class AudioTrack(Track):
    """The audio stream: its frames in order of reading."""

    kind = "audio"

    def sound(self, start: float, stop: float) -> Iterator[tuple[float, av.AudioFrame]]:
        """(start, frame) of what may be heard in [start, stop), and a little around it."""
        expected = math.nan
        for frame in self.decoded(self._around(self.packets(), start=start, stop=stop)):
            time = self._sound_seconds(frame, expected)
            if not (0 < frame.sample_rate <= _MAX_RATE_HZ and frame.layout.nb_channels):
                self.failures.append((time, f"impossible rate of {frame.sample_rate} Hz"))
                continue
            expected = time + frame.samples / frame.sample_rate
            self.end_seconds = expected
            yield time, frame

    def has_sound(self, start_seconds: float) -> bool:
        """Once `sound` is read: false if the stream is empty; `DecodeError` if nothing decoded."""
        if self.num_frames == 0:
            if self.is_empty:
                return False
            if self.failures or self.num_packets == 0:
                self.raise_nothing_decoded(start_seconds)
        return True

    def _sound_seconds(self, frame: av.AudioFrame, expected: float) -> float:
        """When a frame starts: where the last one ended, unless its timestamp says otherwise."""
        time = math.nan if frame.pts is None else self.seconds(frame.pts)
        if math.isnan(time) and math.isnan(expected):
            return 0.0
        return expected if math.isnan(time) or abs(time - expected) < _GAP_SECONDS else time

    def _around(
        self, packets: Iterator[av.Packet], *, start: float, stop: float
    ) -> Iterator[av.Packet]:
        """Leaves out packets well before `start` and ends well after `stop`."""
        first = start - PREROLL_SECONDS if start > FROM_START_SECONDS else -math.inf
        num_late = 0
        for packet in packets:
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
        """Take decoded sound (S,) at `rate`, from sample `position` after time 0 on."""
        if rate not in self._lines:
            self._lines[rate] = Line(self._first, self._num_samples, self._rate, rate)
        self._lines[rate].write(position, samples)

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
        """Sound (S,) from sample `position` on; what lies outside the window is left out."""
        begin = position - self._first
        low, high = max(begin, 0), min(begin + len(samples), len(self._samples))
        if low < high:
            self._samples[low:high] = samples[low - begin : high - begin]
            self._heard[low:high] = True

    def resampled(self) -> tuple[np.ndarray, np.ndarray]:
        """samples (S,) in [-1, 1] and whether they were heard (S,), at the wanted rate."""
        samples = self._samples
        if self._rate != self._out_rate:
            samples = soxr.resample(samples, self._rate, self._out_rate)
        part = samples[self._skip : self._skip + self._num_samples]
        out = np.arange(self._skip, self._skip + self._num_samples)
        nearest = np.minimum(out * self._rate // self._out_rate, len(self._heard) - 1)
        return np.clip(part, -1.0, 1.0), self._heard[nearest]


def _ratio(rate: int, out_rate: int) -> tuple[int, int]:
    common = math.gcd(rate, out_rate)
    return rate // common, out_rate // common


def mono(frame: av.AudioFrame) -> np.ndarray:
    """The mean of a frame's channels, (S,) float32, full scale 1."""
    samples = channels_of(frame)
    if samples.dtype.kind == "f":
        return samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)
    bits = 8 * samples.dtype.itemsize - 1
    middle = 1 << bits if samples.dtype.kind == "u" else 0
    return ((samples.mean(axis=0, dtype=np.float64) - middle) / (1 << bits)).astype(np.float32)


def channels_of(frame: av.AudioFrame) -> np.ndarray:
    """Samples as decoded, (channels, S).

    Not by PyAV's `to_ndarray`: with eight channels or more, which damage can also fake, it takes
    what follows the pointers in memory for further planes, and crashes.
    """
    num_channels, num_samples = frame.layout.nb_channels, frame.samples
    kind = _SAMPLE_TYPES[frame.format.name.removesuffix("p")]
    if frame.format.is_planar:
        planes = [np.frombuffer(p, kind, num_samples) for p in frame.planes[:num_channels]]
        return planes[0][None] if num_channels == 1 else np.stack(planes)
    packed = np.frombuffer(frame.planes[0], kind, num_samples * num_channels)
    return packed.reshape(num_samples, num_channels).T
