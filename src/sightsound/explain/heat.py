"""Maps as colour over a grey picture: red where a part counts for the class, blue where against it.

Full colour is the largest value of either sign in a clip and stream; grey is 0. Of rollout it is
the median part: attention is spread over everything, so what is coloured is what stands out, and a
map whose parts are all alike stays grey.
"""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps

from sightsound.explain.map_picture import tinted
from sightsound.explain.maps import Maps
from sightsound.explain.seen import Seen
from sightsound.media.front_end import FrontEnd

LEGEND = "red: counts for it; blue: against it; the strongest part of each stream is full"
_SPREAD = ("rollout",)
_ALIKE = 1e-6  # of the largest value: rounding
_GREY = np.array([0.299, 0.587, 0.114])  # of red, green and blue: BT.601


def strengths(maps: Maps) -> dict[str, np.ndarray]:
    """{modality: its map with -1 to 1 for how strong the colour of each part is}."""
    return {
        name: _scaled(values, low=float(np.median(values)) if maps.method in _SPREAD else 0.0)
        for name, values in maps.streams.items()
    }


def _scaled(values: np.ndarray, *, low: float) -> np.ndarray:
    above = values - low if low == 0 else np.maximum(values - low, 0)
    largest = np.abs(above).max()
    if largest <= _ALIKE * abs(low):
        return np.zeros_like(values, dtype=float)
    return above / largest


def heated(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`picture` (H, W, 3) uint8 in grey with `values` (h, w), of `strengths`, over it in colour.

    Where there is one value for all of it, only half as strong: everything must be seen through it.
    """
    grey = np.repeat((picture @ _GREY)[..., None], 3, axis=-1) / 255
    coloured = tinted(grey, values, largest=1.0 if values.size > 1 else 2.0)
    return (255 * coloured).round().astype(np.uint8)


def sound_picture(seen: Seen, front_end: FrontEnd) -> np.ndarray:
    """(M, F, 3) uint8 of the log-mel that is heard, low bins first; of samples their loudness."""
    values = seen.audio[0].T.numpy()
    if front_end.audio.spectrum == "waveform":
        values = np.sqrt((values**2).mean(0, keepdims=True))
    low, high = np.percentile(values, [1, 99.5])
    level = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    return (colormaps["magma"](level)[..., :3] * 255).round().astype(np.uint8)
