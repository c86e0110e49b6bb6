"""Augments the normalised spectrogram: shift, gain, noise and SpecAugment's masks.

Masks are SpecAugment's (Park et al. 2019) as the official MBT code draws them: a width of
int(U[0, 1) * largest), a start uniform over those where it fits, filled with 0, the mean.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from sightsound.config.settings import AugmentSettings
from sightsound.data.augment import masked, uniform
from sightsound.media.front_end import FrontEnd
from sightsound.types import AUDIO, Batch


def augment_audio(
    batch: Batch,
    *,
    generator: torch.Generator,
    settings: AugmentSettings,
    front_end: FrontEnd | None = None,
) -> Batch:
    """`batch` with changed sound; a normalised log-mel (B, 1, F, M) is expected.

    A shift takes the padding with it: `valid` is shifted alike.
    """
    audio, valid = batch.audio, batch.valid
    if audio is None:
        return batch
    limit = settings.audio_shift_frames
    if limit:  # in a circle, by a number of frames drawn for each clip
        num_clips, _, num_frames, num_bins = audio.shape
        device = generator.device
        shift = torch.randint(-limit, limit + 1, (num_clips, 1), generator=generator, device=device)
        source = (torch.arange(num_frames, device=device) - shift) % num_frames  # (B, F)
        audio = audio.gather(2, source[:, None, :, None].expand(-1, 1, -1, num_bins))
        valid = {**valid, AUDIO: valid[AUDIO].gather(1, source)}
    if settings.audio_gain:
        gain = uniform(-1, 1, size=(len(audio), 1, 1, 1), generator=generator)
        audio = audio + settings.audio_gain * gain
    if settings.audio_noise:
        noise = torch.randn(audio.shape, generator=generator, device=generator.device)
        audio = audio + settings.audio_noise * noise
    for axis, count, largest in (
        (3, settings.frequency_masks, settings.frequency_mask_bins),
        (2, settings.time_masks, settings.time_mask_frames),
    ):
        for _ in range(count):
            audio = _with_mask(audio, axis=axis, largest=largest, generator=generator)
    if audio is batch.audio:
        return batch
    batch = dataclasses.replace(batch, audio=audio, valid=valid)
    return dataclasses.replace(batch, audio=masked(audio, batch, modality=AUDIO))


def _with_mask(audio: Tensor, *, axis: int, largest: int, generator: torch.Generator) -> Tensor:
    """`audio` with one band along `axis` set to 0, another for every clip."""
    size = audio.shape[axis]
    draw = uniform(0, 1, size=(2, len(audio), 1), generator=generator)
    width = (draw[0] * min(largest, size)).long()
    start = (draw[1] * (size - width + 1)).long()
    position = torch.arange(size, device=audio.device)
    band = (position >= start) & (position < start + width)  # (B, size)
    return audio.masked_fill(band[:, None, :, None] if axis == 2 else band[:, None, None], 0.0)
