"""The linear probe: means of what counts, one linear layer, streams that may be absent."""

import pytest
import torch

from sightsound.models.linear_probe import LinearProbe


def probe(**changes) -> LinearProbe:
    arguments = dict(heads={"label": 3}, video_shape=(4, 2, 2, 6), audio_shape=(4, 5))
    return LinearProbe(**arguments | changes)


def inputs(seconds: int = 4) -> dict[str, torch.Tensor]:
    return {"video": torch.randn(6, seconds, 2, 2, 6), "audio": torch.randn(6, seconds, 5)}


def test_it_is_linear_in_the_features():
    model = probe().train()
    model(inputs())  # statistics other than 0 and 1
    model.eval()
    a, b = inputs(), inputs()
    mean = {name: 0.3 * a[name] + 0.7 * b[name] for name in a}
    expected = 0.3 * model(a).logits + 0.7 * model(b).logits
    torch.testing.assert_close(model(mean).logits, expected)


def test_the_mean_is_over_seconds_that_count():
    model, whole = probe().eval(), inputs()
    valid = {name: torch.tensor([[True, True, False, False]] * 6) for name in whole}
    shorter = {name: x[:, :2] for name, x in whole.items()}
    torch.testing.assert_close(model(whole, valid=valid).logits, model(shorter).logits)


def test_the_part_of_an_absent_stream_is_zero():
    model, given = probe().train(), inputs()
    model(given)  # statistics other than 0 and 1
    output = model.eval()(given, present={"video": torch.arange(6) % 2 == 0})
    assert not output.pooled["video"][1::2].any() and output.pooled["video"][::2].all()


def test_statistics_are_those_of_clips_that_have_the_stream():
    model, given = probe().train(), inputs()
    here = torch.arange(6) < 4
    model(given, present={"audio": here})
    mean = 0.01 * given["audio"][here].mean((0, 1))
    torch.testing.assert_close(model.norms["audio"].running_mean, mean)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"modalities": ("audio", "audio")}, r"accepted: \('video', 'audio'\), each once"),
        ({"modalities": ("smell",)}, "modalities are .*smell"),
        ({"video_shape": None}, "video_shape is None, but 'video' is among the modalities"),
    ],
)
def test_wrong_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        probe(**arguments)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"video": torch.zeros(2, 4, 7)}, r"video input has shape \(2, 4, 7\); accepted is .* 6\)"),
        ({"smell": torch.zeros(2, 4, 7)}, "unknown modality 'smell'"),
        ({}, "inputs hold none of the model's modalities"),
    ],
)
def test_wrong_inputs(given, text):
    with pytest.raises(ValueError, match=text):
        probe()(given)
