"""What is kept of a clip: which frames, which samples, and when they were."""

import io

import numpy as np
import pytest
from media_files import grey, regular, tone, write_clip
from PIL import Image

from sightsound.config.settings import ShardSettings
from sightsound.data.rows import Row
from sightsound.data.shards.transcode import transcode
from sightsound.media.flac import as_16_bits, decode_blocks
from sightsound.media.sound import read_audio

ALL = ShardSettings(frames_per_second=100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two seconds of 24 frames per second, and of 5 with a sound that starts late."""
    folder = tmp_path_factory.mktemp("clips")
    levels, sound = [5 * k for k in range(48)], tone(2.0)
    write_clip(folder / "fast.mp4", levels=levels, times=regular(48), sound=sound)
    write_clip(folder / "slow.mp4", levels=levels[:10], times=regular(10, rate=5))
    write_clip(folder / "late.mp4", levels=levels[:12], times=[1 + k / 24 for k in range(12)])
    write_clip(folder / "late_sound.mp4", levels=levels, times=regular(48), sound=sound[:8000])
    write_clip(folder / "large.mp4", frames=[grey(90, 96, 160)] * 3, times=regular(3))
    (folder / "bad.mp4").write_bytes(b"not a video at all")
    return folder


def clip(path, audio_path=None, start_seconds=0.0, end_seconds=None):
    return Row(path.name, path, (), start_seconds, end_seconds, audio_path=audio_path)


def kept(path, settings=ALL, **part):
    return transcode(clip(path, **part), settings).pictures


def levels_of(pictures):
    return [np.asarray(Image.open(io.BytesIO(jpeg))).mean() for jpeg in pictures.jpegs]


def samples_of(sound):
    return decode_blocks(sound.header, sound.blocks)


def test_every_frame_of_a_slow_video_at_its_own_time(folder):
    pictures = kept(folder / "slow.mp4", ShardSettings(frames_per_second=5))
    assert pictures.times_seconds == pytest.approx(regular(10, rate=5))
    assert levels_of(pictures) == pytest.approx([5 * k for k in range(10)], abs=1.5)
    assert pictures.end_seconds == pytest.approx(1.8 + 1 / 24, abs=1e-3)  # its frames are 1/24 s


def test_frames_of_a_fast_video_at_regular_times(folder):
    pictures = kept(folder / "fast.mp4", ShardSettings(frames_per_second=10))
    shown = [int(24 * k / 10 + 1e-9) / 24 for k in range(20)]
    assert pictures.times_seconds == pytest.approx([*shown, 47 / 24], abs=1e-3)
    assert levels_of(pictures) == pytest.approx([120 * t for t in pictures.times_seconds], abs=1.5)


def test_a_grid_finer_than_the_frames_gives_each_once(folder):
    settings = ShardSettings(frames_per_second=20)
    pictures = kept(folder / "fast.mp4", settings)
    assert len(set(pictures.times_seconds)) == len(pictures.times_seconds) == 41


@pytest.mark.parametrize("rate", [10, 100])
def test_a_stretch_begins_with_the_frame_shown_at_its_start(folder, rate):
    settings = ShardSettings(frames_per_second=rate)
    pictures = kept(folder / "fast.mp4", settings, start_seconds=0.51, end_seconds=1.01)
    assert pictures.times_seconds[0] == pytest.approx(0.5)
    assert pictures.times_seconds[-1] < 1.01
    assert pictures.end_seconds is None  # the stream goes on
    assert len(pictures.jpegs) == (5 if rate == 10 else 13)


@pytest.mark.parametrize(
    ("rate", "stretch", "number"),
    [
        (0, {}, 48),
        (24, {}, 48),
        (10, {}, 21),
        (0, {"start_seconds": 0.51, "end_seconds": 1.01}, 13),
    ],
)
def test_it_is_noted_whether_frames_were_left_out(folder, rate, stretch, number):
    pictures = kept(folder / "fast.mp4", ShardSettings(frames_per_second=rate), **stretch)
    assert len(pictures.jpegs) == number
    assert pictures.left_out == (rate == 10)


def test_a_stretch_to_the_end_knows_where_the_stream_ends(folder):
    pictures = kept(folder / "fast.mp4", start_seconds=1.5, end_seconds=5.0)
    assert pictures.end_seconds == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize("rate", [10, 100])
def test_a_stretch_after_the_end_keeps_the_last_frame_and_has_no_content(folder, rate):
    stretch = clip(folder / "slow.mp4", start_seconds=3.0, end_seconds=4.0)
    transcoded = transcode(stretch, ShardSettings(frames_per_second=rate))
    assert transcoded.pictures.times_seconds == pytest.approx([1.8])
    assert not transcoded.has_content(stretch)


def test_a_stretch_before_the_first_frame_has_none(folder):
    write_clip(folder / "gap.mp4", levels=[9] * 3, times=[1.0, 1.1, 1.2], sound=tone(1.5))
    transcoded = transcode(clip(folder / "gap.mp4", end_seconds=0.5), ALL)
    assert transcoded.pictures is None and transcoded.sound is not None
    assert transcoded.has_content(clip(folder / "gap.mp4", end_seconds=0.5))


def test_the_short_side_is_scaled_down_and_never_up(folder):
    pictures = kept(folder / "large.mp4", ShardSettings(short_side=48))
    assert Image.open(io.BytesIO(pictures.jpegs[0])).size == (80, 48)
    assert (pictures.height, pictures.width) == (96, 160)
    pictures = kept(folder / "large.mp4", ShardSettings(short_side=480))
    assert Image.open(io.BytesIO(pictures.jpegs[0])).size == (160, 96)


def test_approximate_frames_are_at_most_a_quarter_of_a_second_late(folder):
    settings = ShardSettings(frames_per_second=10, approximate=True)
    times = np.array(kept(folder / "fast.mp4", settings).times_seconds)
    wanted = np.arange(19) / 10 + 1e-3
    late = wanted - times[np.searchsorted(times, wanted, side="right") - 1]
    assert late.max() <= 0.25
    exact = kept(folder / "fast.mp4", ShardSettings(frames_per_second=10)).times_seconds
    assert times.tolist() != exact


def test_sound_is_what_the_file_gives_to_16_bits(folder):
    sound = transcode(clip(folder / "fast.mp4"), ALL).sound
    exact = read_audio(folder / "fast.mp4", 0.0, 3.0, 16000)
    assert sound.first_sample == 0 and sound.rate_hz == 16000
    assert sound.valid == [[0, int(exact.valid.sum())]]  # all there is, also after the header's end
    expected = as_16_bits(exact.samples[: sound.num_samples])
    np.testing.assert_array_equal(samples_of(sound), expected)


def test_sound_of_a_stretch_is_numbered_on_the_clock_of_the_file(folder):
    stretch = clip(folder / "fast.mp4", start_seconds=0.30003, end_seconds=1.1)
    sound = transcode(stretch, ALL).sound
    first, stop = round(0.30003 * 16000), 17600 + 1  # windows round start and length
    assert sound.valid == [[first, stop]] and sound.first_sample == first
    exact = read_audio(folder / "fast.mp4", 0.0, 2.0, 16000).samples[first:stop]
    np.testing.assert_array_equal(samples_of(sound), as_16_bits(exact))


def test_sound_at_another_rate(folder):
    sound = transcode(clip(folder / "fast.mp4"), ShardSettings(rate_hz=8000)).sound
    exact = read_audio(folder / "fast.mp4", 0.0, 3.0, 8000)
    expected = as_16_bits(exact.samples[: sound.num_samples])
    np.testing.assert_array_equal(samples_of(sound), expected)


def test_sound_where_there_is_none_of_the_stretch(folder):
    stretch = clip(folder / "late_sound.mp4", start_seconds=1.0, end_seconds=1.5)
    sound = transcode(stretch, ALL).sound
    assert (sound.num_samples, sound.valid, sound.blocks) == (0, [], [])


def test_a_missing_stream_is_no_failure(folder):
    transcoded = transcode(clip(folder / "slow.mp4"), ALL)
    assert transcoded.sound is None and transcoded.failures == []


def test_a_file_that_cannot_be_read_is_noted_for_both_streams(folder):
    transcoded = transcode(clip(folder / "bad.mp4"), ALL)
    assert [modality for modality, _ in transcoded.failures] == ["video", "audio"]
    assert not transcoded.has_content(clip(folder / "bad.mp4"))


def test_sound_from_another_file(folder):
    stretch = clip(folder / "slow.mp4", audio_path=folder / "late_sound.mp4")
    transcoded = transcode(stretch, ALL)
    assert transcoded.sound.valid[0][0] == 0 and transcoded.failures == []
    assert transcoded.audio_duration_seconds == pytest.approx(2.0, abs=0.01)
    transcoded = transcode(clip(folder / "bad.mp4", audio_path=folder / "late_sound.mp4"), ALL)
    assert transcoded.pictures is None and transcoded.sound is not None
    assert [modality for modality, _ in transcoded.failures] == ["video"]
    transcoded = transcode(clip(folder / "slow.mp4", audio_path=folder / "bad.mp4"), ALL)
    assert transcoded.pictures is not None and transcoded.sound is None
    assert [modality for modality, _ in transcoded.failures] == ["audio"]
