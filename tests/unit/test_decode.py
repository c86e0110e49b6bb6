import pickle
import time
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation

from sightsound.media import decode
from sightsound.media.decode import DecodeError, probe, read_audio, read_frame_times, read_frames
from sightsound.media.encode import write_video
from sightsound.media.geometry import Box

RATE = 16000


def grey(level, height=48, width=64):
    return np.full((height, width, 3), level, np.uint8)


def tone(seconds, rate=RATE, hertz=440.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype("f4")


def write_clip(
    path,
    *,
    levels=(),
    times=(),
    frames=None,
    sound=None,
    sound_start=0.0,
    options=None,
    codec="libx264",
    rotation=None,
    colorspace=None,
    spoil=(),
    muxer=None,
):
    """Grey frames of the given levels (or `frames`) at the given times, and/or a sound."""
    frames = [grey(level) for level in levels] if frames is None else frames
    with av.open(str(path), "w", options=muxer or {}) as container:
        video = audio = None
        if frames:
            video = container.add_stream(codec, rate=24, options=options or {"crf": "8"})
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000)
            if colorspace is not None:
                video.codec_context.colorspace = colorspace
            if rotation is not None:
                video.set_display_rotation(rotation)
        if sound is not None:
            audio = container.add_stream("aac", rate=RATE, layout="mono")
            audio.bit_rate = 128000
        packets = []
        for pixels, seconds in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if colorspace is not None:
                frame = frame.reformat(format="yuv420p", dst_colorspace=colorspace)
            frame.pts, frame.time_base = round(seconds * 1000), Fraction(1, 1000)
            packets += video.encode(frame)
        packets += video.encode(None) if video else []
        for index in spoil:
            packets[index] = spoiled(packets[index])
        for packet in packets:
            container.mux(packet)
        if audio is not None:
            write_sound(container, audio, sound, round(sound_start * RATE))


def spoiled(packet):
    """The same packet with another content."""
    rubbish = av.Packet(b"\xff" * packet.size)
    rubbish.pts, rubbish.dts, rubbish.duration = packet.pts, packet.dts, packet.duration
    rubbish.time_base, rubbish.stream = packet.time_base, packet.stream
    return rubbish


