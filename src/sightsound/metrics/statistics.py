"""Paired tests of differences, calibration of probabilities, and modality confusion.

Everything takes whole arrays, one row per clip, and NumPy alone. Comparisons are paired: both
models on the same clips, in the same order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sightsound.metrics.scores import Score, resampled
from sightsound.registry import unknown_name

FEW_DISCORDANT = 25  # the usual limit below which McNemar's test is counted exactly
SMALLEST = float(np.finfo(float).eps)  # of a probability whose logarithm is taken; scikit-learn's


# ---------------------------------------------------------------------------- paired comparison


@dataclass(frozen=True)
class Paired:
    """Score of `a` minus score of `b` on the same clips."""

    difference: float
    low: float
    high: float
    p: float  # two-sided; of no difference at all


def paired_bootstrap(
    a: np.ndarray, b: np.ndarray, *, resamplings: int, seed: int, level: float = 0.95
) -> Paired:
    """Difference of the means of per-clip values, `a` and `b` (n,), with its interval.

    See `paired_scores`.
    """
    a, b = _pair(a, b)
    values = a - b
    return paired_scores(
        lambda counts: float(counts @ values / counts.sum()),
        lambda counts: 0.0,
        num_clips=len(values),
        resamplings=resamplings,
        seed=seed,
        level=level,
    )


def paired_scores(
    a: Score, b: Score, *, num_clips: int, resamplings: int, seed: int, level: float = 0.95
) -> Paired:
    """Difference of two scores of the same clips with the central `level` of resampled sets.

    `a` and `b` take how often each clip counts, (num_clips,), as those of `bootstrap_interval`:
    for a score that is no mean over clips, such as mAP. The interval is the percentile one. `p` is
    twice the share of resampled differences at or beyond zero, the smaller side, with one more
    counted on each side, so never 0: (1 + count) / (1 + resamplings) (Davison and Hinkley 1997,
    4.2). Resamplings without a difference (a score that does not exist) are left out.

    Raises:
        ValueError: no clips, no resamplings, or no resampling with a difference.
    """

    def difference(counts: np.ndarray) -> float:
        return a(counts) - b(counts)

    if num_clips < 1:
        raise ValueError("there is no clip to compare; give at least one, with a label")
    if resamplings < 1:
        raise ValueError(f"resamplings (--bootstrap) is {resamplings}; accepted: 1 or more")
    drawn = resampled(difference, num_clips, resamplings=resamplings, seed=seed)
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        raise ValueError("the scores do not exist on any resampling: is there a positive clip?")
    tail = 50 * (1 - level)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    beyond = 1 + min((drawn <= 0).sum(), (drawn >= 0).sum())
    p = min(1.0, 2 * float(beyond) / (1 + len(drawn)))
    return Paired(difference(np.ones(num_clips)), float(low), float(high), p)


@dataclass(frozen=True)
class McNemar:
    """Clips that only one of two models gets right."""

    only_a: int
    only_b: int
    p: float  # two-sided; of both being equally often right


def mcnemar(hits_a: np.ndarray, hits_b: np.ndarray) -> McNemar:
    """McNemar's test of two models' hits on the same clips, (n,) each: 1, 0, or the chance of one.

    A guess, where a model lacks the clip's stream, is expected to be right so often: its clip
    counts in part, and the sums are rounded.

    With fewer than 25 clips that only one gets right the binomial test, exactly; otherwise
    chi-square with continuity correction, (max(0, |only_a - only_b| - 1))^2 / (only_a + only_b),
    one degree of freedom (Edwards 1948).
    """
    hits_a, hits_b = _pair(hits_a, hits_b)
    only_a, only_b = (
        round(float(hits.sum())) for hits in (hits_a * (1 - hits_b), hits_b * (1 - hits_a))
    )
    total = only_a + only_b
    if total < FEW_DISCORDANT:
        fewer = sum(math.comb(total, k) for k in range(min(only_a, only_b) + 1))
        return McNemar(only_a, only_b, min(1.0, 2 * fewer / 2**total))
    chi_square = max(0, abs(only_a - only_b) - 1) ** 2 / total
    return McNemar(only_a, only_b, math.erfc(math.sqrt(chi_square / 2)))


# ---------------------------------------------------------------------------- calibration


@dataclass(frozen=True)
class Calibration:
    """How well probabilities agree with how often they come true.

    Bins are equally wide over [0, 1]; empty ones have nan for confidence and accuracy.
    """

    error: float  # expected calibration error: |confidence - accuracy|, weighted by count
    brier: float
    nll: float
    confidence: np.ndarray  # (bins,) mean probability
    accuracy: np.ndarray  # (bins,) share that came true
    count: np.ndarray  # (bins,)


def calibration(
    probabilities: np.ndarray, targets: np.ndarray, *, bins: int = 15, task: str = "single"
) -> Calibration:
    """Calibration of `probabilities` (n, K) against `targets` (n, K) of zeros and ones.

    "single", one label: a clip's confidence is its highest probability, its accuracy whether that
    class is right; Brier is the mean of the summed squared errors of a clip's classes (0 to 2), NLL
    the mean of -log of the right class; clips without a label are left out. Give one head at a
    time. "multi", several labels: every clip and class is a yes-or-no question of its own; Brier
    and NLL are means over all of them. A probability on the edge of two bins is in the lower one
    (Guo et al. 2017, 2); logarithms are of at least machine precision.

    Raises:
        ValueError: unknown task, shapes that do not fit, values outside [0, 1], no labelled clip.
    """
    probabilities, targets = _pair(probabilities, targets)
    if task not in ("single", "multi"):
        raise unknown_name("task", task, ("single", "multi"))
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(
            f"probabilities go from {probabilities.min()} to {probabilities.max()}; accepted: 0 to "
            "1: are these logits?"
        )
    if task == "single":
        kept = targets.sum(1) > 0
        if not kept.any():
            raise ValueError(
                f"none of the {len(kept)} clips has a label; nothing can be calibrated"
            )
        probabilities, targets = probabilities[kept], targets[kept]
        rows, best = np.arange(len(targets)), probabilities.argmax(1)
        confidence, truth = probabilities[rows, best], targets[rows, best]
        right = probabilities[rows, targets.argmax(1)]
        brier = float(((probabilities - targets) ** 2).sum(1).mean())
    else:
        confidence, truth = probabilities.ravel(), targets.ravel()
        right = np.where(truth > 0, confidence, 1 - confidence)
        brier = float(((confidence - truth) ** 2).mean())
    index = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    count = np.bincount(index, minlength=bins)
    sums = np.stack([np.bincount(index, values, bins) for values in (confidence, truth)])
    means = np.divide(sums, count, out=np.full_like(sums, np.nan), where=count > 0)
    return Calibration(
        error=float(np.abs(sums[0] - sums[1]).sum() / len(confidence)),
        brier=brier,
        nll=float(-np.log(np.maximum(right, SMALLEST)).mean()),
        confidence=means[0],
        accuracy=means[1],
        count=count,
    )


# ---------------------------------------------------------------------------- modality confusion


@dataclass(frozen=True)
class ModalityConfusion:
    """Shares of all clips, in [0, 1], that the streams together get wrong although ..."""

    audio: float  # ... the audio stream alone is right
    video: float  # ... the video stream alone is right
    each: float  # ... each of the two alone is right
    either: float  # ... at least one of them alone is right


def modality_confusion(
    hits_both: np.ndarray, hits_audio: np.ndarray, hits_video: np.ndarray
) -> ModalityConfusion:
    """From hits (n,) of both streams together and of each one alone.

    The measure of VGGSounder (Zverev et al. 2025): mu_M = clips right with stream M alone and wrong
    with both, over all clips. Hits are 1, 0, or, for a guess, the chance of one. `either` = audio +
    video - each.
    """
    audio, both = _pair(hits_audio, hits_both)
    video, _ = _pair(hits_video, hits_both)
    each = audio * video
    hits = (audio, video, each, audio + video - each)
    return ModalityConfusion(*(float((right * (1 - both)).mean()) for right in hits))


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 of one shape, not empty."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or not len(a):
        raise ValueError(
            f"two arrays of shapes {a.shape} and {b.shape} cannot be paired; both need the same "
            "clips, at least one"
        )
    return a, b
