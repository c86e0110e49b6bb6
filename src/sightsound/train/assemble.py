"""From a configuration to the parts of a run: devices, model, objective, optimiser and clips."""

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
from sightsound.models.pretrained import Pretrained
from sightsound.train.optim import build_optimizer, freeze
from sightsound.train.schedule import total_steps
from sightsound.train.skipping import check_paths
from sightsound.weights.hub import initialise_from

_OVERFIT_STEPS = 300  # enough for a tiny model to learn a handful of clips by heart


@dataclass
class Parts:
    """What a run consists of once assembled."""

    config: RunConfig
    fabric: Fabric
    front_end: FrontEnd
    manifest: Manifest
    model: Pretrained
    objective: nn.Module
    optimizer: torch.optim.Optimizer  # as Fabric wraps it
    train_clips: ClipDataset | FeatureDataset
    val_clips: ClipDataset | FeatureDataset | None
    steps_per_epoch: int
    total: int  # steps of the run
    notes: list[str]  # for the log

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
            precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
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
    settings, data = config.train, config.data
    front_end = build_front_end(config.front_end)
    manifest = load_manifest(data, seed=config.seed)
    if config.evaluate.split != AUTO:
        manifest.split(config.evaluate.split)  # a name that nobody knows is an error now
    _check_data(config, manifest, front_end)
    notes = []
    if manifest.num_excluded:
        notes.append(f"data.exclude: {manifest.num_excluded} clips are left out")
    for name in manifest.splits:
        if name not in SPLITS:
            notes.append(f"split {name}: {len(manifest.split(name))} clips, not trained on")
    torch.manual_seed(config.seed)
    model = build_model(config.model, manifest, front_end)
    for source in () if started else settings.init:
        report = initialise_from(model, model_source(source), faithful=settings.init_faithful)
        notes.append(f"from {source}: {report}")
    cuts = {"crop": data.crop, "wrap": data.wrap, "windows": data.windows}
    model.info.provenance |= {**cuts, "seed": config.seed}
    check_paths(model, settings)
    frozen = freeze(model, settings.freeze, head_only=settings.head_only)
    if frozen:
        notes.append(f"frozen: {len(frozen)} of {len(list(model.parameters()))} parameters")
    model.set_gradient_checkpointing(settings.gradient_checkpointing)
    objective = build_objective(config.objective, manifest, model)
    _check_mixing(config.augment, objective)
    train_clips, val_clips = _datasets(config, manifest, front_end, model.modalities)
    if data.train_fraction < 1:
        share = f"{len(train_clips)} of {len(manifest.split('train'))} training clips"
        notes.append(f"data.train_fraction {data.train_fraction:g}: {share}")
    steps_per_epoch = _steps_per_epoch(config, len(train_clips), world_size=fabric.world_size)
    fabric.to_device(model)
    optimizer = fabric.setup_optimizers(build_optimizer([model, objective], settings))
    assert isinstance(optimizer, torch.optim.Optimizer)  # one for one; the wrapper is of its kind
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

    def stored(clips: ClipDataset | FeatureDataset) -> FeatureDataset:
        assert isinstance(clips, ClipDataset)  # they are not stored yet
        return with_features(clips, folder, parts.encoding, num_workers=workers, progress=progress)

    if not parts.fabric.is_global_zero:
        parts.fabric.barrier()
    train_clips = stored(parts.train_clips)
    val_clips = stored(parts.val_clips) if parts.val_clips else None
    if parts.fabric.is_global_zero:
        parts.fabric.barrier()
    return dataclasses.replace(parts, train_clips=train_clips, val_clips=val_clips)


def _check_data(config: RunConfig, manifest: Manifest, front_end: FrontEnd) -> None:
    """`ValueError` where settings ask of labels, or of features, what these do not have."""
    if front_end.features is not None:  # pixels and spectrograms cannot change any more
        allowed = {"mixup_alpha", "modality_mixup", "drop_video", "drop_audio"}
        off = AugmentSettings(flip=0.0)
        for name, accepted in vars(off).items():
            value = getattr(config.augment, name)
            if name not in allowed and value != accepted:
                raise ValueError(
                    f"--augment.{name} is {value}, but the model reads features of frozen "
                    f"encoders, which are computed once; accepted: {accepted} "
                    f"(what works on features: {', '.join(sorted(allowed))})"
                )
    for names in manifest.labels.values():
        if manifest.task != "multi" and len(names) == 1:
            raise ValueError(
                f"{manifest.source} has one class only, {names[0]!r}: nothing to tell apart; "
                "a class is a folder, or a value of the column label; where classes lie a folder "
                "deeper, or a table names them, give that"
            )
    if manifest.task == UNLABELLED and config.train.overfit:
        raise ValueError(
            "--train.overfit is a test with labels, which are not read here: leave it out"
        )
    if manifest.task == UNLABELLED and config.train.head_only:
        raise ValueError(
            "--train.head_only trains the classifier alone, but there are no labels for it to "
            "learn from: leave it out, or take 'sightsound train' with labelled clips"
        )


def _check_mixing(augment: AugmentSettings, objective: nn.Module) -> None:
    """`ValueError` where clips are mixed so that sound and pictures no longer go together.

    Mixup with one weight and one partner for both leaves a clip that does.
    """
    if not getattr(objective, "pairs_streams", False):
        return
    apart = augment.mixup_alpha > 0 and augment.modality_mixup
    for name, value, off in (
        ("cutmix_alpha", augment.cutmix_alpha, 0.0),
        ("modality_mixup", apart, False),
    ):
        if value:
            raise ValueError(
                f"--augment.{name} is {value}, but contrastive_weight or matching_weight is above "
                "0: sound and pictures of a clip mixed in this way do not go together; accepted: "
                f"{off} (mixup_alpha alone mixes both streams alike), or both weights 0"
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
    data = dataclasses.replace(
        config.data,
        windows="centre",
        crop="full" if config.data.crop == "full" else "centre",
        balanced=False,
        repeats=1,
        cache=True,
        train_fraction=1.0,
    )
    rates = ("dropout", "attention_dropout", "stochastic_depth")
    model = {key: 0.0 if key in rates else value for key, value in config.model.items()}
    objective = {k: v for k, v in config.objective.items() if k != "label_smoothing"}
    return dataclasses.replace(
        config,
        train=train,
        data=data,
        augment=AugmentSettings(flip=0.0),
        model=model,
        objective=objective,
    )


def _steps_per_epoch(config: RunConfig, num_clips: int, *, world_size: int) -> int:
    """Optimiser steps in an epoch, in which every clip comes in one batch, `repeats` times.

    The incomplete last batch is left out. Repeats lengthen the epoch (Hoffer et al. 2020 enlarge
    the batch by them instead, which is the same with a `batch_size` that many times as large).

    Raises:
        ValueError: there is not one whole batch, or repeats do not divide it.
    """
    batch_size, repeats = config.train.batch_size, config.data.repeats
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
        count = min(config.train.overfit, len(train.rows))  # at equal distances: several classes
        train.rows = [train.rows[index * len(train.rows) // count] for index in range(count)]
        return train, train
    if not manifest.split("val"):
        return train, None
    return train, build_dataset(config, manifest, front_end, "val", modalities=modalities)
