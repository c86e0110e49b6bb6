"""Boxes within a frame: pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Box:
    """Part of a displayed frame, in its pixels; fractions are allowed."""

    top: float
    left: float
    height: float
    width: float


Crop = Callable[[int, int], Box]
"""From the displayed (height, width) to the part that is wanted."""


def full_box(height: int, width: int) -> Box:
    """The whole frame."""
    return Box(0.0, 0.0, float(height), float(width))


def centre_box(height: int, width: int, *, out_height: int, out_width: int, short_side: int) -> Box:
    """What remains if the short side is scaled to `short_side` and the centre is cut out.

    The box has the aspect ratio of the output, so nothing is distorted. Where `short_side` is less
    than the output, or the frame is too narrow, the largest box that fits is taken.
    """
    scale = min(height, width) / short_side
    scale = min(scale, height / out_height, width / out_width)
    return _centred(height, width, out_height * scale, out_width * scale)


def random_box(
    height: int,
    width: int,
    *,
    generator: np.random.Generator,
    scale: tuple[float, float] = (0.25, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    out_ratio: float = 1.0,
) -> Box:
    """A box of random area, shape and place (Szegedy et al. 2015, "Going deeper", section 6).

    `scale` bounds its area as a share of the frame; `ratio` bounds the distortion: width / height
    of the box over `out_ratio`, that of the output (drawn uniformly in the logarithm). Ten draws
    that do not fit give the centred box of the output's shape.
    """
    _check_range(scale, name="scale", high=1.0)
    _check_range(ratio, name="ratio", high=math.inf)
    for _ in range(10):
        area = generator.uniform(*scale) * height * width
        shape = out_ratio * math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        box_height, box_width = math.sqrt(area / shape), math.sqrt(area * shape)
        if box_height <= height and box_width <= width:
            top = generator.uniform(0.0, height - box_height)
            left = generator.uniform(0.0, width - box_width)
            return Box(top, left, box_height, box_width)
    box_height = min(height, width / out_ratio)
    return _centred(height, width, box_height, box_height * out_ratio)


def jittered_box(
    height: int,
    width: int,
    *,
    generator: np.random.Generator,
    out_height: int,
    out_width: int,
    short_side: int,
    jitter: tuple[float, float] = (0.9, 1.33),
) -> Box:
    """A box of the output's size anywhere in a frame scaled with jitter (official MBT).

    The short side is scaled to `short_side`; height and width are then multiplied by factors drawn
    from `jitter`, each its own, so that the picture is distorted. Where the scaled frame is smaller
    than the output along an axis, the whole axis is taken and stretched to it.
    """
    _check_range(jitter, name="jitter", high=math.inf)
    scale = short_side / min(height, width)
    scale_height, scale_width = scale * generator.uniform(*jitter, size=2)
    box_height = min(height, out_height / scale_height)
    box_width = min(width, out_width / scale_width)
    top = generator.uniform(0.0, height - box_height)
    left = generator.uniform(0.0, width - box_width)
    return Box(top, left, box_height, box_width)


def _centred(height: int, width: int, box_height: float, box_width: float) -> Box:
    return Box((height - box_height) / 2, (width - box_width) / 2, box_height, box_width)


def _check_range(bounds: tuple[float, float], *, name: str, high: float) -> None:
    if not 0.0 < bounds[0] <= bounds[1] <= high:
        raise ValueError(
            f"{name}: got {tuple(bounds)}; accepted: a smaller and a larger number above 0"
            + (f", at most {high:g}" if math.isfinite(high) else "")
        )
