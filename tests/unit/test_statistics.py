"""Statistics against SciPy and scikit-learn, and against cases small enough to count."""

import re

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn
from sklearn.calibration import calibration_curve

from sightsound.metrics.scores import mean_average_precision
from sightsound.metrics.statistics import (
    calibration,
    mcnemar,
    modality_confusion,
    paired_bootstrap,
    paired_scores,
)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(5)


def test_paired_interval_equals_scipy(generator: np.random.Generator):
    a = generator.normal(0.3, 1, 60)
    b = 0.5 * a + generator.normal(size=60)
    found = paired_bootstrap(a, b, resamplings=500, seed=3)
    expected = stats.bootstrap(
        (a, b),
        lambda x, y, axis: x.mean(axis) - y.mean(axis),
        paired=True,
        n_resamples=500,
        method="percentile",
        rng=np.random.default_rng(3),
    ).confidence_interval
    assert found.difference == pytest.approx(a.mean() - b.mean())
    np.testing.assert_allclose([found.low, found.high], expected, rtol=0, atol=1e-12)


def test_p_agrees_with_the_interval_and_with_a_t_test(generator: np.random.Generator):
    for shift in (0.0, 0.1, 0.2, 0.3, 0.6):
        a, b = generator.normal(shift, 1, 100), np.zeros(100)
        found = paired_bootstrap(a, b, resamplings=999, seed=0)
        assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.03)
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    assert found.p == pytest.approx(2 / 1000)  # the smallest there is
    same = paired_bootstrap(a, a, resamplings=10, seed=0)
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_a_score_of_all_clips_is_resampled_by_weights(generator: np.random.Generator):
    targets = (generator.random((40, 3)) < 0.4).astype(float)
    scores = [generator.normal(size=(40, 3)) + k * targets for k in (1, 2)]

    def weighted(scores: np.ndarray):
        def score(counts: np.ndarray) -> float:
            drawn = np.repeat(np.arange(40), counts.astype(int))
            return mean_average_precision(scores[drawn], targets[drawn])

        return score

    found = paired_scores(
        weighted(scores[1]), weighted(scores[0]), num_clips=40, resamplings=50, seed=3
    )
    differences = [
        sklearn.average_precision_score(targets[draw], scores[1][draw])
        - sklearn.average_precision_score(targets[draw], scores[0][draw])
        for draw in np.random.default_rng(3).integers(40, size=(50, 40))
    ]
    expected = np.percentile(differences, [2.5, 97.5])
    np.testing.assert_allclose([found.low, found.high], expected, rtol=0, atol=1e-12)


def test_what_cannot_be_resampled():
    with pytest.raises(ValueError, match=r"resamplings \(--bootstrap\) is 0; accepted: 1"):
        paired_bootstrap(np.ones(3), np.ones(3), resamplings=0, seed=0)
    with pytest.raises(ValueError, match=re.escape("shapes (3,) and (2,) cannot be paired")):
        paired_bootstrap(np.ones(3), np.ones(2), resamplings=1, seed=0)
    with pytest.raises(ValueError, match="there is no clip to compare"):
        paired_scores(np.sum, np.sum, num_clips=0, resamplings=1, seed=0)
    with pytest.raises(ValueError, match="do not exist on any resampling"):
        paired_scores(lambda c: float("nan"), lambda c: 1.0, num_clips=3, resamplings=2, seed=0)


@pytest.mark.parametrize("only_a, only_b", [(0, 0), (3, 1), (0, 9), (12, 12), (24, 0)])
def test_few_discordant_clips_are_counted_exactly(only_a: int, only_b: int):
    found = mcnemar(*hits(only_a, only_b))
    assert (found.only_a, found.only_b) == (only_a, only_b)
    total = only_a + only_b
    expected = stats.binomtest(only_a, total, 0.5).pvalue if total else 1
    assert found.p == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("only_a, only_b", [(13, 12), (20, 5), (25, 0), (30, 60), (40, 40)])
