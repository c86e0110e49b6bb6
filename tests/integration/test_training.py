"""Training on real files: killed and resumed, self-tested, started from another model."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small import RUN_FRONT_END, RUN_MODEL

from sightsound import load_model
from sightsound.config.settings import AugmentSettings, DataSettings, RunConfig, TrainSettings
from sightsound.data.synthetic import write_demo
from sightsound.media.decode import DecodeError
from sightsound.train import loop
from sightsound.train.loop import train


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_demo(folder, num_train=32, num_val=8, num_test=8, seed=0)
    return folder


def configuration(clips: Path, output: Path, *, plain=False, data=None, **settings) -> RunConfig:
    """A run of a few seconds; `plain` is without anything random but the order of clips."""
    augment = AugmentSettings(
        time_masks=1, time_mask_frames=20, mixup_alpha=0.3, modality_mixup=True, drop_audio=0.2
    )
    window = "centre" if plain else "random"
    data = {"num_workers": 0, "windows": window, "crop": window, **(data or {})}
    return RunConfig(
        model=RUN_MODEL | {"stochastic_depth": 0.0 if plain else 0.2},
        front_end=RUN_FRONT_END,
        data=DataSettings(path=str(clips), **data),
        augment=AugmentSettings(flip=0.0) if plain else augment,
        train=TrainSettings(**{"steps": 12, "batch_size": 8, "evaluate_every": 1.0, **settings}),
        output=str(output),
    )


def steps(run: Path) -> list[dict]:
    """The recorded optimiser steps, without timings."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timings = {"clips_per_second", "data_wait"}
    return [{k: v for k, v in line.items() if k not in timings} for line in lines]


def weights(run: Path) -> dict:
    (checkpoint,) = (run / "checkpoints").glob("step_*")
    return load_file(checkpoint / "model.safetensors")


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"checkpoint_every": 1}, 6),
        # Workers, accumulation, balance; the kill falls between two checkpoints.
        ({"accumulate": 2, "data": {"num_workers": 2, "balanced": True}}, 7),
    ],
    ids=["every_step", "workers"],
)
def test_killed_and_resumed_equals_uninterrupted(clips, tmp_path, options, lines):
    whole = train(configuration(clips, tmp_path / "whole", **options))
    config = tmp_path / "whole" / "config.yaml"
    command = [sys.executable, "-m", "sightsound", "train", "--config", str(config)]
    command += ["--output", str(tmp_path / "killed")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    metrics = tmp_path / "killed" / "metrics.jsonl"
    while not (metrics.is_file() and len(metrics.read_text().splitlines()) >= lines):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run([*command, "--resume"], check=True, stderr=subprocess.DEVNULL)
    assert steps(tmp_path / "killed") == steps(whole)
    ours, theirs = weights(tmp_path / "killed"), weights(whole)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_accumulated_passes_give_the_same_weights(clips, tmp_path):
    whole = train(configuration(clips, tmp_path / "whole", plain=True, steps=4))
    parts = train(configuration(clips, tmp_path / "parts", plain=True, steps=4, accumulate=4))
    ours, theirs = weights(parts), weights(whole)
    for name in ours:  # sums in another order
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("keep", "step"), [("best", 1), ("last", 3)])
def test_the_model_of_the_best_or_of_the_last_validation_is_kept(
    clips, tmp_path, monkeypatch, keep, step
):
    """Scores fall from validation to validation."""
    found = iter([0.9, 0.8, 0.7])
    monkeypatch.setattr(loop, "score_clips", lambda *_, **__: ({"top1": next(found)}, []))
    options = {"steps": 3, "evaluate_every": 0.25, "batch_size": 8}  # four steps in an epoch
    run = train(configuration(clips, tmp_path / "run", keep=keep, **options))
    info = load_model(str(run / "model")).info
    score = {1: 0.9, 3: 0.7}[step]
    assert (info.provenance["step"], info.provenance["val_top1"]) == (step, score)
    assert f"its {keep} model in" in (run / "log.txt").read_text()


def test_options_work_together(clips, tmp_path):
    pytest.importorskip("tensorboard")
    run = train(
        configuration(
            clips,
            tmp_path / "run",
            steps=3,
            precision="bf16",
            optimizer="sgd",
            gradient_checkpointing=True,
            freeze=("video.patches.*",),
            tensorboard=True,
        )
    )
    assert "frozen: 2 of" in (run / "log.txt").read_text()
    assert list((run / "tensorboard").iterdir())
    assert {p.name for p in run.iterdir()} >= {"config.yaml", "environment.json", "labels.json"}
    assert all(value.isfinite().all() for value in weights(run).values())


def test_gradient_checkpointing_gives_the_same_weights(clips, tmp_path):
    one = train(configuration(clips, tmp_path / "one", steps=2))
    two = train(configuration(clips, tmp_path / "two", steps=2, gradient_checkpointing=True))
    assert all(value.equal(weights(two)[name]) for name, value in weights(one).items())


