"""What `media/geometry.py` promises of crops, for any frame."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightsound.media.geometry import Box, centre_box, full_box, jittered_box, random_box

sides = st.integers(2, 4096)
seeds = st.integers(0, 2**32)


def assert_inside(box: Box, height: int, width: int) -> None:
    assert box.height > 0 and box.width > 0 and box.top > -1e-9 and box.left > -1e-9
    assert box.top + box.height <= height + 1e-6 and box.left + box.width <= width + 1e-6


def assert_centred(box: Box, height: int, width: int) -> None:
    assert 2 * box.top + box.height == pytest.approx(height)
    assert 2 * box.left + box.width == pytest.approx(width)


@given(sides, sides, st.integers(8, 512), st.integers(8, 512), st.integers(8, 512))
def test_a_centred_box_has_the_shape_of_the_output(height, width, out_height, out_width, short):
    box = centre_box(height, width, out_height=out_height, out_width=out_width, short_side=short)
    assert_inside(box, height, width)
    assert_centred(box, height, width)
    assert box.width / box.height == pytest.approx(out_width / out_height)


@given(sides, sides, st.floats(0.05, 1.0), st.floats(0.5, 2.0), seeds)
def test_a_random_box_has_area_and_shape_within_bounds_or_is_centred(
    height, width, low, out_ratio, seed
):
    draw = {"scale": (low, 1.0), "ratio": (3 / 4, 4 / 3), "out_ratio": out_ratio}
    box = random_box(height, width, generator=np.random.default_rng(seed), **draw)
    assert_inside(box, height, width)
    distortion = box.width / box.height / out_ratio
    assert 3 / 4 - 1e-9 <= distortion <= 4 / 3 + 1e-9
    if box.height * box.width < low * height * width * (1 - 1e-9):  # nothing drawn fitted
        assert distortion == pytest.approx(1)
        assert_centred(box, height, width)
    assert box == random_box(height, width, generator=np.random.default_rng(seed), **draw)


@given(sides, sides, st.integers(8, 512), st.integers(8, 512), seeds)
def test_a_jittered_box_is_the_output_scaled_by_as_much_as_the_jitter(
    height, width, out_height, out_width, seed
):
    out = {"out_height": out_height, "out_width": out_width, "short_side": 256}
    box = jittered_box(height, width, generator=np.random.default_rng(seed), **out)
    assert_inside(box, height, width)
    scale = 256 / min(height, width)
    for side, out_side, whole in (
        (box.height, out_height, height),
        (box.width, out_width, width),
    ):
        factor = out_side / side / scale
        assert 0.9 - 1e-9 <= factor and (factor <= 1.33 + 1e-9 or math.isclose(side, whole))


@given(sides, sides)
def test_the_full_box_is_the_frame(height, width):
    assert full_box(height, width) == Box(0.0, 0.0, height, width)
