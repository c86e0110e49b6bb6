"""How an image processor of Hugging Face's `transformers` scales and normalises pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from sightsound.media.front_end import VideoFrontEnd, picture_front_end

PROCESSOR_FILES = {  # {file: entry that holds the image processor's numbers, or nothing}
    "preprocessor_config.json": None,
    "processor_config.json": "image_processor",
}


def processor_numbers(directory: Path) -> dict:
    """What the file of the image processor says."""
    for name, entry in PROCESSOR_FILES.items():
        file = directory / name
        if file.is_file():
            values = json.loads(file.read_text())
            values = values.get(entry, {}) if entry else values
            if values:
                return values
    raise FileNotFoundError(
        f"{str(directory)!r} has no {' or '.join(PROCESSOR_FILES)}, which tells how pictures are "
        "scaled and normalised; copy it from where the model comes from"
    )


def picture_numbers(values: Mapping) -> VideoFrontEnd:
    """The front end that an image processor's numbers describe.

    Raises:
        ValueError: the numbers tell no size.
    """
    scale = values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0
    mean, deviation = [0.0] * 3, [1.0] * 3
    if values.get("do_normalize", True):
        mean, deviation = values["image_mean"], values["image_std"]
    size = _shape(values.get("size"))
    crop = _shape(values.get("crop_size")) if values.get("do_center_crop") else size
    share = values.get("crop_pct") or 1.0  # ConvNeXt: the picture is scaled to size / share
    red, green, blue = (value / scale for value in mean)
    return picture_front_end(
        *crop,
        mean=(red, green, blue),
        deviation=(deviation[0] / scale, deviation[1] / scale, deviation[2] / scale),
        short_side=round(min(size) / share),
    )


def _shape(size: int | Mapping | None) -> tuple[int, int]:
    """(H, W) as an image processor writes it."""
    if isinstance(size, int):
        return size, size
    size = size or {}
    if "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"]
    if "height" in size:
        return size["height"], size["width"]
    raise ValueError(
        f"the image processor's size is {size!r}; accepted: a number, height and width, or "
        "shortest_edge"
    )
