"""Log-mel spectrograms: a waveform and the numbers of an `AudioFrontEnd` in, frames x bins out.

The four named front ends live here. They share one computation (short-time spectrum, triangles
that are linear in mel, natural logarithm) and differ in constants only; `kaldi` adds the three
preparations of Kaldi's filter banks. Frames are never centred: frame i covers the samples
[i * hop, i * hop + window).
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.registry import unknown_name

KALDI_PRE_EMPHASIS = 0.97
KALDI_FLOOR = 1.1920928955078125e-07  # float32 epsilon: Kaldi's floor under the logarithm
KINETICS_MEAN = 0.45 * 255  # SlowFast's defaults, which UniFormer keeps; every channel
KINETICS_DEVIATION = 0.225 * 255

# Paper MBT, section 4.2: 16 kHz mono, 25 ms Hamming window, 10 ms hop, 128 mel bins, log, 8 s; mean
# and deviation are the official configuration's, of AudioSet. The released code starts from stored
# spectrograms, so the rest is open; our choices:
# * FFT of 512 samples: the next power of two above the window;
# * Hamming window periodic: TensorFlow's default, and the authors' pipelines are TensorFlow;
# * mel bins from 20 Hz to 8 kHz (Nyquist), as AST places its 128 on AudioSet; triangles with peak
#   1, linear in mel = 1127 ln(1 + f / 700);
# * magnitudes and natural logarithm: on real clips (drone_av, avmnist, Big Buck Bunny) these
#   deviate by 2.0 to 2.3, powers by 4.0 to 4.6; official: 2.762;
# * waveform in [-1, 1] times 16: a guess that fits. The official mean is 1.102; [-1, 1] gives -2.4
#   to -1.5 on those clips and 16 bit 7.8 to 8.8, while a factor of 16 gives .26, 1.27, .99, and 1.4
#   on AudioSet if AST's published statistics carry over;
# * 0.001 added before the logarithm: digital silence is then 2.9 deviations below the mean.
MBT_AUDIO = AudioFrontEnd(
    scale=16.0,
    fft_samples=512,
    window="hamming",
    periodic_window=True,
    num_mels=128,
    low_hz=20.0,
    high_hz=8000.0,
    spectrum="magnitude",
    log_offset=0.001,
    mean=1.102,
    deviation=2.762,
    num_frames=800,
)

# Gong et al. 2021 (AST): Kaldi filter banks, AudioSet statistics, divided by *twice* the deviation.
AST_AUDIO = AudioFrontEnd(
    window="hann",
    periodic_window=False,
    num_mels=128,
    low_hz=20.0,
    high_hz=8000.0,
    spectrum="power",
    log_floor=KALDI_FLOOR,
    kaldi=True,
    mean=-4.2677393,
    deviation=2 * 4.5689974,
    num_frames=1024,
)

# Google's VGGish recipe (Hershey et al. 2017): examples of 96 frames (0.96 s); ten of them here.
VGGISH_AUDIO = AudioFrontEnd(
    window="hann",
    periodic_window=True,
    num_mels=64,
    low_hz=125.0,
    high_hz=7500.0,
    spectrum="magnitude",
    log_offset=0.01,
    num_frames=960,
)

# YAMNet: VGGish's spectrum with a smaller offset.
YAMNET_AUDIO = dataclasses.replace(VGGISH_AUDIO, log_offset=0.001)

_PER_EXAMPLE = VideoFrontEnd(num_frames=10, window_seconds=9.6)  # one frame per 0.96 s of sound

FRONT_ENDS: dict[str, FrontEnd] = {
    "mbt": FrontEnd("mbt", MBT_AUDIO, VideoFrontEnd()),
    "ast": FrontEnd(
        "ast",
        AST_AUDIO,
        VideoFrontEnd(
            num_frames=16,  # UniFormer 16x4: stride 4 of frames resampled to 30 per second
            stride_seconds=4 / 30,
            mean=(KINETICS_MEAN,) * 3,
            deviation=(KINETICS_DEVIATION,) * 3,
        ),
    ),
    "vggish": FrontEnd("vggish", VGGISH_AUDIO, _PER_EXAMPLE),
    "yamnet": FrontEnd("yamnet", YAMNET_AUDIO, _PER_EXAMPLE),
}


def front_end(name: str) -> FrontEnd:
    """The front end called `name`.

    Raises:
        ValueError: no such front end; the message names the nearest one.
    """
    if name not in FRONT_ENDS:
        raise unknown_name("front end", name, FRONT_ENDS)
    return FRONT_ENDS[name]


def samples_for(audio: AudioFrontEnd) -> int:
    """Samples that fill `audio.num_frames` frames exactly: (F - 1) * hop + window.

    That is (window - hop) samples, 15 ms, more than `audio.window_seconds`.
    """
    return (audio.num_frames - 1) * audio.hop_samples + audio.window_samples


def log_mel(waveform: Tensor, audio: AudioFrontEnd) -> Tensor:
    """Log-mel energies (..., F', M) of `waveform` (..., S) in [-1, 1], not yet normalised.

    With spectrum "waveform" its samples, M = window_samples in each frame.

    F' = 1 + (S - window) // hop: only windows that fit count; what is left at the end is not used.

    Raises:
        ValueError: `waveform` is shorter than one window.
    """
    if waveform.shape[-1] < audio.window_samples:
        raise ValueError(
            f"waveform has {waveform.shape[-1]} samples; at least window_samples = "
            f"{audio.window_samples} are needed: pad it with zeros, or use clip_log_mel"
        )
    if audio.spectrum == "waveform":
        return waveform.unfold(-1, audio.window_samples, audio.hop_samples).clone()
    window, mels = _constants(audio, waveform.dtype, waveform.device)
    if audio.kaldi:
        frames = _kaldi_frames(waveform - waveform.mean(-1, keepdim=True), audio).mul_(window)
    else:
        frames = waveform.unfold(-1, audio.window_samples, audio.hop_samples) * window
    spectrum = torch.fft.rfft(frames, n=audio.fft_samples)
    if audio.spectrum == "magnitude":
        energies = spectrum.abs() @ mels
    else:
        energies = torch.view_as_real(spectrum).square_().sum(-1) @ mels
    if audio.log_offset:
        energies += audio.log_offset
    if audio.log_floor:
        energies.clamp_min_(audio.log_floor)
    return energies.log_()


def clip_log_mel(samples: Tensor, valid: Tensor, audio: AudioFrontEnd) -> tuple[Tensor, Tensor]:
    """Exactly `num_frames` frames: log-mel (1, F, M), not normalised, and valid (F,) bool.

    `samples` (S,) float and `valid` (S,) bool may have any length: they are cut, or padded as
    invalid silence, to `samples_for(audio)`. A frame is valid if any of its samples is; with
    `kaldi` if all are (Kaldi only takes windows that lie within the sound). Invalid frames hold 0.0
    (AST's padding, too, is 0.0 before normalisation); `normalise` sets them to 0 after it.
    """
    length = samples_for(audio)
    missing = (0, max(0, length - len(samples)))
    samples, valid = (torch.nn.functional.pad(x[:length], missing) for x in (samples, valid))
    if audio.kaldi:  # the mean over the sound alone, so that padding stays silent
        mean = (samples * valid).sum() / valid.sum().clamp_min(1)
        samples = torch.where(valid, samples - mean, samples)
    windows = valid.unfold(-1, audio.window_samples, audio.hop_samples)
    frame_valid = windows.all(-1) if audio.kaldi else windows.any(-1)
    spectrogram = log_mel(samples, audio)
    return spectrogram.mul_(frame_valid[:, None]).unsqueeze(0), frame_valid


def mel_matrix(audio: AudioFrontEnd) -> np.ndarray:
    """Weights (fft // 2 + 1, M) float64 of M triangles, equally spaced and linear in mel, peak 1.

    mel = 1127 ln(1 + f / 700), as in HTK, Kaldi and VGGish; no area normalisation. The bin of
    frequency 0 never counts: it is at or below the lowest edge.
    """
    bins = _mel(np.linspace(0.0, audio.rate_hz / 2, audio.fft_samples // 2 + 1))[:, None]
    edges = np.linspace(_mel(audio.low_hz), _mel(audio.high_hz), audio.num_mels + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    return np.clip(np.minimum(rising, falling), 0.0, None)


def band_edges(audio: AudioFrontEnd) -> np.ndarray:
    """(M + 1,) Hz: where the triangles of neighbours cross, bin m between edges m and m + 1."""
    mels, step = np.linspace(
        _mel(audio.low_hz), _mel(audio.high_hz), audio.num_mels + 2, retstep=True
    )
    return 700.0 * np.expm1((mels[:-1] + step / 2) / 1127.0)


def _mel(frequency_hz: float | np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(frequency_hz) / 700.0)


@lru_cache(maxsize=32)
def _constants(
    audio: AudioFrontEnd, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Window (window_samples,) and mel matrix (fft // 2 + 1, M); cached, never written to."""
    make = torch.hamming_window if audio.window == "hamming" else torch.hann_window
    window = make(audio.window_samples, periodic=audio.periodic_window, dtype=torch.float64)
    mels = torch.from_numpy(mel_matrix(audio))
    window = window * audio.scale  # the spectrum is linear: here it costs nothing
    return window.to(device, dtype), mels.to(device, dtype)


def _kaldi_frames(waveform: Tensor, audio: AudioFrontEnd) -> Tensor:
    """Frames (..., F', window_samples) without their mean, pre-emphasised: x[i] - 0.97 x[i - 1].

    The first sample of a frame is its own predecessor. In place: a pass costs as much as the FFT.
    """
    frames = waveform.unfold(-1, audio.window_samples, audio.hop_samples)
    frames = frames - frames.mean(-1, keepdim=True)
    before = KALDI_PRE_EMPHASIS * frames
    frames[..., 1:] -= before[..., :-1]
    frames[..., 0] -= before[..., 0]
    return frames
