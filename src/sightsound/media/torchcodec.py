"""The optional decoder torchcodec: the same answers as `FileReader`, also decoded on a GPU.

What a file holds, its clock and its duration come from its headers as PyAV reads them, so that both
decoders look at the same streams and mean the same times. What differs: pixels, by about one level
of 255 (the mean over natural clips), because frames are scaled after they became RGB; gaps inside
the sound are not seen; and a damaged packet costs the question, not only what it holds. Recordings
that were joined have several clocks: those `FileReader` reads, and clips inside a tar or a table.
It needs torch, so it does not run in a `DecodeProcessReader`. Decoding on a GPU is not tested.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from av.audio.stream import AudioStream

from sightsound.media.decode import DecodeError, opened
from sightsound.media.downmix import channel_names, channel_weights, numbers_only
from sightsound.media.frames import TICK_SECONDS, Frames, VideoTrack
from sightsound.media.front_end import Downmix, Picture
from sightsound.media.geometry import Box, Crop, full_box
from sightsound.media.probe import read_duration
from sightsound.media.reader import FileReader
from sightsound.media.sound import (
    FROM_START_SECONDS,
    NO_NUMBERS,
    PREROLL_SECONDS,
    Samples,
    SoundWindow,
)
from sightsound.optional import require

if TYPE_CHECKING:
    from torch import Tensor
    from torchcodec import AudioSamples
    from torchcodec.decoders import AudioDecoder

_MAX_SCALED_PIXELS = 1 << 24  # above this a crop is cut out before it is enlarged
_EDGE_SECONDS = 0.1  # sound after a window: more than the resampler's filter sees
_OLDEST = (0, 11)  # the first that turns pictures upright


@dataclass(frozen=True)
class TorchcodecReader:
    """Reads media files here and now with torchcodec, pictures on `device`.

    Raises:
        ModuleNotFoundError: torchcodec is not installed.
        ImportError: it is, but is too old, finds no FFmpeg, or was built for another torch.
        ValueError: there is no such device.
    """

    device: str = "cpu"
    downmix: Downmix = "itu"
    picture: Picture = "displayed"

    def __post_init__(self) -> None:
        _decoders()
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                "--data.decoder torchcodec-cuda needs a GPU that torch can use; accepted here: "
                "pyav, torchcodec"
            )

    @property
    def _other(self) -> FileReader:
        """Reads what torchcodec does not."""
        return FileReader(downmix=self.downmix, picture=self.picture)

    def duration(self, path: str | Path) -> float:
        """See `Reader`."""
        return read_duration(path)

    def frames(
        self,
        path: str | Path,
        times_seconds: np.ndarray,
        size: tuple[int, int],
        *,
        crop: Crop | None = None,
    ) -> Frames | None:
        """See `Reader`; all times are exact."""
        wanted = np.asarray(times_seconds, dtype=np.float64)
        found = _stream(path, "video", start_seconds=float(wanted.min()))
        if found is None:
            return None
        if found.is_for_pyav or (found.is_reshaped and self.picture == "displayed"):
            return self._other.frames(path, times_seconds, size, crop=crop)
        origin = found.origin
        with _failures(path, float(wanted.min())):
            decoder = _decoders().VideoDecoder(
                str(path), stream_index=found.index, device=self.device
            )
            about = decoder.metadata
            start, stop = about.begin_stream_seconds, about.end_stream_seconds
            times = wanted + origin + TICK_SECONDS
            inside = np.clip(times, start, max(start, stop - TICK_SECONDS))
            shown = decoder.get_frames_played_at(inside.tolist())
        starts = shown.pts_seconds.cpu().numpy()
        if (starts > inside + TICK_SECONDS).any():  # seen with MPEG transport streams
            cause = "torchcodec gave frames that are shown later; --data.decoder pyav reads it"
            raise DecodeError(path, float(wanted.min()), cause)
        box = (crop or full_box)(*shown.data.shape[-2:])
        pixels = _scaled(shown.data, box, size=size).cpu().contiguous().numpy()
        if (times >= stop).any():
            stop = origin + _shown_until(path, stop - origin)
        return Frames(pixels, starts - origin, (start <= times) & (times < stop))

    def sound(
        self, path: str | Path, start_seconds: float, stop_seconds: float, rate: int
    ) -> Samples | None:
        """See `Reader`."""
        found = _stream(path, "audio", start_seconds=start_seconds)
        if found is None:
            return None
        if found.is_for_pyav:
            return self._other.sound(path, start_seconds, stop_seconds, rate)
        origin = found.origin
        weights = channel_weights(found.channels) if self.downmix == "itu" else None
        with _failures(path, start_seconds):
            decoder = _decoders().AudioDecoder(str(path), stream_index=found.index)
            own = decoder.metadata.sample_rate
            window = SoundWindow(start_seconds, stop_seconds, rate)
            # As in `sound.py`, so that both take their clock from the same packet; on a whole
            # sample, so that it is known which one comes first.
            late = start_seconds > FROM_START_SECONDS
            first = start_seconds if late else min(0.0, start_seconds)
            start = math.floor((first - PREROLL_SECONDS) * own) / own
            heard = _heard(decoder, start + origin, stop_seconds + _EDGE_SECONDS + origin)
            if heard is not None:
                mono = numbers_only(heard.data.numpy(), weights)
                if not np.isfinite(mono).any():
                    raise DecodeError(path, start_seconds, NO_NUMBERS)
                window.write(own, round((heard.pts_seconds - origin) * own), mono)
        return window.result()

    def close(self) -> None:
        """See `Reader`: nothing is held."""


def _decoders() -> ModuleType:
    """The module `torchcodec.decoders`, or an error that says what is missing."""
    try:
        decoders = require("torchcodec.decoders", extra="gpu")
    except RuntimeError as error:  # torchcodec's own, many lines long
        raise ImportError(
            "torchcodec cannot be loaded: it needs the shared libraries of FFmpeg (version 4 or "
            "later, such as apt-get install ffmpeg) and a release made for the torch that is "
            "installed; --data.decoder pyav does without it"
        ) from error
    found = version("torchcodec")
    if tuple(map(int, found.split(".")[:2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise ImportError(
            f"torchcodec {found} is too old: {oldest} or newer is needed, which turns pictures "
            "upright; --data.decoder pyav does without it"
        )
    return decoders


@dataclass(frozen=True)
class _Found:
    """The stream that PyAV would decode."""

    index: int
    origin: float  # where its time 0 is on the file's clock
    is_for_pyav: bool  # that clock changes, or the clip lies inside another file
    channels: tuple[str, ...] = ()  # of sound
    is_reshaped: bool = False  # its pictures are not shown as they are stored


def _stream(path: str | Path, kind: str, *, start_seconds: float) -> _Found | None:
    """`None` if there is no stream of this kind."""
    with opened(path, start_seconds=start_seconds) as media:
        stream = media.stream(kind)
        if stream is None:
            return None
        inside = media.is_joined or not os.path.isfile(path)
        found = _Found(stream.index, float(media.origin), inside)
        if isinstance(stream, AudioStream):
            channels = channel_names(stream.codec_context.layout)
            return dataclasses.replace(found, channels=channels)
        track = VideoTrack(media, stream)
        return dataclasses.replace(found, is_reshaped=not track.is_shown_as_stored)


def _shown_until(path: str | Path, end: float) -> float:
    """See `Media.shown_until`: of the video stream, which ends at `end`."""
    with opened(path, start_seconds=end) as media:
        stream = media.stream("video")
        return end if stream is None else media.shown_until(stream, end)


@contextmanager
def _failures(path: str | Path, start_seconds: float) -> Iterator[None]:
    """What torchcodec finds wrong with a file becomes a `DecodeError`."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, DecodeError):
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        raise DecodeError(path, start_seconds, _cause(error)) from error


