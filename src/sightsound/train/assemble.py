"""From a configuration to the parts of a run."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import nn

from sightsound.build import (
    build_dataset,
    build_front_end,
    build_model,
    build_objective,
    features_folder,
    model_source,
)
from sightsound.config.settings import AugmentSettings, RunConfig, TrainSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.manifest import load_manifest
from sightsound.data.rows import SPLITS, UNLABELLED, Manifest
from sightsound.data.subset import share_of
from sightsound.evaluation.evaluate import AUTO
from sightsound.features.cache import FeatureDataset
from sightsound.features.encoding import Encoding
from sightsound.features.extract import Progress, with_features
from sightsound.media.front_end import FrontEnd
from sightsound.train.optim import build_optimizer, freeze
from sightsound.train.schedule import total_steps
from sightsound.train.skipping import check_paths
from sightsound.weights.hub import initialise_from

_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}
_OVERFIT_STEPS = 300  # enough for a tiny model to learn a handful of clips by heart


@dataclass
class Parts:
    """What a run consists of once assembled."""

    config: RunConfig
    fabric: Fabric
    front_end: FrontEnd
    manifest: Manifest
    model: nn.Module
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    train_clips: ClipDataset
    val_clips: ClipDataset | None
    steps_per_epoch: int
    total: int
    notes: list[str]

    @functools.cached_property
    def encoding(self) -> Encoding:
        """What turns batches of the loader into inputs of the model."""
        return Encoding(self.front_end, device=self.fabric.device)

    def describe(self, first_step: int) -> str:
        """One line about data, model and length of the run."""
        parameters = sum(p.numel() for p in self.model.parameters()) / 1e6
        classes = sum(map(len, self.manifest.labels.values()))
        labels = f"of {classes} classes" if classes else "without labels"
        going_on = f", going on after step {first_step}" if first_step else ""
        repeats = self.config.data.repeats
        anew = f", each {repeats} times anew," if repeats > 1 else ""
        return (
            f"{len(self.train_clips)} training clips {labels}; {parameters:.2f} M "
            f"parameters; {self.total} steps of {self.config.train.batch_size // repeats} clips"
            f"{anew} on {self.fabric.world_size} device(s){going_on}"
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
    _check_features(config, front_end)
    manifest = load_manifest(config.data, seed=config.seed)
    if manifest.num_excluded:
        notes.append(f"data.exclude: {manifest.num_excluded} clips are left out")
    if config.evaluate.split != AUTO:
        manifest.split(config.evaluate.split)  # a name that nobody knows is an error now
    for name in (name for name in manifest.splits if name not in SPLITS):
        notes.append(f"split {name}: {len(manifest.split(name))} clips, not trained on")
    _check_classes(manifest)
    if manifest.task == UNLABELLED:
        _check_trains_without_labels(settings)
    torch.manual_seed(config.seed)
    model = build_model(config.model, manifest, front_end)
    for source in () if started else settings.init:
        report = initialise_from(model, model_source(source), faithful=settings.init_faithful)
        notes.append(f"from {source}: {report}")
    model.info.provenance |= {
        "crop": config.data.crop,
        "wrap": config.data.wrap,
        "windows": config.data.windows,
        "seed": config.seed,
    }
    check_paths(model, settings)
    frozen = freeze(model, settings.freeze, head_only=settings.head_only)
    if frozen:
        notes += [f"frozen: {len(frozen)} of {len(list(model.parameters()))} parameters"]
    model.set_gradient_checkpointing(settings.gradient_checkpointing)
    objective = build_objective(config.objective, manifest, model)
    _check_mixing(config.augment, objective)
    train_clips, val_clips = _datasets(config, manifest, front_end, model.modalities)
    if config.data.train_fraction < 1:
        notes.append(
            f"data.train_fraction {config.data.train_fraction:g}: {len(train_clips)} of "
            f"{len(manifest.split('train'))} training clips"
        )
    steps_per_epoch = _steps_per_epoch(
        len(train_clips),
        batch_size=settings.batch_size,
        repeats=config.data.repeats,
        world_size=fabric.world_size,
    )
    fabric.to_device(model)
    optimizer = fabric.setup_optimizers(build_optimizer([model, objective], settings))
    return Parts(
        config=config,
        fabric=fabric,
        front_end=front_end,
        manifest=manifest,
        model=model,
        objective=objective.to(fabric.device),
        optimizer=optimizer,
        train_clips=train_clips,
        val_clips=val_clips,
        steps_per_epoch=steps_per_epoch,
        total=total_steps(settings, steps_per_epoch=steps_per_epoch, world_size=fabric.world_size),
        notes=notes,
    )


def with_stored_features(parts: Parts, *, progress: Progress | None = None) -> Parts:
    """`parts` that read features from disk, where the model reads features; new ones are computed.

    The first process computes them, the others wait.
    """
    folder = features_folder(parts.config)
    if parts.front_end.features is None or folder is None:
        return parts
    workers = parts.config.data.num_workers

    def stored(clips: ClipDataset | None) -> ClipDataset | FeatureDataset | None:
        if clips is None:
            return None
        return with_features(clips, folder, parts.encoding, num_workers=workers, progress=progress)

    if not parts.fabric.is_global_zero:
        parts.fabric.barrier()
    train_clips, val_clips = stored(parts.train_clips), stored(parts.val_clips)
    if parts.fabric.is_global_zero:
        parts.fabric.barrier()
    return dataclasses.replace(parts, train_clips=train_clips, val_clips=val_clips)


def _check_features(config: RunConfig, front_end: FrontEnd) -> None:
    """`ValueError` for changes to pixels or spectrograms where the model reads features."""
    if front_end.features is None:
        return
    allowed = {"mixup_alpha", "modality_mixup", "drop_video", "drop_audio"}
    off = AugmentSettings(flip=0.0)
    for field in dataclasses.fields(AugmentSettings):
        value = getattr(config.augment, field.name)
        if field.name not in allowed and value != getattr(off, field.name):
            raise ValueError(
                f"--augment.{field.name} is {value}, but the model reads features of frozen "
                f"encoders, which are computed once; accepted: {getattr(off, field.name)} "
                f"(what works on features: {', '.join(sorted(allowed))})"
            )


def _check_mixing(augment: AugmentSettings, objective: nn.Module) -> None:
    """`ValueError` where clips are mixed so that sound and pictures no longer go together.

    Mixup with one weight and one partner for both leaves a clip that does.
    """
    if not getattr(objective, "pairs_streams", False):
        return
    apart = augment.mixup_alpha > 0 and augment.modality_mixup
    for name, value in (("cutmix_alpha", augment.cutmix_alpha), ("modality_mixup", apart)):
        if value:
            raise ValueError(
                f"--augment.{name} is {value}, but contrastive_weight or matching_weight is above "
                "0: sound and pictures of a clip mixed in this way do not go together; accepted: "
                f"{type(value)()} (mixup_alpha alone mixes both streams alike), or both weights 0"
            )


def _check_trains_without_labels(settings: TrainSettings) -> None:
    if settings.overfit:
        raise ValueError(
            "--train.overfit is a test with labels, which are not read here: leave it out"
        )
    if settings.head_only:
        raise ValueError(
            "--train.head_only trains the classifier alone, but there are no labels for it to "
            "learn from: leave it out, or take 'sightsound train' with labelled clips"
        )


def _check_classes(manifest: Manifest) -> None:
    for names in manifest.labels.values():
        if manifest.task != "multi" and len(names) == 1:
            raise ValueError(
                f"{manifest.source} has one class only, {names[0]!r}: nothing to tell apart; "
                "a class is a folder, or a value of the column label; where classes lie a folder "
                "deeper, or a table names them, give that"
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
        config.data,
        windows="centre",
        crop=crop,
        balanced=False,
        repeats=1,
        cache=True,
        train_fraction=1.0,
    )
    still = AugmentSettings(flip=0.0)
    rates = ("dropout", "attention_dropout", "stochastic_depth")
    model = {key: 0.0 if key in rates else value for key, value in config.model.items()}
    objective = {k: v for k, v in config.objective.items() if k != "label_smoothing"}
    return dataclasses.replace(
        config, train=train, data=data, augment=still, model=model, objective=objective
    )


def _steps_per_epoch(num_clips: int, *, batch_size: int, repeats: int, world_size: int) -> int:
    """Optimiser steps in an epoch, in which every clip comes in one batch, `repeats` times.

    The incomplete last batch is left out. Repeats lengthen the epoch (Hoffer et al. 2020 enlarge
    the batch by them instead, which is the same with a `batch_size` that many times as large).

    Raises:
        ValueError: there is not one whole batch, or repeats do not divide it.
    """
    if batch_size % repeats:
        raise ValueError(
            f"--train.batch_size {batch_size} must be a multiple of --data.repeats {repeats}: it "
            "counts the repeats of a clip"
        )
    steps = num_clips // (batch_size // repeats * world_size)
    if steps == 0:
        raise ValueError(
            f"{num_clips} training clips do not fill one batch of {batch_size // repeats} on "
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
