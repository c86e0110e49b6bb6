"""What an examination measures: timing, motion, loudness, damage, and how much it looks at."""

import io
import pickle

import numpy as np
import pytest
from media_files import RATE, regular, tone, write_clip
from PIL import Image
from planted_faults import FAULTS, write

from sightsound.data.synthetic import draw_clip, plan
from sightsound.media import examine as module
from sightsound.media.decode import DecodeError
from sightsound.media.examine import NUM_POINTS, compare_sound, examine, thumbnail
from sightsound.media.packets import Packets


def drawn(number):
    """Frames (16, 64, 64, 3) and a wave of 2 s."""
    return draw_clip(list(plan("demo", numbers={"train": number + 1}, seed=3))[number])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    frames, wave = drawn(0)
    write(path, frames, np.stack([wave, 0.5 * wave]))
    return path


def test_a_healthy_clip(clip):
    health = examine(clip)
    video, audio = health.video, health.audio
    assert (health.problems, health.unreadable, health.unseen) == ((), (), "")
    assert (video.height, video.width, video.num_decoded) == (64, 64, 16)
    assert video.timing.start_seconds == 0.0
    assert video.timing.end_seconds == pytest.approx(2.0, abs=0.01)
    assert video.timing.uneven == 0.0 and video.timing.pause_seconds < 1e-6
    assert video.moving > 0.5 and video.change > 20 and video.contrast > 20
    assert audio.timing.end_seconds == pytest.approx(2.0, abs=0.1)
    left, right = audio.channels_db
    assert left - right == pytest.approx(6.0, abs=0.3)  # half as loud
    assert audio.mono_db == pytest.approx(left - 2.5, abs=0.3)  # .75 of it
    assert -30 < audio.loudest_db < 0
    assert len(audio.outline) == NUM_POINTS and max(audio.outline) > 25


def test_loudness_is_that_of_full_scale(tmp_path):
    write_clip(tmp_path / "tone.mp4", sound=tone(1.0))  # amplitude .5: -9 dB
    audio = examine(tmp_path / "tone.mp4").audio
    for level in (audio.loudest_db, *audio.channels_db, audio.mono_db):
        assert level == pytest.approx(-9.0, abs=0.3)


def test_a_stretch_of_a_file(clip):
    health = examine(clip, start_seconds=0.5, end_seconds=1.5)
    assert (health.start_seconds, health.end_seconds) == (0.5, 1.5)
    assert health.file_seconds == pytest.approx(2.0, abs=0.1)
    assert health.video.timing.num_packets == health.video.num_decoded == 8
    assert (health.video.timing.start_seconds, health.video.timing.end_seconds) == (0.5, 1.5)
    assert health.audio.timing.start_seconds == 0.5
    past = examine(clip, start_seconds=5.0)
    assert past.video is None and past.audio is None and past.end_seconds < 5.0


def test_sound_of_another_file(clip, tmp_path):
    sound = tmp_path / "sound.mp4"
    write_clip(sound, sound=tone(1.0))
    health = examine(clip, audio_path=sound)
    assert health.video is not None and len(health.audio.channels_db) == 1
    assert health.audio.timing.end_seconds == pytest.approx(1.0, abs=0.1)


def test_a_static_picture_is_still_and_a_noisy_one_is_not(tmp_path):
    frames, wave = drawn(2)
    FAULTS["static_picture"](tmp_path / "still.mp4", frames, wave)
    still = examine(tmp_path / "still.mp4").video
    assert still.moving == 0.0 and still.change <= 2


def test_channels_that_cancel_out(tmp_path):
    FAULTS["antiphase"](tmp_path / "a.mp4", *drawn(0))
    audio = examine(tmp_path / "a.mp4").audio
    assert min(audio.channels_db) > -30 and audio.mono_db < -50


def test_eight_channels_and_whole_numbers(tmp_path):
    samples = (np.ones((8, 1600)) * 0.25 * 32767).astype(np.int16)
    samples[4:] = 0
    path = tmp_path / "sound.wav"
    write_wav(path, samples, layout="7.1")
    audio = examine(path).audio
    assert audio.channels_db[:3] == pytest.approx([-12.0] * 3, abs=0.1)  # the fourth is LFE
    assert audio.channels_db[3:] == (-120.0,) * 4
    assert audio.mono_db == pytest.approx(-4.4, abs=0.1)  # .25 (2 x .7071 + 1)


