"""The parts of a run, put together without decoding a clip."""

import dataclasses
import re
from pathlib import Path

import pytest

from sightsound.config.settings import AugmentSettings, DataSettings, RunConfig, TrainSettings
from sightsound.train.assemble import Parts, assemble, launch, overfit

MODEL = {
    "name": "mbt",
    "width": 8,
    "depth": 1,
    "num_heads": 1,
    "mlp_width": 8,
    "fusion_layer": 0,
    "video_patch": [1, 16, 16],
    "audio_patch": [16, 16],
}
FRONT_END = {
    "name": "mbt",
    "audio": {"num_frames": 16, "num_mels": 16},
    "video": {"num_frames": 1, "height": 16, "width": 16, "short_side": 16},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for split, number in (("train", 20), ("val", 2)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for i in range(number):
                (folder / split / name / f"{i}.mp4").touch()
    return folder


def configuration(folder: Path, **data: object) -> RunConfig:
    return RunConfig(
        model=MODEL,
        front_end=FRONT_END,
        data=DataSettings(path=str(folder), **data),
        train=TrainSettings(epochs=3, batch_size=2, accelerator="cpu"),
    )


def assembled(config: RunConfig) -> Parts:
    return assemble(config, launch(config.train))


def test_a_share_of_the_training_clips_makes_shorter_epochs(folder):
    whole = assembled(configuration(folder))
    parts = assembled(configuration(folder, train_fraction=0.3))
    assert (len(whole.train_clips), len(parts.train_clips)) == (40, 12)
    assert (whole.total, parts.total) == (60, 18)
    assert len(parts.val_clips) == 4
    assert parts.notes == ["data.train_fraction 0.3: 12 of 40 training clips"]
    assert parts.describe(0).startswith("12 training clips of 2 classes") and not whole.notes
    half = assembled(configuration(folder, train_fraction=0.5))
    assert {row.id for row in parts.train_clips.rows} < {row.id for row in half.train_clips.rows}


def test_the_self_test_chooses_from_all_clips(folder):
    config = configuration(folder, train_fraction=0.3, windows="official", crop="jitter")
    config.train.overfit = 4
    data = overfit(config).data
    assert (data.train_fraction, data.windows, data.crop) == (1.0, "centre", "centre")


def test_the_model_remembers_how_clips_are_cut(folder):
    provenance = assembled(configuration(folder, crop="jitter", wrap=True)).model.info.provenance
    assert provenance == {"crop": "jitter", "wrap": True, "windows": "random", "seed": 0}


@pytest.mark.parametrize(
    "augment, losses, message",
    [
        (
            {"cutmix_alpha": 1.0},
            {},
            "--augment.cutmix_alpha is 1.0, but contrastive_weight or matching_weight is above 0: "
            "sound and pictures of a clip mixed in this way do not go together; accepted: 0.0 "
            "(mixup_alpha alone mixes both streams alike), or both weights 0",
        ),
        (
            {"mixup_alpha": 0.3, "modality_mixup": True},
            {"contrastive_weight": 0.0, "negatives": "random"},
            "--augment.modality_mixup is True, but contrastive_weight or matching_weight is above "
            "0: sound and pictures of a clip mixed in this way do not go together; accepted: False",
        ),
        ({"mixup_alpha": 0.3}, {}, None),
        ({"modality_mixup": True}, {}, None),
        ({"cutmix_alpha": 1.0}, {"contrastive_weight": 0.0, "matching_weight": 0.0}, None),
    ],
)
def test_mixing_does_not_part_what_the_objective_pairs(folder, augment, losses, message):
    config = dataclasses.replace(
        configuration(folder),
        augment=AugmentSettings(flip=0.0, **augment),
        objective={"name": "avt", "audio_masking": "tokens", "masked_weight": 0.0, **losses},
    )
    if message is None:
        assembled(config)
    else:
        with pytest.raises(ValueError, match=re.escape(message)):
            assembled(config)


def test_a_model_of_several_labels_knows_how_often_each_comes(folder, tmp_path):
    lines = [f"{folder}/train/cat/{k}.mp4,{'cat|dog' if k % 2 else 'cat'},train" for k in range(10)]
    lines.append(f"{folder}/val/dog/0.mp4,dog,held_out")
    (tmp_path / "clips.csv").write_text("\n".join(["path,label,split", *lines]))
    parts = assembled(configuration(tmp_path / "clips.csv"))
    assert parts.model.info.prevalence == [1.0, 0.5]
    assert parts.notes == ["split held_out: 1 clips, not trained on"]


def test_a_split_to_score_that_nobody_knows_is_refused(folder):
    config = configuration(folder)
    config.evaluate.split = "held_out"
    with pytest.raises(ValueError, match="unknown split 'held_out'; known: test, train, val"):
        assembled(config)


def test_one_class_alone_is_nothing_to_learn(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "archive" / name).mkdir(parents=True)
        for i in range(6):
            (tmp_path / "archive" / name / f"{i}.mp4").touch()
    splits = {"val_fraction": 0.0, "test_fraction": 0.0}
    with pytest.raises(ValueError, match="one class only, 'archive'.*lie a folder deeper, or a ta"):
        assembled(configuration(tmp_path, **splits))
    assert len(assembled(configuration(tmp_path / "archive", **splits)).train_clips) == 12
