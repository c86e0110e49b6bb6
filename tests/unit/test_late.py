"""The average of two models that never meet: what it computes, and that they learn apart."""

from __future__ import annotations

import re

import pytest
import torch

from sightsound.models.late import LateAverage
from sightsound.models.pretrained import copy_matching
from sightsound.models.unimodal import OneStream
from sightsound.objectives.classification import Classification
from sightsound.types import AUDIO, VIDEO, Batch

SHAPES = dict(video_shape=(4, 16, 24), audio_shape=(36, 16))
GIVEN = {
    VIDEO: ("vit", dict(width=8, num_heads=2, depth=1, patch=(2, 8, 8))),
    AUDIO: ("ast", dict(width=16, num_heads=2, depth=1, patch=(8, 8), stride=(5, 4))),
}
OPTIONS = {f"{n}_backbone": b for n, (b, _) in GIVEN.items()}
OPTIONS |= {f"{n}_options": options for n, (_, options) in GIVEN.items()}


def pair() -> tuple[LateAverage, dict[str, OneStream]]:
    """The model and the two that it stands for, with the same weights."""
    torch.manual_seed(0)
    model = LateAverage(heads={"label": 3}, **SHAPES, **OPTIONS)
    alone = {}
    for name, (backbone, options) in GIVEN.items():
        alone[name] = OneStream(heads={"label": 3}, backbone=backbone, options=options, **SHAPES)
        alone[name].stream(name).load_state_dict(model.stream(name).state_dict())
        alone[name].head.load_state_dict(model.head[name].state_dict())
    return model, alone


def batch() -> Batch:
    everything = torch.ones(2, dtype=torch.bool)
    return Batch(
        video=torch.randn(2, 4, 3, 16, 24),
        audio=torch.randn(2, 1, 36, 16),
        present={VIDEO: everything, AUDIO: everything},
        valid={VIDEO: everything[:, None].expand(2, 4), AUDIO: everything[:, None].expand(2, 36)},
        target=torch.eye(3)[:2],
        id=["a", "b"],
        view=torch.zeros(2, dtype=torch.long),
    )


def test_it_is_the_mean_of_both():
    model, alone = pair()
    given = batch().inputs
    logits = {name: each(given).logits for name, each in alone.items()}
    found = model(given)
    torch.testing.assert_close(found.logits, (logits[VIDEO] + logits[AUDIO]) / 2)
    torch.testing.assert_close(found.modality_logits, logits)
    lacking = {VIDEO: torch.tensor([True, False]), AUDIO: torch.tensor([True, True])}
    torch.testing.assert_close(model(given, present=lacking).logits[1], logits[AUDIO][1])


def test_each_stream_learns_as_it_would_alone():
    """With its own loss; the average would tie them together."""
    model, alone = pair()
    given, task = batch(), dict(task="single", heads={"label": 3})
    own = Classification(**task, average_weight=0.0, stream_weight=2.0)
    own(model, given, generator=None)[0].backward()
    for name, each in alone.items():
        Classification(**task)(each, given, generator=None)[0].backward()
        pairs = zip(model.stream(name).parameters(), each.stream(name).parameters(), strict=True)
        for one, other in [(model.head[name].weight, each.head.weight), *pairs]:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-7)


def test_it_starts_from_two_models():
    model, _ = pair()
    _, alone = pair()
    for name, source in alone.items():
        with torch.no_grad():
            for parameter in source.parameters():
                parameter.add_(1.0)
        report = copy_matching(model, source)
        assert set(report.not_taken) == {"head.weight", "head.bias"}
        for key, tensor in source.stream(name).state_dict().items():
            assert torch.equal(model.stream(name).state_dict()[key], tensor), key


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"video_backbone": "ast", "video_options": {}},
            "video_backbone is 'ast', which reads aud",
        ),
        ({"audio_backbone": "asst"}, "unknown backbone 'asst'"),
        ({"heads": {}}, "heads is {}; give at least one head"),
    ],
)
def test_arguments_that_do_not_go_together(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        LateAverage(**{"heads": {"label": 3}, **SHAPES, **OPTIONS} | changes)


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, "inputs hold none of the model's modalities"),
        ({"image": torch.zeros(1)}, "unknown modality 'image'"),
        ({VIDEO: torch.zeros(1, 4, 1, 16, 24)}, "(B, T, C, H, W) with 3 channel(s) is accepted"),
    ],
)
def test_inputs_it_cannot_read(given, message):
    model, _ = pair()
    with pytest.raises(ValueError, match=re.escape(message)):
        model(given)
