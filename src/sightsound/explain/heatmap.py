"""Maps as colour over a grey picture: red where a part counts for the class, blue where against it.

Full colour is the largest value of either sign in a clip and stream; grey is 0. Of rollout it is
the median part: attention is spread over everything, so what is coloured is what stands out, and a
map whose parts are all alike stays grey.
"""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from torch import Tensor

from sightsound.explain.explanation import Explanation
from sightsound.media.front_end import FrontEnd

FOR, AGAINST = to_rgb("#e8201a"), to_rgb("#1f6fe0")
LEGEND = "red: counts for it; blue: against it; the strongest part of each stream is full"
_OPAQUE = 0.75  # how opaque the strongest cell is
_SPREAD = ("rollout",)
_ALIKE = 1e-6  # of the largest value: rounding
_GREY = np.array([0.299, 0.587, 0.114])  # of red, green and blue: BT.601


def strengths(explanation: Explanation) -> dict[str, np.ndarray]:
    """{modality: its map with -1 to 1 for how strong the colour of each part is}."""
    scaled = {}
    for name, values in explanation.streams.items():
        low = float(np.median(values)) if explanation.method in _SPREAD else 0.0
        above = values - low if low == 0 else np.maximum(values - low, 0)
        largest = np.abs(above).max()
        alike = largest <= _ALIKE * abs(low)
        scaled[name] = np.zeros_like(values, dtype=float) if alike else above / largest
    return scaled


def heatmap(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`picture` (H, W, 3) uint8 in grey with `values` (h, w), of `strengths`, over it in colour.

    Where there is one value for all of it, only half as strong: everything must be seen through it.
    """
    grey = (picture @ _GREY)[..., None] / 255
    strongest = _OPAQUE if values.size > 1 else _OPAQUE / 2
    values = smooth(values, picture.shape[:2])[..., None]
    colour = np.where(values >= 0, FOR, AGAINST)
    opaque = strongest * np.abs(values)
    return (255 * (grey * (1 - opaque) + colour * opaque)).round().astype(np.uint8)


def smooth(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map (h, w) at (H, W), linear between the middles of its cells."""
    for axis, length in enumerate(size):
        count = values.shape[axis]
        position = np.clip((np.arange(length) + 0.5) * count / length - 0.5, 0, count - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, count - 1)
        part = (position - low).reshape(-1, *[1] * (1 - axis))
        values = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    return values


def sound_picture(audio: Tensor, front_end: FrontEnd) -> np.ndarray:
    """(M, F, 3) uint8 of a log-mel (1, F, M), low bins first; of samples their loudness."""
    values = audio[0].T.numpy()
    if front_end.audio.spectrum == "waveform":
        values = np.sqrt((values**2).mean(0, keepdims=True))
    low, high = np.percentile(values, [1, 99.5])
    level = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    return (colormaps["magma"](level)[..., :3] * 255).round().astype(np.uint8)
