"""Every number of the page is the one that scikit-learn or SciPy finds in the predictions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from report_files import BOTH, HEARD, RESAMPLINGS, SEEN, Tables, write_run
from scipy.special import comb, expit, softmax
from scipy.stats import binomtest, chi2
from sklearn import metrics

from sightsound.report.page import report

AVERAGE = "average of both alone"
WORDS = ["ant", "bee", "cat", "dog", "eel", "fox"]
CASES = {
    "single": {"labels": {"label": WORDS}, "absent": 4},
    "multi": {"labels": {"label": WORDS[:4]}, "absent": 5},
    "heads": {"labels": {"verb": ["cut", "peel"], "noun": ["egg", "leek", "pea"]}, "absent": 3},
}


class Predictions:
    """What `predictions.parquet` says, read without this package."""

    def __init__(self, folder: Path) -> None:
        table = pyarrow.parquet.read_table(folder / "predictions.parquet")
        known = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
        self.task, self.labels = known["task"], json.loads(known["labels"])
        self.ids = table["id"].to_pylist()
        self.truth = [text.split("|") for text in table["label"].to_pylist()]
        self.logits = {
            name.removesuffix(" logits"): np.array(table[name].to_pylist(), dtype=float)
            for name in table.column_names
            if name.endswith(" logits")
        }
        heard, seen = self.logits[HEARD], self.logits[SEEN]
        self.logits[AVERAGE] = np.nanmean([heard, seen], axis=0)

    def there(self, row: str) -> np.ndarray:
        """Places of the clips that have the row's stream."""
        return np.flatnonzero(~np.isnan(self.logits[row]).any(1))

    def parts(self, row: str) -> dict[str, np.ndarray]:
        """{head: (n, K) logits}, nan where there is no such stream."""
        ends = np.cumsum([len(names) for names in self.labels.values()])
        return dict(zip(self.labels, np.split(self.logits[row], ends[:-1], axis=1), strict=True))

    def shares(self, row: str) -> dict[str, np.ndarray]:
        """{head: (n, K) probabilities}, the mean of the class where there is no such stream."""
        found = {}
        for head, part in self.parts(row).items():
            values = expit(part) if self.task == "multi" else softmax(part, axis=1)
            found[head] = np.where(np.isnan(values), np.nanmean(values, axis=0), values)
        return found

    def classes(self, head: str) -> np.ndarray:
        """(n,) the number of each clip's class."""
        place = list(self.labels).index(head)
        return np.array([self.labels[head].index(names[place]) for names in self.truth])

    def several(self) -> np.ndarray:
        """(n, K) which labels each clip has."""
        names = self.labels["label"]
        return np.array([[name in truth for name in names] for truth in self.truth], dtype=int)

    def right(self, row: str) -> np.ndarray:
        """(n,) whether the likeliest class, or classes, are right; a guess without the stream."""
        return self.hits("top1", row)

    def says(self, row: str, place: int) -> str | None:
        """The likeliest class of a clip, of each head."""
        if place not in self.there(row):
            return None
        parts = self.parts(row).items()
        return "|".join(self.labels[head][part[place].argmax()] for head, part in parts)

    def targets(self) -> np.ndarray:
        """(n, K) of the one head, zeros and ones."""
        head, names = next(iter(self.labels.items()))
        return self.several() if self.task == "multi" else np.eye(len(names))[self.classes(head)]

    def mean_average_precision(self, row: str, drawn: np.ndarray) -> float:
        truth, scores = self.targets()[drawn], next(iter(self.shares(row).values()))[drawn]
        there = truth.any(0)
        found = metrics.average_precision_score(truth[:, there], scores[:, there], average=None)
        return float(np.mean(found))

    def score(self, name: str, row: str, drawn: np.ndarray) -> float:
        """A score of the clips drawn."""
        if name == "map":
            return self.mean_average_precision(row, drawn)
        return float(self.hits(name, row)[drawn].mean())

    def hits(self, name: str, row: str) -> np.ndarray:
        """(n,) of each clip; without the stream the chance that k classes at random hit."""
        head, k = name.rpartition("_")[0], int(name[-1])
        if self.task == "heads" and not head:
            verb, noun = self.shares(row).values()
            scores = (verb[:, :, None] * noun[:, None]).reshape(len(verb), -1)
            truth = self.classes("verb") * noun.shape[1] + self.classes("noun")
            truth = np.eye(scores.shape[1])[truth]
        elif self.task == "multi":
            scores, truth = self.parts(row)["label"], self.several()
        else:
            scores = self.parts(row)[head or "label"]
            truth = np.eye(scores.shape[1])[self.classes(head or "label")]
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(truth, best, 1).max(1).astype(float)
        number, right = truth.shape[1], truth.sum(1)
        guess = 1 - comb(number - right, k) / comb(number, k) if number > k else np.ones(len(found))
        return np.where(np.isnan(self.logits[row]).any(1), guess, found)


