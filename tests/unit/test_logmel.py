"""Log-mel: where a tone lands, padding and validity, what the four front ends share."""

import dataclasses
import math
import re
from pathlib import Path

import pytest
import torch

from sightsound.media.front_end import AudioFrontEnd, FrontEnd
from sightsound.media.logmel import (
    FRONT_ENDS,
    clip_log_mel,
    front_end,
    log_mel,
    mel_matrix,
    samples_for,
)
from sightsound.media.sound import read_audio

NAMES = sorted(FRONT_ENDS)
SMALL = AudioFrontEnd(num_mels=32, num_frames=20, log_offset=1e-6)


def tone(frequency_hz: float, num_samples: int) -> torch.Tensor:
    return 0.5 * torch.sin(torch.arange(num_samples) * (2 * math.pi * frequency_hz / 16000))


@pytest.mark.parametrize("name", NAMES)
def test_shape_and_validity(name: str):
    audio = front_end(name).audio
    samples = 0.1 * torch.randn(samples_for(audio))
    spectrogram, valid = clip_log_mel(samples, torch.ones(len(samples), dtype=torch.bool), audio)
    assert spectrogram.shape == (1, audio.num_frames, audio.num_mels)
    assert spectrogram.dtype == torch.float32 and spectrogram.isfinite().all()
    assert valid.shape == (audio.num_frames,) and valid.all()
    # with Kaldi the mean is taken twice, and the logarithm magnifies that near its floor
    torch.testing.assert_close(spectrogram[0], log_mel(samples, audio), rtol=0, atol=2e-3)


def test_a_tone_lands_in_its_bin_and_time():
    audio = FRONT_ENDS["mbt"].audio
    samples = torch.zeros(16000)
    samples[8000:] = tone(1000.0, 8000)
    spectrogram = log_mel(samples, audio)
    assert spectrogram.shape == (98, 128)
    loudest = spectrogram[80].argmax()
    assert loudest == mel_matrix(audio)[round(1000 / 16000 * 512)].argmax()
    # sample 8000 enters the window of frame 48, [7680, 8080), as the first one
    assert spectrogram[:48].max() < math.log(0.0011) and spectrogram[48].max() > -1


def test_leading_dimensions_are_kept():
    samples = torch.randn(2, 3, 4000)
    spectrogram = log_mel(samples, SMALL)
    assert spectrogram.shape == (2, 3, 23, 32)
    torch.testing.assert_close(spectrogram[1, 2], log_mel(samples[1, 2], SMALL))


@pytest.mark.parametrize("name", NAMES)
def test_amplitude_enters_as_the_spectrum_says(name: str):
    """Ten times louder: + ln 10 for magnitudes, + 2 ln 10 for powers, without offsets."""
    audio = dataclasses.replace(FRONT_ENDS[name].audio, log_offset=0.0, log_floor=0.0)
    samples = torch.randn(8000, dtype=torch.float64)
    difference = log_mel(10 * samples, audio) - log_mel(samples, audio)
    expected = math.log(10) * (2 if audio.spectrum == "power" else 1)
    filled = mel_matrix(audio).sum(0) > 0  # AST's bin 3 is empty
    torch.testing.assert_close(
        difference[:, filled], torch.full_like(difference[:, filled], expected)
    )


def test_mbt_states_what_the_paper_does():
    """Section 4.2: 16 kHz, 25 ms Hamming, 10 ms, 128 bins, 8 s; official mean and deviation."""
    audio = FRONT_ENDS["mbt"].audio
    given = (audio.rate_hz, audio.window_samples, audio.hop_samples, audio.num_mels)
    assert given == (16000, 0.025 * 16000, 0.010 * 16000, 128)
    assert audio.window == "hamming" and audio.window_seconds == 8
    assert (audio.mean, audio.deviation) == (1.102, 2.762)


