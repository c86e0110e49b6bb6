"""`sightsound extract`, and the command it says comes next."""

import shlex

import pytest
from stand_in_encoders import stand_in

from sightsound.cli import main
from sightsound.data.synthetic import write_demo

VIDEO = ["--video_encoder", "mobilenet_v2:a.npz"]
AUDIO = ["--audio_encoder", "yamnet:b.npz"]


@pytest.mark.parametrize("encoders", [VIDEO + AUDIO, VIDEO, AUDIO], ids=["both", "video", "audio"])
def test_the_command_it_names_trains_on_its_features(encoders, tmp_path, monkeypatch, capsys):
    stand_in(monkeypatch, small=True)
    monkeypatch.chdir(tmp_path)
    write_demo(tmp_path / "videos", num_train=16, num_val=8, num_test=1, workers=1)
    common = ["--data.num_workers", "0"]
    assert main(["extract", "videos", *encoders, "--segments", "2", *common]) == 0
    said = capsys.readouterr().out
    assert "25 clips, 25 of them new, in features" in said
    words = shlex.split(said.split("Train on them:\n")[1].splitlines()[0])
    before = sorted((tmp_path / "features").rglob("*"))
    few = ["--train.batch_size", "8", "--train.steps", "1", "--output", "run"]
    assert words[:3] == ["sightsound", "train", "videos"]
    assert main([*words[1:], *few, *common, "--train.accelerator", "cpu"]) == 0
    assert sorted((tmp_path / "features").rglob("*")) == before  # nothing computed anew
