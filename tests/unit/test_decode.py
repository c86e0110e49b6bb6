"""What probing, pictures and sound have in common: one clock, missing streams, unreadable files."""

import pickle
import time
from fractions import Fraction

import av
import numpy as np
import pytest
from media_files import RATE, grey, levels_at, regular, tone, write_clip, write_sound

from sightsound.media.decode import DecodeError
from sightsound.media.frames import read_frame_times, read_frames
from sightsound.media.probe import probe
from sightsound.media.sound import read_audio

# One clock


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_stream_that_starts_late(tmp_path, suffix):
    path = tmp_path / f"clip.{suffix}"
    write_clip(path, levels=[20, 60], times=[1.0, 1.5], sound=tone(2.0))
    info = probe(path)
    assert info.video.start_seconds == pytest.approx(1.0, abs=0.07)
    assert info.audio.start_seconds == pytest.approx(0.0, abs=0.001)
    shift = info.video.start_seconds
    shown, frames = levels_at(path, [0.1, shift + 0.01, shift + 0.51])
    np.testing.assert_allclose(shown, [20, 20, 60], atol=2)
    assert frames.valid.tolist() == [False, True, True]


@pytest.mark.parametrize("muxer", [{}, {"output_ts_offset": "36000"}])
def test_ten_hours_of_offset_change_nothing(tmp_path, muxer):
    path = tmp_path / "clip.ts"
    write_clip(path, levels=[20, 60, 100], times=[0, 0.5, 1.0], sound=tone(1.5), muxer=muxer)
    info = probe(path)
    assert info.duration_seconds == pytest.approx(1.55, abs=0.1)
    start = info.video.start_seconds
    shown, frames = levels_at(path, [start + 0.01, start + 0.6, start + 1.1])
    np.testing.assert_allclose(shown, [20, 60, 100], atol=2)
    np.testing.assert_allclose(frames.times_seconds, [start, start + 0.5, start + 1.0], atol=1e-4)
    assert read_audio(path, 0.2, 1.2).valid.all()


def test_length_unknown_to_the_header_is_read_from_the_packets(tmp_path):
    path = tmp_path / "live.mkv"
    write_clip(path, levels=[20] * 24, times=regular(24), sound=tone(1.0), muxer={"live": "1"})
    with av.open(str(path)) as container:
        assert container.duration is None
    assert probe(path).duration_seconds == pytest.approx(1.05, abs=0.1)


# Streams that are missing, empty or no video


def test_no_sound(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, levels=[20, 60], times=[0.0, 0.5])
    assert read_audio(path, 0.0, 1.0) is None
    info = probe(path)
    assert info.audio is None and info.missing == ("audio",)
    assert (info.video.height, info.video.width, info.video.codec) == (48, 64, "h264")


def test_only_sound(tmp_path):
    path = tmp_path / "clip.m4a"
    write_clip(path, sound=tone(1.0))
    assert read_frames(path, np.array([0.0]), (8, 8)) is None
    assert read_frame_times(path) is None
    info = probe(path)
    assert info.video is None and info.missing == ("video",)
    assert (info.audio.rate_hz, info.audio.num_channels, info.audio.codec) == (RATE, 1, "aac")


def test_cover_art_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 48, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.VideoFrame.from_ndarray(grey(90), format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 1)
        container.mux(cover.encode(frame) + cover.encode(None))
        write_sound(container, audio, tone(1.0), 0)
    assert probe(path).missing == ("video",)
    assert read_frames(path, np.array([0.0]), (8, 8)) is None
    assert read_audio(path, 0.0, 1.0).valid.all()


# Unreadable files


@pytest.mark.parametrize("content", [b"", b"not a video", bytes(range(256)) * 100])
def test_unreadable_files_are_a_decode_error_within_a_second(tmp_path, content, capfd):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    for read in (
        probe,
        lambda p: read_frames(p, np.zeros(1), (8, 8)),
        lambda p: read_audio(p, 0, 1),
    ):
        started = time.perf_counter()
        with pytest.raises(
            DecodeError, match=r"cannot decode '.*clip\.mp4' from 0\.000 s: Invalid"
        ):
            read(path)
        assert time.perf_counter() - started < 1.0
    assert capfd.readouterr() == ("", "")


def test_every_packet_bad_is_a_decode_error(tmp_path):
    path = tmp_path / "clip.mkv"
    write_clip(path, levels=[20, 60, 90], times=regular(3), spoil=[0, 1, 2])
    with pytest.raises(DecodeError, match="nothing of the video stream could be decoded"):
        read_frames(path, np.array([0.0]), (8, 8))
    with pytest.raises(DecodeError, match="nothing of the video stream could be decoded"):
        probe(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DecodeError, match=r"cannot decode '.*missing\.mp4' .*: no such file"):
        probe(tmp_path / "missing.mp4")
    with pytest.raises(DecodeError, match="not a file"):
        probe(tmp_path)


def test_names_are_names_and_not_protocols_or_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a:b.mp4", "clip_%03d.mp4", "concat:x|y.mp4"):
        write_clip(tmp_path / "plain.mp4", levels=[20, 60], times=[0.0, 0.5])
        (tmp_path / "plain.mp4").rename(tmp_path / name)
        assert probe(name).video is not None


def test_decode_error_survives_pickling():
    error = pickle.loads(pickle.dumps(DecodeError("a.mp4", 1.5, "broken")))
    assert (error.path, error.start_seconds, error.cause) == ("a.mp4", 1.5, "broken")
    assert str(error) == "cannot decode 'a.mp4' from 1.500 s: broken"


# Callers' mistakes


def test_arguments_are_checked(tmp_path):
    with pytest.raises(ValueError, match="times_seconds: got .* one or more finite numbers"):
        read_frames("x.mp4", np.array([np.nan]), (8, 8))
    with pytest.raises(ValueError, match=r"size: got \(0, 8\); accepted"):
        read_frames("x.mp4", np.array([0.0]), (0, 8))
    with pytest.raises(ValueError, match="start_seconds, stop_seconds: got 2.0, 1.0; accepted"):
        read_audio("x.mp4", 2.0, 1.0)
