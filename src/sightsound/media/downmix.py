"""Decoded sound of any number of channels as one: how they are mixed, which samples are lost."""

from __future__ import annotations

import av
import numpy as np

# FFmpeg's sample formats; the planar ones have the same names with a "p" behind.
_SAMPLE_TYPES = {
    "u8": np.uint8,
    "s16": np.int16,
    "s32": np.int32,
    "s64": np.int64,
    "flt": np.float32,
    "dbl": np.float64,
}


def mono(frame: av.AudioFrame) -> np.ndarray:
    """The mean of a frame's channels, (S,) float32, full scale 1.

    Nan where a channel of floating-point sound holds what is not a number (nan, inf).
    """
    samples = channels_of(frame)
    if samples.dtype.kind == "f":
        return numbers_only(samples)
    bits = 8 * samples.dtype.itemsize - 1
    middle = 1 << bits if samples.dtype.kind == "u" else 0
    return ((samples.mean(axis=0, dtype=np.float64) - middle) / (1 << bits)).astype(np.float32)


def numbers_only(samples: np.ndarray) -> np.ndarray:
    """The mean of the channels of floating-point sound (channels, S), (S,); nan for what is none.

    Beyond the range of 32 bits nothing is sound either.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mixed = samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)
        mixed = mixed.astype(np.float32, copy=False)
    finite = np.isfinite(mixed)
    return mixed if finite.all() else np.where(finite, mixed, np.float32(np.nan))


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