def draws(number: int) -> list[np.ndarray]:
    """The clips of each resampling, as numpy's generator of seed 0 draws them."""
    generator = np.random.default_rng(0)
    return [generator.integers(number, size=number) for _ in range(RESAMPLINGS)]


def interval(predictions: Predictions, name: str, row: str) -> tuple[float, float]:
    """The central 95 % of a score over the resamplings."""
    there = predictions.there(row)
    drawn = [there[part] for part in draws(len(there))]
    return tuple(np.percentile([predictions.score(name, row, part) for part in drawn], [2.5, 97.5]))


@pytest.fixture(scope="module", params=list(CASES))
def case(request, tmp_path_factory) -> tuple[Predictions, Tables]:
    run = tmp_path_factory.mktemp("runs") / request.param
    write_run(run, task=request.param, **CASES[request.param])
    return Predictions(run / "evaluation"), Tables(report(run))


def percent(value: float | None, *, signed: bool = False) -> str:
    if value is None or math.isnan(value):
        return "–"
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def test_scores_and_intervals(case):
    predictions, page = case
    known = page.numbers["scores"][BOTH]
    names = [name for name in known if f"{name}_low" in known]
    assert set(names) >= {"top1", "top5"}
    lines = {line[0]: " ".join(line[1:]) for line in page.tables["score-table"][1:]}
    assert list(lines) == list(page.numbers["scores"]) == [BOTH, HEARD, SEEN, AVERAGE]
    for row, values in page.numbers["scores"].items():
        assert values["num_clips"] == len(predictions.there(row))
        for name in names:
            found = predictions.score(name, row, predictions.there(row))
            assert values[name] == pytest.approx(found), (row, name)
            low, high = interval(predictions, name, row)
            assert (values[f"{name}_low"], values[f"{name}_high"]) == pytest.approx((low, high))
            if name == page.numbers["main_score"]:
                assert f"{percent(found)} {percent(low)} to {percent(high)}" in lines[row]


def test_paired_tests(case):
    predictions, page = case
    main, number = page.numbers["main_score"], len(predictions.ids)
    lines = {line[0]: line[1:] for line in page.tables["paired-table"][1:]}
    assert list(lines) == [HEARD, SEEN, AVERAGE]
    for row, values in page.numbers["against"].items():

        def gap(drawn: np.ndarray, row: str = row) -> float:
            return predictions.score(main, BOTH, drawn) - predictions.score(main, row, drawn)

        drawn = np.array([gap(part) for part in draws(number)])
        low, high = np.percentile(drawn, [2.5, 97.5])
        beyond = min((drawn <= 1e-12).sum(), (drawn >= -1e-12).sum())
        p = min(1.0, 2 * (1 + beyond) / (1 + RESAMPLINGS))
        found = gap(np.arange(number)), low, high, p
        assert [values[name] for name in ("difference", "low", "high", "p")] == pytest.approx(found)
        both, other = predictions.right(BOTH), predictions.right(row)
        only = round((both * (1 - other)).sum()), round((other * (1 - both)).sum())
        assert (values["only_both"], values["only_other"]) == only
        test = _mcnemar(*only)
        assert values["mcnemar_p"] == pytest.approx(test)
        verdict, difference, p_text, *counts, mcnemar_text = lines[row]
        signed = [percent(value, signed=True) for value in found[:3]]
        assert difference == f"{signed[0]} {signed[1]} to {signed[2]}"
        assert (p_text, counts) == (f"{p:.4f}", [str(value) for value in only])
        assert mcnemar_text == ("< 0.0001" if test < 0.0001 else f"{test:.4f}")
        clear = "both are better" if found[0] > 0 else "both are worse"
        assert verdict == (clear if p <= 0.05 else "no clear difference")