@pytest.mark.data
def test_mbt_is_near_the_official_statistics(test_data: Path):
    """What the factor 16 is for: real clips near the official mean 1.102 and deviation 2.762."""
    audio = FRONT_ENDS["mbt"].audio
    paths = [
        path
        for name in ("avmnist", "drone_av")
        for path in sorted((test_data / "data" / name / "val").rglob("*.mp4"))[::8]
    ]
    sounds = [read_audio(path, 0.0, 1.0).samples for path in paths]
    values = torch.cat([log_mel(torch.from_numpy(x), audio).flatten() for x in sounds])
    assert abs(values.mean() - audio.mean) < 0.6
    assert 0.7 * audio.deviation < values.std() < audio.deviation


def test_short_sound_is_padded_and_flagged():
    samples = tone(440.0, 1700)
    before = samples.clone()
    spectrogram, valid = clip_log_mel(samples, torch.ones(1700, dtype=torch.bool), SMALL)
    # the last window that touches sample 1699 starts at 1600: frame 10
    assert valid.tolist() == [True] * 11 + [False] * 9
    assert (spectrogram[0, 11:] == 0).all() and (spectrogram[0, :11] != 0).all()
    assert torch.equal(samples, before)


def test_kaldi_counts_whole_windows_only():
    audio = dataclasses.replace(FRONT_ENDS["ast"].audio, num_frames=20)
    samples = tone(440.0, 1700) + 0.2
    spectrogram, valid = clip_log_mel(samples, torch.ones(1700, dtype=torch.bool), audio)
    assert valid.sum() == 1 + (1700 - 400) // 160  # Kaldi's snip_edges
    torch.testing.assert_close(spectrogram[0, :9], log_mel(samples, audio), rtol=0, atol=2e-3)
    assert (spectrogram[0, 9:] == 0).all()


def test_long_sound_is_cut_and_empty_sound_is_all_padding():
    long = torch.randn(10000)
    spectrogram, valid = clip_log_mel(long, torch.ones(10000, dtype=torch.bool), SMALL)
    assert valid.all()
    torch.testing.assert_close(spectrogram[0], log_mel(long, SMALL)[:20])
    spectrogram, valid = clip_log_mel(torch.zeros(0), torch.zeros(0, dtype=torch.bool), SMALL)
    assert not valid.any() and not spectrogram.any()


def test_sound_that_starts_late_is_flagged():
    valid = torch.arange(samples_for(SMALL)) >= 1000
    _, frame_valid = clip_log_mel(torch.randn(len(valid)) * valid, valid, SMALL)
    assert frame_valid.tolist() == [False] * 4 + [True] * 16  # frame 4 ends at sample 1040


def test_constants_do_not_leak_between_calls():
    samples = torch.randn(4000)
    first = log_mel(samples, SMALL)
    log_mel(samples.double(), SMALL)
    log_mel(samples, dataclasses.replace(SMALL, window="hann"))
    assert torch.equal(log_mel(samples, SMALL), first)


def test_too_short_a_waveform():
    with pytest.raises(ValueError, match=re.escape("waveform has 399 samples; at least")):
        log_mel(torch.zeros(399), SMALL)


def test_unknown_front_end():
    with pytest.raises(ValueError, match="unknown front end 'mtb'.*Did you mean 'mbt'"):
        front_end("mtb")


@pytest.mark.parametrize("name", NAMES)
def test_front_ends_travel_as_json(name: str):
    ours = front_end(name)
    assert ours.name == name
    again = FrontEnd.from_dict(ours.to_dict())
    assert again == ours and again.id == ours.id


def test_ids_tell_front_ends_apart():
    changed = dataclasses.replace(
        FRONT_ENDS["mbt"], audio=dataclasses.replace(FRONT_ENDS["mbt"].audio, scale=1.0)
    )
    ids = {f.id for f in FRONT_ENDS.values()} | {changed.id}
    assert len(ids) == len(FRONT_ENDS) + 1
