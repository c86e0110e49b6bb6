"""Every check of `sightsound probe` on every model of the table, and knock-out exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_models import ALL, FUSED, VARIANTS, build, random_inputs

from sightsound.diagnostics.checks import CHECKS, run_check
from sightsound.diagnostics.knockout import EVERYWHERE, cut, depth, strategy, variants
from sightsound.diagnostics.randomise import from_the_head, steps
from sightsound.diagnostics.trial import Trial, explanation_targets
from sightsound.explain.explanation import explain_batch
from sightsound.media.front_end import FeatureFrontEnd, FrontEnd
from sightsound.predict import Predictor
from sightsound.types import AUDIO, VIDEO, Batch

FEATURES = ("mafnet", "linear_probe")
FIRST = [(name, next(iter(table))) for name, table in VARIANTS.items()]
LAYERED = [pair for pair in FUSED if strategy(build(*pair)) is not None]
NUM_CLIPS = 8
ROUNDING = 2e-5  # of sums in another order


@pytest.fixture(autouse=True)
def little_work(monkeypatch):
    monkeypatch.setattr("sightsound.diagnostics.finding.RESAMPLINGS", 20)
    monkeypatch.setattr("sightsound.diagnostics.trial.MOST_EXPLAINED", 3)


def trial_of(model: torch.nn.Module, name: str) -> Trial:
    """Random clips of every class, the last without sound."""
    features = FeatureFrontEnd(segments=4) if name in FEATURES else None
    model.info.front_end = FrontEnd(features=features).to_dict()
    model.info.labels = {h: [f"{h}{k}" for k in range(n)] for h, n in model.heads.items()}
    model.info.task = "heads"
    inputs = random_inputs(model, NUM_CLIPS)
    if VIDEO in inputs and not features:
        inputs[VIDEO] = (inputs[VIDEO] * 40 + 128).clamp(0, 255).to(torch.uint8)
    axes = {VIDEO: 1, AUDIO: 1 if features else 2}
    valid = {
        key: torch.ones(NUM_CLIPS, x.shape[axes[key]], dtype=torch.bool)
        for key, x in inputs.items()
    }
    present = {key: torch.ones(NUM_CLIPS, dtype=torch.bool) for key in inputs}
    if len(inputs) > 1:
        present[AUDIO][-1], valid[AUDIO][-1] = False, False
    target = torch.zeros(NUM_CLIPS, 7)
    rows = torch.arange(NUM_CLIPS)
    target[rows, rows % 3] = target[rows, 3 + rows % 3] = 1.0
    batch = Batch(
        video=inputs.get(VIDEO),
        audio=inputs.get(AUDIO),
        present=present,
        valid=valid,
        target=target,
        id=[f"clip{row}" for row in range(NUM_CLIPS)],
        view=torch.zeros(NUM_CLIPS, dtype=torch.long),
        encoded=features is not None,
    )
    return Trial(Predictor(model, device="cpu"), batch, batch_size=3)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name, variant", FIRST, ids=[name for name, _ in FIRST])
def test_every_check_has_an_answer_for_every_model(name, variant, check):
    model = build(name, variant)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trial = trial_of(model, name)
    found = run_check(check, trial)
    assert found.name == check and found.sentence.endswith(".")
    assert found == run_check(check, trial)  # the same seed, the same numbers
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    if len(model.modalities) == 1 and check in ("swap", "shift", "streams", "knockout"):
        assert "alone: " in found.sentence and not found.findings


@pytest.mark.parametrize("name, variant", ALL, ids=[f"{n}-{v}" for n, v in ALL])
def test_every_model_is_explained_by_the_method_that_auto_stands_for(name, variant):
    trial = trial_of(build(name, variant), name)
    model, batch = trial.predictor.model, trial.predictor.encoding(trial.clips)
    found = explain_batch(trial.predictor, batch)
    assert [one.id for one in found] == trial.clips.id
    for one in found:
        assert set(one.streams) == set(model.modalities)
        assert sum(one.shares.values()) == pytest.approx(1, abs=1e-5)
        assert all(np.isfinite(values).all() for values in one.streams.values())
    assert all(found[0].streams[stream].any() for stream in model.modalities)
    if len(model.modalities) > 1:  # the last clip has no sound
        assert not found[-1].audio.any() and found[-1].shares[AUDIO] == 0
    assert not any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["late", "mafnet", "mbt"])
def test_the_whole_head_is_destroyed_first(name):
    model = build(*next(pair for pair in FIRST if pair[0] == name))
    names = from_the_head(model, explanation_targets(trial_of(model, name))[0])
    first, *_, last = steps(names).items()
    parts = {"late": {"head.audio", "head.video"}, "mafnet": {"head.norm", "head.linear"}}
    assert set(names[: first[0]]) == parts.get(name, {"head"}) and first[1] == "head destroyed"
    assert last == (len(names), "100 % destroyed")


# --- knock-out ----------------------------------------------------------------------------------


def test_every_fusion_is_among_them():
    assert {"bottleneck-token", "cross_attention-token", "self_attention-token"} <= {
        variant for _, variant in LAYERED
    }
    assert {("mbt", "late"), ("avt", "no-fusion")} <= set(ALL) - set(LAYERED)


@pytest.mark.parametrize("name, variant", LAYERED, ids=[f"{n}-{v}" for n, v in LAYERED])
@torch.inference_mode()
def test_all_layers_cut_leave_each_stream_as_it_is_alone(name, variant):
    model = build(name, variant)
    inputs = random_inputs(model)
    masks = some_padding(model, inputs)
    encoded = model.encode(inputs, **masks)
    whole = model.fuse(encoded)
    with cut(model, []):
        assert torch.equal(model.fuse(encoded).logits, whole.logits)
    with cut(model, range(depth(model, encoded))):
        apart = model.fuse(encoded)
    for stream, values in inputs.items():
        alone = model({stream: values}, valid={stream: masks["valid"][stream]})
        here = masks["present"][stream]
        assert (whole.tokens[stream] - alone.tokens[stream])[here].abs().max() > 1e-3
        torch.testing.assert_close(
            apart.tokens[stream][here], alone.tokens[stream][here], rtol=ROUNDING, atol=ROUNDING
        )


def some_padding(model: torch.nn.Module, inputs: dict) -> dict:
    """The last third of the sound is padding in every clip; the first clip has no pictures."""
    present = {key: torch.ones(len(x), dtype=torch.bool) for key, x in inputs.items()}
    present[VIDEO][0] = False
    valid = {
        key: torch.ones(len(x), x.shape[2 if key == AUDIO else 1], dtype=torch.bool)
        for key, x in inputs.items()
    }
    valid[AUDIO][:, -valid[AUDIO].shape[1] // 3 :] = False
    return {"present": present, "valid": valid}


@pytest.mark.parametrize("fusion", ["bottleneck", "sequential", "cross_attention"])
@torch.inference_mode()
def test_single_layers_are_cut_at_their_place(fusion):
    name = "sequential" if fusion == "sequential" else f"{fusion}-token"
    model = build("mbt", name)
    encoded = model.encode(random_inputs(model))
    whole, found = model.fuse(encoded).logits, {}
    for what, layers in variants(depth(model, encoded), first=1).items():
        with cut(model, layers):
            found[what] = (model.fuse(encoded).logits - whole).abs().max().item()
    assert list(found) == [EVERYWHERE, "layers 2 to 3", "layer 1", "layer 2", "layer 3"]
    silent = "layer 1" if fusion == "bottleneck" else None  # averaged: it reads learned tokens only
    assert all((value < ROUNDING) == (what == silent) for what, value in found.items())
    assert found[EVERYWHERE] >= found["layer 3"]


def test_the_hooks_are_gone_even_after_an_error():
    model = build("mbt", "bottleneck-token")
    with pytest.raises(KeyError), cut(model, [0]):
        raise KeyError
    assert not model.fusion._forward_pre_hooks


def test_fusion_that_happens_in_training_only_is_not_cut():
    model = build("mbt", "bottleneck-token")
    model.test_with_bottlenecks = False
    found = run_check("knockout", trial_of(model, "mbt"))
    assert found.sentence == "Its streams pass its layers apart: there is no exchange to cut."
