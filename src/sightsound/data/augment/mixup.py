"""Mixup or cutmix with the reversed batch, for all modalities alike or for each apart.

Clip i is mixed with clip B - 1 - i, weight w for itself, w ~ Beta(alpha, alpha) once per batch, or
once per batch and modality (paper MBT, 4.3.2). Labels follow. The middle clip of an odd batch stays
as it is.

Mixup blends the two. Cutmix (Yun et al. 2019) shows a box of the partner, the same in all frames;
w is what is left of the clip's own area. Papers that use it know no sound: there a window of the
partner's time frames, all bins, of the same share, so that the label keeps one weight. Padding
counts as area.

Where one partner lacks a stream (the official code knows no such clips): the mixed clip takes the
other partner's stream whole, and the stream's own label is that partner's. Its `target` is the mean
over the streams it then has.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from sightsound.config.settings import AugmentSettings
from sightsound.data.augment import masked, uniform, with_streams
from sightsound.media.front_end import FrontEnd
from sightsound.types import AUDIO, VIDEO, Batch


def mixup(
    batch: Batch,
    *,
    generator: torch.Generator,
    settings: AugmentSettings,
    front_end: FrontEnd | None = None,
) -> Batch:
    """`batch` mixed with its reverse; `modality_target` is set where streams have labels apart."""
    mixes, cuts = bool(settings.mixup_alpha), bool(settings.cutmix_alpha)
    if not (mixes or cuts):
        return batch

    def happens(probability: float) -> bool:
        return uniform(0, 1, size=(), generator=generator).item() < probability

    if settings.mix_probability < 1 and not happens(settings.mix_probability):
        return batch
    if happens(settings.cutmix_share) if mixes and cuts else cuts:
        weights, own = cut_areas(batch, settings=settings, generator=generator)
        return mixed(batch, weights=weights, own=own)
    names = list(batch.inputs)
    count = len(names) if settings.modality_mixup else 1
    drawn = beta_weights(settings.mixup_alpha, count, generator=generator)
    drawn = drawn if settings.modality_mixup else drawn * len(names)
    return mixed(batch, weights=dict(zip(names, drawn, strict=True)))


def mixed(
    batch: Batch, *, weights: dict[str, float], own: dict[str, Tensor] | None = None
) -> Batch:
    """`batch` with its reverse mixed in, where each clip counts `weights[modality]` itself.

    With `own` {modality: bool, (H, W) or (F, 1)} streams are not blended: a clip shows itself where
    that is true and its partner elsewhere.

    Weights are rounded to float32 first, so that w and 1 - w are those of the official code.
    """
    weights = {name: float(np.float32(weight)) for name, weight in weights.items()}
    if batch.complete and len(set(weights.values())) == 1:
        weight = next(iter(weights.values()))
        streams = {
            name: _blend(stream, weight if own is None else own[name].to(stream))
            for name, stream in batch.inputs.items()
        }
        batch = dataclasses.replace(batch, target=_blend(batch.target, weight))
        return with_streams(batch, streams)
    own = own or {}
    present, valid = dict(batch.present), dict(batch.valid)
    targets, parts = {}, {}
    for name, stream in batch.inputs.items():
        kept = own.get(name)
        share = _share(batch, modality=name, weight=weights[name], own=kept)
        part = share[(...,) + (None,) * (stream.ndim - 1)]  # of the own stream at each place
        if kept is not None:
            part = torch.where((part == 0) | (part == 1), part, kept.to(part))
        frames = _valid_frames(batch, name)
        if name == AUDIO and kept is not None:  # the partner that is heard
            valid[name] = torch.where(part[:, 0, :, 0] == 1, frames, frames.flip(0))
        else:
            valid[name] = frames | frames.flip(0)
        present[name] = batch.present[name] | batch.present[name].flip(0)
        targets[name], parts[name] = _blend(batch.target, share[:, None]), part
    count = torch.stack([present[name].float() for name in targets]).sum(0)[:, None]
    total = torch.stack([targets[name] * present[name][:, None] for name in targets]).sum(0)
    result = dataclasses.replace(
        batch,
        present=present,
        valid=valid,
        target=torch.where(count > 0, total / count.clamp_min(1), batch.target),
        modality_target=targets,
    )
    streams = {
        name: masked(_blend(stream, parts[name]), result, modality=name)
        for name, stream in batch.inputs.items()
    }
    return with_streams(result, streams)


def beta_weights(alpha: float, count: int, *, generator: torch.Generator) -> list[float]:
    """`count` numbers from Beta(alpha, alpha), a function of the generator's state alone."""
    return _draws(generator).beta(alpha, alpha, size=count).tolist()


def cut_areas(
    batch: Batch, *, settings: AugmentSettings, generator: torch.Generator
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """What `mixed` takes for one cutmix of the batch: weights, and the places clips keep.

    Sound has the share of the pictures, to the nearest frame, or one of its own.
    """
    draws, alpha = _draws(generator), settings.cutmix_alpha
    weights: dict[str, float] = {}
    own: dict[str, Tensor] = {}
    share = 0.0
    for name, stream in batch.inputs.items():
        if not weights or settings.modality_mixup:
            share = draws.beta(alpha, alpha)
        kept = (_outside_box if name == VIDEO else _outside_window)(stream, share, draws=draws)
        weights[name], share = float(kept.mean()), 1 - float(kept.mean())
        own[name] = torch.from_numpy(kept).to(stream.device)
    if not settings.modality_mixup:
        weights = dict.fromkeys(weights, next(iter(weights.values())))
    return weights, own


def _draws(generator: torch.Generator) -> np.random.Generator:
    """NumPy's generator, seeded from torch's, which has no Beta draw that takes a generator."""
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))


def _outside_box(video: Tensor, share: float, *, draws: np.random.Generator) -> np.ndarray:
    """(H, W) bool: false in a box of the frame's shape whose centre lies anywhere in the frame.

    What reaches beyond the frame is cut off, so that less than `share` may be false.
    """
    inside = []
    for size in video.shape[-2:]:
        length = int(size * math.sqrt(share))
        offset = np.arange(size) - draws.integers(size) + length // 2
        inside.append((offset >= 0) & (offset < length))
    return ~np.outer(*inside)


def _outside_window(audio: Tensor, share: float, *, draws: np.random.Generator) -> np.ndarray:
    """(F, 1) bool: false in a window of `share` of the frames that lies anywhere."""
    size = audio.shape[2]
    length = round(size * share)
    offset = np.arange(size) - draws.integers(size - length + 1)
    return ~((offset >= 0) & (offset < length))[:, None]


def _blend(values: Tensor, weight: float | Tensor) -> Tensor:
    return weight * values + (1 - weight) * values.flip(0)


def _share(batch: Batch, *, modality: str, weight: float, own: Tensor | None) -> Tensor:
    """(B,) float: what a clip's own stream counts; 1 or 0 where only one of the two exists.

    Also 1 where a cut would leave nothing but padding of the sound.
    """
    present = batch.present[modality]
    share = torch.full(present.shape, weight, device=present.device)
    if own is not None and modality == AUDIO:
        frames = _valid_frames(batch, modality)
        shown = torch.where(own[:, 0], frames, frames.flip(0))
        share = torch.where(shown.any(1), share, 1.0)
    share = torch.where(present & ~present.flip(0), 1.0, share)
    return torch.where(~present & present.flip(0), 0.0, share)


def _valid_frames(batch: Batch, modality: str) -> Tensor:
    return batch.valid[modality] & batch.present[modality][:, None]
