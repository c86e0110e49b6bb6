"""The optional decoder gives what PyAV gives, within what its module states."""

import importlib
import pickle
import wave
from functools import partial

import numpy as np
import pytest
import torch
from media_files import grey, tone, write_clip

from sightsound.config.settings import DataSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.rows import Manifest, Row
from sightsound.media.decode import DecodeError
from sightsound.media.encode import write_video
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.media.geometry import Box, centre_box, random_box
from sightsound.media.reader import FileReader
from sightsound.media.torchcodec import TorchcodecReader

LEVELS = 2.0  # of 255: mean difference of pixels


@pytest.fixture(scope="module")
def reader() -> TorchcodecReader:
    try:
        return TorchcodecReader()
    except ImportError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two seconds of moving colours with a fine grey texture and two tones, with B frames."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    y, x = np.mgrid[0:96, 0:128] / 20
    waves = [np.sin(k * y + x + t / 4 + np.arange(3)[:, None, None]) for k, t in _steps(48)]
    texture = 40 * np.random.default_rng(0).integers(0, 2, (96, 128))
    pictures = [100 + 60 * colours + texture for colours in waves]
    frames = np.stack([picture.transpose(1, 2, 0).astype(np.uint8) for picture in pictures])
    sound = tone(2.0, rate=44100, hertz=440) + 0.3 * tone(2.0, rate=44100, hertz=3000)
    write_video(path, frames, frames_per_second=24, waveform=sound, rate_hz=44100)
    return path


def _steps(count):
    return [(1 + index / count, index) for index in range(count)]


def assert_same_frames(reader, path, times, size=(48, 64), **options):
    ours = reader.frames(path, np.array(times), size, **options)
    theirs = FileReader().frames(path, np.array(times), size, **options)
    np.testing.assert_allclose(ours.times_seconds, theirs.times_seconds, atol=1e-6)
    np.testing.assert_array_equal(ours.valid, theirs.valid)
    assert ours.pixels.shape == theirs.pixels.shape and ours.pixels.dtype == np.uint8
    difference = np.abs(ours.pixels.astype(int) - theirs.pixels).mean(axis=(1, 2, 3))
    assert difference.max() < LEVELS
    return ours


def assert_same_sound(reader, path, start, stop, rate=16000):
    ours = reader.sound(path, start, stop, rate)
    theirs = FileReader().sound(path, start, stop, rate)
    assert len(ours.samples) == len(theirs.samples) and ours.samples.dtype == np.float32
    assert np.count_nonzero(ours.valid != theirs.valid) <= 8
    assert not ours.samples[~ours.valid].any()
    np.testing.assert_allclose(ours.samples, theirs.samples, atol=2e-3)
    return ours


# --- pictures -----------------------------------------------------------------------------------


def test_frames_are_those_of_pyav(reader, clip):
    frames = assert_same_frames(reader, clip, [-1.0, 0.0, 0.5, 1.99, 0.21, 0.5, 2.0, 7.0])
    assert frames.valid.tolist() == [False, True, True, True, True, True, False, False]
    assert_same_frames(reader, clip, np.arange(48) / 24)
    assert frames.pixels.flags.c_contiguous and frames.problems == ()


@pytest.mark.parametrize(
    "crop",
    [
        partial(centre_box, out_height=40, out_width=40, short_side=48),
        lambda h, w: random_box(h, w, generator=np.random.default_rng(3), scale=(0.1, 0.3)),
        lambda h, w: Box(h / 2, w / 2, h / 2, w / 2),
    ],
    ids=["centre", "random", "corner"],
)
def test_crops_are_those_of_pyav(reader, clip, crop):
    assert_same_frames(reader, clip, [0.3, 1.1], (40, 40), crop=crop)
    assert_same_frames(reader, clip, [0.3], (200, 150), crop=crop)


def test_a_small_box_is_cut_before_it_is_enlarged(reader, clip, monkeypatch):
    for name in ("pixels", "torchcodec"):
        module = importlib.import_module(f"sightsound.media.{name}")
        monkeypatch.setattr(module, "_MAX_SCALED_PIXELS", 1000)
    assert_same_frames(reader, clip, [0.3], (40, 40), crop=lambda h, w: Box(10.0, 20.0, 30.0, 40.0))


