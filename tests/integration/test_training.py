"""Training on real files: killed and resumed, self-tested, started from another model."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from sightsound.data.synthetic import write_demo
from sightsound.run import RunConfig
from sightsound.settings import AugmentSettings, DataSettings, TrainSettings
from sightsound.train.loop import train

MODEL = {
    "name": "mbt",
    "width": 16,
    "depth": 2,
    "num_heads": 2,
    "mlp_width": 32,
    "fusion_layer": 1,
    "video_patch": [1, 16, 16],
    "audio_patch": [20, 16],
    "stochastic_depth": 0.2,
}
FRONT_END = {
    "name": "mbt",
    "audio": {"num_frames": 200, "num_mels": 64},
    "video": {"num_frames": 2, "window_seconds": 2.0, "height": 32, "width": 32, "short_side": 32},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_demo(folder, num_train=32, num_val=8, num_test=8, seed=0)
    return folder


def configuration(clips: Path, output: Path, **train_settings) -> RunConfig:
    settings = {"steps": 12, "batch_size": 8, "evaluate_every": 1.0, **train_settings}
    return RunConfig(
        model=MODEL,
        front_end=FRONT_END,
        data=DataSettings(path=str(clips), num_workers=0, windows="random", crop="random"),
        augment=AugmentSettings(
            time_masks=1, time_mask_frames=20, mixup_alpha=0.3, modality_mixup=True, drop_audio=0.2
        ),
        train=TrainSettings(**settings),
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


def test_killed_and_resumed_equals_uninterrupted(clips, tmp_path):
    whole = train(configuration(clips, tmp_path / "whole", checkpoint_every=1))
    config = tmp_path / "whole" / "config.yaml"
    command = [sys.executable, "-m", "sightsound", "train", "--config", str(config)]
    command += ["--output", str(tmp_path / "killed")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    metrics = tmp_path / "killed" / "metrics.jsonl"
    while not (metrics.is_file() and len(metrics.read_text().splitlines()) >= 6):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run([*command, "--resume"], check=True, stderr=subprocess.DEVNULL)
    assert steps(tmp_path / "killed") == steps(whole)
    ours, theirs = weights(tmp_path / "killed"), weights(whole)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_accumulated_passes_cover_the_same_clips(clips, tmp_path):
    run = train(configuration(clips, tmp_path / "run", steps=4, accumulate=2))
    assert len([line for line in steps(run) if line["kind"] == "step"]) == 4


def test_overfit_says_whether_the_pipeline_learns(clips, tmp_path, capsys):
    run = train(configuration(clips, tmp_path / "run", overfit=4, learning_rate=3e-3))
    assert "self-test: 100% of 4 clips learnt by heart" in (run / "log.txt").read_text()


def test_init_takes_over_what_fits(clips, tmp_path):
    first = train(configuration(clips, tmp_path / "first", steps=2))
    config = configuration(clips, tmp_path / "second", steps=1, init=str(first / "model"))
    config.model = MODEL | {"bottleneck_tokens": 6}
    config.train.learning_rate = 0.0
    second = train(config)
    log = (second / "log.txt").read_text()
    assert "taken over: " in log and "not taken over: fusion." in log and "random start: f" in log
    ours = load_file(second / "model" / "model.safetensors")
    theirs = load_file(first / "model" / "model.safetensors")
    other = [name for name in ours if not ours[name].equal(theirs[name])]
    assert len(other) == 1 and other[0].startswith("fusion.")


def test_a_finished_directory_is_not_overwritten(clips, tmp_path):
    train(configuration(clips, tmp_path / "run", steps=1))
    with pytest.raises(ValueError, match="already holds a run; give --resume"):
        train(configuration(clips, tmp_path / "run", steps=1))


def test_resuming_with_other_settings_is_refused(clips, tmp_path):
    train(configuration(clips, tmp_path / "run", steps=1))
    with pytest.raises(ValueError, match="differ from its config.yaml: train.steps"):
        train(configuration(clips, tmp_path / "run", steps=2), resume=True)


def test_non_finite_loss_names_step_and_clips(clips, tmp_path):
    with pytest.raises(FloatingPointError, match=r"at step \d+ are not finite.*look at these"):
        train(configuration(clips, tmp_path / "run", learning_rate=1e30, clip_norm=0.0, warmup=0.0))


def test_batch_larger_than_the_data(clips, tmp_path):
    with pytest.raises(ValueError, match="32 training clips do not fill one batch of 64"):
        train(configuration(clips, tmp_path / "run", batch_size=64))
    assert not (tmp_path / "run").exists()
