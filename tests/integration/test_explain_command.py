"""From a run trained on frozen features to explanations of files and splits; small encoders."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from matplotlib.image import imread
from torch import nn

from sightsound import cli
from sightsound.data.synthetic import write_demo
from sightsound.media.front_end import AudioFrontEnd, VideoFrontEnd

FEATURES = "--front_end.features."
TINY = [
    "--config=mafnet/drone_av",
    f"{FEATURES}video_encoder=pictures:",
    f"{FEATURES}audio_encoder=sounds:",
    f"{FEATURES}segments=2",
    "--model.width=16",
    "--data.num_workers=0",
    "--train.batch_size=8",
    "--train.epochs=2",
]


class Pictures(nn.Module):
    """Means of the four quarters of a frame."""

    modality, reads_waveform, source, feature_shape = "video", False, "pictures", (2, 2, 3)
    front_end = VideoFrontEnd(num_frames=1, window_seconds=1.0, height=16, width=16, short_side=16)

    def forward(self, x):
        return nn.functional.avg_pool2d(x, 8).permute(0, 2, 3, 1)


class Sounds(nn.Module):
    """Means of the two halves of a second's log-mel."""

    modality, reads_waveform, source, feature_shape = "audio", False, "sounds", (2, 1, 8)
    front_end = AudioFrontEnd(num_frames=96, num_mels=8, log_offset=0.01)

    def forward(self, x):
        return x[:, 0].unflatten(1, (2, -1)).mean(2)[:, :, None]