def test_pictures_are_turned_upright(reader, tmp_path):
    path = tmp_path / "turned.mp4"
    left = np.concatenate([grey(200, width=32), grey(40, width=32)], axis=1)
    write_clip(path, frames=[left, left], times=[0.0, 0.5], rotation=90)
    frames = assert_same_frames(reader, path, [0.1], (64, 48))
    assert abs(float(frames.pixels[0, :, :30].mean()) - float(frames.pixels[0, :, 34:].mean())) > 99


def test_time_0_is_the_earliest_start_of_a_stream(reader, tmp_path):
    path = tmp_path / "late.mkv"
    times = [5.0, 5.1, 5.5, 5.55, 6.5]
    write_clip(path, levels=[20, 60, 100, 140, 180], times=times, sound=tone(2.0), sound_start=4.0)
    assert reader.duration(path) == FileReader().duration(path)
    frames = assert_same_frames(reader, path, [0.5, 1.05, 1.2, 1.53, 2.0])
    assert frames.valid.tolist() == [False, True, True, True, True]
    assert_same_sound(reader, path, 0.2, 1.4)


def test_what_is_not_there_is_none(reader, tmp_path):
    mute, blind = tmp_path / "mute.mp4", tmp_path / "blind.mp4"
    write_clip(mute, levels=[20, 60], times=[0.0, 0.5])
    write_clip(blind, sound=tone(1.0))
    assert reader.sound(mute, 0.0, 1.0, 16000) is None
    assert reader.frames(blind, np.array([0.0]), (8, 8)) is None


# --- sound --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "stop", "rate"), [(0.0, 2.0, 44100), (0.73, 1.61, 16000), (-0.5, 2.5, 16000)]
)
def test_sound_is_that_of_pyav(reader, clip, start, stop, rate):
    assert assert_same_sound(reader, clip, start, stop, rate).valid.sum() > 0.8 * rate


def test_channels_are_mixed_by_their_mean(reader, tmp_path):
    path = tmp_path / "stereo.wav"
    left = (16384 * np.sin(np.arange(16000) / 10)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.stack([left, 0 * left], axis=1).tobytes())
    found = assert_same_sound(reader, path, 0.0, 1.0)
    np.testing.assert_allclose(found.samples, left / 65536, atol=1e-4)


def test_sound_outside_the_stream_is_silence_and_not_valid(reader, clip):
    for start in (-3.0, 9.0):
        assert not assert_same_sound(reader, clip, start, start + 1.0).valid.any()


# --- failures -----------------------------------------------------------------------------------


def test_files_that_cannot_be_decoded(reader, clip, tmp_path):
    text, damaged = tmp_path / "text.mp4", tmp_path / "damaged.mp4"
    text.write_text("no video")
    content = bytearray(clip.read_bytes())
    place = content.index(b"mdat") + 4
    content[place : place + 20000] = bytes(20000)
    damaged.write_bytes(content)
    for path in (text, damaged, tmp_path / "missing.mp4"):
        with pytest.raises(DecodeError) as raised:
            reader.frames(path, np.array([0.0]), (8, 8))
        assert str(path) in str(raised.value) and ".cpp" not in str(raised.value)


