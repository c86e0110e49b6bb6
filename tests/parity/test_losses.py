"""Losses of the official MBT: sigmoid, softmax, several heads, smoothing, masks, class weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sightsound.objectives.classification import Classification, smoothed

TOLERANCE = 1e-6  # relative; float32 sums over nine classes


def expected_losses(arrays: np.lib.npyio.NpzFile) -> list[str]:
    return [name for name in arrays.files if name.endswith(("/mask", "/nomask"))]


def our_loss(arrays: np.lib.npyio.NpzFile, name: str) -> float:
    kind, smoothing, masking = name.split("/")
    amount = smoothing.removeprefix("ls_")
    objective = Classification(
        task="single" if kind == "softmax" else "multi",
        heads={"label": arrays["logits"].shape[1]},
        label_smoothing=0.0 if amount == "none" else float(amount),
        class_weights=arrays["class_weights"].tolist() if kind.endswith("_classw") else None,
    )
    target = arrays["one_hot" if kind == "softmax" else "multi_hot"]
    losses = objective.example_losses(
        torch.from_numpy(arrays["logits"]), torch.from_numpy(target)
    ).numpy()
    mask = arrays["batch_mask"] if masking == "mask" else np.ones(len(losses))
    return float((losses * mask).sum() / (mask.sum() + 1e-8))


def test_losses(cases: Path):
    arrays = np.load(cases / "mbt" / "losses.npz")
    names = expected_losses(arrays)
    assert len(names) >= 24
    for name in names:
        assert our_loss(arrays, name) == pytest.approx(float(arrays[name]), rel=TOLERANCE), name


def test_smoothing_of_several_labels(cases: Path):
    arrays = np.load(cases / "mbt" / "losses.npz")
    ours = smoothed(torch.from_numpy(arrays["multi_hot"]), 0.3)
    np.testing.assert_allclose(ours, arrays["smoothed_multi_hot_0.3"], rtol=0, atol=1e-7)


def test_loss_of_two_heads(cases: Path):
    arrays = np.load(cases / "mbt" / "joint_accuracy.npz")
    verbs, stop = arrays["class_splits_cumsum"].tolist()
    objective = Classification(
        task="heads", heads={"verb": verbs, "noun": stop - verbs}, label_smoothing=0.1
    )
    losses = objective.example_losses(
        torch.from_numpy(arrays["logits"]), torch.from_numpy(arrays["one_hot"])
    )
    expected = float(arrays["multihead_loss_ls0.1"])
    assert float(losses.mean()) == pytest.approx(expected, rel=TOLERANCE)
