"""From what the loader delivers to what a model reads: the last step that is never random."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

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
        video = masked(_normalised_video(video, front_end), batch, modality=VIDEO)
    if audio is not None:
        part = front_end.audio
        audio = masked((audio.float() - part.mean) / part.deviation, batch, modality=AUDIO)
    return dataclasses.replace(batch, video=video, audio=audio)


def _normalised_video(video: Tensor, front_end: FrontEnd) -> Tensor:
    if video.dtype != torch.uint8:
        raise ValueError(
            f"batch.video has dtype {video.dtype}; normalise takes the loader's uint8 pixels: "
            "has this batch been normalised before?"
        )
    mean = video.new_tensor(front_end.video.mean, dtype=torch.float32)
    deviation = video.new_tensor(front_end.video.deviation, dtype=torch.float32)
    return video.float().sub_(mean[:, None, None]).div_(deviation[:, None, None])
