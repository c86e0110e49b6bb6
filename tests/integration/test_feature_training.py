"""Training on features: the same run whether they are kept or computed anew; stopping early."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stand_in_encoders import stand_in

from sightsound.config.load import load_config
from sightsound.data.synthetic import write_demo
from sightsound.models.mafnet import MAFnet
from sightsound.train.loop import train

TINY = {
    "front_end.features.segments": 2,
    "front_end.video.short_side": 32,
    "model.width": 16,
    "data.num_workers": 0,
    "data.cache": False,
    "train.batch_size": 8,
    "train.steps": 6,
    "train.accelerator": "cpu",
}


@pytest.fixture(autouse=True)
def encoders(monkeypatch):
    stand_in(monkeypatch, small=True)


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "videos"
    write_demo(folder, num_train=16, num_val=8, num_test=1, workers=1)
    return folder


def trained(videos, output, **changes) -> Path:
    given = {"data.path": str(videos), "output": str(output)} | TINY | changes
    return train(load_config("mafnet/first", overrides=given))


def metrics(run: Path, kind: str) -> list[dict]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["kind"] == kind]


def test_kept_features_train_the_same_model(videos, tmp_path):
    kept = trained(videos, tmp_path / "kept" / "run")
    fresh = trained(videos, tmp_path / "fresh" / "run", **{"data.features": "none"})
    assert list((tmp_path / "kept" / "features").rglob("*.safetensors"))
    assert not (tmp_path / "fresh" / "features").exists()
    for one, other in zip(metrics(kept, "step"), metrics(fresh, "step"), strict=True):
        assert one["loss"] == other["loss"] and one["gradient_norm"] == other["gradient_norm"]
    first, second = (load_file(run / "model" / "model.safetensors") for run in (kept, fresh))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_stops_when_validation_no_longer_improves(videos, tmp_path):
    changes = {"train.epochs": 40, "train.patience": 2, "train.learning_rate": 1e-12}
    run = trained(videos, tmp_path / "run", **changes)
    assert len(metrics(run, "validation")) <= 8
    assert "no better score in 2 validations: stopped early" in (run / "log.txt").read_text()
    best = max(line["top1"] for line in metrics(run, "validation"))
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["provenance"]["val_top1"] == best


@pytest.mark.parametrize("path", ["video", "audio"])
def test_a_skipped_path_stays_as_it_is(videos, tmp_path, path):
    """Its weights are those of the start; the other path's are not."""
    changes = {f"train.skip_{path}": 1.0, "train.weight_decay": 0.0}
    runs = [
        trained(videos, tmp_path / str(steps), **changes | {"train.steps": steps})
        for steps in (1, 6)
    ]
    first, last = (checkpoint(run) for run in runs)
    names = [name for name in MAFnet(**arguments(runs[0])).update_paths()[path]]
    assert names and all(torch.equal(first[name], last[name]) for name in names)
    other = {"video": "audio", "audio": "video"}[path]
    moved = MAFnet(**arguments(runs[0])).update_paths()[other]
    assert not all(torch.equal(first[name], last[name]) for name in moved)


def checkpoint(run: Path) -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / (run / "checkpoints" / "last").read_text().strip()
    return load_file(folder / "model.safetensors")


def arguments(run: Path) -> dict:
    model = json.loads((run / "model" / "config.json").read_text())["model"]
    return {key: value for key, value in model.items() if key != "name"}
