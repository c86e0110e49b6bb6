"""Reads clips from shards: of a clip only the pictures and the blocks of sound that are asked for.

Everything is read by its place (`pread`), so processes that were forked may share a file.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from sightsound.data.shards.format import BLOCK_BYTES, SOUND_SUFFIX, Sample
from sightsound.data.shards.index import Index
from sightsound.media.decode import DecodeError, cause_of
from sightsound.media.display import Cut, box_of_stored
from sightsound.media.flac import BLOCK_SAMPLES, HEADER_BYTES, as_float, decode_blocks
from sightsound.media.frames import TICK_SECONDS, Frames
from sightsound.media.geometry import Box, Crop, full_box
from sightsound.media.jpeg import JpegDecoder
from sightsound.media.pixels import Converter
from sightsound.media.sound import Samples

_OPEN_FILES = 16  # shards kept open; a guess


@dataclass
class ShardReader:
    """Answers from the shards of an index; a `Reader`. Copies open files of their own.

    A clip is called `shard/key`, its sound `shard/key.flac` where it came from a file of its own.
    """

    index: Path
    _opened: _Opened | None = field(default=None, repr=False, compare=False)

    def __reduce__(self) -> tuple:
        return ShardReader, (self.index,)

    def duration(self, path: str | Path) -> float:
        """Seconds from time 0 to the end of the longest stream, of the file that was stored."""
        about = self._find(path).sample.about
        alone = os.fspath(path).endswith(SOUND_SUFFIX)
        return about["audio_duration_seconds" if alone else "duration_seconds"]

    def frames(
        self,
        path: str | Path,
        times_seconds: np.ndarray,
        size: tuple[int, int],
        *,
        crop: Crop | None = None,
    ) -> Frames | None:
        """See `Reader`: of the frames stored, the last that is shown at or before each time.

        `crop` is asked about the frame as it was before it was stored.
        """
        clip = self._find(path)
        about = clip.sample.pictures
        if about is None:
            return None
        times, wanted = np.array(about["times_seconds"]), times_seconds + TICK_SECONDS
        numbers = np.searchsorted(times, wanted, side="right") - 1
        end = about["end_seconds"]
        valid = (numbers >= 0) & (wanted < (np.inf if end is None else end))
        numbers = np.maximum(numbers, 0)
        shown = about["height"], about["width"]

        def crop_of_stored(height: int, width: int) -> Box:
            return box_of_stored((crop or full_box)(*shown), shown, Cut(), height, width)

        convert = Converter(size, crop=crop and crop_of_stored)
        pixels = np.empty((len(numbers), 3, *convert.size), np.uint8)
        first: dict[int, int] = {}  # where each picture is in `pixels`
        for index, number in enumerate(numbers.tolist()):
            if number in first:
                pixels[index] = pixels[first[number]]
            else:
                convert(clip.picture(number), out=pixels[index])
                first[number] = index
        return Frames(pixels, times[numbers], valid, tuple(about["problems"]))

    def sound(
        self, path: str | Path, start_seconds: float, stop_seconds: float, rate: int
    ) -> Samples | None:
        """See `Reader`; `rate` must be that of the shards, or it is a `ValueError`."""
        clip = self._find(path)
        about = clip.sample.sound
        if about is None:
            return None
        if rate != about["rate_hz"]:
            raise ValueError(f"rate is {rate}; these shards hold sound at {about['rate_hz']} Hz")
        start, count = round(start_seconds * rate), round((stop_seconds - start_seconds) * rate)
        samples, valid = np.zeros(count, np.float32), np.zeros(count, bool)
        first = about["first_sample"]
        low, high = max(start, first), min(start + count, first + about["num_samples"])
        if low < high:
            samples[low - start : high - start] = as_float(clip.sound(low - first, high - first))
        for begin, end in about["valid"]:
            valid[max(0, begin - start) : max(0, end - start)] = True
        return Samples(samples, valid, tuple(about["problems"]))

    def close(self) -> None:
        """Let go of all files; they are opened again when needed."""
        self._opened = None

    def _find(self, path: str | Path) -> _Clip:
        if self._opened is None:
            self._opened = _Opened(self.index)
        return self._opened.clip(os.fspath(path).removesuffix(SOUND_SUFFIX))


class _Opened:
    """What a process holds while it reads: files, places, a decoder, the last clip."""

    def __init__(self, index: Path) -> None:
        self._places = Index(index).places
        self._files: OrderedDict[str, int] = OrderedDict()
        self._last: tuple[str, Sample, str, int] | None = None  # path, sample, shard, start there
        self.decode = JpegDecoder()

    def clip(self, path: str) -> _Clip:
        """The clip called `path`; the last one is remembered."""
        if self._last is None or self._last[0] != path:
            shard, key = os.path.split(path)
            index = int(np.searchsorted(self._places["key"], int(key)))
            start, size = (int(self._places[name][index]) for name in ("offset", "json_size"))
            text = self.read(shard, start + BLOCK_BYTES, size)
            try:
                sample = Sample(json.loads(text), len(text))
            except ValueError as error:
                raise _damaged(path, "its JSON cannot be read") from error
            self._last = (path, sample, shard, start)
        return _Clip(*self._last, self)

    def read(self, shard: str, start: int, size: int) -> bytes:
        """Bytes of a shard. Raises `ValueError` if it ends before."""
        if shard not in self._files:
            if len(self._files) >= _OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
            self._files[shard] = os.open(shard, os.O_RDONLY)
        self._files.move_to_end(shard)
        data = os.pread(self._files[shard], size, start)
        if len(data) < size:
            raise ValueError(
                f"shard {shard!r} is truncated: it ends before byte {start + size}; copy it "
                "again, or make it again with 'sightsound prepare'"
            )
        return data

    def __del__(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])


def _damaged(path: str, cause: str) -> DecodeError:
    return DecodeError(path, 0.0, f"the shard is damaged here ({cause})")


@dataclass(frozen=True)
class _Clip:
    """A clip in its shard."""

    path: str
    sample: Sample
    shard: str
    start: int  # of the sample, in bytes
    opened: _Opened = field(repr=False)

    def picture(self, number: int) -> av.VideoFrame:
        """One of the frames stored."""
        pictures = self.sample.pictures or {}
        start = int(self.sample.picture_places[number])
        try:
            return self.opened.decode(self._read(start, pictures["sizes"][number]))
        except av.FFmpegError as error:
            raise _damaged(self.path, cause_of(error)) from error

    def sound(self, low: int, high: int) -> np.ndarray:
        """(high - low,) int16: samples after the first one stored."""
        begin, end = low // BLOCK_SAMPLES, -(-high // BLOCK_SAMPLES)
        cuts = self.sample.block_places[begin : end + 1].tolist()
        header = self._read(self.sample.sound_place, HEADER_BYTES)
        data = memoryview(self._read(cuts[0], cuts[-1] - cuts[0]))
        blocks = [data[a - cuts[0] : b - cuts[0]] for a, b in pairwise(cuts)]
        try:
            samples = decode_blocks(header, blocks)
        except av.FFmpegError as error:
            raise _damaged(self.path, cause_of(error)) from error
        return samples[low - begin * BLOCK_SAMPLES : high - begin * BLOCK_SAMPLES]

    def _read(self, start: int, size: int) -> bytes:
        return self.opened.read(self.shard, self.start + start, size)
