"""Augments pictures: flip, affine, colour, grey, noise. One draw per clip, for all frames.

Colour follows Scenic's data pipeline of MBT: brightness, then saturation, contrast and hue of
pixels in [0, 1], clipped at the end; saturation and hue are those of HSV, as in TensorFlow.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import torch
from torch import Tensor

from sightsound.config.settings import AugmentSettings
from sightsound.data.augment import luma, masked, on_pixels, sampled, uniform
from sightsound.media.front_end import FrontEnd
from sightsound.types import VIDEO, Batch

BRIGHTNESS, SATURATION, CONTRAST, HUE = 32 / 255, 0.4, 0.4, 0.2
TINY = 1e-12  # keeps grey pixels, which have no hue, from dividing by 0


def augment_video(
    batch: Batch,
    *,
    generator: torch.Generator,
    settings: AugmentSettings,
    front_end: FrontEnd | None = None,
) -> Batch:
    """`batch` with changed pictures; a normalised video (B, T, C, H, W) is expected.

    Raises:
        ValueError: colour or grey is asked for without the front end of the normalisation.
    """
    if batch.video is None:
        return batch
    video = _moved(batch.video, generator=generator, settings=settings)
    if settings.colour or settings.grey:
        change = partial(_recoloured, generator=generator, settings=settings)
        video = on_pixels(video, change, front_end=front_end)
    if settings.video_noise:
        noise = torch.randn(video.shape, generator=generator, device=generator.device)
        video = video + settings.video_noise * noise
    if video is batch.video:
        return batch
    return dataclasses.replace(batch, video=masked(video, batch, modality=VIDEO))


def _moved(video: Tensor, *, generator: torch.Generator, settings: AugmentSettings) -> Tensor:
    """Flipped, rotated, zoomed and shifted, by one bilinear sampling; a mere flip is exact."""
    flipped = None
    if settings.flip:
        flipped = uniform(0, 1, size=(len(video),), generator=generator) < settings.flip
    if settings.affine_degrees or settings.affine_translate or settings.affine_scale:
        theta = _affine(video, generator=generator, settings=settings)
        if flipped is not None:
            theta[:, :, 0] *= torch.where(flipped, -1.0, 1.0)[:, None]
        return sampled(video, theta, beyond="border")
    if flipped is None:
        return video
    return torch.where(flipped[:, None, None, None, None], video.flip(-1), video)


def _affine(video: Tensor, *, generator: torch.Generator, settings: AugmentSettings) -> Tensor:
    """Matrices (B, 2, 3) from output to input positions, both in [-1, 1], for `affine_grid`.

    Rotation is one of pixels, so the aspect ratio enters; a zoom of s shows 1 / s of the frame.
    """
    num_clips, (height, width) = len(video), video.shape[-2:]
    degrees, share, zoom = (
        uniform(-limit, limit, size=(num_clips, n), generator=generator)
        for limit, n in (
            (settings.affine_degrees, 1),
            (2 * settings.affine_translate, 2),
            (settings.affine_scale, 1),
        )
    )
    angle, scale = degrees[:, 0] * (math.pi / 180), 1 / (1 + zoom[:, 0])
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = [cosine, -sine * height / width, share[:, 0], sine * width / height, cosine, share[:, 1]]
    return torch.stack(rows, dim=1).unflatten(1, (2, 3))


def _recoloured(pixels: Tensor, *, generator: torch.Generator, settings: AugmentSettings) -> Tensor:
    def drawn(low: float, high: float) -> Tensor:
        return uniform(low, high, size=(len(pixels), 1, 1, 1, 1), generator=generator)

    if settings.colour:
        chosen = drawn(0, 1) < settings.colour
        changes = [drawn(-limit, limit) for limit in (BRIGHTNESS, SATURATION, CONTRAST, HUE)]
        pixels = torch.where(chosen, _jittered(pixels, *changes), pixels)
    if settings.grey:
        pixels = torch.where(drawn(0, 1) < settings.grey, luma(pixels), pixels)
    return pixels


def _jittered(
    pixels: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor, hue: Tensor
) -> Tensor:
    """Brightness, saturation, contrast, hue, in this order; `pixels` (B, T, 3, H, W) in [0, 1]."""
    pixels = _saturated(pixels + brightness, 1 + saturation)
    centre = pixels.mean(dim=(-2, -1), keepdim=True)  # of each frame and channel, as in TensorFlow
    pixels = torch.lerp(centre, pixels, 1 + contrast)
    return _hue_turned(pixels, hue).clamp(0, 1)


def _saturated(pixels: Tensor, factor: Tensor) -> Tensor:
    """HSV's saturation, (max - min) / max, times `factor` and at most 1; the largest channel stays.

    Scaling the saturation scales each channel's distance from the largest one.
    """
    largest, smallest = pixels.amax(2, keepdim=True), pixels.amin(2, keepdim=True)
    most = largest / (largest - smallest).clamp_min(TINY)
    return largest - (largest - pixels) * torch.minimum(factor, most.clamp_min(0))


def _hue_turned(pixels: Tensor, turns: Tensor) -> Tensor:
    """Colours moved by `turns` of the circle of HSV's hue; largest and smallest channel stay."""
    largest, smallest = pixels.amax(2, keepdim=True), pixels.amin(2, keepdim=True)
    chroma = largest - smallest
    red, green, blue = pixels.split(1, dim=2)
    divisor = chroma.clamp_min(TINY)
    hue = 4 + (red - green) / divisor  # in sixths of the circle: red 0, green 2, blue 4
    hue = torch.where(green == largest, 2 + (blue - red) / divisor, hue)
    hue = torch.where(red == largest, (green - blue) / divisor, hue)
    offset = pixels.new_tensor([5.0, 3.0, 1.0])[:, None, None]  # red, green, blue
    position = (6 * turns + hue + offset) % 6
    return largest - chroma * torch.minimum(position, 4 - position).clamp(0, 1)
