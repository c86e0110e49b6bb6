"""The export for VGGSounder: its keys, the order of its classes, names of clips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sightsound.cli import main
from sightsound.config.settings import EvaluateSettings
from sightsound.evaluation.results import Evaluation, Scored, write_evaluation
from sightsound.evaluation.scoring import row_scores
from sightsound.evaluation.vggsounder import read_classes, vggsounder_json, video_id
from sightsound.predict import BOTH

LABELS = {"label": ["hail", "skiing", "thunder"]}
IDS = ["test/hail/--U7joUcTCo_000000.mp4", "-0jeONf82dE_000021"]
TARGETS = np.eye(3)[:2]


def evaluation(task: str = "single") -> Evaluation:
    both = np.array([[2.0, -1, 0.5], [-3, 1, 2]])
    audio = np.array([[1.0, 2, 3], [np.nan] * 3])
    streams = {
        BOTH: Scored(IDS, both, TARGETS),
        "audio alone": Scored(IDS, audio, TARGETS),
        "video alone": Scored(IDS, -both, TARGETS),
        "audio model": Scored(IDS, both, TARGETS),
    }
    rows = {name: row_scores(each, task=task, heads={"label": 3}) for name, each in streams.items()}
    return Evaluation(rows, streams, task, LABELS, "clips.csv", "test", [])


def test_layout_and_order_of_classes():
    found = json.loads(vggsounder_json(evaluation(), classes=["thunder", "hail"]))
    assert found == {
        "--U7joUcTCo_000000": {
            "predictions": {"a": ["thunder"], "v": ["skiing"], "av": ["hail"]},
            "logits": {"a": [3, 1], "v": [-0.5, -2], "av": [0.5, 2]},
        },
        "-0jeONf82dE_000021": {
            "predictions": {"a": [], "v": ["hail"], "av": ["thunder"]},
            "logits": {"a": [], "v": [-2, 3], "av": [2, -3]},
        },
    }


def test_several_labels_have_all_that_are_likely_and_no_list_means_no_logits():
    found = json.loads(vggsounder_json(evaluation("multi")))
    first, second = found.values()
    assert first == {
        "predictions": {"a": LABELS["label"], "v": ["skiing"], "av": ["hail", "thunder"]}
    }
    assert second["predictions"]["av"] == ["skiing", "thunder"]


@pytest.mark.parametrize(
    "clip, name",
    [
        ("val/a b/x_000001.MP4", "x_000001"),
        ("x_000001.mp4#3.5", "x_000001"),
        ("a/x #2_000001.mp4", "x #2_000001"),
        ("a.b_000001", "a.b_000001"),
    ],
)
def test_names_of_clips(clip: str, name: str):
    assert video_id(clip) == name


def test_what_cannot_be_written(tmp_path: Path):
    with pytest.raises(ValueError, match="the model lacks 1 of the 2 classes of the list.*'rain'"):
        vggsounder_json(evaluation(), classes=["hail", "rain"])
    made = evaluation()
    made.labels = {"verb": ["a"], "noun": ["b", "c"]}
    with pytest.raises(ValueError, match="this model has the heads verb, noun"):
        vggsounder_json(made)
    made = evaluation()
    made.streams[BOTH].ids = ["a/x.mp4", "b/x.mp4"]
    with pytest.raises(ValueError, match="two clips are called 'x', one of them 'b/x.mp4'"):
        vggsounder_json(made)
    (tmp_path / "list.csv").write_text("hail\n")
    with pytest.raises(ValueError, match="has no column 'display_name'; accepted: VGGSounder's"):
        read_classes(tmp_path / "list.csv")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_evaluation(evaluation(), tmp_path / "run" / "evaluation", settings=EvaluateSettings())
    classes = tmp_path / "classes.csv"
    classes.write_text('index,mid,display_name\n0,vgg_0,"skiing"\n1,vgg_1,hail\n')
    assert main(["vggsounder", str(tmp_path / "run"), "--classes", str(classes)]) == 0
    path = tmp_path / "run" / "evaluation" / "vggsounder.json"
    assert capsys.readouterr().out == f"predictions and logits of 2 clips: {path}\n"
    expected = vggsounder_json(evaluation(), classes=["skiing", "hail"])
    assert path.read_text() == expected
