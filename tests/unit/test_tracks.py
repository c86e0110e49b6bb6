"""Of several tracks the default one is taken, and told; a last picture holds under the sound."""

import av
import numpy as np
import pytest
from av.stream import Disposition
from media_files import RATE, grey, tone, write_clip, write_sound

from sightsound.config.settings import ShardSettings
from sightsound.data.rows import Row
from sightsound.data.shards.transcode import transcode
from sightsound.doctor.clips import clip_findings
from sightsound.media import decode
from sightsound.media.examine import examine
from sightsound.media.frames import read_frames
from sightsound.media.sequential import SequentialReader
from sightsound.media.sound import read_audio

LEVELS, HERTZ = (40, 200), (400.0, 1000.0)


def write_tracks(path, default, *, codecs=("aac", "aac")):
    """Two tracks of pictures and two of sound; the one numbered `default` is marked."""
    with av.open(str(path), "w") as container:
        videos, audios = [], []
        for _ in LEVELS:
            stream = container.add_stream("mpeg4", rate=10)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
            videos.append(stream)
        for codec in codecs:
            audios.append(container.add_stream(codec, rate=RATE, layout="mono"))
        for streams in (videos, audios):
            for number, stream in enumerate(streams):
                stream.disposition = Disposition.default if number == default else Disposition(0)
        for stream, level in zip(videos, LEVELS, strict=True):
            for k in range(20):
                frame = av.VideoFrame.from_ndarray(grey(level), format="rgb24")
                frame.pts = k
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        for stream, hertz in zip(audios, HERTZ, strict=True):
            write_sound(container, stream, tone(2.0, hertz=hertz), 0)
    return path


def seen_and_heard(path):
    level = read_frames(path, np.array([1.0]), (8, 8)).pixels.mean()
    samples = read_audio(path, 0.5, 1.5).samples
    return level, np.abs(np.fft.rfft(samples)).argmax()


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("default", [0, 1])
def test_the_default_track_is_taken(tmp_path, suffix, default):
    path = write_tracks(tmp_path / f"clip.{suffix}", default)
    level, hertz = seen_and_heard(path)
    assert level == pytest.approx(LEVELS[default], abs=5)
    assert hertz == pytest.approx(HERTZ[default], abs=2)
    words = f"track {default + 1} of 2 is taken, marked as default"
    assert examine(path).choices == (f"video: {words}", f"audio: {words}")
    found = {f.issue: f.detail for f in clip_findings(Row("a", path, ("dog",)), examine(path))}
    assert words in found["several_tracks"]


def test_without_a_default_it_is_the_first(tmp_path):
    path = write_tracks(tmp_path / "clip.mkv", None)
    assert seen_and_heard(path)[1] == pytest.approx(HERTZ[0], abs=2)
    assert examine(path).choices[0] == "video: track 1 of 2 is taken, the first that decodes"


def test_a_default_that_does_not_decode_gives_way(tmp_path):
    """As the Iphone's spatial sound, beside a plain track."""
    path = write_tracks(tmp_path / "clip.mkv", 0, codecs=("libmp3lame", "aac"))
    data = path.read_bytes().replace(b"A_MPEG/L3", b"A_XPEG/L3")
    path.write_bytes(data)
    assert seen_and_heard(path)[1] == pytest.approx(HERTZ[1], abs=2)


def test_one_track_of_each_kind_is_not_worth_a_word(tmp_path):
    write_clip(tmp_path / "a.mp4", levels=[50] * 20, times=np.arange(20) / 10, sound=tone(2.0))
    health = examine(tmp_path / "a.mp4")
    assert health.choices == () and health.joined == ()


# The last picture


def still(path, *, seconds=4.0, untagged=False):
    """One picture, which the file says is short, under a tone (a song with its cover, say)."""
    write_clip(path, levels=[90], times=[0.0], sound=tone(seconds))
    if untagged:
        path.write_bytes(path.read_bytes().replace(b"DURATION", b"NOTATION"))
    return path


@pytest.mark.parametrize(
    "name, untagged", [("a.mp4", 0), ("a.mkv", 0), ("a.mkv", 1), ("a.ts", 0), ("a.flv", 0)]
)
def test_a_picture_holds_while_the_sound_goes_on(tmp_path, name, untagged):
    path = still(tmp_path / name, untagged=untagged)
    times = np.array([0.2, 1.0, 3.9, 4.3])
    frames = read_frames(path, times, (8, 8))
    assert frames.valid.tolist() == [True, True, True, False]
    assert frames.problems == ()
    assert np.abs(frames.pixels.astype(int) - 90).max() < 5
    approximate = read_frames(path, times, (8, 8), approximate=True)
    np.testing.assert_array_equal(approximate.valid, frames.valid)
    in_one_pass = SequentialReader(path, times).frames(path, times, (8, 8))
    np.testing.assert_array_equal(in_one_pass.valid, frames.valid)
    pictures = transcode(Row(path.name, path, ()), ShardSettings()).pictures
    assert pictures.end_seconds == pytest.approx(4.0, abs=0.1) and len(pictures.jpegs) == 1


def test_it_holds_up_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "HOLD_SECONDS", 2.0)
    frames = read_frames(still(tmp_path / "a.mp4"), np.array([1.9, 2.2]), (8, 8))
    assert frames.valid.tolist() == [True, False]


def test_pictures_that_are_missing_are_not_made_up(tmp_path):
    """The header promises six seconds of pictures; the file was cut off, its sound lies apart."""
    path = tmp_path / "a.mkv"
    write_clip(path, levels=[90] * 60, times=np.arange(60) / 10, codec="mpeg4")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    frames = read_frames(path, np.array([0.5, 5.5]), (8, 8))
    assert frames.valid.tolist() == [True, False]
    assert "its header says" in frames.problems[0]


def test_without_sound_the_last_picture_ends_with_its_stream(tmp_path):
    write_clip(tmp_path / "a.mp4", levels=[90] * 10, times=np.arange(10) / 10)
    frames = read_frames(tmp_path / "a.mp4", np.array([0.9, 1.2]), (8, 8))
    assert frames.valid.tolist() == [True, False]
