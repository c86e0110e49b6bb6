"""Rollout: rows sum to one, exact on known attention, routed as the model's fusion routes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small import SMALL_MBT

from sightsound.explain.explanation import explain_batch
from sightsound.explain.rollout import ALL, FUSION, Mixer, rollout_rows
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.models.avt import AVT
from sightsound.models.late import LateAverage
from sightsound.models.mbt import MBT
from sightsound.models.unimodal import ASTClassifier, UniFormerClassifier
from sightsound.predict import Predictor
from sightsound.types import Batch

LABELS = {"label": ["cat", "dog", "owl"]}
AST = dict(width=8, num_heads=2, depth=2, mlp_width=8, patch=(8, 8), stride=(6, 8))
UNIFORMER = dict(widths=(8, 8, 8, 8), depths=(1, 1, 2, 2), head_width=4)
AVT_SHAPES = dict(video_shape=(4, 64, 32), audio_shape=(32, 16))


def mbt(**arguments) -> MBT:
    return MBT(**SMALL_MBT | {"depth": 3} | arguments)


def avt(**arguments) -> AVT:
    options = dict(AVT_SHAPES, video_options=UNIFORMER, audio_options=AST, width=8, num_heads=2)
    return AVT(
        heads={"label": 3}, **options | {"fusion_depth": 2, "bottleneck_tokens": 2} | arguments
    )


MODELS = {
    "averaged": lambda: mbt(),
    "sequential": lambda: mbt(update="sequential"),
    "sound first": lambda: mbt(update="sequential", update_order=("audio", "video")),
    "early": lambda: mbt(fusion_layer=0),
    "late": lambda: mbt(fusion_layer=3),
    "cross-attention": lambda: mbt(fusion="cross_attention"),
    "self-attention": lambda: mbt(fusion="self_attention"),
    "mean of tokens": lambda: mbt(classifier="gap"),
    "shared": lambda: mbt(share_weights=True),
    "alone at test": lambda: mbt(test_with_bottlenecks=False),
    "frames chosen": lambda: mbt(frame_sampling=2, video_shape=(4, 20, 16)),
    "sound only": lambda: mbt(modalities=("audio",)),
    "avt": lambda: avt(),
    "avt, mean": lambda: avt(fusion_update="block_mean", video_token="pooled_again"),
    "avt, running mean": lambda: avt(fusion_update="running_mean", audio_token="both"),
    "avt, no fusion": lambda: avt(fusion_depth=0),
    "late average": lambda: LateAverage(
        heads={"label": 3}, **AVT_SHAPES, video_options=UNIFORMER, audio_options=AST
    ),
    "ast": lambda: ASTClassifier(heads={"label": 3}, audio_shape=(32, 16), **AST),
    "uniformer": lambda: UniFormerClassifier(
        heads={"label": 3}, video_shape=(5, 64, 40), **UNIFORMER
    ),
}


def predictor_of(model) -> Predictor:
    """A model whose every parameter is random, the classifier's too."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    shapes = {name: x.shape for name, x in model.example_inputs().items()}
    frames, _, height, width = shapes.get("video", (1, 4, 3, 16, 16))[1:]
    length, mels = shapes.get("audio", (1, 1, 32, 16))[2:]
    front_end = FrontEnd(
        "tiny",
        AudioFrontEnd(num_frames=length, num_mels=mels),
        VideoFrontEnd(num_frames=frames, height=height, width=width),
    )
    model.info = dataclasses.replace(model.info, front_end=front_end.to_dict(), labels=LABELS)
    return Predictor(model, device="cpu")


