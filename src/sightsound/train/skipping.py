"""Steps that leave the weights of one path as they are, so that a slower one trains longer.

Intended (paper MAFnet, figure 6): with some probability a step does not update the video path. The
gradients of that path are dropped; one optimiser keeps its moments.

As released: three Adam optimisers of one loss, one drawn at each step, for all variables, for those
of the sound and for those of the pictures, each with moments and a step count of its own. Variables
belong to a list by their names, and most of the video path's carry neither word, so that hardly
anything is skipped.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from lightning_fabric.wrappers import _FabricOptimizer
from torch import nn

from sightsound.config.settings import TrainSettings
from sightsound.models.pretrained import Pretrained
from sightsound.seeding import stable_seed
from sightsound.types import AUDIO, VIDEO

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


def skipped_path(settings: TrainSettings, *, seed: int, step: int) -> str | None:
    """The modality whose path is not updated at `step`; `None`: all are."""
    draw = np.random.default_rng(stable_seed(seed, step, "skip")).random()
    if draw < settings.skip_video:
        return VIDEO
    return AUDIO if draw < settings.skip_video + settings.skip_audio else None


def skip(model: nn.Module, optimizer: torch.optim.Optimizer, path: str | None) -> None:
    """Prepare the coming `optimizer.step()` to leave `path` as it is.

    `model` names the parameters of each path in `update_paths`; see the module's text.
    """
    if isinstance(optimizer, _FabricOptimizer):
        optimizer = optimizer.optimizer
    if isinstance(optimizer, ReleasedAdam):
        optimizer.list_name = {VIDEO: AUDIO, AUDIO: VIDEO, None: "all"}[path]
        optimizer.members = _parameters(model, optimizer.list_name, released=True)
    elif path is not None:
        for parameter in _parameters(model, path, released=False):
            parameter.grad = None


def skips(settings: TrainSettings) -> bool:
    """Whether steps may leave a path as it is."""
    return bool(settings.skip_video or settings.skip_audio or settings.skip_released)


@runtime_checkable
class TwoPaths(Protocol):
    """A model that says which of its parameters belong to the path of a modality."""

    def update_paths(self, *, released: bool = False) -> dict[str, list[str]]:
        """{modality: names of its parameters}; `released`: as the released training has it."""
        ...


def check_paths(model: Pretrained, settings: TrainSettings) -> None:
    """`ValueError` if paths are to be skipped of a model that has none."""
    if skips(settings) and not isinstance(model, TwoPaths):
        raise ValueError(
            f"train.skip_video and train.skip_audio need a model with two paths such as mafnet; "
            f"{model.info.name} names none: set both to 0"
        )


def _parameters(model: nn.Module, name: str, *, released: bool) -> list[nn.Parameter]:
    named = dict(model.named_parameters())
    assert isinstance(model, TwoPaths)  # `check_paths` has looked
    paths = {"all": list(named), **model.update_paths(released=released)}
    return [named[key] for key in paths[name]]


class ReleasedAdam(torch.optim.Optimizer):
    """Adam as TensorFlow writes it, with separate moments for each list of parameters.

    m and v are corrected for their start in the step size: epsilon is added to sqrt(v) as it is.
    """

    def __init__(self, groups: list[dict], *, lr: float) -> None:
        super().__init__(groups, {"lr": lr})
        self.list_name = "all"
        self.members: list[nn.Parameter] | None = None  # None: all

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # takes no closure
        """One step of the list's own Adam, over its members that have a gradient."""
        members = None if self.members is None else set(map(id, self.members))
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and (members is None or id(parameter) in members):
                    self._update(parameter, group["lr"])

    def _update(self, parameter: nn.Parameter, lr: float) -> None:
        state, name, (first, second) = self.state[parameter], self.list_name, _BETAS
        if f"step_{name}" not in state:
            state[f"step_{name}"] = torch.zeros(())
            state[f"mean_{name}"] = torch.zeros_like(parameter)
            state[f"square_{name}"] = torch.zeros_like(parameter)
        state[f"step_{name}"] += 1
        count = float(state[f"step_{name}"])
        mean, square = state[f"mean_{name}"], state[f"square_{name}"]
        mean.lerp_(parameter.grad, 1 - first)
        square.mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
        size = lr * (1 - second**count) ** 0.5 / (1 - first**count)
        parameter.addcdiv_(mean, square.sqrt().add_(_EPSILON), value=-size)
