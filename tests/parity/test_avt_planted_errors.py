"""The parity tests of the backbones would notice: each mistake is planted, a check must fail."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from avt_cases import Case, too_far
from test_planted_errors import mutate
from torch import nn

from sightsound.models.backbones.ast import AST
from sightsound.models.backbones.uniformer import GlobalLayer, LocalLayer, Stage

CASES = Path(__file__).parent / "cases"  # always these: the mistakes must show on our own


def uniformer() -> Case:
    return Case.read(CASES, "uniformer", "uniformer_tiny_a")


def ast() -> Case:
    return Case.read(CASES, "ast", "ast_tiny_a")


def set_epsilon(kind: type, value: float):
    def plant(module: nn.Module) -> None:
        for each in module.modules():
            if isinstance(each, kind):
                each.eps = value

    return plant


def tanh_gelu(module: nn.Module) -> None:
    for each in module.modules():
        if isinstance(each, nn.GELU):
            each.approximate = "tanh"


def part(path: str, plant):
    return lambda model: plant(model.get_submodule(path))


ON_MODELS = {
    "uniformer: epsilon of the norm after merging": (
        uniformer,
        part("video.stage1.norm", set_epsilon(nn.LayerNorm, 1e-6)),
    ),
    "uniformer: epsilon of global layers": (
        uniformer,
        part("video.stage4.layers", set_epsilon(nn.LayerNorm, 1e-5)),
    ),
    "uniformer: epsilon of batch norm": (uniformer, set_epsilon(nn.BatchNorm3d, 1e-6)),
    "uniformer: GELU": (uniformer, tanh_gelu),
    "ast: epsilon of layers": (ast, part("audio", set_epsilon(nn.LayerNorm, 1e-5))),
    "ast: epsilon of the classifier": (ast, part("head_norm", set_epsilon(nn.LayerNorm, 1e-6))),
    "ast: GELU": (ast, tanh_gelu),
}
IN_SOURCE = {
    "uniformer: positions in place of the tokens": (
        uniformer,
        LocalLayer,
        "_forward",
        "x = x + self.positions(_blanked(x, steps))",
        "x = self.positions(_blanked(x, steps))",
    ),
    "uniformer: no positions in global layers": (
        uniformer,
        GlobalLayer,
        "forward",
        "x = x + self.positions(_blanked(x, steps))",
        "x = x",
    ),
    "uniformer: GELU between the three convolutions": (
        uniformer,
        LocalLayer,
        "_forward",
        "self.outlet(self.neighbours(inside))",
        "self.outlet(self.activation(self.neighbours(inside)))",
    ),
    "uniformer: frames backwards": (
        uniformer,
        Stage,
        "forward",
        ".movedim(1, -1)).movedim(-1, 1)",
        ".movedim(1, -1)).movedim(-1, 1).flip(2)",
    ),
    "ast: CLS alone": (ast, AST, "forward", "x[:, :PREFIX].mean(1)", "x[:, 0]"),
    "ast: distillation first": (
        ast,
        AST,
        "forward",
        "(self.cls, self.distillation)",
        "(self.distillation, self.cls)",
    ),
    "ast: no positions": (ast, AST, "forward", "dim=1) + positions", "dim=1)"),
}


def test_checks_hold_for_the_shipped_code():
    assert too_far(uniformer(), uniformer().model()) == {}
    assert too_far(ast(), ast().model()) == {}


@pytest.mark.parametrize("name", ON_MODELS)
def test_mistake_in_a_model(name: str):
    case, plant = ON_MODELS[name]
    model = case().model()
    plant(model)
    assert too_far(case(), model)


@pytest.mark.parametrize("name", IN_SOURCE)
def test_mistake_in_the_source(monkeypatch, name: str):
    case, owner, method, old, new = IN_SOURCE[name]
    mutate(monkeypatch, owner, method, old, new)
    assert too_far(case(), case().model())


@pytest.mark.parametrize("function", ["turned_kernel", "turned_positions"])
def test_axes_not_turned(monkeypatch, function: str):
    monkeypatch.setattr(f"sightsound.weights.ast.{function}", lambda tensor, *_grid: tensor)
    assert too_far(ast(), ast().model())


def test_heads_of_the_published_width():
    """The arrays do not tell the number of heads: the configuration must be used."""
    case = uniformer()
    case.entry = case.entry | {"head_dim": 64}
    assert too_far(case, case.model())


def test_statistics_of_the_batch():
    model = uniformer().model()
    model.video.norm.train()
    with torch.no_grad():
        assert too_far(uniformer(), model)
