"""Batch norm with TensorFlow's numbers."""

import torch
from torch import nn

from sightsound.nn.norm import EPSILON, BatchNorm


def test_training_normalises_like_torch_but_for_the_running_variance():
    ours, theirs = BatchNorm(5, decay=0.9), nn.BatchNorm1d(5, eps=EPSILON, momentum=0.1)
    x = 3 * torch.randn(7, 5) + 2
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_variance, 0.9 + 0.1 * x.var(0, correction=0))
    ours.eval(), theirs.eval()
    expected = (x - ours.running_mean) / (ours.running_variance + EPSILON).sqrt()
    torch.testing.assert_close(ours(x), expected)


def test_rows_left_out_are_not_in_the_statistics():
    x, rows = torch.randn(4, 3, 2, 5), torch.tensor([True, False, True, True])
    one, other = BatchNorm(5), BatchNorm(5)
    torch.testing.assert_close(one(x, rows=rows)[rows], other(x[rows]))
    torch.testing.assert_close(one.running_mean, other.running_mean)
    torch.testing.assert_close(one.running_variance, other.running_variance)


def test_without_any_row_nothing_is_remembered():
    norm = BatchNorm(5)
    result = norm(torch.randn(2, 5), rows=torch.zeros(2, dtype=torch.bool))
    assert bool(result.isfinite().all())
    assert not norm.running_mean.any() and bool((norm.running_variance == 1).all())


def test_one_row_is_enough():
    norm = BatchNorm(5)
    assert not norm(torch.randn(1, 5)).any()  # its own mean is taken away


def test_a_mean_taken_away_beforehand_is_remembered():
    x, mean = torch.randn(6, 5), torch.randn(5)
    one, other = BatchNorm(5), BatchNorm(5)
    torch.testing.assert_close(one(x, taken=mean), other(x + mean))
    torch.testing.assert_close(one.running_mean, other.running_mean)
    torch.testing.assert_close(one.running_variance, other.running_variance)
