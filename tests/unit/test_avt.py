"""AVT besides what every model must do: readings of the update, widths, its encoders' weights."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from sightsound.models.avt import AVT
from sightsound.models.pretrained import copy_matching
from sightsound.models.unimodal import ASTClassifier, UniFormerClassifier
from sightsound.types import AUDIO, VIDEO

VIDEO_SIZES = dict(widths=(4, 8, 16, 24), depths=(1, 1, 1, 1), head_width=8)
AUDIO_SIZES = dict(width=16, num_heads=2, depth=1, patch=(8, 8), stride=(5, 4))
SMALL = dict(
    heads={"label": 5},
    video_shape=(4, 32, 64),
    video_options=VIDEO_SIZES,
    audio_shape=(46, 16),
    audio_options=AUDIO_SIZES,
    fusion_depth=3,
    num_heads=2,
)


def small(**changes) -> AVT:
    torch.manual_seed(0)
    return AVT(**SMALL | changes).eval()


def inputs(model: AVT, size: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn_like(x) for name, x in model.example_inputs(size).items()}


@torch.no_grad()
@pytest.mark.parametrize("update", ["chain", "block_mean", "running_mean"])
def test_fusion_tokens_written_out(update):
    """The three readings, layer by layer, without the fusion's own code."""
    model = small(fusion_update=update)
    encoded = model.encode(inputs(model))
    streams = {n: model.projections[n](encoded.tokens[n]) for n in (VIDEO, AUDIO)}
    fusion, results = model.fusion.tokens.expand(2, -1, -1), []
    count = fusion.shape[1]
    for video_layer, audio_layer in zip(*(model.fusion_layers[n] for n in streams), strict=True):
        joined, _ = video_layer(torch.cat((fusion, streams[VIDEO]), dim=1))
        first, streams[VIDEO] = joined[:, :count], joined[:, count:]
        joined, _ = audio_layer(torch.cat((first, streams[AUDIO]), dim=1))
        second, streams[AUDIO] = joined[:, :count], joined[:, count:]
        results.append(second)
        fusion = {
            "chain": second,
            "block_mean": (first + second) / 2,
            "running_mean": sum(results) / len(results),
        }[update]
    vectors = [model.norms[n](streams[n])[:, 0] for n in (VIDEO, AUDIO)]
    expected = model.head(torch.cat(vectors, dim=1))
    ours = model(inputs(model)).logits
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_readings_differ_from_the_second_or_third_layer_on():
    """Of one layer's tokens the mean is themselves."""
    logits = {}
    for depth in (1, 2, 3):
        for update in ("chain", "block_mean", "running_mean"):
            model = small(fusion_update=update, fusion_depth=depth)
            for parameter in model.fusion_layers.parameters():  # else all is close to the start
                parameter.add_(0.3 * torch.randn_like(parameter))
            logits[depth, update] = model(inputs(model)).logits
    for depth in (1, 2, 3):
        chain, block, running = (logits[depth, u] for u in ("chain", "block_mean", "running_mean"))
        assert torch.equal(chain, block) == (depth == 1)
        assert torch.equal(chain, running) == (depth <= 2)


@torch.no_grad()
def test_sound_sees_pictures_in_the_first_layer_and_pictures_sound_in_the_second():
    for depth, video_learns in ((1, False), (2, True)):
        model = small(fusion_depth=depth)
        given = inputs(model)
        before = model(given).tokens
        other_audio = model(given | {AUDIO: torch.randn_like(given[AUDIO])}).tokens
        other_video = model(given | {VIDEO: torch.randn_like(given[VIDEO])}).tokens
        assert torch.equal(before[VIDEO], other_audio[VIDEO]) != video_learns
        assert not torch.equal(before[AUDIO], other_video[AUDIO])


@torch.no_grad()
def test_widths():
    model = small()
    encoded = model.encode(inputs(model))
    assert encoded.pooled[VIDEO].shape == (2, 24) and encoded.pooled[AUDIO].shape == (2, 16)
    torch.testing.assert_close(encoded.tokens[VIDEO][:, 0], encoded.pooled[VIDEO])
    assert isinstance(model.projections[AUDIO], nn.Identity)
    assert model.fuse(encoded).tokens[VIDEO].shape == (2, 1 + 2 * 1 * 2, 16)
    assert small(width=32).fuse(small().encode(inputs(model))).pooled[AUDIO].shape == (2, 32)
    both = small(audio_token="both").encode(inputs(model)).tokens[AUDIO]
    assert both.shape[1] == encoded.tokens[AUDIO].shape[1] + 1


@torch.no_grad()
def test_it_starts_from_its_two_encoders():
    """`train --init UNIFORMER --init AST`: every tensor of both, positions of another length."""
    model = small()
    video = UniFormerClassifier(heads={"other": 3}, video_shape=(4, 32, 64), **VIDEO_SIZES)
    audio = ASTClassifier(heads={"other": 3}, audio_shape=(36, 16), **AUDIO_SIZES)
    for source in (video, audio):
        report = copy_matching(model, source)
        assert {name.split(".")[0] for name in report.not_taken} <= {"head", "head_norm"}
        name = source.modality
        for key, value in getattr(source, name).state_dict().items():
            if key != "positions":
                assert torch.equal(getattr(model, name).state_dict()[key], value), key
    assert report.interpolated == ["audio.positions"]


def test_a_classifier_of_one_stream_is_left_behind_as_a_whole():
    """Its bias alone would fit where the classes are the same."""
    model = small()
    video = UniFormerClassifier(heads={"label": 5}, video_shape=(4, 32, 64), **VIDEO_SIZES)
    report = copy_matching(model, video)
    why = "the classifier reads something else"
    assert report.not_taken == {"head.weight": why, "head.bias": why}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"heads": {}}, "heads is {}; give at least one head"),
        ({"fusion_update": "mean"}, "unknown fusion_update 'mean'"),
        ({"video_token": "cls"}, "unknown video_token 'cls'"),
        ({"audio_token": "cls"}, "unknown audio_token 'cls'"),
        ({"fusion_depth": -1}, "fusion_depth is -1; accepted: 0 or more"),
        ({"num_heads": 3}, "width 16 is not a multiple of num_heads 3"),
        ({"video_backbone": "ast"}, "video_backbone is 'ast', which reads audio"),
        ({"audio_backbone": "as"}, "unknown backbone 'as'"),
    ],
)
def test_arguments_that_do_not_go_together(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        small(**arguments)


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, "inputs hold none of the model's modalities"),
        ({"image": torch.zeros(1)}, "unknown modality 'image'"),
        ({AUDIO: torch.zeros(1, 46, 16)}, "(B, 1, F, M) with 1 channel(s) is accepted"),
        ({VIDEO: torch.zeros(1, 4, 3, 32, 64).byte()}, "video input is torch.uint8"),
    ],
)
def test_inputs_it_cannot_read(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        small()(given)
