"""Models, runs and shards from before front ends said how to read pictures and channels."""

import dataclasses
import json

import pytest
import yaml
from small import SMALL_MBT

from sightsound.build import build_front_end
from sightsound.config.load import config_text, load_config
from sightsound.config.settings import DataSettings
from sightsound.data.shards.demand import check_rich_enough
from sightsound.data.shards.index import Index, write_index
from sightsound.media.decode_process import DecodeProcessReader
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.media.logmel import front_end
from sightsound.media.reader import FileReader
from sightsound.models.mbt import MBT
from sightsound.predict import Predictor

# Of the front end "mbt" before there were these fields.
OLD_ID = "mbt-8d30da5032c4"


def old_values():
    """`FrontEnd.to_dict` of "mbt" without the fields."""
    values = front_end("mbt").to_dict()
    del values["audio"]["downmix"], values["video"]["picture"]
    return values


def is_old(found):
    return (found.audio.downmix, found.video.picture) == ("mean", "stored")


def test_new_front_ends_read_as_a_player_does():
    assert front_end("ast").reading["downmix"] == "itu"
    assert front_end("ast").video.picture == "displayed"


def test_a_front_end_without_the_fields_reads_as_before_under_its_old_id():
    old = FrontEnd.from_dict(old_values())
    assert is_old(old) and old.id == OLD_ID and old.to_dict() == old_values()
    assert FrontEnd.from_dict(old.to_dict()) == old


def test_ids_tell_each_way_of_reading_apart():
    new = front_end("mbt")
    assert FrontEnd.from_dict(json.loads(json.dumps(new.to_dict()))) == new
    mean = dataclasses.replace(new, audio=dataclasses.replace(new.audio, downmix="mean"))
    stored = dataclasses.replace(new, video=dataclasses.replace(new.video, picture="stored"))
    assert len({new.id, mean.id, stored.id, OLD_ID}) == 4


def test_the_configuration_of_a_run_without_the_fields_reads_as_before(tmp_path):
    values = yaml.safe_load(config_text(load_config("first")))
    assert not is_old(build_front_end(values["front_end"]))
    del values["front_end"]["audio"]["downmix"], values["front_end"]["video"]["picture"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    config = load_config(tmp_path)
    assert is_old(build_front_end(config.front_end))
    again = tmp_path / "again.yaml"
    again.write_text(config_text(config))  # what a resumed run writes
    assert is_old(build_front_end(load_config(again).front_end))
    new = load_config(tmp_path, overrides={"front_end.audio.downmix": "itu"})
    assert build_front_end(new.front_end).audio.downmix == "itu"


def test_a_recipe_without_the_fields_reads_as_a_player_does(tmp_path):
    (tmp_path / "config.yaml").write_text("front_end: {name: ast, audio: {num_frames: 200}}\n")
    found = build_front_end(load_config(tmp_path / "config.yaml").front_end)
    assert not is_old(found) and found.audio.num_frames == 200


@pytest.mark.parametrize("features", [None, {"video_encoder": "vit:x", "segments": 3}])
def test_the_model_of_a_run_without_the_fields_as_a_recipe(tmp_path, features):
    values = old_values() | ({"name": "features", "features": features} if features else {})
    info = {"model": {"name": "mbt"}, "front_end": values}
    (tmp_path / "config.json").write_text(json.dumps(info))
    section = load_config(tmp_path).front_end
    assert section["audio"]["downmix"] == "mean" and section["video"]["picture"] == "stored"


def test_a_saved_model_without_the_fields_predicts_as_before(tmp_path):
    model = MBT(**SMALL_MBT)
    video = VideoFrontEnd(num_frames=4, height=16, width=16, short_side=16)
    front_end = FrontEnd("tiny", AudioFrontEnd(num_frames=32, num_mels=16, log_offset=1e-6), video)
    labels = {"label": ["a", "b", "c"]}
    info = {"front_end": front_end.to_dict(), "labels": labels, "task": "single"}
    model.info = dataclasses.replace(model.info, **info)
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    saved = json.loads(file.read_text())
    del saved["front_end"]["audio"]["downmix"], saved["front_end"]["video"]["picture"]
    for text, expected in (
        (file.read_text(), FileReader()),
        (json.dumps(saved), FileReader(downmix="mean", picture="stored")),
    ):
        file.write_text(text)
        clip = tmp_path / "clip.mp4"
        clip.touch()
        assert Predictor(tmp_path).files([clip]).reader == DecodeProcessReader(expected, 60.0)


def write_shards(folder, **settings):
    about = {"version": 1, "task": "single", "num_clips": 0, "settings": settings}
    (folder / "shards.json").write_text(json.dumps(about))
    write_index(folder / "index.parquet", [], task="single")
    return Index(folder / "index.parquet")


SMALL = FrontEnd("mbt", AudioFrontEnd(), VideoFrontEnd(num_frames=8, window_seconds=8.0))


def test_shards_of_the_other_kind_are_refused_with_the_remedy(tmp_path):
    old = FrontEnd.from_dict(
        SMALL.to_dict() | {"audio": {}, "video": {"mean": (0, 0, 0), "deviation": (1, 1, 1)}}
    )
    settings = {"short_side": 256, "frames_per_second": 10.0, "rate_hz": 16000}
    index = write_shards(tmp_path, **settings)
    check_rich_enough(index, old, DataSettings(crop="centre"), modalities=("video", "audio"))
    with pytest.raises(ValueError) as error:
        check_rich_enough(index, SMALL, DataSettings(crop="centre"), modalities=("video", "audio"))
    for part in (
        "pictures as stored, the front end wants them displayed",
        "sound mixed by 'mean', the front end wants 'itu'",
        "--front_end.audio.downmix mean --front_end.video.picture stored",
    ):
        assert part in str(error.value)
    new = write_shards(tmp_path, **settings, picture="displayed", downmix="itu")
    check_rich_enough(new, SMALL, DataSettings(crop="centre"), modalities=("video", "audio"))
    with pytest.raises(ValueError, match="prepare DATA .* --picture stored --downmix mean$"):
        check_rich_enough(new, old, DataSettings(crop="centre"), modalities=("video", "audio"))
