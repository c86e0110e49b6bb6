"""What every trainable backbone must do (`models/backbone.py`), run over `registry.BACKBONES`.

Those of transformers run where that package is installed.
"""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor, nn

from sightsound.registry import BACKBONES, resolve
from sightsound.types import VIDEO

HUB = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
SMALL_VIT = dict(width=16, num_heads=2, depth=2, patch=(2, 8, 8))
# {name of a backbone: {name of a variant: (shape, keyword arguments)}}
VARIANTS = {
    "ast": {
        "plain": (
            (36, 16),
            dict(width=16, num_heads=2, depth=2, patch=(8, 8), stride=(5, 4)),
        )
    },
    "uniformer": {
        "plain": (
            (4, 32, 64),
            dict(widths=(4, 8, 16, 16), depths=(1, 1, 1, 1), head_width=8),
        )
    },
    "vit": {
        "frame": ((4, 16, 24), SMALL_VIT),
        "joint": ((4, 16, 24), SMALL_VIT | {"attention": "joint"}),
        "single": ((3, 16, 24), SMALL_VIT | {"patch": (1, 8, 8)}),
    },
    "transformers_video": {
        "videomae": ((4, 16, 24), HUB | {"model_type": "videomae", "patch_size": 8}),
        "videomae-first": (
            (4, 16, 24),
            HUB | {"model_type": "videomae", "patch_size": 8, "use_mean_pooling": False},
        ),
        "vivit": ((4, 16, 24), HUB | {"model_type": "vivit", "tubelet_size": [2, 8, 8]}),
        "timesformer": ((3, 16, 16), HUB | {"model_type": "timesformer", "patch_size": 8}),
        "timesformer-joint": (
            (3, 16, 16),
            HUB
            | {"model_type": "timesformer", "patch_size": 8}
            | {"attention_type": "joint_space_time"},
        ),
        "vjepa2": (
            (4, 16, 16),
            HUB
            | {"model_type": "vjepa2", "patch_size": 8, "hidden_size": 24, "mlp_ratio": 2.0}
            | {"pred_num_hidden_layers": 1},  # it is built, and dropped
        ),
    },
}
installed = importlib.util.find_spec("transformers") is not None
every_backbone = pytest.mark.parametrize(
    "name, variant",
    [
        pytest.param(
            name,
            variant,
            id=f"{name}-{variant}",
            marks=[pytest.mark.skipif(not installed, reason="needs transformers")]
            if name == "transformers_video"
            else [],
        )
        for name, table in VARIANTS.items()
        for variant in table
    ],
)


def build(name: str, variant: str) -> nn.Module:
    """A backbone whose every parameter is random."""
    torch.manual_seed(0)
    shape, options = VARIANTS[name][variant]
    if name == "transformers_video":
        options = {"config": options}
    backbone = resolve(BACKBONES, name, kind="backbone")(shape, **options)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return backbone.eval()


def an_input(backbone: nn.Module, batch_size: int = 2) -> Tensor:
    return torch.randn_like(backbone.example_input(batch_size))


def frames_first(backbone: nn.Module, x: Tensor) -> Tensor:
    """A view of an input with its frames on axis 1."""
    return x if backbone.modality == VIDEO else x.transpose(1, 2)


