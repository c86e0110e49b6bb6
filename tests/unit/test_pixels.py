"""Colours, rotation and crops of decoded frames."""

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from media_files import regular, write_clip

from sightsound.media import pixels
from sightsound.media.encode import write_video
from sightsound.media.frames import read_frames
from sightsound.media.geometry import Box
from sightsound.media.probe import probe


def test_pixels_equal_a_plain_decode(tmp_path):
    path = tmp_path / "clip.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), dtype=np.uint8)
    write_video(path, noise, frames_per_second=12, waveform=None, crf=10)
    with av.open(str(path)) as container:
        accurate = Interpolation.BILINEAR | Interpolation.ACCURATE_RND
        settings = {"format": "gbrp", "interpolation": accurate}
        plain = [frame.to_ndarray(**settings) for frame in container.decode(video=0)]
    found = read_frames(path, np.arange(12) / 12, (48, 64)).pixels
    np.testing.assert_array_equal(found.transpose(0, 2, 3, 1), np.stack(plain))


@pytest.mark.parametrize(
    ("name", "red", "blue"), [("itu601", 0.299, 0.114), ("itu709", 0.2126, 0.0722)]
)
def test_colours_are_converted_by_the_matrix_that_the_file_names(tmp_path, name, red, blue):
    path = tmp_path / "clip.mp4"
    colour = np.array([200, 40, 90], np.uint8)
    frames = [np.broadcast_to(colour, (48, 64, 3)).copy()] * 3
    matrix = {"itu601": 5, "itu709": 1}[name]
    write_clip(path, frames=frames, times=regular(3), colorspace=matrix, options={"crf": "1"})
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        y, u, v = (float(np.frombuffer(p, np.uint8)[0]) for p in frame.planes)
    y, u, v = (y - 16) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    expected = [r, (y - red * r - blue * b) / (1 - red - blue), b]
    found = read_frames(path, np.array([0.0]), (48, 64)).pixels[0]
    np.testing.assert_allclose(found.mean(axis=(1, 2)), expected, atol=1.5)
    np.testing.assert_allclose(expected, colour, atol=4)


def quarters():
    """A frame whose quarters are red, green / blue, white."""
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:24, :32, 0], frame[:24, 32:, 1], frame[24:, :32, 2] = 255, 255, 255
    frame[24:, 32:] = 255
    return frame


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_metadata_is_applied(tmp_path, degrees):
    path = tmp_path / "clip.mp4"
    write_clip(path, frames=[quarters()] * 2, times=[0.0, 0.5], rotation=degrees)
    expected = np.rot90(quarters(), degrees // 90).transpose(2, 0, 1)
    info = probe(path).video
    assert (info.height, info.width, info.rotation_degrees) == (*expected.shape[1:], degrees)
    found = read_frames(path, np.array([0.0]), expected.shape[1:]).pixels[0]
    assert np.abs(found.astype(int) - expected).mean() < 12
    seen = []
    read_frames(
        path, np.array([0.0]), (8, 8), crop=lambda h, w: seen.append((h, w)) or Box(0, 0, h, w)
    )
    assert seen == [expected.shape[1:]]


@pytest.mark.parametrize("degrees", [0, 90])
def test_crop_is_in_displayed_pixels(tmp_path, degrees):
    path = tmp_path / "clip.mp4"
    write_clip(path, frames=[quarters()] * 2, times=[0.0, 0.5], rotation=degrees)
    height, width = (64, 48) if degrees else (48, 64)

    def bottom_right(h, w):
        return Box(h / 2 + 4, w / 2 + 4, h / 2 - 8, w / 2 - 8)

    found = read_frames(path, np.array([0.0]), (20, 20), crop=bottom_right).pixels[0]
    expected = np.rot90(quarters(), degrees // 90)[height - 8, width - 8]
    np.testing.assert_allclose(found.mean(axis=(1, 2)), expected, atol=8)


def test_crop_is_drawn_once_per_clip(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, levels=[20, 60, 100], times=[0.0, 0.5, 1.0])
    calls = []
    read_frames(
        path,
        np.array([0.0, 0.5, 1.0]),
        (16, 16),
        crop=lambda h, w: calls.append(1) or Box(1.5, 2.5, 20.0, 20.0),
    )
    assert len(calls) == 1


def test_tiny_crop_of_a_frame_is_cut_before_it_is_enlarged(tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    write_clip(path, frames=[quarters()] * 2, times=[0.0, 0.5])

    def crop(height, width):
        return Box(4, 40, 8, 8)

    usual = read_frames(path, np.array([0.0]), (32, 32), crop=crop).pixels
    monkeypatch.setattr(pixels, "_MAX_SCALED_PIXELS", 100)
    cut = read_frames(path, np.array([0.0]), (32, 32), crop=crop).pixels
    assert np.abs(usual.astype(int) - cut).mean() < 4


def test_crop_outside_the_frame_is_an_error(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, levels=[20], times=[0.0])
    with pytest.raises(ValueError, match=r"crop: got Box.* for a frame of 48x64; accepted"):
        read_frames(path, np.array([0.0]), (8, 8), crop=lambda h, w: Box(0, 0, h + 2, w))
