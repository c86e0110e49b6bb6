"""Modality dropout: some training clips lose one stream, so that each stream learns on its own.

It comes after mixup: before it, the partner would give most lost streams back.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from sightsound.config.settings import AugmentSettings
from sightsound.data.augment import masked, uniform, with_streams
from sightsound.media.front_end import FrontEnd
from sightsound.types import AUDIO, VIDEO, Batch


def drop_modalities(
    batch: Batch,
    *,
    generator: torch.Generator,
    settings: AugmentSettings,
    front_end: FrontEnd | None = None,
) -> Batch:
    """`batch` with video or audio of some clips absent: `present` and `valid` false, values 0.

    At most one stream of a clip is dropped, never its only one. After modality mixup the clip's
    `target` becomes that of the stream it keeps.

    Raises:
        ValueError: the two probabilities add up to more than 1.
    """
    drop_video, drop_audio = settings.drop_video, settings.drop_audio
    if drop_video + drop_audio > 1:
        raise ValueError(
            f"drop_video {drop_video} and drop_audio {drop_audio} add up to more than 1; "
            "a clip loses one stream at most: lower one of them"
        )
    if not drop_video + drop_audio or batch.video is None or batch.audio is None:
        return batch
    draw = uniform(0, 1, size=(len(batch),), generator=generator)
    both = batch.present[VIDEO] & batch.present[AUDIO]
    batch = _without(batch, both & (draw < drop_video), modality=VIDEO, kept=AUDIO)
    lost = both & (draw >= drop_video) & (draw < drop_video + drop_audio)
    return _without(batch, lost, modality=AUDIO, kept=VIDEO)


def _without(batch: Batch, lost: Tensor, *, modality: str, kept: str) -> Batch:
    present = {**batch.present, modality: batch.present[modality] & ~lost}
    valid = {**batch.valid, modality: batch.valid[modality] & ~lost[:, None]}
    target = batch.target
    if batch.modality_target is not None:
        target = torch.where(lost[:, None], batch.modality_target[kept], target)
    batch = dataclasses.replace(batch, present=present, valid=valid, target=target, complete=False)
    stream = masked(batch.inputs[modality], batch, modality=modality)
    return with_streams(batch, {modality: stream})
