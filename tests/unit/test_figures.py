"""Figures: drawn for few classes and many, with gaps; what they show was looked at by eye."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread
from sklearn.manifold import TSNE, trustworthiness

from sightsound.figures.calibration import reliability_figure
from sightsound.figures.classes import class_bars, gain_bars, modality_scatter
from sightsound.figures.clips import save_picture
from sightsound.figures.confusion import confusion_figure
from sightsound.figures.curves import learning_curves, read_metrics
from sightsound.figures.embedding import embedding_figure
from sightsound.figures.style import apart, as_svg, short, stream_colour
from sightsound.figures.tsne import tsne
from sightsound.metrics.statistics import calibration

RNG = np.random.default_rng(0)


def names(number: int) -> list[str]:
    """Such as matplotlib takes for formulae, or leaves out of a legend."""
    return [f"_{k} costs $^$ <b>" for k in range(number)]


def texts(figure) -> list[str]:
    """What stands beside the ticks of y, from top to bottom."""
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


@pytest.mark.parametrize("number", [2, 8, 40, 309])
def test_confusion(tmp_path, number):
    figure = confusion_figure(np.diag(np.arange(number)), names(number), title="$test")
    assert imread(save_picture(figure, tmp_path / "x.png")).std() > 0.02
    assert len(texts(figure)) == (number if number <= 60 else 0)
    assert len(figure.axes[0].texts) == (number - 1 if number <= 25 else 0)
    assert len(as_svg(figure)) < 100_000


def test_confusion_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"counts has shape \(3, 2\); 3 labels need \(3, 3\)"):
        confusion_figure(np.zeros((3, 2), int), ["a", "b", "c"])


def test_bars_show_the_best_classes_first_and_leave_out_those_without_clips():
    both = np.array([0.2, np.nan, 0.9, 0.5])
    figure = class_bars(
        {"audio+video": both, "audio alone": both / 2}, list("abcd"), score="recall"
    )
    assert texts(figure) == ["c", "d", "a"]
    many = class_bars({"audio+video": RNG.random(309)}, names(309), score="recall")
    assert len(texts(many)) == 60 and "the best 60 of 309" in many.axes[0].get_xlabel()


def test_bars_of_the_gain_do_not_hide_losses():
    gain = np.linspace(0.9, -0.5, 100)
    figure = gain_bars(gain, [str(k) for k in range(100)], over="audio alone", score="recall")
    assert texts(figure) == [str(k) for k in (*range(50), *range(90, 100))]
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths[0] == pytest.approx(90) and widths[-1] == pytest.approx(-50)
    assert "50 highest and 10 lowest of 100" in figure.axes[0].get_xlabel()
    few = gain_bars(np.array([0.1, np.nan]), ["a", "b"], over="audio alone", score="recall")
    assert texts(few) == ["a"]


def test_scatter_of_modalities_says_who_gains():
    audio, video = np.array([0.1, 0.9, 0.5, np.nan]), np.array([0.9, 0.1, 0.5, 0.5])
    figure = modality_scatter(
        audio,
        video,
        ["seen", "heard", "even", "none"],
        counts=np.array([3, 3, 3, 0]),
        gain=np.array([0.1, -0.1, 0.0, np.nan]),
        score="recall",
    )
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said == ["seen", "heard", "even"]
    shown = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert shown == ["gains from both", "even", "loses"]
    as_svg(figure)


def test_reliability_draws_the_bins_that_have_clips():
    targets = np.eye(4)[np.arange(40) % 4]
    probability = np.where(targets > 0, 0.7, 0.1)
    found = calibration(probability, targets)
    figure = reliability_figure({"audio+video": found, "audio alone": found})
    diagonal, both, _ = figure.axes[0].lines
    assert (both.get_xdata(), both.get_ydata()) == (pytest.approx([70]), pytest.approx([100]))
    as_svg(figure)


def test_curves(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    path.write_text('{"kind": "step", "step": 0, "loss": 2.0}\n{"kind": "st')
    assert read_metrics(path) == [{"kind": "step", "step": 0, "loss": 2.0}]
    steps = [{"kind": "step", "step": k, "loss": 1.0 + k % 2} for k in range(1000)]
    checks = [{"kind": "validation", "step": k, "top1": 0.5} for k in (499, 999)]
    figure = learning_curves([*steps, *checks], scores={"top1": "top-1", "map": "mAP"})
    (loss,) = figure.axes[0].lines
    assert len(loss.get_xdata()) == 80 and loss.get_xdata()[-1] > 990
    assert set(np.round(loss.get_ydata(), 1)) <= {1.4, 1.5, 1.6}
    top1, absent = figure.axes[1].lines
    assert top1.get_xdata().tolist() == [500, 1000] and top1.get_ydata().tolist() == [50, 50]
    assert np.isnan(absent.get_ydata()).all()
    assert len(learning_curves(steps[:1], scores={}).axes) == 1


@pytest.mark.parametrize("number", [3, 40])
def test_embedding(number):
    classes = np.arange(120) % number
    classes[0] = -1
    points = RNG.standard_normal((120, 2)) + 20 * classes[:, None]
    figure = embedding_figure(points, classes, names(number), wrong=np.arange(120) % 7 == 0)
    axes = figure.axes[0]
    listed = axes.get_legend().get_texts() if number <= 10 else axes.texts
    assert len(listed) == 3 if number <= 10 else 5 < len(listed) <= 40
    as_svg(figure)


def test_tsne_keeps_neighbours_as_well_as_scikit_learn():
    centres = 4 * RNG.standard_normal((6, 30))
    values = np.repeat(centres, 30, axis=0) + RNG.standard_normal((180, 30))
    ours, theirs = tsne(values), TSNE(init="pca", random_state=0).fit_transform(values)
    kept = [trustworthiness(values, places, n_neighbors=8) for places in (ours, theirs)]
    assert kept[0] > kept[1] - 0.01 and kept[0] > 0.9
    np.testing.assert_array_equal(ours, tsne(values))


def test_tsne_of_few_or_equal_points():
    assert tsne(np.eye(4)).shape == (4, 2)
    assert np.isfinite(tsne(np.ones((12, 3)))).all()
    assert np.isfinite(tsne(RNG.standard_normal((12, 1)))).all()
    with pytest.raises(ValueError, match="needs at least 4 points of finite values; given: 3"):
        tsne(np.eye(3))
    with pytest.raises(ValueError, match="at least 4 points of finite values"):
        tsne(np.full((9, 2), np.nan))


def test_svg_is_the_same_every_time_and_follows_the_page_into_the_dark():
    first, second = (
        as_svg(class_bars({"audio": np.array([0.5, 1.0])}, ["ant", "名前"], score="recall"))
        for _ in range(2)
    )
    assert first == second
    assert "名前</text>" in first
    assert "prefers-color-scheme:dark" in first and "var(--c1d2733)" in first
    assert "http" not in first.replace("http://www.w3.org", "").replace("https://www.w3.org", "")


def test_names():
    assert short(["short", "a" * 30 + "end"]) == ["short", "a" * 15 + "…aaaaaend"]
    assert stream_colour("audio alone") == stream_colour("audio model") != stream_colour("video")
    assert stream_colour("average of both alone") == stream_colour("audio+video")
    places = {0: np.array([0.0, 0.0]), 1: np.array([0.5, 0.5]), 2: np.array([0.5, 2.0])}
    assert apart(places, room=np.array([1.0, 1.0])) == [0, 2]