def test_many_discordant_clips_use_chi_square(only_a: int, only_b: int):
    table = [only_a, only_b]  # against equal shares, with Yates's correction
    mean = sum(table) / 2
    corrected = np.clip(np.abs(np.array(table) - mean) - 0.5, 0, None) + mean
    statistic = stats.chisquare([corrected[0], 2 * mean - corrected[0]], [mean, mean])
    assert mcnemar(*hits(only_a, only_b)).p == pytest.approx(statistic.pvalue, rel=1e-9)


def hits(only_a: int, only_b: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits of two models that agree on ten more clips."""
    pairs = [(1, 0)] * only_a + [(0, 1)] * only_b + [(1, 1)] * 6 + [(0, 0)] * 4
    a, b = np.array(pairs).T
    return a, b


@pytest.mark.parametrize("task", ["single", "multi"])
def test_calibration_equals_scikit_learn(generator: np.random.Generator, task: str):
    logits = generator.normal(size=(300, 4)) * 2
    if task == "single":
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        labels = [generator.choice(4, p=0.5 * row + 0.125) for row in probabilities]
        targets = np.eye(4)[labels]
        confidence, truth = probabilities.max(1), probabilities.argmax(1) == labels
        brier = sklearn.brier_score_loss(labels, probabilities, scale_by_half=False)
        nll = sklearn.log_loss(labels, probabilities)
    else:
        probabilities = 1 / (1 + np.exp(-logits))
        targets = (generator.random((300, 4)) < 0.5 * probabilities + 0.25).astype(float)
        confidence, truth = probabilities.ravel(), targets.ravel()
        brier = sklearn.brier_score_loss(truth, confidence)
        nll = sklearn.log_loss(truth, confidence)
    found = calibration(probabilities, targets, task=task)
    accuracy, mean = calibration_curve(truth, confidence, n_bins=15)
    filled = found.count > 0
    np.testing.assert_allclose(found.accuracy[filled], accuracy, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.confidence[filled], mean, rtol=0, atol=1e-12)
    assert np.isnan(found.accuracy[~filled]).all() and found.count.sum() == len(confidence)
    expected = (found.count[filled] * abs(accuracy - mean)).sum() / len(confidence)
    assert found.error == pytest.approx(expected)
    assert (found.brier, found.nll) == (pytest.approx(brier), pytest.approx(nll))


def test_calibration_of_two_clips_by_hand():
    found = calibration(np.array([[0.8, 0.2], [0.4, 0.6]]), np.eye(2)[[0, 0]], bins=5)
    # 0.8 is on an edge: the fourth bin, together with 0.6, also on one: the third
    assert found.count.tolist() == [0, 0, 1, 1, 0]
    assert found.error == pytest.approx((abs(0.6 - 0) + abs(0.8 - 1)) / 2)
    assert found.brier == pytest.approx((0.04 + 0.04 + 0.36 + 0.36) / 2)


def test_an_impossible_event_costs_a_finite_amount_and_an_unlabelled_clip_nothing():
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5]])
    found = calibration(probabilities, np.array([[0.0, 1], [0, 0]]))
    assert found.nll == pytest.approx(sklearn.log_loss([1], [[1.0, 0.0]], labels=[0, 1]))
    assert found.count.sum() == 1


def test_what_cannot_be_calibrated():
    with pytest.raises(ValueError, match="accepted: 0 to 1: are these logits"):
        calibration(np.array([[2.0, -1]]), np.array([[1.0, 0]]))
    with pytest.raises(ValueError, match="unknown task 'heads'"):
        calibration(np.ones((1, 2)), np.ones((1, 2)), task="heads")
    with pytest.raises(ValueError, match="none of the 2 clips has a label"):
        calibration(np.ones((2, 2)), np.zeros((2, 2)))


def test_modality_confusion_counts_what_the_second_stream_spoils():
    #            spoilt: audio, video, by each, none: both right, none: all wrong
    both, audio, video = np.array([[0, 0, 0, 1, 0], [1, 0, 1, 1, 0], [0, 1, 1, 1, 0]])
    found = modality_confusion(both, audio, video)
    assert (found.audio, found.video, found.each, found.either) == (0.4, 0.4, 0.2, 0.6)
    with pytest.raises(ValueError, match="cannot be paired"):
        modality_confusion(both, audio, video[1:])
