"""The parity tests would notice: each known mistake is planted, and a check must fail.

Mistakes in the flow of tokens are planted in the source text, so that nothing but the mistake
differs from the shipped code.
"""

import importlib
import inspect
import textwrap
from pathlib import Path

import pytest
import torch
from scenic_cases import LOGITS, Case, too_far
from test_mbt import difference_from_numpy

import sightsound.nn.block
import sightsound.nn.drop
from sightsound.models.fusion import bottleneck, cross_attention
from sightsound.models.mbt import MBT
from sightsound.nn.block import Block
from sightsound.nn.masking import mean_of_present
from sightsound.nn.position import PositionTable

CASES = Path(__file__).parent / "cases"  # always these: the mistakes must show on our own
BOTTLENECK = "model_bottleneck_L2_B4.npz"
CROSS = "model_cross_sep_L2.npz"


def case(name: str) -> Case:
    return Case.read(CASES, name)


def is_averaged() -> bool:
    return too_far(case(BOTTLENECK)) == {}


def is_sequential() -> bool:
    return difference_from_numpy(case(BOTTLENECK), update="sequential") <= LOGITS


def is_cross() -> bool:
    return too_far(case(CROSS)) == {}


def branches_are_dropped_whole_and_unscaled() -> bool:
    """Each example of a training step is one of the four sums that dropping can give."""
    torch.manual_seed(0)
    block = Block(8, 2, 16, drop_path=0.5).train()
    x = torch.randn(64, 3, 8)
    with torch.no_grad():
        ours, _ = block(x)
        attended = x + block.attention(block.attention_norm(x))[0]
        sums = [x, attended]
        sums += [y + block.mlp(block.mlp_norm(y)) for y in (x, attended)]
    distances = torch.stack([(ours - y).abs().amax(dim=(1, 2)) for y in sums])
    nearest = distances.argmin(dim=0)
    return bool((distances.amin(dim=0) < 1e-5).all()) and len(nearest.unique()) == 4


def mutate(monkeypatch, owner: type, method: str, old: str, new: str) -> None:
    """Replace `old` by `new` in the source of `owner.method`; `old` must occur in it once."""
    source = textwrap.dedent(inspect.getsource(getattr(owner, method)))
    assert source.count(old) == 1, f"{old!r} is no longer in {owner.__name__}.{method}"
    namespace = vars(importlib.import_module(owner.__module__))
    made: dict = {}
    exec("from __future__ import annotations\n" + source.replace(old, new), namespace, made)
    monkeypatch.setattr(owner, method, made[method])


def test_checks_hold_for_the_shipped_code():
    assert is_averaged()
    assert is_sequential()
    assert is_cross()
    assert branches_are_dropped_whole_and_unscaled()


def test_averaged_in_place_of_sequential(monkeypatch):
    mutate(
        monkeypatch,
        bottleneck.BottleneckFusion,
        "forward",
        'if self.update == "sequential":',
        "if False:",
    )
    monkeypatch.setattr(
        bottleneck.BottleneckFusion,
        "carried",
        lambda self, updates, results, present: mean_of_present(updates, present),
    )
    assert not is_sequential()


def test_sequential_in_place_of_averaged(monkeypatch):
    """Also: the second stream reads fusion tokens that the first has already updated."""
    mutate(
        monkeypatch,
        bottleneck.BottleneckFusion,
        "forward",
        'if self.update == "sequential":',
        "if True:",
    )
    monkeypatch.setattr(
        bottleneck.BottleneckFusion, "carried", lambda self, updates, results, present: results[-1]
    )
    assert not is_averaged()


def test_sequential_update_in_the_wrong_order(monkeypatch):
    mutate(
        monkeypatch,
        bottleneck.BottleneckFusion,
        "_order",
        "else self.update_order",
        "else self.update_order[::-1]",
    )
    assert not is_sequential()


def test_layer_norm_epsilon_of_torch(monkeypatch):
    monkeypatch.setattr(sightsound.nn.block, "NORM_EPSILON", 1e-5)
    assert not is_averaged()


def test_exact_gelu(monkeypatch):
    monkeypatch.setattr(sightsound.nn.block, "GELU_APPROXIMATION", "none")
    assert not is_averaged()


def test_cls_after_the_patches_before_positions_are_added(monkeypatch):
    shipped = PositionTable.forward

    def planted(self, tokens, grid):
        return shipped(self, tokens.roll(-1, dims=1), grid).roll(1, dims=1)

    monkeypatch.setattr(PositionTable, "forward", planted)
    assert not is_averaged()


def test_one_fusion_token_too_few(monkeypatch):
    mutate(
        monkeypatch,
        bottleneck.BottleneckFusion,
        "forward",
        "self.tokens.expand(",
        "self.tokens[:, :-1].expand(",
    )
    assert not is_averaged()


def test_fusion_tokens_not_updated(monkeypatch):
    mutate(
        monkeypatch,
        bottleneck.BottleneckFusion,
        "forward",
        "fusion = self.carried(",
        "_ = self.carried(",
    )
    assert not is_averaged()


def test_cross_attention_reads_updated_tokens_of_the_other_stream(monkeypatch):
    mutate(
        monkeypatch,
        cross_attention.CrossAttentionFusion,
        "forward",
        "before, streams, weights = streams, {}, {}",
        "before, weights = streams, {}",
    )
    assert not is_cross()


def test_drop_path_rescaled(monkeypatch):
    mutate(
        monkeypatch,
        sightsound.nn.drop.DropPath,
        "forward",
        "branch * keep",
        "branch * keep / (1 - self.rate)",
    )
    assert not branches_are_dropped_whole_and_unscaled()


def test_drop_path_for_whole_batches(monkeypatch):
    mutate(
        monkeypatch,
        sightsound.nn.drop.DropPath,
        "forward",
        "branch.shape[0]",
        "1",
    )
    assert not branches_are_dropped_whole_and_unscaled()


@pytest.mark.parametrize("rate, expected", [(0.3, [0.0, 0.1, 0.2, 0.3]), (0.0, [0.0] * 4)])
def test_drop_rates_grow_linearly_with_depth(rate: float, expected: list[float]):
    model = MBT(
        heads={"label": 2}, width=8, num_heads=2, depth=4, fusion_layer=1, stochastic_depth=rate
    )
    for name in model.modalities:
        rates = [block.drop_path.rate for block in model.layers(name)]
        assert rates == pytest.approx(expected)
