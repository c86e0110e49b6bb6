"""Is it the same recording? Fingerprints of sound that survive re-encoding, and a sure comparison.

A fingerprint says for every moment and band of frequencies whether the band gained on its
neighbour during the last tenth of a second: signs only, so that noise counts as much as the tone
above it (after Haitsma and Kalker 2002, "A highly robust audio fingerprinting system"). All pairs
of fingerprints are compared roughly; what seems alike is compared by `likeness`, the correlation
of the waveforms themselves, which sounds that are merely similar do not pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
import soxr

RATE_HZ = 8000
SECONDS = 20.0  # of a clip that are looked at: more makes nothing surer
LOW_HZ, HIGH_HZ = 200.0, 3400.0  # what every codec and rate keeps, down to the telephone's
SHORTEST_SECONDS = 0.5  # less has too few signs to tell anything

_WINDOW, _HOP, _STEP = 2000, 200, 4  # 250 ms every 25 ms, compared over 100 ms
_NUM_BANDS = 25
_NUM_DIRECTIONS = 256  # of the rough comparison: its error is about 1 / sqrt(256)
_LAGS = range(-8, 9, 2)  # in hops, 0.2 s either way: codecs shift sound by up to 0.13 s
_ALIKE = 0.35  # rough correlation: unrelated clips differ from 0 by 0.06 (deviation)
_BLOCK = 2048  # clips compared at once: 16 MB of correlations
_MAX_LAG_SECONDS = 0.25

# `likeness` of different clips of the generated sets, the most similar of two million pairs: 0.32.
# Of one clip and its copy as AAC, MP3, Opus at 24 kbit/s or more, other rates and loudness: 0.72.
SAME_RECORDING = 0.5


def fingerprint(samples: np.ndarray, rate: int) -> bytes:
    """The signs of a clip's start, packed; empty for sound too short to be recognised.

    `samples` (S,) float32.
    """
    samples = samples[: int(SECONDS * rate)]
    if len(samples) < SHORTEST_SECONDS * rate:
        return b""
    if rate != RATE_HZ:
        samples = soxr.resample(samples, rate, RATE_HZ)
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW).astype(np.float32), axis=1)) ** 2
    first, *_, last = edges = _band_edges()
    starts = [edge - first for edge in edges[:-1]]
    level = np.log(np.add.reduceat(power[:, first:last], starts, axis=1) + 1e-10)
    contrast = np.diff(level, axis=1)
    signs = contrast[_STEP:] > contrast[:-_STEP]
    return np.packbits(signs).tobytes()


def candidates(
    fingerprints: Sequence[bytes], *, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[int, int, float]]:
    """(position, position, rough likeness) of pairs worth comparing; empty ones match nothing.

    Every pair is looked at: 2,000 clips take two seconds of a core, 8,000 of 10 s take 25 s, ten
    times as many a hundred times as long.
    `progress(clips done, clips in all)` is called now and then.
    """
    known = [index for index, bits in enumerate(fingerprints) if bits]
    unshifted: list[np.ndarray] = []  # (clips, directions) of a block each
    for start in range(0, len(known), _BLOCK):
        block = np.stack([_rough(fingerprints[i]) for i in known[start : start + _BLOCK]])
        unshifted.append(block[:, len(_LAGS) // 2].copy())
        for number, first in enumerate(unshifted):
            best = np.max([first @ block[:, lag].T for lag in range(len(_LAGS))], axis=0)
            if number * _BLOCK == start:
                best = np.triu(best, 1)
            for i, j in np.argwhere(best > _ALIKE):
                yield known[number * _BLOCK + i], known[start + j], float(best[i, j])
        if progress is not None:
            progress(min(start + _BLOCK, len(known)), len(known))


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Between 0 and 1: how well one recording is the other, shifted, louder or turned over.

    `first` and `second` (S,) float32 at `RATE_HZ`. The spectra are levelled first, so that a loud
    tone does not decide alone (after Knapp and Carter 1976, phase transform).
    """
    size = 1 << (len(first) + len(second)).bit_length()
    a, b = (_levelled(samples, size=size) for samples in (first, second))
    correlation = np.fft.irfft(a * b.conj(), size)
    lag = int(_MAX_LAG_SECONDS * RATE_HZ)
    peak = max(np.abs(correlation[: lag + 1]).max(), np.abs(correlation[-lag:]).max())
    scale = np.sqrt((np.abs(a) ** 2).sum() * (np.abs(b) ** 2).sum()) * 2 / size
    return float(peak / scale) if scale > 0 else 0.0


def _levelled(samples: np.ndarray, *, size: int) -> np.ndarray:
    """The spectrum between `LOW_HZ` and `HIGH_HZ`, divided by its mean over 20 Hz around."""
    spectrum = np.fft.rfft(samples, size)
    width = max(1, round(20 * size / RATE_HZ))
    power = np.convolve(np.abs(spectrum) ** 2, np.ones(width) / width, mode="same")
    frequency = np.fft.rfftfreq(size, 1 / RATE_HZ)
    inside = (frequency >= LOW_HZ) & (frequency <= HIGH_HZ)
    return np.where(inside, spectrum / np.sqrt(power + 1e-12), 0)


@cache
def _band_edges() -> list[int]:
    """Bins of the spectrum at which bands start, and the end of the last; even in mel."""
    low, high = (np.log1p(hertz / 700) for hertz in (LOW_HZ, HIGH_HZ))
    mel = np.linspace(low, high, _NUM_BANDS + 1)
    return np.round(700 * np.expm1(mel) * _WINDOW / RATE_HZ).astype(int).tolist()


@cache
def _directions() -> np.ndarray:
    """(most signs of a clip, directions) of random signs, the same in every process."""
    num_frames = int(SECONDS * RATE_HZ) // _HOP
    generator = np.random.default_rng(0)
    shape = (num_frames * (_NUM_BANDS - 1), _NUM_DIRECTIONS)
    return generator.choice(np.array([-1, 1], np.float32), shape)


def _rough(bits: bytes) -> np.ndarray:
    """(lags, directions) float32: a short vector for each shift; their products are likenesses."""
    ones = np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(-1, _NUM_BANDS - 1)
    signs = ones.astype(np.float32) * 2 - 1
    shifted = np.zeros((len(_LAGS), *signs.shape), np.float32)
    for row, lag in zip(shifted, _LAGS, strict=True):
        inside = slice(max(0, lag), len(signs) + min(0, lag))
        row[max(0, -lag) : len(signs) + min(0, -lag)] = signs[inside]
    flat = shifted.reshape(len(_LAGS), -1)
    scale = np.sqrt(flat.shape[1] * _NUM_DIRECTIONS)
    return flat @ _directions()[: flat.shape[1]] / scale
