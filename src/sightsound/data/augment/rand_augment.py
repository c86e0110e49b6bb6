"""RandAugment: a few random operations, drawn for each clip and applied to all its frames.

Cubuk et al. 2020 in the variant that video transformers name "rand-m7-n4-mstd0.5-inc1". It differs
from the paper in three things: an operation is applied with a probability, its magnitude is drawn
from a normal distribution, and every operation grows with the magnitude. The paper's own is
probability 1, deviation 0.

Operations are those of Pillow, frame by frame, on pixels in [0, 1] instead of bytes; what no pixel
is moved to is grey. They are plain torch. kornia's cut pixels off to bytes, so that those
that were normalised lose a level, 64 of them when posterized; its autocontrast turns a constant
channel black; its sharpness takes three times as long.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sightsound.config.settings import AugmentSettings
from sightsound.data.augment import luma, masked, on_pixels, sampled, uniform
from sightsound.media.front_end import FrontEnd
from sightsound.types import VIDEO, Batch

LARGEST_MAGNITUDE = 10.0
# What an operation does at the largest magnitude.
ROTATION_DEGREES, SHEAR, TRANSLATION, ENHANCEMENT = 30.0, 0.3, 0.45, 0.9
POSTERIZE_BITS, SOLARIZE_LEVELS, SOLARIZE_ADDITION = 4, 256, 110
GREY = 128 / 255


def rand_augment(
    batch: Batch,
    *,
    generator: torch.Generator,
    settings: AugmentSettings,
    front_end: FrontEnd | None = None,
) -> Batch:
    """`batch` with changed pictures; a normalised video (B, T, 3, H, W) is expected.

    Raises:
        ValueError: the front end of the normalisation is missing.
    """
    if batch.video is None or not settings.rand_augment_operations:
        return batch
    change = partial(_changed, generator=generator, settings=settings)
    video = on_pixels(batch.video, change, front_end=front_end)
    return dataclasses.replace(batch, video=masked(video, batch, modality=VIDEO))


def _changed(pixels: Tensor, *, generator: torch.Generator, settings: AugmentSettings) -> Tensor:
    """`pixels` (B, T, 3, H, W), overwritten, after each clip's operations one after the other."""
    size = (settings.rand_augment_operations, len(pixels))
    device = generator.device
    operation = torch.randint(len(OPERATIONS), size, generator=generator, device=device)
    applied = uniform(0, 1, size=size, generator=generator) < settings.rand_augment_probability
    noise = settings.rand_augment_deviation * torch.randn(size, generator=generator, device=device)
    magnitude = (settings.rand_augment_magnitude + noise).clamp(0, LARGEST_MAGNITUDE)
    sign = torch.where(uniform(-1, 1, size=size, generator=generator) < 0, -1.0, 1.0)
    amounts = sign * magnitude / LARGEST_MAGNITUDE
    choices = torch.where(applied, operation, -1).tolist()  # the one time the host waits
    for choice, amount in zip(choices, amounts[..., None, None, None, None], strict=True):
        for number, change in enumerate(OPERATIONS.values()):
            clips = [clip for clip, drawn in enumerate(choice) if drawn == number]
            if clips:
                pixels[clips] = change(pixels[clips], amount[clips])
    return pixels


# Operations: from pixels (B, T, 3, H, W) in [0, 1] and `amount` (B, 1, 1, 1, 1), the magnitude as
# a share of the largest with a random sign, which only those look at that go either way.


def _stretched(pixels: Tensor, amount: Tensor) -> Tensor:
    """Each channel of each frame from its darkest to its brightest; a constant one stays."""
    low, high = pixels.amin((-2, -1), keepdim=True), pixels.amax((-2, -1), keepdim=True)
    return torch.where(high > low, (pixels - low) / (high - low), pixels)


