"""Frames and sound to a small .mp4 file: H.264 and AAC, what a phone or a camera would write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer

from sightsound.files import atomic_path

_AUDIO_CHUNK = 1024  # samples per AAC frame
_AAC_BITS_PER_SAMPLE = 4  # a guess: errors stay under a tenth of the loudness of a pure tone


def write_video(
    path: str | Path,
    frames: np.ndarray,
    *,
    frames_per_second: float,
    waveform: np.ndarray | None,
    rate_hz: int = 16000,
    crf: int = 28,
) -> None:
    """Write `path`, an .mp4 file, completely or not at all.

    `frames` is (T, H, W, 3) uint8 RGB with even H and W, `waveform` (S,) float in [-1, 1], mono, or
    `None` for a file without sound. `crf` is the quality of x264: 0 lossless, 51 worst. The folder
    of `path` must exist. Raises `ValueError` where an argument has another shape, type or range.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
        raise ValueError(
            f"frames: got shape {frames.shape}, {frames.dtype}; accepted: (T, H, W, 3) uint8 RGB "
            "with at least one frame"
        )
    write_frames(
        path,
        frames,
        size=frames.shape[1:3],
        frames_per_second=frames_per_second,
        waveform=waveform,
        rate_hz=rate_hz,
        crf=crf,
    )


def write_frames(
    path: str | Path,
    frames: Iterable[np.ndarray],
    *,
    size: tuple[int, int],
    frames_per_second: float,
    waveform: np.ndarray | None,
    rate_hz: int = 16000,
    crf: int = 28,
) -> None:
    """`write_video` of frames (H, W, 3) of one `size` (H, W) that come one at a time.

    The file plays while it loads: its index is at the start, sound and frames lie side by side.
    """
    _check(size=size, frames_per_second=frames_per_second, waveform=waveform, rate_hz=rate_hz)
    with atomic_path(Path(path)) as temporary:
        options = {"movflags": "+faststart"}
        with av.open(str(temporary), "w", format="mp4", options=options) as container:
            _write_streams(
                container,
                frames=frames,
                size=size,
                rate=Fraction(frames_per_second).limit_denominator(1001),
                waveform=waveform,
                rate_hz=rate_hz,
                crf=crf,
            )


def _check(
    *,
    size: tuple[int, int],
    frames_per_second: float,
    waveform: np.ndarray | None,
    rate_hz: int,
) -> None:
    if size[0] % 2 or size[1] % 2:
        raise ValueError(
            f"frames: got height {size[0]} and width {size[1]}; H.264 with half-size "
            "colour needs even numbers: crop or pad by one pixel"
        )
    if not frames_per_second > 0:
        raise ValueError(f"frames_per_second: got {frames_per_second}; accepted: above 0")
    if waveform is not None and (waveform.ndim != 1 or waveform.dtype.kind != "f"):
        raise ValueError(
            f"waveform: got shape {waveform.shape}, {waveform.dtype}; accepted: (S,) float in "
            "[-1, 1], one channel"
        )
    if rate_hz not in AAC_RATES_HZ:
        raise ValueError(f"rate_hz: got {rate_hz}; AAC knows {sorted(AAC_RATES_HZ)}: resample")


# ISO 14496-3, table of sampling frequency indices.
AAC_RATES_HZ = frozenset(
    (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
)


def _write_streams(
    container: OutputContainer,
    *,
    frames: Iterable[np.ndarray],
    size: tuple[int, int],
    rate: Fraction,
    waveform: np.ndarray | None,
    rate_hz: int,
    crf: int,
) -> None:
    # Both streams are declared before the first packet: the header is written with it.
    options = {"crf": str(crf), "preset": "superfast"}
    video = container.add_stream("libx264", rate=rate, options=options)
    video.height, video.width = size
    video.pix_fmt = "yuv420p"
    video.codec_context.thread_count = 1
    sound: Iterator[tuple[float, list[av.Packet]]] = iter(())
    if waveform is not None and len(waveform):
        stream = container.add_stream("aac", rate=rate_hz, layout="mono")
        stream.bit_rate = _AAC_BITS_PER_SAMPLE * rate_hz
        sound = _encoded(stream, waveform=waveform.astype(np.float32), rate_hz=rate_hz)
    heard = 0.0
    for index, pixels in enumerate(frames):
        while heard <= index / rate and (part := next(sound, None)) is not None:
            heard = part[0]
            container.mux(part[1])
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame.pts, frame.time_base = index, 1 / rate
        container.mux(video.encode(frame))
    container.mux(video.encode(None))
    for _, packets in sound:
        container.mux(packets)


def _encoded(
    stream: av.AudioStream, *, waveform: np.ndarray, rate_hz: int
) -> Iterator[tuple[float, list[av.Packet]]]:
    """(seconds encoded so far, packets) until all is."""
    for start in range(0, len(waveform), _AUDIO_CHUNK):
        chunk = waveform[None, start : start + _AUDIO_CHUNK]
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(chunk), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
        yield (start + chunk.shape[1]) / rate_hz, stream.encode(frame)
    yield len(waveform) / rate_hz, stream.encode(None)
