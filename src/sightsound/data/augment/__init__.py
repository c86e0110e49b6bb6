"""Augmentations of a training batch on its device, after `normalise`.

Every entry of `registry.AUGMENTATIONS` is a function

    f(batch, *, generator, settings, front_end) -> Batch

that leaves `batch` as it is, draws only from `generator` (on the batch's device), keeps shapes, and
leaves padding and absent streams exactly 0. What is switched off costs nothing and draws nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from sightsound.config.settings import AugmentSettings
from sightsound.media.front_end import FrontEnd
from sightsound.registry import AUGMENTATIONS, resolve
from sightsound.types import AUDIO, VIDEO, Batch

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def augment(
    batch: Batch,
    *,
    generator: torch.Generator,
    settings: AugmentSettings,
    front_end: FrontEnd | None = None,
) -> Batch:
    """`batch` (normalised) after all augmentations, in the order of `registry.AUGMENTATIONS`.

    `front_end` is the one `batch` was normalised with; only colour, grey and RandAugment need it.
    """
    for name in AUGMENTATIONS:
        change = resolve(AUGMENTATIONS, name, kind="augmentation")
        batch = change(batch, generator=generator, settings=settings, front_end=front_end)
    return batch


def with_streams(batch: Batch, streams: Mapping[str, Tensor]) -> Batch:
    """`batch` with the `streams` {modality: tensor} in place of its own."""
    video, audio = streams.get(VIDEO, batch.video), streams.get(AUDIO, batch.audio)
    return dataclasses.replace(batch, video=video, audio=audio)


def masked(stream: Tensor, batch: Batch, *, modality: str) -> Tensor:
    """`stream` (B, T, C, H, W) or (B, 1, F, M), exactly 0 where `modality` is absent or padding.

    Of features, (B, T, ...) both.
    """
    if batch.complete:
        return stream
    keep = batch.valid[modality] & batch.present[modality][:, None]
    if modality == AUDIO and not batch.encoded:
        keep = keep[:, None]
    keep = keep[(...,) + (None,) * (stream.ndim - keep.ndim)]
    return torch.where(keep, stream, torch.zeros((), dtype=stream.dtype, device=stream.device))


def uniform(
    low: float, high: float, *, size: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Numbers drawn evenly from [low, high), of shape `size`, on the generator's device."""
    draw = torch.rand(size, generator=generator, device=generator.device)
    return low + (high - low) * draw


def on_pixels(
    video: Tensor, change: Callable[[Tensor], Tensor], *, front_end: FrontEnd | None
) -> Tensor:
    """`video`, normalised by `front_end`, after `change`, which sees fresh pixels in [0, 1]."""
    if front_end is None:
        raise ValueError(
            "front_end is None, but colour, grey and RandAugment need the front end that "
            "normalised the batch, to find the pixels again; pass front_end"
        )
    mean = video.new_tensor(front_end.video.mean)[:, None, None] / 255
    std = video.new_tensor(front_end.video.deviation)[:, None, None] / 255
    return (change(video * std + mean) - mean) / std


def luma(pixels: Tensor) -> Tensor:
    """Brightness (..., 1, H, W) of `pixels` (..., 3, H, W)."""
    return (pixels * pixels.new_tensor(LUMA)[:, None, None]).sum(dim=-3, keepdim=True)


def sampled(video: Tensor, theta: Tensor, *, beyond: str) -> Tensor:
    """`video` (B, T, C, H, W) seen through `theta` (B, 2, 3), bilinear, the same for all frames.

    `theta` leads from output to input positions, both in [-1, 1]. `beyond` the frame its edge goes
    on ("border") or there is 0 ("zeros").
    """
    planes = video.flatten(1, 2)  # frames as channels: the same grid for all of them
    grid = functional.affine_grid(theta.to(video.dtype), list(planes.shape), align_corners=False)
    moved = functional.grid_sample(planes, grid, padding_mode=beyond, align_corners=False)
    return moved.unflatten(1, video.shape[1:3])
