"""What `media/clips.py` and `timeline/windows.py` promise of windows, for any lengths."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

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
from sightsound.timeline.windows import Grid

SLACK = 1e-9  # seconds: rounding of a few additions

seconds = st.floats(0.0, 1000.0)
lengths = st.floats(0.01, 100.0)
seeds = st.integers(0, 2**32)


def contains(outer: Window, inner: Window) -> bool:
    return (
        outer.start_seconds <= inner.start_seconds + SLACK
        and inner.stop_seconds <= outer.stop_seconds + SLACK
    )


@given(seconds, lengths, seeds)
def test_a_random_window_lies_in_the_clip_or_begins_with_it(duration, length, seed):
    window = random_window(duration, length, generator=np.random.default_rng(seed))
    assert window.length_seconds == pytest.approx(length)
    assert window.start_seconds == 0 or contains(Window(0.0, duration), window)
    assert window == random_window(duration, length, generator=np.random.default_rng(seed))


@given(seconds, lengths)
def test_a_centred_window_leaves_as_much_on_either_side(duration, length):
    window = centre_window(duration, length)
    assert window.length_seconds == pytest.approx(length)
    left, right = window.start_seconds, duration - window.stop_seconds
    assert left == pytest.approx(right, abs=1e-6) if duration > length else left == 0


@given(seconds, lengths, st.integers(2, 12))
def test_views_run_from_end_to_end_and_cover_the_clip_if_there_are_enough(duration, length, views):
    windows = uniform_windows(duration, length, views)
    starts = [window.start_seconds for window in windows]
    assert len(windows) == views and starts[0] == 0
    np.testing.assert_allclose(np.diff(starts), max(duration - length, 0) / (views - 1), atol=1e-9)
    if duration <= length:
        assert windows == [windows[0]] * views
        return
    assert windows[-1].stop_seconds == pytest.approx(duration)
    if views * length >= duration:
        for one, following in itertools.pairwise(windows):
            assert following.start_seconds <= one.stop_seconds + SLACK


@given(seconds, lengths, lengths, seeds)
def test_of_synchronous_windows_the_shorter_lies_in_the_longer(duration, video, audio, seed):
    generator = np.random.default_rng(seed)
    pair = sample_windows(
        duration, video, audio, mode="random", synchronous=True, generator=generator
    )
    inner, outer = sorted(pair, key=lambda window: window.length_seconds)
    assert contains(outer, inner)
    assert [w.length_seconds for w in pair] == [pytest.approx(video), pytest.approx(audio)]
    assert pair[0] == pair[1] if video == audio else True
    assert inner.start_seconds <= duration  # the shorter one meets what is there


@given(seconds, lengths, lengths, seeds)
def test_official_sound_begins_with_the_pictures(duration, video_length, audio_length, seed):
    generator = np.random.default_rng(seed)
    video, audio = sample_windows(
        duration, video_length, audio_length, mode="official", synchronous=True, generator=generator
    )
    assert video.start_seconds == audio.start_seconds
    assert audio.length_seconds == pytest.approx(audio_length)
    assert video.start_seconds == 0 or contains(Window(0.0, duration), video)


@given(seconds, lengths, st.integers(1, 40), st.none() | lengths, st.floats(0, 1e3))
def test_frames_lie_in_the_middles_of_equal_pieces(start, length, num_frames, stride, later):
    window = Window(start, start + length)
    times = frame_times(window, num_frames, stride)
    piece = length / num_frames if stride is None else stride
    assert times.shape == (num_frames,)
    np.testing.assert_allclose(np.diff(times), piece, atol=1e-9)
    assert times[0] - start == pytest.approx(piece / 2, abs=1e-9)
    if stride is None:
        assert start < times[0] and times[-1] < window.stop_seconds
    moved = frame_times(window.shifted(later), num_frames, stride)
    np.testing.assert_allclose(moved, times + later, atol=1e-9)


@given(st.lists(st.integers(0, 10**6), min_size=1), st.integers(0, 10**5), st.integers(1, 10**5))
def test_wrapped_times_go_on_at_the_start(ticks, start, length):
    """In whole 1024ths of a second, so that no time is rounded."""
    times, clip = (
        np.array(ticks) / 1024 + start / 1024,
        Window(start / 1024, (start + length) / 1024),
    )
    wrapped = wrapped_times(times, clip)
    assert (clip.start_seconds <= wrapped).all() and (wrapped < clip.stop_seconds).all()
    rounds = (times - wrapped) * 1024 / length
    assert (rounds == np.round(rounds)).all()
    inside = times < clip.stop_seconds
    assert (wrapped[inside] == times[inside]).all()
    assert (wrapped_times(wrapped, clip) == wrapped).all()


@given(st.integers(0, 500), st.integers(0, 300), st.integers(1, 100))
def test_wrapped_pieces_are_the_samples_one_after_the_other(start, count, length):
    pieces = wrapped_pieces(start, count, length)
    samples = [sample for piece in pieces for sample in range(*piece)]
    assert samples == [(start + number) % length for number in range(count)]


@given(st.integers(0, 9000), st.integers(1, 20_000), st.integers(50, 5000), st.data())
def test_a_grid_of_windows_covers_the_stretch_without_gaps(start, stretch, window, data):
    """In milliseconds."""
    hop = data.draw(st.integers(50, window))
    end = (start + stretch) / 1000
    grid = Grid(start / 1000, end, window / 1000, hop / 1000)
    windows = [grid.window(index) for index in range(grid.num_windows)]
    assert windows[0].start_seconds == grid.start_seconds
    assert windows[-1].stop_seconds == end  # the first that reaches it
    assert all(each.stop_seconds < end for each in windows[:-1])
    assert all(each.length_seconds == pytest.approx(window / 1000) for each in windows[:-1])
    for one, following in itertools.pairwise(windows):
        assert following.start_seconds - one.start_seconds == pytest.approx(hop / 1000)
        assert following.start_seconds <= one.stop_seconds + SLACK


@given(lengths, lengths)
def test_a_grid_with_gaps_is_refused(window, hop):
    assume(hop > window)
    with pytest.raises(ValueError, match="a hop of at least 0.01 s and not above the window"):
        Grid(0.0, 1.0, window, hop)
