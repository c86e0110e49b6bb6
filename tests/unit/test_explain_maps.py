"""Grad-CAM, occlusion, shares, curves and the record: exact on models whose answer is known."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_explain import make_batch, make_predictor
from test_rollout import (
    LABELS,
    MODELS,
    attend_to_marks,
    batch_of,
    marked_batch,
    mbt,
    predictor_of,
)
from torch import nn

from sightsound.explain.deletion import insertion_deletion, ranks
from sightsound.explain.explanation import METHODS, explain_batch, log_odds, make_target
from sightsound.explain.occlusion import hidden, over, windows_of
from sightsound.models.linear_probe import LinearProbe
from sightsound.models.mbt import MBT
from sightsound.models.unimodal import OneStream
from sightsound.types import Encoded, ModelInfo, Output

MAP_METHODS = ("rollout", "grad_cam", "occlusion")
COARSE = {"video_grid": (2, 2, 2), "audio_grid": (4, 2)}


def options_of(method: str) -> dict:
    return COARSE if method == "occlusion" else {}


class Additive(nn.Module):
    """log odds of class 0 against class 1: the sum of all inputs that are present, as weighted."""

    modalities = ("video", "audio")
    heads = {"label": 2}
    labels = {"label": ["yes", "no"]}
    task = "single"
    info = ModelInfo("additive", {})

    def __init__(self, video: torch.Tensor, audio: torch.Tensor) -> None:
        super().__init__()
        self.weights = {"video": video, "audio": audio}
        self.encoding = lambda batch: batch

    def encode(self, inputs, *, present=None, valid=None, token_mask=None, maps=False) -> Encoded:
        return Encoded(dict(inputs), {}, present)

    def fuse(self, encoded: Encoded, *, maps: bool = False) -> Output:
        total = 0.0
        for name, x in encoded.tokens.items():
            part = (x * self.weights[name]).flatten(1).sum(1)
            here = (encoded.present or {}).get(name)
            total = total + (part if here is None else part * here)
        return Output(torch.stack((total, torch.zeros_like(total)), dim=1))

    def forward(self, inputs, *, present=None, valid=None, maps=False) -> Output:
        return self.fuse(self.encode(inputs, present=present, valid=valid))


def additive(batch) -> SimpleNamespace:
    """A stand-in for a predictor; one frame region and one band count."""
    video = torch.zeros(batch.video.shape[1:])
    video[2:, :, :8, 8:] = 0.01
    audio = torch.zeros(batch.audio.shape[1:])
    audio[:, 16:24, :8] = -0.02
    model = Additive(video, audio)
    return SimpleNamespace(
        model=model, labels=model.labels, task="single", modalities=model.modalities
    )


# --- one call, any model ------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("method", [*MAP_METHODS, "shapley", "leave_one_out"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_every_model_can_be_asked_by_every_method(make, method, masked):
    predictor = predictor_of(make())
    batch = batch_of(predictor, masked=masked)
    before = {name: x.clone() for name, x in batch.inputs.items()}
    found = explain_batch(predictor, batch, method=method, **options_of(method))
    assert [one.id for one in found] == ["a", "b", "c"]
    for one in found:
        assert one.method == method and one.shown in LABELS["label"]
        assert sum(one.shares.values()) == pytest.approx(1)
        assert set(one.shares) == set(predictor.modalities)
        assert set(one.streams) == (set(predictor.modalities) if method in MAP_METHODS else set())
        for name, values in one.streams.items():
            assert values.ndim == (3 if name == "video" else 2) and np.isfinite(values).all()
            assert method == "occlusion" or (values >= 0).all()
    if masked and len(predictor.modalities) == 2:
        assert found[2].shares == pytest.approx({"video": 0, "audio": 1}, abs=1e-6)
    for name, x in batch.inputs.items():
        assert torch.equal(x, before[name])
    assert not any(parameter.grad is not None for parameter in predictor.model.parameters())


@pytest.mark.parametrize("method", ["rollout", "grad_cam", "occlusion", "shapley"])
def test_the_callers_mode_does_not_matter(method):
    predictor = predictor_of(mbt())
    batch = batch_of(predictor)
    expected = explain_batch(predictor, batch, method=method)[0].shares
    with torch.inference_mode():
        copies = dataclasses.replace(batch, video=batch.video + 0, audio=batch.audio + 0)
        found = explain_batch(predictor, copies, method=method)[0].shares
    assert found == expected
    predictor.model.requires_grad_(False)
    with torch.no_grad():
        assert explain_batch(predictor, batch, method=method)[0].shares == expected


@pytest.mark.parametrize("method", ["rollout", "grad_cam", "occlusion", "shapley"])
def test_a_model_of_half_precision_is_explained_alike(method):
    predictor = predictor_of(mbt())
    batch = batch_of(predictor)
    whole = explain_batch(predictor, batch, method=method, shown="dog")
    predictor.model.to(torch.bfloat16)
    batch = dataclasses.replace(batch, video=batch.video.bfloat16(), audio=batch.audio.bfloat16())
    for one, other in zip(
        whole, explain_batch(predictor, batch, method=method, shown="dog"), strict=True
    ):
        assert other.shares == pytest.approx(one.shares, abs=0.2)


def test_nothing_is_left_behind_by_an_error(monkeypatch):
    predictor = predictor_of(mbt())
    model, batch = predictor.model, batch_of(predictor)
    monkeypatch.setattr(MBT, "fuse", failing_after(1))  # the question is asked, then
    with pytest.raises(KeyError, match="in the middle"):
        explain_batch(predictor, batch, method="grad_cam")
    assert not any(module._forward_hooks for module in model.modules())
    assert not model.training and not any(p.grad is not None for p in model.parameters())


def failing_after(number: int):
    """`MBT.fuse` that works so many times."""
    fuse, left = MBT.fuse, iter(range(number))

    def fuse_or_fail(self, *args, **options):
        if next(left, None) is None:
            raise KeyError("in the middle")
        return fuse(self, *args, **options)

    return fuse_or_fail


def test_auto_is_what_suits_the_model():
    expected = {"averaged": "rollout", "avt": "rollout", "ast": "rollout", "uniformer": "grad_cam"}
    assert {name: MODELS[name]().default_explanation for name in expected} == expected
    assert make_predictor().model.default_explanation == "contributions"
    assert frames_one_by_one().default_explanation == "occlusion"
    assert set(expected.values()) < set(METHODS)


def frames_one_by_one() -> OneStream:
    size = dict(width=8, depth=2, num_heads=2, mlp_width=8, patch=(1, 8, 8))
    return OneStream(heads={"label": 3}, backbone="vit", options=size, video_shape=(4, 16, 16))


@pytest.mark.parametrize("method", MAP_METHODS)
def test_a_batch_of_many_clips_gives_each_what_it_gets_alone(method):
    predictor = predictor_of(mbt())
    batch = batch_of(predictor, masked=True)
    together = explain_batch(predictor, batch, method=method, **options_of(method))
    for row, one in enumerate(together):
        index = torch.tensor([row])
        alone = make_target(predictor, batch, method=method, shown=one.shown).rows(index).batch
        (again,) = explain_batch(predictor, alone, method=method, **options_of(method))
        for name, values in one.streams.items():
            np.testing.assert_allclose(again.streams[name], values, atol=1e-5)
        assert again.probability == pytest.approx(one.probability, abs=1e-6)


def test_the_class_asked_about_is_the_likeliest_or_the_one_named():
    predictor = predictor_of(mbt())
    batch = batch_of(predictor)
    logits = predictor.model(batch.inputs).logits.softmax(1)
    for row, one in enumerate(explain_batch(predictor, batch, method="shapley")):
        assert one.shown == LABELS["label"][int(logits[row].argmax())]
        assert one.probability == pytest.approx(float(logits[row].max().detach()), abs=1e-6)
    for row, one in enumerate(explain_batch(predictor, batch, method="grad_cam", shown="owl")):
        assert one.shown == "owl"
        assert one.probability == pytest.approx(float(logits[row, 2].detach()), abs=1e-6)
    with pytest.raises(ValueError, match="unknown class 'ow'; known: cat, dog, owl. Did you mean"):
        explain_batch(predictor, batch, shown="ow")


MISTAKES = {
    "method": ({"method": "rolout"}, "unknown method of explanation 'rolout'.*mean 'rollout'"),
    "heads": ({"method": "rollout", "heads": "median"}, "unknown way to join heads 'median'"),
    "weights": ({"method": "grad_cam", "weights": "cell"}, "unknown weights 'cell'"),
    "stage": ({"method": "grad_cam", "stage": 2}, r"stage is 2; accepted: \(3, 4\)"),
    "sums": ({"method": "contributions"}, "models 'mbt' are no sums of seconds; contributions are"),
}


@pytest.mark.parametrize(("options", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(options, message):
    predictor = predictor_of(mbt())
    with pytest.raises(ValueError, match=message):
        explain_batch(predictor, batch_of(predictor), **options)


def test_frames_one_by_one_have_no_rollout_but_the_other_maps():
    predictor = predictor_of(frames_one_by_one())
    batch = batch_of(predictor)
    with pytest.raises(
        ValueError, match="'one_stream' has no attention weights over all tokens of"
    ):
        explain_batch(predictor, batch, method="rollout")
    for one in explain_batch(predictor, batch, method="grad_cam"):
        assert one.video.shape == (4, 2, 2) and one.video.any()


@pytest.mark.parametrize("kind", ["vivit", "videomae", "timesformer"])
def test_foreign_encoders_are_asked_as_far_as_they_tell(kind):
    pytest.importorskip("transformers")
    config = dict(model_type=kind, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
                  intermediate_size=8, patch_size=8)  # fmt: skip
    config |= {"tubelet_size": [2, 8, 8]} if kind == "vivit" else {}
    model = OneStream(
        heads={"label": 3}, backbone="transformers_video", options={"config": config},
        video_shape=(4, 16, 16),
    )  # fmt: skip
    predictor = predictor_of(model)
    batch = batch_of(predictor)
    (one, *_) = explain_batch(predictor, batch)
    assert one.method == ("occlusion" if kind == "timesformer" else "rollout")
    assert one.video.any() and one.shares == {"video": 1}
    if kind != "timesformer":
        assert one.video.shape == (2, 2, 2) and one.video.sum() == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="the video encoder of 'one_stream' is a foreign network"):
        explain_batch(predictor, batch, method="grad_cam")


# --- log odds -----------------------------------------------------------------------------------


def test_log_odds_are_of_the_class_within_its_head():
    logits = torch.tensor([[1.0, 2.0, -1.0, 0.5, 3.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    places = torch.tensor([1, 3])
    found = log_odds(logits, places, task="heads", heads={"verb": 2, "noun": 3})
    p = torch.stack((logits[0, :2].softmax(0)[1], logits[1, 2:].softmax(0)[1]))
    torch.testing.assert_close(found, (p / (1 - p)).log())
    several = log_odds(logits, places, task="multi", heads={"label": 5})
    torch.testing.assert_close(several, torch.tensor([2.0, 0.0]))
    alone = log_odds(logits[:, :1], torch.tensor([0, 0]), task="single", heads={"label": 1})
    torch.testing.assert_close(alone, logits[:, 0])


# --- Grad-CAM -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [3, 4])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_grad_cam_of_uniformer_is_the_papers(stage, place):
    """Against the formula on maps and gradients that a hook of its own takes out."""
    predictor = predictor_of(MODELS["uniformer"]())
    batch, kept = batch_of(predictor), []
    backbone = predictor.model.video
    reader = backbone.norm if stage == 4 else backbone.stage4
    hook = reader.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    logits = predictor.model({"video": batch.video}).logits
    hook.remove()
    others = [other for other in range(3) if other != place]
    score = logits[:, place] - logits[:, others].logsumexp(1)
    (slope,) = torch.autograd.grad(score.sum(), kept)
    weights = slope.mean((2, 3, 4), keepdim=True)
    expected = (weights * kept[0]).sum(1).relu().detach().numpy()  # (B, T', H', W')
    shown = LABELS["label"][place]
    found = explain_batch(predictor, batch, method="grad_cam", shown=shown, stage=stage)
    for one, values in zip(found, expected, strict=True):
        assert one.video.shape[1] == values.shape[1]
        np.testing.assert_allclose(one.video.sum((0, 2)), values.sum((0, 2)), rtol=1e-4, atol=1e-6)


def test_grad_cam_is_of_the_class():
    predictor = predictor_of(MODELS["uniformer"]())
    batch = batch_of(predictor)
    maps = [
        explain_batch(predictor, batch, method="grad_cam", shown=name) for name in ("cat", "dog")
    ]
    assert any(one.video.any() for one in maps[0]) and any(one.video.any() for one in maps[1])
    assert not np.allclose(maps[0][0].video, maps[1][0].video)


def test_where_the_classifier_reads_the_mean_cells_and_channels_agree():
    """Behind UniFormer's last stage every cell has the same gradient."""
    predictor = predictor_of(MODELS["uniformer"]())
    batch = batch_of(predictor)
    ways = [
        explain_batch(predictor, batch, method="grad_cam", stage=4, weights=weights)
        for weights in ("cells", "channels")
    ]
    for one, other in zip(*ways, strict=True):
        np.testing.assert_allclose(one.video, other.video, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("fusion", ["bottleneck", "cross_attention", "self_attention"])
def test_grad_cam_finds_the_patches_that_decide(fusion):
    """Marked patches alone are attended to, and what is read of them raises class 0."""
    predictor = attend_to_marks(mbt(fusion=fusion))
    model = predictor.model
    mark, told = torch.tensor([1.0, -1.0] * 4), torch.tensor([1.0, 1.0, -1.0, -1.0] * 2)
    with torch.no_grad():
        for name in model.modalities:
            attention = model.layers(name)[-1].attention
            attention.qkv.weight[16:] = torch.outer(told, mark) / 8
            attention.out.weight.copy_(torch.eye(8))
        model.norm.weight.fill_(1.0)
        model.head.weight[0] = told
    one = explain_batch(predictor, marked_batch(predictor), method="grad_cam", shown="cat")[0]
    video, audio = np.zeros((4, 2, 2), bool), np.zeros((4, 2), bool)
    video[1, 0, 1] = audio[0, 1] = audio[3, 0] = True
    for values, marked in ((one.video, video), (one.audio, audio)):
        assert values[marked].min() > 0 and values[~marked].max() < 1e-3 * values[marked].min()


@pytest.mark.parametrize("name", MODELS)
def test_grad_cam_adds_up_to_what_attention_or_the_mean_reads(name):
    """Before ReLU, the sum over cells is small only by chance: it is never zero throughout."""
    predictor = predictor_of(MODELS[name]())
    maps = explain_batch(predictor, batch_of(predictor), method="grad_cam", weights="cells")
    for stream in predictor.modalities:
        assert max(one.streams[stream].max() for one in maps) > 1e-4


# --- occlusion ----------------------------------------------------------------------------------


def test_windows_are_all_boxes_and_cover_every_cell():
    windows = windows_of((3, 4), (2, 2))
    assert windows.shape == (6, 3, 4) and (windows.flatten(1).sum(1) == 4).all()
    assert len({tuple(window.flatten().tolist()) for window in windows}) == 6
    assert windows[0].nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert windows.any(0).all()
    wide = over(windows[:1], (6, 5))
    assert wide[0].any(1).tolist() == [True] * 4 + [False] * 2
    assert wide[0].any(0).tolist() == [True] * 3 + [False] * 2  # floor(place * 4 / 5) < 2


def test_occlusion_is_what_a_sum_loses():
    """Of a sum of the inputs the map is known: with windows of one cell, the sum of each cell."""
    predictor = additive(batch_of(predictor_of(mbt())))
    batch = batch_of(predictor_of(mbt()))
    grids = {"video_grid": (4, 2, 2), "audio_grid": (4, 2)}
    found = explain_batch(predictor, batch, method="occlusion", shown="yes", **grids)
    boxes = windows_of((4, 2, 2), (2, 2, 2))
    weighted = (batch.video * predictor.model.weights["video"]).sum(2)  # (B, T, H, W)
    for one, values in zip(found, weighted, strict=True):
        sums = values.unflatten(2, (2, 8)).unflatten(1, (2, 8)).sum((2, 4))  # (T, 2, 2)
        lost = (boxes * sums).flatten(1).sum(1)
        expected = torch.einsum("w,wthk->thk", lost, boxes.float()) / boxes.sum(0)
        np.testing.assert_allclose(one.video, expected, atol=1e-4)
    assert np.abs(found[0].audio).max() > 0.01


def test_hidden_is_zero_in_the_box_and_nowhere_else():
    batch = batch_of(predictor_of(mbt()))
    boxes = torch.zeros(3, 4, 16, 16, dtype=torch.bool)
    boxes[:, 1, :8] = True
    found = hidden(batch.video, boxes, "video")
    assert not found[:, 1, :, :8].any() and torch.equal(
        found[:, 1, :, 8:], batch.video[:, 1, :, 8:]
    )
    assert torch.equal(found[:, 0], batch.video[:, 0])
    seconds = torch.tensor([[True, False]])
    assert hidden(torch.ones(1, 2, 3, 5), seconds, "audio").sum((2, 3)).tolist() == [[0, 15]]


# --- shares -------------------------------------------------------------------------------------


def test_shapley_values_are_exact_and_add_up():
    """By hand, over both orders; the start is an even chance."""
    batch = batch_of(predictor_of(mbt()), masked=False)
    predictor = additive(batch)
    parts = {
        name: (batch.inputs[name] * predictor.model.weights[name]).flatten(1).sum(1)
        for name in batch.inputs
    }
    found = explain_batch(predictor, batch, method="shapley", shown="yes")
    lost = explain_batch(predictor, batch, method="leave_one_out", shown="yes")
    for row, one in enumerate(found):
        v, a = (float(parts[name][row]) for name in ("video", "audio"))
        p = {key: 1 / (1 + np.exp(-x)) for key, x in {"": 0, "v": v, "a": a, "va": v + a}.items()}
        video = ((p["v"] - p[""]) + (p["va"] - p["a"])) / 2
        audio = ((p["a"] - p[""]) + (p["va"] - p["v"])) / 2
        assert one.effects == pytest.approx({"video": video, "audio": audio}, abs=1e-5)
        assert sum(one.effects.values()) == pytest.approx(one.probability - 0.5, abs=1e-5)
        share = abs(video) / (abs(video) + abs(audio))
        assert one.shares["video"] == pytest.approx(share, abs=1e-4)
        assert lost[row].effects["audio"] == pytest.approx(p["va"] - p["v"], abs=1e-5)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_shapley_values_add_up_to_more_than_an_even_chance(make):
    predictor = predictor_of(make())
    batch = batch_of(predictor, masked=True)
    for one in explain_batch(predictor, batch, method="shapley"):
        assert sum(one.effects.values()) == pytest.approx(one.probability - 1 / 3, abs=1e-5)


def test_several_labels_start_from_the_prevalence_of_the_class():
    predictor = predictor_of(mbt())
    predictor.task = "multi"
    names = predictor.labels["label"]
    predictor.model.info.prevalence = [0.02, 0.3, 0.07]
    for name, share in zip(names, predictor.model.info.prevalence, strict=True):
        for one in explain_batch(predictor, batch_of(predictor), method="shapley", shown=name):
            assert sum(one.effects.values()) == pytest.approx(one.probability - share, abs=1e-5)


def test_several_labels_of_unknown_prevalence_start_from_one_class_of_all():
    predictor = predictor_of(mbt())
    predictor.task = "multi"
    for one in explain_batch(predictor, batch_of(predictor), method="shapley"):
        assert sum(one.effects.values()) == pytest.approx(one.probability - 1 / 3, abs=1e-5)


# --- features -----------------------------------------------------------------------------------


def test_contributions_of_mafnet_are_maps_of_seconds():
    predictor = make_predictor()
    batch = make_batch(video=[[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    with torch.no_grad():
        output = predictor.model(batch.inputs, **batch.masks, maps=True)
    for row, one in enumerate(explain_batch(predictor, batch)):
        assert one.method == "contributions"
        assert one.video.shape == (4, 1, 1) and one.audio.shape == (4, 1)
        place = ["cat", "dog", "owl"].index(one.shown)
        total = one.video.sum() + one.audio.sum() + float(output.contributions["constant"][place])
        assert total == pytest.approx(float(output.logits[row, place]), abs=1e-5)
    assert not one.video.any() and one.shares == {"video": 0, "audio": 1}


@pytest.mark.parametrize("method", ["rollout", "grad_cam"])
def test_features_have_no_encoder_to_look_into(method):
    with pytest.raises(ValueError, match="'mafnet' reads features .*; ask by auto or occlusion$"):
        explain_batch(make_predictor(), make_batch(), method=method)


def test_mafnet_whose_fusion_is_not_linear_shows_its_attention():
    predictor = make_predictor(fusion="mcb", mcb_size=16)
    for one in explain_batch(predictor, make_batch()):
        assert one.video.sum() + one.audio.sum() == pytest.approx(1, abs=1e-5)


def test_features_are_hidden_second_by_second():
    predictor = make_predictor()
    for one in explain_batch(predictor, make_batch(), method="occlusion"):
        assert one.video.shape == (4, 1, 1) and one.audio.shape == (4, 1)
    with pytest.raises(ValueError, match="'mafnet' reads features of frozen encoders, so there is"):
        explain_batch(predictor, make_batch(), method="grad_cam")


def test_a_linear_probe_is_asked_by_occlusion():
    shapes = {"video_shape": (4, 5), "audio_shape": (4, 6)}
    predictor = make_predictor()
    model = LinearProbe(heads={"label": 3}, **shapes)
    predictor.model = model.eval()
    (one, *_) = explain_batch(predictor, make_batch())
    assert one.method == "occlusion" and one.video.any()
    with pytest.raises(ValueError, match="'linear_probe' reads features of frozen"):
        explain_batch(predictor, make_batch(), method="rollout")


# --- curves -------------------------------------------------------------------------------------


def test_the_curves_of_a_known_order():
    """A clip whose class depends on one cell of four: deleted first, or inserted first."""
    batch = batch_of(predictor_of(mbt()))
    video = torch.zeros_like(batch.video)
    video[:, :, :, :8, 8:] = 1
    batch = dataclasses.replace(batch, video=video)
    weights = torch.zeros(batch.video.shape[1:])
    weights[:, :, :8, 8:] = 0.02
    model = Additive(weights, torch.zeros(batch.audio.shape[1:]))
    predictor = SimpleNamespace(model=model, labels=model.labels, task="single")
    (one, *_) = explain_batch(predictor, batch, method="occlusion", shown="yes",
                             video_grid=(1, 2, 2), audio_grid=(1, 1))  # fmt: skip
    good = np.zeros((1, 2, 2), np.float32)
    good[0, 0, 1] = 1
    maps = [dataclasses.replace(one, id=clip, video=good) for clip in batch.id]
    curves = insertion_deletion(predictor, batch, maps, steps=4, random_orders=8)[0]
    p = 1 / (1 + np.exp(-0.02 * 4 * 3 * 64))
    np.testing.assert_allclose(curves.deletion, [p, 0.5, 0.5, 0.5, 0.5], atol=1e-5)
    np.testing.assert_allclose(curves.insertion, [0.5, p, p, p, p], atol=1e-5)
    assert curves.area == pytest.approx((p - 0.5) * 0.75, abs=1e-5)
    assert curves.random_deletion.shape == (8, 5) and curves.area > curves.random_area
    upside_down = [dataclasses.replace(each, video=-each.video) for each in maps]
    worst = insertion_deletion(predictor, batch, upside_down, steps=4)[0]
    assert worst.area == pytest.approx(-(p - 0.5) * 0.75, abs=1e-5)


def test_ties_are_drawn_and_ranks_are_of_each_stream():
    predictor = predictor_of(mbt())
    one = explain_batch(predictor, batch_of(predictor), method="rollout")[0]
    flat = dataclasses.replace(one, video=np.zeros((4, 2, 2)), audio=np.arange(8.0).reshape(4, 2))
    orders = [ranks(flat, generator=np.random.default_rng(seed)) for seed in (0, 1)]
    assert not np.array_equal(orders[0]["video"], orders[1]["video"])
    assert sorted(orders[0]["video"].ravel()) == (np.arange(16) / 16).tolist()
    assert np.array_equal(orders[0]["audio"], np.arange(8)[::-1].reshape(4, 2) / 8)


def test_curves_need_the_maps_of_their_clips():
    predictor = predictor_of(mbt())
    batch = batch_of(predictor)
    maps = explain_batch(predictor, batch, method="shapley")
    with pytest.raises(ValueError, match="shapley says how much streams count, not which of their"):
        insertion_deletion(predictor, batch, maps)
    with pytest.raises(ValueError, match="maps are not those of the batch's clips, in order"):
        insertion_deletion(predictor, batch, maps[::-1])
