"""Channels to one: samples that are not numbers."""

from fractions import Fraction

import av
import numpy as np
import pytest
from media_files import RATE, tone

from sightsound.data.dataset import ClipDataset
from sightsound.data.manifest import Manifest, Row
from sightsound.media.child import ChildReader
from sightsound.media.decode import DecodeError
from sightsound.media.examine import examine
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.media.reader import FileReader
from sightsound.media.sequential import SequentialReader
from sightsound.media.sound import read_audio
from sightsound.settings import DataSettings

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
    reader = ChildReader(FileReader())
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
