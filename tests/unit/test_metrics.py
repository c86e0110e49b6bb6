"""Scores against scikit-learn and against cases small enough to count."""

import re

import numpy as np
import pytest
from sklearn import metrics as sklearn

from sightsound.metrics import (
    average_precisions,
    bootstrap_interval,
    confusion,
    joint_top_k_hits,
    mean_average_precision,
    per_class,
    summarise,
    top_k_hits,
)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def one_hot(labels: list[int] | np.ndarray, num_classes: int) -> np.ndarray:
    return np.eye(num_classes)[np.asarray(labels)]


@pytest.mark.parametrize("decimals", [0, 1, 9], ids=["many ties", "ties", "no ties"])
def test_average_precision_equals_scikit_learn(generator: np.random.Generator, decimals: int):
    targets = (generator.random((80, 6)) < 0.3).astype(float)
    scores = (generator.normal(size=(80, 6)) + targets).round(decimals)
    expected = sklearn.average_precision_score(targets, scores, average=None)
    np.testing.assert_allclose(average_precisions(scores, targets), expected, rtol=0, atol=1e-12)


def test_resampled_average_precision_equals_that_of_the_drawn_clips(
    generator: np.random.Generator,
):
    """The interval is computed from counts; here the clips are really repeated."""
    targets = (generator.random((40, 3)) < 0.4).astype(float)
    scores = (generator.normal(size=(40, 3)) + targets).round(1)
    drawn = []
    for draw in np.random.default_rng(3).integers(40, size=(50, 40)):
        values = sklearn.average_precision_score(targets[draw], scores[draw], average=None)
        drawn.append(values.mean())
    table = summarise(scores, targets, task="multi", heads={"label": 3}, bootstrap=50, seed=3)
    assert table["map"] == pytest.approx(mean_average_precision(scores, targets))
    expected = np.percentile(drawn, [2.5, 97.5])
    np.testing.assert_allclose([table["map_low"], table["map_high"]], expected, rtol=0, atol=1e-12)


def test_a_class_without_positives():
    targets = np.array([[1.0, 0, 0], [0, 1, 0]])
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5]])
    assert np.isnan(average_precisions(scores, targets)).tolist() == [False, False, True]
    assert mean_average_precision(scores, targets) == 1
    assert mean_average_precision(scores, targets, empty_class="zero") == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="unknown empty_class 'skipp'.*Did you mean 'skip'"):
        mean_average_precision(scores, targets, empty_class="skipp")
    assert np.isnan(mean_average_precision(scores[:, 2:], targets[:, 2:]))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_accuracy_equals_scikit_learn(generator: np.random.Generator, k: int):
    labels = generator.integers(8, size=100)
    scores = generator.normal(size=(100, 8)) + one_hot(labels, 8)
    expected = sklearn.top_k_accuracy_score(labels, scores, k=k)
    assert top_k_hits(scores, one_hot(labels, 8), k=k).mean() == pytest.approx(expected)


def test_equal_scores_go_to_the_first_class():
    scores = np.zeros((1, 3))
    assert top_k_hits(scores, one_hot([0], 3), k=1) == 1
    assert top_k_hits(scores, one_hot([1], 3), k=1) == 0
    assert top_k_hits(scores, one_hot([2], 3), k=5) == 1  # fewer than five classes


def test_several_labels_count_any_of_them_and_none_as_wrong():
    targets = np.array([[1.0, 1, 0], [0, 1, 0], [0, 0, 0]])
    scores = np.array([[0.1, 0.9, 0], [0.9, 0.1, 0], [0.3, 0.2, 0.1]])
    assert top_k_hits(scores, targets, k=1).tolist() == [1, 0, 0]
    table = summarise(scores, targets, task="multi", heads={"label": 3})
    assert table["num_clips"] == 3 and table["top1"] == pytest.approx(1 / 3)


def test_joint_accuracy_needs_both_heads():
    heads = {"verb": 2, "noun": 3}
    scores = np.array([[2.0, 0, 0, 3, 0], [2.0, 0, 0, 3, 0], [0, 2.0, 0, 3, 0]])
    targets = np.hstack([one_hot([0, 0, 0], 2), one_hot([1, 2, 1], 3)])
    assert joint_top_k_hits(scores, targets, heads=heads, k=1).tolist() == [1, 0, 0]
    table = summarise(scores, targets, task="heads", heads=heads)
    assert table["top1"] == pytest.approx(1 / 3)
    assert table["verb_top1"] == table["noun_top1"] == pytest.approx(2 / 3)
    # pairs of row 2 in order of probability: (1, 1), (0, 1), ... : the right one is second
    assert joint_top_k_hits(scores, targets, heads=heads, k=2)[2] == 1


