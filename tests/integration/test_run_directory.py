"""A run's directory: one writer, whole or absent on a full disk, and it may follow its data."""

import contextlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small import RUN_FRONT_END, RUN_MODEL

from sightsound import cli
from sightsound.config.load import config_text
from sightsound.config.settings import DataSettings, RunConfig, TrainSettings
from sightsound.data.synthetic import write_demo
from sightsound.files import locked
from sightsound.train.loop import train


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Class folders."""
    folder = tmp_path_factory.mktemp("clips")
    write_demo(folder, num_train=16, num_val=8, num_test=8, seed=0)
    (folder / "manifest.csv").unlink()
    return folder


def configuration(clips: Path, output: Path, *, width: int = 16, **settings) -> RunConfig:
    """A run of a second."""
    return RunConfig(
        model=RUN_MODEL | {"width": width},
        front_end=RUN_FRONT_END,
        data=DataSettings(path=str(clips), num_workers=0, time_limit_seconds=0),
        train=TrainSettings(steps=2, batch_size=8, **settings),
        output=str(output),
    )


# ---------------------------------------------------------------------------- one writer


def test_a_second_training_in_the_same_folder_is_refused(clips, tmp_path):
    output = tmp_path / "run"
    output.mkdir()
    with locked(output, by="sightsound train"):
        for resume in (False, True):
            with pytest.raises(ValueError, match="another 'sightsound train' is writing to"):
                train(configuration(clips, output), resume=resume)
    assert list(output.iterdir()) == []
    train(configuration(clips, output))


def _hold(output: str, is_held: multiprocessing.Event) -> None:
    with locked(Path(output), by="sightsound train"):
        is_held.set()
        signal.pause()


def test_a_dead_process_leaves_no_lock(tmp_path):
    context = multiprocessing.get_context("spawn")
    is_held = context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), is_held))
    process.start()
    assert is_held.wait(30)
    with pytest.raises(ValueError, match="another"), locked(tmp_path, by="sightsound train"):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with locked(tmp_path, by="sightsound train"):
        pass


def test_a_run_that_cannot_begin_leaves_no_folder(clips, tmp_path):
    config = configuration(clips, tmp_path / "run")
    config.train.batch_size = 1000
    with pytest.raises(ValueError, match="do not fill one batch"):
        train(config)
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------- resuming elsewhere


def test_a_run_follows_its_data(clips, tmp_path, monkeypatch):
    """Data moved, other workers: the same steps as without an interruption."""
    whole = train(configuration(clips, tmp_path / "whole", checkpoint_every=1))
    moved = tmp_path / "moved"
    output = tmp_path / "run"
    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr("sightsound.train.loop.RunLog.validation", _interrupted)
        train(configuration(clips, output, checkpoint_every=1))
    shutil.copytree(clips, moved)
    config = configuration(moved, output, checkpoint_every=2)
    config.data.num_workers = 1
    train(config, resume=True)
    assert _losses(output) == _losses(whole)
    log = (output / "log.txt").read_text()
    assert f"resumed with --data.path {moved} (was {clips})" in log
    assert "resumed with --data.num_workers 1 (was 0)" in log
    saved = yaml.safe_load((output / "config.yaml").read_text())
    assert saved["data"]["path"] == str(moved)  # where evaluate looks next


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["kind"] == "step"]


def test_settings_that_are_learnt_from_may_not_change(clips, tmp_path):
    config = configuration(clips, tmp_path / "run")
    train(config)
    before = (tmp_path / "run" / "config.yaml").read_text()
    config.train.learning_rate *= 2
    config.data.num_workers = 1
    with pytest.raises(ValueError, match=r"differ from its config.yaml: train.learning_rate;"):
        train(config, resume=True)
    assert (tmp_path / "run" / "config.yaml").read_text() == before


def test_a_run_of_an_older_version_lacks_settings(clips, tmp_path):
    config = configuration(clips, tmp_path / "run")
    train(config)
    saved = tmp_path / "run" / "config.yaml"
    values = yaml.safe_load(saved.read_text())
    del values["train"]["patience"]
    saved.write_text(yaml.safe_dump(values))
    train(config, resume=True)
    config.train.patience = 3
    del values["train"]["steps"]
    with pytest.raises(ValueError, match=r"differ from its config.yaml: train.patience;"):
        train(config, resume=True)


# ---------------------------------------------------------------------------- a full disk

LIMIT = 400_000  # bytes of a file: more than clips and logs have, less than the model


def test_a_full_disk_is_one_sentence_and_the_run_goes_on(clips, tmp_path):
    """A limit on the size of files stands for the full disk: the same call fails, as it would."""
    output, recipe = tmp_path / "run", tmp_path / "recipe.yaml"
    recipe.write_text(config_text(configuration(clips, output, width=128)))
    command = [sys.executable, "-m", "sightsound", "train", "--config", str(recipe)]
    full = subprocess.run(command, capture_output=True, text=True, preexec_fn=_small_files)
    assert full.returncode == 2 and "Traceback" not in full.stderr
    last = full.stderr.splitlines()[-1]
    assert "File too large" in last and "model.safetensors" in last and "--resume" in last
    left = [path.name for path in output.rglob("*") if path.name.startswith((".", "step_"))]
    assert left == [] and not (output / "model").exists()
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert (output / "checkpoints" / "last").read_text() == "step_2"


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))


# ---------------------------------------------------------------------------- damaged files


@pytest.mark.parametrize(
    ("name", "argv", "words"),
    [
        ("model/model.safetensors", "evaluate", "save the model again, or copy it again"),
        ("model/config.json", "evaluate", "save the model again, or copy it again"),
        ("config.yaml", "evaluate", "settings are YAML"),
        ("checkpoints/step_2/state.json", "train --resume --output", "put back a copy of this"),
        ("checkpoints/step_2/model.safetensors", "train --resume --output", "put back a copy"),
        ("checkpoints/step_2/optimizer.safetensors", "train --resume --output", "put back a copy"),
    ],
)
def test_damaged_files_of_a_run_are_named(clips, tmp_path, capsys, name, argv, words):
    output = tmp_path / "run"
    train(configuration(clips, output))
    (output / name).write_bytes(b"{'a: \xff" + bytes(range(256)))
    capsys.readouterr()
    assert cli.main([*argv.split(), str(output)]) == 2
    error = capsys.readouterr().err
    assert Path(name).name in error and words in error and error.count("\n") == 1
