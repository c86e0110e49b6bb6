"""Which frame is shown when, from wherever decoding starts, and what damage costs."""

import av
import numpy as np
import pytest
from media_files import grey, levels_at, regular, tone, write_clip

from sightsound.media import frames as frames_module
from sightsound.media.encode import write_video
from sightsound.media.frames import read_frame_times, read_frames


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
    assert frames.valid.tolist() == [False, True, True, False]  # held while there is sound


def test_the_end_of_the_stream_is_not_part_of_it(tmp_path):
    path = tmp_path / "clip.mp4"
    frames = np.stack([grey(level) for level in (20, 60, 100, 140)])
    write_video(path, frames, frames_per_second=4, waveform=None)
    _, found = levels_at(path, [0.999, 1.0])
    assert found.valid.tolist() == [True, False]


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
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "flv"])
def test_starting_at_a_keyframe_gives_the_same_frames(tmp_path, x264, suffix, monkeypatch):
    path = tmp_path / f"clip.{suffix}"
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    frames = [np.roll(noise, k, axis=1) for k in range(96)]
    write_clip(path, frames=frames, times=regular(96), options={"crf": "20", "x264-params": x264})
    wanted = generator.uniform(0.0, 4.0, (8, 2))
    quick = [read_frames(path, times, (48, 64)) for times in wanted]
    monkeypatch.setattr(frames_module, "_MARKED_CONTAINERS", frozenset())
    for times, found in zip(wanted, quick, strict=True):
        slow = read_frames(path, times, (48, 64))
        np.testing.assert_array_equal(found.times_seconds, slow.times_seconds)
        np.testing.assert_array_equal(found.pixels, slow.pixels)


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


