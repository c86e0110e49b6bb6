"""From official annotation files and clips on disk to a trained and scored model."""

from __future__ import annotations

import json

from dataset_files import put

from sightsound import cli
from sightsound.data.synthetic import write_demo

TINY = "--model.width=16 --model.mlp_width=32 --model.num_heads=2 --train.batch_size=8".split()


def test_a_manifest_trains_and_is_scored(tmp_path, capsys):
    clips = tmp_path / "clips"
    write_demo(clips, num_train=16, num_val=0, num_test=8, workers=1)
    lines = []
    for index, path in enumerate(sorted(clips.rglob("*.mp4"))):
        split, label = path.parts[-3:-1]
        lines.append(f"-bcdefgh{index:03d},30,{label},{split}")
        path.rename(path.with_name(f"-bcdefgh{index:03d}_000030.mp4"))
    lines.append("-gone_today,0,nothing left,test")
    table = put(tmp_path, "vggsound.csv", "\n".join(lines))
    output = tmp_path / "list" / "vgg.csv"
    argv = ["vggsound", str(table), "--media", str(clips), "--output", str(output)]
    assert cli.main(["manifest", *argv]) == 0
    run = str(tmp_path / "run")
    small = [*TINY, "--train.epochs=1", "--data.num_workers=0"]
    assert cli.main(["train", str(output), "--config", "demo", "--output", run, *small]) == 0
    labels = json.loads((output.parent / "labels.json").read_text())
    assert "nothing left" in labels
    capsys.readouterr()
    assert cli.main(["evaluate", run, "--num_workers=0", "--bootstrap=0", "--views=1"]) == 0
    assert "8 clips" in capsys.readouterr().out
