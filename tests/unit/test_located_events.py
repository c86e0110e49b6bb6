"""Maps on clips whose events have a known place and time: trained models, randomised ones."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from located import SHAPES, draw, randomised, small_mbt, target_of, times_chance, trained
from test_rollout import attend_to_marks, marked_batch, mbt

from sightsound.explain.deletion import insertion_deletion
from sightsound.explain.explanation import explain_batch
from sightsound.explain.occlusion import over
from sightsound.models.unimodal import ASTClassifier, UniFormerClassifier

TWICE, CHANCE = 2.0, 1.3
ABOVE_RANDOM = 0.05
RANDOM_MODELS = 5
SHORT = [("ast", "grad_cam")]  # its curves are below those of random orders


def new_ast() -> ASTClassifier:
    torch.manual_seed(0)
    size = dict(width=48, num_heads=4, depth=2, mlp_width=96, patch=(8, 8), stride=(8, 8))
    return ASTClassifier(heads={"label": 3}, audio_shape=SHAPES["audio"], **size)


def new_uniformer() -> UniFormerClassifier:
    torch.manual_seed(0)
    size = dict(widths=(16, 16, 32, 32), depths=(1, 1, 1, 1), head_width=16, mlp_ratio=2.0)
    return UniFormerClassifier(heads={"label": 3}, video_shape=(8, 64, 64), **size)


NEW = {"mbt": (small_mbt, 150, 1), "ast": (new_ast, 150, 1), "uniformer": (new_uniformer, 100, 2)}


@pytest.fixture(scope="module", params=NEW)
def model(request):
    """(its name, a trained predictor, how to make the model anew, scale of its frames)."""
    new, steps, scale = NEW[request.param]
    predictor = trained(new(), steps=steps, batch_size=32 if scale == 1 else 16, scale=scale)
    batch, _ = draw(60, seed=5, scale=scale)
    with torch.no_grad():
        logits = predictor.model({name: batch.inputs[name] for name in predictor.modalities}).logits
    right = logits.argmax(1) == target_of(predictor.model, batch).argmax(1)
    assert right.float().mean() > 0.95
    return request.param, predictor, new, scale


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rollout", "grad_cam", "occlusion"])
def test_a_trained_model_is_found_to_look_at_the_events(model, method):
    """Clips that were in no training: the mass within events is at least twice their part."""
    name, predictor, _, scale = model
    if (name, method) in SHORT:
        pytest.skip("falls short, as docs/explanation.md says")
    number = 12 if method == "occlusion" else 48
    batch, where = draw(number, seed=424242, events_only=True, scale=scale)
    maps = explain_batch(predictor, batch, method=method)
    for stream in predictor.modalities:
        assert times_chance(maps, where, stream) >= TWICE
    curves = insertion_deletion(predictor, batch, maps)
    assert sum(one.above_random for one in curves) / len(curves) >= ABOVE_RANDOM


@pytest.mark.parametrize("method", ["rollout", "grad_cam"])
@pytest.mark.parametrize("name", NEW)
def test_randomised_models_are_not(name, method):
    """The mean over models: gradients of a single one may prefer events or what is around them."""
    new, _, scale = NEW[name]
    batch, where = draw(24, seed=78, events_only=True, scale=scale)
    found = [
        explain_batch(randomised(new(), seed=seed), batch, method=method)
        for seed in range(RANDOM_MODELS)
    ]
    for stream in found[0][0].streams:
        ratios = [times_chance(maps, where, stream) for maps in found]
        assert sum(ratios) / len(ratios) <= CHANCE
        assert method == "grad_cam" or max(ratios) <= CHANCE


def test_a_model_that_is_built_to_attend_to_marks_is_found_to_do_so():
    """Without any training: marked patches are the events, in other places in every clip."""
    torch.manual_seed(5)
    predictor = attend_to_marks(mbt())
    batch = marked_batch(predictor)
    marks = {"video": torch.rand(3, 4, 2, 2) < 0.15, "audio": torch.rand(3, 4, 2) < 0.25}
    marks["video"][:, 0, 0, 0] = marks["audio"][:, 1, 1] = True
    where = {name: over(x, predictor.front_end.shapes[name]) for name, x in marks.items()}
    video = (2.0 * where["video"] - 1)[:, :, None].expand_as(batch.video)
    batch = dataclasses.replace(batch, video=video, audio=(2.0 * where["audio"] - 1)[:, None])
    maps = explain_batch(predictor, batch, method="rollout")
    for stream in predictor.modalities:
        assert times_chance(maps, where, stream) >= TWICE
    curves = insertion_deletion(predictor, batch, maps)
    assert all(one.area == pytest.approx(0) for one in curves)  # its classifier reads nothing
