"""How a stored picture is shown: which part of it, and with pixels of what shape. Pure arithmetic.

A player keeps the height and makes the picture wider or narrower, then turns it. Of the shape that
the container gives and the one in the stream itself, the container's counts, as in FFmpeg
(`av_guess_sample_aspect_ratio`); a stream's own may change on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from sightsound.media.geometry import Box

# Beyond this, either way, it is a mistake (a guess): 480x576 on a wide screen, the most of cameras
# and discs, is 2.1, and a film that FFmpeg scaled into a strip of 1600x90 is 1:10.
_MOST_STRETCHED = 16


@dataclass(frozen=True)
class Cut:
    """Rows and columns of a picture that are not shown."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


@dataclass(frozen=True)
class Display:
    """How the pictures of a stream are shown, before they are turned upright."""

    pixel_aspect: Fraction = Fraction(1)  # width / height of a pixel
    cut: Cut = Cut()

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) on the screen of a stored picture."""
        shown = width - self.cut.left - self.cut.right
        return height - self.cut.top - self.cut.bottom, max(1, round(shown * self.pixel_aspect))


AS_STORED = Display()


def sane_aspect(value: Fraction | None) -> Fraction:
    """The shape of pixels that a file gives; square where it gives none or an impossible one."""
    if not value or not 1 / Fraction(_MOST_STRETCHED) <= value <= _MOST_STRETCHED:
        return Fraction(1)
    return Fraction(value)


def box_of_stored(box: Box, shown: tuple[int, int], cut: Cut, height: int, width: int) -> Box:
    """`box`, of a picture (height, width) as `shown`, on the one stored, of which `cut` is cut off.

    Both are upright; `height` and `width` are those of the stored one.
    """
    down = (height - cut.top - cut.bottom) / shown[0]
    across = (width - cut.left - cut.right) / shown[1]
    top, left = cut.top + box.top * down, cut.left + box.left * across
    return Box(top, left, box.height * down, box.width * across)
