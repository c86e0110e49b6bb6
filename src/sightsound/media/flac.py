"""Sound as FLAC of 16 bits, in blocks that can be decoded each on its own.

A file is "fLaC", one block of metadata (STREAMINFO) and the blocks one after the other (RFC 9639).
It is put together here and not by a container's muxer: that gives the same bytes with every
version, and the length of every block, so that a reader fetches only those it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

BLOCK_SAMPLES = 4096
_FULL_SCALE = 1 << 15
# STREAMINFO is the last block of metadata (bit 7), of type 0 and 34 bytes long.
_START = b"fLaC" + bytes((0x80, 0, 0, 34))
HEADER_BYTES = len(_START) + 34


def as_16_bits(samples: np.ndarray) -> np.ndarray:
    """Sound in [-1, 1] (S,) as int16 (S,); full scale is 32768, so that 1.0 is clipped."""
    return np.clip(np.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def as_float(samples: np.ndarray) -> np.ndarray:
    """The inverse of `as_16_bits`: (S,) float32."""
    return samples.astype(np.float32) / np.float32(_FULL_SCALE)


def encode_flac(samples: np.ndarray, rate: int) -> tuple[bytes, list[bytes]]:
    """Header and blocks of a FLAC file of `samples` (S,) int16, mono, S at least 1.

    Every block holds `BLOCK_SAMPLES` samples, the last one the rest.
    """
    context = av.CodecContext.create("flac", "w")
    context.sample_rate, context.layout, context.format = rate, "mono", "s16"
    context.options = {"frame_size": str(BLOCK_SAMPLES)}
    context.thread_count = 1
    context.open()
    packets = []
    for start in range(0, len(samples), BLOCK_SAMPLES):
        block = np.ascontiguousarray(samples[None, start : start + BLOCK_SAMPLES])
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        packets += context.encode(frame)
    packets += context.encode(None)  # completes the checksum in the header
    return _START + bytes(context.extradata or b""), [
        bytes(packet) for packet in packets if packet.size
    ]


def decode_blocks(header: bytes, blocks: Sequence[bytes | memoryview]) -> np.ndarray:
    """The samples (S,) int16 of some blocks that follow one another.

    Raises `av.FFmpegError` for a block that is damaged.
    """
    context = av.CodecContext.create("flac", "r")
    context.extradata = header[len(_START) :]
    context.thread_count = 1
    frames = [frame for block in blocks for frame in context.decode(av.Packet(bytes(block)))]
    parts = [
        np.frombuffer(frame.planes[0], np.int16, frame.samples)  # type: ignore[call-overload]  # is a buffer
        for frame in frames
    ]
    return np.concatenate(parts)
