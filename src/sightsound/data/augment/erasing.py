"""Random erasing: a box in some clips becomes noise (Zhong et al. 2020).

The variant of video transformers, "pixel": the box is the same in all frames of a clip, and every
pixel in it is drawn anew from the normal distribution, which is what normalised pixels look like.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from sightsound.config.settings import AugmentSettings
from sightsound.data.augment import masked, uniform
from sightsound.media.front_end import FrontEnd
from sightsound.types import VIDEO, Batch

AREA = (0.02, 1 / 3)  # of the box as a share of the frame
RATIO = (0.3, 1 / 0.3)  # height / width of the box, drawn evenly in the logarithm
ATTEMPTS = 10  # draws of a box; a clip of which none fits stays as it is


def erase(
    batch: Batch,
    *,
    generator: torch.Generator,
    settings: AugmentSettings,
    front_end: FrontEnd | None = None,
) -> Batch:
    """`batch` with boxes of noise; a normalised video (B, T, C, H, W) is expected."""
    if batch.video is None or not settings.erase:
        return batch
    chosen = uniform(0, 1, size=(len(batch),), generator=generator) < settings.erase
    clips = chosen.nonzero()[:, 0]
    erased = batch.video[clips]
    boxes = _boxes(len(clips), *erased.shape[-2:], generator=generator)[:, None, None]
    noise = torch.randn(erased.shape, generator=generator, device=generator.device)
    video = batch.video.index_copy(0, clips, torch.where(boxes, noise, erased))
    return dataclasses.replace(batch, video=masked(video, batch, modality=VIDEO))


def _boxes(num_clips: int, height: int, width: int, *, generator: torch.Generator) -> Tensor:
    """(B, H, W) bool: the first box of each clip that is smaller than the frame, anywhere in it."""
    size = (num_clips, ATTEMPTS)
    area = uniform(*AREA, size=size, generator=generator) * height * width
    ratio = uniform(*map(math.log, RATIO), size=size, generator=generator).exp()
    tall, wide = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (tall < height) & (wide < width)
    first = fits.int().argmax(1, keepdim=True)
    share = uniform(0, 1, size=(2, num_clips, 1), generator=generator)
    rows = _inside(tall.gather(1, first), height, share[0])
    columns = _inside(wide.gather(1, first), width, share[1])
    return rows[:, :, None] & columns[:, None, :] & fits.any(1)[:, None, None]


def _inside(length: Tensor, size: int, share: Tensor) -> Tensor:
    """(B, size) bool: `length` (B, 1) positions; `share` in [0, 1) says where among the starts."""
    start = (share * (size - length + 1)).floor()
    position = torch.arange(size, device=length.device)
    return (position >= start) & (position < start + length)
