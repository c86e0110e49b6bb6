"""UniFormer: sizes, shapes, padding, hidden tokens, stochastic depth, batch statistics."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sightsound.models.backbones.uniformer import SIZES, Depthwise, UniFormer
from sightsound.models.unimodal import UniFormerClassifier
from sightsound.nn.masked_batch_norm import MaskedBatchNorm3d
from sightsound.nn.vit_block import ScaledDropPath

SMALL = dict(widths=(4, 8, 8, 16), depths=(1, 2, 1, 1), head_width=4)


def build(**arguments) -> UniFormer:
    """A small one whose every number is random, running statistics included."""
    model = UniFormer((8, 32, 64), **SMALL | arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for norm in norms(model):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
    return model.eval()


def norms(model: nn.Module) -> list[MaskedBatchNorm3d]:
    return [module for module in model.modules() if isinstance(module, MaskedBatchNorm3d)]


def clips(frames: int = 8, batch_size: int = 2) -> Tensor:
    return torch.randn(batch_size, frames, 3, 32, 64)


def padded(x: Tensor, *, before: int = 0, after: int = 0, content: float = 7.0):
    """The clips with padding frames of some content, and which frames are valid."""
    frames = [x.new_full((len(x), n, *x.shape[2:]), content) for n in (before, after)]
    valid = torch.ones(len(x), before + x.shape[1] + after, dtype=torch.bool)
    valid[:, :before] = False
    valid[:, before + x.shape[1] :] = False
    return torch.cat((frames[0], x, frames[1]), dim=1), valid


# Li et al. 2022, table 1 and the authors' table of models: 21 M and 50 M with 400 classes.
@pytest.mark.parametrize("size, number", [("base", 49_813_200), ("small", 21_400_400)])
def test_parameters_of_the_published_sizes(size: str, number: int):
    with torch.device("meta"):
        model = UniFormerClassifier(heads={"label": 400}, size=size)
    assert sum(parameter.numel() for parameter in model.parameters()) == number


@pytest.mark.parametrize("frames", [8, 16, 32])
@pytest.mark.parametrize("size", SIZES)
def test_shapes_of_the_published_sizes(size: str, frames: int):
    with torch.device("meta"):
        model = UniFormer((frames, 224, 224), size=size)
        found = model(model.example_input(2))
    assert found.tokens.shape == (2, frames // 2 * 49, 512)
    assert found.pooled.shape == (2, 512)
    assert model.cells(model.shape).grid == (frames // 2, 7, 7)
    assert model.embedded_cells(model.shape).grid == (frames // 2, 56, 56)
    assert sum(len(stage.layers) for stage in model.stages) == {"small": 18, "base": 40}[size]


def test_odd_sizes():
    """A last odd frame makes a step of time; rows and columns that fill no cell are left out."""
    model = build()
    x = torch.randn(1, 7, 3, 50, 70)
    assert model.cells((7, 50, 70)).grid == (4, 1, 2)
    found = model(x)
    assert found.tokens.shape == (1, 8, 16)
    assert found.key_mask is None and found.attention == {}


def test_attention_weights():
    found = build()(clips(), maps=True)
    assert {layer: weights.shape for layer, weights in found.attention.items()} == {
        3: (2, 2, 4 * 2 * 4, 4 * 2 * 4),
        4: (2, 4, 4 * 1 * 2, 4 * 1 * 2),
    }


def test_other_sizes_are_errors():
    with pytest.raises(ValueError, match="at least 32 x 32 pixels is accepted"):
        UniFormer((8, 31, 64), **SMALL)
    with pytest.raises(ValueError, match="unknown size 'huge'"):
        UniFormer(size="huge")
    with pytest.raises(ValueError, match="widths .* and depths .* four numbers each"):
        UniFormer(widths=(4, 8, 8), depths=(1, 1, 1, 1))
    with pytest.raises(ValueError, match="no multiples of head_width 64"):
        UniFormer(widths=(4, 8, 8, 16))
    with pytest.raises(ValueError, match="unknown statistics 'synced'"):
        UniFormer(**SMALL, statistics="synced")


# ---------------------------------------------------------------- padding


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("frames", [1, 4, 5])
def test_a_padded_clip_gives_what_the_clip_gives(training: bool, frames: int):
    """Also the running statistics: those of the frames that are there."""
    x, found, state = clips(frames), [], []
    for values, valid in ((x, None), padded(x, after=8 - frames)):
        torch.manual_seed(1)
        model = build().train(training)
        found.append(model(values, valid=valid))
        state.append([norm.running_var for norm in norms(model)])
    number = found[0].tokens.shape[1]
    close(found[1].tokens[:, :number], found[0].tokens)
    close(found[1].pooled, found[0].pooled)
    assert found[1].key_mask[:, :number].all() and not found[1].key_mask[:, number:].any()
    for ours, expected in zip(*state, strict=True):
        close(ours, expected)


def close(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_padding_before_a_clip():
    x = clips(4)
    close(build_twice()(*padded(x, before=4)).pooled, build_twice()(x).pooled)


def build_twice():
    torch.manual_seed(1)
    model = build()
    return lambda x, valid=None: model(x, valid=valid)


def test_a_step_of_time_counts_if_one_of_its_frames_is_there():
    valid = torch.tensor([[False, True, True, False, False, False, True]])
    found = build()(clips(7, 1), valid=valid)
    steps = found.key_mask.unflatten(1, (4, 2)).all(-1)
    assert steps.tolist() == [[True, True, False, True]]


def test_absent_examples_leave_the_others_alone():
    """In training as well: batch norms do not see them."""
    x, valid = clips(8, 3), torch.ones(3, 8, dtype=torch.bool)
    valid[1] = False
    torch.manual_seed(1)
    without = build().train()
    expected = without(x[[0, 2]])
    torch.manual_seed(1)
    model = build().train()
    x[1] = float("nan")
    found = model(x, valid=valid, maps=True)
    close(found.pooled[[0, 2]], expected.pooled)
    assert bool(found.tokens.isfinite().all())
    for weights in found.attention.values():  # an absent example's, too: no row without any key
        close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    for ours, other in zip(norms(model), norms(without), strict=True):
        close(ours.running_mean, other.running_mean)
        close(ours.running_var, other.running_var)


def test_a_batch_without_any_clip_changes_no_statistics():
    model = build().train()
    before = [norm.running_mean.clone() for norm in norms(model)]
    found = model(clips(), valid=torch.zeros(2, 8, dtype=torch.bool))
    found.pooled.sum().backward()
    assert bool(found.tokens.isfinite().all())
    assert all(torch.equal(a, b.running_mean) for a, b in zip(before, norms(model), strict=True))


# ---------------------------------------------------------------- hidden tokens


def test_hidden_tokens():
    """All of a place: its even frame is in no other token's kernel, the odd one in the next's."""
    model, x = build(), clips(8, 1)
    grid = model.embedded_cells(model.shape).grid
    hidden = torch.zeros(1, *grid, dtype=torch.bool)
    hidden[0, 1, 2, 3] = True
    expected = model(x, token_mask=hidden.flatten(1)).tokens
    assert not torch.allclose(expected, model(x).tokens)
    for frame, seen in ((2, False), (3, True)):
        other = x.clone()
        other[:, frame, :, 8:12, 12:16] += 1.0
        assert torch.equal(model(other, token_mask=hidden.flatten(1)).tokens, expected) != seen


def test_hidden_tokens_are_zero_where_positions_come_in():
    model, seen = build(), []
    model.stage1.layers[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    model(clips(), token_mask=torch.ones(2, 4 * 8 * 16, dtype=torch.bool))
    assert not seen[0].any()


# ---------------------------------------------------------------- training


def test_stochastic_depth_grows_over_all_layers():
    model = UniFormer(**SMALL, stochastic_depth=0.4)
    rates = [m.rate for m in model.modules() if isinstance(m, ScaledDropPath)]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_a_surviving_branch_is_scaled_up():
    drop = ScaledDropPath(0.75).train()
    found = drop(torch.ones(400, 2, 3))
    values = found[:, 0, 0].unique().tolist()
    assert values == [0.0, 4.0]
    assert bool((found == found[:, :1, :1]).all())
    assert float(found.mean()) == pytest.approx(1.0, abs=0.3)
    assert torch.equal(drop.eval()(found), found)


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_checkpointing_counts_a_batch_once(masked: bool):
    x, states = clips(), []
    valid = padded(clips(5), after=3)[1] if masked else None
    for enabled in (False, True):
        torch.manual_seed(1)
        model = build().train()
        model.set_gradient_checkpointing(enabled)
        model(x, valid=valid).pooled.sum().backward()
        states.append([*model.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert int(norms(model)[0].num_batches_tracked) == 1


def test_frozen_statistics():
    """In training as at test; scale and shift still learn."""
    model, x = build(statistics="frozen"), clips()
    expected, before = model(x).tokens, [b.clone() for b in model.buffers()]
    tokens = model.train()(x).tokens
    assert torch.equal(tokens, expected)
    tokens.sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))
    assert bool(norms(model)[0].weight.grad.any())


@pytest.mark.parametrize("shape", [(4, 1, 1), (2, 4, 4)])
def test_half_precision_gives_whole_gradients_on_a_cpu(shape):
    """torch 2.13 leaves parts of this gradient unwritten in bfloat16; here memory is not zero."""
    torch.manual_seed(0)
    layer = Depthwise(16, 5)
    x = torch.randn(4, 16, *shape).contiguous(memory_format=torch.channels_last_3d)
    (wanted,) = torch.autograd.grad(layer(x).square().mean(), layer.weight)
    for _ in range(20):
        spoilt = [torch.full((number,), torch.nan) for number in range(1000, 4000, 8)]
        del spoilt
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = layer(x.bfloat16()).float().square().mean()
        (gradient,) = torch.autograd.grad(found, layer.weight)
        torch.testing.assert_close(
            gradient, wanted, rtol=0.05, atol=0.05 * float(wanted.abs().max())
        )
