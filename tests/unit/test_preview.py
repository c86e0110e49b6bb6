"""The picture of what a model is given: it shows the batch's own values, times and masks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.image import imread

from sightsound import cli
from sightsound.build import build_dataset, build_front_end
from sightsound.config.load import load_config
from sightsound.config.settings import DataSettings
from sightsound.data import dataset
from sightsound.data.dataset import ClipDataset
from sightsound.data.rows import Manifest, Row
from sightsound.data.synthetic import write_demo
from sightsound.media.clips import Window
from sightsound.media.encode import write_video
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.media.geometry import random_box
from sightsound.preview.figure import preview_picture
from sightsound.preview.model_inputs import (
    ModelInput,
    evaluation_view,
    pixels,
    remarks,
    training_view,
)

FRONT_END = FrontEnd(
    "tiny",
    AudioFrontEnd(num_frames=100, num_mels=16, log_offset=1e-3, mean=6.0, deviation=2.0),
    VideoFrontEnd(
        num_frames=4,
        window_seconds=1.0,
        height=16,
        width=24,
        short_side=16,
        mean=(123.7, 116.3, 103.5),
        deviation=(58.4, 57.1, 57.4),
    ),
)
CENTRE = DataSettings(windows="centre", crop="centre", bad_files="mask", time_limit_seconds=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Clips of three seconds, whole and with faults; one of half a second."""
    folder = tmp_path_factory.mktemp("clips") / "a"
    folder.mkdir()
    frames = np.random.default_rng(0).integers(0, 256, (30, 32, 64, 3), dtype=np.uint8)
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, 48000).astype(np.float32)
    ramp = np.arange(64, dtype=np.uint8)[None, None, :, None] * 4
    still = np.broadcast_to(ramp, frames.shape)

    def write(name, pictures, waveform):
        write_video(folder / name, pictures, frames_per_second=10, waveform=waveform)

    write("both.mp4", frames, sound)
    write("no sound.mp4", frames, None)
    write("silent.mp4", frames, 0 * sound)
    write("still.mp4", still, sound)
    write("grey.mp4", np.full_like(frames, 128), sound)
    write("short.mp4", frames[:5], sound[:8000])
    write("money $x$ and 日本.mp4", frames, sound)
    (folder / "bad.mp4").write_bytes(b"not a video at all")
    return folder


def make(folder, *names: str, settings=CENTRE, front_end=FRONT_END, **row) -> ClipDataset:
    rows = tuple(Row(name, folder / name, ("b",), split="train", **row) for name in names)
    manifest = Manifest(rows, {"label": ["a", "b"]}, "single", folder)
    return ClipDataset(manifest, rows, front_end, settings, train=False, seed=0)


def look(folder, name: str, **options) -> ModelInput:
    return evaluation_view(make(folder, name, **options))[0]


# --- the values ---------------------------------------------------------------------------------


def test_pixels_are_the_decoded_ones_and_padding_is_the_mean(folder):
    clip = make(folder, "short.mp4")[0, 0, 0]
    seen = look(folder, "short.mp4")
    shown = torch.from_numpy(pixels(seen.video, FRONT_END).copy()).permute(0, 3, 1, 2)
    assert clip.video_valid.tolist() == [True, True, False, False]
    assert torch.equal(shown[:2], clip.video[:2])
    assert shown[2:, :, 0, 0].tolist() == [[124, 116, 104]] * 2
    assert torch.equal(seen.valid["audio"], clip.audio_valid)
    normalised = (clip.audio[0] - 6) / 2
    assert torch.equal(seen.audio[0][clip.audio_valid], normalised[clip.audio_valid])
    assert not seen.audio[0][~clip.audio_valid].any()


def test_what_is_drawn_are_the_models_values(folder, tmp_path, monkeypatch):
    drawn = []
    original = Axes.imshow

    def remember(self, values, **style):
        drawn.append(np.array(values))
        return original(self, values, **style)

    monkeypatch.setattr(Axes, "imshow", remember)
    seen = look(folder, "both.mp4")
    preview_picture(tmp_path / "x.png", [seen], FRONT_END, title="test")
    assert len(drawn) == 5
    assert np.array_equal(np.stack(drawn[:4]), pixels(seen.video, FRONT_END))
    assert np.array_equal(drawn[4], seen.audio[0].T.numpy())


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "videos"
    write_demo(folder, num_train=22, num_val=8, num_test=8, workers=1)
    return folder


