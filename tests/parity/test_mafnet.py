"""The released MAFnet's numbers, reproduced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mafnet_cases import (
    FLOAT32,
    FORWARD,
    GRADIENTS,
    SKIPPED,
    SMALL_GRADIENT,
    Case,
    backward,
    difference,
    differences,
    gradients,
    new_attention,
    new_block,
    new_optimizer,
    statistics_differences,
    step,
)

from sightsound.nn.pooling_fusion import Addition, Concatenation
from sightsound.types import AUDIO, VIDEO
from sightsound.weights.mafnet import as_ours, their_names


@pytest.mark.parametrize("visual", ["visual_map", "visual_gap"])
def test_evaluation(cases: Path, mafnet_model: str, visual: str):
    case = Case.read(cases, mafnet_model)
    found = differences(case, "eval", case.model(), visual=visual)
    assert {"logits", "lambda", "image_hidden", "fused"} <= set(found)
    assert {k: v for k, v in found.items() if not v <= FORWARD} == {}


@pytest.mark.parametrize("visual", ["visual_map", "visual_gap"])
def test_training_forward(cases: Path, mafnet_model: str, visual: str):
    case = Case.read(cases, mafnet_model)
    found = differences(case, "train", case.model().double(), visual=visual)
    assert {"logits", "lambda", "loss"} <= set(found)
    assert {k: v for k, v in found.items() if not v <= FORWARD} == {}
    found = differences(case, "train", case.model(), visual=visual)
    assert {k: v for k, v in found.items() if not v <= FLOAT32} == {}


def test_every_array_is_used(cases: Path, mafnet_model: str):
    model = Case.read(cases, mafnet_model).model()
    assert model.info.provenance["dropped"] == []
    assert model.info.provenance["inferred"] == []


def test_running_statistics(cases: Path, mafnet_model: str):
    found = statistics_differences(Case.read(cases, mafnet_model))
    assert {k: v for k, v in found.items() if not v <= FORWARD} == {}


@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=str)
def test_gradients(cases: Path, mafnet_training: str, kind: torch.dtype):
    for name, (ours, stored) in gradients(Case.read(cases, mafnet_training), kind).items():
        assert float((ours - stored).abs().max()) <= GRADIENTS, name


@pytest.mark.parametrize("kind", SKIPPED)
def test_adam_step(cases: Path, mafnet_training: str, kind: str):
    """Also: which variables a step of the released training leaves alone."""
    case = Case.read(cases, mafnet_training)
    model = case.model().double().train()
    names = their_names(model)
    changed = {names[k] for k in step(case, model, new_optimizer(case, model), kind)}
    # A gradient that is zero but for rounding (of a bias before a softmax) moves Adam or does not,
    # as the CPU happens to round.
    trained = [names[key] for key, _ in model.named_parameters()]
    sizes = {name: np.abs(case.arrays[f"grad/{name}"]).max() for name in trained}
    rounded = {name for name, size in sizes.items() if size <= SMALL_GRADIENT}
    assert changed - rounded == set(case.entry["updated_by_step"][kind]) - rounded
    for key, parameter in model.named_parameters():
        expected = as_ours(case.arrays[f"step_{kind}/{names[key]}"])
        large = as_ours(case.arrays[f"grad/{names[key]}"]).abs() > SMALL_GRADIENT
        assert (
            difference(parameter[large], expected[large].numpy()) <= FORWARD if large.any() else 1
        )


def test_two_steps_with_optimisers_of_their_own(cases: Path, mafnet_training: str):
    """The second Adam knows nothing of the first one's step."""
    case = Case.read(cases, mafnet_training)
    model = case.model().double().train()
    names, distances = their_names(model), []
    optimizer = new_optimizer(case, model)
    step(case, model, optimizer, "sound")
    backward(case, model)
    second = {k: p.grad.clone() for k, p in model.named_parameters()}
    step(case, model, optimizer, "all")
    for key, parameter in model.named_parameters():
        first = as_ours(case.arrays[f"grad/{names[key]}"]).abs()
        large = (first > SMALL_GRADIENT) & (second[key].abs() > SMALL_GRADIENT)
        expected = as_ours(case.arrays[f"step_sound_then_all/{names[key]}"])
        distances.append((parameter.detach() - expected).abs()[large])
    assert float(torch.cat(distances).max()) <= FORWARD


