"""JPEG pictures of frames: the same colours, whatever the frames were."""

import av
import numpy as np
import pytest
from media_files import write_clip

from sightsound.media.jpeg import JpegDecoder, JpegEncoder
from sightsound.media.pixels import Converter


def picture(height, width):
    """Coloured stripes and ramps that are smooth but for a few edges."""
    y, x = np.mgrid[:height, :width]
    ramps = np.stack([255 * x / width, 255 * y / height, 128 + 100 * np.sin(x / 9 + y / 7)], -1)
    ramps[height // 3 : height // 2, width // 4 :, 0] = 230
    return ramps.astype(np.uint8)


def frames_of(path, **options):
    sizes = options.pop("size", (48, 64))
    write_clip(path, frames=[picture(*sizes)] * 2, times=[0.0, 0.5], **options)
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def rgb(frame, size):
    out = np.empty((3, *size), np.uint8)
    Converter(size, crop=None)(frame, out=out)
    return out.astype(int)


def error(frame, size, *, codec="h264", stored=None):
    """Mean difference at `size` between a frame and its picture, which is stored at `stored`."""
    upright = rgb(frame, size).shape[1:]
    stored = stored or upright
    jpeg = JpegEncoder(stored, quality=92, codec=codec)(frame)
    return np.abs(rgb(JpegDecoder()(jpeg), size) - rgb(frame, size)).mean()


@pytest.mark.parametrize("size", [(48, 64), (36, 48), (96, 128), (20, 31)])
@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
def test_a_picture_shows_what_its_frame_does_at_any_size(tmp_path, size, codec):
    frame = frames_of(tmp_path / "a.mp4")[0]
    assert error(frame, size, stored=(48, 64), codec=codec) < 2.0


@pytest.mark.parametrize("colorspace", ["ITU709", "ITU601"])
def test_other_matrices_keep_their_colours(tmp_path, colorspace):
    space = av.video.reformatter.Colorspace[colorspace]
    frame = frames_of(tmp_path / "a.mp4", colorspace=space)[0]
    assert error(frame, (48, 64)) < 2.0


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_pictures_are_upright(tmp_path, rotation):
    frame = frames_of(tmp_path / "a.mp4", rotation=rotation)[0]
    shape = (48, 64) if rotation == 180 else (64, 48)
    assert error(frame, shape) < 2.0


@pytest.mark.parametrize("size", [(2, 2), (16, 16), (18, 34)])
def test_tiny_pictures(tmp_path, size):
    frame = frames_of(tmp_path / "a.mp4", size=size)[0]
    assert error(frame, size) < 6.0


@pytest.mark.parametrize("format", ["yuv420p", "yuvj420p", "yuv444p", "gray", "yuv420p10le"])
@pytest.mark.parametrize("size", [(48, 64), (47, 61)])
def test_other_formats_and_odd_sizes(format, size):
    frame = av.VideoFrame.from_ndarray(picture(*size), format="rgb24").reformat(format=format)
    assert error(frame, size, codec="") < 2.0


def test_frames_that_keep_their_size_are_stored_with_the_colour_samples_they_have(tmp_path):
    frame = frames_of(tmp_path / "a.mp4")[0]
    decode = JpegDecoder()
    assert decode(JpegEncoder((48, 64), quality=92, codec="h264")(frame)).format.name == "yuvj420p"
    assert decode(JpegEncoder((48, 64), quality=92, codec="vp9")(frame)).format.name == "yuvj444p"
    assert decode(JpegEncoder((24, 32), quality=92, codec="h264")(frame)).format.name == "yuvj444p"


def test_colour_samples_lie_where_they_did(tmp_path):
    """A red edge between two pixels: half a pixel to the side would be 10 levels in its columns."""
    pixels = np.full((48, 64, 3), 60, np.uint8)
    pixels[:, 32:, 0] = 220
    write_clip(tmp_path / "a.mp4", frames=[pixels], times=[0.0], options={"crf": "1"})
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
    jpeg = JpegEncoder((48, 64), quality=99, codec="h264")(frame)
    seen = rgb(JpegDecoder()(jpeg), (48, 64)) - rgb(frame, (48, 64))
    assert np.abs(seen.mean(axis=1)[:, 28:36]).max() < 3.0


def test_the_same_frame_gives_the_same_bytes(tmp_path):
    frame = frames_of(tmp_path / "a.mp4")[0]
    encode = JpegEncoder((24, 32), quality=92)
    assert encode(frame) == encode(frame) == JpegEncoder((24, 32), quality=92)(frame)


def test_one_decoder_for_pictures_of_all_sizes_and_kinds(tmp_path):
    frame = frames_of(tmp_path / "a.mp4")[0]
    decode = JpegDecoder()
    for codec in ("h264", "vp9", "h264"):
        for size in ((48, 64), (24, 32), (48, 64)):
            decoded = decode(JpegEncoder(size, quality=92, codec=codec)(frame))
            assert (decoded.height, decoded.width) == size


def test_what_is_no_picture_is_an_error():
    with pytest.raises(av.FFmpegError):
        JpegDecoder()(b"no picture at all")
