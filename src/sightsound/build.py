"""Builds the parts of a run from its configuration: front end, model, objective, clips."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sightsound.config.settings import RunConfig
from sightsound.media.front_end import (
    AudioFrontEnd,
    FeatureFrontEnd,
    FrontEnd,
    VideoFrontEnd,
    check_features_part,
)
from sightsound.registry import MODELS, OBJECTIVES, resolve, unknown_name

if TYPE_CHECKING:  # torch is imported when something is built, not when a command is parsed
    from torch import nn

    from sightsound.data.dataset import ClipDataset
    from sightsound.data.rows import Manifest
    from sightsound.models.pretrained import Pretrained

Part = TypeVar("Part", AudioFrontEnd, VideoFrontEnd, FeatureFrontEnd)
OBJECTIVE_FILE = "objective.safetensors"  # layers of the losses, beside the best model in a run


def build_front_end(section: dict[str, Any]) -> FrontEnd:
    """The front end that a configuration's `front_end:` section describes.

    Raises:
        ValueError: unknown name or field.
    """
    for key in section.keys() - {"name", "audio", "video", "features"}:
        raise unknown_name("field in front_end", key, ("name", "audio", "video", "features"))
    name, features = section["name"], section.get("features")
    check_features_part(name, features)
    if features:
        from sightsound.features.encoding import feature_front_end

        base = feature_front_end(_replace(FeatureFrontEnd(), features, part="features"))
    else:
        from sightsound.media.logmel import front_end

        base = front_end(name)
    return dataclasses.replace(
        base,
        audio=_replace(base.audio, section.get("audio") or {}, part="audio"),
        video=_replace(base.video, section.get("video") or {}, part="video"),
    )


def _replace(values: Part, changes: dict[str, Any], *, part: str) -> Part:
    """`values` with `changes`; unknown names are errors, lists become tuples."""
    known = [f.name for f in dataclasses.fields(values)]
    for key in changes:
        if key not in known:
            raise unknown_name(f"field in front_end.{part}", key, known)
    tuples: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
    return dataclasses.replace(values, **tuples)


def build_model(section: dict[str, Any], manifest: Manifest, front_end: FrontEnd) -> Pretrained:
    """A fresh model for the classes of `manifest`, sized for what `front_end` delivers."""
    from sightsound.types import ModelInfo

    arguments = {key: value for key, value in section.items() if key != "name"}
    shapes = {f"{name}_shape": shape for name, shape in front_end.shapes.items()}
    arguments |= {"heads": manifest.num_classes, **shapes}
    model: Pretrained = resolve(MODELS, section["name"], kind="model")(**arguments)
    model.info = ModelInfo(
        name=section["name"],
        arguments=model.info.arguments,
        front_end=front_end.to_dict(),
        labels=manifest.labels,
        task=manifest.task,
        prevalence=manifest.prevalence(),
    )
    return model


def build_objective(
    section: dict[str, Any], manifest: Manifest, model: nn.Module | None = None
) -> nn.Module:
    """The training loss for the task and heads of `manifest`.

    One with layers of its own makes them for `model` (`prepare`); without a model the settings
    alone are checked.

    Raises:
        ValueError: the labels are not read, but the objective learns from them.
    """
    from sightsound.data.rows import UNLABELLED

    objective_class = resolve(OBJECTIVES, section["name"], kind="objective")
    arguments = {key: value for key, value in section.items() if key != "name"}
    task = manifest.task
    if task == UNLABELLED:
        if section.get("classification_weight", 1.0):
            raise ValueError(
                f"there are no labels to learn from (data.task is none), but objective "
                f"{section['name']!r} reads them; give labelled clips, or learn without labels: "
                "'sightsound pretrain DATA', that is objective avt with classification_weight 0"
            )
        task = "single"  # of a loss that is switched off
    objective = objective_class(task=task, heads=manifest.num_classes, **arguments)
    if model is not None and hasattr(objective, "prepare"):
        objective.prepare(model)
    return objective


def build_dataset(
    config: RunConfig,
    manifest: Manifest,
    front_end: FrontEnd,
    split: str,
    *,
    modalities: tuple[str, ...],
    train: bool = False,
    views: int = 1,
) -> ClipDataset:
    """The clips of one split; `val+test` pools two."""
    from sightsound.data.dataset import ClipDataset

    return ClipDataset(
        manifest,
        manifest.split(split),
        front_end,
        config.data,
        modalities=modalities,
        train=train,
        seed=config.seed,
        views=views,
    )


def features_folder(config: RunConfig) -> Path | None:
    """Where the features of the run's clips are kept; `None`: nowhere."""
    if config.data.features == "none":
        return None
    return Path(config.data.features or Path(config.output).parent / "features")


def model_source(path: str | Path) -> str | Path:
    """`path` (a directory, or "hf:owner/name") as it is; of a run, the model directory inside."""
    inside = Path(path) / "model"
    return inside if (inside / "config.json").is_file() else path