def _mcnemar(only_a: int, only_b: int) -> float:
    if only_a + only_b < 25:
        return binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return chi2.sf(max(0, abs(only_a - only_b) - 1) ** 2 / (only_a + only_b), 1)


def test_classes(case):
    predictions, page = case
    lines = iter(page.tables["class-table"][1:])
    values = iter(page.numbers["classes"])
    for head, names in predictions.labels.items():
        if predictions.task == "multi":
            truth, shares = predictions.several(), predictions.shares
            guessed, scores = (
                {
                    row: metrics.average_precision_score(
                        truth[of(row)], shares(row)[head][of(row)], average=None
                    )
                    for row in predictions.logits
                }
                for of in (lambda row: slice(None), predictions.there)
            )
            counts = truth.sum(0)
        else:
            truth = predictions.classes(head)
            known = {"labels": np.arange(len(names)), "average": None, "zero_division": np.nan}
            taken = {row: predictions.parts(row)[head].argmax(1) for row in predictions.logits}
            scores = {
                row: metrics.recall_score(truth[there], taken[row][there], **known)
                for row in taken
                for there in [predictions.there(row)]
            }
            name = f"{head}_top1" if predictions.task == "heads" else "top1"
            hits = {row: predictions.hits(name, row) for row in taken}
            guessed = {
                row: [values[truth == k].mean() for k in range(len(names))]
                for row, values in hits.items()
            }
            counts = np.bincount(truth, minlength=len(names))
            precision = metrics.precision_score(truth, taken[BOTH], **known)
            pairs = metrics.confusion_matrix(truth, taken[BOTH], labels=known["labels"])
        for k, name in enumerate(names):
            value, line = next(values), next(lines)
            gain = guessed[BOTH][k] - max(guessed[HEARD][k], guessed[SEEN][k])
            assert (value["label"], value["head"], value["num_clips"]) == (name, head, counts[k])
            assert value["scores"] == pytest.approx({row: s[k] for row, s in scores.items()})
            assert value["gain"] == pytest.approx(gain)
            shown = [name, *([head] if len(predictions.labels) > 1 else []), str(counts[k])]
            shown += [percent(scores[row][k]) for row in page.numbers["scores"]]
            shown += [percent(gain, signed=True)]
            if predictions.task != "multi":
                own = (truth == k).astype(int)
                ranked = metrics.average_precision_score(own, predictions.shares(BOTH)[head][:, k])
                expected = None if math.isnan(precision[k]) else pytest.approx(precision[k])
                assert value["precision"] == expected
                assert value["average_precision"] == pytest.approx(ranked)
                wrong = np.where(np.arange(len(names)) == k, 0, pairs[k])
                taken_for = names[wrong.argmax()] if wrong.any() else ""
                shown += [percent(precision[k]), percent(ranked), taken_for]
            assert line == shown


def test_pairs_that_are_confused(case):
    predictions, page = case
    if predictions.task == "multi":
        assert page.numbers["confused"] == [] and "confused-table" not in page.tables
        return
    counts = {
        head: metrics.confusion_matrix(
            predictions.classes(head),
            predictions.parts(BOTH)[head].argmax(1),
            labels=np.arange(len(names)),
        )
        for head, names in predictions.labels.items()
    }
    found = page.numbers["confused"]
    most = sorted((c[i, j] for c in counts.values() for i, j in np.ndindex(c.shape) if i != j))
    assert [pair["number"] for pair in found] == [n for n in most[::-1] if n][: len(found)]
    for pair, line in zip(found, page.tables["confused-table"][1:], strict=True):
        names, matrix = predictions.labels[pair["head"]], counts[pair["head"]]
        row = names.index(pair["label"])
        assert pair["number"] == matrix[row, names.index(pair["taken_for"])]
        assert pair["of"] == matrix[row].sum()
        assert line[:2] + line[-2:] == [
            pair["label"],
            pair["taken_for"],
            str(pair["number"]),
            str(pair["of"]),
        ]


