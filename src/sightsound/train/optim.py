"""The optimiser: which parameters are trained, and which are decayed."""

from __future__ import annotations

import fnmatch

import torch
from torch import nn

from sightsound.config.settings import TrainSettings
from sightsound.registry import unknown_name
from sightsound.train.skipping import ReleasedAdam

HEAD = "head."  # names of the classifier's parameters, in every model


def freeze(model: nn.Module, patterns: tuple[str, ...], *, head_only: bool = False) -> list[str]:
    """Names of the parameters that match `patterns` and no longer train.

    With `head_only` all but those of the classifier.

    Raises:
        ValueError: a pattern matches nothing, or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    frozen = {name for name in names if head_only and not name.startswith(HEAD)}
    for pattern in patterns:
        matched = fnmatch.filter(names, pattern)
        if not matched:
            tops = {name.split(".")[0] + ".*" for name in names}
            raise unknown_name("parameter pattern in train.freeze", pattern, tops)
        frozen.update(matched)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    if len(frozen) == len(names):
        raise ValueError(f"train.freeze {list(patterns)} freezes every parameter of the model")
    return sorted(frozen)


def build_optimizer(modules: list[nn.Module], settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimiser over all trainable parameters of `modules`.

    Parameters that a module lists in `no_weight_decay()`, vectors and scalars are not decayed.
    """
    decayed: list[nn.Parameter] = []
    not_decayed: list[nn.Parameter] = []
    for module in modules:
        exempt: set[str] = getattr(module, "no_weight_decay", set)()
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                group = not_decayed if parameter.ndim < 2 or name in exempt else decayed
                group.append(parameter)
    decays = ((decayed, settings.weight_decay), (not_decayed, 0.0))
    groups = [{"params": some, "weight_decay": decay} for some, decay in decays if some]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)
    if settings.skip_released:
        return ReleasedAdam(groups, lr=settings.learning_rate)
    optimizer = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return optimizer(groups, lr=settings.learning_rate, fused=True)
