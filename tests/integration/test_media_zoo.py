"""Every file of the media zoo decodes as its manifest says, silently and without hanging."""

import csv
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from sightsound.media import frames as frames_module
from sightsound.media.decode import DecodeError
from sightsound.media.frames import read_frame_times, read_frames
from sightsound.media.probe import probe, read_duration
from sightsound.media.sound import read_audio

pytestmark = pytest.mark.data

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("SIGHTSOUND_TEST_DATA", ROOT.parent / "shared"))
ZOO = Path("data") / "media_zoo"

# The only file with a stream that no FFmpeg decodes. Sound is read as the manifest says; asking for
# pictures is an error and not "no video", because the stream is there.
UNKNOWN_VIDEO_CODEC = "x_unknown_video_codec.mp4"


def rows():
    """The manifest; one placeholder where there is none, so that the fixture can skip."""
    manifest = FOLDER / ZOO / "manifest.csv"
    if not manifest.is_file():
        return [pytest.param(None, id="no-manifest")]
    with manifest.open(newline="", encoding="utf-8") as file:
        return [pytest.param(row, id=row["path"]) for row in csv.DictReader(file)]


def number(text):
    """The count in a manifest's cell such as "70 (errors)"; `None` for "none"."""
    found = re.match(r"\d+", text)
    return int(found[0]) if found else None


@pytest.fixture
def clip(row, test_data):
    """(manifest row, path)"""
    if row is None:
        pytest.skip("no media_zoo/manifest.csv among the test data")
    return row, test_data / ZOO / row["path"]


@pytest.mark.parametrize("row", rows())
def test_file_decodes_as_its_manifest_says(clip, capfd):
    row, path = clip
    if row["readable"] == "unreadable":
        check_unreadable(path)
    else:
        info = probe(path)
        check_streams(row, info)
        check_frames(row, path, info)
        check_sound(row, path, info)
    assert capfd.readouterr() == ("", "")


def check_unreadable(path):
    readers = (
        lambda: probe(path),
        lambda: read_frames(path, np.array([0.0]), (16, 16)),
        lambda: read_audio(path, 0.0, 1.0),
    )
    for read in readers:
        started = time.perf_counter()
        with pytest.raises(DecodeError) as raised:
            read()
        assert time.perf_counter() - started < 1.0
        assert str(path) in str(raised.value)


def check_streams(row, info):
    expected = row["readable"].removesuffix("_with_errors")
    assert (info.video is not None) == (expected in ("av", "video_only"))
    assert (info.audio is not None) == (expected in ("av", "audio_only"))
    if info.video is not None:
        width, height = map(int, re.search(r" (\d+)x(\d+)@", row["video"]).groups())
        turned = info.video.rotation_degrees in (90, 270)
        shape = (width, height) if turned else (height, width)
        assert (info.video.height, info.video.width) == shape
    # The manifest's FFmpeg counts priming samples of some formats as duration, ours does not.
    assert info.duration_seconds == pytest.approx(float(row["duration_seconds"]), abs=0.1)


def check_frames(row, path, info):
    if path.name == UNKNOWN_VIDEO_CODEC:
        with pytest.raises(DecodeError, match="no decoder for the video stream"):
            read_frame_times(path)
        return
    expected = number(row["decoded_frames"])
    times = read_frame_times(path)
    if expected is None:
        assert times is None
        assert read_frames(path, np.array([0.0]), (16, 16)) is None
        return
    assert abs(len(times) - expected) <= 1
    wanted = times[:: max(1, len(times) // 16)]
    frames = read_frames(path, wanted, (16, 16))
    assert frames.pixels.shape == (len(wanted), 3, 16, 16)
    assert frames.valid.all()
    np.testing.assert_allclose(frames.times_seconds, wanted, atol=1e-9)


def check_sound(row, path, info):
    expected = number(row["decoded_samples_16k"])
    sound = read_audio(path, -1.0, info.duration_seconds + 1.0)
    if expected is None:
        assert sound is None
        return
    assert abs(int(sound.valid.sum()) - expected) <= 0.050 * 16000
    assert np.abs(sound.samples).max() <= 1.0
    assert not sound.samples[~sound.valid].any()


def test_damaged_files_say_so(test_data):
    for name in ("x_bitflips_mdat.mp4", "x_truncated_half_faststart.mp4", "x_truncated_half.webm"):
        path = test_data / ZOO / name
        if not path.is_file():
            pytest.skip(f"no {name} among the test data")
        frames = read_frames(path, np.linspace(0.0, 2.9, 4), (16, 16))
        assert frames.problems and frames.problems[0].startswith("video: ")
        assert read_audio(path, 0.0, 3.0).problems[0].startswith("audio: ")


def test_late_stretch_of_a_long_file_equals_the_same_stretch_of_everything(test_data):
    path = test_data / ZOO / "t_long_15min_synthetic.mp4"
    if not path.is_file():
        pytest.skip("no t_long_15min_synthetic.mp4 among the test data")
    everything, late = read_audio(path, 0.0, 900.0), read_audio(path, 700.0, 703.0)
    stretch = everything.samples[700 * 16000 : 703 * 16000]
    np.testing.assert_allclose(late.samples, stretch, atol=1e-5)


def test_pictures_are_turned_upright(test_data):
    upright = test_data / ZOO / "base_h264_aac.mp4"
    if not upright.is_file():
        pytest.skip("no base_h264_aac.mp4 among the test data")
    expected = read_frames(upright, np.array([1.0]), (180, 320)).pixels[0]
    for degrees, size in ((90, (320, 180)), (180, (180, 320)), (270, (320, 180))):
        path = upright.with_name(f"g_rotated_meta_{degrees}.mp4")
        assert probe(path).video.rotation_degrees == degrees
        turned = read_frames(path, np.array([1.0]), size).pixels[0]
        np.testing.assert_array_equal(turned, np.rot90(expected, degrees // 90, axes=(1, 2)))


@pytest.mark.parametrize("row", rows())
def test_skipping_changes_nothing_and_durations_need_no_frame(clip, monkeypatch):
    """Decoding only what is needed gives the same frames of every file, damaged ones included."""
    path = clip[1]
    try:
        times = read_frame_times(path)
        assert read_duration(path) == probe(path).duration_seconds
    except DecodeError:
        return
    if times is None:
        return
    wanted = np.linspace(-0.1, times[-1] + 0.3, 7)
    found = []
    for num_left_out in (0, 1):
        monkeypatch.setattr(frames_module, "SHORTCUTS", frames_module.SHORTCUTS[num_left_out:])
        found.append(read_frames(path, wanted, (16, 16)))
    for name in ("pixels", "times_seconds", "valid"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))
