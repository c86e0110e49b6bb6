"""Comparisons of evaluations that were written and read back. No media, no model."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from scipy import special, stats
from sklearn import metrics as sklearn

from sightsound.cli import main
from sightsound.config.settings import EvaluateSettings
from sightsound.evaluation.compare import (
    as_text,
    compare,
    difference,
    names_of,
    truth_probability,
    write_comparison,
)
from sightsound.evaluation.results import Evaluation, Scored, read_evaluation, write_evaluation
from sightsound.metrics.scores import summarise
from sightsound.predict import BOTH
from sightsound.types import Problem

LABELS = {"label": ["cat", "dog", "owl"]}
HEADS = {"verb": ["cut", "wash"], "noun": ["cut", "egg", "pan"]}


def evaluation(
    skill: float,
    *,
    task: str = "single",
    labels: dict[str, list[str]] = LABELS,
    num_clips: int = 60,
    seed: int = 0,
    rows: tuple[str, ...] = (BOTH, "audio alone", "video alone"),
) -> Evaluation:
    """Logits that point at the truth by `skill`; targets are the same for every `skill`."""
    truth = np.random.default_rng(9)
    noise = np.random.default_rng([seed, int(10 * skill)])
    sizes = {head: len(names) for head, names in labels.items()}
    if task == "multi":
        targets = (truth.random((num_clips, 3)) < 0.4).astype(float)
    else:
        parts = [np.eye(size)[truth.integers(size, size=num_clips)] for size in sizes.values()]
        targets = np.concatenate(parts, axis=1)
    ids = [f"test/{index}.mp4" for index in range(num_clips)]
    streams = {}
    for place, row in enumerate(rows):
        logits = noise.normal(size=targets.shape) + (skill - 0.2 * place) * targets
        streams[row] = Scored(ids, logits.astype(np.float32), targets)
    scores = {r: summarise(s.logits, targets, task=task, heads=sizes) for r, s in streams.items()}
    return Evaluation(scores, streams, task, labels, "clips.csv", "test", [])


def saved(folder: Path, *args: float, **kwargs: object) -> Path:
    write_evaluation(evaluation(*args, **kwargs), folder, settings=EvaluateSettings())
    return folder


BARRED = {"label": ["rock|pop", "rock", "pop"]}  # as folders may be called


@pytest.mark.parametrize(
    "task, labels",
    [("single", LABELS), ("single", BARRED), ("multi", LABELS), ("heads", HEADS)]
    + [("heads", {"verb": ["put", "put|take"], "noun": ["egg", "pan|lid", "|"]})],
)
def test_what_was_written_is_read_back(tmp_path: Path, task: str, labels: dict):
    made = evaluation(1.0, task=task, labels=labels)
    made.streams["video alone"].logits[3] = np.nan
    made.streams[BOTH].targets[5] = 0  # shared by all rows
    made.problems = [Problem("a", "a.mp4", "clip", "no stream", "dropped")]
    made.verdict, made.absent = "Words.", {BOTH: 0, "audio alone": 0, "video alone": 1}
    write_evaluation(made, tmp_path / "run" / "evaluation", settings=EvaluateSettings(split="val"))
    (tmp_path / "run" / "model").mkdir()
    (tmp_path / "run" / "model" / "model.safetensors").touch()
    for path in ("run", "run/evaluation", "run/model"):
        found = read_evaluation(tmp_path / path)
        assert found.labels == labels and found.task == task and found.split == "val"
        assert found.rows == made.rows and found.problems == made.problems
        assert (found.verdict, found.absent) == (made.verdict, made.absent)
        for row, scored in made.streams.items():
            assert found.streams[row].ids == scored.ids
            np.testing.assert_array_equal(found.streams[row].logits, scored.logits)
            np.testing.assert_array_equal(found.streams[row].targets, scored.targets)


def test_a_neighbouring_evaluation_is_not_taken_for_that_of_a_run(tmp_path: Path):
    saved(tmp_path / "evaluation", 1.0)
    (tmp_path / "run").mkdir()
    with pytest.raises(FileNotFoundError, match="no predictions.parquet in .*run' or its folder"):
        read_evaluation(tmp_path / "run")


@pytest.mark.parametrize("name", ["summary.json", "predictions.parquet"])
def test_a_damaged_evaluation_is_to_be_made_again(tmp_path: Path, name: str):
    saved(tmp_path, 1.0)
    for content in ("", "null", "{}"):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=f"{name}' is damaged .*evaluate again with"):
            read_evaluation(tmp_path)


def test_another_table_is_refused(tmp_path: Path):
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"]}), tmp_path / "predictions.parquet")
    with pytest.raises(ValueError, match="has no classes, task or logits; accepted: the file that"):
        read_evaluation(tmp_path)


def test_differences_equal_scikit_learn_and_scipy():
    a, b = evaluation(0.5, num_clips=40), evaluation(1.5, num_clips=40)
    found = compare({"a": a, "b": b}, resamplings=300, seed=4).differences[0]
    truth = a.streams[BOTH].targets.argmax(1)
    right = {n: e.streams[BOTH].logits.argmax(1) == truth for n, e in (("a", a), ("b", b))}
    gain = right["b"].astype(float) - right["a"]
    top1 = found.scores["top1"]
    assert top1.difference == pytest.approx(gain.mean())
    expected = stats.bootstrap(
        (gain,), np.mean, n_resamples=300, method="percentile", rng=np.random.default_rng(4)
    ).confidence_interval
    np.testing.assert_allclose([top1.low, top1.high], expected, rtol=0, atol=1e-12)
    precisions = [
        sklearn.average_precision_score(
            a.streams[BOTH].targets, special.softmax(e.streams[BOTH].logits.astype(float), axis=1)
        )
        for e in (a, b)
    ]
    assert found.scores["map"].difference == pytest.approx(precisions[1] - precisions[0])
    only_a, only_b = (right["a"] & ~right["b"]).sum(), (right["b"] & ~right["a"]).sum()
    assert (found.mcnemar.only_a, found.mcnemar.only_b) == (only_a, only_b)
    assert found.mcnemar.p == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue)
    assert found.only_a == [f"test/{i}.mp4" for i in by_gain(a, b) if gain[i] < 0][::-1]
    assert found.only_b == [f"test/{i}.mp4" for i in by_gain(a, b) if gain[i] > 0]
    for line in found.classes:
        mine = truth == LABELS["label"].index(line["label"])
        assert line["difference"] == pytest.approx(gain[mine].mean())
        assert line["num_clips"] == mine.sum() and line["score"] == "recall"
    assert [c["difference"] for c in found.classes] == sorted(
        (c["difference"] for c in found.classes), reverse=True
    )


def by_gain(a: Evaluation, b: Evaluation) -> np.ndarray:
    """Clips by how much more probable the truth is to b."""
    values = []
    for scored in (a.streams[BOTH], b.streams[BOTH]):
        powers = np.exp(scored.logits)
        values.append((powers / powers.sum(1, keepdims=True) * scored.targets).sum(1))
    return np.argsort(values[0] - values[1], kind="stable")


def test_only_common_clips_count_and_classes_are_matched_by_name():
    a, b = evaluation(1.0), evaluation(1.0)
    shuffled = np.random.default_rng(0).permutation(50)  # b lacks ten clips, has its own order
    for row, scored in b.streams.items():
        b.streams[row] = Scored(
            [scored.ids[i] for i in shuffled],
            scored.logits[shuffled][:, [2, 0, 1]],
            scored.targets[shuffled][:, [2, 0, 1]],
        )
    b.labels = {"label": ["owl", "cat", "dog"]}
    found = compare({"a": a, "b": b}, resamplings=20)
    assert found.left_out == {"a": 10, "b": 0} and len(found.common.ids) == 50
    only = found.differences[0]
    assert (only.mcnemar.only_a, only.mcnemar.only_b) == (0, 0)  # it is the same model
    assert only.scores["map"].difference == 0 and only.scores["top1"].p == 1
    text = as_text(found)
    assert text.startswith("50 clips that all have (ids ")
    assert "a: audio+video; 10 more clips of its own are left out\nb: audio+video\n" in text


@pytest.mark.parametrize("task, labels", [("multi", LABELS), ("heads", HEADS)])
def test_several_labels_and_heads(task: str, labels: dict):
    made = {name: evaluation(s, task=task, labels=labels) for name, s in (("a", 0.4), ("b", 2.0))}
    made["c"] = evaluation(0.4, task=task, labels=labels, seed=1)
    found = compare(made, resamplings=100)
    sizes = {head: len(names) for head, names in labels.items()}
    for name, each in made.items():
        scored = each.streams[BOTH]
        expected = summarise(scored.logits, scored.targets, task=task, heads=sizes)
        assert {s: found.common.rows[name][s] for s in expected} == expected
    first, second = found.differences
    assert first.verdict.startswith("b is better than a: ") and first.scores["top1"].low > 0
    assert second.verdict.startswith("Neither a nor c is better as far as these 60 clips can tell")
    text = as_text(found)
    assert "p is not corrected for their number" in text
    assert ("average precision: " if task == "multi" else "verb top-1: +") in text
    assert ("mAP" if task == "multi" else "top-1") in first.verdict


def test_words_of_the_verdict():
    good, bad = evaluation(3.0), evaluation(0.5)
    text = as_text(compare({"good": good, "bad": bad}, resamplings=200))
    pattern = (
        r"bad is worse than good: top-1 \d+\.\d % against \d+\.\d %, \d+\.\d points fewer "
        r"\(95 % interval -\d+\.\d to -\d+\.\d, p 0\.0\d\d\)\."
    )
    assert re.search(pattern, text)
    assert re.search(r"Clips that only good gets right: \d+; only bad: \d+ \(McNemar p", text)
    assert re.search(r"Classes with the largest losses in recall: \w+: -\d+\.\d \(\d+ clips", text)
    assert "Only good gets right, for instance: test/" in text
    assert re.search(
        r"Modality confusion of bad: with both streams wrong, but right with one alone: "
        r"[\d.]+ % sound, [\d.]+ % pictures, [\d.]+ % either",
        text,
    )


def test_rows_of_one_evaluation_are_compared_like_models():
    made = evaluation(2.0)
    found = difference(made, "audio alone", BOTH, resamplings=50)
    assert found.scores["top1"].difference == pytest.approx(
        made.rows[BOTH]["top1"] - made.rows["audio alone"]["top1"]
    )


def test_how_probable_the_labels_of_a_clip_are():
    """The mean over its labels, of several heads over heads; 0 without labels, nan without stream.

    Logits of 0 make every class of three 1/3 probable, with several labels 1/2; ln 3 makes 3/4 of
    those.
    """
    ids, nothing = ["a", "b", "c", "d"], np.zeros((4, 3), np.float32)
    nothing[3], nothing[1, 0] = np.nan, np.log(3)
    targets = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]], float)
    found = {}
    for task, labels in (("single", LABELS), ("multi", LABELS)):
        scored = {BOTH: Scored(ids, nothing, targets)}
        made = Evaluation({}, scored, task, labels, "clips.csv", "test", [])
        found[task] = truth_probability(made, BOTH)
    np.testing.assert_allclose(found["multi"], [1 / 2, (3 / 4 + 1 / 2) / 2, 0, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found["single"], [1 / 3, (3 / 5 + 1 / 5) / 2, 0, np.nan], rtol=1e-6)


def test_a_stream_is_chosen():
    fused, alone = evaluation(1.0), evaluation(1.0, rows=("audio",))
    assert compare({"a": fused, "b": alone}, resamplings=5).rows == {"a": BOTH, "b": "audio"}
    found = compare({"a": fused, "b": alone}, stream="audio", resamplings=5)
    assert found.rows == {"a": "audio alone", "b": "audio"}
    assert list(found.confusion) == ["a"]
    with pytest.raises(ValueError, match="b has no row 'video'; it has: 'audio'"):
        compare({"a": fused, "b": alone}, stream="video")


def test_what_cannot_be_compared():
    made = evaluation(1.0)
    with pytest.raises(ValueError, match="one evaluation cannot be compared; name two or more"):
        compare({"a": made})
    other = evaluation(1.0, labels={"label": ["cat", "dog", "wolf"]})
    with pytest.raises(ValueError, match="different classes: only in b: wolf; only in a: owl"):
        compare({"a": made, "b": other})
    with pytest.raises(ValueError, match="b was trained for the task 'multi', a for 'single'"):
        compare({"a": made, "b": evaluation(1.0, task="multi")})
    other = evaluation(1.0)
    for place, scored in enumerate(other.streams.values()):
        scored.targets[7] = np.roll(scored.targets[7], 1) if place == 0 else scored.targets[7]
    with pytest.raises(ValueError, match="different labels for 1 of 60 clips, such as 'test/7.mp4"):
        compare({"a": made, "b": other})
    for scored in other.streams.values():
        scored.ids = [f"other{clip}" for clip in scored.ids]
    with pytest.raises(ValueError, match="no clip is in all of them.*a: 'test/0.mp4', b: 'other"):
        compare({"a": made, "b": other})


def test_rows_that_lack_clips_are_compared_with_a_guess_for_them(tmp_path: Path):
    """Of 60 clips a lacks the sound of 0 and 1, b that of 1 and 2; clip 1 tells nothing."""
    made = {"a": evaluation(2.0), "b": evaluation(2.0)}  # the same model otherwise
    made["a"].streams["audio alone"].logits[:2] = np.nan
    made["b"].streams["audio alone"].logits[1:3] = np.nan
    found = compare(made, stream="audio", resamplings=50)
    assert found.common.ids == [f"test/{k}.mp4" for k in range(60) if k != 1]
    assert found.left_out == {"a": 0, "b": 0} and found.common.absent == {"a": 1, "b": 1}
    whole = evaluation(2.0).streams["audio alone"]
    is_right = (whole.logits.argmax(1) == whole.targets.argmax(1)).tolist()
    others = sum(is_right[3:])
    assert found.common.rows["a"]["top1"] == pytest.approx((others + is_right[2] + 1 / 3) / 59)
    assert found.common.rows["b"]["top1"] == pytest.approx((others + is_right[0] + 1 / 3) / 59)
    only = found.differences[0]
    assert only.scores["top1"].difference == pytest.approx((is_right[0] - is_right[2]) / 59)
    assert only.only_a == ["test/2.mp4"] * is_right[2]
    assert only.only_b == ["test/0.mp4"] * is_right[0] and sum(is_right[:3:2])
    write_comparison(found, tmp_path)
    lines = list(csv.DictReader((tmp_path / "clips.csv").read_text().splitlines()))
    cells = ("a", "a probability", "a right")
    assert [lines[0][name] for name in cells] == [""] * 3 and all(lines[1][n] for n in cells)
    text = as_text(found)
    assert re.match(r"59 clips .*; 1 clip without the stream in all left out\n", text)
    assert "\na: audio alone; a guess for 1 clip without such a stream\n" in text
    for each in made.values():
        each.streams["audio alone"].logits[:] = np.nan
    with pytest.raises(ValueError, match="no clip has the stream of 'audio alone'; choose"):
        compare(made, stream="audio")


def test_names_are_short_where_they_can_be(tmp_path: Path):
    paths = [saved(tmp_path / p, 1.0) for p in ("x/evaluation", "y/evaluation", "z/y/evaluation")]
    assert names_of([tmp_path / "x", paths[1]]) == ["x", "y"]
    assert names_of(paths[1:]) == [str(path) for path in paths[1:]]
    with pytest.raises(ValueError, match="the same evaluation is given twice"):
        names_of([tmp_path / "x", paths[0]])


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    runs = [
        str(saved(tmp_path / name / "evaluation", skill).parent)
        for name, skill in (("a", 1), ("b", 2))
    ]
    folder = tmp_path / "out"
    (tmp_path / "file").touch()
    assert main(["compare", *runs, "--output", str(tmp_path / "file"), "--bootstrap", "50"]) == 2
    assert f"'{tmp_path / 'file'}' is no folder; name another one" in capsys.readouterr().err
    assert main(["compare", *runs, "--output", str(folder), "--bootstrap", "50"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("60 clips that all have") and text.endswith(f"Tables: {folder}\n")
    assert sorted(path.name for path in folder.iterdir()) == [
        "clips.csv",
        "comparison.json",
        "per_class.csv",
        "scores.csv",
    ]
    clips = list(csv.DictReader((folder / "clips.csv").read_text().splitlines()))
    found = json.loads((folder / "comparison.json").read_text())
    only = [c["id"] for c in clips if (c["a right"], c["b right"]) == ("0", "1")]
    assert sorted(found["differences"][0]["only_b"]) == sorted(only) and len(clips) == 60
    assert main(["compare", *runs, "--bootstrap", "50", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert main(["compare", *runs, "--bootstrap", "50", "--format", "csv"]) == 0
    assert capsys.readouterr().out == (folder / "scores.csv").read_text()
    assert main(["compare", *runs, "--bootstrap", "0"]) == 2
    assert "resamplings (--bootstrap) is 0; accepted: 1 or more" in capsys.readouterr().err