def test_truncated_file_gives_what_it_has_and_says_so(tmp_path):
    path = tmp_path / "clip.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (48, 48, 64, 3), dtype=np.uint8)
    frames = list(noise)
    write_clip(path, frames=frames, times=regular(48), muxer={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = read_frames(path, np.array([0.2, 1.9]), (48, 64))
    assert found.valid.tolist() == [True, False]
    assert any("its header says 2.00 s" in problem for problem in found.problems)


# --- approximate --------------------------------------------------------------------------------


def moving(tmp_path, **kwargs):
    """72 frames, 24 per second, each with its number as grey level; most are B frames."""
    path = tmp_path / "moving.mp4"
    levels = [3 * k for k in range(72)]
    options = {"crf": "8", "bf": "3", "b-pyramid": "normal", "b-adapt": "0", "preset": "medium"}
    write_clip(path, levels=levels, times=regular(72), **{"options": options} | kwargs)
    return path


def test_approximate_frames_are_at_most_a_quarter_second_late(tmp_path):
    path, wanted = moving(tmp_path), np.arange(0.0, 3.0, 0.1)
    exact, rough = (read_frames(path, wanted, (48, 64), approximate=a) for a in (False, True))
    late = exact.times_seconds - rough.times_seconds
    assert 0 < late.max() <= 0.25 and late.min() >= 0
    assert (late > 0.01).sum() > len(late) / 4, "nothing was left out"
    assert rough.valid.all()
    assert np.abs(rough.pixels.mean(axis=(1, 2, 3)) - 3 * 24 * rough.times_seconds).max() < 4


def test_approximate_keeps_what_is_valid_at_the_end(tmp_path):
    wanted = np.array([2.9, 2.99, 3.01, 3.2])
    frames = read_frames(moving(tmp_path), wanted, (48, 64), approximate=True)
    assert frames.valid.tolist() == [True, True, False, False]


def test_approximate_is_exact_where_every_frame_stands_alone(tmp_path):
    path = moving(tmp_path, codec="mpeg4", options={"bf": "0", "g": "1"})
    wanted = np.arange(0.0, 3.0, 0.1)
    exact, rough = (read_frames(path, wanted, (48, 64), approximate=a) for a in (False, True))
    assert (exact.times_seconds == rough.times_seconds).all()
    assert (exact.pixels == rough.pixels).all()


def test_approximate_decodes_all_where_too_much_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("sightsound.media.frames._MAX_LATE", 0.01)
    path, wanted = moving(tmp_path), np.arange(0.0, 3.0, 0.1)
    exact, rough = (read_frames(path, wanted, (48, 64), approximate=a) for a in (False, True))
    assert (exact.times_seconds == rough.times_seconds).all()


# --- skipped frames ------------------------------------------------------------------------------


def decoded_and_plain(path, wanted, monkeypatch):
    """The frames as always, the number decoded for them, and the frames without skipping any."""
    counts = []
    decode = frames_module.VideoTrack.decode

    def counting(track, packet):
        for frame in decode(track, packet):
            counts.append(frame.pts)
            yield frame

    with monkeypatch.context() as patch:
        patch.setattr(frames_module.VideoTrack, "decode", counting)
        frames = read_frames(path, wanted, (48, 64))
    with monkeypatch.context() as patch:
        patch.setattr(frames_module, "SHORTCUTS", frames_module.SHORTCUTS[1:])
        return frames, len(counts), read_frames(path, wanted, (48, 64))


def assert_same_frames(first, second):
    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.times_seconds, second.times_seconds)
    np.testing.assert_array_equal(first.valid, second.valid)
    assert first.problems == second.problems


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_skipping_changes_no_other_frame(tmp_path, monkeypatch, codec):
    options = {"crf": "8", "preset": "medium"}
    options |= {"x265-params": "bframes=3:log-level=none"} if codec == "libx265" else {"bf": "3"}
    path = moving(tmp_path, codec=codec, options=options)
    for wanted in (np.arange(8) * 0.31, np.arange(72) / 24, np.array([-0.1, 1.37, 2.99, 3.2])):
        frames, number, plain = decoded_and_plain(path, wanted, monkeypatch)
        assert_same_frames(frames, plain)
        assert len(wanted) == 72 or number < 60, "nothing was skipped"


def test_frames_come_in_order_where_times_are_not_stored(tmp_path, monkeypatch):
    """In AVI packets have the times of decoding: those of B frames are not when they are shown."""
    path = tmp_path / "clip.avi"
    options = {"crf": "8", "x264-params": "keyint=48:bframes=3:b-adapt=0:scenecut=0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height = 64, 48
        for number in range(48):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(5 * number))))
        container.mux(stream.encode(None))
    for start in np.arange(0.0, 1.9, 0.1):
        wanted = start + np.array([0.0, 0.04])
        ours = read_frames(path, wanted, (48, 64))
        with monkeypatch.context() as patch:
            patch.setattr(frames_module, "SHORTCUTS", frames_module.SHORTCUTS[2:])
            all_decoded = read_frames(path, wanted, (48, 64))
        np.testing.assert_array_equal(ours.times_seconds, all_decoded.times_seconds)
        np.testing.assert_array_equal(ours.pixels, all_decoded.pixels)
    times = read_frame_times(path)
    np.testing.assert_allclose(times, times[0] + np.arange(48) / 25)
    shown = read_frames(path, times, (48, 64)).pixels.mean((1, 2, 3))
    np.testing.assert_allclose(shown, 5.0 * np.arange(48), atol=4)


def test_skipping_is_given_up_where_a_packet_is_damaged(tmp_path, monkeypatch):
    """The frame before a lost one is shown instead: it may be one that was to be skipped."""
    path = moving(tmp_path, spoil=(20, 21, 22, 23, 24, 25))
    wanted = np.array([0.2, *np.arange(16, 32, 2) / 24, 2.0])
    frames, _, plain = decoded_and_plain(path, wanted, monkeypatch)
    assert_same_frames(frames, plain)
    assert (wanted - plain.times_seconds).max() > 1.5 / 24, "no frame that was wanted is lost"


def test_everything_is_decoded_where_skipping_gave_another_frame(tmp_path, monkeypatch):
    monkeypatch.setattr(frames_module.SkipNonref, "is_right", lambda *_: False)
    frames, number, plain = decoded_and_plain(moving(tmp_path), np.arange(8) * 0.31, monkeypatch)
    assert_same_frames(frames, plain)
    assert number > 60