def test_clips_without_a_label_are_left_out_and_said():
    targets = np.array([[1.0, 0], [0, 1], [0, 0]])
    scores = np.array([[2.0, 1], [2.0, 1], [2.0, 1]])
    table = summarise(scores, targets, task="single", heads={"label": 2})
    assert table["num_clips"] == 2 and table["top1"] == 0.5


def test_interval_of_a_share(generator: np.random.Generator):
    """400 clips, 80 % right: the normal approximation gives .8 +- 1.96 * .02."""
    hits = (np.arange(400) < 320).astype(float)
    low, high = bootstrap_interval(
        lambda counts: counts @ hits / counts.sum(), 400, resamplings=2000, seed=0
    )
    assert low == pytest.approx(0.761, abs=0.005) and high == pytest.approx(0.839, abs=0.005)
    low_80, high_80 = bootstrap_interval(
        lambda counts: counts @ hits / counts.sum(), 400, resamplings=500, seed=0, level=0.8
    )
    assert low < low_80 < high_80 < high


def test_summary_has_intervals_on_request_and_is_reproducible(generator: np.random.Generator):
    labels = generator.integers(4, size=60)
    scores, targets = generator.normal(size=(60, 4)) + one_hot(labels, 4), one_hot(labels, 4)
    arguments = {"task": "single", "heads": {"label": 4}}
    plain = summarise(scores, targets, **arguments)
    assert plain.keys() == {"num_clips", "top1", "top5", "map"} and plain["top5"] == 1
    first = summarise(scores, targets, **arguments, bootstrap=100, seed=1)
    assert first == summarise(scores, targets, **arguments, bootstrap=100, seed=1)
    assert first != summarise(scores, targets, **arguments, bootstrap=100, seed=2)
    for name in ("top1", "map"):
        assert first[f"{name}_low"] < first[name] < first[f"{name}_high"]


def test_confusion_and_classes():
    scores = np.array([[3.0, 1, 2], [1, 3, 2], [3, 2, 1], [3, 2, 1], [1, 2, 3]])
    targets = one_hot([0, 1, 1, 1, 0], 3)
    assert confusion(scores, targets).tolist() == [[1, 0, 1], [2, 1, 0], [0, 0, 0]]
    rows = per_class(
        scores, targets, task="single", heads={"label": 3}, labels={"label": ["a", "b", "c"]}
    )
    assert rows[1] == {
        "head": "label",
        "label": "b",
        "num_clips": 3,
        "recall": pytest.approx(1 / 3),
        "precision": 1.0,
        "average_precision": pytest.approx(average_precisions(scores, targets)[1]),
        "mistaken_for": "a",
    }
    assert rows[0]["recall"] == 0.5 and rows[0]["mistaken_for"] == "c"
    assert rows[2]["recall"] is None and rows[2]["average_precision"] is None
    assert rows[2]["precision"] == 0 and rows[2]["mistaken_for"] is None


def test_classes_of_several_labels_and_heads(generator: np.random.Generator):
    targets = (generator.random((30, 2)) < 0.5).astype(float)
    scores = generator.normal(size=(30, 2))
    rows = per_class(scores, targets, task="multi", heads={"x": 2}, labels={"x": ["a", "b"]})
    assert rows[0]["recall"] is None and rows[0]["num_clips"] == targets[:, 0].sum()
    targets = np.hstack([one_hot(generator.integers(2, size=30), 2)] * 2)
    rows = per_class(
        np.hstack([scores] * 2),
        targets,
        task="heads",
        heads={"verb": 2, "noun": 2},
        labels={"verb": ["a", "b"], "noun": ["c", "d"]},
    )
    assert [(row["head"], row["label"]) for row in rows] == [
        ("verb", "a"),
        ("verb", "b"),
        ("noun", "c"),
        ("noun", "d"),
    ]


@pytest.mark.parametrize(
    ("scores", "targets", "text"),
    [
        (np.zeros((2, 3)), np.zeros((3, 3)), "scores are (2, 3) and targets (3, 3); both must be"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "both must be (n, 3) for heads {'label': 3}"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "scores and targets are empty"),
        (np.zeros((2, 3)), np.zeros((2, 3)), "none of the 2 clips has a label in every head"),
        (np.full((2, 3), np.nan), np.eye(3)[:2], "scores of row 0 are not finite"),
    ],
)
def test_bad_arrays(scores: np.ndarray, targets: np.ndarray, text: str):
    with pytest.raises(ValueError, match=re.escape(text)):
        summarise(scores, targets, task="single", heads={"label": 3})


def test_unknown_task():
    with pytest.raises(ValueError, match="unknown task 'heds'.*Did you mean 'heads'"):
        summarise(np.zeros((1, 3)), np.eye(3)[:1], task="heds", heads={"label": 3})


def test_negative_number_of_resamplings_is_refused():
    one = np.eye(2)
    with pytest.raises(ValueError, match="bootstrap is -1; accepted: 0"):
        summarise(one, one, task="single", heads={"label": 2}, bootstrap=-1)