def write_sound(container, stream, sound, offset):
    for start in range(0, len(sound), 1024):
        chunk = np.ascontiguousarray(sound[None, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, offset + start
        frame.time_base = Fraction(1, RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def levels_at(path, times, **kwargs):
    frames = read_frames(path, np.array(times), (48, 64), **kwargs)
    return frames.pixels.mean(axis=(1, 2, 3)), frames


def regular(num, rate=24):
    return [k / rate for k in range(num)]


# Which frame is shown when


def test_the_frame_shown_is_the_last_one_that_started(tmp_path):
    path = tmp_path / "vfr.mkv"
    starts, levels = [0.0, 0.1, 0.5, 0.55, 1.5], [20, 60, 100, 140, 180]
    write_clip(path, levels=levels, times=starts)
    wanted = [0.0, 0.0999, 0.1, 0.3, 0.499, 0.5, 0.551, 1.499, 1.5, 1.52]
    shown, frames = levels_at(path, wanted)
    expected = [0, 0, 1, 1, 1, 2, 3, 3, 4, 4]
    np.testing.assert_allclose(shown, np.array(levels)[expected], atol=2)
    np.testing.assert_allclose(frames.times_seconds, np.array(starts)[expected], atol=1e-9)
    assert frames.valid.all() and frames.problems == ()
    np.testing.assert_allclose(read_frame_times(path), starts)


def test_times_may_be_unsorted_and_repeated(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, levels=[20, 60, 100], times=[0.0, 0.5, 1.0])
    shown, _ = levels_at(path, [1.0, 0.2, 0.6, 0.2])
    np.testing.assert_allclose(shown, [100, 20, 60, 20], atol=2)


def test_frame_times_of_the_file_give_back_every_frame(tmp_path):
    """Also where a time is no binary fraction."""
    path = tmp_path / "clip.mp4"
    write_clip(path, levels=range(10, 210, 5), times=regular(40))
    times = read_frame_times(path)
    shown, frames = levels_at(path, times)
    np.testing.assert_allclose(shown, np.arange(10, 210, 5), atol=2)
    np.testing.assert_array_equal(frames.times_seconds, times)


def test_times_outside_the_stream_get_the_nearest_frame_and_are_not_valid(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, levels=[20, 60], times=[0.0, 0.5], sound=tone(3.0))
    shown, frames = levels_at(path, [-1.0, 0.2, 2.9, 30.0])
    np.testing.assert_allclose(shown, [20, 20, 60, 60], atol=2)
    assert frames.valid.tolist() == [False, True, False, False]


def test_the_end_of_the_stream_is_not_part_of_it(tmp_path):
    path = tmp_path / "clip.mp4"
    frames = np.stack([grey(level) for level in (20, 60, 100, 140)])
    write_video(path, frames, frames_per_second=4, waveform=None)
    _, found = levels_at(path, [0.999, 1.0])
    assert found.valid.tolist() == [True, False]


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


def test_sound_that_starts_late(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, levels=[20] * 48, times=regular(48), sound=tone(1.0), sound_start=1.0)
    sound = read_audio(path, 0.0, 2.0)
    assert sound.samples.shape == sound.valid.shape == (32000,)
    # The encoder's 1024 samples of run-up lie before the sound.
    assert np.flatnonzero(sound.valid)[0] == pytest.approx(16000 - 1024, abs=32)
    assert not sound.samples[~sound.valid].any()
    np.testing.assert_allclose(sound.samples[19000:31000], tone(1.0)[3000:15000], atol=0.02)


def test_sound_that_starts_a_few_milliseconds_late_is_not_moved(tmp_path):
    path = tmp_path / "clip.mkv"
    write_clip(path, levels=[20] * 24, times=regular(24), sound=tone(1.0), sound_start=0.015)
    heard = np.flatnonzero(read_audio(path, 0.0, 1.0).valid)
    assert heard[0] == pytest.approx(240, abs=32)


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


def test_edit_list_hides_what_lies_before_it(tmp_path):
    """Negative timestamps are written as an edit list that starts at zero."""
    path = tmp_path / "clip.mp4"
    times = [k / 10 - 0.5 for k in range(15)]
    write_clip(
        path,
        levels=range(20, 170, 10),
        times=times,
        muxer={"avoid_negative_ts": "disabled", "use_editlist": "1"},
    )
    found = read_frame_times(path)
    np.testing.assert_allclose(found, np.arange(10) / 10, atol=0.002)
    shown, _ = levels_at(path, found + 0.01)
    np.testing.assert_allclose(shown, range(70, 170, 10), atol=2)


# Reading from the middle


@pytest.mark.parametrize(
    "x264",
    [
        "keyint=12:scenecut=0",
        "keyint=12:scenecut=0:open-gop=1:bframes=3",
        "keyint=24:intra-refresh=1:bframes=0",
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_starting_at_a_keyframe_gives_the_same_frames(tmp_path, x264, suffix, monkeypatch):
    path = tmp_path / f"clip.{suffix}"
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    frames = [np.roll(noise, k, axis=1) for k in range(96)]
    write_clip(path, frames=frames, times=regular(96), options={"crf": "20", "x264-params": x264})
    wanted = generator.uniform(0.0, 4.0, (8, 2))
    quick = [read_frames(path, times, (48, 64)) for times in wanted]
    monkeypatch.setattr(decode, "_INDEXED_CONTAINERS", frozenset())
    for times, found in zip(wanted, quick, strict=True):
        slow = read_frames(path, times, (48, 64))
        np.testing.assert_array_equal(found.times_seconds, slow.times_seconds)
        np.testing.assert_array_equal(found.pixels, slow.pixels)


def test_windows_of_sound_are_cut_from_one_signal(tmp_path):
    """Whatever window is read, a time sounds the same: also at rates that do not divide."""
    path = tmp_path / "clip.mkv"
    write_clip(path, sound=tone(4.0))
    for rate in (16000, 22050, 11025):
        whole = read_audio(path, 0.0, 4.0, rate)
        assert len(whole.samples) == 4 * rate
        part = read_audio(path, 2.0, 3.5, rate)
        low = 2 * rate
        np.testing.assert_allclose(
            part.samples, whole.samples[low : low + len(part.samples)], atol=2e-4
        )


def test_sound_before_and_after_the_stream_is_silent_and_not_valid(tmp_path):
    path = tmp_path / "clip.mkv"
    write_clip(path, sound=tone(1.0))
    sound = read_audio(path, -0.5, 2.0)
    assert sound.samples.shape == (40000,)
    heard = np.flatnonzero(sound.valid)
    # The encoder pads the last of its frames of 1024 samples.
    assert heard[0] == pytest.approx(8000, abs=32) and 24000 <= heard[-1] + 1 <= 26112
    assert not sound.samples[~sound.valid].any()
    outside = read_audio(path, 5.0, 6.0)
    assert not outside.valid.any() and not outside.samples.any()


# Sound


def write_wav(path, samples, *, layout, codec="pcm_s16le", format="s16", rate=RATE):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(
            samples.T.reshape(1, -1).copy(), format=format, layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "stereo.wav"
    left = (tone(0.5) * 32767).astype(np.int16)
    write_wav(path, np.stack([left, 0 * left]), layout="stereo")
    sound = read_audio(path, 0.0, 0.5)
    np.testing.assert_allclose(sound.samples, left / 32768 / 2, atol=1e-6)
    assert sound.valid.all() and sound.samples.dtype == np.float32


def test_opposite_channels_cancel_and_six_channels_are_one(tmp_path):
    left = (tone(0.2) * 32767).astype(np.int16)
    write_wav(tmp_path / "anti.wav", np.stack([left, -left]), layout="stereo")
    assert not read_audio(tmp_path / "anti.wav", 0.0, 0.2).samples.any()
    write_wav(tmp_path / "six.wav", np.stack([left] * 6), layout="5.1")
    six = read_audio(tmp_path / "six.wav", 0.0, 0.2).samples
    np.testing.assert_allclose(six, left / 32768, atol=1e-6)


def test_eight_planar_channels_are_all_that_is_averaged(tmp_path):
    """PyAV's own conversion reads beyond them."""
    path = tmp_path / "eight.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="7.1")
        stream.bit_rate = 512000
        samples = np.tile((tone(1.0) * 32767).astype(np.int16), (8, 1))
        frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1).copy(), "s16", "7.1")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert probe(path).audio.num_channels == 8
    sound = read_audio(path, 0.0, 1.0)
    # The eighth channel is the one of low frequencies only.
    np.testing.assert_allclose(sound.samples[3000:13000], tone(1.0)[3000:13000], atol=0.1)


@pytest.mark.parametrize(
    ("codec", "format", "dtype", "scale", "middle"),
    [
        ("pcm_u8", "u8", np.uint8, 127, 128),
        ("pcm_s32le", "s32", np.int32, 2**31 - 1, 0),
        ("pcm_f32le", "flt", np.float32, 1, 0),
        ("pcm_f64le", "dbl", np.float64, 1, 0),
    ],
)
def test_sample_formats(tmp_path, codec, format, dtype, scale, middle):
    path = tmp_path / "clip.wav"
    samples = (tone(0.2).astype(np.float64) * scale + middle).astype(dtype)
    write_wav(path, samples[None], layout="mono", codec=codec, format=format)
    sound = read_audio(path, 0.0, 0.2)
    np.testing.assert_allclose(sound.samples, tone(0.2), atol=0.013 if dtype is np.uint8 else 1e-5)


def test_impossible_rate_is_damage_and_does_not_fill_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "clip.wav"
    write_wav(path, np.zeros((1, 8000), np.int16), layout="mono")
    monkeypatch.setattr(decode, "_MAX_RATE_HZ", 8000)
    sound = read_audio(path, 0.0, 0.5)
    assert not sound.valid.any()
    assert "impossible rate of 16000 Hz" in sound.problems[0]


def test_resampled_sound_stays_in_range_and_in_place(tmp_path):
    path = tmp_path / "loud.wav"
    square = (np.sign(tone(1.0, rate=44100, hertz=100.0)) * 32767).astype(np.int16)
    write_wav(path, square[None], layout="mono", rate=44100)
    sound = read_audio(path, 0.0, 1.0)
    assert np.abs(sound.samples).max() <= 1.0
    assert (np.sign(sound.samples[20:-20]) == np.sign(tone(1.0, hertz=100.0))[20:-20]).mean() > 0.98


# Pictures


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
    monkeypatch.setattr(decode, "_MAX_SCALED_PIXELS", 100)
    cut = read_frames(path, np.array([0.0]), (32, 32), crop=crop).pixels
    assert np.abs(usual.astype(int) - cut).mean() < 4


def test_crop_outside_the_frame_is_an_error(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, levels=[20], times=[0.0])
    with pytest.raises(ValueError, match=r"crop: got Box.* for a frame of 48x64; accepted"):
        read_frames(path, np.array([0.0]), (8, 8), crop=lambda h, w: Box(0, 0, h + 2, w))


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


# Damage


def test_a_bad_packet_costs_what_it_holds(tmp_path, capfd):
    path = tmp_path / "clip.mkv"
    options = {"g": "1", "qmin": "1", "qmax": "1"}  # every frame stands alone
    levels = np.arange(20, 220, 20)
    write_clip(
        path, levels=levels, times=regular(10, 10), codec="mpeg4", options=options, spoil=[3, 4]
    )
    shown, frames = levels_at(path, np.arange(10) / 10 + 0.01)
    expected = levels[[0, 1, 2, 2, 2, 5, 6, 7, 8, 9]]
    np.testing.assert_allclose(shown, expected, atol=2)
    assert frames.problems == (
        "video: 2 damaged packet(s) (Invalid data found when processing input)",
    )
    assert read_frames(path, np.array([0.05]), (8, 8)).problems == ()
    assert capfd.readouterr() == ("", "")


def test_lost_sound_leaves_a_hole_and_shifts_nothing(tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "flac", rate=RATE, layout="mono", options={"frame_size": "1600"}
        )
        samples = (tone(2.0) * 32767).astype(np.int16)
        packets = []
        for start in range(0, len(samples), 1600):
            chunk = samples[None, start : start + 1600].copy()
            frame = av.AudioFrame.from_ndarray(chunk, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for index, packet in enumerate(packets):
            container.mux(spoiled(packet) if index in (5, 6) else packet)
    sound = read_audio(path, 0.0, 2.0)
    lost = np.flatnonzero(~sound.valid)
    assert 3000 <= len(lost) <= 3300 and lost[0] == pytest.approx(8000, abs=20)
    assert not sound.samples[lost].any()
    np.testing.assert_allclose(sound.samples[sound.valid], tone(2.0)[sound.valid], atol=0.03)
    assert sound.problems[0].startswith("audio: 2 damaged packet(s)")


def test_truncated_file_gives_what_it_has_and_says_so(tmp_path):
    path = tmp_path / "clip.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (48, 48, 64, 3), dtype=np.uint8)
    frames = list(noise)
    write_clip(path, frames=frames, times=regular(48), muxer={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = read_frames(path, np.array([0.2, 1.9]), (48, 64))
    assert found.valid.tolist() == [True, False]
    assert any("its header says 2.00 s" in problem for problem in found.problems)


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


def test_length_unknown_to_the_header_is_read_from_the_packets(tmp_path):
    path = tmp_path / "live.mkv"
    write_clip(path, levels=[20] * 24, times=regular(24), sound=tone(1.0), muxer={"live": "1"})
    with av.open(str(path)) as container:
        assert container.duration is None
    assert probe(path).duration_seconds == pytest.approx(1.05, abs=0.1)
