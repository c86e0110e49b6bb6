"""Fingerprints of sound: the same recording is found again, a similar one is not."""

import numpy as np
import pytest
import soxr

from sightsound.data.synthetic import draw_sound
from sightsound.media.fingerprint import (
    RATE_HZ,
    SAME_RECORDING,
    candidates,
    fingerprint,
    likeness,
)

RATE = 16000


def drawn(name, seed):
    return draw_sound(name, generator=np.random.default_rng(seed))


def altered(wave, *, delay=0, gain=1.0, noise=0.0):
    """Later by `delay` samples, softer, noisier by a share of its loudness."""
    generator = np.random.default_rng(0)
    hiss = noise * wave.std() * generator.standard_normal(len(wave) + delay)
    return (gain * (np.pad(wave, (delay, 0)) + hiss)).astype(np.float32)


def compared(first, second):
    return likeness(*(soxr.resample(wave, RATE, RATE_HZ) for wave in (first, second)))


@pytest.mark.parametrize("name", ["low_tone", "rising_chirp"])
@pytest.mark.parametrize(
    "change", [{}, {"gain": -0.2}, {"delay": 1500}, {"noise": 0.03}, {"delay": 777, "noise": 0.02}]
)
def test_a_copy_is_found(name, change):
    wave = drawn(name, 1)
    copy = altered(wave, **change)
    found = list(candidates([fingerprint(wave, RATE), fingerprint(copy, RATE)]))
    assert [pair[:2] for pair in found] == [(0, 1)]
    assert compared(wave, copy) > SAME_RECORDING


def test_other_rates_give_nearly_the_same_fingerprint():
    wave = drawn("rising_chirp", 1)
    bits = [
        np.unpackbits(np.frombuffer(fingerprint(soxr.resample(wave, RATE, rate), rate), np.uint8))
        for rate in (RATE, RATE_HZ, 44100)
    ]
    assert (bits[0] == bits[1]).mean() > 0.9 and (bits[0] == bits[2]).mean() > 0.9


def test_similar_sounds_are_no_copies():
    waves = [drawn("low_tone" if seed % 4 else "rising_chirp", seed) for seed in range(80)]
    pairs = list(candidates([fingerprint(wave, RATE) for wave in waves]))
    assert pairs  # or there is nothing to see here
    assert max(compared(waves[i], waves[j]) for i, j, _ in pairs) < SAME_RECORDING - 0.1


def test_two_tones_of_one_pitch_are_no_copies():
    t = np.arange(2 * RATE) / RATE
    tones = [
        (np.sin(2 * np.pi * 440 * t) + 0.05 * np.random.default_rng(s).standard_normal(len(t)))
        for s in (1, 2)
    ]
    assert compared(*(wave.astype(np.float32) for wave in tones)) < SAME_RECORDING


def test_what_is_too_short_matches_nothing():
    assert fingerprint(np.zeros(100, np.float32), RATE) == b""
    assert list(candidates([b"", b""])) == []
    assert list(candidates([])) == []
    assert likeness(np.zeros(10, np.float32), np.zeros(10, np.float32)) == 0.0


def test_every_pair_is_looked_at_across_blocks(monkeypatch):
    monkeypatch.setattr("sightsound.media.fingerprint._BLOCK", 2)
    wave = fingerprint(drawn("rising_chirp", 1), RATE)
    other = fingerprint(drawn("low_tone", 2), RATE)
    found = candidates([wave, other, b"", wave, wave])
    assert sorted(pair[:2] for pair in found) == [(0, 3), (0, 4), (3, 4)]
