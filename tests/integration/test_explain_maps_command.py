"""`sightsound explain` of models that are no sums of seconds: words, tables, pictures, mistakes."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from sightsound import cli
from sightsound.data.synthetic import KINDS, write_demo
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.models.mbt import MBT
from sightsound.models.unimodal import ASTClassifier

FRONT_END = FrontEnd(
    "mbt",
    AudioFrontEnd(num_frames=200, num_mels=32, log_offset=0.01),
    VideoFrontEnd(num_frames=4, window_seconds=2.0, height=16, width=16, short_side=16),
)
LABELS = {"label": list(KINDS["demo"])}


def saved(model: torch.nn.Module, folder: Path) -> Path:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.info = dataclasses.replace(model.info, front_end=FRONT_END.to_dict(), labels=LABELS)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "videos"
    write_demo(folder, num_train=0, num_val=2, num_test=8, workers=1)
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def mbt(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    model = MBT(heads={"label": 8}, video_shape=(4, 16, 16), audio_shape=(200, 32), width=16,
                num_heads=2, depth=2, fusion_layer=1, mlp_width=16, bottleneck_tokens=2,
                video_patch=(1, 8, 8), audio_patch=(20, 8))  # fmt: skip
    return saved(model, tmp_path_factory.mktemp("models") / "mbt")


@pytest.fixture(scope="module")
def listener(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    size = dict(width=16, num_heads=2, depth=2, mlp_width=16, patch=(20, 8), stride=(20, 8))
    model = ASTClassifier(heads={"label": 8}, audio_shape=(200, 32), **size)
    return saved(model, tmp_path_factory.mktemp("models") / "ast")


def run(*argv: object) -> int:
    return cli.main([str(token) for token in argv])


def file_of(videos: Path, number: int = 0) -> Path:
    with (videos / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    return videos / rows[number]["path"]


@pytest.mark.parametrize("method", ["auto", "rollout", "grad_cam", "occlusion"])
def test_a_file_in_words(videos, mbt, capsys, method):
    assert run("explain", mbt, file_of(videos), "--method", method) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0] == str(file_of(videos))
    name = "rollout" if method == "auto" else method
    assert re.fullmatch(rf"\w+ \([\d.]+ %\), by {name}", lines[1])
    assert re.search(r"of the map: pictures \d+ %, sound \d+ %", text)
    assert re.search(
        r"of the probability: pictures [+-]?\d+ points, sound [+-]?\d+ points, from", text
    )
    assert "most at" in text and re.search(r"\d Hz +\d+ % +25 %", text)
    assert re.search(r"(upper|middle|lower|centre).* \d+ % +11 %", text)
    assert ("taken over in fusion: " in text) == (name == "rollout")
    assert ("rollout does not tell classes apart" in text) == (name == "rollout")


def test_whole_streams_in_words(videos, mbt, capsys):
    assert run("explain", mbt, file_of(videos), "--method=leave_one_out") == 0
    text = capsys.readouterr().out
    assert "of the probability is lost without it: pictures " in text and "most at" not in text


def test_methods_without_maps_have_a_line_for_each_clip_and_no_picture(
    videos, mbt, tmp_path, capsys
):
    files = [file_of(videos, 0), file_of(videos, 1)]
    assert run("explain", mbt, *files, "--method=shapley", "--output", tmp_path) == 0
    assert capsys.readouterr().out.endswith(f"\nTables: {tmp_path}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps.csv", "maps.json"]
    lines = table((tmp_path / "maps.csv").read_text())
    assert [line["id"] for line in lines] == list(map(str, files))
    assert all(float(line["audio_shapley"]) for line in lines)


def test_a_model_of_sound_alone(videos, listener, capsys):
    assert run("explain", listener, file_of(videos), "--format=json") == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["method"] == "rollout" and record["shares"] == {"audio": 1.0}
    assert record["shapley"] is None and set(record["maps"]) == {"audio"}


def test_tables_and_pictures_are_written(videos, mbt, tmp_path, capsys):
    files = [file_of(videos, 0), file_of(videos, 1)]
    options = ["--method=occlusion", "--output", tmp_path, "--class=yellow_ring", "--format=csv"]
    assert run("explain", mbt, *files, *options) == 0
    printed = table(capsys.readouterr().out)
    assert printed == table((tmp_path / "maps.csv").read_text())
    records = json.loads((tmp_path / "maps.json").read_text())
    assert [record["id"] for record in records] == list(map(str, files))
    for record in records:
        assert record["class"] == "yellow_ring"
        cells = [line for line in printed if line["id"] == record["id"]]
        video = [float(line["value"]) for line in cells if line["modality"] == "video"]
        np.testing.assert_allclose(video, np.ravel(record["maps"]["video"]))
        sound = [line for line in cells if line["modality"] == "audio"]
        assert len(sound) == np.size(record["maps"]["audio"]) == 128
        assert float(sound[0]["start_seconds"]) == 0 and float(sound[-1]["end_seconds"]) == 2
        assert 20 < float(sound[0]["low_hz"]) < float(sound[0]["high_hz"])
        assert sound[0]["high_hz"] == sound[1]["low_hz"]
        assert float(sound[-1]["high_hz"]) < 8000
        assert imread(tmp_path / f"{Path(record['id']).name}.png").std() > 0.05
    names = ["maps.csv", "maps.json", *(f"{file.name}.png" for file in files)]
    assert set(names) <= {path.name for path in tmp_path.iterdir()}


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_split_has_a_line_for_each_clip(videos, mbt, tmp_path, capsys):
    options = ["--split=test", "--num_workers=0", "--output", tmp_path]
    assert run("explain", mbt, videos, *options, "--heads=max") == 0
    text = capsys.readouterr().out
    assert text.startswith(f"8 clips of {videos / 'manifest.csv'}, split test (ids ")
    for part in ("By rollout, mean over clips:", "of the map: pictures ", " (Shapley)"):
        assert part in text
    assert re.search(
        r"sound: \d+ % of the map in its best quarter of the mel bins, 25 % if it", text
    )
    lines = table((tmp_path / "rollout.csv").read_text())
    assert len(lines) == 8
    for line in lines:
        assert float(line["video_share"]) + float(line["audio_share"]) == pytest.approx(1)
        assert line["label"] in LABELS["label"] and line["video_region_name"]
        total = float(line["video_shapley"]) + float(line["audio_shapley"]) + 1 / 8
        assert total == pytest.approx(float(line["probability"]), abs=1e-5)


def test_a_split_as_json(videos, mbt, tmp_path, capsys):
    options = ["--split=val", "--num_workers=0", "--output", tmp_path, "--format=json"]
    assert run("explain", mbt, videos, *options, "--method=grad_cam") == 0
    records = json.loads(capsys.readouterr().out)
    assert len(records) == 2 and "maps" not in records[0]
    assert {"share", "even"} < set(records[0]["places"]["video"]["second"])


def test_a_broken_file_does_not_hide_the_others(videos, mbt, capsys):
    assert run("explain", mbt, file_of(videos), videos / "broken.mp4") == 2
    told = capsys.readouterr()
    assert str(file_of(videos)) in told.out and "cannot decode" in told.err


MISTAKES = {
    "span": (["--span", "1", "2", "--output=x"], "--span goes with --method contributions, of"),
    "sums": (["--method=contributions"], "models 'mbt' are no sums of seconds; contributions are"),
    "heads": (["--heads=max", "--method=occlusion"], "--heads goes with --method rollout, not"),
    "film": (
        ["--method=shapley", "--video", "--output=x"],
        "--video goes with a method that makes maps, not with shapley",
    ),
    "class": (["--class=ring"], "unknown class 'ring'; known: blue_triangle"),
    "method": (["--method=rollot"], "rollot"),
}


@pytest.mark.parametrize(("argv", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_in_a_sentence(videos, mbt, capsys, argv, message):
    assert run("explain", mbt, file_of(videos), *argv) == 2
    told = capsys.readouterr()
    assert not told.out and message in told.err


def test_without_a_model_only_the_model_is_missing(capsys):
    assert run("explain") == 2
    told = capsys.readouterr().err
    assert told.startswith("sightsound explain: missing: MODEL (") and "DATA" not in told
