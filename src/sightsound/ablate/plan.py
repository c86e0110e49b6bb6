"""Turns a study into cells: checked configurations with their parameters and FLOPs.

A cell is named by what it changes in the base configuration, so that studies share the cells they
have in common. Arguments that cannot matter (the fusion strategy of late fusion) are those of the
base, so that such cells are one. Nothing is trained, written or allocated here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sightsound.ablate.studies import Axis, Study, model_depth, streams_of
from sightsound.build import build_dataset, build_front_end, build_objective
from sightsound.config.load import changed, flat
from sightsound.config.parser import UsageError
from sightsound.config.settings import RunConfig
from sightsound.data.rows import Manifest
from sightsound.evaluation.evaluate import scored_split
from sightsound.flops import Work
from sightsound.media.decode import DecodeError
from sightsound.weights.hub import check_sources

BASE = "base"  # name of the cell that changes nothing
# Differ from run to run of one cell; where features are kept does not change them.
_EACH_RUN = ("seed", "output", "data.features")
_LONGEST_NAME = 120  # letters; file systems take 255


@dataclass(frozen=True)
class Cell:
    """One configuration, trained once per seed."""

    name: str
    config: RunConfig
    changes: dict[str, Any]  # {dotted name: value} where it differs from the base
    flops: int  # of one clip and view, forward
    parameters: int
    mean_of: tuple[Cell, ...] = ()  # not trained itself: the mean of these models' logits


@dataclass(frozen=True)
class Point:
    """A place in a study: one value per axis, and the cell that belongs there."""

    values: tuple[Any, ...]
    cell: Cell


@dataclass(frozen=True)
class Plan:
    """A study with its points, line by line."""

    study: Study
    points: tuple[Point, ...]


def make_plan(study: Study, base: RunConfig, manifest: Manifest) -> Plan:
    """Every point of `study`, its configuration resolved and its model built on the meta device.

    Raises:
        ValueError: the base does not suit the study, or a value is wrong; the message says where.
    """
    try:
        given = base.model["name"]
        if study.model and given != study.model:
            raise UsageError(
                f"it varies {study.model}, but model is {given}; give a recipe of {study.model} "
                "with --config"
            )
        study.check(base)
        values = [axis_values(axis, base) for axis in study.axes]
    except ValueError as error:
        raise UsageError(f"study {study.name!r}: {error}") from error
    lines = itertools.product(*values[1:])
    places = [(x, *line) for line in lines for x in values[0]]
    seconds = clip_seconds(base, manifest) if study.covers_clips else 0.0
    points = (_point(study, place, base, manifest, seconds=seconds) for place in places)
    plan = Plan(study, tuple(points))
    if len(places) > 1 and len({point.cell.name for point in plan.points}) == 1:
        names = " and ".join(axis.name for axis in study.axes)
        raise UsageError(
            f"study {study.name!r}: {names} makes no difference here, since {_reason(base.model)}"
        )
    return plan


def axis_values(axis: Axis, base: RunConfig) -> tuple[Any, ...]:
    """The values of `axis`; some follow from the base.

    Raises:
        ValueError: there are none.
    """
    values = axis.values(base) if callable(axis.values) else axis.values
    if not values:
        raise UsageError("name what to start from, such as --inits scratch runs/audio/model")
    return values


def _point(
    study: Study, values: Sequence[Any], base: RunConfig, manifest: Manifest, *, seconds: float
) -> Point:
    parts = study.x.mean_of.get(values[0], ()) if study.x.mean_of else ()
    if parts:
        others = [(part, *values[1:]) for part in parts]
        points = [_point(study, other, base, manifest, seconds=seconds) for other in others]
        return Point(tuple(values), mean_cell([point.cell for point in points]))
    overrides: dict[str, Any] = {}
    try:
        for axis, value in reversed([*zip(study.axes, values, strict=True)]):  # x decides
            overrides |= axis.overrides(base, value)
        if study.covers_clips:
            overrides |= covering_views(base, overrides, seconds=seconds)
        return Point(tuple(values), make_cell(overrides, base, manifest))
    except ValueError as error:
        words = ", ".join(f"{a.name} {v}" for a, v in zip(study.axes, values, strict=True))
        raise UsageError(f"study {study.name!r}, {words}: {error}") from error


def make_cell(overrides: Mapping[str, Any], base: RunConfig, manifest: Manifest) -> Cell:
    """The cell that differs from `base` by `overrides`.

    Raises:
        ValueError: a wrong value, or settings that do not go together.
        FileNotFoundError: weights to start from are not there.
    """
    config = changed(base, overrides)
    idle = {n: base.model[n] for n in idle_arguments(config.model) if n in base.model}
    config = dataclasses.replace(config, model=config.model | idle)
    there = settings_of(config)  # another model lacks arguments, which its name says
    found = differences(base, config)
    changes = {name: new for name, (_, new) in found.items() if name in there}
    check_sources(config.train.init)
    build_objective(config.objective, manifest)
    sections = json.dumps(config.model), json.dumps(config.front_end)
    flops, parameters = _size(*sections, tuple(manifest.num_classes.items()))
    return Cell(cell_name(changes), config, changes, flops, parameters)


def mean_cell(parts: Sequence[Cell]) -> Cell:
    """The mean of the logits of `parts`, which are trained apart."""
    changes = {"mean_of": [part.name for part in parts]}
    return Cell(
        cell_name(changes),
        parts[-1].config,
        changes,
        sum(part.flops for part in parts),
        sum(part.parameters for part in parts),
        tuple(parts),
    )


_AUDIOSET_SECONDS = 10.0
_LOOKED_AT = 20  # clips whose length is looked up
_LEFT_OUT = 0.05  # share of a window: clips of 10 s last 9.9 to 10.1


def clip_seconds(base: RunConfig, manifest: Manifest) -> float:
    """The longest of some clips that are scored; without any, AudioSet's 10 s.

    Files that cannot be read are passed over here: training and scoring name them.
    """
    if not manifest.rows:
        return _AUDIOSET_SECONDS
    split = scored_split(manifest, base.evaluate.split)
    modalities, front_end = tuple(streams_of(base.model)), build_front_end(base.front_end)
    clips = build_dataset(base, manifest, front_end, split, modalities=modalities)
    found = []
    for row in clips.rows[:: max(1, len(clips.rows) // _LOOKED_AT)]:
        with contextlib.suppress(DecodeError):
            found.append(clips.duration(row))
    return max(found, default=_AUDIOSET_SECONDS)


def covering_views(
    base: RunConfig, overrides: Mapping[str, Any], *, seconds: float
) -> dict[str, int]:
    """Views that cover `seconds` with the windows of `overrides`; no fewer than the recipe's.

    "At inference, we uniformly sample multiple windows covering the entire video" (paper MBT,
    section 4.3.2).
    """
    window = overrides["front_end.video.window_seconds"]
    return {"evaluate.views": max(base.evaluate.views, math.ceil(seconds / window - _LEFT_OUT))}


def idle_arguments(model: Mapping[str, Any]) -> tuple[str, ...]:
    """Arguments of a model that change nothing, given the others: no weight and no number."""
    if model["name"] == "avt":
        if model["fusion_depth"] == 0:
            return ("bottleneck_tokens", "fusion_update", "mlp_ratio", "fusion_stochastic_depth")
        return ("fusion_update",) if model["fusion_depth"] == 1 else ()
    if model["name"] == "mafnet":
        scorer = ("scorer",) if model["attention"] == "none" else ()
        if len(model["modalities"]) == 1:
            return ("film", "fusion", "mcb_size", *scorer)
        return scorer if model["fusion"] == "mcb" else ("mcb_size", *scorer)
    if model["name"] == "mbt":
        bottleneck = ("bottleneck_tokens", "update", "update_order")
        if len(model["modalities"]) == 1:
            return ("fusion", "fusion_layer", *bottleneck)
        if model["fusion_layer"] >= model_depth(model):
            return ("fusion", *bottleneck)
        if model["fusion"] != "bottleneck":
            return bottleneck
        return ("update_order",) if model["update"] == "averaged" else ()
    return ()


def _reason(model: Mapping[str, Any]) -> str:
    """Why arguments of MBT or AVT are idle; those of MAFnet's studies never all are."""
    if model["name"] == "avt":
        return f"model.fusion_depth is {model['fusion_depth']}"
    if len(model["modalities"]) == 1:
        return f"the model has one stream, {model['modalities'][0]}"
    if model["fusion_layer"] >= model_depth(model):
        return f"fusion layer {model['fusion_layer']} is late fusion, the last layer"
    name = "fusion" if model["fusion"] != "bottleneck" else "update"
    return f"model.{name} is {model[name]}"


