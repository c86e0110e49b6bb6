"""Channels to one: how loud each is, and samples that are not numbers."""

from fractions import Fraction

import av
import numpy as np
import pytest
from media_files import RATE, tone

from sightsound.config.settings import DataSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.manifest import Manifest, Row
from sightsound.doctor.clips import _sound as found_in_sound
from sightsound.media.decode import DecodeError
from sightsound.media.decode_process import DecodeProcessReader
from sightsound.media.downmix import channel_names, channel_weights, mono, numbers_only
from sightsound.media.examine import examine
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.media.reader import FileReader
from sightsound.media.sequential import SequentialReader
from sightsound.media.sound import read_audio

TYPES = {"flt": np.float32, "dbl": np.float64, "s16": np.int16}


def write_sound(path, samples, *, layout="mono", codec="pcm_f32le", format="flt", rate=RATE):
    """`samples` (channels, S) as they are, in the container that the name of `path` says."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        data = samples.astype(TYPES[format]).T.reshape(1, -1).copy()
        frame = av.AudioFrame.from_ndarray(data, format=format, layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


# How loud each channel is

R = 0.7071
# What `ffmpeg -f f32le -channel_layout NAME -i - -ac 1 -f f32le -` (5.1.6) makes of .1 in one
# channel after the other, times 10; but for a left and a right alone, which are averaged here.
FFMPEG = {
    "mono": [1.0],
    "stereo": [0.5, 0.5],
    "2.1": [0.5, 0.5, 0.0],
    "3.0": [R, R, 1.0],
    "3.0(back)": [R, R, 0.5],
    "4.0": [R, R, 1.0, 0.5],
    "quad": [R, R, 0.5, 0.5],
    "3.1": [R, R, 1.0, 0.0],
    "4.1": [R, R, 1.0, 0.0, 0.5],
    "5.0": [R, R, 1.0, 0.5, 0.5],
    "5.1": [R, R, 1.0, 0.0, 0.5, 0.5],
    "5.1(side)": [R, R, 1.0, 0.0, 0.5, 0.5],
    "6.0(front)": [R, R, R, R, 0.5, 0.5],
    "6.1": [R, R, 1.0, 0.0, 0.5, 0.5, 0.5],
    "7.1": [R, R, 1.0, 0.0, 0.5, 0.5, 0.5, 0.5],
    "7.1(wide)": [R, R, 1.0, 0.0, 0.5, 0.5, R, R],
}


@pytest.mark.parametrize("format", ["flt", "dbl", "s16"])
@pytest.mark.parametrize(("layout", "expected"), FFMPEG.items(), ids=FFMPEG)
def test_channels_count_as_with_ffmpeg(layout, expected, format):
    samples = 0.1 * np.eye(len(expected)) * (32768 if format == "s16" else 1)
    packed = samples.T.reshape(1, -1).astype(TYPES[format])
    frame = av.AudioFrame.from_ndarray(packed, format=format, layout=layout)
    atol = 1e-3 if format == "s16" else 1e-5
    np.testing.assert_allclose(10 * mono(frame), expected, atol=atol)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("6 channels", FFMPEG["5.1"]),  # as players guess
        ("8 channels", FFMPEG["7.1"]),
        ("4 channels", None),  # four microphones
        ("ambisonic 1", [1, 0, 0, 0]),  # the component without direction
        ("ambisonic 1+stereo", [1, 0, 0, 0, 0.5, 0.5]),
        ("LFE", None),  # all there is
        ("FC+LFE", [1, 0]),
        ("downmix", None),
    ],
)
def test_channels_that_standards_do_not_name(layout, expected):
    weights = channel_weights(channel_names(av.AudioLayout(layout)))
    assert (weights is None) == (expected is None)
    if expected is not None:
        np.testing.assert_allclose(weights, expected, atol=1e-4)


CODECS = {
    "a.m4a": ("aac", "5.1"),
    "a.ac3": ("ac3", "5.1(side)"),
    "a.mkv": ("eac3", "5.1(side)"),
    "a.flac": ("flac", "5.1"),
    "a.opus": ("libopus", "5.1"),
    "a.wav": ("pcm_s24le", "5.1"),
    "b.m4a": ("aac", "7.1"),
    "c.m4a": ("aac", "5.0"),
}


@pytest.mark.parametrize("name", CODECS)
def test_speech_in_the_centre_keeps_its_level(tmp_path, name):
    """The old mean of six channels buried it by 15.6 dB."""
    codec, layout = CODECS[name]
    num_channels = av.AudioLayout(layout).nb_channels
    wave = np.zeros((num_channels, 48000), np.float32)
    wave[2] = tone(1.0, rate=48000)
    write_resampled(tmp_path / name, wave, layout=layout, codec=codec)
    sound = read_audio(tmp_path / name, 0.0, 1.0).samples[3000:13000]
    assert np.sqrt(np.mean(sound**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)
    old = read_audio(tmp_path / name, 0.0, 1.0, downmix="mean").samples[3000:13000]
    ratio = np.sqrt(np.mean(sound**2) / np.mean(old**2))
    assert ratio == pytest.approx(num_channels, rel=0.01)


def write_resampled(path, samples, *, layout, codec):
    """`samples` (channels, S) at 48 kHz, in whatever format the codec takes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48000, layout=layout)
        packed = samples.T.reshape(1, -1).copy()
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_low_frequency_effects_alone_are_silence(tmp_path):
    wave = np.zeros((6, RATE))
    wave[3] = tone(1.0)
    write_sound(tmp_path / "a.wav", wave, layout="5.1")
    sound = read_audio(tmp_path / "a.wav", 0.0, 1.0)
    assert sound.valid.all() and not sound.samples.any()
    kinds = [kind for kind, _ in found_in_sound(examine(tmp_path / "a.wav").audio)]
    assert kinds == ["silence"]  # not channels that cancel out


