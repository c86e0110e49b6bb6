"""Decoded frames to RGB of one size: scaled, cropped, turned upright.

Not done: de-interlacing, tone mapping of HDR.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import Interpolation, VideoReformatter

from sightsound.media.display import AS_STORED, Cut, Display, box_of_stored
from sightsound.media.geometry import Box, Crop, full_box

_MAX_SCALED_PIXELS = 1 << 24  # above this a crop is cut out before it is enlarged


class Converter:
    """Turns decoded frames into RGB of one size: scaled by swscale, cropped, turned upright."""

    def __init__(self, size: tuple[int, int], *, crop: Crop | None) -> None:
        self.size = (int(size[0]), int(size[1]))
        self._crop = crop or full_box
        self._boxes: dict[tuple, Box] = {}  # one draw per clip, not per frame
        self._reformatter = VideoReformatter()

    def __call__(
        self, frame: av.VideoFrame, *, out: np.ndarray, display: Display = AS_STORED
    ) -> None:
        """Writes to `out` (C, H, W) what is shown of a frame."""
        turn = orientation_of(frame)
        shape = turn.displayed(frame.height, frame.width)  # of all that is stored
        box = self._box(frame, display, turn)
        # The whole frame is scaled so that the box has the size of the output, then cut.
        height = max(self.size[0], round(shape[0] * self.size[0] / box.height))
        width = max(self.size[1], round(shape[1] * self.size[1] / box.width))
        if height * width > _MAX_SCALED_PIXELS:
            self._magnify(frame, turn=turn, box=box, out=out)
            return
        top = min(round(box.top * height / shape[0]), height - self.size[0])
        left = min(round(box.left * width / shape[1]), width - self.size[1])
        rows, columns = slice(top, top + self.size[0]), slice(left, left + self.size[1])
        planes = self._scaled(frame, *turn.displayed(height, width))
        for channel, plane in zip(out, planes, strict=True):
            channel[:] = turn.apply(plane)[rows, columns]

    def _magnify(
        self, frame: av.VideoFrame, *, turn: Orientation, box: Box, out: np.ndarray
    ) -> None:
        """For a small box of a large frame: cut to whole pixels first, then scaled."""
        rows = slice(math.floor(box.top), math.ceil(box.top + box.height))
        columns = slice(math.floor(box.left), math.ceil(box.left + box.width))
        planes = self._scaled(frame, frame.height, frame.width)
        part = np.stack([turn.apply(plane)[rows, columns] for plane in planes], axis=-1)
        cut = av.VideoFrame.from_ndarray(part, format="rgb24")
        out[:] = self._scaled(cut, *self.size)

    def _scaled(self, frame: av.VideoFrame, height: int, width: int) -> list[np.ndarray]:
        """Red, green and blue of the whole frame, each (H, W) uint8."""
        # Planar and with accurate rounding: packed RGB comes out 1 to 3 levels too dark.
        scaled = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="gbrp",
            interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND,
            threads=1,
        )
        green, blue, red = (
            np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[  # type: ignore[call-overload]  # planes are buffers
                :height, :width
            ]
            for plane in scaled.planes
        )
        return [red, green, blue]

    def _box(self, frame: av.VideoFrame, display: Display, turn: Orientation) -> Box:
        """The part of an upright frame, as it is stored, that is wanted."""
        shape = turn.displayed(frame.height, frame.width)
        key = (shape, display, turn.transposed, turn.flipped_rows, turn.flipped_columns)
        if key not in self._boxes:
            shown = turn.displayed(*display.size(frame.height, frame.width))
            box = box_of_stored(self._crop(*shown), shown, turn.turned(display.cut), *shape)
            slack = 1e-6 * max(shape)
            is_inside = (
                min(box.top, box.left) >= -slack
                and min(box.height, box.width) > 0
                and box.top + box.height <= shape[0] + slack
                and box.left + box.width <= shape[1] + slack
            )
            if not is_inside:
                raise ValueError(
                    f"crop: got {box} for a frame of {shape[0]}x{shape[1]}; accepted: a box inside"
                )
            self._boxes[key] = box
        return self._boxes[key]


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a picture: transposed first, then flipped."""

    transposed: bool = False
    flipped_rows: bool = False
    flipped_columns: bool = False

    @property
    def degrees(self) -> int:
        """Counterclockwise; a mirrored picture counts as its rotation after the mirror."""
        if self.transposed:
            return 90 if self.flipped_rows else 270
        return 180 if self.flipped_rows else 0

    def displayed(self, height: int, width: int) -> tuple[int, int]:
        """Stored to displayed size, or back."""
        return (width, height) if self.transposed else (height, width)

    def turned(self, cut: Cut) -> Cut:
        """What is cut off a picture as stored, as cut off it when upright."""
        top, bottom, left, right = cut.top, cut.bottom, cut.left, cut.right
        if self.transposed:
            top, bottom, left, right = left, right, top, bottom
        if self.flipped_rows:
            top, bottom = bottom, top
        return Cut(top, bottom, *((right, left) if self.flipped_columns else (left, right)))

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W) as stored to (H, W) as displayed: a view."""
        pixels = pixels.swapaxes(0, 1) if self.transposed else pixels
        pixels = pixels[::-1] if self.flipped_rows else pixels
        return pixels[:, ::-1] if self.flipped_columns else pixels


_UPRIGHT = Orientation()


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """From the display matrix: x' = a x + c y, y' = b x + d y (ISO 14496-12, section 6.2.2)."""
    found = frame.side_data.get(SideData.DISPLAYMATRIX)  # type: ignore[call-overload]  # by name
    if found is None:
        return _UPRIGHT
    a, b, _, c, d = struct.unpack("=5i", bytes(found)[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, flipped_rows=d < 0, flipped_columns=a < 0)
    return Orientation(True, flipped_rows=b < 0, flipped_columns=c < 0)