def batch_of(predictor: Predictor, *, masked: bool = False) -> Batch:
    """Three clips; if `masked`, the second ends early, the third has no pictures."""
    torch.manual_seed(4)
    (frames, height, width), (length, mels) = predictor.front_end.shapes.values()
    valid = {
        "video": torch.ones(3, frames, dtype=torch.bool),
        "audio": torch.ones(3, length, dtype=torch.bool),
    }
    present = {name: torch.ones(3, dtype=torch.bool) for name in valid}
    if masked:
        valid["video"][1, frames // 2 :] = valid["audio"][1, length // 2 :] = False
    if masked and len(predictor.modalities) > 1:
        valid["video"][2] = present["video"][2] = False
    return Batch(
        video=torch.randn(3, frames, 3, height, width),
        audio=torch.randn(3, 1, length, mels),
        present=present,
        valid=valid,
        target=torch.zeros(3, 3),
        id=["a", "b", "c"],
        view=torch.zeros(3, dtype=torch.long),
        complete=not masked,
    )


def question_of(predictor: Predictor, batch: Batch):
    from sightsound.explain.explanation import make_target

    return make_target(predictor, batch, method="rollout", shown=None)


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("heads", ["mean", "min", "max"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_rows_sum_to_one(make, heads, masked):
    predictor = predictor_of(make())
    batch = batch_of(predictor, masked=masked)
    question = question_of(predictor, batch)
    rows = rollout_rows(question, Mixer(heads))
    assert set(rows) == {*predictor.modalities, ALL}
    for reader, row in rows.items():
        whole = torch.cat(tuple(row.values()), dim=1)
        assert (whole >= 0).all()
        sums = whole.sum(1)[question.present.get(reader, slice(None))]
        torch.testing.assert_close(sums, torch.ones_like(sums))


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_maps_sum_to_one_over_what_is_there(make, masked):
    predictor = predictor_of(make())
    batch = batch_of(predictor, masked=masked)
    found = explain_batch(predictor, batch, method="rollout")
    assert [one.id for one in found] == batch.id
    for one in found:
        assert sum(x.sum() for x in one.streams.values()) == pytest.approx(1, abs=1e-5)
        assert one.shares == pytest.approx({n: x.sum() for n, x in one.streams.items()}, abs=1e-5)
        assert set(one.streams) == set(predictor.modalities)
    if masked and "audio" in predictor.modalities:
        half = found[1].audio.shape[0] // 2
        assert found[1].audio[half + 2 :].sum() == 0 < found[1].audio[:half].min()
    if masked and len(predictor.modalities) == 2:
        assert found[2].shares == {"video": 0, "audio": 1} and not found[2].video.any()
        assert set(found[2].crossing) == {"audio"}


# --- exact --------------------------------------------------------------------------------------

SCALE = 200.0  # of scores: what is not marked gets exp(-400), nothing at all


def attend_to_marks(model: MBT) -> Predictor:
    """A model whose every query attends to marked tokens alone, all alike.

    A patch is marked where the input is positive; fusion tokens are marked, CLS is not. Layers
    change nothing, so that this holds in each of them.
    """
    predictor = predictor_of(model)
    mark = torch.tensor([1.0, -1.0] * 4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.zero_()
        for module in model.modules():
            if hasattr(module, "qkv"):
                module.qkv.bias[0:8:4] = SCALE  # the query of each of the two heads
                module.qkv.weight[8:16:4] = mark / 8  # and its key
            if hasattr(module, "attention_norm"):
                module.attention_norm.weight.fill_(1.0)
                module.attention_norm.bias.zero_()
        for name in model.modalities:
            stream = model.stream(name)
            stream.patches.projection.weight.copy_(
                mark[:, None].expand_as(stream.patches.projection.weight)
            )
            stream.cls.copy_(-100 * mark)
        if model.fusion is not None and hasattr(model.fusion, "tokens"):
            model.fusion.tokens.copy_(100 * mark)
    return predictor


def marked_batch(predictor: Predictor) -> Batch:
    """Frame 1's upper right patch is marked, and two patches of the sound: (0, 1) and (3, 0)."""
    batch = batch_of(predictor)
    video, audio = -torch.ones_like(batch.video), -torch.ones_like(batch.audio)
    video[:, 1, :, :8, 8:] = 1
    audio[:, :, :8, 8:] = audio[:, :, 24:, :8] = 1
    return dataclasses.replace(batch, video=video, audio=audio)


def test_a_known_attention_gives_a_known_map():
    predictor = attend_to_marks(mbt(modalities=("video",)))
    one = explain_batch(predictor, marked_batch(predictor), method="rollout")[0]
    expected = np.zeros((4, 2, 2))
    expected[1, 0, 1] = 1
    np.testing.assert_allclose(one.video, expected, atol=1e-6)
    rows = rollout_rows(question_of(predictor, marked_batch(predictor)))[ALL]["video"][0]
    assert rows[0] == pytest.approx(1 / 8) and rows[1:].max() == pytest.approx(7 / 8)


def test_a_known_attention_through_averaged_fusion():
    """One layer alone, two of fusion, one fusion token; by hand.

    A stream's keys are its m marks and the fusion token z, m = 1 of the pictures, 2 of the sound.
    CLS alone: 1/2 own + 1/2 marks. A mark v of the pictures stays v in the layer alone; in the
    first layer of fusion it becomes 3/4 v + 1/4 z, and z (as read by all) becomes
    1/2 z + 1/4 (v/2 + z/2) + 1/4 (s/3 + z/3) = (1/2 + 1/8 + 1/12) z + v/8 + s/12, s the sum of
    both marks of the sound.
    """
    predictor = attend_to_marks(mbt(bottleneck_tokens=1))
    one = explain_batch(predictor, marked_batch(predictor), method="rollout")[0]
    z = {"z": 1 / 2 + 1 / 8 + 1 / 12, "v": 1 / 8, "s": 1 / 12}
    v = {"z": 1 / 4, "v": 3 / 4, "s": 0}
    s_sum = {"z": 1 / 3, "v": 0, "s": 1 / 2 + 1 / 3}  # half itself, 2 * 1/2 * (s + z) / 3
    cls_v = {"z": 1 / 4, "v": 1 / 4 + 1 / 4, "s": 0}  # 1/2 (1/2 v) + 1/2 (v + z)/2
    cls_s = {"z": 1 / 6, "v": 0, "s": 1 / 8 + 1 / 6}  # 1/2 (1/2 s/2) + 1/2 (s + z)/3
    last_v = {k: cls_v[k] / 2 + (v[k] + z[k]) / 4 for k in z}
    last_s = {k: cls_s[k] / 2 + (s_sum[k] + z[k]) / 6 for k in z}
    video, sound = (last_v["v"] + last_s["v"]) / 2, (last_v["s"] + last_s["s"])  # s: two patches
    np.testing.assert_allclose(one.video[1, 0, 1], video / (video + sound), atol=1e-6)
    np.testing.assert_allclose(one.audio[0, 1], sound / 2 / (video + sound), atol=1e-6)
    np.testing.assert_allclose(one.audio[3, 0], one.audio[0, 1], atol=1e-6)
    assert np.count_nonzero(one.video > 1e-6) == 1 and np.count_nonzero(one.audio > 1e-6) == 2
    crossed = 2 * last_v["s"] / (2 * last_v["s"] + last_v["v"])
    assert one.crossing["video"]["audio"] == pytest.approx(crossed, abs=1e-6)


@pytest.mark.parametrize("name", ["late", "alone at test", "avt, no fusion", "late average"])
def test_without_a_layer_across_nothing_crosses(name):
    predictor = predictor_of(MODELS[name]())
    for one in explain_batch(predictor, batch_of(predictor), method="rollout"):
        assert one.crossing == {
            "video": {"video": 1, "audio": 0},
            "audio": {"video": 0, "audio": 1},
        }


@pytest.mark.parametrize("name", ["averaged", "cross-attention", "self-attention", "avt"])
def test_with_one_something_does(name):
    predictor = predictor_of(MODELS[name]())
    for one in explain_batch(predictor, batch_of(predictor), method="rollout"):
        assert one.crossing["audio"]["video"] > 0.01


# --- one matrix per layer -----------------------------------------------------------------------


def half_and_half(weights: torch.Tensor, heads: str) -> np.ndarray:
    """Of one clip's weights (h, N, J); a row of zeros, of a stream that is not there, stays."""
    weights = weights.detach().double().numpy()
    joined = getattr(weights, heads)(0)
    sums = joined.sum(1, keepdims=True)
    own = np.zeros_like(joined)
    own[:, joined.shape[1] - joined.shape[0] :] = np.eye(len(joined))  # own are the last keys
    return np.where(sums > 0, 0.5 * joined / np.maximum(sums, 1e-30) + 0.5 * own, own)


def joint_matrices(
    model, attention, counts: dict[str, int], here: list[str], heads: str
) -> list[np.ndarray]:
    """Each layer of one clip as a matrix over [streams in order | fusion tokens]."""
    places, start = {}, 0
    for name, count in counts.items():
        places[name] = np.arange(start, start + count)
        start += count
    matrices = []
    for layer in range(model.size.depth):
        whole = np.eye(start)
        own = {
            name: half_and_half(attention[key], heads)
            for name in ("audio", "video", "joint")
            if (key := f"{name}.{layer}") in attention
        }
        if "joint" in own:
            whole = own["joint"]
        elif layer < model.fusion_layer:
            for name in ("audio", "video"):
                whole[np.ix_(places[name], places[name])] = own[name]
        elif model.info.arguments["fusion"] == "cross_attention":
            for name, other in (("audio", "video"), ("video", "audio")):
                keys = np.concatenate([places[other], places[name]])
                whole[places[name]] = 0
                whole[np.ix_(places[name], keys)] = own[name]
        else:
            steps, z = {}, places["fusion"]
            for name in ("audio", "video"):
                at = np.concatenate([places[name], z])
                steps[name] = np.eye(start)
                steps[name][np.ix_(at, at)] = own[name]
            if model.info.arguments["update"] == "sequential":
                for name in model.info.arguments["update_order"]:
                    whole = steps[name] @ whole if name in here else whole
            else:
                for name in ("audio", "video"):
                    whole[places[name]] = steps[name][places[name]]
                whole[z] = np.mean([steps[name][z] for name in here], axis=0)
        matrices.append(whole)
    return matrices


@pytest.mark.parametrize("heads", ["mean", "min", "max"])
@pytest.mark.parametrize(
    "name",
    ["averaged", "sequential", "sound first", "early", "late", "cross-attention", "self-attention"],
)
def test_rows_are_those_of_the_product_of_joint_matrices(name, heads):
    """Of a whole clip, one that ends early and one without pictures."""
    predictor = predictor_of(MODELS[name]())
    model, batch = predictor.model, batch_of(predictor, masked=True)
    question = question_of(predictor, batch)
    output = model(batch.inputs, **batch.masks, maps=True)
    counts = {name: output.tokens[name].shape[1] for name in model.modalities}
    if hasattr(model.fusion, "tokens"):
        counts[FUSION] = model.fusion.tokens.shape[1]
    first = {"audio": 0, "video": counts["audio"]}
    rows = rollout_rows(question, Mixer(heads))
    for clip in range(len(batch)):
        here = [name for name in model.modalities if question.present[name][clip]]
        attention = {key: weights[clip] for key, weights in output.attention.items()}
        product = np.eye(sum(counts.values()))
        for matrix in joint_matrices(model, attention, counts, here, heads):
            product = matrix @ product
        np.testing.assert_allclose(product.sum(1), 1, atol=1e-6)
        expected = {reader: product[first[reader]] for reader in here}
        expected[ALL] = np.mean(list(expected.values()), axis=0)
        for reader, row in expected.items():
            found = [rows[reader][part][clip] for part in counts]
            np.testing.assert_allclose(torch.cat(found).numpy(), row, atol=1e-6)
