"""UniFormer and AST alone, from files to a prediction."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightsound.cli import main
from sightsound.data.synthetic import write_demo

FRONT_END = """
front_end:
  name: ast
  audio: {num_frames: 96, num_mels: 32}
  video: {num_frames: 3, stride_seconds: 0.5, height: 32, width: 32, short_side: 32}
"""
TRAIN = """
data: {num_workers: 0}
train: {steps: 2, batch_size: 4, gradient_checkpointing: true, learning_rate: 0.001}
"""
MODELS = {
    "ast": "model: {name: ast, width: 16, depth: 2, num_heads: 2, stochastic_depth: 0.1}",
    "uniformer": "model: {name: uniformer, widths: [4, 8, 8, 16], depths: [1, 1, 1, 1], "
    "head_width: 8, stochastic_depth: 0.1, statistics: shared}",
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_demo(folder, num_train=8, num_val=8, num_test=8, seed=0)
    return folder


@pytest.mark.parametrize("name, stream", [("ast", "audio"), ("uniformer", "video")])
def test_train_and_predict(clips: Path, tmp_path, capsys, name: str, stream: str):
    recipe, run = tmp_path / "recipe.yaml", str(tmp_path / "run")
    recipe.write_text(MODELS[name] + FRONT_END + TRAIN)
    assert main(["train", str(clips), "--config", str(recipe), "--output", run]) == 0
    capsys.readouterr()
    clip = next((clips / "test").rglob("*.mp4"))
    assert main(["predict", str(clip), "--model", run]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["class", stream]
