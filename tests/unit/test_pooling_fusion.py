"""One vector out of one per stream, against direct computations."""

import numpy as np
import torch

from sightsound.nn.pooling_fusion import (
    SMALLEST,
    Addition,
    CompactBilinear,
    Concatenation,
    DualMultimodalResidual,
)

POOLED_SHAPE = (3, 2, 6)
ABSENT = torch.tensor([[True, True], [True, False], [False, True]])


def pooled_without_absent() -> torch.Tensor:
    return torch.randn(POOLED_SHAPE) * ABSENT[..., None]


def test_concatenation_and_addition():
    pooled = torch.randn(POOLED_SHAPE)
    assert torch.equal(Concatenation(2, 6)(pooled), torch.cat([pooled[:, 0], pooled[:, 1]], dim=1))
    assert torch.equal(Addition(2, 6)(pooled), pooled[:, 0] + pooled[:, 1])


def test_columns_say_what_a_linear_layer_does_to_each_stream():
    pooled = torch.randn(POOLED_SHAPE)
    for pooling_fusion in (Concatenation(2, 6), Addition(2, 6)):
        weight = torch.randn(4, pooling_fusion.size)
        parts = torch.einsum("bkh,ckh->bkc", pooled, pooling_fusion.columns(weight))
        torch.testing.assert_close(parts.sum(1), pooling_fusion(pooled) @ weight.T)
    assert CompactBilinear(2, 6, size=5).columns(torch.randn(4, 5)) is None
    assert DualMultimodalResidual(2, 6).columns(torch.randn(4, 6)) is None


def test_compact_bilinear_is_the_hashed_outer_product():
    """Entry (i, j) of the outer product goes to (place_i + place_j) mod size, with both signs."""
    pooling_fusion, pooled = (
        CompactBilinear(2, 6, size=11).double(),
        torch.randn(POOLED_SHAPE).double(),
    )
    place, sign = pooling_fusion.place.numpy(), pooling_fusion.sign.numpy()
    expected = np.zeros((3, 11))
    for row in range(3):
        for i in range(6):
            for j in range(6):
                value = pooled[row, 0, i].item() * pooled[row, 1, j].item()
                at = (place[0, i] + place[1, j]) % 11
                expected[row, at] += sign[0, i] * sign[1, j] * value
    expected /= np.sqrt(np.abs(expected) + SMALLEST)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    torch.testing.assert_close(pooling_fusion(pooled), torch.from_numpy(expected))


def test_compact_bilinear_keeps_inner_products_about():
    """<MCB(x, y), MCB(x', y')> is about <x, x'> <y, y'> before the root: what a sketch is for."""
    pooling_fusion = CompactBilinear(2, 64, size=4096)
    first, second = torch.randn(2, 64), torch.randn(2, 64)
    second = first + 0.1 * second
    sketches = torch.fft.rfft(pooling_fusion.sketches(torch.stack([first, second])))
    one, other = torch.fft.irfft(sketches.prod(1), n=4096)
    expected = (first * second).sum(1).prod()
    assert abs(float(one @ other) / float(expected) - 1) < 0.1


def test_compact_bilinear_of_a_lone_stream_is_its_sketch():
    pooling_fusion, pooled = CompactBilinear(2, 6, size=11), pooled_without_absent()
    sketch = pooling_fusion.sketches(pooled)[1, 0]
    expected = sketch / (sketch.abs() + SMALLEST).sqrt()
    ours = pooling_fusion(pooled, present=ABSENT)[1]
    torch.testing.assert_close(ours, expected / expected.norm(), rtol=0, atol=2e-4)


def test_compact_bilinear_has_a_gradient_at_zero():
    pooling_fusion, pooled = (
        CompactBilinear(2, 6, size=11),
        torch.zeros(POOLED_SHAPE, requires_grad=True),
    )
    pooling_fusion(pooled).sum().backward()
    assert bool(pooled.grad.isfinite().all())


def test_dual_multimodal_residual_by_a_loop():
    pooling_fusion, pooled = DualMultimodalResidual(2, 6), pooled_without_absent()
    ours = pooling_fusion(pooled, present=ABSENT)
    for row, here in enumerate(ABSENT.tolist()):
        streams = [k for k in range(2) if here[k]]
        update = sum(pooling_fusion.maps[k](pooled[row, k]) for k in streams) / len(streams)
        expected = sum(torch.tanh(pooled[row, k] + update) for k in streams) / len(streams)
        torch.testing.assert_close(ours[row], expected)
    everywhere = torch.ones_like(ABSENT)
    torch.testing.assert_close(pooling_fusion(pooled), pooling_fusion(pooled, present=everywhere))
