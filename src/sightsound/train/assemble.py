"""From a configuration to the parts of a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import nn

from sightsound.data.dataset import ClipDataset
from sightsound.data.manifest import Manifest, load_manifest
from sightsound.data.subset import share_of
from sightsound.media.front_end import FrontEnd
from sightsound.run import (
    RunConfig,
    build_dataset,
    build_front_end,
    build_model,
    build_objective,
    model_source,
)
from sightsound.settings import AugmentSettings, TrainSettings
from sightsound.train.optim import build_optimizer, freeze
from sightsound.train.schedule import total_steps
from sightsound.weights.hub import initialise_from

_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}
_OVERFIT_STEPS = 300  # enough for a tiny model to learn a handful of clips by heart


@dataclass
class Parts:
    """What a run consists of once assembled. `wrapped` is `model` behind Fabric."""

    config: RunConfig
    fabric: Fabric
    front_end: FrontEnd
    manifest: Manifest
    model: nn.Module
    wrapped: nn.Module
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    train_clips: ClipDataset
    val_clips: ClipDataset | None
    steps_per_epoch: int
    total: int
    notes: list[str]

    def describe(self, first_step: int) -> str:
        """One line about data, model and length of the run."""
        parameters = sum(p.numel() for p in self.model.parameters()) / 1e6
        classes = sum(self.manifest.num_classes.values())
        going_on = f", going on after step {first_step}" if first_step else ""
        return (
            f"{len(self.train_clips)} training clips of {classes} classes; {parameters:.2f} M "
            f"parameters; {self.total} steps of {self.config.train.batch_size} clips on "
            f"{self.fabric.world_size} device(s){going_on}"
        )


def launch(settings: TrainSettings) -> Fabric:
    """The devices and processes that `settings` ask for, started.

    Raises:
        ValueError: there is no such device here, or not so many.
    """
    try:
        fabric = Fabric(
            accelerator=settings.accelerator,
            devices=settings.devices,
            precision=_PRECISION[settings.precision],
        )
    except (RuntimeError, ValueError) as error:  # no such device, or not so many of them
        raise ValueError(
            f"cannot use --train.accelerator {settings.accelerator} --train.devices "
            f"{settings.devices} here: {error}; leave both out to use what there is"
        ) from error
    fabric.launch()
    return fabric


def assemble(config: RunConfig, fabric: Fabric, *, started: bool = False) -> Parts:
    """All parts, on the device of `fabric`; nothing is written and no clip is decoded.

    A run that has `started` has a checkpoint: the weights of `train.init` are not read again.
    """
    notes: list[str] = []
    settings = config.train
    front_end = build_front_end(config.front_end)
    manifest = load_manifest(config.data, seed=config.seed)
    _check_classes(manifest)
    torch.manual_seed(config.seed)
    model = build_model(config.model, manifest, front_end)
    for source in () if started else settings.init:
        report = initialise_from(model, model_source(source), faithful=settings.init_faithful)
        notes.append(f"from {source}: {report}")
    model.info.provenance |= {
        "crop": config.data.crop,
        "wrap": config.data.wrap,
        "seed": config.seed,
    }
    frozen = freeze(model, settings.freeze)
    if frozen:
        notes += [f"frozen: {len(frozen)} of {len(list(model.parameters()))} parameters"]
    model.set_gradient_checkpointing(settings.gradient_checkpointing)
    objective = build_objective(config.objective, manifest)
    train_clips, val_clips = _datasets(config, manifest, front_end, model.modalities)
    if config.data.train_fraction < 1:
        notes.append(
            f"data.train_fraction {config.data.train_fraction:g}: {len(train_clips)} of "
            f"{len(manifest.split('train'))} training clips"
        )
    steps_per_epoch = _steps_per_epoch(
        len(train_clips), batch_size=settings.batch_size, world_size=fabric.world_size
    )
    wrapped = fabric.setup_module(model)
    wrapped.mark_forward_method("encode")
    wrapped.mark_forward_method("fuse")
    optimizer = fabric.setup_optimizers(build_optimizer([model, objective], settings))
    return Parts(
        config=config,
        fabric=fabric,
        front_end=front_end,
        manifest=manifest,
        model=model,
        wrapped=wrapped,
        objective=objective.to(fabric.device),
        optimizer=optimizer,
        train_clips=train_clips,
        val_clips=val_clips,
        steps_per_epoch=steps_per_epoch,
        total=total_steps(settings, steps_per_epoch=steps_per_epoch),
        notes=notes,
    )


def _check_classes(manifest: Manifest) -> None:
    for names in manifest.labels.values():
        if manifest.task != "multi" and len(names) == 1:
            raise ValueError(
                f"{manifest.source} has one class only, {names[0]!r}: nothing to tell apart; "
                "a class is a folder, or a value of the column label"
            )


def overfit(config: RunConfig) -> RunConfig:
    """The same run as a self-test: nothing random in the data or the model, one fixed batch.

    An epoch is then one step. Of the run's lengths only `steps` counts.
    """
    steps = config.train.steps or _OVERFIT_STEPS
    train = dataclasses.replace(
        config.train,
        epochs=None,
        examples=None,
        steps=steps,
        batch_size=config.train.overfit,
        accumulate=1,
        evaluate_every=steps,
    )
    crop = "full" if config.data.crop == "full" else "centre"
    data = dataclasses.replace(
        config.data, windows="centre", crop=crop, balanced=False, cache=True, train_fraction=1.0
    )
    still = AugmentSettings(flip=0.0)
    rates = ("dropout", "attention_dropout", "stochastic_depth")
    model = {key: 0.0 if key in rates else value for key, value in config.model.items()}
    objective = {k: v for k, v in config.objective.items() if k != "label_smoothing"}
    return dataclasses.replace(
        config, train=train, data=data, augment=still, model=model, objective=objective
    )


def _steps_per_epoch(num_clips: int, *, batch_size: int, world_size: int) -> int:
    """Optimiser steps in an epoch; the incomplete last batch is left out.

    Raises:
        ValueError: there is not one whole batch.
    """
    steps = num_clips // (batch_size * world_size)
    if steps == 0:
        raise ValueError(
            f"{num_clips} training clips do not fill one batch of {batch_size} on "
            f"{world_size} device(s); lower --train.batch_size"
        )
    return steps


def _datasets(
    config: RunConfig, manifest: Manifest, front_end: FrontEnd, modalities: tuple[str, ...]
) -> tuple[ClipDataset, ClipDataset | None]:
    """Training clips, or a share of them, and validation clips; in a self-test, the same few."""
    if not manifest.split("train"):
        raise ValueError(
            f"{manifest.source} has no training clips; its splits are "
            f"{sorted({row.split for row in manifest.rows})}, one must be called train"
        )
    train = build_dataset(config, manifest, front_end, "train", modalities=modalities, train=True)
    if config.data.train_fraction < 1:
        train.rows = share_of(train.rows, share=config.data.train_fraction, seed=config.seed)
    if config.train.overfit:
        train.rows = _spread(train.rows, config.train.overfit)
        return train, train
    if not manifest.split("val"):
        return train, None
    return train, build_dataset(config, manifest, front_end, "val", modalities=modalities)


def _spread(rows: list, count: int) -> list:
    """`count` rows taken at equal distances, so that several classes are among them."""
    count = min(count, len(rows))
    return [rows[index * len(rows) // count] for index in range(count)]
