"""The parity tests of MAFnet would notice: each known mistake is planted, and a check must fail."""

from __future__ import annotations

from pathlib import Path

import torch
from mafnet_cases import (
    FORWARD,
    Case,
    backward,
    difference,
    differences,
    new_optimizer,
    statistics_differences,
    step,
)
from test_planted_errors import mutate

from sightsound.models.mafnet import MAFnet
from sightsound.nn.cell_attention import CellAttention
from sightsound.nn.film import Film, FilmBlock
from sightsound.nn.norm import BatchNorm
from sightsound.weights.mafnet import as_ours, their_names

CASES = Path(__file__).parent / "cases"  # always these: the mistakes must show on our own
FULL = "full_T10.npz"


def case() -> Case:
    return Case.read(CASES, FULL)


def evaluates() -> bool:
    return max(differences(case(), "eval", case().model()).values()) <= FORWARD


def trains() -> bool:
    return max(differences(case(), "train", case().model().double()).values()) <= FORWARD


def remembers() -> bool:
    return max(statistics_differences(case()).values()) <= FORWARD


def steps_what_the_release_steps() -> bool:
    model = case().model().train()
    changed = step(case(), model, new_optimizer(case(), model), "sound")
    names = their_names(model)
    return {names[name] for name in changed} == set(case().entry["updated_by_step"]["sound"])


def test_checks_hold_for_the_shipped_code():
    assert evaluates()
    assert trains()
    assert remembers()
    assert steps_what_the_release_steps()


def test_cells_in_another_order(monkeypatch):
    """(k, t) in place of (t, k): modality after modality."""
    mutate(
        monkeypatch,
        CellAttention,
        "_softmax",
        ".unflatten(1, scores.shape[1:])",
        ".unflatten(1, scores.shape[:0:-1]).transpose(1, 2)",
    )
    assert not evaluates()


def test_unbiased_variance(monkeypatch):
    """That of torch's own running statistics: n / (n - 1) times too large."""
    mutate(
        monkeypatch,
        BatchNorm,
        "centre_and_scale",
        "(x - mean).square()",
        "(x - mean).square() * (x[..., 0].numel() / (x[..., 0].numel() - 1))",
    )
    assert not trains()
    assert not remembers()


def test_unbiased_running_variance_alone(monkeypatch):
    mutate(
        monkeypatch,
        BatchNorm,
        "centre_and_scale",
        "(variance - self",
        "(variance * (x[..., 0].numel() / (x[..., 0].numel() - 1)) - self",
    )
    assert not remembers()


def test_mean_taken_away_and_not_remembered(monkeypatch):
    mutate(monkeypatch, BatchNorm, "centre_and_scale", "mean + taken", "mean")
    assert not remembers()


def test_gamma_without_one(monkeypatch):
    mutate(monkeypatch, Film, "forward", "gamma = gamma + 1.0", "gamma = gamma")
    assert not evaluates()


def test_relu_after_the_sum_of_the_block(monkeypatch):
    mutate(
        monkeypatch, FilmBlock, "forward", "return r + torch.relu(h)", "return torch.relu(r + h)"
    )
    assert not evaluates()


def test_batch_norm_epsilon_of_torch(monkeypatch):
    monkeypatch.setattr("sightsound.nn.norm.EPSILON", 1e-5)
    assert not evaluates()


def test_audio_half_first(monkeypatch):
    mutate(monkeypatch, MAFnet, "fuse", "self.fusion(pooled, ", "self.fusion(pooled.flip(1), ")
    assert not evaluates()


def test_the_whole_visual_path_left_alone(monkeypatch):
    """The intended form of skipping an update, in place of the released one."""
    mutate(monkeypatch, MAFnet, "update_paths", 'or ".dense." in key', "")
    assert not steps_what_the_release_steps()


def test_one_optimiser_for_both_steps():
    """An Adam that goes on in place of a second one: the pair of steps ends elsewhere."""
    model = case().model().double().train()
    kept = model.update_paths(released=True)["audio"]
    optimizer = torch.optim.Adam(model.parameters(), lr=case().entry["lr"])
    for updated in (kept, dict(model.named_parameters())):
        backward(case(), model)
        for name, parameter in model.named_parameters():
            parameter.grad = parameter.grad if name in updated else None
        optimizer.step()
    names = their_names(model)
    kernel = case().arrays[f"step_sound_then_all/{names['head.linear.weight']}"]
    assert difference(model.head.linear.weight, as_ours(kernel).numpy()) > 1e-3