def test_modality_confusion(case):
    predictions, page = case
    both, heard, seen = (predictions.right(row) for row in (BOTH, HEARD, SEEN))
    expected = {
        "audio": (heard * (1 - both)).mean(),
        "video": (seen * (1 - both)).mean(),
        "each": (heard * seen * (1 - both)).mean(),
        "either": ((1 - (1 - heard) * (1 - seen)) * (1 - both)).mean(),
    }
    assert page.numbers["modality_confusion"] == pytest.approx(expected)
    heard_text, seen_text, either = (percent(expected[k]) for k in ("audio", "video", "either"))
    assert (
        f"Of all clips, {heard_text} % are right with sound alone and {seen_text} % with pictures "
        f"alone, but wrong with both: {either} % with either"
    ) in page.text


def test_calibration(case):
    predictions, page = case
    lines = {line[0]: line[1:] for line in page.tables["calibration-table"][1:]}
    assert set(lines) == set(page.numbers["calibration"])
    for name, values in page.numbers["calibration"].items():
        row, _, head = name.partition(", ")
        there = ~np.isnan(predictions.logits[row]).any(1)
        head = head or next(iter(predictions.labels))
        logits = predictions.parts(row)[head][there]
        if predictions.task == "multi":
            probability, truth = expit(logits).ravel(), predictions.several()[there].ravel()
            brier = metrics.brier_score_loss(truth, probability)
            loss, confidence, right = metrics.log_loss(truth, probability), probability, truth
        else:
            probability, truth = softmax(logits, axis=1), predictions.classes(head)[there]
            one_hot = np.eye(logits.shape[1])[truth]
            brier = metrics.mean_squared_error(one_hot, probability) * logits.shape[1]
            loss = metrics.log_loss(truth, probability, labels=np.arange(logits.shape[1]))
            confidence, right = probability.max(1), probability.argmax(1) == truth
        error = _expected_error(confidence, right)
        found = [values[key] for key in ("error", "brier", "nll")]
        assert found == pytest.approx([error, brier, loss])
        assert lines[name] == [percent(error), f"{brier:.4f}", f"{loss:.4f}"]


def _expected_error(confidence: np.ndarray, right: np.ndarray) -> float:
    edges = np.linspace(0, 1, 16)
    total = 0.0
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        part = (confidence > low) & (confidence <= high)
        if part.any():
            total += part.mean() * abs(confidence[part].mean() - right[part].mean())
    return total


def test_clips_where_fusion_helps_and_harms(case):
    predictions, page = case
    truth = {}
    for row in predictions.logits:
        if predictions.task == "multi":
            own = predictions.several()
            truth[row] = (expit(predictions.logits[row]) * own).sum(1) / own.sum(1)
        else:
            shares = [
                softmax(part, axis=1)[np.arange(len(part)), predictions.classes(head)]
                for head, part in predictions.parts(row).items()
            ]
            truth[row] = np.mean(shares, axis=0)
    change = truth[BOTH] - np.fmax(truth[HEARD], truth[SEEN])
    kinds = {"helps": change, "harms": -change}
    if predictions.task != "multi":
        kinds["mistakes"] = np.where(predictions.right(BOTH), 0, 1 - truth[BOTH])
    lines = iter(page.tables[""])
    assert list(page.numbers["clips"]) == list(kinds)
    for kind, values in kinds.items():
        best = np.sort(values[values > 0])[::-1][:8]
        clips = page.numbers["clips"][kind]
        assert [clip["measure"] for clip in clips] == pytest.approx(best)
        for clip in clips:
            place = predictions.ids.index(clip["id"])
            assert values[place] == pytest.approx(clip["measure"])
            points = percent(clip["measure"] * (-1 if kind == "harms" else 1), signed=True)
            said = (
                f"{percent(clip['measure'])} % wrong" if kind == "mistakes" else f"{points} points"
            )
            assert f"{clip['label']} {said}" in page.text
            for row, said in clip["rows"].items():
                words = predictions.says(row, place)
                assert said["says"] == words
                if words is None:
                    assert said["truth"] is None
                    assert next(lines) == [f"{row}: no such stream", ""]
                    continue
                assert said["truth"] == pytest.approx(truth[row][place])
                assert next(lines) == [f"{row}: {words}", f"{percent(truth[row][place])} %"]
