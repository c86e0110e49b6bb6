"""From a run to the answers, tables and picture of `sightsound probe`."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import pytest
from matplotlib.image import imread
from stand_in_encoders import stand_in

from sightsound.cli import main
from sightsound.config.load import load_config
from sightsound.data.synthetic import write_demo
from sightsound.diagnostics.checks import CHECKS
from sightsound.diagnostics.swap import swap
from sightsound.diagnostics.trial import Trial, read_clips
from sightsound.predict import Predictor
from sightsound.train.loop import train

HARDLY = 0.07  # of a class of 30 clips: two of them


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_demo(folder, num_train=16, num_val=8, num_test=32, workers=1)
    return folder


@pytest.fixture(scope="module")
def trained(clips: Path, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "a"
    here = {"data.path": str(clips / "manifest.csv"), "output": str(output)}
    few = {"train.epochs": 1, "train.evaluate_every": 1, "data.num_workers": 0}
    return train(load_config("demo", overrides=few | here))


@pytest.fixture(autouse=True)
def few_resamplings(monkeypatch):
    monkeypatch.setattr("sightsound.diagnostics.finding.RESAMPLINGS", 100)


def run(*argv: object) -> int:
    return main([str(token) for token in argv])


def test_answers_tables_and_picture(trained, tmp_path, capsys):
    capsys.readouterr()
    output = ["--output", tmp_path / "probe", "--num_workers=0"]
    assert run("probe", trained, *output, "--clips=12") == 0
    text = capsys.readouterr().out
    assert text.startswith("12 clips of ") and "split test (ids " in text.splitlines()[0]
    report = json.loads((tmp_path / "probe/probe.json").read_text())
    assert [check["name"] for check in report["checks"]] == list(CHECKS)
    places = [text.index(check["sentence"]) for check in report["checks"]]
    assert places == sorted(places) and places[-1] < text.index("swap: score %")
    with (tmp_path / "probe/probe.csv").open() as file:
        lines = list(csv.DictReader(file))
    numbers = [finding for check in report["checks"] for finding in check["findings"]]
    assert [float(line["after"]) for line in lines] == [number["after"] for number in numbers]
    assert {line["check"] for line in lines} == set(CHECKS)
    assert imread(tmp_path / "probe/probe.png").std() > 0.05


def test_the_same_seed_gives_the_same_numbers(trained, tmp_path, capsys):
    options = ["--checks=shift", "--clips=8", "--format=json", "--num_workers=0", "--seed=1"]
    texts = []
    for _ in range(2):
        capsys.readouterr()
        assert run("probe", trained, "--output", tmp_path, *options) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and json.loads(texts[0])["seed"] == 1


def test_by_default_everything_lies_in_the_run(trained, clips, capsys):
    options = ["--checks=streams", "--split=val", "--num_workers=0"]
    assert run("probe", trained, clips / "manifest.csv", *options) == 0
    assert f"Tables: {trained / 'probe'}" in capsys.readouterr().out
    assert {path.name for path in (trained / "probe").iterdir()} == {
        "probe.json",
        "probe.csv",
        "probe.png",
    }


@pytest.mark.parametrize(
    "option, text",
    [
        ("--checks=swap,sift", "unknown check 'sift'; known: "),
        ("--clips=1", "--clips is 1; accepted: 2 or more"),
        ("--shifts=-1", "--shifts has -1; accepted: seconds above 0"),
        ("--split=best", "unknown split 'best'; known: test, train, val."),
    ],
)
def test_mistakes_are_told_in_a_sentence(trained, capsys, option, text):
    assert run("probe", trained, option) == 2
    error = capsys.readouterr().err
    assert error.startswith("sightsound probe: ") and text in error and error.count("\n") == 1


@pytest.mark.parametrize("features", ["", "none"])
def test_a_model_of_features_is_probed_on_features(clips, tmp_path, monkeypatch, capsys, features):
    """Whether they are kept or computed anew; sound goes round by whole seconds."""
    stand_in(monkeypatch, small=True)
    given = {
        "data.path": str(clips / "manifest.csv"),
        "output": str(tmp_path / "run"),
        "front_end.features.segments": 2,
        "front_end.video.short_side": 32,
        "model.width": 16,
        "data.num_workers": 0,
        "data.cache": False,
        "data.features": features,
        "train.batch_size": 8,
        "train.steps": 1,
    }
    output = train(load_config("mafnet/first", overrides=given))
    capsys.readouterr()
    options = ["--checks=shift,knockout,deletion", "--num_workers=0", "--clips=8"]
    assert run("probe", output, "--split=test", *options) == 0
    text = capsys.readouterr().out
    assert "own sound 1 s late" in text and "without FiLM" in text
    assert (tmp_path / "features").exists() == (features == "")


def test_clips_without_labels_cannot_be_probed(trained):
    predictor = Predictor(trained, device="cpu")
    manifest = predictor.manifest()
    rows = [dataclasses.replace(row, labels=()) for row in manifest.split("test")]
    clips = predictor.dataset(manifest, rows, views=1)
    with pytest.raises(ValueError, match="none of the 32 clips has a label in every head"):
        read_clips(predictor, clips, batch_size=8)


@pytest.mark.slow
def test_on_the_demo_sound_only_classes_fall_to_chance_and_picture_only_ones_stay(tmp_path):
    write_demo(tmp_path / "clips")
    here = {"data.path": str(tmp_path / "clips/manifest.csv"), "output": str(tmp_path / "run")}
    predictor = Predictor(train(load_config("demo", overrides=here)), device="cpu")
    manifest = predictor.manifest()
    dataset = predictor.dataset(manifest, manifest.split("test"), views=1)
    trial = Trial(predictor, read_clips(predictor, dataset, batch_size=32)[0])
    found = {f.label: f for f in swap(trial).findings if f.what == "sound swapped"}
    for label in ("rising_chirp", "falling_chirp"):
        assert found[label].before > 0.9 and found[label].low <= found[label].chance
        assert found[label].chance < 0.2
    for label in ("yellow_ring", "green_cross"):
        assert found[label].before > 0.9 and found[label].cost <= HARDLY
