"""Recordings that were joined by appending one file to another, each with its own headers.

Ogg calls this chaining and allows it (RFC 3533, section 4; RFC 7845, section 5.1); Matroska files
and FLAC files are joined so by `cat`. FFmpeg reads over the headers in between: of Ogg it lets the
second recording begin at the time of the first, and fails where the rate or the number of channels
changes. Here each link is opened as a file of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from sightsound.media.source import Source

# How a link begins. Ogg: a page of version 0 that begins a logical stream (RFC 3533, section 6);
# FLAC: the marker and a STREAMINFO block of 34 bytes (RFC 9639, section 8).
_OGG_START = re.compile(rb"OggS\x00[\x02\x03\x06\x07]")
_FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_EBML = b"\x1a\x45\xdf\xa3"  # and the header's size, version: RFC 8794, section 11.2
_EBML_START = re.compile(re.escape(_EBML) + rb"(?=.{,40}(?:webm|matroska))", re.DOTALL)
_SEGMENT = b"\x18\x53\x80\x67"  # RFC 9559, section 5.1
_OGG_HEADER_BYTES = 27


def links(source: Source) -> tuple[Source, ...]:
    """The recordings that were joined in a file; none for a file that is one recording."""
    starts_of = _STARTS.get(source.head(4))
    return _links(source, starts_of) if starts_of else ()


@lru_cache(maxsize=256)
def _links(source: Source, starts_of: Callable[[memoryview], list[int]]) -> tuple[Source, ...]:
    """See `links`; a file is looked through once, unless it changes."""
    with source.content() as data:
        starts, size = starts_of(data), len(data)
    ends = [*starts[1:], size]
    return tuple(map(source.part, starts, ends)) if len(starts) > 1 else ()


def _ogg_starts(data: memoryview) -> list[int]:
    """Where links begin: the first pages of a link's streams follow one another."""
    starts, following = [], -1
    for found in _OGG_START.finditer(data):
        if found.start() != following:
            starts.append(found.start())
        # The header of a page says how many segments it has, then how long each is.
        table = found.start() + _OGG_HEADER_BYTES
        lengths = data[table : table + data[table - 1]]
        following = table + len(lengths) + sum(lengths)
    return starts


def _flac_starts(data: memoryview) -> list[int]:
    return [found.start() for found in _FLAC_START.finditer(data)]


def _matroska_starts(data: memoryview) -> list[int]:
    """Where links begin: after a segment whose size is stored nothing needs to be searched."""
    starts: list[int] = []
    start: int | None = 0
    while start is not None and data[start : start + 4] == _EBML:
        starts.append(start)
        start = _end_of_segment(data, start)
    return starts


def _end_of_segment(data: memoryview, start: int) -> int | None:
    """Where the next link of a Matroska file begins, if there is one."""
    _, segment = _element(data, start + 4)
    if data[segment : segment + 4] == _SEGMENT:
        known, end = _element(data, segment + 4)
        if known:
            return end if end < len(data) else None
    found = _EBML_START.search(data, start + 4)  # written live: the size was not known
    return None if found is None else found.start()


def _element(data: memoryview, start: int) -> tuple[bool, int]:
    """Whether an element's size, at `start`, is known, and where it ends (RFC 8794, section 6)."""
    first = data[start] if start < len(data) else 0
    length = 9 - first.bit_length()
    if length > 8:
        return False, len(data)
    size = int.from_bytes(data[start : start + length], "big") & ((1 << 7 * length) - 1)
    return size != (1 << 7 * length) - 1, start + length + size


# By the first bytes of a file.
_STARTS = {b"OggS": _ogg_starts, b"fLaC": _flac_starts, _EBML: _matroska_starts}
