"""Sound between two times: where it lies, which format it has, what was lost."""

from fractions import Fraction

import av
import numpy as np
import pytest
from media_files import RATE, regular, spoiled, tone, write_clip

from sightsound.media import sound as sound_module
from sightsound.media.probe import probe
from sightsound.media.sound import read_audio

# Where it lies


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


# Formats


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


def test_opposite_channels_cancel_and_the_mean_of_six_is_one(tmp_path):
    left = (tone(0.2) * 32767).astype(np.int16)
    write_wav(tmp_path / "anti.wav", np.stack([left, -left]), layout="stereo")
    assert not read_audio(tmp_path / "anti.wav", 0.0, 0.2).samples.any()
    write_wav(tmp_path / "six.wav", np.stack([left] * 6), layout="5.1")
    six = read_audio(tmp_path / "six.wav", 0.0, 0.2, downmix="mean").samples
    np.testing.assert_allclose(six, left / 32768, atol=1e-6)


def test_eight_planar_channels_are_all_that_is_mixed(tmp_path):
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
    sound = read_audio(path, 0.0, 1.0, downmix="mean")
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
    monkeypatch.setattr(sound_module, "_MAX_RATE_HZ", 8000)
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


# Damage


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