def _cause(error: Exception) -> str:
    """The first line of a message, without the place in torchcodec's source."""
    first = str(error).strip().split("\n")[0]
    return re.sub(r"^.*\.cpp:\d+, ", "", first) or type(error).__name__


def _heard(decoder: AudioDecoder, start: float, stop: float) -> AudioSamples | None:
    """The sound between two times; `None` where the stream has none."""
    try:
        return decoder.get_samples_played_in_range(start, stop)
    except RuntimeError as error:
        if "No audio frames were decoded" in str(error):
            return None
        raise


def _scaled(pixels: Tensor, box: Box, *, size: tuple[int, int]) -> Tensor:
    """`box` of frames (T, C, H, W) uint8, scaled to `size`, on their device.

    As in `pixels.Converter`, the whole frame is scaled so that the box has the size of the output,
    then cut. Both filters are triangles as wide as the distance of the output's pixels.
    """
    shape = pixels.shape[-2:]
    height = max(size[0], round(shape[0] * size[0] / box.height))
    width = max(size[1], round(shape[1] * size[1] / box.width))
    if height * width > _MAX_SCALED_PIXELS:
        rows = slice(math.floor(box.top), math.ceil(box.top + box.height))
        columns = slice(math.floor(box.left), math.ceil(box.left + box.width))
        return _resized(pixels[..., rows, columns], *size)
    top = min(round(box.top * height / shape[0]), height - size[0])
    left = min(round(box.left * width / shape[1]), width - size[1])
    return _resized(pixels, height, width)[..., top : top + size[0], left : left + size[1]]


def _resized(pixels: Tensor, height: int, width: int) -> Tensor:
    """Frames (T, C, H, W) uint8 of another size."""
    from torch.nn.functional import interpolate

    if pixels.device.type == "cpu":
        return interpolate(pixels, (height, width), mode="bilinear", antialias=True)
    scaled = interpolate(pixels.float(), (height, width), mode="bilinear", antialias=True)
    return scaled.round().clamp(0, 255).byte()
