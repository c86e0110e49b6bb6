"""Pictures as a player shows them: pixels that are not square, and what containers crop."""

import struct
from fractions import Fraction
from functools import partial

import av
import numpy as np
import pytest
from media_files import write_clip

from sightsound.config.settings import ShardSettings
from sightsound.data.rows import Row
from sightsound.data.shards.transcode import transcode
from sightsound.doctor.clips import clip_findings
from sightsound.media.decode import DecodeError, opened
from sightsound.media.decode_process import DecodeProcessReader
from sightsound.media.display import Cut, Display, sane_aspect
from sightsound.media.examine import examine
from sightsound.media.frames import VideoTrack, read_frames
from sightsound.media.geometry import centre_box, random_box
from sightsound.media.probe import probe
from sightsound.media.reader import FileReader
from sightsound.media.sequential import SequentialReader

WIDE = Fraction(2)


def bar(*, height=48, width=64, left=20, right=44):
    """A frame that is white in columns [left, right), else black."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[:, left:right] = 255
    return frame


# With pixels of 2:1, 64 x 48 is shown as 128 x 48, and the columns from 20 to 44 as a square.
square = partial(centre_box, out_height=24, out_width=24, short_side=24)


def write_bar(path, *, pixel_aspect=WIDE, **options):
    frames = [options.pop("frame", bar())] * 4
    times = [0.0, 0.25, 0.5, 0.75]
    write_clip(path, frames=frames, times=times, pixel_aspect=pixel_aspect, **options)
    return path


def whiteness(path, *, size=(24, 24), crop=square, **options):
    """Share of the picture at .5 s that is white."""
    found = read_frames(path, np.array([0.5]), size, crop=crop, **options)
    return found.pixels.mean() / 255


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "mpeg4"),
        ("a.mkv", "libx264"),
        ("a.ts", "libx264"),
        ("a.avi", "mjpeg"),
    ],
)
def test_the_centre_is_that_of_the_screen(tmp_path, name, codec):
    options = {"strict": "unofficial"} if codec == "mjpeg" else {}
    path = write_bar(tmp_path / name, codec=codec, options=options)
    info = probe(path).video
    assert (info.shown_height, info.shown_width) == (48, 128)
    assert (info.height, info.width) == (48, 64)
    assert whiteness(path) > 0.93
    assert whiteness(path, picture="stored") == pytest.approx(0.5, abs=0.04)  # 24 of 48 columns


@pytest.mark.parametrize(
    ("height", "width", "aspect", "shown"),
    [  # ITU-R BT.601 and BT.1543, DVD, HDV; ffplay shows these
        (480, 720, "8/9", (480, 640)),
        (576, 720, "64/45", (576, 1024)),
        (576, 720, "16/15", (576, 768)),
        (1080, 1440, "4/3", (1080, 1920)),
        (576, 480, "32/15", (576, 1024)),
        (576, 720, "1/1", (576, 720)),
    ],
)
def test_usual_shapes_keep_the_height(height, width, aspect, shown):
    assert Display(sane_aspect(Fraction(aspect))).size(height, width) == shown


@pytest.mark.parametrize("value", [None, Fraction(0), Fraction(1, 1000), Fraction(1000)])
def test_impossible_shapes_are_taken_for_square(value):
    assert sane_aspect(value) == 1


# Numbers of Matroska's elements (RFC 9559): the way to those about pictures, and these.
SEGMENT, TRACKS, ENTRY, VIDEO = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\xe0"
PLACES = {b"\x11\x4d\x9b\x74", b"\x1c\x53\xbb\x6b"}  # of other elements, which move
ABOUT = {
    "width": b"\x54\xb0",
    "height": b"\x54\xba",
    "unit": b"\x54\xb2",
    "top": b"\x54\xbb",
    "bottom": b"\x54\xaa",
    "left": b"\x54\xcc",
    "right": b"\x54\xdd",
}


def with_video_elements(path, **numbers):
    """The Matroska file at `path` with elements of `ABOUT` for its pictures."""
    added = b"".join(ABOUT[name] + b"\x81" + bytes([n]) for name, n in numbers.items())
    path.write_bytes(rebuilt(path.read_bytes(), [SEGMENT, TRACKS, ENTRY, VIDEO], added))
    return path


def rebuilt(data, way, added):
    """Elements, with others `added` to the content of those that lie at the end of the `way`."""
    if not way:
        return data + added
    out = b""
    while data:
        name, data = data[: 9 - data[0].bit_length()], data[9 - data[0].bit_length() :]
        length = 9 - data[0].bit_length()
        size = int.from_bytes(data[:length], "big") - (1 << 7 * length)
        content, data = data[length : length + size], data[length + size :]
        content = rebuilt(content, way[1:], added) if name == way[0] else content
        if name not in PLACES:
            out += name + b"\x01" + len(content).to_bytes(7, "big") + content
    return out


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "ffv1"), ("a.webm", "libvpx-vp9")])
def test_the_display_size_of_matroska(tmp_path, name, codec):
    path = write_bar(tmp_path / name, codec=codec, options={}, pixel_aspect=None)
    assert probe(path).video.shown_width == 64
    with_video_elements(path, width=128, height=48, unit=0)
    assert (probe(path).video.shown_height, probe(path).video.shown_width) == (48, 128)
    assert whiteness(path) > 0.93


def with_pasp(path, across, down):
    """The MP4 at `path`, whose container gives another shape of pixels than the stream."""
    data = path.read_bytes()
    at = data.index(b"pasp") + 4
    path.write_bytes(data[:at] + struct.pack(">2I", across, down) + data[at + 8 :])
    return path


def test_the_container_says_more_than_the_stream(tmp_path):
    path = with_pasp(write_bar(tmp_path / "a.mp4", pixel_aspect=Fraction(4)), 2, 1)
    assert probe(path).video.shown_width == 128 and whiteness(path) > 0.93


@pytest.mark.parametrize("aspect", [(1, 1000), (1000, 1), (0, 1)])
def test_impossible_shapes_in_a_container_change_nothing(tmp_path, aspect):
    path = with_pasp(write_bar(tmp_path / "a.mp4", codec="mpeg4", pixel_aspect=WIDE), *aspect)
    plain = write_bar(tmp_path / "b.mp4", codec="mpeg4", pixel_aspect=None)
    expected = read_frames(plain, np.array([0.5]), (24, 24), crop=square).pixels
    found = read_frames(path, np.array([0.5]), (24, 24), crop=square)
    if aspect[0]:  # where the container says nothing, the stream's own counts
        np.testing.assert_array_equal(found.pixels, expected)
    else:
        assert whiteness(path) > 0.93


def test_square_pixels_and_the_old_way_are_the_same_to_the_bit(tmp_path):
    wide = write_bar(tmp_path / "a.mp4")
    plain = write_bar(tmp_path / "b.mp4", pixel_aspect=None)
    ask = np.array([0.0, 0.5]), (20, 30)
    expected = read_frames(plain, *ask, crop=square).pixels
    for path in (wide, plain):
        found = read_frames(path, *ask, crop=square, picture="stored").pixels
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_picture_is_stretched_before_it_is_turned(tmp_path, degrees):
    path = write_bar(tmp_path / "a.mp4", rotation=degrees)
    info = probe(path).video
    expected = (48, 128) if degrees == 180 else (128, 48)
    assert (info.shown_height, info.shown_width) == expected
    assert whiteness(path) > 0.93


def test_the_shape_may_change_on_the_way(tmp_path):
    """As in broadcasts: the first second of pixels 2:1, then square ones, each at its moment."""
    for name, aspect in (("a", WIDE), ("b", Fraction(1))):
        write_clip(
            tmp_path / f"{name}.ts",
            frames=[bar()] * 24,
            times=np.arange(24) / 24,
            pixel_aspect=aspect,
            options={"bf": "2"},
        )
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join((tmp_path / f"{n}.ts").read_bytes() for n in "ab"))
    with opened(path, start_seconds=0.0) as media:
        track = VideoTrack.find(media)
        widths = [track.display_of(f).size(48, 64)[1] for _, _, f in list(track.pictures(0.0))]
    assert widths == [128] * 24 + [64] * 24
    times = np.array([0.5, 1.5])
    shares = read_frames(path, times, (24, 24), crop=square).pixels.mean(axis=(1, 2, 3)) / 255
    assert shares[0] > 0.93 and shares[1] == pytest.approx(0.5, abs=0.04)


def test_random_boxes_are_drawn_on_the_screen(tmp_path):
    path = write_bar(tmp_path / "a.mp4")
    shapes = []

    def crop(height, width):
        shapes.append((height, width))
        return random_box(height, width, generator=np.random.default_rng(0))

    read_frames(path, np.array([0.5]), (24, 24), crop=crop)
    assert shapes == [(48, 128)]


def test_every_reader_gives_what_a_player_shows(tmp_path):
    path = write_bar(tmp_path / "a.mp4")
    times = np.array([0.0, 0.5])
    for picture, share in (("displayed", 0.97), ("stored", 0.5)):
        expected = read_frames(path, times, (24, 24), crop=square, picture=picture).pixels
        assert expected.mean() / 255 == pytest.approx(share, abs=0.04)
        file = FileReader(picture=picture)
        child = DecodeProcessReader(file)
        for reader in (file, child, SequentialReader(path, times, picture=picture)):
            found = reader.frames(path, times, (24, 24), crop=square).pixels
            np.testing.assert_array_equal(found, expected)
        child.close()


@pytest.mark.parametrize(("picture", "width"), [("displayed", 128), ("stored", 64)])
def test_shards_hold_square_pixels_or_all_that_is_stored(tmp_path, picture, width):
    path = write_bar(tmp_path / "a.mp4")
    pictures = transcode(Row(path.name, path, ()), ShardSettings(picture=picture)).pictures
    assert (pictures.height, pictures.width) == (48, width)
    frame = av.CodecContext.create("mjpeg", "r").decode(av.Packet(pictures.jpegs[0]))[0]
    assert (frame.height, frame.width) == (48, width)
    row = frame.to_ndarray(format="gray")[24]
    assert np.flatnonzero(row > 128)[0] == pytest.approx(20 * width / 64, abs=1)


# What containers crop


def with_clean_aperture(path, width, height, right, down):
    """An MP4 whose container crops to a part whose centre is off the middle, in half pixels."""
    data = bytearray(path.read_bytes())
    clap = struct.pack(">I4s8i", 40, b"clap", width, 1, height, 1, right, 2, down, 2)
    assert data.index(b"mdat") < data.index(b"moov")  # so that nothing in the index moves
    entry = data.index(b"avc1", data.index(b"stsd")) - 4
    parents = [data.index(n) - 4 for n in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")]
    (size,) = struct.unpack_from(">I", data, entry)
    for at in (entry, *parents):
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + len(clap))
    data[entry + size : entry + size] = clap
    path.write_bytes(data)
    return path


def test_the_clean_aperture_of_an_mp4(tmp_path):
    # Columns 20 to 44 and rows 4 to 40: their centre lies 0 right of and 2 above the middle.
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[4:40, 20:44] = 255
    path = write_bar(tmp_path / "a.mp4", pixel_aspect=None, frame=frame)
    whole = whiteness(path, crop=None)
    with_clean_aperture(path, 24, 36, 0, -4)
    info = probe(path).video
    assert info.display == Display(cut=Cut(4, 8, 20, 20))
    assert (info.shown_height, info.shown_width) == (36, 24)
    assert whiteness(path, crop=None) > 0.93
    assert whiteness(path, crop=None, picture="stored") == whole


def test_pixel_crop_of_a_matroska_file(tmp_path):
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[10:40, 20:] = 255
    path = write_bar(tmp_path / "a.mkv", codec="ffv1", options={}, frame=frame, pixel_aspect=None)
    with_video_elements(path, top=10, bottom=8, left=20)
    info = probe(path).video
    assert (info.shown_height, info.shown_width) == (30, 44) and info.display.cut == Cut(
        10, 8, 20, 0
    )
    assert whiteness(path, crop=None) > 0.98


def test_the_display_size_of_a_cropped_matroska_file_is_that_of_what_is_left(tmp_path):
    path = write_bar(tmp_path / "a.mkv", codec="ffv1", options={}, pixel_aspect=None)
    with_video_elements(path, top=4, bottom=4, width=128, height=40, unit=0)
    info = probe(path).video
    assert (info.shown_height, info.shown_width) == (40, 128)


def test_a_turned_picture_is_cropped_before_it_is_turned(tmp_path):
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[4:40, 20:44] = 255
    for degrees in (90, 180, 270):
        path = write_bar(tmp_path / "a.mp4", pixel_aspect=None, frame=frame, rotation=degrees)
        assert whiteness(with_clean_aperture(path, 24, 36, 0, -4), crop=None) > 0.93


def test_a_crop_that_leaves_nothing(tmp_path):
    """FFmpeg refuses such a Matroska file; of an MP4 all is shown, as of another damaged index."""
    path = write_bar(tmp_path / "a.mkv", codec="ffv1", options={})
    with pytest.raises(DecodeError, match="Invalid data"):
        probe(with_video_elements(path, top=30, bottom=30))
    path = with_clean_aperture(write_bar(tmp_path / "a.mp4"), 24, 0, 0, 0)
    assert probe(path).video.shown_height == 48


# What is said of it


def test_doctor_names_such_files(tmp_path):
    wide, plain = write_bar(tmp_path / "a.mp4"), write_bar(tmp_path / "b.mp4", pixel_aspect=None)
    kinds = {f.issue: f.detail for f in clip_findings(Row("a", wide, ("x",)), examine(wide))}
    assert kinds["reshaped"] == "stored 64 x 48, shown 128 x 48; pixels are 2:1"
    found = clip_findings(Row("b", plain, ("x",)), examine(plain))
    assert "reshaped" not in {finding.issue for finding in found}