def write_wav(path, samples, *, layout):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout=layout)
        packed = np.ascontiguousarray(samples.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate = RATE
        container.mux([*stream.encode(frame), *stream.encode(None)])


def test_damage_is_counted_once(tmp_path):
    FAULTS["damaged"](tmp_path / "d.mp4", *drawn(0))
    problems = examine(tmp_path / "d.mp4").problems
    assert len(problems) == 1 and problems[0].startswith("video: 3 damaged packet(s)")


def test_what_is_not_there_or_does_not_decode(tmp_path):
    frames, wave = drawn(0)
    FAULTS["no_sound"](tmp_path / "mute.mp4", frames, wave)
    FAULTS["no_pictures"](tmp_path / "blind.mp4", frames, wave)
    FAULTS["unreadable"](tmp_path / "broken.mp4", frames, wave)
    assert examine(tmp_path / "mute.mp4").audio is None
    assert examine(tmp_path / "blind.mp4").video is None
    with pytest.raises(DecodeError, match="broken.mp4"):
        examine(tmp_path / "broken.mp4")


# --- not more than needed -----------------------------------------------------------------------


def test_of_large_pictures_parts_are_decoded(tmp_path, monkeypatch):
    frames, wave = drawn(0)
    path = tmp_path / "clip.mp4"
    write_clip(path, frames=list(frames), times=regular(16, 8), options={"g": "4"}, sound=wave)
    whole = examine(path).video
    monkeypatch.setattr(module, "WHOLE_PIXELS", 10 * 64 * 64)
    monkeypatch.setattr(module, "PART_PIXELS", 8 * 64 * 64)
    health = examine(path)
    assert health.unseen == f"all but {health.video.num_decoded} of 16 pictures"
    assert 8 <= health.video.num_decoded <= 10
    assert health.video.timing == whole.timing
    assert health.video.decoded_seconds >= 12 / 8  # up to the last keyframe
    assert health.problems == () and health.video.moving > 0.5


def test_a_cut_off_end_is_found_where_only_the_start_is_decoded(tmp_path, monkeypatch):
    frames, wave = drawn(0)
    path = tmp_path / "clip.mp4"
    fast = {"movflags": "faststart"}
    write_clip(path, frames=list(frames), times=regular(16, 8), sound=wave, muxer=fast)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    monkeypatch.setattr(module, "WHOLE_PIXELS", 2 * 64 * 64)
    monkeypatch.setattr(module, "PART_PIXELS", 2 * 64 * 64)
    health = examine(path)
    assert health.video.num_decoded <= 2
    assert any("its header says 2.00 s" in problem for problem in health.problems)


def test_of_long_sound_parts_are_decoded(tmp_path, monkeypatch):
    path = tmp_path / "long.mp4"
    write_clip(path, sound=np.concatenate([0 * tone(2.0), tone(2.0)]))
    whole = examine(path).audio
    monkeypatch.setattr(module, "WHOLE_SECONDS", 2.0)
    monkeypatch.setattr(module, "PART_SECONDS", 0.25)
    health = examine(path)
    assert health.unseen == "all but 1 of 4 s of sound"
    assert health.audio.loudest_db == pytest.approx(whole.loudest_db, abs=0.2)
    heard = np.frombuffer(health.audio.outline, np.uint8) > 0
    assert 0 < heard.sum() < NUM_POINTS / 2


# --- packets ------------------------------------------------------------------------------------


def packets(times, lengths=None):
    count = len(times)
    lengths = np.zeros(count) if lengths is None else np.array(lengths)
    return Packets(np.array(times), lengths, np.ones(count, bool), np.ones(count, bool))


def test_timing_of_packets():
    steady = packets([0.0, 0.2, 0.1, 0.3]).timing(-np.inf, np.inf)  # stored in another order
    assert steady.end_seconds == pytest.approx(0.4) and steady.uneven == 0.0
    rounded = packets([0.0, 0.033, 0.067, 0.1]).timing(-np.inf, np.inf)
    assert rounded.uneven == 0.0
    paused = packets([0.0, 0.1, 0.2, 0.9, 1.0]).timing(-np.inf, np.inf)
    assert paused.pause_seconds == pytest.approx(0.6)
    assert paused.pause_at_seconds == pytest.approx(0.2)
    assert paused.uneven == pytest.approx(0.25)
    assert packets([0.0, np.nan, 0.1]).timing(5.0, 6.0) is None


def test_a_packet_is_shown_until_the_next():
    found = packets([0.0, 1.0, 2.0], [1.0, 1.0, 1.0]).inside(1.5, 2.0)
    assert found.tolist() == [False, True, False]


# --- what is kept -------------------------------------------------------------------------------


def test_health_travels_between_processes(clip):
    health = examine(clip)
    assert pickle.loads(pickle.dumps(health)) == health


def test_thumbnail(clip, tmp_path):
    picture = Image.open(io.BytesIO(thumbnail(clip, at_seconds=1.0, size=(30, 40))))
    assert (picture.format, picture.size) == ("JPEG", (40, 30))
    FAULTS["no_pictures"](tmp_path / "blind.mp4", *drawn(0))
    assert thumbnail(tmp_path / "blind.mp4", at_seconds=0.0, size=(8, 8)) == b""


def test_sound_is_compared_by_its_recording(clip, tmp_path):
    other = tmp_path / "other.mp4"
    write(other, *drawn(8)[:1], drawn(8)[1][None])  # the same class
    assert compare_sound((clip, 0.0, 2.0), (clip, 0.0, 2.0)) == pytest.approx(1.0, abs=0.01)
    assert compare_sound((clip, 0.0, 2.0), (other, 0.0, 2.0)) < 0.3