def demo_config(demo, **changes):
    small = {
        "data.path": str(demo),
        "data.num_workers": 0,
        "data.time_limit_seconds": 0,
        "data.crop": "random",
        "data.windows": "random",
        "data.cache": False,
        "model.width": 16,
        "model.mlp_width": 32,
        "model.num_heads": 2,
        "train.batch_size": 8,
        "train.epochs": 2,
    }
    return load_config("demo", overrides=small | changes)


def training_clips(config) -> ClipDataset:
    from sightsound.data.manifest import load_manifest

    manifest, front_end = load_manifest(config.data), build_front_end(config.front_end)
    modalities = ("audio", "video")
    return build_dataset(config, manifest, front_end, "train", modalities=modalities, train=True)


def test_the_training_view_is_the_batch_of_the_training_step(demo, tmp_path, monkeypatch):
    from sightsound.train import loop

    changes = {
        "output": str(tmp_path / "run"),
        "augment.mixup_alpha": 0.5,
        "augment.modality_mixup": True,
        "augment.time_masks": 1,
        "data.repeats": 2,
        "data.balanced": True,
        "train.accumulate": 2,
        "train.steps": 7,
    }
    config = demo_config(demo, **changes)
    batches = []
    original = loop.augment

    def remember(batch, **options):
        batches.append(original(batch, **options))
        return batches[-1]

    monkeypatch.setattr(loop, "augment", remember)
    loop.train(config)
    clips = training_clips(config)
    second = batches[2 * 5 :]  # five steps of two passes make an epoch
    for batch in second[0], second[3]:
        for seen in training_view(clips, config, epoch=1, ids=list(dict.fromkeys(batch.id))):
            place = batch.id.index(seen.row.id)
            assert set(seen.streams()) == {name for name, x in batch.present.items() if x[place]}
            for name, values in seen.streams().items():
                assert torch.equal(values, batch.inputs[name][place])
                assert torch.equal(seen.valid[name], batch.valid[name][place])
            assert seen.partner in ("", batch.id[len(batch) - 1 - place])
    ids = {seen.row.id for seen in training_view(clips, config, epoch=1, number=4)}
    assert ids <= set(second[0].id)


def test_mixed_labels_are_stated(demo):
    config = demo_config(demo, **{"augment.mixup_alpha": 0.5, "augment.flip": 0.0})
    seen = training_view(training_clips(config), config, epoch=0, number=8)
    mixed = [look for look in seen if " + " in look.labels]
    assert mixed, "clips of different classes are mixed"
    weights = [float(part.split()[0]) for part in mixed[0].labels.split(" + ")]
    assert sum(weights) == pytest.approx(1, abs=0.02) and mixed[0].partner


def test_labels_of_the_streams_differ_after_modality_mixup(demo):
    changes = {"augment.mixup_alpha": 0.5, "augment.modality_mixup": True}
    config = demo_config(demo, **changes)
    seen = training_view(training_clips(config), config, epoch=0, number=8)
    apart = [look.labels_apart for look in seen if look.labels_apart]
    assert apart and all(one["audio"] != one["video"] for one in apart)


def test_a_stream_left_out_by_augmentation_is_told(demo):
    config = demo_config(demo, **{"augment.drop_video": 1.0, "augment.drop_audio": 0.0})
    seen = training_view(training_clips(config), config, epoch=0, number=1)[0]
    assert seen.video is None and seen.audio is not None
    assert remarks(seen)[0] == "pictures left out by augment.drop_video"


def test_a_clip_of_the_last_incomplete_batch_does_not_come(demo):
    config = demo_config(demo)
    clips = training_clips(config)
    left_out = []
    for row in clips.rows:
        try:
            training_view(clips, config, epoch=0, ids=[row.id])
        except ValueError as error:
            assert "does not come in epoch 0" in str(error)
            left_out.append(row.id)
        if left_out:
            break
    assert left_out, "22 clips make two batches of 8"