def test_film_block_alone(cases: Path, mafnet_block: str):
    case = Case.read(cases, mafnet_block)
    features, condition = case.tensor("in/map"), case.tensor("in/cond")
    for mode in ("eval", "train"):
        block = new_block(case).train(mode == "train")
        gamma, beta = block.film(condition)
        result = block(features, condition=condition)
        stored = case.under(f"{mode}/")
        assert difference(gamma, stored["gamma"]) <= FORWARD
        assert difference(beta, stored["film_beta"]) <= FORWARD
        assert difference(result, stored["out"]) <= FORWARD
    for key, value in case.under("train_stats/").items():
        ours = {"pop_mean": block.norm.running_mean, "pop_var": block.norm.running_variance}
        assert difference(ours[key.split("/")[1]], value) <= FORWARD


def test_attention_alone(cases: Path):
    case = Case.read(cases, "attention.npz")
    table = torch.stack([case.tensor("in/image"), case.tensor("in/sound")], dim=2)
    weights = new_attention(case, "joint", "released")(table)
    assert difference(weights, case.arrays["out/lambda"]) <= FORWARD
    fused = Concatenation(2, 8)((weights[..., None] * table).sum(1))
    assert difference(fused, case.arrays["out/fused"]) <= FORWARD


@pytest.mark.parametrize("scorer", ["released", "paper"])
@pytest.mark.parametrize("kind", ["joint", "temporal", "modality", "none"])
def test_attention_variants(cases: Path, kind: str, scorer: str):
    case = Case.read(cases, "derived_attention_modes.npz")
    table = torch.stack([case.tensor("in/image"), case.tensor("in/sound")], dim=2)
    weights = new_attention(case, kind, scorer)(table)
    sums = (weights[..., None] * table).sum(1)
    word = {"released": "mlp_scorer", "paper": "paper_scorer"}[scorer]
    stored = case.under("out/none/" if kind == "none" else f"out/{kind}/{word}/")
    if kind != "none":
        times = table.shape[1] if kind == "modality" else 1  # ours has the mean over time in it
        assert difference(weights * times, stored["weights"]) <= FORWARD
        assert difference(Addition(2, 8)(sums), stored["fused_add"]) <= FORWARD
    assert difference(Concatenation(2, 8)(sums), stored["fused_concat"]) <= FORWARD


def test_contributions(cases: Path):
    case = Case.read(cases, "full_T10.npz")
    stored = np.load(cases / "mafnet" / "derived_contributions.npz")
    with torch.no_grad():
        parts = case.model()(case.inputs(), maps=True).contributions
    assert difference(parts["cells"], stored["contrib"]) <= FORWARD
    assert difference(parts["constant"], stored["bias"]) <= FORWARD


def test_padding_counts_as_released(cases: Path, mafnet_model: str):
    """The last two seconds of the last example are zeros: masks of padding change nothing."""
    case = Case.read(cases, mafnet_model)
    inputs = case.inputs()
    valid = torch.ones(inputs[VIDEO].shape[:2], dtype=torch.bool)
    valid[-1, -2:] = False
    assert not inputs[VIDEO][~valid].any() and not inputs[AUDIO][~valid].any()
    masks = {"valid": {VIDEO: valid, AUDIO: valid}}
    released = case.model()
    assert torch.equal(released(inputs, **masks).logits, released(inputs).logits)
    ours = type(released)(**released.info.arguments | {"masked": True}).eval()
    ours.load_state_dict(released.state_dict())
    assert torch.equal(ours(inputs).logits, released(inputs).logits)
    masked = ours(inputs, **masks, maps=True)
    assert not masked.attention["cells"][-1, -2:].any()
    torch.testing.assert_close(masked.logits[0], released(inputs).logits[0])
    assert not torch.allclose(masked.logits[-1], released(inputs).logits[-1])