def _equalized(pixels: Tensor, amount: Tensor) -> Tensor:
    """Each channel of each frame with an even histogram of its 256 levels, by Pillow's rule."""
    levels = _levels(pixels).long().flatten(0, 2).flatten(1)  # (planes, pixels)
    counts = levels.new_zeros(len(levels), 256)
    counts.scatter_add_(1, levels, torch.ones_like(levels))
    brightest = counts.gather(1, levels.amax(1, keepdim=True))
    step = (levels.shape[1] - brightest) // 255
    table = (counts.cumsum(1) - counts + step // 2) // step.clamp_min(1)
    table = torch.where(step > 0, table.clamp_max(255), torch.arange(256, device=step.device))
    return (table.to(pixels.dtype) / 255).gather(1, levels).view_as(pixels)


def _posterized(pixels: Tensor, amount: Tensor) -> Tensor:
    """4 bits of each level down to none."""
    step = 2 ** (8 - POSTERIZE_BITS + (amount.abs() * POSTERIZE_BITS).floor())
    return (_levels(pixels) / step).floor() * step / 255


def _solarized(pixels: Tensor, amount: Tensor) -> Tensor:
    """Levels from a threshold on are inverted."""
    threshold = SOLARIZE_LEVELS - (amount.abs() * SOLARIZE_LEVELS).floor()
    return torch.where(_levels(pixels) < threshold, pixels, 1 - pixels)


def _solarize_added(pixels: Tensor, amount: Tensor) -> Tensor:
    """The darker half of the levels becomes brighter."""
    addition = (amount.abs() * SOLARIZE_ADDITION).floor() / 255
    return torch.where(_levels(pixels) < 128, (pixels + addition).clamp_max(1), pixels)


def _sharpened(pixels: Tensor, amount: Tensor) -> Tensor:
    """Away from the picture smoothed by (1 1 1, 1 5 1, 1 1 1) / 13; the frame's edge stays."""
    rows = pixels[..., :-2, :] + pixels[..., 1:-1, :] + pixels[..., 2:, :]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = pixels.clone()
    smooth[..., 1:-1, 1:-1] = (box + 4 * pixels[..., 1:-1, 1:-1]) / 13
    return _away_from(smooth, pixels, amount)


def _rotated(pixels: Tensor, amount: Tensor) -> Tensor:
    """Around the centre."""
    height, width = pixels.shape[-2:]
    angle = amount * math.radians(ROTATION_DEGREES)
    cosine, sine = angle.cos(), angle.sin()
    return _moved(pixels, cosine, -sine * height / width, 0, sine * width / height, cosine, 0)


def _sheared_along_x(pixels: Tensor, amount: Tensor) -> Tensor:
    """The top edge stays where it is."""
    slope = SHEAR * amount * pixels.shape[-2] / pixels.shape[-1]
    return _moved(pixels, 1, slope, slope, 0, 1, 0)


def _sheared_along_y(pixels: Tensor, amount: Tensor) -> Tensor:
    """The left edge stays where it is."""
    slope = SHEAR * amount * pixels.shape[-1] / pixels.shape[-2]
    return _moved(pixels, 1, 0, 0, slope, 1, slope)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "auto_contrast": _stretched,
    "equalize": _equalized,
    "invert": lambda x, amount: 1 - x,
    "rotate": _rotated,
    "posterize": _posterized,
    "solarize": _solarized,
    "solarize_add": _solarize_added,
    "colour": lambda x, amount: _away_from(luma(x), x, amount),
    "contrast": lambda x, amount: _away_from(luma(x).mean((-2, -1), keepdim=True), x, amount),
    "brightness": lambda x, amount: _away_from(torch.zeros_like(amount), x, amount),
    "sharpness": _sharpened,
    "shear_x": _sheared_along_x,
    "shear_y": _sheared_along_y,
    "translate_x": lambda x, amount: _moved(x, 1, 0, 2 * TRANSLATION * amount, 0, 1, 0),
    "translate_y": lambda x, amount: _moved(x, 1, 0, 0, 0, 1, 2 * TRANSLATION * amount),
}


def _levels(pixels: Tensor) -> Tensor:
    """The nearest of the levels 0 to 255."""
    return (pixels * 255).round().clamp(0, 255)


def _away_from(less: Tensor, pixels: Tensor, amount: Tensor) -> Tensor:
    """`pixels` moved away from `less` of them, or towards it where `amount` is below 0."""
    return torch.lerp(less.expand_as(pixels), pixels, 1 + ENHANCEMENT * amount).clamp(0, 1)


def _moved(pixels: Tensor, *entries: Tensor | float) -> Tensor:
    """`pixels` seen through the matrix of six `entries`, from output to input positions."""
    size = pixels.new_zeros(len(pixels), 1, 1, 1, 1)
    theta = torch.stack([(size + entry).flatten() for entry in entries], dim=1)
    return sampled(pixels - GREY, theta.unflatten(1, (2, 3)), beyond="zeros") + GREY