# --- times --------------------------------------------------------------------------------------


def test_times_are_seconds_of_the_file(folder):
    seen = look(folder, "both.mp4", start_seconds=1.0, end_seconds=2.8)
    assert seen.clip_window == Window(1.0, 2.8) and seen.duration == pytest.approx(3.0, abs=0.05)
    assert seen.starts["video"] == pytest.approx(1.4) and seen.starts["audio"] == pytest.approx(1.4)
    assert seen.times == pytest.approx([1.5, 1.7, 2.0, 2.2], abs=1e-3)
    assert seen.window_parts("video") == [pytest.approx((1.4, 2.4))]
    assert seen.decoded_parts("audio") == [pytest.approx((1.4, 2.4), abs=0.01)]
    assert seen.cut == "cut 48 x 32 at (8, 0) of 64 x 32"


def test_the_cut_is_that_of_the_pixels(demo, monkeypatch):
    boxes = []

    def remember(*size, **options):
        boxes.append(random_box(*size, **options))
        return boxes[-1]

    monkeypatch.setattr(dataset, "random_box", remember)
    config = demo_config(demo, **{"train.batch_size": 1})
    seen = training_view(training_clips(config), config, epoch=0)[0]
    box = boxes[0]
    words = f"cut {box.width:.0f} x {box.height:.0f} at ({box.left:.0f}, {box.top:.0f}) of 64 x 64"
    assert seen.cut == words


def test_a_wrapped_window_has_several_parts(folder):
    wrap = dataclasses.replace(CENTRE, wrap=True)
    seen = look(folder, "both.mp4", settings=wrap, start_seconds=1.0, end_seconds=1.4)
    assert seen.window_parts("video") == [pytest.approx(p) for p in [(1, 1.4), (1, 1.4), (1, 1.2)]]
    assert seen.file_seconds(1.5) == pytest.approx(1.1)
    assert seen.valid["video"].all() and seen.valid["audio"].all()


def test_a_short_clip_is_decoded_in_part(folder):
    seen = look(folder, "short.mp4")
    assert seen.window_parts("video") == [pytest.approx((0.0, 1.0))]
    assert seen.decoded_parts("video") == [pytest.approx((0.0, 0.5))]


# --- remarks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("both.mp4", []),
        ("no sound.mp4", ["no sound here: the model gets zeros and a mask that says so"]),
        ("silent.mp4", ["sound: digital silence"]),
        ("still.mp4", ["pictures: every frame is the same"]),
        ("grey.mp4", ["pictures: every pixel has the same colour"]),
        ("bad.mp4", ["Invalid data found when processing input; nothing is left of the clip"]),
    ],
)
def test_remarks(folder, tmp_path, name, expected):
    seen = look(folder, name)
    assert remarks(seen) == expected
    path = preview_picture(tmp_path / "x.png", [seen], FRONT_END, title=name)
    assert imread(path).shape[1] == 1452


def test_values_far_from_normal_are_told(folder):
    wrong = dataclasses.replace(FRONT_END.video, mean=(0.0,) * 3, deviation=(1.0,) * 3)
    front_end = dataclasses.replace(FRONT_END, video=wrong)
    seen = look(folder, "both.mp4", front_end=front_end)
    assert remarks(seen) == ["pictures: far from mean 0, deviation 1; see 'sightsound stats'"]


def test_the_picture_grows_with_clips_and_frames(folder, tmp_path):
    video = dataclasses.replace(FRONT_END.video, num_frames=20)
    many = dataclasses.replace(FRONT_END, video=video)
    heights = [
        imread(preview_picture(tmp_path / "x.png", seen, front_end, title="")).shape[0]
        for front_end, seen in [
            (FRONT_END, evaluation_view(make(folder, "both.mp4"))),
            (FRONT_END, evaluation_view(make(folder, "both.mp4", "short.mp4"))),
            (many, evaluation_view(make(folder, "both.mp4", front_end=many))),
        ]
    ]
    assert heights[0] < heights[2] < heights[1]


# --- the command --------------------------------------------------------------------------------

