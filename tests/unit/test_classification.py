"""The objective: which logits meet which targets, with which weights."""

import dataclasses
import math
import re

import pytest
import torch
from torch import nn

from sightsound.objectives.classification import Classification
from sightsound.types import Batch, Output

CLASSES = 3


class Fixed(nn.Module):
    """A model that returns given logits and remembers what it was called with."""

    def __init__(self, **modality_logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.ParameterDict(modality_logits)

    def forward(self, inputs: dict, **masks: dict) -> Output:
        self.called_with = (inputs, masks)
        average = torch.stack(list(self.logits.values())).mean(0)
        return Output(logits=average, modality_logits=dict(self.logits.items()))


@pytest.fixture
def model() -> Fixed:
    return Fixed(video=torch.randn(4, CLASSES), audio=torch.randn(4, CLASSES))


@pytest.fixture
def batch() -> Batch:
    return Batch(
        video=torch.zeros(4, 2, 3, 4, 4),
        audio=torch.zeros(4, 1, 8, 4),
        present={name: torch.ones(4, dtype=torch.bool) for name in ("video", "audio")},
        valid={
            "video": torch.ones(4, 2, dtype=torch.bool),
            "audio": torch.ones(4, 8, dtype=torch.bool),
        },
        target=torch.eye(CLASSES)[[0, 1, 2, 0]],
        id=list("abcd"),
        view=torch.zeros(4, dtype=torch.long),
        complete=True,
    )


def objective(**values: object) -> Classification:
    return Classification(**{"task": "single", "heads": {"label": CLASSES}} | values)


def entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits, target, reduction="none")


def test_default_is_the_loss_of_the_averaged_logits(model: Fixed, batch: Batch):
    loss, logs = objective()(model, batch, generator=torch.Generator())
    average = (model.logits["video"] + model.logits["audio"]) / 2
    torch.testing.assert_close(loss, entropy(average, batch.target).mean())
    assert logs.keys() == {"loss", "average"} and not logs["loss"].requires_grad
    assert model.called_with[1] == {}  # complete: nothing is masked


def test_official_is_the_mean_of_the_losses_of_the_streams(model: Fixed, batch: Batch):
    loss, logs = objective(average_weight=0.0, stream_weight=1.0)(model, batch)
    each = {name: entropy(logits, batch.target).mean() for name, logits in model.logits.items()}
    torch.testing.assert_close(loss, (each["video"] + each["audio"]) / 2)
    assert logs.keys() == {"loss", "video", "audio"}
    torch.testing.assert_close(logs["audio"], each["audio"].detach())


def test_both_terms_have_their_weights(model: Fixed, batch: Batch):
    parts = [
        objective(average_weight=1.0)(model, batch)[0],
        objective(average_weight=0.0, stream_weight=1.0)(model, batch)[0],
    ]
    loss, logs = objective(average_weight=0.7, stream_weight=0.3)(model, batch)
    torch.testing.assert_close(loss, 0.7 * parts[0] + 0.3 * parts[1])
    torch.testing.assert_close(logs["loss"], loss.detach())


def test_streams_meet_their_own_targets_after_modality_mixup(model: Fixed, batch: Batch):
    own = {name: torch.rand(4, CLASSES).softmax(1) for name in ("video", "audio")}
    batch = dataclasses.replace(batch, modality_target=own)
    loss, _ = objective(average_weight=0.0, stream_weight=1.0)(model, batch)
    each = [entropy(model.logits[name], own[name]).mean() for name in own]
    torch.testing.assert_close(loss, sum(each) / 2)
    average, _ = objective()(model, batch)  # the averaged logits meet the batch's target
    logits = (model.logits["video"] + model.logits["audio"]) / 2
    torch.testing.assert_close(average, entropy(logits, batch.target).mean())


def test_absent_streams_do_not_count(model: Fixed, batch: Batch):
    batch.present["audio"][:] = torch.tensor([True, False, True, False])
    batch = dataclasses.replace(batch, complete=False)
    loss, logs = objective(average_weight=0.0, stream_weight=1.0)(model, batch)
    video, audio = (entropy(model.logits[name], batch.target) for name in ("video", "audio"))
    clips = torch.stack([(video + audio)[0] / 2, video[1], (video + audio)[2] / 2, video[3]])
    torch.testing.assert_close(loss, clips.mean())
    torch.testing.assert_close(logs["audio"], audio[[0, 2]].mean().detach())
    loss.backward()
    assert not model.logits["audio"].grad[[1, 3]].any()
    assert model.called_with[1].keys() == {"present", "valid"}