def half_padding(backbone: nn.Module, x: Tensor) -> Tensor:
    valid = torch.ones(frames_first(backbone, x).shape[:2], dtype=torch.bool)
    valid[0, valid.shape[1] // 2 :] = False
    return valid


def test_every_entry_is_covered():
    assert set(VARIANTS) == set(BACKBONES)


@every_backbone
def test_tokens_are_those_of_the_grid(name, variant):
    backbone = build(name, variant)
    found = backbone(an_input(backbone))
    number = backbone.num_prefix + torch.Size(backbone.cells(backbone.shape).grid).numel()
    assert found.tokens.shape == (2, number, backbone.width)
    assert found.pooled.shape == (2, backbone.width)
    assert found.key_mask is None and found.attention == {}
    assert not torch.allclose(found.pooled[0], found.pooled[1])


@every_backbone
def test_tokens_are_ordered_by_time_then_row_then_column(name, variant):
    """Nothing changes a token as much as its own cell does."""
    backbone = build(name, variant)
    with torch.no_grad():  # little is passed on between tokens
        for module in backbone.modules():
            if isinstance(module, nn.Linear) or getattr(module, "groups", 1) > 1:
                module.weight.mul_(0.2)
    x = an_input(backbone, 1).requires_grad_()
    tokens, cells = backbone(x).tokens[0, backbone.num_prefix :], backbone.cells(backbone.shape)
    for index in range(len(tokens)):
        place = torch.unravel_index(torch.tensor(index), cells.grid)
        (gradient,) = torch.autograd.grad(tokens[index, 0], x, retain_graph=True)
        area = gradient.abs().sum(2) if backbone.modality == VIDEO else gradient.abs()[:, 0]
        inside = area[0]
        for axis, (start, step, size) in enumerate(
            zip(place, cells.stride, cells.patch, strict=True)
        ):
            begin = int(start) * step
            inside = inside.narrow(axis, begin, min(size, inside.shape[axis] - begin))
        share = inside.numel() / area.numel()
        assert inside.sum() / area.sum() > min(1.5 * share, 0.5 * (1 + share)), index


@every_backbone
def test_attention_maps_leave_the_numbers_alone(name, variant):
    backbone = build(name, variant)
    x = an_input(backbone)
    plain, found = backbone(x), backbone(x, maps=True)
    torch.testing.assert_close(found.tokens, plain.tokens, rtol=0, atol=1e-5)
    for weights in found.attention.values():
        assert weights.ndim == 4 and weights.shape[0] == 2
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    again = backbone(x)
    assert torch.equal(again.tokens, plain.tokens) and again.attention == {}


@every_backbone
@pytest.mark.parametrize("content", [1e3, float("nan")], ids=str)
def test_what_lies_in_padding_changes_nothing(name, variant, content):
    backbone = build(name, variant)
    x = an_input(backbone)
    valid, other = half_padding(backbone, x), x.clone()
    frames_first(backbone, other)[~valid] = content
    one, two = (backbone(each, valid=valid) for each in (x, other))
    assert torch.equal(one.tokens, two.tokens) and torch.equal(one.pooled, two.pooled)
    assert not torch.allclose(one.pooled[0], backbone(x).pooled[0])
    counted = one.key_mask[:, backbone.num_prefix :]
    assert (
        one.key_mask.shape == one.tokens.shape[:2] and one.key_mask[:, : backbone.num_prefix].all()
    )
    assert counted[1].all() and counted[0].any() and not counted[0].all()


@every_backbone
def test_a_clip_without_a_valid_frame_harms_nobody(name, variant):
    backbone = build(name, variant)
    x = an_input(backbone)
    valid = half_padding(backbone, x)
    valid[0] = False
    found = backbone(x, valid=valid)
    assert bool(found.tokens.isfinite().all() & found.pooled.isfinite().all())
    torch.testing.assert_close(found.pooled[1], backbone(x).pooled[1])


@every_backbone
def test_hidden_cells_are_not_seen(name, variant):
    """What only hidden tokens look at changes nothing; what others look at does."""
    backbone = build(name, variant)
    x, cells = an_input(backbone, 1), backbone.embedded_cells(backbone.shape)
    hidden = torch.zeros(1, *cells.grid, dtype=torch.bool)
    hidden[:, -1] = True  # the last step of time
    other, begin = x.clone(), (cells.grid[0] - 1) * cells.stride[0]
    shown = begin - cells.stride[0] + cells.patch[0]  # the step before it may overlap
    frames_first(backbone, other)[:, max(begin, shown) :] += 1.0
    mask = hidden.flatten(1)
    one, two = (backbone(each, token_mask=mask).tokens for each in (x, other))
    assert torch.equal(one, two)
    assert not torch.allclose(one, backbone(x).tokens)
    assert not torch.allclose(backbone(other).tokens, backbone(x).tokens)


@every_backbone
def test_every_parameter_gets_a_gradient(name, variant):
    backbone = build(name, variant)
    found = backbone(an_input(backbone))
    (found.tokens * torch.randn_like(found.tokens)).sum().backward()
    without = [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@every_backbone
def test_checkpointing_leaves_the_numbers_alone(name, variant):
    backbone = build(name, variant).train()
    x, results = an_input(backbone), []
    for enabled in (False, True):
        backbone.set_gradient_checkpointing(enabled)
        backbone.zero_grad()
        torch.manual_seed(1)
        tokens = backbone(x).tokens
        tokens.square().sum().backward()
        results.append([tokens, *(p.grad.clone() for p in backbone.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@every_backbone
def test_no_decay_of_norms_biases_and_tables(name, variant):
    backbone = build(name, variant)
    shapes = {n: p.shape for n, p in backbone.named_parameters()}
    spared = backbone.no_weight_decay()
    assert spared <= set(shapes)
    assert spared >= {n for n, shape in shapes.items() if len(shape) == 1}
    assert not [n for n in spared if n.endswith("weight") and len(shapes[n]) > 1]


@every_backbone
def test_it_is_counted_without_memory(name, variant):
    shape, options = VARIANTS[name][variant]
    options = {"config": options} if name == "transformers_video" else options
    with torch.device("meta"):
        backbone = resolve(BACKBONES, name, kind="backbone")(shape, **options)
        assert backbone(backbone.example_input()).tokens.is_meta


@every_backbone
def test_only_weights_of_layers_decay(name, variant):
    """Neither biases and norms nor positions and tokens of the whole clip."""
    backbone = build(name, variant)
    layers = nn.Linear | nn.Conv2d | nn.Conv3d
    weights = {f"{n}.weight" for n, part in backbone.named_modules() if isinstance(part, layers)}
    decaying = {n for n, _ in backbone.named_parameters()} - backbone.no_weight_decay()
    assert decaying == weights
