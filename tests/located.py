"""Clips whose events have a known place and time, as tensors, and models that learn them at once.

Pictures are blocks of random colours. In three of eight frames a square of 12 x 12 of 32 x 32
pixels is red or blue. Sound is noise; for 24 of 96 frames, in 8 of 32 mel bins, it is striped along
time or along frequency. Either event may be missing, so that a class is told by what is there, not
by what is not. Events have the energy of their surroundings: an untrained model sees nothing there.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sightsound.explain.explanation import Explanation
from sightsound.explain.occlusion import over
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.models.mbt import MBT
from sightsound.predict import Predictor
from sightsound.types import Batch

FRAMES, SIDE = 8, 32
LENGTH, MELS = 96, 32
EVENT = {"video": (3, 12, 12), "audio": (24, 8)}
SHAPES = {"video": (FRAMES, SIDE, SIDE), "audio": (LENGTH, MELS)}
RED, BLUE = (1.0, -1.0, -1.0), (-1.0, -1.0, 1.0)
OTHERS = ((-1, 1, -1), (1, 1, -1), (-1, 1, 1), (1, -1, 1), (1, 1, 1), (-1, -1, -1))
KINDS = 3  # of a stream: two events and none
LABELS = {"label": [f"{seen}_{heard}" for seen in ("red", "blue", "none")
                    for heard in ("tone", "clicks", "noise")]}  # fmt: skip
FRONT_END = FrontEnd(
    "located",
    AudioFrontEnd(num_frames=LENGTH, num_mels=MELS),
    VideoFrontEnd(num_frames=FRAMES, height=SIDE, width=SIDE),
)


def draw(
    number: int, *, seed: int, events_only: bool = False, scale: int = 1
) -> tuple[Batch, dict[str, Tensor]]:
    """A batch that is ready, and {modality: (B, *shape) bool}: where its events are.

    Args:
        events_only: both streams of every clip have an event.
        scale: of rows and columns.
    """
    generator = torch.Generator().manual_seed(seed)
    kinds = {
        name: torch.randint(KINDS - events_only, (number,), generator=generator) for name in SHAPES
    }
    where = {
        name: _places(kinds[name], SHAPES[name], EVENT[name], generator=generator)
        for name in SHAPES
    }
    video = _pictures(kinds["video"], where["video"], generator=generator)
    audio = _sounds(kinds["audio"], where["audio"], generator=generator)
    classes = KINDS * kinds["video"] + kinds["audio"]
    where["video"] = _scaled(where["video"], scale)
    return batch_of(_scaled(video, scale), audio, classes), where


def _scaled(video: Tensor, scale: int) -> Tensor:
    return video.repeat_interleave(scale, dim=-1).repeat_interleave(scale, dim=-2)


def batch_of(video: Tensor, audio: Tensor, classes: Tensor) -> Batch:
    """Whole clips, ready for a model."""
    number = len(classes)
    lengths = {"video": video.shape[1], "audio": audio.shape[2]}
    return Batch(
        video=video,
        audio=audio,
        present={name: torch.ones(number, dtype=torch.bool) for name in lengths},
        valid={name: torch.ones(number, n, dtype=torch.bool) for name, n in lengths.items()},
        target=functional.one_hot(classes, KINDS**2).float(),
        id=[str(index) for index in range(number)],
        view=torch.zeros(number, dtype=torch.long),
        complete=True,
    )


def _places(
    kinds: Tensor, shape: tuple[int, ...], size: tuple[int, ...], *, generator: torch.Generator
) -> Tensor:
    """(B, *shape) bool: a box of `size` anywhere, for all kinds but the last."""
    where = torch.zeros(len(kinds), *shape, dtype=torch.bool)
    for index, kind in enumerate(kinds.tolist()):
        first = [
            int(torch.randint(whole - part + 1, (), generator=generator))
            for whole, part in zip(shape, size, strict=True)
        ]
        box = tuple(slice(at, at + part) for at, part in zip(first, size, strict=True))
        where[(index, *box)] = kind < KINDS - 1
    return where


def _pictures(kinds: Tensor, where: Tensor, *, generator: torch.Generator) -> Tensor:
    palette = torch.tensor(OTHERS, dtype=torch.float32)
    grid = (len(kinds), FRAMES, SIDE // 4, SIDE // 4)
    blocks = palette[torch.randint(len(palette), grid, generator=generator)].movedim(-1, 2)
    video = blocks.repeat_interleave(4, dim=3).repeat_interleave(4, dim=4)
    colours = torch.tensor((RED, BLUE, RED))[kinds][:, None, :, None, None]
    video = torch.where(where[:, :, None], colours, video)
    return video + 0.2 * torch.randn(video.shape, generator=generator)


def _sounds(kinds: Tensor, where: Tensor, *, generator: torch.Generator) -> Tensor:
    along_time = (-1.0) ** torch.arange(MELS).expand(LENGTH, MELS)
    along_mels = (-1.0) ** (torch.arange(LENGTH) // 2)[:, None].expand(LENGTH, MELS)
    stripes = torch.stack((along_time, along_mels, along_time))[kinds]
    noise = torch.randn(stripes.shape, generator=generator)
    return torch.where(where, stripes + 0.2 * noise, noise)[:, None]


# --- models -------------------------------------------------------------------------------------

SMALL = dict(
    heads={"label": KINDS**2},
    video_shape=SHAPES["video"],
    audio_shape=SHAPES["audio"],
    video_patch=(1, 8, 8),
    audio_patch=(8, 8),
    width=48,
    num_heads=4,
    depth=2,
    fusion_layer=1,
    mlp_width=96,
    bottleneck_tokens=2,
)


def small_mbt(**arguments: object) -> MBT:
    torch.manual_seed(0)
    return MBT(**SMALL | arguments)


def trained(
    model: nn.Module, *, steps: int, batch_size: int = 32, rate: float = 2e-3, scale: int = 1
) -> Predictor:
    """The model after some steps on clips of which none comes twice."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, step / 40) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    model.train()
    for step in range(steps):
        batch, _ = draw(batch_size, seed=10_000 + step, scale=scale)
        logits = model({name: batch.inputs[name] for name in model.modalities}).logits
        loss = functional.cross_entropy(logits, target_of(model, batch))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return predictor_of(model)


