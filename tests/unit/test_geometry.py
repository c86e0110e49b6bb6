import numpy as np
import pytest

from sightsound.media.geometry import Box, centre_box, full_box, jittered_box, random_box


def inside(box, height, width):
    return (
        box.top >= 0
        and box.left >= 0
        and box.top + box.height <= height + 1e-9
        and box.left + box.width <= width + 1e-9
    )


def test_full_box():
    assert full_box(180, 320) == Box(0.0, 0.0, 180.0, 320.0)


def test_centre_box_of_the_paper():
    """256 to the short side, then the central 224: 7/8 of the short side."""
    box = centre_box(256, 340, out_height=224, out_width=224, short_side=256)
    assert box == Box(16.0, 58.0, 224.0, 224.0)
    twice = centre_box(512, 680, out_height=224, out_width=224, short_side=256)
    assert twice == Box(32.0, 116.0, 448.0, 448.0)


def test_centre_box_without_margin_takes_the_short_side():
    assert centre_box(100, 200, out_height=64, out_width=64, short_side=64) == Box(0, 50, 100, 100)


@pytest.mark.parametrize("shape", [(100, 400), (400, 100), (36, 640), (2, 2)])
@pytest.mark.parametrize("out", [(224, 224), (64, 128), (128, 64)])
@pytest.mark.parametrize("short_side", [32, 256])
def test_centre_box_keeps_the_shape_of_the_output_and_stays_inside(shape, out, short_side):
    box = centre_box(*shape, out_height=out[0], out_width=out[1], short_side=short_side)
    assert inside(box, *shape)
    assert box.width / box.height == pytest.approx(out[1] / out[0])
    assert box.top == pytest.approx((shape[0] - box.height) / 2)


def test_random_boxes_respect_area_shape_and_frame():
    generator = np.random.default_rng(0)
    boxes = [random_box(120, 160, generator=generator, scale=(0.25, 0.5)) for _ in range(300)]
    areas = np.array([box.height * box.width / (120 * 160) for box in boxes])
    shapes = np.array([box.width / box.height for box in boxes])
    assert all(inside(box, 120, 160) for box in boxes)
    assert 0.25 <= areas.min() and areas.max() <= 0.5
    assert 3 / 4 - 1e-9 <= shapes.min() and shapes.max() <= 4 / 3 + 1e-9
    assert len({box.left for box in boxes}) == 300


def test_random_box_shape_is_relative_to_the_output():
    generator = np.random.default_rng(0)
    boxes = [
        random_box(200, 200, generator=generator, scale=(0.1, 0.2), ratio=(1, 1), out_ratio=2.0)
        for _ in range(20)
    ]
    assert all(box.width / box.height == pytest.approx(2.0) for box in boxes)


def test_random_box_that_never_fits_is_the_centre():
    box = random_box(10, 1000, generator=np.random.default_rng(0), scale=(0.9, 1.0))
    assert box == Box(0.0, 495.0, 10.0, 10.0)


def jittered(shape, draws, out=(224, 224), short_side=256, **options):
    return jittered_box(
        *shape,
        generator=draws,
        out_height=out[0],
        out_width=out[1],
        short_side=short_side,
        **options,
    )


def test_jitter_scales_height_and_width_each_on_its_own():
    draws = np.random.default_rng(0)
    boxes = [jittered((512, 680), draws) for _ in range(500)]
    assert all(inside(box, 512, 680) for box in boxes)
    # Scaled by half, then by a factor: 224 of its pixels are 448 / factor of the frame's.
    factors = np.array([(448 / box.height, 448 / box.width) for box in boxes])
    assert factors.min() >= 0.9 - 1e-9 and factors.max() <= 1.33 + 1e-9
    np.testing.assert_allclose(factors.mean(0), (0.9 + 1.33) / 2, atol=0.02)
    assert abs(np.corrcoef(factors.T)[0, 1]) < 0.15
    places = np.array(
        [(box.top / (512 - box.height), box.left / (680 - box.width)) for box in boxes]
    )
    np.testing.assert_allclose(places.mean(0), 0.5, atol=0.05)
    assert places.min() < 0.02 and places.max() > 0.98


def test_no_jitter_is_a_random_crop_of_the_scaled_frame():
    box = jittered((256, 340), np.random.default_rng(0), jitter=(1.0, 1.0))
    assert (box.height, box.width) == (224.0, 224.0)
    assert 0 <= box.top <= 32 and 0 <= box.left <= 116


def test_an_axis_that_becomes_smaller_than_the_output_is_taken_whole():
    box = jittered(
        (100, 300), np.random.default_rng(0), out=(64, 64), short_side=64, jitter=(0.9, 0.9)
    )
    assert (box.top, box.height) == (0.0, 100)
    assert box.width == pytest.approx(64 / (0.64 * 0.9))


def test_same_generator_same_box():
    first, second = (random_box(99, 77, generator=np.random.default_rng(5)) for _ in range(2))
    assert first == second


def test_mistakes_are_named():
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"scale: got \(0.5, 2.0\); accepted: .*, at most 1"):
        random_box(9, 9, generator=generator, scale=(0.5, 2.0))
    with pytest.raises(ValueError, match=r"jitter: got \(1.33, 0.9\); accepted: a smaller and a"):
        jittered((9, 9), generator, jitter=(1.33, 0.9))
    with pytest.raises(ValueError, match=r"ratio: got \(2, 1\); accepted: a smaller and a larger"):
        random_box(9, 9, generator=generator, ratio=(2, 1))
