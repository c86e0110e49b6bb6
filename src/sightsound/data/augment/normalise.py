"""Normalises the loader's batches for a model: pixels and log-mel to mean 0, deviation 1."""

from __future__ import annotations

import dataclasses

import torch

from sightsound.data.augment import masked
from sightsound.media.front_end import FrontEnd
from sightsound.types import AUDIO, VIDEO, Batch


def normalise(batch: Batch, front_end: FrontEnd) -> Batch:
    """`batch` with video and audio as float32, (x - mean) / deviation of `front_end`.

    Padding and absent streams become exactly 0, which is the mean, whatever they held before.

    Raises:
        ValueError: the video is not uint8, so it is normalised already.
    """
    video, audio = batch.video, batch.audio
    if video is not None:
        if video.dtype != torch.uint8:
            raise ValueError(
                f"batch.video has dtype {video.dtype}; normalise takes the loader's uint8 pixels: "
                "has this batch been normalised before?"
            )
        mean = video.new_tensor(front_end.video.mean, dtype=torch.float32)[:, None, None]
        std = video.new_tensor(front_end.video.deviation, dtype=torch.float32)[:, None, None]
        video = masked(video.float().sub_(mean).div_(std), batch, modality=VIDEO)
    if audio is not None:
        part = front_end.audio
        audio = masked((audio.float() - part.mean) / part.deviation, batch, modality=AUDIO)
    return dataclasses.replace(batch, video=video, audio=audio)
