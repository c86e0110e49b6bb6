"""`train --baselines`: what the model has to beat, with the same recipe, in one table."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from stand_in_encoders import stand_in

from sightsound import cli
from sightsound.config.load import load_config
from sightsound.data.synthetic import write_demo
from sightsound.train import loop
from sightsound.train.baselines import PROBE, variants

TINY = [
    "--config=mafnet/drone_av",
    "--model.width=8",
    "--front_end.features.segments=2",
    "--front_end.video.height=32",
    "--front_end.video.width=32",
    "--front_end.video.short_side=32",
    "--data.num_workers=0",
    "--train.batch_size=8",
    "--train.steps=2",
    "--evaluate.split=test",
    "--evaluate.bootstrap=20",
]


@pytest.fixture(autouse=True)
def encoders(monkeypatch):
    stand_in(monkeypatch, small=True)


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "videos"
    write_demo(folder, num_train=8, num_val=2, num_test=6, workers=1)
    return folder


def train(*argv: object) -> int:
    return cli.main(["train", *map(str, argv)])


def test_one_command_trains_and_scores_all(videos, tmp_path, capsys, monkeypatch):
    run = tmp_path / "runs" / "a"
    assert train(videos, *TINY, "--train.skip_video=0.5", "--output", run, "--baselines") == 0
    said = capsys.readouterr().out
    found = json.loads((run / "baselines.json").read_text())
    rows = ["audio+video", "audio alone", "video alone", "audio model", "video model"]
    assert list(found["rows"]) == [*rows, "average of both models", PROBE]
    assert {values["num_clips"] for values in found["rows"].values()} == {6}
    assert f"This table: {run / 'baselines.md'}" in said and "linear probe" in said
    table = (run / "baselines.md").read_text()
    assert table.count("\n| ") == 8 and "6 clips" in table and "| linear probe |" in table
    models = {"audio": ["audio"], "video": ["video"], "linear_probe": ["video", "audio"]}
    for name, modalities in models.items():
        saved = yaml.safe_load((run / "baselines" / name / "config.yaml").read_text())
        assert saved["model"]["modalities"] == modalities and saved["train"]["steps"] == 2
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"a", "features"}

    monkeypatch.setattr(loop, "update", None)  # would fail if anything were trained again
    assert train("--output", run, "--resume", "--baselines") == 0
    assert json.loads((run / "baselines.json").read_text()) == found


def test_interrupted_it_goes_on(videos, tmp_path, capsys, monkeypatch):
    update, steps = loop.update, []

    def interrupted(parts, batches, step):
        steps.append(parts.model.info.name)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return update(parts, batches, step)

    monkeypatch.setattr(loop, "update", interrupted)
    run = tmp_path / "runs" / "a"
    assert train(videos, *TINY, "--output", run, "--baselines") == 130
    assert not (run / "baselines.json").exists()
    assert train("--output", run, "--resume", "--baselines") == 0
    assert steps == ["mafnet"] * 4 + ["mafnet"] * 4 + ["linear_probe"] * 2
    assert (run / "baselines.md").is_file()


def test_a_model_of_pixels_has_no_probe(tmp_path):
    config = load_config("demo", overrides={"output": str(tmp_path / "a")})
    assert list(variants(config)) == ["audio", "video"]
    assert variants(config)["audio"].model == config.model | {"modalities": ["audio"]}


def test_what_one_stream_lacks_is_switched_off(tmp_path):
    config = load_config("mafnet/released-ave", overrides={"output": str(tmp_path / "runs" / "a")})
    for name, baseline in variants(config).items():
        assert baseline.train.skip_video == 0 and not baseline.train.skip_released
        assert baseline.train.learning_rate == config.train.learning_rate
        assert baseline.data.features == str(tmp_path / "runs" / "features")
        assert baseline.output == str(tmp_path / "runs" / "a" / "baselines" / name)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--overfit", "4"], "--baselines trains whole models, .* leave out --overfit"),
        (["--train.devices", "2"], "on one device; leave out --train.devices"),
        (["--model.modalities", '["audio"]'], r"with each of them, but model.modalities is \[aud"),
        (["--train.freeze", '["video.*"]'], "unknown parameter pattern in train.freeze 'video"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    videos, tmp_path, capsys, monkeypatch, options, sentence
):
    monkeypatch.setattr(loop, "update", None)
    assert train(videos, *TINY, "--output", tmp_path / "a", "--baselines", *options) == 2
    assert re.search(sentence, capsys.readouterr().err)
    assert not (tmp_path / "a").exists()
