"""An ablation through the real training loop: a cell that learns and one that cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from sightsound import cli
from sightsound.data.synthetic import write_demo
from sightsound.evaluation.results import LATE, read_evaluation
from sightsound.train import loop

TINY = [
    "--config=ablate_toy",
    "--model.width=16",
    "--model.mlp_width=32",
    "--model.num_heads=2",
    "--data.num_workers=0",
    "--train.batch_size=8",
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "videos"
    write_demo(folder, num_train=16, num_val=8, num_test=8, workers=1)
    return folder


TINY_AVT = [
    "--config=avt/first",
    "--model.video_options={widths: [8, 8, 8, 8], depths: [1, 1, 1, 1], head_width: 8}",
    "--model.audio_options={width: 8, depth: 1, num_heads: 2, mlp_width: 16, patch: [32, 32], "
    "stride: [32, 32]}",
    "--model.num_heads=2",
    "--model.fusion_depth=1",
    "--front_end.video.height=32",
    "--front_end.video.width=32",
    "--front_end.video.short_side=32",
    "--front_end.video.num_frames=2",
    "--data.num_workers=0",
    "--train.batch_size=8",
    "--train.steps=1",
    "--evaluate.views=1",
]


def check_average(folder: Path, found: dict[str, dict]) -> None:
    """The mean of the logits of two runs, whose models are gone."""
    (name,) = (name for name in found if name.startswith("mean_of"))
    logits = {}
    for part in found[name]["changes"]["mean_of"]:
        run = folder / "cells" / part / "seed_0"
        table = read_evaluation(run)
        logits[part] = next(iter(table.streams.values())).logits
        assert not (run / "model").exists()
    right = np.mean(list(logits.values()), axis=0).argmax(1) == table.streams[
        "video"
    ].targets.argmax(1)
    assert len(logits) == 2 and found[name]["score"] == pytest.approx(right.mean())
    assert found[name]["parameters"] == sum(found[part]["parameters"] for part in logits)


def check_kept_apart(videos: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    """Nothing is trained again, but a part whose logits are gone while the mean is not there."""
    axes = ["--axis=losses=average", "--axis=front_end.video.num_frames=2", "--seeds=1"]
    argv = [videos, "--study", "avt_losses", *axes, *TINY_AVT, "--output", folder]
    assert ablate(*argv) == 0
    assert "3 runs: 3 cells x 1 seed, 3 of them finished already" in capsys.readouterr().err
    (mean,) = (folder / "cells").glob("mean_of*/seed_0/result.json")
    before = json.loads(mean.read_text())["score"]
    mean.unlink()
    next(folder.glob("cells/model*/seed_0/evaluation/predictions.parquet")).unlink()
    assert ablate(*argv) == 0
    assert "3 runs: 3 cells x 1 seed, 1 of them finished already" in capsys.readouterr().err
    assert json.loads(mean.read_text())["score"] == before


def ablate(*argv: object) -> int:
    return cli.main(["ablate", *map(str, argv)])


def results(folder: Path) -> dict[str, dict]:
    return {run["cell"]: run for run in json.loads((folder / "results.json").read_text())}


def test_a_cell_that_learns_and_one_that_fails(videos, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    options = [*TINY, "--train.epochs=2", "--seeds=5,", "--output", out]
    study = ["--vary", "train.learning_rate=0.002,1e30"]
    assert ablate(videos, *study, *options) == 2
    said = capsys.readouterr()
    assert "1 of 2 runs failed, the first: train.learning_rate=1e+30, seed 5: Floating" in said.err
    assert "| failed |" in said.out and f"All results: {out / 'results.json'}" in said.out

    found = results(out)
    good, bad = found["base"], found["train.learning_rate=1e+30"]
    assert "are not finite" in bad["failed"] and "score" not in bad
    assert good["score"] == good["rows"]["audio+video"]["top1"] and good["seed"] == 5
    assert set(good["rows"]) == {"audio+video", "audio alone", "video alone"}
    assert good["test"]["num_clips"] == 8 and good["environment"]["packages"]["torch"]
    kept = {file.name for file in (out / "cells" / "base" / "seed_5").iterdir()}
    assert {"metrics.jsonl", "log.txt", "config.yaml", "result.json", "evaluation"} <= kept
    assert not {"model", "checkpoints"} & kept
    config = yaml.safe_load((out / "cells" / "base" / "seed_5" / "config.yaml").read_text())
    assert config["seed"] == 5 and config["train"]["learning_rate"] == 0.002

    monkeypatch.setattr(loop, "_run", None)  # would fail if anything were trained
    assert ablate(videos, "--vary", "train.learning_rate=0.002", *options) == 0
    assert "| 0.002" in capsys.readouterr().out


def test_killed_within_a_cell_goes_on(videos, tmp_path, monkeypatch):
    """The same result as without the interruption, from the last checkpoint on."""
    options = [*TINY, "--train.epochs=3", "--train.evaluate_every=1", "--seeds=1"]
    study = ["--study", "update", "--axis", "model.update=sequential"]
    assert ablate(videos, *study, *options, "--output", tmp_path / "whole") == 0

    update, steps = loop.update, []

    def interrupted(parts, batches, step):
        steps.append(step)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return update(parts, batches, step)

    monkeypatch.setattr(loop, "update", interrupted)
    assert ablate(videos, *study, *options, "--output", tmp_path / "killed") == 130
    assert not (tmp_path / "killed" / "results.json").exists()
    assert ablate(videos, *study, *options, "--output", tmp_path / "killed") == 0
    assert steps == [0, 1, 2, 3, 2, 3, 4, 5], "it went on after the first epoch of two steps"
    (whole,), (killed,) = (results(tmp_path / name).values() for name in ("whole", "killed"))
    assert killed["rows"] == whole["rows"] and killed["resumed"] and not whole["resumed"]


def test_rows_of_avts_table_4(videos, tmp_path, capsys):
    """One stream, the average of both, and a model with every loss."""
    axes = ["--axis=losses=audio,average,avc+avm+mav", "--axis=front_end.video.num_frames=2"]
    out = ["--seeds=1", "--output", tmp_path]
    assert ablate(videos, "--study", "avt_losses", *axes, *TINY_AVT, *out) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    rows = {tuple(run["rows"]) for run in found}
    both = ("audio+video", "audio alone", "video alone")
    assert rows == {("audio",), ("video",), (LATE,), both}
    check_average(tmp_path, {run["cell"]: run for run in found})
    table = (tmp_path / "avt_losses" / "table.md").read_text()
    assert "| 2 frames | average of both   |" in table and "+ AVC + AVM + MAV" in table
    assert (tmp_path / "avt_losses" / "figure.png").stat().st_size > 1000
    check_kept_apart(videos, tmp_path, capsys)
