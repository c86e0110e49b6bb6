"""`predict --window`: files in a folder, Ctrl-C at any time, and going on."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from sightsound import cli
from sightsound.media.encode import write_video
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.media.sequential import SequentialReader
from sightsound.models.mbt import MBT
from sightsound.timeline.folder import RESULTS

FRONT_END = FrontEnd(
    "tiny",
    AudioFrontEnd(num_frames=32, num_mels=16, log_offset=1e-6, mean=-3.0, deviation=4.0),
    VideoFrontEnd(num_frames=4, window_seconds=0.32, height=16, width=16, short_side=16),
)
TINY = dict(
    heads={"label": 3},
    video_shape=(4, 16, 16),
    audio_shape=(32, 16),
    width=8,
    num_heads=2,
    depth=2,
    fusion_layer=1,
    video_patch=(1, 8, 8),
    audio_patch=(8, 8),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A film of eight seconds and two models."""
    folder = tmp_path_factory.mktemp("files")
    frames = np.random.default_rng(0).integers(0, 255, (80, 32, 32, 3), dtype=np.uint8)
    sound = 0.3 * np.sin(np.arange(8 * 16000) / 5).astype(np.float32)
    write_video(folder / "film.mp4", frames, frames_per_second=10, waveform=sound)
    torch.manual_seed(0)
    for name in ("model", "other"):
        model = MBT(**TINY)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter))
        labels = {"label": ["cat", "dog", "owl"]}
        info = dataclasses.replace(model.info, front_end=FRONT_END.to_dict(), labels=labels)
        model.info = info
        model.save_pretrained(folder / name)
    return folder


def run(files: Path, *more: object, model: str = "model", file: str = "film.mp4") -> int:
    given = (files / file, "--model", files / model, "--window", 0.32, "--hop", 0.1, *more)
    return cli.main(["predict", *map(str, given)])


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole(files) -> dict[str, bytes]:
    """What a run that nothing interrupts writes."""
    assert run(files, "--output", files / "whole") == 0
    return content(files / "whole")


def test_what_is_written_and_said(files, whole, capsys):
    assert set(whole) == {"settings.json", "timeline.csv", *RESULTS}
    lines = whole["timeline.csv"].decode().splitlines()
    rows = list(csv.DictReader(lines))
    assert len(rows) == 3 * 78 and rows[-1]["end_seconds"].startswith("8")
    assert len(json.loads(whole["timeline.json"])["windows"]) == 78
    assert run(files, "--output", files / "whole") == 0  # all is there already
    out = capsys.readouterr().out
    assert "78 windows of 0.32 s every 0.1 s" in out
    assert "written to" in out and "timeline.csv, timeline.json, timeline.srt" in out
    assert content(files / "whole") == whole


@pytest.mark.parametrize("kind", ["json", "csv", "srt", "vtt"])
def test_formats(files, whole, kind, capsys):
    assert run(files, "--format", kind) == 0
    assert capsys.readouterr().out.rstrip() == whole[f"timeline.{kind}"].decode().rstrip()


def interrupted(monkeypatch, *, after: int):
    """A real Ctrl-C while the file is decoded."""
    frames, calls = SequentialReader.frames, []

    def disturbed(self, *args, **kwargs):
        calls.append(args)
        if len(calls) == after:
            os.kill(os.getpid(), signal.SIGINT)
        return frames(self, *args, **kwargs)

    monkeypatch.setattr(SequentialReader, "frames", disturbed)
    return calls


def test_ctrl_c_leaves_whole_lines_and_the_same_command_goes_on(
    files, whole, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        interrupted(patch, after=40)
        assert run(files, "--output", tmp_path / "a") == 130
    assert "interrupted at 0:03.4; the same command goes on where it" in capsys.readouterr().err
    assert set(content(tmp_path / "a")) == {"settings.json", "timeline.csv"}
    text = (tmp_path / "a" / "timeline.csv").read_bytes()
    assert whole["timeline.csv"].startswith(text) and text.endswith(b"\n")
    assert text.count(b"\n") == 1 + 3 * 32
    with (tmp_path / "a" / "timeline.csv").open("ab") as file:  # as a power failure leaves it
        rest = whole["timeline.csv"][len(text) :].split(b"\n")
        file.write(b"\n".join(rest[:3])[:-2])  # the last number of a window is cut
    with monkeypatch.context() as patch:
        calls = interrupted(patch, after=-1)
        assert run(files, "--output", tmp_path / "a") == 0
    assert len(calls) <= 78 - 32
    assert content(tmp_path / "a") == whole


def test_ctrl_c_without_a_folder_shows_what_is_finished(files, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupted(patch, after=40)
        assert run(files) == 130
    found = capsys.readouterr()
    assert "0:00 to 0:03.4: 32 windows of 0.32 s every 0.1 s, of 78" in found.out
    assert "interrupted; --start_seconds 3.2 goes on from there (with --output DIR" in found.err
    with monkeypatch.context() as patch:
        interrupted(patch, after=1)
        assert run(files) == 130
    assert "interrupted; no window was finished" in capsys.readouterr().err


def test_a_folder_holds_one_timeline(files, whole, capsys):
    assert run(files, "--output", files / "whole", model="other") == 2
    message = "holds a timeline with other settings (weights); give another --output, or delete"
    assert message in capsys.readouterr().err
    assert run(files, "--output", files / "whole", "--end_seconds", 4) == 2
    assert "other settings (end_seconds)" in capsys.readouterr().err
    assert content(files / "whole") == whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hop", "1"], "--hop is for scores over time; add --window SECONDS, such as --window"),
        (["--output", "a"], "--output is for scores over time"),
        (["--threshold", ".3"], "--threshold is for scores over time"),
        (["--format", "srt"], "--format srt is for scores over time"),
        (["--window", "1", "--views", "2"], "--views does not go with --window: every window is"),
        (["film.mp4", "--window", "1"], "--window looks at one file at a time; 2 are given"),
        (["--window", "1", "--threshold", "2"], "threshold is 2; accepted: above 0, at most 1"),
        (["--window", "1", "--hop", "2"], "window is 1 s and hop 2 s; accepted: a hop of at"),
        (["--window", "1", "--start_seconds", "9"], "the stretch from 9 s to 8"),
    ],
)
def test_mistakes(files, options, message, capsys, monkeypatch):
    monkeypatch.chdir(files)
    assert cli.main(["predict", "film.mp4", "--model", "model", *options]) == 2
    assert message in capsys.readouterr().err


def test_windows_shorter_than_a_second_follow_one_another(files, capsys):
    given = ("--model", files / "model", "--window", 0.25, "--end_seconds", 1)
    assert cli.main(["predict", str(files / "film.mp4"), *map(str, given)]) == 0
    assert "0:00 to 0:01: 4 windows of 0.25 s every 0.25 s" in capsys.readouterr().out
