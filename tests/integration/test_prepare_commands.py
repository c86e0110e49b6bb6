"""`prepare`, then `train` and `evaluate` on shards; the same shards from Ray, a worker killed."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sightsound.cli import main
from sightsound.data.synthetic import write_demo

SMALL = ["--clips_per_shard", "4"]
TINY = {
    "front_end.video.height": 16,
    "front_end.video.width": 16,
    "front_end.video.short_side": 16,
    "model.width": 16,
    "model.num_heads": 2,
    "model.depth": 2,
    "model.fusion_layer": 1,
    "train.epochs": 1,
    "train.batch_size": 8,
    "data.num_workers": 0,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a small generated set."""
    folder = tmp_path_factory.mktemp("prepare")
    write_demo(folder / "clips", num_train=16, num_val=8, num_test=8, workers=1)
    return folder


@pytest.fixture(scope="module")
def shards(folder):
    assert main(["prepare", str(folder / "clips"), "--output", str(folder / "shards"), *SMALL]) == 0
    return folder / "shards"


def test_training_and_evaluation_take_shards(folder, shards, capsys):
    options = [part for name, value in TINY.items() for part in (f"--{name}", str(value))]
    run = folder / "run"
    assert main(["train", str(shards), "--config", "demo", "--output", str(run), *options]) == 0
    assert main(["evaluate", str(run), str(shards), "--num_workers", "0", "--bootstrap", "0"]) == 0
    assert f"8 clips of {shards / 'index.parquet'}, split test" in capsys.readouterr().out
    with (folder / "clips" / "manifest.csv").open(newline="") as file:
        ids = [row["path"] for row in csv.DictReader(file) if row["split"] == "test"]
    with (run / "evaluation" / "predictions.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ids


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_without_ray_the_error_says_what_to_install(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    options = ["--output", str(tmp_path / "shards"), "--ray", "local"]
    assert main(["prepare", str(folder / "clips"), *options]) == 2
    assert "needs the package 'ray'" in (error := capsys.readouterr().err)
    assert "pip install 'sightsound[dist]'" in error


@pytest.mark.slow
def test_ray_writes_the_same_though_a_worker_is_killed(folder, shards):
    pytest.importorskip("ray", reason="the extra dist is not installed")
    output = folder / "ray"
    command = [sys.executable, "-m", "sightsound", "prepare", str(folder / "clips")]
    options = ["--output", str(output), "--ray", "local", "--num_workers", "2", *SMALL]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    killed = kill_a_worker(process, output)
    out, errors = process.communicate(timeout=300)
    assert killed, "no worker was at work"
    assert (process.returncode, errors) == (0, "")
    assert "32 clips in 8 shards" in out
    assert content(output) == content(shards)


@pytest.mark.slow
def test_a_ray_cluster_that_is_not_there(folder, tmp_path, capsys):
    pytest.importorskip("ray", reason="the extra dist is not installed")
    options = ["--output", str(tmp_path / "shards"), "--ray", "auto"]
    assert main(["prepare", str(folder / "clips"), *options]) == 2
    assert "no Ray cluster at 'auto' (" in capsys.readouterr().err


def kill_a_worker(process, output) -> bool:
    """End, as a crash would, the parent of a decoding process while a shard is being written."""
    while process.poll() is None:
        if list(output.glob(".writing-*.tar-*")):
            for worker in workers_below(process.pid):
                os.kill(worker, signal.SIGKILL)
                return True
        time.sleep(0.002)
    return False


def workers_below(pid: int) -> list[int]:
    """Ray's worker processes that have a decoding process of ours."""
    parents, names = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status = (entry / "stat").read_text()
            names[int(entry.name)] = (entry / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
    ours = [child for child, name in names.items() if b"decode_process import _serve" in name]
    return [parents[c] for c in ours if pid in ancestors(c, parents) and parents[c] != pid]


def ancestors(pid: int, parents: dict[int, int]) -> set[int]:
    found = set()
    while pid in parents and parents[pid] not in found:
        pid = parents[pid]
        found.add(pid)
    return found
