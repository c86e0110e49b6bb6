"""Frames as JPEG pictures, and back.

Colour is never resampled at half resolution twice, which would cost as much as the compression:
frames that keep their size are stored as they were decoded, colour at half resolution, scaled
frames with colour at full resolution. In the first, colour samples lie where H.264 has them, level
with the left one of two pixels; JPEG readers look for them in between, so `JpegDecoder` says where
they are. (Others see colours half a pixel off.)
"""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorRange
from PIL import Image

from sightsound.media.display import AS_STORED, Display
from sightsound.media.pixels import Converter, Orientation, orientation_of

# Their frames have colour samples level with the left pixel unless they say otherwise, which PyAV
# does not tell and hardly any file does.
_LEFT_CODECS = frozenset({"h264", "hevc"})
# JPEG's own matrix, BT.601, under its two numbers, and 2: not specified, which is taken for it.
_JPEG_MATRIX = frozenset({2, 5, 6})


def _widened(zero: int, low: int, span: int) -> bytes:
    """Table (256) from limited range, where `span` levels follow `low`, to JPEG's full range."""
    return bytes(min(255, max(0, round((v - low) * 255 / span + zero))) for v in range(256))


_LUMA, _CHROMA = _widened(0, 16, 219), _widened(128, 128, 224)


class JpegEncoder:
    """Turns decoded frames into JPEG pictures of one size, upright."""

    def __init__(self, size: tuple[int, int], *, quality: int, codec: str = "") -> None:
        """`size` (H, W); `quality` as in libjpeg, 1 to 100; `codec` that frames come from."""
        self._size = size
        self._convert = Converter(size, crop=None)
        self._pixels = np.empty((3, *size), np.uint8)
        self._quality = quality
        self._left = codec in _LEFT_CODECS

    def __call__(self, frame: av.VideoFrame, display: Display = AS_STORED) -> bytes:
        """The file, the same bytes for the same frame; of it, what `display` says is shown."""
        as_decoded = self._left and display == AS_STORED and self._is_ready(frame)
        if as_decoded:
            image = _as_decoded(frame)
        else:
            self._convert(frame, out=self._pixels, display=display)
            size = self._size[::-1]
            image = Image.merge("RGB", [Image.frombuffer("L", size, p) for p in self._pixels])
        file = io.BytesIO()
        subsampling = "4:2:0" if as_decoded else "4:4:4"
        image.save(file, "JPEG", quality=self._quality, subsampling=subsampling)
        return file.getvalue()

    def _is_ready(self, frame: av.VideoFrame) -> bool:
        """True if neither size, orientation nor colours of a frame need to be changed."""
        return (
            frame.format.name in ("yuv420p", "yuvj420p")
            and not frame.interlaced_frame
            and frame.colorspace in _JPEG_MATRIX
            and orientation_of(frame) == Orientation()
            and (frame.height, frame.width) == self._size
        )


def _as_decoded(frame: av.VideoFrame) -> Image.Image:
    """With colour samples doubled, which halving in libjpeg undoes exactly."""
    limited = frame.format.name == "yuv420p" and frame.color_range != ColorRange.JPEG
    tables = (_LUMA, _CHROMA, _CHROMA) if limited else (None,) * 3
    images: list[Image.Image] = []
    for plane, table in zip(frame.planes, tables, strict=True):
        data = np.frombuffer(bytes(plane).translate(table), np.uint8).reshape(plane.height, -1)
        if images:  # (H, W) to (2H, 2W): each one four times
            data = np.repeat(data.astype(np.uint16) * 0x101, 2, axis=0).view(np.uint8)
        size = (frame.width, frame.height)
        images.append(Image.frombuffer("L", size, data, "raw", "L", data.shape[1], 1))
    return Image.merge("YCbCr", images)


class JpegDecoder:
    """Turns pictures of a `JpegEncoder` into frames for a `Converter`."""

    def __init__(self) -> None:
        self._context = av.CodecContext.create("mjpeg", "r")
        self._context.thread_count = 1
        self._graphs: dict[tuple[int, int], Graph] = {}

    def __call__(self, data: bytes) -> av.VideoFrame:
        """The frame, full range YUV. Raises `av.FFmpegError` for what is no picture."""
        frame = self._context.decode(av.Packet(data))[0]
        if frame.format.name != "yuvj420p":
            return frame
        size = (frame.height, frame.width)
        if size not in self._graphs:
            self._graphs[size] = _left_graph(frame)
        graph = self._graphs[size]
        graph.push(frame)
        placed = graph.pull()
        assert isinstance(placed, av.VideoFrame)
        return placed


def _left_graph(frame: av.VideoFrame) -> Graph:
    """Says of such frames that their colour samples are level with the left pixel."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
    )
    left, sink = graph.add("setparams", "chroma_location=left"), graph.add("buffersink")
    source.link_to(left)
    left.link_to(sink)
    graph.configure()
    return graph
