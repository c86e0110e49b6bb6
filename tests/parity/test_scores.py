"""Accuracy, mean average precision and joint accuracy of the official code."""

from pathlib import Path

import numpy as np
import pytest

from sightsound.metrics.scores import (
    average_precisions,
    joint_top_k_hits,
    mean_average_precision,
    summarise,
    top_k_hits,
)


def test_mean_average_precision(cases: Path):
    arrays = np.load(cases / "mbt" / "mean_average_precision.npz")
    scores, targets = arrays["logits"].astype(float), arrays["labels"]
    ours = average_precisions(scores, targets)
    empty = targets.sum(0) == 0
    assert np.isnan(ours[empty]).all() and empty.any()
    np.testing.assert_allclose(ours[~empty], arrays["per_class_ap"][~empty], rtol=0, atol=1e-12)
    with_zero = mean_average_precision(scores, targets, empty_class="zero")
    assert with_zero == pytest.approx(float(arrays["mean_ap"]), abs=1e-12)
    without = mean_average_precision(scores, targets, empty_class="skip")
    assert without == pytest.approx(float(arrays["mean_ap_without_empty_class"]), abs=1e-12)


def test_accuracy(cases: Path):
    arrays = np.load(cases / "mbt" / "losses.npz")
    first = top_k_hits(arrays["logits"], arrays["multi_hot"], k=1).sum()
    assert first == float(arrays["prec_at_1_sum"])
    five = top_k_hits(arrays["logits"], arrays["one_hot"], k=5).sum()
    assert five == float(arrays["top5_sum_onehot"])


@pytest.mark.parametrize("masking", ["nomask", "mask"])
def test_joint_accuracy(cases: Path, masking: str):
    arrays = np.load(cases / "mbt" / "joint_accuracy.npz")
    scores, targets = arrays["logits"], arrays["one_hot"]
    verbs, stop = arrays["class_splits_cumsum"].tolist()
    heads = {"verb": verbs, "noun": stop - verbs}
    kept = np.ones(len(scores), bool) if masking == "nomask" else arrays["batch_mask"] > 0
    for k, name in ((1, "acc"), (5, "top5")):
        joint = joint_top_k_hits(scores, targets, heads=heads, k=k)[kept].sum()
        assert joint == arrays[f"joint_{name}_correct/{masking}"]
        for head, part in (("verb", slice(0, verbs)), ("noun", slice(verbs, stop))):
            hits = top_k_hits(scores[:, part], targets[:, part], k=k)[kept].sum()
            assert hits == arrays[f"{head}_{name}_correct/{masking}"]
    # Nothing but the pairs' products, in their order, decides: rank by rank as officially.
    for k in range(1, arrays["pair_logits"].shape[1] + 1):
        pairs = top_k_hits(arrays["pair_logits"], arrays["pair_labels"], k=k)
        ours = joint_top_k_hits(scores, targets, heads=heads, k=k)[: len(pairs)]
        np.testing.assert_array_equal(ours, pairs)
    table = summarise(scores[kept], targets[kept], task="heads", heads=heads)
    assert table["top1"] * kept.sum() == pytest.approx(
        float(arrays[f"joint_acc_correct/{masking}"])
    )