def test_frames_of_other_times_are_refused(reader, clip, monkeypatch):
    decoders = importlib.import_module("torchcodec.decoders")

    class Late(decoders.VideoDecoder):
        def get_frames_played_at(self, seconds):
            return super().get_frames_played_at([time + 0.5 for time in seconds])

    monkeypatch.setattr(decoders, "VideoDecoder", Late)
    with pytest.raises(DecodeError, match="frames that are shown later; --data.decoder pyav reads"):
        reader.frames(clip, np.array([0.3]), (8, 8))


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(importlib.sys.modules, "torchcodec", None)
    monkeypatch.delitem(importlib.sys.modules, "torchcodec.decoders", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sightsound\[gpu\]'"):
        TorchcodecReader()


def test_libraries_that_do_not_load_are_explained(monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("Could not load libtorchcodec. Likely causes: ...")

    monkeypatch.setattr("sightsound.media.torchcodec.require", fail)
    with pytest.raises(ImportError, match="torchcodec cannot be loaded: it needs the shared lib"):
        TorchcodecReader()


def test_an_old_release_is_refused(reader, monkeypatch):
    monkeypatch.setattr("sightsound.media.torchcodec.version", lambda name: "0.9.1+cpu")
    with pytest.raises(ImportError, match=r"torchcodec 0.9.1\+cpu is too old: 0.11 or newer is"):
        TorchcodecReader()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(reader):
    with pytest.raises(ValueError, match="--data.decoder torchcodec-cuda needs a GPU that torch"):
        TorchcodecReader("cuda")


# --- as part of a data set ----------------------------------------------------------------------


def test_a_data_set_reads_with_it(reader, clip):
    rows = (Row("clip", clip, ("a",)),)
    front_end = FrontEnd(
        "tiny",
        AudioFrontEnd(num_frames=40, num_mels=16, log_offset=1e-2),
        VideoFrontEnd(num_frames=2, window_seconds=1.0, height=32, width=32, short_side=40),
    )
    manifest = Manifest(rows, {"label": ["a"]}, "single", clip.parent)
    found = {}
    for decoder in ("pyav", "torchcodec"):
        settings = DataSettings(decoder=decoder)
        dataset = ClipDataset(manifest, rows, front_end, settings, train=True, seed=0)
        found[decoder] = pickle.loads(pickle.dumps(dataset))[0, 0, 0]
        assert (type(dataset.reader) is TorchcodecReader) == (decoder == "torchcodec")
    ours, theirs = found["torchcodec"], found["pyav"]
    assert (ours.video.float() - theirs.video.float()).abs().mean() < LEVELS
    assert (ours.audio - theirs.audio).abs().mean() < 0.02


@pytest.mark.data
def test_natural_clips(reader, test_data):
    folder = test_data / "data" / "drone_av"
    paths = sorted(folder.rglob("*.mp4"))[::100]
    if not paths:
        pytest.skip("no drone_av among the test data")
    for path in paths:
        duration = reader.duration(path)
        assert duration == FileReader().duration(path)
        assert_same_frames(reader, path, np.linspace(0.01, duration - 0.1, 8), (96, 96))
        assert_same_sound(reader, path, 0.1, 0.9 * duration)


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["s_two_video_two_audio.mp4", "a_two_tracks.mp4", "s_attached_cover.mp4", "t_vfr.mp4"]
)
def test_odd_files(reader, test_data, name):
    path = test_data / "data" / "media_zoo" / name
    if not path.is_file():
        pytest.skip(f"no {name} among the test data")
    assert_same_frames(reader, path, np.linspace(0.01, 2.9, 6))
    assert_same_sound(reader, path, 0.0, 2.0)


@pytest.mark.parametrize("picture", ["displayed", "stored"])
def test_pixels_that_are_not_square(reader, tmp_path, picture):
    path = tmp_path / "wide.mp4"
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, 20:44] = 255
    write_clip(path, frames=[frame] * 4, times=[0.0, 0.25, 0.5, 0.75], pixel_aspect=2)
    crop = partial(centre_box, out_height=24, out_width=24, short_side=24)
    both = TorchcodecReader(picture=picture), FileReader(picture=picture)
    ours, theirs = (r.frames(path, np.array([0.5]), (24, 24), crop=crop).pixels for r in both)
    assert np.abs(ours.astype(int) - theirs).mean() < LEVELS


@pytest.mark.parametrize("downmix", ["itu", "mean"])
def test_six_channels(reader, tmp_path, downmix):
    path = tmp_path / "six.wav"
    with wave.open(str(path), "wb") as file:  # without a word on which channel is where
        file.setparams((6, 2, 16000, 0, "NONE", ""))
        sound = np.random.default_rng(0).integers(-3000, 3000, (16000, 6), dtype=np.int16)
        file.writeframes(sound.tobytes())
    both = TorchcodecReader(downmix=downmix), FileReader(downmix=downmix)
    ours, theirs = (each.sound(path, 0.0, 1.0, 16000).samples for each in both)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