def test_two_processes_train_together(clips, tmp_path):
    options = {"accelerator": "cpu", "steps": 3, "batch_size": 4}
    first = train(configuration(clips, tmp_path / "one", **options))
    command = [sys.executable, "-m", "sightsound", "train", "--train.devices", "2"]
    command += ["--config", str(first / "config.yaml"), "--output", str(tmp_path / "two")]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=120)
    lines = [line for line in steps(tmp_path / "two") if line["kind"] == "step"]
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert (tmp_path / "two" / "model" / "model.safetensors").is_file()


def test_a_run_without_checkpoint_is_started_anew(clips, tmp_path):
    bad = tmp_path / "clips"
    shutil.copytree(clips, bad)
    for path in (bad / "train").rglob("*.mp4"):
        path.write_bytes(b"no video")
    with pytest.raises(DecodeError):
        train(configuration(bad, tmp_path / "run", steps=1))
    train(configuration(clips, tmp_path / "run", steps=1))
    assert (tmp_path / "run" / "checkpoints" / "last").is_file()


def test_resuming_with_other_clips_is_refused(clips, tmp_path):
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    (folder / "manifest.csv").unlink()
    train(configuration(folder, tmp_path / "run", steps=1))
    next((folder / "train").rglob("*.mp4")).unlink()
    with pytest.raises(
        ValueError, match="no longer holds the clips this run began with.* --init .*model"
    ):
        train(configuration(folder, tmp_path / "run", steps=1), resume=True)


def test_contradictory_data_settings_write_nothing(clips, tmp_path):
    with pytest.raises(ValueError, match="data.cache keeps decoded clips"):
        train(configuration(clips, tmp_path / "run", data={"cache": True}))
    assert not (tmp_path / "run").exists()


def test_overfit_says_whether_the_pipeline_learns(clips, tmp_path, capsys):
    run = train(configuration(clips, tmp_path / "run", overfit=4, learning_rate=3e-3))
    assert "self-test: 100% of 4 clips learnt by heart" in (run / "log.txt").read_text()


def test_init_takes_over_what_fits(clips, tmp_path):
    first = train(configuration(clips, tmp_path / "first", steps=2))
    config = configuration(clips, tmp_path / "second", steps=1, init=(str(first / "model"),))
    config.model = RUN_MODEL | {"bottleneck_tokens": 6}
    config.train.learning_rate = 0.0
    second = train(config)
    log = (second / "log.txt").read_text()
    assert (
        "taken over: " in log
        and "not taken over: fusion." in log
        and "as before: fusion.tokens" in log
    )
    ours = load_file(second / "model" / "model.safetensors")
    theirs = load_file(first / "model" / "model.safetensors")
    other = [name for name in ours if not ours[name].equal(theirs[name])]
    assert len(other) == 1 and other[0].startswith("fusion.")


def test_resuming_needs_no_weights_to_start_from(clips, tmp_path):
    first = train(configuration(clips, tmp_path / "first", steps=1))
    config = configuration(clips, tmp_path / "second", steps=2, init=(str(first / "model"),))
    second = train(config)
    before = weights(second)
    (first / "model").rename(first / "elsewhere")
    train(config, resume=True)
    assert all(value.equal(before[name]) for name, value in weights(second).items())


def test_a_finished_directory_is_not_overwritten(clips, tmp_path):
    train(configuration(clips, tmp_path / "run", steps=1))
    with pytest.raises(ValueError, match="already holds a run; give --resume"):
        train(configuration(clips, tmp_path / "run", steps=1))


def test_resuming_with_other_settings_is_refused(clips, tmp_path):
    train(configuration(clips, tmp_path / "run", steps=1))
    with pytest.raises(ValueError, match="differ from its config.yaml: train.steps"):
        train(configuration(clips, tmp_path / "run", steps=2), resume=True)


def test_two_unimodal_models_start_a_fused_one(clips, tmp_path):
    runs = {}
    for name in ("audio", "video"):
        config = configuration(clips, tmp_path / name, steps=2)
        config.model = config.model | {"modalities": [name]}
        runs[name] = train(config)
    sources = tuple(str(run / "model") for run in runs.values())
    both = train(configuration(clips, tmp_path / "both", steps=1, warmup=1.0, init=sources))
    start = weights(both)  # the rate of the only step is 0
    for name, run in runs.items():
        own = {k: v for k, v in load_model(run / "model").state_dict().items() if name in k}
        assert own and all(start[key].equal(value) for key, value in own.items())


def test_non_finite_loss_names_step_and_clips(clips, tmp_path):
    with pytest.raises(FloatingPointError, match=r"at step \d+ are not finite.*look at these"):
        train(configuration(clips, tmp_path / "run", learning_rate=1e30, clip_norm=0.0, warmup=0.0))


def test_one_class_is_nothing_to_tell_apart(clips, tmp_path):
    shutil.copytree(clips / "train" / "yellow_ring", tmp_path / "clips" / "train" / "only")
    with pytest.raises(ValueError, match="one class only, 'only': nothing to tell apart"):
        train(configuration(tmp_path / "clips", tmp_path / "run", steps=1))


def test_batch_larger_than_the_data(clips, tmp_path):
    with pytest.raises(ValueError, match="32 training clips do not fill one batch of 64"):
        train(configuration(clips, tmp_path / "run", batch_size=64))
    assert not (tmp_path / "run").exists()