TINY = [
    "--front_end.audio.num_frames=100",
    "--front_end.video.num_frames=2",
    "--front_end.video.height=32",
    "--front_end.video.width=32",
    "--data.time_limit_seconds=0",
]


def run(*argv: object) -> int:
    return cli.main([str(token) for token in argv])


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        ("both.mp4", ""),
        ("bad.mp4", "nothing is left of the clip"),
        ("no sound.mp4", "no sound here"),
        ("money $x$ and 日本.mp4", ""),
    ],
)
def test_preview_of_a_file(folder, tmp_path, capsys, name, remark):
    output = tmp_path / "new" / "x.png"
    assert run("preview", folder / name, *TINY, "--output", output) == 0
    text, told = capsys.readouterr()
    assert text.startswith(f"{output}: 1 clip, as in evaluation") and remark in text
    assert not told and [path.name for path in output.parent.iterdir()] == ["x.png"]


def test_preview_of_a_folder(demo, tmp_path, capsys):
    output = ["--data.time_limit_seconds=0", "--output", tmp_path / "x.png"]
    assert run("preview", demo, "--config=demo", *output) == 0
    assert "4 clips, as in evaluation" in capsys.readouterr().out
    options = ["--train", "--epoch=1", "--number=2", "--train.batch_size=4"]
    assert run("preview", demo, "--config=demo", *options, *output) == 0
    assert "2 clips, as in training, epoch 1, seed 0" in capsys.readouterr().out


def test_preview_chooses_different_classes(demo):
    from sightsound.data.manifest import load_manifest
    from sightsound.preview.model_inputs import different

    rows = load_manifest(DataSettings(path=str(demo))).rows
    chosen = different(rows, number=8)
    assert len({rows[place].labels for place in chosen}) == 8
    assert sorted(different(rows, number=99)) == list(range(len(rows)))


def test_preview_as_a_model_sees(demo, tmp_path, capsys):
    from sightsound.build import build_model
    from sightsound.data.manifest import load_manifest

    config = demo_config(demo)
    manifest = load_manifest(config.data)
    model = build_model(config.model, manifest, build_front_end(config.front_end))
    model.info.provenance |= {"crop": "full", "wrap": True}
    model.save_pretrained(tmp_path / "model")
    row = manifest.rows[0]
    given = ["--model", tmp_path / "model", "--output", tmp_path / "x.png"]
    assert run("preview", row.path, *given) == 0
    assert f"as {tmp_path / 'model'} sees them" in capsys.readouterr().out
    assert run("preview", *given) == 2
    assert "belongs to no run that names its data; name a DATA" in capsys.readouterr().err
    assert run("preview", demo, *given, "--data.crop=random") == 2
    assert "--data.crop does not go with --model" in capsys.readouterr().err
    assert run("preview", demo, "--clip", row.id, *given) == 0
    assert "1 clip, as" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "no data given"),
        (["missing.mp4"], "no such file or folder: 'missing.mp4'"),
        (["DATA", "--clip=CLIP"], "Did you mean 'train/"),
        (["DATA", "--clip=xyz"], "no clip 'xyz' in"),
        (["DATA", "--number=0"], "--number is 0; accepted: 1 to 16"),
        (["DATA", "--epoch=3"], "--epoch goes with --train"),
        (["DATA", "--train", "--epoch=-1"], "--epoch is -1; accepted: 0 or more"),
        (["DATA", "--output=x.jpg"], "accepted: a file name that ends in .png"),
        (["DATA", "--clips=3"], "unknown option '--clips'. Did you mean '--clip'?"),
        (["DATA", "--model"], "option '--model' needs a value"),
        (["DATA", "--model", "x", "--train"], "--train does not go with --model"),
        (["FILE", "--train"], "has no training clips: leave out --train"),
    ],
)
def test_mistakes_are_told_in_one_sentence(demo, folder, capsys, argv, sentence):
    clip = next((demo / "train").rglob("*.mp4")).name
    names = {"DATA": str(demo), "FILE": str(folder / "both.mp4"), "--clip=CLIP": f"--clip={clip}"}
    assert run("preview", *(names.get(token, token) for token in argv)) == 2
    told = capsys.readouterr().err
    assert sentence in told and told.count("\n") == 1
