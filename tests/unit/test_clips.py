import numpy as np
import pytest

from sightsound.media.clips import (
    Window,
    centre_window,
    frame_times,
    random_window,
    sample_windows,
    uniform_windows,
    wrapped_pieces,
    wrapped_times,
)


def generator(seed=0):
    return np.random.default_rng(seed)


def test_random_windows_cover_the_clip_and_stay_inside():
    draws = generator()
    starts = np.array([random_window(10.0, 4.0, generator=draws).start_seconds for _ in range(500)])
    assert starts.min() >= 0.0 and starts.max() <= 6.0
    assert starts.min() < 0.1 and starts.max() > 5.9
    assert abs(starts.mean() - 3.0) < 0.3


def test_same_generator_same_window():
    assert random_window(10.0, 4.0, generator=generator(3)) == random_window(
        10.0, 4.0, generator=generator(3)
    )


def test_centre_window():
    assert centre_window(10.0, 4.0) == Window(3.0, 7.0)
    assert centre_window(10.0, 4.0).length_seconds == 4.0


def test_clip_shorter_than_the_window_starts_at_zero():
    expected = Window(0.0, 4.0)
    assert random_window(1.0, 4.0, generator=generator()) == expected
    assert centre_window(1.0, 4.0) == expected
    assert uniform_windows(1.0, 4.0, 3) == [expected] * 3
    assert centre_window(0.0, 4.0) == expected


def test_uniform_windows_run_from_the_first_to_the_last():
    windows = uniform_windows(10.0, 4.0, 4)
    assert [w.start_seconds for w in windows] == [0.0, 2.0, 4.0, 6.0]
    assert {w.length_seconds for w in windows} == {4.0}
    assert uniform_windows(10.0, 4.0, 1) == [centre_window(10.0, 4.0)]


def test_frame_times_are_the_middles_of_equal_pieces():
    np.testing.assert_allclose(frame_times(Window(2.0, 10.0), 4), [3.0, 5.0, 7.0, 9.0])
    np.testing.assert_allclose(frame_times(Window(0.0, 1.0), 1), [0.5])


def test_frame_times_with_a_stride():
    times = frame_times(Window(2.0, 2.5), 3, stride_seconds=0.25)
    np.testing.assert_allclose(times, [2.125, 2.375, 2.625])
    assert times.dtype == np.float64


def test_eight_frames_of_the_paper_are_t_times_25_over_8_frames_apart():
    times = frame_times(Window(0.0, 8.0), 8)
    np.testing.assert_allclose(np.diff(times) * 25, 8 * 25 / 8)


def test_synchronous_windows_of_equal_length_are_the_same():
    video, audio = sample_windows(
        10.0, 4.0, 4.0, mode="random", synchronous=True, generator=generator()
    )
    assert video == audio


@pytest.mark.parametrize("duration", [0.5, 3.0, 5.0, 20.0])
@pytest.mark.parametrize(("video_length", "audio_length"), [(2.0, 4.0), (4.0, 2.0)])
def test_synchronous_shorter_window_lies_inside_the_longer(duration, video_length, audio_length):
    draws = generator()
    for _ in range(50):
        video, audio = sample_windows(
            duration, video_length, audio_length, mode="random", synchronous=True, generator=draws
        )
        assert video.length_seconds == pytest.approx(video_length)
        assert audio.length_seconds == pytest.approx(audio_length)
        outer, inner = (video, audio) if video_length > audio_length else (audio, video)
        assert outer.start_seconds <= inner.start_seconds
        assert inner.stop_seconds <= outer.stop_seconds + 1e-9
        assert inner.start_seconds < duration  # the shorter one always meets content


def test_asynchronous_windows_differ():
    video, audio = sample_windows(
        10.0, 4.0, 4.0, mode="random", synchronous=False, generator=generator()
    )
    assert video != audio


