"""Sound whose timestamps jitter is joined; sound that was lost leaves a hole."""

from fractions import Fraction

import av
import numpy as np
import pytest
from media_files import RATE, tone

from sightsound.media.sample_clock import Stamped, timed
from sightsound.media.sound import read_audio

LENGTH = 0.021


def times(stamps):
    frames = [Stamped(stamp, LENGTH, None) for stamp in stamps]
    return np.array([time for time, _ in timed(frames)])


REGULAR = np.arange(100) * LENGTH


@pytest.mark.parametrize("spread", [0.015, 0.04, 0.049])
def test_jitter_is_ignored(spread):
    noise = np.random.default_rng(0).uniform(-spread, spread, 100)
    found = times(REGULAR + noise)
    np.testing.assert_allclose(np.diff(found), LENGTH, atol=1e-12)


def test_bursts_are_jitter():
    """Four packets at a time have one stamp, that of their arrival."""
    np.testing.assert_allclose(np.diff(times(REGULAR[::4].repeat(4))), LENGTH)


@pytest.mark.parametrize("packets", [1, 3, 4])
@pytest.mark.parametrize("rounding", [1e-6, 1e-3])
def test_lost_packets_leave_a_hole(packets, rounding):
    stamps = REGULAR.copy()
    stamps[50:] += packets * LENGTH
    found = times((stamps / rounding).round() * rounding)
    np.testing.assert_allclose(found, stamps, atol=2e-3)


def test_losses_soon_after_one_another():
    stamps = REGULAR.copy()
    for place in (50, 52, 55):
        stamps[place:] += 2 * LENGTH
    np.testing.assert_allclose(times(stamps), stamps)


def test_a_loss_among_a_little_jitter():
    noise = np.random.default_rng(0).uniform(-0.004, 0.004, 100)
    stamps = REGULAR + 3 * LENGTH * (np.arange(100) >= 50)
    np.testing.assert_allclose(times(stamps + noise), stamps, atol=0.01)


def test_a_step_that_is_no_number_of_packets_is_joined_below_a_tenth_of_a_second():
    stamps = REGULAR + 0.052 * (np.arange(100) >= 50)
    np.testing.assert_allclose(times(stamps), REGULAR)
    stamps = REGULAR + 0.101 * (np.arange(100) >= 50)
    np.testing.assert_allclose(times(stamps), stamps)


def test_a_drift_is_mended_where_it_comes_to_a_tenth_of_a_second():
    """As ffmpeg's aresample=async=1: stamps that advance 1 % faster than the samples."""
    longer = np.arange(1000) * LENGTH
    found = times(longer * 1.01)
    steps = np.diff(found) - LENGTH
    assert (np.abs(steps) > 1e-9).sum() == 2  # 0.21 s in all
    np.testing.assert_allclose(steps.max(), 0.1, atol=1e-3)


def test_unknown_times_follow_the_last_frame():
    stamps = [0.0, np.nan, np.nan, 3 * LENGTH, 5.0, np.nan]
    expected = [0, LENGTH, 2 * LENGTH, 3 * LENGTH, 5.0, 5.0 + LENGTH]
    np.testing.assert_allclose(times(stamps), expected)
    np.testing.assert_allclose(times([np.nan, np.nan]), [0.0, LENGTH])


def write(path, codec, rate, *, late=None, lost=()):
    """Six seconds of a tone; `late` (seconds) is added to stamps; some packets are left out."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 128000
        kind = "s16" if codec in ("libopus", "mp2") else "fltp"
        packets = []
        sound = tone(6.0, rate)
        size = 1024 if codec == "aac" else 960
        for start in range(0, len(sound), size):
            chunk = np.ascontiguousarray(sound[None, start : start + size])
            if kind == "s16":
                chunk = (chunk * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(chunk, format=kind, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        last = -1
        for number, packet in enumerate(packets):
            if number in lost:
                continue
            if late is not None:
                more = round(late[number % len(late)] / packet.time_base)
                last = max(packet.pts + more, last + packet.time_base.denominator // 1000)
                packet.pts = packet.dts = last
            container.mux(packet)


KINDS = [
    ("mp4", "aac", 48000),
    ("mkv", "libopus", 48000),
    ("mkv", "aac", 48000),
    ("flv", "aac", 44100),
    ("ts", "mp2", 48000),
]


@pytest.mark.parametrize("suffix, codec, rate", KINDS)
def test_jitter_in_files(tmp_path, suffix, codec, rate):
    """ffmpeg, with and without aresample=async=1, gives the tone 70 dB above the rest."""
    path = tmp_path / f"a.{suffix}"
    write(path, codec, rate, late=np.random.default_rng(0).uniform(0.0, 0.03, 64))
    sound = read_audio(path, 0.0, 6.0)
    assert sound.valid[RATE : 4 * RATE].all() and sound.problems == ()
    middle = sound.samples[RATE : 4 * RATE] * np.hanning(3 * RATE)
    power = np.abs(np.fft.rfft(middle)) ** 2
    near = np.abs(np.fft.rfftfreq(3 * RATE, 1 / RATE) - 440) < 20
    assert 10 * np.log10(power[near].sum() / power[~near].sum()) > 45


@pytest.mark.parametrize("suffix, codec, rate", KINDS)
def test_holes_in_files(tmp_path, suffix, codec, rate):
    """Three packets are missing: 60 to 72 ms of sound, less what decoders make up."""
    path = tmp_path / f"a.{suffix}"
    write(path, codec, rate, lost=(100, 101, 102))
    sound = read_audio(path, 0.0, 5.5)
    missing = np.flatnonzero(~sound.valid[RATE:])
    assert 0.05 * RATE < len(missing) < 0.08 * RATE
    assert missing[-1] - missing[0] == len(missing) - 1
    assert not sound.samples[RATE:][missing].any()
