"""Scores against scikit-learn and against cases small enough to count."""

import re
import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from scipy import special
from sklearn import metrics as sklearn

from sightsound.metrics.scores import (
    average_precisions,
    bootstrap_interval,
    confusion,
    guessed_hits,
    joint_top_k_hits,
    mean_average_precision,
    per_class,
    ranked_by,
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


# --- probabilities ------------------------------------------------------------------------------


def test_an_offset_of_a_clip_changes_no_average_precision(generator: np.random.Generator):
    """Softmax is the same with any number added to all logits of a clip; their ranking is not."""
    labels = generator.integers(4, size=200)
    targets = one_hot(labels, 4)
    logits = generator.normal(size=(200, 4)) + 2 * targets
    moved = logits + 20 * generator.normal(size=(200, 1))
    arguments = {"task": "single", "heads": {"label": 4}}
    expected = sklearn.average_precision_score(targets, special.softmax(logits, axis=1))
    for scores in (logits, moved):
        assert summarise(scores, targets, **arguments)["map"] == pytest.approx(expected, abs=1e-9)
        rows = per_class(scores, targets, labels={"label": list("abcd")}, **arguments)
        found = np.mean([row["average_precision"] for row in rows])
        assert found == pytest.approx(expected, abs=1e-9)
    assert expected > 0.8 > 0.5 > mean_average_precision(moved, targets), "of logits as they are"


def test_probabilities_are_those_within_a_head(generator: np.random.Generator):
    heads = {"verb": 2, "noun": 3}
    targets = np.hstack([one_hot(generator.integers(k, size=60), k) for k in heads.values()])
    logits = generator.normal(size=(60, 5)) + targets + 9 * generator.normal(size=(60, 1))
    names = {"verb": ["a", "b"], "noun": ["c", "d", "e"]}
    rows = per_class(logits, targets, task="heads", heads=heads, labels=names)
    shares = np.hstack([special.softmax(logits[:, s], axis=1) for s in (slice(2), slice(2, 5))])
    expected = sklearn.average_precision_score(targets, shares, average=None)
    np.testing.assert_allclose([row["average_precision"] for row in rows], expected, atol=1e-9)


# --- clips without a stream ---------------------------------------------------------------------


def test_a_guess_is_right_as_often_as_classes_drawn_at_random():
    for num_classes, k in ((5, 1), (5, 2), (4, 3), (3, 5)):
        for number in range(num_classes + 1):
            right = set(range(number))
            draws = list(combinations(range(num_classes), min(k, num_classes)))
            expected = np.mean([bool(right & set(draw)) for draw in draws])
            found = guessed_hits(np.array([number]), num_classes=num_classes, k=k)
            assert found == pytest.approx([expected])


@pytest.mark.parametrize("task", ["single", "multi"])
def test_clips_without_a_stream_rank_as_the_mean_of_the_others(task: str):
    generator = np.random.default_rng(1)
    if task == "multi":
        targets = (generator.random((100, 3)) < 0.3).astype(float)
    else:
        targets = one_hot(generator.integers(3, size=100), 3)
    logits = generator.normal(size=(100, 3)) + 2 * targets
    present = generator.random(100) < 0.9
    logits[~present] = np.nan
    shares = special.expit(logits) if task == "multi" else special.softmax(logits, axis=1)
    shares[~present] = shares[present].mean(0)
    expected = sklearn.average_precision_score(targets, shares, average=None)
    heads = {"label": 3}
    ranked = ranked_by(logits, task=task, heads=heads, present=present)
    np.testing.assert_allclose(average_precisions(ranked, targets), expected, rtol=0, atol=1e-12)
    table = summarise(logits, targets, task=task, heads=heads, present=present)
    assert table["map"] == pytest.approx(expected.mean()) and table["num_clips"] == 100
    hits = top_k_hits(logits, targets, k=1, present=present)
    assert table["top1"] == pytest.approx(hits.mean())
    np.testing.assert_allclose(hits[~present], targets[~present].sum(1) / 3)


def test_extreme_logits_have_a_mean():
    logits = np.array([[800.0, -800.0], [800.0, -800.0], [0.0, 0.0], [np.nan, np.nan]])
    ranked = ranked_by(logits, task="multi", heads={"x": 2}, present=~np.isnan(logits).any(1))
    share = (2 + 0.5) / 3
    np.testing.assert_allclose(
        ranked[3], [np.log(share / (1 - share)), np.log((1 - share) / share)]
    )


def test_a_guess_of_two_heads_is_the_product():
    heads = {"verb": 2, "noun": 3}
    targets = np.hstack([one_hot([0, 1], 2), one_hot([1, 2], 3)])
    scores = np.array([[2.0, 0, 0, 3, 0], [np.nan] * 5])
    present = np.array([True, False])
    found = [
        joint_top_k_hits(scores, targets, heads=heads, k=k, present=present) for k in (1, 5, 6)
    ]
    np.testing.assert_allclose(found, [[1, 1 / 6], [1, 5 / 6], [1, 1]])
    table = summarise(scores, targets, task="heads", heads=heads, present=present)
    assert table["verb_top1"] == pytest.approx(3 / 4)
    assert table["noun_top1"] == pytest.approx(2 / 3)


def test_recall_has_a_guess_and_nothing_is_taken_for_a_class_without_a_stream():
    scores, targets = np.array([[2.0, 0, 0], [np.nan] * 3, [0, 3, 0]]), one_hot([0, 0, 1], 3)
    rows = per_class(
        scores,
        targets,
        task="single",
        heads={"label": 3},
        labels={"label": ["a", "b", "c"]},
        present=np.array([True, False, True]),
    )
    assert [row["recall"] for row in rows] == [pytest.approx(2 / 3), 1, None]
    assert [row["precision"] for row in rows] == [1, 1, None]
    assert [row["num_clips"] for row in rows] == [2, 1, 0]
    assert [row["mistaken_for"] for row in rows] == [None] * 3


def test_scores_that_are_not_numbers_are_no_absent_stream():
    scores = np.array([[1.0, 0], [np.nan, np.nan]])
    with pytest.raises(ValueError, match="scores of row 1 are not finite"):
        summarise(
            scores, np.eye(2), task="single", heads={"label": 2}, present=np.array([True] * 2)
        )


# --- pairs of verb and noun ---------------------------------------------------------------------


def plain_joint_hits(scores, targets, heads, k):
    """All pairs, in their order."""
    first = heads["verb"]
    parts = [special.softmax(part, axis=1) for part in (scores[:, :first], scores[:, first:])]
    joint = (parts[0][:, :, None] * parts[1][:, None]).reshape(len(scores), -1)
    truth = targets[:, :first, None] * targets[:, None, first:]
    return top_k_hits(joint, truth.reshape(len(scores), -1), k=k)


@pytest.mark.parametrize("decimals", [0, 1, 9], ids=["many ties", "ties", "no ties"])
@pytest.mark.parametrize("sizes", [(4, 3), (7, 12), (2, 9)])
def test_joint_hits_equal_those_of_all_pairs(generator, decimals: int, sizes: tuple[int, int]):
    heads = dict(zip(("verb", "noun"), sizes, strict=True))
    targets = np.hstack([one_hot(generator.integers(k, size=400), k) for k in sizes])
    scores = (generator.normal(size=targets.shape) + 0.5 * targets).round(decimals)
    scores[::7] *= 400  # most probabilities are exactly zero
    for k in (1, 2, 5, 20):
        found = joint_top_k_hits(scores, targets, heads=heads, k=k)
        np.testing.assert_array_equal(found, plain_joint_hits(scores, targets, heads, k))


def test_joint_hits_need_no_table_of_all_pairs(generator: np.random.Generator):
    """Of 97 verbs and 300 nouns, as in EPIC-KITCHENS-100: 400 tables would take 93 MB."""
    heads = {"verb": 97, "noun": 300}
    targets = np.hstack([one_hot(generator.integers(k, size=400), k) for k in heads.values()])
    scores = generator.normal(size=targets.shape)
    tracemalloc.start()
    joint_top_k_hits(scores, targets, heads=heads, k=5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * scores.nbytes