@cache
def _size(model: str, front_end: str, heads: tuple[tuple[str, int], ...]) -> tuple[int, int]:
    """Operations of a forward pass and parameters; sections as JSON, built on the meta device."""
    config = RunConfig(model=json.loads(model), front_end=json.loads(front_end))
    work = Work.of(config, heads=dict(heads))
    return work.total.flops, work.parameters


# ---------------------------------------------------------------------------- names


def settings_of(config: RunConfig) -> dict[str, Any]:
    """{dotted name: value} of everything that determines a cell; the front end in full."""
    values = dataclasses.asdict(config) | {"front_end": _front_end(json.dumps(config.front_end))}
    named = flat(json.loads(json.dumps(values)))
    return {name: value for name, value in named.items() if name not in _EACH_RUN}


@cache
def _front_end(section: str) -> dict[str, Any]:
    """All numbers of a front end; encoders are read for them, which takes a while."""
    return build_front_end(json.loads(section)).to_dict()


def differences(first: RunConfig, second: RunConfig) -> dict[str, tuple[Any, Any]]:
    """{dotted name: (value in first, value in second)} where they differ."""
    old, new = settings_of(first), settings_of(second)
    names = [name for name in old | new if old.get(name) != new.get(name)]
    return {name: (old.get(name), new.get(name)) for name in names}


def config_hash(config: RunConfig) -> str:
    """Twelve hexadecimal digits that depend on everything that determines a cell."""
    text = json.dumps(settings_of(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def cell_name(changes: Mapping[str, Any]) -> str:
    """`model.fusion=cross_attention,model.fusion_layer=2`, fit for a folder."""
    words = {
        name: ("+".join(map(str, value)) or "none")
        if isinstance(value, list)
        else (str(value) if isinstance(value, str | float) else json.dumps(value))
        for name, value in changes.items()
    }
    plain = ",".join(f"{name}={word}" for name, word in words.items()) or BASE
    name = re.sub(r"[^A-Za-z0-9._=,+-]+", "_", plain)[:_LONGEST_NAME]
    if name == plain:
        return name
    return f"{name}-{hashlib.sha256(plain.encode()).hexdigest()[:6]}"
