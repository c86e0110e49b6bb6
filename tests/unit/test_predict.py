"""The inference path: streams hidden or absent, views, tables and JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sightsound.config.load import config_text, load_config
from sightsound.data.rows import Manifest, Row
from sightsound.media.decode import DecodeError
from sightsound.media.encode import write_video
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.models.mbt import MBT
from sightsound.predict import (
    Prediction,
    Predictor,
    as_json,
    as_table,
    named_scores,
    nan_mean,
    probabilities,
)
from sightsound.types import Batch, Problem

FRONT_END = FrontEnd(
    "tiny",
    AudioFrontEnd(num_frames=64, num_mels=32, log_offset=1e-6, mean=-3.0, deviation=4.0),
    VideoFrontEnd(num_frames=2, window_seconds=1.0, height=16, width=16, short_side=16),
)
LABELS = {"label": ["cat", "dog", "owl"]}
ROWS = [Row("a.mp4", Path("a.mp4"), ("cat",))]
EMPTY = Manifest((), LABELS, "single", Path("clips.csv"))


def make_model(*modalities: str, task: str = "single") -> MBT:
    model = MBT(
        heads={"label": 3},
        video_shape=(2, 16, 16),
        audio_shape=(64, 32),
        modalities=modalities or ("audio", "video"),
        width=16,
        depth=2,
        num_heads=2,
        mlp_width=32,
        fusion_layer=1,
        video_patch=(1, 8, 8),
        audio_patch=(16, 16),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.info = dataclasses.replace(
        model.info, front_end=FRONT_END.to_dict(), labels=LABELS, task=task
    )
    return model


def make_batch(audio: list[bool], video: list[bool]) -> Batch:
    size = len(audio)
    present = {"audio": torch.tensor(audio), "video": torch.tensor(video)}
    return Batch(
        video=torch.randint(0, 255, (size, 2, 3, 16, 16), dtype=torch.uint8),
        audio=torch.randn(size, 1, 64, 32),
        present=present,
        valid={
            "audio": present["audio"][:, None].repeat(1, 64),
            "video": present["video"][:, None].repeat(1, 2),
        },
        target=torch.zeros(size, 3),
        id=[str(index) for index in range(size)],
        view=torch.zeros(size, dtype=torch.long),
        complete=all(audio) and all(video),
    )


def write(path, *, video: bool = True, audio: bool = True) -> str:
    frames = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
    sound = 0.3 * np.sin(np.arange(24000) / 5).astype(np.float32)
    if video:
        write_video(path, frames, frames_per_second=8, waveform=sound if audio else None)
        return str(path)
    import wave

    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return str(path)


def test_hidden_and_absent_streams_agree():
    predictor = Predictor(make_model(), device="cpu")
    whole = make_batch([True] * 3, [True] * 3)
    hidden = predictor.stream_logits(whole)
    absent = dataclasses.replace(
        whole,
        present={"audio": torch.tensor([False] * 3), "video": torch.tensor([True] * 3)},
        valid=whole.valid | {"audio": torch.zeros(3, 64, dtype=torch.bool)},
        complete=False,
    )
    torch.testing.assert_close(predictor.logits(absent), hidden["video"])
    assert not torch.allclose(hidden["audio+video"], hidden["video"])


def test_clips_without_any_wanted_stream_are_nan():
    predictor = Predictor(make_model(), device="cpu")
    logits = predictor.stream_logits(make_batch([True, False, False], [True, True, False]))
    missing = {name: values.isnan().all(1).tolist() for name, values in logits.items()}
    assert missing == {
        "audio+video": [False, False, True],
        "audio": [False, True, True],
        "video": [False, False, True],
    }
    assert torch.equal(logits["audio+video"][1], logits["video"][1])


@pytest.mark.parametrize("audio", [[True, True], [False, True]], ids=["all", "one alone"])
def test_a_model_that_has_diverged_is_no_absent_stream(audio):
    model = make_model("audio", "video")
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="the scores of '.*' are not numbers: the weights"):
        Predictor(model).logits(make_batch(audio, [True, True]))


def test_inference_leaves_no_gradient_and_no_dropout():
    predictor = Predictor(make_model().train(), device="cpu")
    assert not predictor.model.training
    assert not predictor.logits(make_batch([True], [True])).requires_grad


def test_prediction_of_a_file_with_both_streams(tmp_path):
    prediction = Predictor(make_model(), device="cpu").predict(write(tmp_path / "a.mp4"), views=2)
    assert list(prediction.scores) == ["audio+video", "audio", "video"]
    assert prediction.present == {"audio": True, "video": True}
    assert list(prediction.probabilities) == LABELS["label"]
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert prediction.label == max(LABELS["label"], key=prediction.probabilities.get)


@pytest.mark.parametrize(
    ("name", "left", "word"), [("a.mp4", "video", "sound"), ("a.wav", "audio", "pictures")]
)
def test_prediction_of_a_file_with_one_stream(tmp_path, name, left, word):
    file = write(tmp_path / name, video=left == "video", audio=left == "audio")
    prediction = Predictor(make_model(), device="cpu").predict(file, views=2)
    assert list(prediction.scores) == ["audio+video", left]
    assert prediction.scores["audio+video"] == pytest.approx(prediction.scores[left])
    assert f"no {word} in this file" in as_table([prediction])


def test_prediction_of_a_unimodal_model(tmp_path):
    prediction = Predictor(make_model("audio"), device="cpu").predict(write(tmp_path / "a.mp4"))
    assert list(prediction.scores) == ["audio"]
    assert "audio alone" not in as_table([prediction])


def test_part_of_a_file(tmp_path):
    predictor = Predictor(make_model(), device="cpu")
    file = write(tmp_path / "a.mp4")
    whole = predictor.predict(file, views=1)
    part = predictor.predict(file, views=1, start_seconds=0.6, end_seconds=1.1)
    assert whole.probabilities != part.probabilities


def test_unusable_files(tmp_path):
    predictor = Predictor(make_model("audio"), device="cpu")
    with pytest.raises(FileNotFoundError, match="no such file: 'none.mp4'"):
        predictor.predict("none.mp4")
    with pytest.raises(FileNotFoundError, match="it is a folder; name the files in it"):
        predictor.predict(tmp_path)
    with pytest.raises(ValueError, match="start_seconds is 2 and end_seconds 1.0; accepted: a st"):
        predictor.predict(write(tmp_path / "a.mp4"), start_seconds=2.0, end_seconds=1.0)
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(DecodeError, match="text.mp4"):
        predictor.predict(tmp_path / "text.mp4")
    with pytest.raises(DecodeError, match="no audio in this window"):
        predictor.predict(write(tmp_path / "silent.mp4", audio=False))


def test_crop_follows_training():
    model = make_model()
    assert Predictor(model, device="cpu").crop == "centre"
    model.info.provenance["crop"] = "random"
    assert Predictor(model, device="cpu").crop == "centre"
    model.info.provenance["crop"] = "full"
    assert Predictor(model, device="cpu").crop == "full"


def test_wrap_follows_training(tmp_path):
    """Half a second of a file, windows of .64 and 1 s: padded, or going on at the start."""
    path = write(tmp_path / "a.mp4")
    model = make_model()
    (padded,) = Predictor(model, device="cpu").clips(path, views=1, end_seconds=0.5)
    model.info.provenance["wrap"] = True
    (wrapped,) = Predictor(model, device="cpu").clips(path, views=1, end_seconds=0.5)
    assert not padded.audio_valid.all() and not padded.video_valid.all()
    assert wrapped.audio_valid.all() and wrapped.video_valid.all()


def test_files_are_decoded_as_in_the_run(tmp_path):
    """A file that needs longer than usual, or a faster decoder, in training does so here, too."""
    make_model().save_pretrained(tmp_path / "model")
    changes = {"data.time_limit_seconds": 300.0, "data.approximate": True}
    config = load_config(overrides={"model.size": "tiny", **changes})
    (tmp_path / "config.yaml").write_text(config_text(config))
    settings = Predictor(tmp_path).dataset(EMPTY, ROWS).settings
    assert (settings.time_limit_seconds, settings.approximate) == (300.0, True)
    assert Predictor(tmp_path / "model").dataset(EMPTY, ROWS).settings.approximate
    assert Predictor(make_model()).dataset(EMPTY, ROWS).settings.time_limit_seconds == 60.0


def test_probabilities_by_task():
    logits = torch.tensor([[0.0, 0.0, 2.0, 2.0, 2.0]])
    heads = {"verb": 2, "noun": 3}
    third = 1 / 3
    expected = torch.tensor([[0.5, 0.5, third, third, third]])
    torch.testing.assert_close(probabilities(logits, "heads", heads), expected)
    assert probabilities(logits, "multi", {"label": 5})[0, 0] == 0.5
    assert probabilities(logits, "single", {"label": 5}).sum() == pytest.approx(1)
    names = named_scores(expected[0], {"verb": ["cut", "peel"], "noun": ["egg", "leek", "oil"]})
    assert list(names) == ["verb:cut", "verb:peel", "noun:egg", "noun:leek", "noun:oil"]


@pytest.mark.parametrize(("end_seconds", "distinct"), [(0.5, 1), (None, 4)])
def test_views_that_are_the_same_come_once(tmp_path, end_seconds, distinct):
    """The window takes a second, the file has one and a half."""
    predictor, file = Predictor(make_model(), device="cpu"), write(tmp_path / "a.mp4")
    clips = predictor.clips(file, views=4, end_seconds=end_seconds)
    assert [clip.view for clip in clips] == list(range(distinct))


def test_mean_over_views_skips_those_without_the_stream():
    nan = [torch.nan] * 2
    assert nan_mean(torch.tensor([[1.0, 2.0], nan, [3.0, 4.0]])).tolist() == [2.0, 3.0]
    assert nan_mean(torch.tensor([nan])).isnan().all()


def example() -> Prediction:
    scores = {
        "audio+video": {"cat": 0.25, "dog[s]": 0.75},
        "audio": {"cat": 0.5, "dog[s]": 0.5},
        "video": {"cat": 0.125, "dog[s]": 0.875},
    }
    problem = Problem("a", "a.mp4", "audio", "cut short", "partial")
    return Prediction("a.mp4", scores, {"audio": True, "video": True}, (problem,))


def test_table():
    lines = as_table([example(), example()]).splitlines()
    assert lines[0] == "a.mp4"
    assert lines[1].split() == ["class", "audio+video", "audio", "alone", "video", "alone"]
    assert lines[2].split() == ["dog[s]", "75.0", "%", "50.0", "%", "87.5", "%"]
    assert lines[4] == "audio: cut short"
    assert lines.count("a.mp4") == 2
    assert len(as_table([example()], top=1).splitlines()) == 4


def test_json():
    (record,) = json.loads(as_json([example()]))
    assert record["file"] == "a.mp4" and record["label"] == "dog[s]"
    assert list(record["scores"]["audio+video"]) == ["dog[s]", "cat"]
    assert record["problems"][0]["cause"] == "cut short"


def test_a_model_that_gives_no_numbers_is_told_apart_from_a_file(tmp_path):
    model = make_model("audio", "video")
    with torch.no_grad():
        for weights in model.parameters():
            weights.fill_(torch.nan)
    with pytest.raises(ValueError, match="are not numbers: the weights of the model are damaged"):
        Predictor(model).predict(write(tmp_path / "a.mp4"), views=1)
