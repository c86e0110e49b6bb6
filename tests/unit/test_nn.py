"""Layers: attention, patches, positions, masks."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sightsound.nn.attention import Attention, fused_attention, plain_attention
from sightsound.nn.block import Block
from sightsound.nn.drop import DropPath
from sightsound.nn.masking import join_masks, mean_of_present, pool, visible_to_others
from sightsound.nn.patch import ConvolutionPatches, LinearPatches, cut_patches, sample_frames
from sightsound.nn.position import PositionTable, resize_positions


def qkv(batch_size=3, queries=5, keys=7):
    shapes = (queries, keys, keys)
    return [torch.randn(batch_size, 2, n, 4, requires_grad=True) for n in shapes]


@pytest.mark.parametrize("masked", ["none", "some", "a whole row"])
def test_fused_attention_equals_plain(masked: str):
    mask = torch.rand(3, 1, 1, 7) > 0.4
    mask[..., 0] = True
    if masked == "a whole row":
        mask[1] = False
    mask = None if masked == "none" else mask
    results = []
    for attend in (fused_attention, lambda *a, **k: plain_attention(*a, **k)[0]):
        torch.manual_seed(1)
        parts = qkv()
        values = attend(*parts, mask=mask, dropout=0.0)
        values.square().sum().backward()
        results.append([values.detach(), *(part.grad for part in parts)])
    for fused, plain in zip(*results, strict=True):
        assert bool(plain.isfinite().all())
        torch.testing.assert_close(fused, plain, rtol=0, atol=2e-5)
    if masked == "a whole row":
        assert not results[0][0][1].any() and not results[1][0][1].any()


def test_plain_attention_returns_weights():
    mask = torch.tensor([True, True, False, True, False, True, True]).expand(3, 1, 1, 7)
    _, weights = plain_attention(*qkv(), mask=mask, dropout=0.0)
    assert weights.shape == (3, 2, 5, 7)
    assert not weights[..., 2].any() and not weights[..., 4].any()
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 5))


def test_fused_attention_in_bfloat16_keeps_gradients():
    q, k, v = (part.detach().bfloat16().requires_grad_() for part in qkv())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = fused_attention(q, k, v, mask=None, dropout=0.0)
    values.sum().backward()
    assert q.grad is not None and q.grad.dtype == torch.bfloat16


def test_cross_attention_without_the_wasted_work():
    """The official way, all tokens in full and the foreign ones thrown away, gives the same."""
    block = Block(8, 2, 16).eval()
    x, others = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    mask = torch.rand(2, 8) > 0.3
    ours, weights = block(x, others=others, key_mask=mask, maps=True)
    wasteful, _ = block(torch.cat((others, x), dim=1), key_mask=mask)
    torch.testing.assert_close(ours, wasteful[:, 5:])
    assert weights.shape == (2, 2, 3, 8)


def test_attention_against_torch():
    ours, theirs = Attention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias.normal_())
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias.normal_())
    x = torch.randn(2, 4, 8)
    expected, weights = theirs(x, x, x, average_attn_weights=False)
    values, ours_weights = ours(x, maps=True)
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(ours_weights, weights)


def test_attention_dropout_only_while_training():
    attention, x = Attention(8, 2, dropout=0.5), torch.randn(2, 4, 8)
    assert not torch.equal(attention(x)[0], attention(x)[0])
    attention.eval()
    assert torch.equal(attention(x)[0], attention(x)[0])


def test_drop_path_does_not_rescale():
    branch = torch.ones(1000, 2, 3)
    dropped = DropPath(0.3)(branch)
    per_example = dropped.amax(dim=(1, 2))
    assert set(per_example.tolist()) == {0.0, 1.0}
    assert torch.equal(per_example, dropped.amin(dim=(1, 2)))
    assert 0.6 < float(per_example.mean()) < 0.8
    assert torch.equal(DropPath(0.3).eval()(branch), branch)


@pytest.mark.parametrize("patch, size", [((2, 3), (4, 7)), ((2, 4, 3), (5, 8, 6))])
def test_linear_patches_are_a_strided_convolution(patch, size):
    patches = LinearPatches(3, patch, 5)
    x = torch.randn(2, 3, *size)
    convolve = F.conv2d if len(patch) == 2 else F.conv3d
    kernel = patches.projection.weight.unflatten(1, (3, *patch))
    expected = convolve(x, kernel, patches.projection.bias, stride=patch).movedim(1, -1)
    torch.testing.assert_close(patches(x), expected)


def test_cut_patches_order():
    x = torch.arange(24.0).reshape(1, 1, 4, 6)
    patches = cut_patches(x, (2, 3))
    assert patches.shape == (1, 2, 2, 6)
    assert patches[0, 0, 1].tolist() == [3, 4, 5, 9, 10, 11]  # time first, then mel


def test_frame_sampling_on_the_meta_device():
    """A model is built there, and its sizes are known."""
    with torch.device("meta"):
        assert sample_frames(32, 8) == [4, 7, 11, 14, 18, 21, 25, 28]


@pytest.mark.parametrize(
    "patch, size, grid",
    [
        ((20, 16), (200, 64), (10, 4)),
        ((1, 8, 8), (4, 32, 24), (4, 4, 3)),
        ((2, 8, 8), (4, 32, 24), (2, 4, 3)),
        ((2, 3, 5), (5, 10, 16), (2, 3, 3)),
        ((1, 1, 1), (2, 3, 4), (2, 3, 4)),
        ((16, 16), (805, 130), (50, 8)),
    ],
)
def test_convolution_stem_gives_the_grid_of_the_patches(patch, size, grid):
    stem, linear = ConvolutionPatches(3, patch, 16), LinearPatches(3, patch, 16)
    x = torch.randn(2, 3, *size)
    assert stem(x).shape == linear(x).shape == (2, *grid, 16)


def test_convolution_stem_sees_each_tubelet_alone():
    stem, x = ConvolutionPatches(3, (2, 8, 8), 16), torch.randn(1, 3, 4, 16, 16)
    other = x.clone()
    other[:, :, 2:] = 0.0
    assert torch.equal(stem(x)[:, 0], stem(other)[:, 0])
    assert not torch.equal(stem(x)[:, 1], stem(other)[:, 1])


def test_positions_on_another_grid():
    table = PositionTable((2, 3), 4, prefix=1)
    rows = table.table.detach()
    assert torch.equal(table(torch.zeros(1, 7, 4), (2, 3)).detach(), rows)
    larger = table(torch.zeros(1, 16, 4), (3, 5)).detach()
    assert torch.equal(larger[:, 0], rows[:, 0])  # CLS stays
    grid = larger[:, 1:].reshape(3, 5, 4)
    corners = rows[:, 1:].reshape(2, 3, 4)
    torch.testing.assert_close(grid[::2, ::4], corners[:, ::2])  # so do the corners
    torch.testing.assert_close(grid[0, 1], (corners[0, 0] + corners[0, 1]) / 2)


def test_positions_in_time_and_space():
    table = torch.arange(8.0).reshape(1, 8, 1)  # 2 x 2 x 2
    resized = resize_positions(table, (2, 2, 2), (3, 2, 2), prefix=0)
    assert resized.flatten().tolist() == [0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7]


def test_mean_of_present():
    values = {"video": torch.tensor([[2.0], [4.0]]), "audio": torch.tensor([[6.0], [8.0]])}
    present = {"video": torch.tensor([True, True]), "audio": torch.tensor([True, False])}
    assert mean_of_present(values, None).tolist() == [[4.0], [6.0]]
    assert mean_of_present(values, present).tolist() == [[4.0], [4.0]]


def test_masks_side_by_side():
    tokens = {"video": torch.zeros(2, 2, 1), "audio": torch.zeros(2, 1, 1)}
    present = {"video": torch.tensor([True, False]), "audio": torch.tensor([True, True])}
    key_mask = {"video": torch.tensor([[True, False], [True, True]])}
    assert join_masks(visible_to_others(tokens, None, None), tokens) is None
    mask = join_masks(visible_to_others(tokens, present, key_mask), tokens)
    assert mask.tolist() == [[True, False, True], [False, False, True]]


@pytest.mark.parametrize("kind, expected", [("gap", 2.0), ("gmp", 3.0), ("gsp", 4.0)])
def test_pool(kind: str, expected: float):
    tokens = torch.tensor([[[1.0], [3.0], [9.0]], [[1.0], [1.0], [1.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert pool(tokens, mask, kind=kind).tolist() == [[expected], [0.0]]
    whole = {"gap": 13 / 3, "gmp": 9.0, "gsp": 13.0}[kind]
    assert pool(tokens, None, kind=kind)[0].item() == pytest.approx(whole)