@pytest.fixture(scope="module")
def encoders():
    with pytest.MonkeyPatch.context() as patch:
        table = {"pictures:": Pictures(), "sounds:": Sounds()}
        hashes = {"pictures": "1" * 64, "sounds": "2" * 64}
        patch.setattr("sightsound.features.load.load_encoder", table.__getitem__)
        patch.setattr("sightsound.features.load.weights_hash", hashes.__getitem__)
        yield


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "videos"
    write_demo(folder, num_train=16, num_val=8, num_test=8, workers=1)
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def trained(videos, encoders, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a"
    assert run("train", videos, *TINY, "--output", folder) == 0
    return folder


def run(*argv: object) -> int:
    return cli.main([str(token) for token in argv])


def clips_of(videos: Path, split: str) -> list[str]:
    with (videos / "manifest.csv").open(newline="") as file:
        return [row["path"] for row in csv.DictReader(file) if row["split"] == split]


def test_a_split_is_explained_from_stored_features(videos, trained, capsys):
    capsys.readouterr()
    assert run("explain", trained, "--split=test", "--num_workers=0") == 0
    text, folder = capsys.readouterr().out, trained / "explanation"
    assert text.startswith(f"8 clips of {videos / 'manifest.csv'}, split test (ids ")
    for part in ("Attention: pictures ", "in all 8 clips.", "Without a random cell, ", str(folder)):
        assert part in text
    names = ["clips.csv", "contributions.csv", "contributions.parquet", "deletion.json"]
    assert sorted(file.name for file in folder.iterdir()) == names
    with (folder / "clips.csv").open(newline="") as file:
        clips = list(csv.DictReader(file))
    assert [clip["id"] for clip in clips] == clips_of(videos, "test")
    assert max(float(clip["error"]) for clip in clips) < 1e-5
    cells = pyarrow.parquet.read_table(folder / "contributions.parquet").to_pylist()
    assert len(cells) == 8 * 2 * 2
    for clip in clips:  # the file alone proves the sum
        own = [cell["contribution"] for cell in cells if cell["id"] == clip["id"]]
        assert sum(own) + float(clip["constant"]) == pytest.approx(float(clip["logit"]), abs=1e-5)
    deletion = json.loads((folder / "deletion.json").read_text())
    drops = [float(clip["evidence_drop"]) for clip in clips]
    assert deletion["num_clips"] == 8
    assert deletion["mean_drop"]["evidence"] == pytest.approx(np.mean(drops))


def test_clips_by_id_are_encoded_anew_to_the_same_numbers(videos, trained, tmp_path, capsys):
    clip = clips_of(videos, "val")[3]
    capsys.readouterr()
    options = ["--split=val", "--num_workers=0", "--output", tmp_path / "all", "--format=csv"]
    assert run("explain", trained, *options) == 0
    stored = [x for x in csv.DictReader(capsys.readouterr().out.splitlines()) if x["id"] == clip]
    one = ["--clip", clip, "--output", tmp_path / "one", "--format=csv", "--span", "0.5", "1"]
    assert run("explain", trained, *one) == 0
    fresh = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert len(fresh) == len(stored) == 4
    for old, new in zip(stored, fresh, strict=True):
        assert float(old["contribution"]) == pytest.approx(float(new["contribution"]), abs=1e-5)
    name = Path(clip).name
    written = ["contributions.csv", "contributions.json", f"{name}.png"]
    assert sorted(file.name for file in (tmp_path / "one").iterdir()) == sorted(written)
    assert imread(tmp_path / "one" / f"{name}.png").std() > 0.05


def test_files_are_explained_and_a_broken_one_does_not_hide_the_others(videos, trained, capsys):
    file = videos / clips_of(videos, "test")[0]
    capsys.readouterr()
    assert run("explain", trained, file, videos / "broken.mp4", "--format=json") == 2
    told = capsys.readouterr()
    (record,) = json.loads(told.out)
    assert record["id"] == str(file) and len(record["classes"]) > 2
    assert f"cannot decode '{videos / 'broken.mp4'}'" in told.err and told.err.count("\n") == 1


def test_one_command_goes_from_a_file_to_an_explained_label(videos, trained, capsys):
    file = videos / clips_of(videos, "test")[0]
    capsys.readouterr()
    assert run("predict", file, "--model", trained) == 0
    table = capsys.readouterr().out
    assert run("predict", file, "--model", trained, "--format=json") == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["explanation"]["sentence"] in table and "above all " in table
    assert len(record["explanation"]["cells"]) == 4
    assert run("explain", trained, file) == 0
    assert record["explanation"]["sentence"] in capsys.readouterr().out


def test_pictures_of_the_same_name_are_kept_apart(videos, trained, tmp_path):
    first, second = clips_of(videos, "test")[:2]
    files = [tmp_path / "a" / "x.mp4", tmp_path / "b" / "x.mp4"]
    for file, source in zip(files, (first, second), strict=True):
        file.parent.mkdir()
        file.write_bytes((videos / source).read_bytes())
    assert run("explain", trained, *files, "--output", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


def test_bad_files_of_a_split_are_left_out_and_counted(videos, trained, tmp_path, capsys):
    with (videos / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"][:2]
    rows += [{**rows[0], "path": name} for name in ("broken.mp4", "missing.mp4")]
    table = videos / "bad.csv"
    lines = [f"{row['path']},{row['label']},test" for row in rows]
    table.write_text("\n".join(["path,label,split", *lines]) + "\n")
    options = ["--split=test", "--num_workers=0", "--output", tmp_path]
    assert run("explain", trained, table, *options) == 2
    assert "missing.mp4" in capsys.readouterr().err
    assert run("explain", trained, table, *options, "--bad_files=drop", "--format=table") == 0
    text = capsys.readouterr().out
    assert text.startswith("2 clips of ") and "Files with problems: 2; the first: " in text


MISTAKES = {
    "no data set": (["{videos}", "{file}"], "is a data set, but 2 paths are given; accepted: one"),
    "split of files": (["{file}", "--split=test"], "--clip and --split choose from a data set"),
    "both": (["--clip=x", "--split=test"], "--clip and --split do not go together: ids are"),
    "no clip": (["--clip=x.mp4"], "no clip 'x.mp4' in "),
    "times of data": (["--end_seconds=2"], "--start_seconds and --end_seconds go with files"),
    "span of all": (["--span", "1", "2"], "--span goes with the picture of one clip: name it"),
    "span": (["{file}", "--output=x", "--span", "2", "1"], r"--span is \[2.0, 1.0\]; accepted: a"),
    "class": (["{file}", "--class=nothing"], "unknown class 'nothing'; known: "),
    "no file": (["none.mp4"], "no such file or folder: 'none.mp4'"),
}


@pytest.mark.parametrize(("argv", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_in_a_sentence(videos, trained, capsys, argv, message):
    names = {"videos": videos, "file": videos / clips_of(videos, "test")[0]}
    capsys.readouterr()
    assert run("explain", trained, *(token.format(**names) for token in argv)) == 2
    told = capsys.readouterr()
    assert not told.out and told.err.count("\n") == 1
    assert re.search(message, told.err)


def test_a_model_without_a_run_needs_data(trained, tmp_path, capsys):
    shutil.copytree(trained / "model", tmp_path / "model")
    assert run("explain", tmp_path / "model") == 2
    assert "belongs to no run that names its data; name a DATA" in capsys.readouterr().err