def test_a_stream_absent_everywhere_gives_no_nan(model: Fixed, batch: Batch):
    batch.present["audio"][:] = False
    batch = dataclasses.replace(batch, complete=False)
    loss, logs = objective(average_weight=0.0, stream_weight=1.0)(model, batch)
    torch.testing.assert_close(loss, entropy(model.logits["video"], batch.target).mean())
    assert logs["audio"] == 0


def test_several_labels_are_summed_over_classes():
    logits, target = torch.zeros(2, 5), torch.tensor([[1.0, 1, 0, 0, 0], [0.0] * 5])
    losses = objective(task="multi", heads={"label": 5}).example_losses(logits, target)
    torch.testing.assert_close(losses, torch.full((2,), 5 * math.log(2)))


def test_smoothing_counts_the_classes_of_each_head():
    """Logits of 0: a loss of ln K per head, whatever the smoothing; else y (1 - s) + s / K."""
    heads = {"verb": 2, "noun": 4}
    loss = objective(task="heads", heads=heads, label_smoothing=0.4)
    target = torch.tensor([[1.0, 0, 0, 1, 0, 0]])
    zeros = loss.example_losses(torch.zeros(1, 6), target)
    assert zeros.item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    logits = torch.tensor([[2.0, 0, 0, 0, 0, 0]])
    verb = math.log(1 + math.exp(-2)) + 2 * 0.2  # the other verb counts .4 / 2
    assert loss.example_losses(logits, target).item() == pytest.approx((verb + math.log(4)) / 2)


def test_a_clip_without_a_label_costs_nothing():
    logits, target = torch.randn(2, CLASSES), torch.tensor([[0.0, 1, 0], [0.0, 0, 0]])
    losses = objective(label_smoothing=0.1).example_losses(logits, target)
    assert losses[0] > 0 and losses[1] == 0


def test_class_weights_multiply_the_terms():
    logits, target = torch.randn(4, CLASSES), torch.eye(CLASSES)[[0, 1, 2, 0]]
    plain = objective().example_losses(logits, target)
    weighted = objective(class_weights=[1.0, 2.0, 3.0]).example_losses(logits, target)
    torch.testing.assert_close(weighted, plain * torch.tensor([1.0, 2.0, 3.0, 1.0]))


def test_half_precision_logits_are_widened():
    logits = torch.randn(4, CLASSES).bfloat16()
    losses = objective().example_losses(logits, torch.eye(CLASSES)[[0, 1, 2, 0]])
    assert losses.dtype == torch.float32


def test_there_is_nothing_to_save(batch: Batch):
    assert objective(class_weights=[1.0, 2.0, 3.0]).state_dict() == {}


def test_logits_of_other_classes(batch: Batch):
    text = "logits are (4, 5) and targets (4, 3); both must be (B, 3) for heads {'label': 3}"
    with pytest.raises(ValueError, match=re.escape(text)):
        objective()(Fixed(video=torch.zeros(4, 5)), batch)


def test_streams_without_logits(batch: Batch):
    class Pooled(nn.Module):
        def forward(self, inputs: dict) -> Output:
            return Output(logits=torch.zeros(4, CLASSES))

    with pytest.raises(ValueError, match="stream_weight is 0.5, but this model has no logits"):
        objective(stream_weight=0.5)(Pooled(), batch)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"task": "singel"}, "unknown task 'singel'.*Did you mean 'single'"),
        ({"heads": {"verb": 2, "noun": 3}}, "single and multi take exactly one head"),
        ({"heads": {}}, "heads are {}"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0; it must lie in"),
        ({"average_weight": 0.0}, "average_weight is 0.0 and stream_weight 0.0; neither"),
        ({"stream_weight": -1.0}, "average_weight is 1.0 and stream_weight -1.0; neither"),
        ({"class_weights": [1.0]}, "class_weights has 1 numbers for 3 classes"),
    ],
)
def test_bad_arguments(values: dict, text: str):
    with pytest.raises(ValueError, match=text):
        objective(**values)
