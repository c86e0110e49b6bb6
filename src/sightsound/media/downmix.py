"""Decoded sound of any number of channels as one: how they are mixed, which samples are lost.

"itu" mixes as Recommendation ITU-R BS.775 says (table 2, from 3/2 to mono), and as `ffmpeg -ac 1`
does with floating-point sound, so that speech, which films have in the centre, keeps its level:

    centre 1    left, right, and those between them and the centre .7071    all behind, beside or
    above .5    low-frequency effects 0

A left and a right alone (stereo, 2.1) are averaged, as always: nothing above full scale comes out.
Of ambisonics the first component is the sound from everywhere. Where a file does not say which
channel is where, six are taken for 5.1 and eight for 7.1, as players do, other numbers averaged:
those are rather microphones. The sum of 5.1 may exceed full scale; `sound.py` clips it there.

"mean" is the mean of all channels, as it was before there was a choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import av
import numpy as np

from sightsound.media.front_end import Downmix

# FFmpeg's sample formats; the planar ones have the same names with a "p" behind.
_SAMPLE_TYPES = {
    "u8": np.uint8,
    "s16": np.int16,
    "s32": np.int32,
    "s64": np.int64,
    "flt": np.float32,
    "dbl": np.float64,
}
# FFmpeg's names of channels.
_FRONT = {"FL", "FR", "FLC", "FRC"}
_PAIRS = ({"FL", "FR"}, {"DL", "DR"}, {"BIL", "BIR"})
_LOW = {"LFE", "LFE2"}
_AVERAGED = ("mono", "stereo")  # nearly all files: not worth asking for names
_UNSAID = {"NONE", "UNSD"}
_5_1 = ("FL", "FR", "FC", "LFE", "BL", "BR")
_USUAL = {6: _5_1, 8: (*_5_1, "SL", "SR")}
_SURROUND = 0.5


def mono(frame: av.AudioFrame, downmix: Downmix = "itu") -> np.ndarray:
    """A frame's channels as one, (S,) float32, full scale 1.

    Not finite where a channel of floating-point sound holds what is not a number (nan, inf).
    """
    samples = channels_of(frame)
    averaged = downmix == "mean" or frame.layout.name in _AVERAGED
    weights = None if averaged else channel_weights(channel_names(frame.layout))
    if samples.dtype.kind == "f":
        return numbers_only(samples, weights)
    bits = 8 * samples.dtype.itemsize - 1
    middle = 1 << bits if samples.dtype.kind == "u" else 0
    if weights is None:
        mixed = samples.mean(axis=0, dtype=np.float64) - middle
    else:
        mixed = weights @ (samples.astype(np.float64) - middle)
    return (mixed / (1 << bits)).astype(np.float32)


def numbers_only(samples: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Floating-point sound (channels, S) as one channel, (S,) float32; not finite where it is lost.

    `weights` (channels,); `None` for the mean. Beyond the range of 32 bits nothing is sound either.
    """
    if len(samples) == 1 and samples.dtype == np.float32:
        return samples[0]
    with np.errstate(over="ignore", invalid="ignore"):
        if len(samples) == 1:
            mixed = samples[0].astype(np.float32, copy=False)
        elif weights is None and len(samples) == 2:  # the mean to the bit, in a fifth of its time
            left, right = samples.astype(np.float32, copy=False)
            mixed = (left + right) / 2
        elif weights is None:
            mixed = samples.mean(axis=0, dtype=np.float32)
        else:
            heard = weights > 0  # a channel that does not count may hold anything
            mixed = (weights[heard] @ samples[heard].astype(np.float64)).astype(np.float32)
        if math.isfinite(np.dot(mixed, mixed)):  # nearly always, and quicker than to look at each
            return mixed
    return np.where(np.isfinite(mixed), mixed, np.float32(np.nan))


def channel_names(layout: av.AudioLayout) -> tuple[str, ...]:
    """FFmpeg's names of the channels, such as FL, FR, FC, LFE, BL, BR; NONE where it has none."""
    return tuple(channel.name for channel in layout.channels)


def channel_weights(names: Sequence[str]) -> np.ndarray | None:
    """(channels,) float64: what each channel counts; `None` for the mean of all."""
    if _UNSAID.issuperset(names):
        names = _USUAL.get(len(names), names)
    placed = [name for name in names if name not in _LOW and not name.startswith("AMBI")]
    # One channel, a left and a right alone, or channels of which nothing is known.
    is_alone = len(placed) < 2 or any(pair.issuperset(placed) for pair in _PAIRS)
    is_averaged = is_alone or _UNSAID.issuperset(placed)
    if len(names) == 1 or (is_averaged and len(placed) == len(names)):
        return None
    shares = dict.fromkeys(_FRONT, math.sqrt(0.5)) | {"FC": 1.0}
    if is_averaged:
        shares = dict.fromkeys(placed, 1 / max(1, len(placed)))
    known = dict.fromkeys(_LOW, 0.0) | shares
    # Of ambisonics, the first component is what one microphone for all sides hears.
    known |= {name: float(name == "AMBI0") for name in names if name.startswith("AMBI")}
    return np.array([known.get(name, _SURROUND) for name in names])


def counted(layout: av.AudioLayout) -> np.ndarray:
    """(channels,) bool: which channels "itu" mixes in; all, where it would none."""
    weights = channel_weights(channel_names(layout))
    if weights is None or not weights.any():
        return np.ones(layout.nb_channels, bool)
    return weights > 0


def channels_of(frame: av.AudioFrame) -> np.ndarray:
    """Samples as decoded, (channels, S).

    Not by PyAV's `to_ndarray`: with eight channels or more, which damage can also fake, it takes
    what follows the pointers in memory for further planes, and crashes.
    """
    num_channels, num_samples = frame.layout.nb_channels, frame.samples
    kind = _SAMPLE_TYPES[frame.format.name.removesuffix("p")]
    is_planar = frame.format.is_planar
    length = num_samples if is_planar else num_samples * num_channels
    rows = [
        np.frombuffer(plane, kind, length)  # type: ignore[call-overload]  # planes are buffers
        for plane in frame.planes[: num_channels if is_planar else 1]
    ]
    if not is_planar:
        return rows[0].reshape(num_samples, num_channels).T
    return rows[0][None] if num_channels == 1 else np.stack(rows)
