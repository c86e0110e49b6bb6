"""Evaluation: averages over views, absent streams, words, files. No media, no training."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch

from sightsound.config.settings import EvaluateSettings
from sightsound.data.rows import Manifest, Row
from sightsound.evaluation.evaluate import clips_of, late_jobs, scored_split, split_of_run
from sightsound.evaluation.results import (
    LATE,
    Evaluation,
    Scored,
    hits,
    modality_confusion,
    paired_difference,
    paired_score,
    read_evaluation,
    right,
    verdict,
    write_evaluation,
)
from sightsound.evaluation.scoring import Sums, on_common_clips, row_scores, with_late_average
from sightsound.metrics.scores import summarise
from sightsound.metrics.statistics import mcnemar
from sightsound.predict import BOTH, Predictor
from sightsound.report.numbers import against
from sightsound.types import Batch, Problem

LABELS = {"label": ["cat", "dog", "owl"]}
CLIPS = 40


def scored(num_right: int, *, num_classes: int = 3, absent: int = 0, seed: int = 0) -> Scored:
    """`num_right` of 40 clips right; the first `absent` have no such stream."""
    rng = np.random.default_rng(seed)
    targets = np.eye(num_classes)[np.arange(CLIPS) % num_classes]
    answers = np.where(np.arange(CLIPS) < num_right, 0, 1)
    logits = 3 * np.stack([np.roll(t, k) for t, k in zip(targets, answers, strict=True)])
    logits = (logits + 0.1 * rng.standard_normal(logits.shape)).astype(np.float32)
    logits[:absent] = np.nan
    return Scored([f"clip{index}" for index in range(CLIPS)], logits, targets)


def evaluation(streams: dict[str, Scored], *, task: str = "single", bootstrap: int = 200):
    heads = {"label": 3}
    rows = {
        name: row_scores(each, task=task, heads=heads, bootstrap=bootstrap)
        for name, each in streams.items()
    }
    return Evaluation(rows, streams, task, LABELS, "videos", "test", [])


def batch(ids: list[str], views: list[int]) -> Batch:
    size = len(ids)
    return Batch(None, None, {}, {}, torch.eye(3)[:size], ids, torch.tensor(views))


def test_logits_are_averaged_over_the_views_that_have_the_stream():
    sums = Sums()
    nan = [torch.nan] * 3
    sums.add("audio", batch(["a", "a", "b"], [0, 1, 0]), torch.tensor([[1.0, 2, 3], nan, nan]))
    sums.add("audio", batch(["b"], [1]), torch.tensor([nan]))
    sums.add(
        "video", batch(["a", "a", "b"], [0, 1, 0]), torch.tensor([[1.0, 2, 3], [3, 4, 5], nan])
    )
    sums.add("video", batch(["b"], [1]), torch.tensor([[4.0, 4, 4]]))
    found = sums.scored()
    assert found["audio"].ids == ["a", "b"]
    np.testing.assert_array_equal(found["audio"].logits, [[1, 2, 3], nan])
    np.testing.assert_array_equal(found["video"].logits, [[2, 3, 4], [4, 4, 4]])
    assert found["audio"].num_absent == 1 and found["video"].num_absent == 0
    assert found["audio"].present.tolist() == [True, False]


def test_late_average_uses_what_is_there():
    audio, video = scored(40, absent=2), scored(20, seed=1)
    video.logits[0] = np.nan
    late = with_late_average({"audio model": audio, "video model": video})[LATE]
    assert np.isnan(late.logits[0]).all()
    np.testing.assert_array_equal(late.logits[1], video.logits[1])
    np.testing.assert_allclose(late.logits[5], (audio.logits[5] + video.logits[5]) / 2, rtol=1e-6)


def test_a_dropped_clip_is_dropped_for_every_row():
    first, second = scored(40), scored(40)
    second = Scored(second.ids[1:], second.logits[1:], second.targets[1:])
    common = on_common_clips({"a": first, "b": second})
    assert common["a"].ids == common["b"].ids == first.ids[1:]
    np.testing.assert_array_equal(common["a"].logits, first.logits[1:])


def test_words_when_fusion_helps():
    found = evaluation({BOTH: scored(40), "audio alone": scored(20), "video alone": scored(12)})
    text = verdict(found, resamplings=200)
    assert text.startswith("Fusion beats the better single stream by 50.0 points (95 % interval ")
    assert text.endswith("audio+video 100.0 %, audio alone 50.0 %.")


def test_words_when_fusion_does_not_help():
    streams = {BOTH: scored(20), "audio alone": scored(10), "video model": scored(20)}
    text = verdict(evaluation(streams), resamplings=200)
    assert text == (
        "Fusion does not beat the better single stream here: "
        "audio+video 50.0 %, video model 50.0 %."
    )


def test_words_when_fusion_may_help_by_chance():
    found = evaluation({BOTH: scored(21), "audio alone": scored(20), "video alone": scored(3)})
    text = verdict(found, resamplings=200)
    assert "Fusion is 2.5 points above the better single stream, but that may be chance" in text
    without = verdict(found, resamplings=0)
    assert without.startswith("Fusion beats the better single stream by 2.5 points: ")


def test_words_for_several_labels_and_for_one_stream():
    streams = {BOTH: scored(40), "audio alone": scored(5), "video alone": scored(5, seed=1)}
    assert "Fusion beats" in verdict(evaluation(streams, task="multi"), resamplings=100)
    assert verdict(evaluation({"audio": scored(40)}), resamplings=100) == ""


def test_several_labels_are_tested_on_the_same_clips():
    """Two streams that err alike: their own intervals overlap, that of the difference is clear."""
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 3)) < 0.4).astype(float)
    noise = rng.standard_normal(targets.shape)
    streams = {
        row: Scored([str(k) for k in range(200)], strength * targets + noise, targets)
        for row, strength in ((BOTH, 1.2), ("audio alone", 1.0), ("video alone", 0.1))
    }
    found = evaluation(streams, task="multi")
    assert verdict(found, resamplings=200).startswith("Fusion beats the better single stream by ")
    draws = {"resamplings": 200, "seed": 0}
    paired = paired_difference(found, BOTH, "audio alone", **draws)
    values = [found.rows[row]["map"] for row in (BOTH, "audio alone")]
    assert paired.difference == pytest.approx(values[0] - values[1]) and paired.low > 0


def test_no_label_means_no_verdict():
    none = Scored(["a"], np.zeros((1, 3)), np.zeros((1, 3)))
    found = evaluation({BOTH: none, "audio alone": none}, task="multi")
    assert verdict(found, resamplings=20) == ""
    assert against(found, resamplings=20, seed=0) == {}


def test_words_for_heads():
    heads = {"verb": ["cut", "peel"], "noun": ["egg", "leek"]}
    targets = np.array([[1, 0, 1, 0], [0, 1, 0, 1]] * 10, dtype=float)
    right, half = Scored([str(i) for i in range(20)], 5 * targets, targets), targets.copy()
    half[:, 2:] = half[:, [3, 2]]
    streams = {BOTH: right, "audio alone": Scored(right.ids, 5 * half, targets)}
    sizes = {"verb": 2, "noun": 2}
    rows = {
        name: summarise(s.logits, s.targets, task="heads", heads=sizes)
        for name, s in streams.items()
    }
    found = Evaluation(rows, streams, "heads", heads, "videos", "test", [])
    assert "beats the better single stream by 100.0 points" in verdict(found, resamplings=50)
    assert "verb top-1" in found.text()


def test_text_says_what_matters(tmp_path):
    found = evaluation({BOTH: scored(40), "audio alone": scored(20, absent=3)})
    found.verdict = "Fusion helps."
    found.absent = {"audio alone": 3, BOTH: 0}
    found.problems = [Problem("a", "a.mp4", "clip", "no stream", "dropped")]
    found.directory = tmp_path
    text = found.text()
    assert text.startswith("40 clips of videos, split test (ids ")
    assert "audio alone: 3 clips have no such stream; this row is of the others." in text
    assert re.search(r"\n +top-1 +mAP +clips\n", text), "counts, where rows differ in them"
    assert re.search(r"\naudio alone .* 37\n", text)
    assert "Files with problems: 1 dropped; the first: a.mp4: no stream" in text
    assert f"Predictions, classes and scores: {tmp_path}" in text
    assert "top-5" not in text, "of three classes"
    assert "100.0 (100.0-100.0)" in text


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_files(tmp_path):
    streams = {BOTH: scored(40), "audio alone": scored(20, absent=1)}
    found = evaluation(streams)
    found.problems = [Problem("a", "a.mp4", "clip", "no stream", "dropped")]
    write_evaluation(found, tmp_path, settings=EvaluateSettings())
    lines = read(tmp_path / "predictions.csv")
    assert len(lines) == CLIPS and lines[0]["id"] == "clip0" and lines[0]["label"] == "cat"
    assert lines[0][BOTH] == "cat" and float(lines[0][f"{BOTH} probability"]) > 0.8
    assert lines[39]["audio alone"] != lines[39]["label"]
    table = pyarrow.parquet.read_table(tmp_path / "predictions.parquet")
    logits = np.array(table[f"{BOTH} logits"].to_pylist(), dtype=np.float32)
    np.testing.assert_array_equal(logits, streams[BOTH].logits)
    assert json.loads(table.schema.metadata[b"labels"]) == LABELS
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["rows"][BOTH]["top1"] == 1 and summary["settings"]["views"] == 4
    classes = read(tmp_path / "per_class.csv")
    assert len(classes) == 6 and classes[0]["stream"] == BOTH and classes[0]["label"] == "cat"
    problems = read(tmp_path / "problems.csv")
    assert problems[0]["cause"] == "no stream"
    found.problems = []
    write_evaluation(found, tmp_path, settings=EvaluateSettings())
    assert not (tmp_path / "problems.csv").exists(), "left over from before"


def test_modality_confusion_is_written_where_there_are_all_three_rows(tmp_path):
    streams = {BOTH: scored(20), "audio alone": scored(30), "video alone": scored(24)}
    write_evaluation(evaluation(streams), tmp_path, settings=EvaluateSettings())
    found = json.loads((tmp_path / "summary.json").read_text())["modality_confusion"]
    assert found == {"audio": 0.25, "video": 0.1, "each": 0.1, "either": 0.25}
    del streams["video alone"]
    write_evaluation(evaluation(streams), tmp_path, settings=EvaluateSettings())
    assert json.loads((tmp_path / "summary.json").read_text())["modality_confusion"] is None


def test_empty_split_is_named(tmp_path):
    rows = (Row("a", tmp_path / "a.mp4", ("cat",), split="train"),)
    manifest = Manifest(rows, LABELS, "single", tmp_path)
    with pytest.raises(ValueError, match=r"has no clips in split 'test'; it has: train \(choose"):
        clips_of(manifest, "test")


@pytest.mark.parametrize("task", ["single", "multi"])
def test_a_clip_without_sound_does_not_spoil_what_sound_alone_scores(tmp_path, task):
    """One in a hundred: mAP of a perfect stream was .467 when the clip ranked as logit 0."""
    targets = np.eye(3)[np.arange(100) % 3]
    logits = (40 * targets - 30).astype(np.float32)  # far below 0 wherever the class is wrong
    silent = logits.copy()
    silent[1] = np.nan
    ids = [f"{k}.mp4" for k in range(100)]
    streams = {BOTH: Scored(ids, logits, targets), "audio alone": Scored(ids, silent, targets)}
    found = evaluation(streams, task=task)
    found.absent = {row: each.num_absent for row, each in streams.items()}
    for row, number in ((BOTH, 100), ("audio alone", 99)):
        scores = found.rows[row]
        assert (scores["map"], scores["top1"], scores["num_clips"]) == (1, 1, number)
    assert found.absent == {BOTH: 0, "audio alone": 1}
    write_evaluation(found, tmp_path, settings=EvaluateSettings())
    classes = read(tmp_path / "per_class.csv")
    assert {line["average_precision"] for line in classes} == {"1.0"}
    assert [int(line["num_clips"]) for line in classes[3:]] == [34, 32, 33]


def test_on_the_same_clips_a_missing_stream_is_a_guess():
    """40 clips, the first 10 without sound: 30 right, and 10 of which one in three is."""
    streams = {BOTH: scored(39), "audio alone": scored(40, absent=10), "video alone": scored(8)}
    found = evaluation(streams)
    assert found.rows["audio alone"]["top1"] == 1 > found.rows[BOTH]["top1"]
    assert paired_score(found, "audio alone") == pytest.approx((30 + 10 / 3) / 40)
    text = verdict(found, resamplings=100)
    assert text.startswith("Fusion beats the better single stream by 14.2 points (95 % interval ")
    assert text.endswith("audio alone 83.3 % with a guess for 10 clips without it.")
    np.testing.assert_allclose(hits(found, "audio alone")[:10], 1 / 3)
    assert right(found, "audio alone").tolist() == [False] * 10 + [True] * 30
    test = mcnemar(hits(found, BOTH), hits(found, "audio alone"))
    assert (test.only_a, test.only_b) == (round(10 * 2 / 3), 1)
    shares = modality_confusion(found)
    assert shares.audio == pytest.approx(1 / 40), "of those ten both are right together"


def test_files_name_no_class_for_a_stream_that_a_clip_lacks(tmp_path):
    streams = {BOTH: scored(40), "audio alone": scored(20, absent=2)}
    write_evaluation(evaluation(streams), tmp_path, settings=EvaluateSettings())
    lines = read(tmp_path / "predictions.csv")
    cells = [(line["audio alone"], line["audio alone probability"]) for line in lines]
    assert cells[:2] == [("", "")] * 2 and all(map(all, cells[2:]))
    table = pyarrow.parquet.read_table(tmp_path / "predictions.parquet")
    assert table["audio alone"].to_pylist()[:3] == [None, None, lines[2]["audio alone"]]


def test_a_stream_that_no_clip_has(tmp_path):
    streams = {BOTH: scored(40), "audio alone": scored(40, absent=40), "video alone": scored(4)}
    found = evaluation(streams)
    assert math.isnan(found.rows["audio alone"]["top1"])
    assert found.rows["audio alone"]["num_clips"] == 0
    found.verdict = verdict(found, resamplings=50)
    assert "beats the better single stream by 66.7 points" in found.verdict
    assert re.search(r"\naudio alone +– +– +0\n", found.text())
    write_evaluation(found, tmp_path, settings=EvaluateSettings())
    text = (tmp_path / "summary.json").read_text()
    assert json.loads(text)["rows"]["audio alone"]["top1"] is None and "NaN" not in text
    again = read_evaluation(tmp_path)
    assert again.rows[BOTH] == found.rows[BOTH] and again.text().count("–") == 2
    assert {line["label"] for line in read(tmp_path / "per_class.csv")} == {"cat", "dog", "owl"}
    assert against(again, resamplings=20, seed=0)["audio alone"]["only_both"] == round(40 * 2 / 3)


def test_without_any_label_nothing_is_scored():
    none = Scored(["a", "b"], np.array([[1.0, 2], [np.nan, np.nan]]), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="none of the 2 clips has a label in every head"):
        row_scores(none, task="single", heads={"label": 2})


def test_a_table_with_two_heads_shows_whole_intervals():
    heads = {"verb": [f"v{k}" for k in range(9)], "noun": [f"n{k}" for k in range(9)]}
    targets = np.tile(np.eye(9)[np.arange(27) % 9], 2)
    each = Scored([str(k) for k in range(27)], 9 * targets, targets)
    sizes = {"verb": 9, "noun": 9}
    rows = {
        row: row_scores(each, task="heads", heads=sizes, bootstrap=20)
        for row in (BOTH, "average of both models")
    }
    found = Evaluation(rows, dict.fromkeys(rows, each), "heads", heads, "videos", "test", [])
    lines = found.text().splitlines()
    assert all(line.count("100.0 (100.0-100.0)") == 6 for line in lines[3:5])


@pytest.mark.parametrize(
    "splits, chosen",
    [
        (["train", "val", "test"], "test"),
        (["train", "val"], "val"),
        (["val"], "val"),
        (["train", "test", "test_unseen"], "test"),
        (["train", "holdout"], "holdout"),
        (["validated"], "validated"),
    ],
)
def test_what_is_scored_unless_a_split_is_named(tmp_path, splits, chosen):
    rows = tuple(Row(name, tmp_path / name, ("cat",), split=name) for name in splits)
    manifest = Manifest(rows, LABELS, "single", tmp_path)
    assert scored_split(manifest) == chosen
    assert scored_split(manifest, "train") == "train", "as asked for"


@pytest.mark.parametrize(
    "asked, of_run, chosen",
    [
        (None, "auto", "val"),
        (None, "test", "val"),
        (None, "val+test", "val+test"),
        (None, "train", "train"),
        ("test", "auto", "test"),
    ],
)
def test_a_run_made_for_other_splits_scores_those_there_are(tmp_path, asked, of_run, chosen):
    rows = tuple(Row(name, tmp_path / name, ("cat",), split=name) for name in ("train", "val"))
    manifest = Manifest(rows, LABELS, "single", tmp_path)
    assert split_of_run(manifest, asked, EvaluateSettings(split=of_run)) == chosen


@pytest.mark.parametrize(
    "splits, words",
    [
        (["train"], "has training clips only, in: train; say which to score with --split"),
        (["train", "a", "b"], "has neither test nor val clips, in: train, a, b; say which"),
    ],
)
def test_what_is_scored_must_be_said_where_it_is_not_clear(tmp_path, splits, words):
    rows = tuple(Row(name, tmp_path / name, ("cat",), split=name) for name in splits)
    with pytest.raises(ValueError, match=words):
        scored_split(Manifest(rows, LABELS, "single", tmp_path))


class Fake:
    """The part of a predictor that is looked at before anything is computed."""

    def __init__(self, *modalities: str, labels: dict | None = None, task: str = "single"):
        self.modalities, self.labels, self.task = modalities, labels or LABELS, task


def test_late_models_must_fit():
    both = Fake("audio", "video")
    with pytest.raises(ValueError, match="the one given for audio looks at audio and video"):
        late_jobs(both, (both, Fake("video")))
    with pytest.raises(ValueError, match="the one given for audio looks at video"):
        late_jobs(both, (Fake("video"), Fake("audio")))
    other = Fake("video", labels={"label": ["x", "y", "z"]})
    with pytest.raises(ValueError, match="other classes than the model: x, y, z instead of cat"):
        late_jobs(both, (Fake("audio"), other))
    with pytest.raises(ValueError, match="trained for the task 'multi', the model for 'single'"):
        late_jobs(both, (Fake("audio", task="multi"), Fake("video")))
    assert list(late_jobs(both, (Fake("audio"), Fake("video")))) == ["audio model", "video model"]


def test_a_model_without_front_end_is_refused():
    from sightsound.models.mbt import MBT

    model = MBT(heads={"label": 3}, size="tiny", width=8, depth=1, num_heads=1, fusion_layer=0)
    with pytest.raises(ValueError, match="this model has no front end"):
        Predictor(model)
