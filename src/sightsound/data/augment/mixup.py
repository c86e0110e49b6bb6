"""Mixup with the reversed batch, for all modalities alike or for each apart (paper MBT, 4.3.2).

Clip i is mixed with clip B - 1 - i, weight w for itself, w ~ Beta(alpha, alpha) once per batch, or
once per batch and modality. Labels follow. The middle clip of an odd batch stays as it is.

Where one partner lacks a stream (the official code knows no such clips): the mixed clip takes the
other partner's stream whole, and the stream's own label is that partner's. Its `target` is the mean
over the streams it then has.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from sightsound.data.augment import masked
from sightsound.media.front_end import FrontEnd
from sightsound.settings import AugmentSettings
from sightsound.types import Batch


def mixup(
    batch: Batch,
    *,
    generator: torch.Generator,
    settings: AugmentSettings,
    front_end: FrontEnd | None = None,
) -> Batch:
    """`batch` mixed with its reverse; `modality_target` is set where streams have labels apart."""
    if not settings.mixup_alpha:
        return batch
    names = list(batch.inputs)
    drawn = beta_weights(
        settings.mixup_alpha, len(names) if settings.modality_mixup else 1, generator=generator
    )
    weights = drawn if settings.modality_mixup else drawn * len(names)
    return mixed(batch, weights=dict(zip(names, weights, strict=True)))


def mixed(batch: Batch, *, weights: dict[str, float]) -> Batch:
    """`batch` with its reverse mixed in, where each clip counts `weights[modality]` itself.

    Weights are rounded to float32 first, so that w and 1 - w are those of the official code.
    """
    weights = {name: float(np.float32(weight)) for name, weight in weights.items()}
    if batch.complete and len(set(weights.values())) == 1:
        weight = next(iter(weights.values()))
        streams = {name: _blend(stream, weight) for name, stream in batch.inputs.items()}
        return dataclasses.replace(batch, **streams, target=_blend(batch.target, weight))
    present = {name: batch.present[name] | batch.present[name].flip(0) for name in weights}
    valid = {name: _valid(batch, modality=name) for name in weights}
    shares = {name: _share(batch.present[name], weight=weight) for name, weight in weights.items()}
    targets = {name: _blend(batch.target, share[:, None]) for name, share in shares.items()}
    result = dataclasses.replace(
        batch,
        present={**batch.present, **present},
        valid={**batch.valid, **valid},
        target=_mean_over_present(targets, present, otherwise=batch.target),
        modality_target=targets,
    )
    streams = {
        name: masked(
            _blend(stream, shares[name][(...,) + (None,) * (stream.ndim - 1)]),
            result,
            modality=name,
        )
        for name, stream in batch.inputs.items()
    }
    return dataclasses.replace(result, **streams)


def beta_weights(alpha: float, count: int, *, generator: torch.Generator) -> list[float]:
    """`count` numbers from Beta(alpha, alpha), a function of the generator's state alone.

    torch has no Beta draw that takes a generator; NumPy's is seeded with a number from it.
    """
    seed = torch.randint(2**62, (), generator=generator, device=generator.device).item()
    return np.random.default_rng(seed).beta(alpha, alpha, size=count).tolist()


def _blend(values: Tensor, weight: float | Tensor) -> Tensor:
    return weight * values + (1 - weight) * values.flip(0)


def _share(present: Tensor, *, weight: float) -> Tensor:
    """(B,) float: what a clip's own stream counts; 1 or 0 where only one of the two exists."""
    share = torch.full(present.shape, weight, device=present.device)
    share = torch.where(present & ~present.flip(0), 1.0, share)
    return torch.where(~present & present.flip(0), 0.0, share)


def _valid(batch: Batch, *, modality: str) -> Tensor:
    """Frames in which either partner has something to show."""
    valid = batch.valid[modality] & batch.present[modality][:, None]
    return valid | valid.flip(0)


def _mean_over_present(
    targets: dict[str, Tensor], present: dict[str, Tensor], *, otherwise: Tensor
) -> Tensor:
    """Mean (B, K) over each clip's streams; its own label where it has none."""
    count = sum(present[name].float() for name in targets)[:, None]
    total = sum(targets[name] * present[name][:, None] for name in targets)
    return torch.where(count > 0, total / count.clamp_min(1), otherwise)