def test_centred_windows_need_no_generator_and_share_their_centre():
    video, audio = sample_windows(10.0, 2.0, 4.0, mode="centre", synchronous=True)
    assert video == Window(4.0, 6.0) and audio == Window(3.0, 7.0)


def official(duration, draws, *, synchronous=True):
    return sample_windows(
        duration, 2.56, 8.0, mode="official", synchronous=synchronous, generator=draws
    )


def test_official_audio_window_starts_with_the_video_window_and_may_run_past_the_end():
    draws = generator()
    pairs = [official(10.0, draws) for _ in range(500)]
    starts = np.array([video.start_seconds for video, _ in pairs])
    assert all(video.start_seconds == audio.start_seconds for video, audio in pairs)
    assert all(video.length_seconds == pytest.approx(2.56) for video, _ in pairs)
    assert all(audio.length_seconds == pytest.approx(8.0) for _, audio in pairs)
    # Any place of the video window, so up to .744 of the clip; the sound ends by 15.44 s.
    assert 0.0 <= starts.min() < 0.1 and 7.3 < starts.max() <= 7.44
    assert starts.mean() == pytest.approx(3.72, abs=0.3)
    assert np.mean([audio.stop_seconds > 10.0 for _, audio in pairs]) > 0.6


def test_official_windows_of_a_short_clip_start_at_zero():
    assert official(1.0, generator()) == (Window(0.0, 2.56), Window(0.0, 8.0))


def test_official_windows_that_are_not_synchronous_are_drawn_apart():
    draws = generator()
    pairs = [official(10.0, draws, synchronous=False) for _ in range(200)]
    assert max(audio.stop_seconds for _, audio in pairs) <= 10.0
    assert len({video.start_seconds - audio.start_seconds for video, audio in pairs}) == 200


def test_wrapped_times_go_on_at_the_start():
    clip = Window(5.0, 8.0)
    times = wrapped_times(np.array([5.0, 7.5, 8.0, 9.25, 14.5]), clip)
    np.testing.assert_allclose(times, [5.0, 7.5, 5.0, 6.25, 5.5])
    assert wrapped_times(np.array([1.0]), Window(5.0, 5.0)).tolist() == [1.0]  # nothing to go on


@pytest.mark.parametrize(
    ("start", "count", "expected"),
    [
        (2, 5, [(2, 7)]),
        (2, 8, [(2, 10)]),
        (7, 8, [(7, 10), (0, 5)]),
        (0, 25, [(0, 10), (0, 10), (0, 5)]),
        (8, 15, [(8, 10), (0, 10), (0, 3)]),
        (12, 3, [(2, 5)]),
    ],
)
def test_wrapped_pieces(start, count, expected):
    pieces = wrapped_pieces(start, count, 10)
    assert pieces == expected
    samples = [sample for piece in pieces for sample in range(*piece)]
    assert samples == [(start + k) % 10 for k in range(count)]


def test_shifted():
    assert Window(1.0, 2.0).shifted(5.0) == Window(6.0, 7.0)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="duration, length: got 5.0, 0.0; accepted"):
        centre_window(5.0, 0.0)
    with pytest.raises(ValueError, match="duration, length: got nan, 1.0; accepted"):
        centre_window(float("nan"), 1.0)
    with pytest.raises(ValueError, match="num_views: got 0; accepted: 1 or more"):
        uniform_windows(5.0, 1.0, 0)
    with pytest.raises(ValueError, match="num_frames: got 0; accepted: 1 or more"):
        frame_times(Window(0.0, 1.0), 0)
    with pytest.raises(ValueError, match="length: got 0; accepted: 1 or more"):
        wrapped_pieces(0, 5, 0)
    with pytest.raises(ValueError, match="got 'middle'; accepted: 'random', 'centre', 'start'"):
        sample_windows(5.0, 1.0, 1.0, mode="middle", synchronous=True)
    with pytest.raises(ValueError, match="generator: got None; mode 'random' needs one"):
        sample_windows(5.0, 1.0, 1.0, mode="random", synchronous=True)
