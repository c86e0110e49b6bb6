"""Shards made for a recipe give it the clips of the files; shards too poor for it are refused."""

import csv
import re

import numpy as np
import pytest
from media_files import tone, write_clip

from sightsound.build import build_front_end
from sightsound.cli import main
from sightsound.config.load import load_config
from sightsound.data.dataset import ClipDataset
from sightsound.data.manifest import load_manifest
from sightsound.data.shards.index import INDEX_NAME, Index

SECONDS, RATE = 3, 30  # frames per second of the files
FASTER = {"first": 60, "avt/first": 30, "mbt/paper-epic": 30, "mbt/official-epic": 50}
HERE = {"data.time_limit_seconds": 0}  # decode in this process: it starts at once
LARGEST_DIFFERENCE = 2.0  # of 255, the mean of a clip: JPEG


LABELS = {"label": "a"}, {"label": "b"}
VERBS = {"verb": "cut", "noun": "egg"}, {"verb": "eat", "noun": "egg"}


def write_clips(folder, *, rate, height=48, labels=LABELS):
    """Two clips whose every frame is another, and their table."""
    folder.mkdir()
    ramp = np.arange(64)[None, :, None] * 2
    frames = [np.broadcast_to(ramp + k % 120, (height, 64, 3)) for k in range(SECONDS * rate)]
    lines = []
    for number in range(2):
        path = folder / f"{number}.mp4"
        times = [k / rate for k in range(len(frames))]
        pictures = [frame.astype(np.uint8) for frame in frames]
        write_clip(path, frames=pictures, times=times, sound=tone(float(SECONDS)))
        lines.append({"path": path.name, "split": "train", **labels[number]})
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "split", *labels[0]])
        writer.writeheader()
        writer.writerows(lines)
    return folder / "clips.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("demand") / "clips", rate=RATE)


def prepared(table, output, *options):
    """The folder of shards that the command makes."""
    here = ["--time_limit_seconds", "0", "--num_workers", "1"]
    assert main(["prepare", str(table), "--output", str(output), *here, *options]) == 0
    return output


def dataset(path, recipe, **changes):
    overrides = {"data.path": str(path), "data.task": "auto", **HERE, **changes}
    config = load_config(recipe, overrides=overrides)
    manifest = load_manifest(config.data)
    front_end = build_front_end(config.front_end)
    return ClipDataset(manifest, manifest.rows, front_end, config.data, train=True, seed=3)


def seen(clips, key):
    """When the frames of a clip were shown first, and the clip."""
    epoch, index, view = key
    row = clips.rows[index]
    times, _ = clips._frame_times(row, clips.windows(row, epoch=epoch, view=view)["video"])
    return clips.reader.frames(row.path, times, (8, 8)).times_seconds, clips[key]


@pytest.mark.parametrize(("recipe", "rate"), FASTER.items())
def test_shards_for_a_recipe_give_the_clips_of_the_files(tmp_path, recipe, rate, capsys):
    labels = VERBS if "epic" in recipe else LABELS
    table = write_clips(tmp_path / "clips", rate=rate, labels=labels)
    output = prepared(table, tmp_path / "shards", "--config", recipe)
    assert f"sightsound train {output} --config {recipe} --output" in capsys.readouterr().out
    files, shards = dataset(table, recipe), dataset(output, recipe)
    assert [row.id for row in files.rows] == [row.id for row in shards.rows]
    for key in ((0, 0, 0), (3, 1, 0)):
        (times, one), (stored_times, other) = seen(files, key), seen(shards, key)
        np.testing.assert_array_equal(times, stored_times)
        assert one.video_valid.equal(other.video_valid) and one.target.equal(other.target)
        assert (one.video.int() - other.video.int()).abs().float().mean() < LARGEST_DIFFERENCE


def test_shards_without_a_recipe_say_that_frames_are_missing(table, tmp_path, capsys):
    prepared(table, tmp_path / "shards")
    out = capsys.readouterr().out
    assert "2 clips without some of their frames: what is shown may be 0.1 s old" in out
    prepared(table, tmp_path / "all", "--frames_per_second", "0")
    assert "without some" not in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--frames_per_second", "20"], ["--approximate", "true"]])
def test_too_few_pictures_are_refused_with_the_command_that_mends_it(table, tmp_path, options):
    poor = prepared(table, tmp_path / "poor", *options)
    files = dataset(table, "mbt/paper-epic")
    with pytest.raises(ValueError, match=r"hold .* a second, the front end looks at 25 a") as error:
        dataset(poor, "mbt/paper-epic")
    command = re.search(r"sightsound prepare DATA --output NEW_SHARDS (.*)", str(error.value))
    shards = dataset(prepared(table, tmp_path / "rich", *command[1].split()), "mbt/paper-epic")
    np.testing.assert_array_equal(seen(files, (0, 1, 0))[0], seen(shards, (0, 1, 0))[0])
    assert len(dataset(poor, "first")) == 2  # one a second


