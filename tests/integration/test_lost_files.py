"""Files that break the decoder, or cannot be decoded, cost a run their clips and nothing else."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from odd_readers import OddReader
from test_training import configuration, steps

from sightsound.config.load import config_text
from sightsound.data import dataset
from sightsound.data.manifest import load_manifest
from sightsound.data.sampling import epoch_batches
from sightsound.data.synthetic import write_demo
from sightsound.media.decode import DecodeError
from sightsound.media.decode_process import DecodeProcessReader
from sightsound.train.loop import train


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """16 clips for training, among them one that hangs and one that crashes the decoder."""
    folder = tmp_path_factory.mktemp("clips")
    write_demo(folder / "all", num_train=16, num_val=0, num_test=0, seed=0, workers=0)
    shutil.move(folder / "all" / "train", folder)
    shutil.rmtree(folder / "all")
    first, second = sorted((folder / "train").rglob("*.mp4"))[3:5]
    first.rename(first.with_name("hang.mp4"))
    second.rename(second.with_name("crash.mp4"))
    return folder


@pytest.fixture
def odd_reader(monkeypatch):
    reader = DecodeProcessReader(OddReader(), 1.0)
    monkeypatch.setattr(dataset, "open_reader", lambda *arguments, **options: reader)


def problems(run: Path) -> dict[str, tuple[str, str]]:
    with (run / "problems.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {os.path.basename(row["path"]): (row["action"], row["cause"]) for row in rows}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_hangs_and_crashes_are_left_out(clips, tmp_path, odd_reader, num_workers):
    data = {"num_workers": num_workers, "bad_files": "drop"}
    run = train(configuration(clips, tmp_path / "run", data=data, steps=4, batch_size=4))
    assert len([line for line in steps(run) if line["kind"] == "step"]) == 4
    assert problems(run) == {
        "crash.mp4": ("dropped", "the decoder crashed (signal 11, SIGSEGV)"),
        "hang.mp4": ("dropped", "the decoder took longer than 1 s"),
    }


def test_by_default_the_file_is_named(clips, tmp_path, odd_reader):
    with pytest.raises(DecodeError, match="(hang|crash).mp4' from .*: the decoder (took|crashed)"):
        train(configuration(clips, tmp_path / "run", steps=4, batch_size=4))


@pytest.mark.slow
def test_a_process_without_clips_does_not_block_the_others(clips, tmp_path):
    """With one clip per batch, the bad file takes all that the second process has at step 3."""
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    data = {"bad_files": "drop"}
    config = configuration(folder, tmp_path / "run", data=data, steps=8, batch_size=1)
    rows = load_manifest(config.data, seed=config.seed).split("train")
    batches = epoch_batches(len(rows), seed=config.seed, epoch=0, batch_size=2)
    Path(rows[batches[3][1]].path).write_bytes(b"no video")
    (tmp_path / "config.yaml").write_text(config_text(config))
    command = [sys.executable, "-m", "sightsound", "train", "--config", tmp_path / "config.yaml"]
    command += ["--train.devices", "2", "--train.accelerator", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        assert process.wait(timeout=180) == 0
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
    found = [line for line in steps(tmp_path / "run") if line["kind"] == "step"]
    assert [line["step"] for line in found if not line["gradient_norm"]] == [3]  # left out by both
    assert len(found) == 8
