"""What `media/sound.py` promises of sound placed in a window at another rate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightsound.media.sound import SoundWindow

RATES = [8000, 11025, 16000, 22050, 44100, 48000]
rates = st.sampled_from(RATES)
seeds = st.integers(0, 2**32)
starts = st.integers(0, 500).map(lambda number: number / 1000)  # seconds
spans = st.integers(1, 500).map(lambda number: number / 1000)

LEAK = 2e-4  # of full scale: what soxr lets through, and what the edge of the filter's view changes


def noise(rate: int, length_seconds: float, *, seed: int) -> np.ndarray:
    """(S,) float32 below half of full scale, without what the lower rate could not hold."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(length_seconds * rate)) / rate
    tones = generator.uniform(50.0, 3000.0, 5)
    return sum(np.sin(2 * np.pi * tone * time + tone) for tone in tones).astype(np.float32) / 10


def resampled(samples, *, rate, out_rate, start=0.0, stop=1.0, position=0, cuts=()):
    """samples (S,) and valid (S,) of a window into which pieces of `samples` were written."""
    window = SoundWindow(start, stop, out_rate)
    for low, high in zip([0, *cuts], [*cuts, len(samples)], strict=True):
        window.write(rate, position + low, samples[low:high])
    sound = window.result()
    return sound.samples, sound.valid


@given(rates, rates, starts, spans)
def test_as_many_samples_as_the_window_is_long(rate, out_rate, start, span):
    found, valid = resampled(
        noise(rate, 1.0, seed=0), rate=rate, out_rate=out_rate, start=start, stop=start + span
    )
    assert len(found) == len(valid) == round((start + span - start) * out_rate)
    assert found.dtype == np.float32 and valid.all()


@given(rates, rates, seeds, st.lists(st.integers(0, 7999), max_size=5).map(sorted))
def test_where_packets_are_cut_does_not_matter(rate, out_rate, seed, cuts):
    samples = noise(rate, 1.0, seed=seed)
    whole, cut = (resampled(samples, rate=rate, out_rate=out_rate, cuts=c) for c in ((), cuts))
    np.testing.assert_array_equal(whole, cut)


@given(rates, starts, spans, seeds)
def test_the_same_rate_changes_nothing(rate, start, span, seed):
    samples = noise(rate, 1.1, seed=seed)
    found, _ = resampled(samples, rate=rate, out_rate=rate, start=start, stop=start + span)
    first = round(start * rate)
    np.testing.assert_array_equal(found, samples[first : first + len(found)])


@given(rates, rates, starts, spans, seeds)
def test_where_the_window_starts_does_not_matter(rate, out_rate, start, span, seed):
    samples = noise(rate, 1.1, seed=seed)
    whole, _ = resampled(samples, rate=rate, out_rate=out_rate)
    part, _ = resampled(samples, rate=rate, out_rate=out_rate, start=start, stop=start + span)
    first = round(start * out_rate)
    expected = whole[first : first + len(part)]
    np.testing.assert_allclose(part[: len(expected)], expected, atol=LEAK)


@given(rates, rates, seeds, st.floats(-0.9, 0.9), st.floats(-0.9, 0.9))
def test_resampling_is_linear(rate, out_rate, seed, a, b):
    x, y = noise(rate, 1.0, seed=seed), noise(rate, 1.0, seed=seed + 1)
    mixed, _ = resampled((a * x + b * y).astype(np.float32), rate=rate, out_rate=out_rate)
    one, other = (resampled(z, rate=rate, out_rate=out_rate)[0] for z in (x, y))
    np.testing.assert_allclose(mixed, a * one + b * other, atol=2e-6)


@given(rates, rates, st.floats(50.0, 3000.0), st.floats(0.0, 6.28))
def test_a_tone_keeps_its_height_strength_and_time(rate, out_rate, tone_hz, phase):
    """Away from the ends, at which there is silence before and after the sound."""
    angle = 2 * np.pi * tone_hz * np.arange(rate) / rate + phase
    found, _ = resampled(np.sin(angle).astype(np.float32) / 2, rate=rate, out_rate=out_rate)
    inner = slice(out_rate // 10, -out_rate // 10)
    expected = np.sin(2 * np.pi * tone_hz * np.arange(out_rate) / out_rate + phase) / 2
    np.testing.assert_allclose(found[inner], expected[inner], atol=LEAK)


@given(rates, rates, st.integers(0, 1000), st.integers(1, 1000))
def test_what_is_not_there_is_silent_and_not_valid(rate, out_rate, begin_ms, length_ms):
    position, count = round(begin_ms * rate / 1000), max(1, round(length_ms * rate / 1000))
    samples = np.full(count, 0.5, np.float32)
    found, valid = resampled(samples, rate=rate, out_rate=out_rate, stop=2.0, position=position)
    assert not found[~valid].any()
    times, half = np.arange(len(valid)) / out_rate, 1 / rate
    inside = (times >= position / rate) & (times <= (position + count) / rate - half)
    outside = (times < position / rate - half) | (times >= (position + count) / rate + half)
    assert valid[inside].all() and not valid[outside].any()


@given(rates, rates, st.sets(st.integers(0, 7999), min_size=1, max_size=20))
def test_samples_that_are_not_numbers_are_lost_and_told(rate, out_rate, lost):
    samples = noise(rate, 1.0, seed=0)
    samples[list(lost)] = np.nan
    window = SoundWindow(0.0, 1.0, out_rate)
    window.write(rate, 0, samples)
    sound = window.result()
    found, valid = sound.samples, sound.valid
    assert np.isfinite(found).all() and not found[~valid].any()
    assert sound.problems[0].startswith(f"audio: {len(lost)} sample(s) are not numbers")
    if rate == out_rate:
        assert set(np.flatnonzero(~valid)) == lost


def test_the_tolerance_is_seen():
    """A window that is a sample late is told apart."""
    samples = noise(44100, 1.1, seed=0)
    whole, _ = resampled(samples, rate=44100, out_rate=16000)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(whole[1:], whole[:-1], atol=LEAK)