def test_poor_shards_are_not_to_be_used_as_they_are(table, tmp_path):
    poor = prepared(table, tmp_path / "poor", "--downmix", "mean")
    with pytest.raises(ValueError, match="--front_end.audio.downmix mean$"):
        dataset(poor, "first")
    with pytest.raises(ValueError) as error:
        dataset(poor, "mbt/paper-epic")  # too few pictures as well
    assert "as they are" not in str(error.value)


def test_slow_files_stored_whole_are_never_too_poor(tmp_path):
    table = write_clips(tmp_path / "clips", rate=8, height=40)
    shards = prepared(table, tmp_path / "shards")
    files, shards = dataset(table, "mbt/paper-epic"), dataset(shards, "mbt/paper-epic")
    np.testing.assert_array_equal(seen(files, (0, 0, 0))[0], seen(shards, (0, 0, 0))[0])


def test_small_pictures_are_refused_if_the_files_had_more(table, tmp_path):
    poor = prepared(table, tmp_path / "poor", "--short_side", "32")
    with pytest.raises(
        ValueError, match="short side of 32 pixels, the front end wants 72"
    ) as error:
        dataset(poor, "first")
    assert "prepare DATA --output NEW_SHARDS --short_side 74" in str(error.value)
    small = {"front_end.video.height": 24, "front_end.video.width": 24}
    assert len(dataset(poor, "first", **small, **{"front_end.video.short_side": 32})) == 2
    assert len(dataset(poor, "first", **small, **{"data.crop": "full"})) == 2
    whole = prepared(table, tmp_path / "whole", "--short_side", "48")
    assert len(dataset(whole, "first")) == 2


def test_shards_of_earlier_versions_are_judged_by_their_settings(table, tmp_path):
    import pyarrow.parquet

    old = prepared(table, tmp_path / "old", "--frames_per_second", "30")
    index = old / INDEX_NAME
    pyarrow.parquet.write_table(
        pyarrow.parquet.read_table(index).drop_columns(["left_out", "reduced"]), index
    )
    assert seen(dataset(old, "mbt/paper-epic"), (0, 0, 0))[1].video is not None
    with pytest.raises(ValueError, match="30 pictures a second, the front end looks at 50 a"):
        dataset(old, "mbt/paper-epic", **{"front_end.video.stride_seconds": 0.02})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--frames_per_second", "5"], "--frames_per_second would not do for this recipe: shards"),
        (["--short_side", "64"], "--short_side would not do for this recipe"),
        (["--rate_hz", "8000"], "--rate_hz would not do for this recipe"),
        (["--config", "nothing"], "no recipe or file called 'nothing'"),
        (["--front_end.video.heigth", "8"], "heigth"),
        (["--config"], "option '--config' needs a value"),
    ],
)
def test_options_that_the_recipe_would_refuse(table, tmp_path, capsys, options, sentence):
    recipe = ["--config", "mbt/paper-epic", *options]
    assert main(["prepare", str(table), "--output", str(tmp_path / "s"), *recipe]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert not (tmp_path / "s").exists()


def test_a_recipe_may_be_changed_and_sets_task_and_sound(tmp_path):
    table = write_clips(tmp_path / "clips", rate=8, labels=VERBS)
    changes = ["--front_end.audio.rate_hz", "8000", "--front_end.video.short_side=40"]
    options = ["--config", "mbt/paper-epic", *changes, "--quality", "80"]
    shards = prepared(table, tmp_path / "shards", *options)
    about = Index(shards / INDEX_NAME).about
    assert about["task"] == "heads"
    stored = {"short_side": 224, "rate_hz": 8000, "quality": 80, "frames_per_second": 0.0}
    assert about["settings"].items() >= stored.items()


@pytest.mark.parametrize("command", ["train", "pretrain", "stats", "preview"])
def test_commands_tell_it_in_one_sentence(table, tmp_path, capsys, command):
    poor = prepared(table, tmp_path / "poor", "--short_side", "32")
    capsys.readouterr()
    options = ["--output", str(tmp_path / "run")] if command in ("train", "pretrain") else []
    assert main([command, str(poor), "--config", "first", *options]) == 2
    error = capsys.readouterr().err
    assert "sightsound prepare DATA --output NEW_SHARDS --short_side" in error
    assert error.count("\n") == 1