def target_of(model: nn.Module, batch: Batch) -> Tensor:
    """(B, 9) what is seen and heard, or (B, 3) what one stream tells."""
    both = batch.target.unflatten(1, (KINDS, KINDS))
    by_stream = {"video": both.sum(2), "audio": both.sum(1)}
    return batch.target if len(model.modalities) > 1 else by_stream[model.modalities[0]]


def randomised(model: nn.Module, *, seed: int) -> Predictor:
    """The model with random numbers in place of everything it has learned.

    Matrices keep their deviation, each is drawn anew; the classifier starts from zeros, so it too.
    """
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=float(parameter.std()) or 0.02)
    return predictor_of(model)


def predictor_of(model: nn.Module) -> Predictor:
    number = sum(model.heads.values())
    labels = {"label": LABELS["label"][:number]}
    model.info = dataclasses.replace(model.info, front_end=FRONT_END.to_dict(), labels=labels)
    return Predictor(model, device="cpu")


# --- measures -----------------------------------------------------------------------------------


def times_chance(maps: list[Explanation], where: dict[str, Tensor], name: str) -> float:
    """The part of the maps' mass that lies within the events, over these events' part of the clip.

    What speaks against the class, below zero, has no mass. A map of zeros is as good as chance.
    """
    found = []
    for one, true in zip(maps, where[name].numpy(), strict=True):
        cells = torch.from_numpy(one.streams[name]).clamp(min=0)[None]
        mass = over(cells, true.shape)[0].numpy()
        inside = mass[true].sum() / mass.sum() if mass.sum() else true.mean()
        found.append(inside / true.mean())
    return float(np.mean(found))
