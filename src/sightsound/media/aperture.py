"""Which part of its pictures a container says is shown, which PyAV (18) does not tell.

Matroska and WebM: PixelCropTop and so on (RFC 9559, section 5.1.4.1.28); MP4 and MOV: the clean
aperture, `clap` (ISO 14496-12, section 12.1.4). Only the few bytes on the way to them are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import islice

from sightsound.media.display import Cut
from sightsound.media.source import Source

Span = tuple[int, int]  # [start, stop) in the file

_MP4, _MATROSKA = {"mov", "mp4"}, {"matroska", "webm"}
_VISUAL_ENTRY = 78  # bytes of a VisualSampleEntry before the boxes in it
_CROPS = {0x54BB: "top", 0x54AA: "bottom", 0x54CC: "left", 0x54DD: "right"}
_SEGMENT, _TRACKS, _CLUSTER = 0x18538067, 0x1654AE6B, 0x1F43B675
_ENTRY, _TYPE, _VIDEO = 0xAE, 0x83, 0xE0


@lru_cache(maxsize=1024)
def apertures(source: Source, formats: str) -> tuple[Cut, ...]:
    """What is cut off of each video track, in order; `formats` as FFmpeg names the container."""
    names = set(formats.split(","))
    find = _clean_apertures if names & _MP4 else _pixel_crops if names & _MATROSKA else None
    if find is None:
        return ()
    with source.content() as data:
        return tuple(find(data))


# --- MP4 ----------------------------------------------------------------------------------------


def _clean_apertures(data: memoryview) -> Iterator[Cut]:
    for moov in islice(_boxes(data, (0, len(data)), b"moov"), 1):
        for mdia in _boxes(data, moov, b"trak", b"mdia"):
            if any(bytes(data[k + 8 : k + 12]) == b"vide" for k, _ in _boxes(data, mdia, b"hdlr")):
                cuts = (
                    _cut_of_clap(data, clap, entry)
                    for start, stop in _boxes(data, mdia, b"minf", b"stbl", b"stsd")
                    for entry, end in _boxes(data, (start + 8, stop))  # past version and number
                    for clap, _ in _boxes(data, (entry + _VISUAL_ENTRY, end), b"clap")
                )
                yield next(cuts, Cut())


def _cut_of_clap(data: memoryview, at: int, entry: int) -> Cut:
    """Eight numbers: width, height, and how far its centre is right of and below the middle."""
    width, height = _number(data, entry + 24, 2), _number(data, entry + 26, 2)
    numbers = [_number(data, at + 4 * k, 4, signed=k in (4, 6)) for k in range(8)]
    if not all(numbers[1::2]):
        return Cut()
    wide, high, right, down = map(Fraction, numbers[::2], numbers[1::2])
    left, top = round((width - wide) / 2 + right), round((height - high) / 2 + down)
    cut = Cut(top, height - top - round(high), left, width - left - round(wide))
    return cut if min(cut.top, cut.bottom, cut.left, cut.right) >= 0 else Cut()


def _boxes(data: memoryview, span: Span, name: bytes = b"", *inner: bytes) -> Iterator[Span]:
    """Where the content of each box in `span` is: of those called `name`, or of all.

    With `inner` names, of the boxes inside them, and so on.
    """
    at, stop = span
    while at + 8 <= stop:
        size, header = _number(data, at, 4), 8
        if size == 1:
            size, header = _number(data, at + 8, 8), 16
        end = stop if size == 0 else at + size
        if size and size < header or end > stop:
            return
        if name in (b"", bytes(data[at + 4 : at + 8])):
            content = at + header, end
            yield from _boxes(data, content, *inner) if inner else (content,)
        at = end


# --- Matroska -----------------------------------------------------------------------------------


def _pixel_crops(data: memoryview) -> Iterator[Cut]:
    for entry in _elements(data, (0, len(data)), _SEGMENT, _TRACKS, _ENTRY):
        if any(_number(data, a, b - a) == 1 for a, b in _elements(data, entry, _TYPE)):
            sides = {
                side: _number(data, start, stop - start)
                for number, side in _CROPS.items()
                for start, stop in _elements(data, entry, _VIDEO, number)
            }
            yield Cut(**sides)


def _elements(data: memoryview, span: Span, number: int, *inner: int) -> Iterator[Span]:
    """Where the content of each EBML element in `span` is, of those with a `number`.

    With `inner` numbers, of the elements inside them, and so on; what follows a cluster is media.
    """
    at, stop = span
    while at < stop:
        length = _length(data[at])
        own, at = _number(data, at, length), at + length
        if at >= stop or own == _CLUSTER:
            return
        length = _length(data[at])
        size = _number(data, at, length) - (1 << 7 * length)
        unknown = size == (1 << 7 * length) - 1
        at += length
        end = stop if unknown else at + size
        if own == number:
            content = at, min(end, stop)
            yield from _elements(data, content, *inner) if inner else (content,)
        at = end


def _length(first: int) -> int:
    """Bytes of a number of variable length that begins with this one."""
    return 9 - (first.bit_length() or 1)


def _number(data: memoryview, at: int, length: int, *, signed: bool = False) -> int:
    return int.from_bytes(data[at : at + length], "big", signed=signed)
