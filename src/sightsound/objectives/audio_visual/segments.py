"""A spectrogram cut into segments of activity (paper AVT, section 3.2.1): where sound changes most.

Each mel bin is smoothed along time (Savitzky-Golay, second order), its slope taken, its size
averaged over the bins and smoothed again. The largest local maxima of that curve are the cuts. (The
largest values would do no good: they lie side by side, and most segments would be one frame long.)

Nothing changes if the spectrogram is shifted or scaled, so it may be normalised or not. Computed in
float64: cuts are then those of SciPy's routines.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

ORDER = 2
WINDOW = 11  # frames; the paper does not say, 5 to 15 find the same changes
NUM_SEGMENTS = 50
Edges = Literal["interp", "nearest"]


def number_segments(
    spectrogram: Tensor,
    *,
    valid: Tensor | None = None,
    num_segments: int = NUM_SEGMENTS,
    window: int = WINDOW,
) -> Tensor:
    """(B, F) long: the number of each frame's segment, from 0; -1 for padding.

    The border between sound and padding would be the largest change of all: cuts are looked for
    between the first and the last valid frame. A clip without any change is one segment.

    Args:
        spectrogram: (B, F, M).
        valid: (B, F) bool.
        num_segments: as many or, where sound changes less often, fewer.
    """
    numbers = torch.full(spectrogram.shape[:2], -1, device=spectrogram.device)
    for rows, first, stop in _extents(spectrogram, valid):
        part = spectrogram[rows, first:stop]
        at_once = 1 if part.device.type == "cpu" else len(part)  # one clip fits into the cache
        curve = torch.cat([change_curve(x, window=window) for x in part.split(at_once)])
        cuts = boundaries(curve, number=num_segments - 1)
        numbers[rows, first:stop] = cuts.cumsum(1)
    return numbers if valid is None else numbers.masked_fill(~valid, -1)


def _extents(spectrogram: Tensor, valid: Tensor | None) -> list[tuple[Tensor, int, int]]:
    """Rows of the batch whose sound lies between the same two frames, and these."""
    size, length = spectrogram.shape[:2]
    if valid is None or bool(valid.all()):
        return [(torch.arange(size, device=spectrogram.device), 0, length)]
    first = valid.int().argmax(1)
    stop = length - valid.flip(1).int().argmax(1)
    groups: dict[tuple[int, int], list[int]] = {}
    for row, (extent, any_valid) in enumerate(
        zip(torch.stack((first, stop), 1).tolist(), valid.any(1).tolist(), strict=True)
    ):
        if any_valid:
            groups.setdefault((extent[0], extent[1]), []).append(row)
    device = spectrogram.device
    return [(torch.tensor(rows, device=device), *extent) for extent, rows in groups.items()]


def change_curve(spectrogram: Tensor, *, window: int = WINDOW, edges: Edges = "interp") -> Tensor:
    """(B, F) float64: how much a spectrogram (B, F, M) changes at each frame, smoothed.

    Zeros if it is shorter than the window.
    """
    if spectrogram.shape[1] < window:
        return spectrogram.new_zeros(spectrogram.shape[:2], dtype=torch.float64)
    change = mean_slope(spectrogram, window=window, edges=edges)
    return smoothed(change[..., None], window=window, edges=edges)[..., 0]


def mean_slope(spectrogram: Tensor, *, window: int, edges: Edges = "interp") -> Tensor:
    """(B, F) float64: the size of the smoothed bins' slopes, averaged over the bins."""
    return slopes(smoothed(spectrogram.double(), window=window, edges=edges)).abs().mean(2)


def slopes(x: Tensor) -> Tensor:
    """(B, F, M): half the difference of the neighbours in time; at the ends, of the two last."""
    return torch.gradient(x, dim=1)[0]


def boundaries(curve: Tensor, *, number: int) -> Tensor:
    """(B, F) bool: true where a segment starts, but for the first; at the largest local maxima.

    Args:
        curve: (B, F); a local maximum rises strictly on its left and does not rise on its right.
        number: at most this many.
    """
    peaks = torch.zeros_like(curve, dtype=torch.bool)
    peaks[:, 1:-1] = (curve[:, 1:-1] > curve[:, :-2]) & (curve[:, 1:-1] >= curve[:, 2:])
    values, places = curve.masked_fill(~peaks, -torch.inf).topk(min(number, curve.shape[1]), dim=1)
    return torch.zeros_like(peaks).scatter(1, places, values.isfinite())


def smoothed(x: Tensor, *, window: int, order: int = ORDER, edges: Edges = "interp") -> Tensor:
    """x (B, F, M) after a Savitzky-Golay filter along F (Savitzky and Golay 1964).

    Args:
        window: odd number of frames, each fitted by a polynomial of `order`.
        edges: `interp`: the first and last frames are those of the polynomials fitted there;
            `nearest`: the signal goes on with its first and last value.
    """
    half = window // 2
    frames = torch.arange(window, dtype=torch.float64) - half
    powers = frames[:, None] ** torch.arange(order + 1)
    fit = (powers @ torch.linalg.pinv(powers)).to(x)  # values -> those of the polynomial fitted
    if edges == "nearest":
        ends = (x[:, :1].expand(-1, half, -1), x[:, -1:].expand(-1, half, -1))
        x = torch.cat((ends[0], x, ends[1]), dim=1)
    weights = fit[half].tolist()
    length = x.shape[1] - 2 * half
    middle = weights[0] * x[:, :length]
    for offset, weight in enumerate(weights[1:], start=1):  # far faster than a convolution
        middle.add_(x[:, offset : offset + length], alpha=weight)
    if edges == "nearest":
        return middle
    first, last = (fit @ part for part in (x[:, :window], x[:, -window:]))
    return torch.cat((first[:, :half], middle, last[:, -half:]), dim=1)