def test_what_lies_in_a_channel_that_does_not_count_does_not_matter(tmp_path):
    wave = np.stack([tone(1.0)] * 6) / 8
    wave[3] = np.nan
    write_sound(tmp_path / "a.wav", wave, layout="5.1")
    sound = read_audio(tmp_path / "a.wav", 0.0, 1.0)
    assert sound.valid.all() and sound.problems == ()
    np.testing.assert_allclose(sound.samples, wave[0] * (1 + 2 * R + 1), atol=1e-4)


def test_every_reader_mixes_as_it_is_told(tmp_path):
    path = tmp_path / "a.wav"
    wave = np.zeros((6, RATE))
    wave[2] = tone(1.0)
    write_sound(path, wave, layout="5.1")
    for downmix, share in (("itu", 1.0), ("mean", 1 / 6)):
        file = FileReader(downmix=downmix)
        child = DecodeProcessReader(file)
        for reader in (file, child, SequentialReader(path, downmix=downmix)):
            found = reader.sound(path, 0.0, 1.0, RATE).samples
            np.testing.assert_allclose(found, wave[2] * share, atol=1e-6)
        child.close()


# What is not a number


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "codec", "format"),
    [
        ("a.wav", "pcm_f32le", "flt"),
        ("a.wav", "pcm_f64le", "dbl"),
        ("a.aif", "pcm_f64be", "dbl"),
        ("a.mkv", "pcm_f32le", "flt"),
        ("a.mov", "pcm_f32be", "flt"),
    ],
)
def test_samples_that_are_not_numbers_are_lost_and_told(tmp_path, value, name, codec, format):
    wave = tone(1.0).astype(np.float64)
    wave[[4000, 4001, 9000]] = value
    write_sound(tmp_path / name, wave[None], codec=codec, format=format)
    sound = read_audio(tmp_path / name, 0.0, 1.0)
    assert np.flatnonzero(~sound.valid).tolist() == [4000, 4001, 9000]
    assert not sound.samples[~sound.valid].any()
    np.testing.assert_allclose(sound.samples[sound.valid], wave[sound.valid], atol=1e-6)
    told = "audio: 3 sample(s) are not numbers (nan, inf) and count as lost"
    assert sound.problems == (told,)
    assert examine(tmp_path / name).problems == (told,)


