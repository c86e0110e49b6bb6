import av
import numpy as np
import pytest

from sightsound.media.encode import write_frames, write_video
from sightsound.media.frames import read_frame_times, read_frames
from sightsound.media.probe import probe
from sightsound.media.sound import read_audio


def clip(num_frames=8, height=32, width=48):
    rows, columns = np.mgrid[:height, :width]
    frames = [np.stack([rows * 4, columns * 4, rows * 0 + 20 * k], -1) for k in range(num_frames)]
    return np.stack(frames).astype(np.uint8)


def tone(num_samples, rate=16000):
    return (0.4 * np.sin(2 * np.pi * 300 * np.arange(num_samples) / rate)).astype(np.float32)


def test_what_is_written_is_read_back(tmp_path, capfd):
    path = tmp_path / "clip.mp4"
    write_video(path, clip(), frames_per_second=8, waveform=tone(16000), crf=4)
    info = probe(path)
    assert (info.video.codec, info.audio.codec) == ("h264", "aac")
    assert info.video.frames_per_second == 8 and info.audio.rate_hz == 16000
    assert info.duration_seconds == pytest.approx(1.0, abs=0.07)
    found = read_frames(path, np.arange(8) / 8, (32, 48))
    assert found.valid.all()
    error = np.abs(found.pixels.transpose(0, 2, 3, 1).astype(int) - clip())
    assert error.mean() < 4
    sound = read_audio(path, 0.0, 1.0)
    assert sound.valid.all()
    np.testing.assert_allclose(sound.samples[2000:14000], tone(16000)[2000:14000], atol=0.03)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("rate", [8, 10, 29.97, 30000 / 1001, 0.5])
def test_frame_rate(tmp_path, rate):
    path = tmp_path / "clip.mp4"
    write_video(path, clip(), frames_per_second=rate, waveform=None)
    np.testing.assert_allclose(read_frame_times(path), np.arange(8) / rate, atol=1e-3)


def test_without_sound_there_is_no_audio_stream(tmp_path):
    for name, waveform in (("none.mp4", None), ("empty.mp4", np.zeros(0, np.float32))):
        write_video(tmp_path / name, clip(), frames_per_second=8, waveform=waveform)
        assert probe(tmp_path / name).missing == ("audio",)


def test_other_sampling_rate_and_double_precision(tmp_path):
    path = tmp_path / "clip.mp4"
    sound = tone(44100, rate=44100).astype(np.float64)
    write_video(path, clip(), frames_per_second=8, waveform=sound, rate_hz=44100)
    assert probe(path).audio.rate_hz == 44100
    read = read_audio(path, 0.0, 1.0).samples
    np.testing.assert_allclose(read[2000:14000], tone(16000)[2000:14000], atol=0.03)


def test_same_input_same_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, clip(), frames_per_second=8, waveform=tone(16000))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_frames_that_come_one_at_a_time_make_the_same_file(tmp_path):
    write_video(tmp_path / "a.mp4", clip(), frames_per_second=8, waveform=tone(16000))
    write_frames(
        tmp_path / "b.mp4", iter(clip()), size=(32, 48), frames_per_second=8, waveform=tone(16000)
    )
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_the_file_plays_while_it_loads(tmp_path):
    """The index comes first, and what is heard at a time lies near what is seen then."""
    path = tmp_path / "clip.mp4"
    write_video(path, clip(num_frames=240), frames_per_second=8, waveform=tone(480000))
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    latest = {"video": 0.0, "audio": 0.0}
    with av.open(str(path)) as container:
        places = sorted(
            (packet.pos, float(packet.pts * packet.time_base), packet.stream.type)
            for packet in container.demux()
            if packet.pts is not None
        )
    for _, time, kind in places:
        latest[kind] = time
        assert abs(latest["video"] - latest["audio"]) < 1.5


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise RuntimeError("disk full")

    monkeypatch.setattr("sightsound.media.encode._encoded", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        write_video(path, clip(), frames_per_second=8, waveform=tone(16000))
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]
    assert path.read_bytes() == b"old"


def test_mistakes_are_named(tmp_path):
    def write(frames, **arguments):
        settings = {"frames_per_second": 8, "waveform": None} | arguments
        write_video(tmp_path / "clip.mp4", frames, **settings)

    with pytest.raises(ValueError, match=r"frames: got shape \(8, 32, 48\), uint8; accepted: \(T"):
        write(clip()[..., 0])
    with pytest.raises(ValueError, match="frames: got height 31 and width 48; .* even numbers"):
        write(clip()[:, 1:])
    with pytest.raises(ValueError, match="frames_per_second: got 0; accepted: above 0"):
        write(clip(), frames_per_second=0)
    with pytest.raises(
        ValueError, match=r"waveform: got shape \(2, 5\), float64; accepted: \(S,\)"
    ):
        write(clip(), waveform=np.zeros((2, 5)))
    with pytest.raises(ValueError, match="rate_hz: got 17; AAC knows"):
        write(clip(), waveform=np.zeros(5), rate_hz=17)
    assert list(tmp_path.iterdir()) == []
