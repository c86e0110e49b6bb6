"""The commands on real files: what the README says works, as it stands there."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from stand_in_encoders import stand_in

from sightsound import cli
from sightsound.data.synthetic import write_demo
from sightsound.media.encode import write_video

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
CASES = ROOT / "tests" / "parity" / "cases" / "mbt"
TINY = [
    "--config=demo",
    "--model.width=16",
    "--model.mlp_width=32",
    "--model.num_heads=2",
    "--data.num_workers=0",
    "--train.batch_size=8",
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """48 clips in class folders below train, val and test."""
    folder = tmp_path_factory.mktemp("data") / "videos"
    write_demo(folder, num_train=24, num_val=8, num_test=16, workers=1)
    return folder


@pytest.fixture(scope="module")
def runs(videos, tmp_path_factory) -> Path:
    """Three short runs: both, audio, video."""
    folder = tmp_path_factory.mktemp("runs")
    for name, modalities in {"both": "", "audio": "[audio]", "video": "[video]"}.items():
        only = [f"--model.modalities={modalities}"] if modalities else []
        argv = ["train", videos, *TINY, *only, "--train.epochs=1", "--output", folder / name]
        assert run(*argv) == 0
    return folder


def run(*argv: object) -> int:
    return cli.main([str(token) for token in argv])


def test_evaluate_prints_every_row_and_writes_tables(videos, runs, capsys):
    capsys.readouterr()
    late = ["--late", runs / "audio", runs / "video"]
    assert run("evaluate", runs / "both", *late, "--num_workers=0", "--bootstrap=50") == 0
    text = capsys.readouterr().out
    for row in ("audio+video", "audio alone", "video alone", "audio model", "average of both"):
        assert f"\n{row}" in text
    assert "Fusion" in text and "16 clips of" in text
    folder = runs / "both" / "evaluation"
    settings = json.loads((folder / "summary.json").read_text())["settings"]
    assert (settings["views"], settings["bootstrap"]) == (1, 50), "views: of the run's recipe"
    assert {f.name for f in folder.iterdir()} == {
        "summary.json",
        "per_class.csv",
        "predictions.csv",
        "predictions.parquet",
    }


def test_evaluate_a_bare_model_directory(videos, runs, capsys, tmp_path):
    shutil.copytree(runs / "both" / "model", tmp_path / "moved")
    options = ["--views=1", "--num_workers=0", "--bootstrap=0", "--split=val"]
    assert run("evaluate", tmp_path / "moved", videos, *options) == 0
    assert "8 clips of" in capsys.readouterr().out
    assert (tmp_path / "evaluation" / "summary.json").is_file()
    assert run("evaluate", tmp_path / "moved") == 2
    assert "belongs to no run that names its data" in capsys.readouterr().err


def test_a_table_with_a_split_of_its_own_and_a_clip_without_sound(videos, runs, capsys, tmp_path):
    clips = sorted((videos / "val").rglob("*.mp4"))
    black = np.zeros((20, 64, 64, 3), np.uint8)
    write_video(tmp_path / "silent.mp4", black, frames_per_second=10, waveform=None)
    lines = [f"{clip},{clip.parent.name},held_out" for clip in clips]
    lines.append(f"silent.mp4,{clips[0].parent.name},held_out")
    (tmp_path / "clips.csv").write_text("\n".join(["path,label,split", *lines]))
    options = ["--num_workers=0", "--bootstrap=0", "--output", tmp_path / "out"]
    assert run("evaluate", runs / "both", tmp_path / "clips.csv", *options) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"9 clips of {tmp_path / 'clips.csv'}, split held_out (ids ")
    assert "audio alone: 1 clip has no such stream; this row is of the others." in text
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        silent = list(csv.DictReader(file))[-1]
    assert silent["id"] == "silent.mp4" and silent["audio alone"] == "" != silent["video alone"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (
        summary["rows"]["audio alone"]["num_clips"] == 8 and summary["absent"]["audio alone"] == 1
    )


def test_bad_files_while_evaluating(videos, runs, capsys, tmp_path):
    shutil.copytree(videos / "test", tmp_path / "clips" / "test")
    bad = sorted((tmp_path / "clips").rglob("*.mp4"))[0]
    bad.write_bytes(b"no video")
    options = ["--views=1", "--num_workers=0", "--bootstrap=0", "--output", tmp_path / "out"]
    assert run("evaluate", runs / "both", tmp_path / "clips", *options) == 2
    assert str(bad.name) in capsys.readouterr().err
    assert run("evaluate", runs / "both", tmp_path / "clips", *options, "--bad_files=drop") == 0
    text = capsys.readouterr().out
    assert "15 clips of" in text and "Files with problems: 1 dropped; the first: " in text
    assert (tmp_path / "out" / "problems.csv").is_file()


def test_predict_table_and_json(videos, runs, capsys):
    clip = sorted((videos / "test").rglob("*.mp4"))[0]
    assert run("predict", clip, "--model", runs / "both", "--views=1") == 0
    assert capsys.readouterr().out.startswith(f"{clip}\nclass ")
    assert run("predict", clip, clip, "--model", runs / "both" / "model", "--format=json") == 0
    records = json.loads(capsys.readouterr().out)
    assert len(records) == 2 and records[0]["present"] == {"audio": True, "video": True}
    assert len(records[0]["scores"]["audio+video"]) == 8


def test_predict_goes_on_after_a_bad_file(videos, runs, tmp_path, capsys):
    clip = sorted((videos / "test").rglob("*.mp4"))[0]
    (tmp_path / "bad.mp4").write_text("no video")
    files = (tmp_path / "bad.mp4", clip)
    assert run("predict", *files, "--model", runs / "both", "--views=1") == 2
    output = capsys.readouterr()
    assert output.out.startswith(f"{clip}\nclass ")
    assert f"{tmp_path / 'bad.mp4'}" in output.err and output.err.count("\n") == 1


def test_flops(capsys):
    assert run("flops", "--config", "demo", "--classes", 8) == 0
    assert "encode video" in capsys.readouterr().out


def test_convert_makes_a_model_to_start_from(test_data, tmp_path, capsys):
    folder = test_data / "reference" / "mbt"
    name = "model_rgb_only_token.npz"
    config = json.loads((folder / "INDEX.json").read_text())[name]["config"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    options = ["--config", tmp_path / "config.json", "--output", tmp_path / "model"]
    assert run("convert", "scenic", folder / name, *options) == 0
    assert f"--init {tmp_path / 'model'}" in capsys.readouterr().out
    clip = test_data / "data" / "media_zoo" / "base_h264_aac.mp4"
    assert run("predict", clip, "--model", tmp_path / "model", "--format", "json") == 0
    assert len(json.loads(capsys.readouterr().out)[0]["scores"]["video"]) == 7


def test_demo_goes_through_and_starts_over(tmp_path, capsys):
    from sightsound.demo import run_demo

    numbers = {"num_train": 16, "num_val": 8, "num_test": 8}
    short = {"train.epochs": 1, "data.num_workers": 0, "model.width": 16}
    for _ in range(2):  # the second time everything is there
        prediction = run_demo(tmp_path, numbers=numbers, overrides=short)
        text = capsys.readouterr().out
        assert "It shows blue_triangle_high_tone" in text
        assert f"Everything is in {tmp_path}:" in text
    assert set(prediction.scores) == {"audio+video", "audio", "video"}
    for picture in ("confusion.png", "clip.png"):
        assert (tmp_path / "pictures" / picture).stat().st_size > 10_000


def readme_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.S)


def write_vggsound(folder: Path, videos: Path) -> None:
    """The training and test clips of `videos` as VGGSound names them, in `folder`/clips."""
    (folder / "clips").mkdir()
    lines = []
    for number, clip in enumerate(sorted(videos.glob("t*/*/*.mp4"))):
        name, split = f"clip-{number:06d}", clip.parts[-3]
        shutil.copy(clip, folder / "clips" / f"{name}_{number:06d}.mp4")
        lines.append(f"{name},{number},{clip.parts[-2]},{split}\n")
    (folder / "vggsound.csv").write_text("".join(lines))


def test_readme_commands(videos, tmp_path, monkeypatch, capsys):
    """The tour, word for word, on a few clips and with less work."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(videos, tmp_path / "videos")
    table = (tmp_path / "videos" / "manifest.csv").read_text().splitlines()
    (tmp_path / "videos" / "manifest.csv").unlink()
    rows = [f"videos/{row}" for row in table[1:]]
    (tmp_path / "audioset.csv").write_text("\n".join([table[0], *rows]) + "\n")
    shutil.copy(CASES / "checkpoint_5", tmp_path / "checkpoint_15900")
    clip = sorted((videos / "test").rglob("*.mp4"))[0]
    shutil.copy(clip, tmp_path / "some.mp4")
    write_vggsound(tmp_path, videos)
    stand_in(monkeypatch, small=True)
    lines = "".join(readme_blocks("sh")).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in lines if "sightsound" in line]
    assert len(commands) >= 4
    less = {
        "train": ["--train.epochs=1", "--train.batch_size=8", "--data.num_workers=0"],
        "pretrain": ["--train.epochs=1", "--train.batch_size=8", "--data.num_workers=0"],
        "evaluate": ["--num_workers=0"],
        "report": ["--num_workers=0"],
        "probe": ["--num_workers=0", "--clips=8", "--checks=swap,knockout"],
        "ablate": ["--dry_run", "--model.size=tiny"],
    }
    for command in commands:
        extra = less.get(command[0], [])
        if "mafnet/first" in command:
            extra = [*extra, "--front_end.features.segments=2", "--front_end.video.short_side=32"]
        large = {"mbt/paper-audioset", "avt/first"} & set(command) and command[0] == "train"
        if "--overfit" in command or large:
            extra = [*extra, "--print_config"]
        assert run(*command, *extra) == 0, command
        assert capsys.readouterr().out
    (python,) = readme_blocks("python")
    exec(compile(python, "README.md", "exec"), {})
    assert "'audio': True" in capsys.readouterr().out


@pytest.mark.parametrize(("command", "limit"), [("", 0.5)] + [(name, 2.5) for name in cli.COMMANDS])
def test_help_is_fast(command, limit):
    """The better of three: other work on the machine is not what is measured."""
    argv = [sys.executable, "-m", "sightsound", *([command] if command else []), "--help"]
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(argv, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
        if seconds[-1] < limit:
            break
    assert min(seconds) < limit
