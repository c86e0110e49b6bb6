"""What is done to a training batch on its device, after `normalise`.

Every entry of `registry.AUGMENTATIONS` is a function

    f(batch, *, generator, settings, front_end) -> Batch

that leaves `batch` as it is, draws only from `generator` (on the batch's device), keeps shapes, and
leaves padding and absent streams exactly 0. What is switched off costs nothing and draws nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sightsound.media.front_end import FrontEnd
from sightsound.registry import AUGMENTATIONS, resolve
from sightsound.settings import AugmentSettings
from sightsound.types import Batch


def augment(
    batch: Batch,
    *,
    generator: torch.Generator,
    settings: AugmentSettings,
    front_end: FrontEnd | None = None,
) -> Batch:
    """`batch` (normalised) after all augmentations, in the order of `registry.AUGMENTATIONS`.

    `front_end` is the one `batch` was normalised with; only colour and grey need it.
    """
    for name in AUGMENTATIONS:
        function = resolve(AUGMENTATIONS, name, kind="augmentation")
        batch = function(batch, generator=generator, settings=settings, front_end=front_end)
    return batch


def masked(stream: Tensor, batch: Batch, *, modality: str) -> Tensor:
    """`stream` (B, T, C, H, W) or (B, 1, F, M), exactly 0 where `modality` is absent or padding."""
    if batch.complete:
        return stream
    keep = batch.valid[modality] & batch.present[modality][:, None]
    keep = keep[:, None, :, None] if stream.ndim == 4 else keep[:, :, None, None, None]
    return torch.where(keep, stream, torch.zeros((), dtype=stream.dtype, device=stream.device))


def uniform(
    low: float, high: float, *, size: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Numbers drawn evenly from [low, high), of shape `size`, on the generator's device."""
    draw = torch.rand(size, generator=generator, device=generator.device)
    return low + (high - low) * draw
