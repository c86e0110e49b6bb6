"""Lengths and learning rates as closed forms of the step: resuming needs only the step."""

from __future__ import annotations

import math

from sightsound.config.settings import TrainSettings

DEFAULT_EPOCHS = 30  # a guess that suits a few hundred to a few thousand clips


def total_steps(settings: TrainSettings, *, steps_per_epoch: int, world_size: int = 1) -> int:
    """Optimiser steps of the whole run, in each of which `world_size` processes take a batch.

    Raises:
        ValueError: more than one of epochs, steps, examples is set, or one is not positive.
    """
    lengths = {name: getattr(settings, name) for name in ("epochs", "steps", "examples")}
    given = {name: value for name, value in lengths.items() if value is not None}
    if len(given) > 1:
        listed = " and ".join(f"--train.{name} {value}" for name, value in given.items())
        raise ValueError(
            f"the length of a run is given once, but {listed} are set; "
            "clear the one you do not want, for example --train.epochs null"
        )
    name, value = next(iter(given.items()), ("epochs", DEFAULT_EPOCHS))
    if value <= 0:
        raise ValueError(f"--train.{name} must be positive, got {value}")
    per_step = settings.batch_size * world_size
    per_unit = {"epochs": steps_per_epoch, "steps": 1, "examples": 1 / per_step}
    return max(1, round(value * per_unit[name]))


def learning_rate(
    step: int,
    *,
    peak: float,
    total: int,
    warmup: float = 0.0,
    first: float = 0.0,
    final: float = 0.0,
) -> float:
    """Linear warm-up, then half a cosine: the rate of 0-based `step`.

    As in the official MBT (0 at step 0 where there is a warm-up): `warmup` steps may be
    fractional and the cosine lasts `total - int(warmup)` steps. `first`, where the warm-up begins,
    and `final` are shares of `peak`.
    """
    rising = first + (1 - first) * min(1.0, step / warmup) if warmup > 0 else 1.0
    progress = max(0.0, step - warmup) / max(1, total - int(warmup))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return peak * rising * (final + (1 - final) * cosine)