def test_one_of_them_spoils_no_other_sample_when_resampled(tmp_path):
    wave = tone(1.0, rate=48000)
    wave[24000] = np.nan
    write_sound(tmp_path / "a.wav", wave[None], rate=48000)
    sound = read_audio(tmp_path / "a.wav", 0.0, 1.0)
    assert (~sound.valid).sum() == 1 and np.isfinite(sound.samples).all()
    apart = np.abs(np.arange(RATE) - 8000) > 200
    np.testing.assert_allclose(sound.samples[apart], tone(1.0)[apart], atol=0.01)


@pytest.mark.parametrize(
    ("values", "dtype"), [([1e300, 1.0], np.float64), ([3e38, 3e38], np.float32)]
)
def test_numbers_beyond_all_sound_are_lost_without_a_warning(values, dtype):
    found = numbers_only(np.array([[v, 0.5] for v in values], dtype), None)
    assert np.isnan(found[0]) and found[1] == 0.5


def test_only_those_of_the_window_are_told(tmp_path):
    wave = tone(1.0)
    wave[12000] = np.nan
    write_sound(tmp_path / "a.wav", wave[None])
    assert read_audio(tmp_path / "a.wav", 0.0, 0.75).problems == ()
    assert read_audio(tmp_path / "a.wav", 0.75, 1.0).problems != ()


def test_in_one_channel_they_cost_the_sample(tmp_path):
    wave = np.stack([tone(1.0), tone(1.0)])
    wave[1, 4000:8000] = np.nan
    write_sound(tmp_path / "a.wav", wave, layout="stereo")
    sound = read_audio(tmp_path / "a.wav", 0.0, 1.0)
    assert np.flatnonzero(~sound.valid).tolist() == list(range(4000, 8000))


def test_the_loudness_that_is_measured_is_that_of_the_rest(tmp_path):
    wave = tone(1.0)  # amplitude .5: -9 dB
    wave[::1000] = np.nan
    write_sound(tmp_path / "a.wav", np.stack([wave, wave]), layout="stereo")
    audio = examine(tmp_path / "a.wav").audio
    for level in (audio.loudest_db, *audio.channels_db, audio.mono_db):
        assert level == pytest.approx(-9.0, abs=0.3)


def test_nothing_but_what_is_not_a_number_is_an_error_in_one_sentence(tmp_path):
    path = tmp_path / "a.wav"
    write_sound(path, np.full((1, RATE), np.nan))
    cause = "no sample of the audio stream is a number \\(all are nan or inf\\)"
    with pytest.raises(DecodeError, match=cause):
        read_audio(path, 0.0, 1.0)
    with pytest.raises(DecodeError, match=cause):
        SequentialReader(path).sound(path, 0.0, 1.0, RATE)
    reader = DecodeProcessReader(FileReader())
    with pytest.raises(DecodeError, match=cause):
        reader.sound(path, 0.0, 1.0, RATE)
    reader.close()
    health = examine(path)
    assert health.audio is None and len(health.unreadable) == 1


def test_a_clip_whose_stretch_holds_none_says_why(tmp_path):
    path = tmp_path / "a.wav"
    wave = tone(6.0)
    wave[RATE:] = np.nan
    write_sound(path, wave[None])
    row = Row("a", path, ("x",), start_seconds=2.0, end_seconds=4.0)
    manifest = Manifest((row,), {"label": ["x", "y"]}, "single", tmp_path / "clips.csv")
    settings = DataSettings(time_limit_seconds=0)
    video = VideoFrontEnd(num_frames=2, height=16, width=16, short_side=16)
    front_end = FrontEnd("mbt", AudioFrontEnd(num_frames=100, log_offset=1e-6), video)
    clips = ClipDataset(manifest, [row], front_end, settings, train=False, seed=0)
    with pytest.raises(DecodeError, match="are not numbers"):
        clips[0, 0, 0]
