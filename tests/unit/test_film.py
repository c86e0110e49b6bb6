"""`explain --video` and contact sheets: the films of a model's maps, with scores meanwhile."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from sightsound.cli import main
from sightsound.media.encode import write_video
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.media.probe import probe
from sightsound.media.reader import FileReader
from sightsound.models.mbt import MBT
from sightsound.predict import Predictor
from sightsound.preview.model_inputs import evaluation_view
from sightsound.timeline.events import cell_scores
from sightsound.timeline.film import score_curves
from sightsound.timeline.score import make_timeline

FRONT_END = FrontEnd(
    "tiny",
    AudioFrontEnd(num_frames=100, num_mels=16, log_offset=1e-6, mean=-3.0, deviation=4.0),
    VideoFrontEnd(num_frames=4, window_seconds=1.0, height=16, width=32, short_side=16),
)


@pytest.fixture(autouse=True)
def no_decoding_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sightsound.data.dataset.open_reader", lambda *_, **__: FileReader())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and clips a class each."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("film")
    model = MBT(
        heads={"label": 2},
        video_shape=(4, 16, 32),
        audio_shape=(100, 16),
        width=16,
        depth=2,
        num_heads=2,
        mlp_width=32,
        fusion_layer=1,
        video_patch=(1, 8, 8),
        audio_patch=(20, 16),
    )
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    labels = {"label": ["cat", "dog"]}
    model.info = dataclasses.replace(model.info, front_end=FRONT_END.to_dict(), labels=labels)
    model.save_pretrained(folder / "model")
    rng = np.random.default_rng(0)
    for label in labels["label"]:
        path = folder / "clips" / "test" / label
        path.mkdir(parents=True)
        frames = np.cumsum(rng.integers(0, 9, (20, 32, 64, 3)), axis=0).astype(np.uint8)
        sound = rng.normal(0, np.linspace(0.01, 0.3, 32000)).clip(-1, 1).astype(np.float32)
        write_video(path / "1.mp4", frames, frames_per_second=10, waveform=sound)
    return folder


def test_curves_are_the_scores_of_short_windows_of_the_clips_own(folder: Path):
    predictor = Predictor(folder / "model", device="cpu")
    path = folder / "clips" / "test" / "cat" / "1.mp4"
    clips = predictor.files([path], start_seconds=0.5, end_seconds=2.0)
    (seen,) = evaluation_view(clips)
    curves = score_curves(predictor, seen)
    assert (curves.times[0], curves.times[-1]) == (0.75, 1.75)  # the middle second
    lengths = {"window_seconds": 0.25, "hop_seconds": 0.0625}
    timeline = make_timeline(predictor, path, **lengths, start_seconds=0.75, end_seconds=1.75)
    np.testing.assert_array_equal(curves.scores["dog"], cell_scores(timeline)[:, 1])
    assert np.ptp(curves.scores["dog"]) > 0 and curves.what == "what is said of windows of 0.25 s"
    wrapped = dataclasses.replace(seen, wrap=True)
    apart = dataclasses.replace(seen, row=dataclasses.replace(seen.row, audio_path=path))
    assert score_curves(predictor, wrapped) is None and score_curves(predictor, apart) is None


def test_film_of_a_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = str(folder / "clips" / "test" / "cat" / "1.mp4")
    options = ["--method", "rollout", "--output", str(tmp_path / "out"), "--video"]
    assert main(["explain", str(folder / "model"), file, *options]) == 0
    info = probe(tmp_path / "out" / "1.mp4.film.mp4")
    assert info.missing == () and info.duration_seconds == pytest.approx(1.0, abs=0.07)
    assert (info.video.width, info.video.height % 2) == (960, 0)
    capsys.readouterr()
    for wrong in ([file, "--video"], ["--video", "--output", str(tmp_path)]):
        assert main(["explain", str(folder / "model"), *wrong]) == 2
        assert "--video goes with files or --clip, and with --output" in capsys.readouterr().err


def test_contact_sheets(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    split = ["--method", "rollout", "--split", "test", "--num_workers", "0"]
    output = ["--output", str(tmp_path / "out")]
    assert main(["explain", str(folder / "model"), str(folder / "clips"), *split, *output]) == 0
    assert f"Some of them: {tmp_path / 'out' / 'rollout.png'}" in capsys.readouterr().out
    assert imread(tmp_path / "out" / "rollout.png").shape[1] > 700
    clips = ["--clip", "test/cat/1.mp4", "--clip", "test/dog/1.mp4", "--method", "rollout"]
    assert main(["explain", str(folder / "model"), str(folder / "clips"), *clips, *output]) == 0
    assert imread(tmp_path / "out" / "contact_sheet.png").shape[1] > 700
