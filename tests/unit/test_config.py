"""`base:` in recipes: what is read first, what replaces what, and what is refused."""

import re
from pathlib import Path

import pytest
import yaml
from small import SMALL_MBT

from sightsound import cli
from sightsound.build import build_front_end
from sightsound.config.load import check_front_end, config_text, load_config, read_values
from sightsound.config.parser import UsageError
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.models.mbt import MBT


def write(folder: Path, **files: str) -> Path:
    """`name.yaml` for each of `files`; the path of the first."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(files))}.yaml"


def test_own_values_replace_those_of_the_base(tmp_path):
    file = write(
        tmp_path,
        own="base: other\nmodel: {depth: 3}\ntrain: {batch_size: 4}",
        other="model: {width: 16, depth: 2}\ntrain: {batch_size: 8, learning_rate: 0.1}",
    )
    assert read_values(file) == {
        "model": {"width": 16, "depth": 3},
        "train": {"batch_size": 4, "learning_rate": 0.1},
    }


def test_of_several_bases_the_later_wins_and_bases_have_bases(tmp_path):
    file = write(
        tmp_path,
        own="base: [one, two]",
        one="seed: 1\nmodel: {width: 16}",
        two="base: three\nmodel: {depth: 2}",
        three="seed: 3\nmodel: {depth: 5}",
    )
    assert read_values(file) == {"seed": 3, "model": {"width": 16, "depth": 2}}


def test_one_base_may_be_reached_twice(tmp_path):
    bases = {"one": "base: root\nseed: 1", "two": "base: root", "root": "seed: 0"}
    file = write(tmp_path, own="base: [one, two]", **bases)
    assert read_values(file) == {"seed": 0}, "two has all that root has"


def test_another_model_starts_afresh(tmp_path):
    file = write(tmp_path, own="base: other\nmodel: {name: b}", other="model: {name: a, width: 16}")
    assert read_values(file) == {"model": {"name": "b"}}


def test_the_length_of_the_run_may_be_given_in_another_unit(tmp_path):
    file = write(tmp_path, own="base: other\ntrain: {steps: 7}", other="train: {epochs: 3}")
    assert read_values(file) == {"train": {"steps": 7}}
    epochs = tmp_path / "other.yaml"
    config = load_config(file, epochs)
    assert (config.train.epochs, config.train.steps) == (3, None)


def test_a_base_is_a_recipe_or_a_file_relative_to_the_one_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub", own="base: ../other.yaml")
    write(tmp_path, other="base: demo\nmodel: {width: 16}")
    monkeypatch.chdir(tmp_path)
    values = read_values("sub/own.yaml")
    assert values["model"] == read_values("demo")["model"] | {"width": 16}


def test_a_file_beside_hides_a_recipe_of_the_same_name(tmp_path):
    file = write(tmp_path, own="base: demo", demo="seed: 3")
    assert read_values(file) == {"seed": 3}


def test_the_working_directory_plays_no_part(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("demo.yaml").write_text("seed: 3")
    Path("demo").write_text("seed: 4")
    file = write(tmp_path, own="base: demo")
    assert read_values(file) == read_values(Path(cli.__file__).parent / "recipes" / "demo.yaml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("base: own", r"own.yaml: base leads back to the same file (own -> own): remove one"),
        ("base: other", r"own.yaml: base leads back to the same file (own -> other -> own): rem"),
        ("base: 3", "own.yaml: base is 3; accepted: the name of a recipe, or a list"),
        ("base: {demo: 1}", "own.yaml: base is {'demo': 1}; accepted: the name of a recipe, or a"),
        ("base: [demo, 3]", "own.yaml: base is ['demo', 3]; accepted: the name of a recipe, or a"),
        ("base: dmo", "own.yaml: base names 'dmo', which is neither a file beside it nor a recipe"),
        ("base: broken", "broken.yaml: expected sections such as 'model:' and 'train:', got 'x'"),
    ],
)
def test_mistakes(tmp_path, text, sentence):
    file = write(tmp_path, own=text, other="base: own", broken="x")
    with pytest.raises(UsageError, match=re.escape(sentence)):
        read_values(file)


def test_a_mistyped_base_gets_a_hint(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'demo'?"):
        read_values(write(tmp_path, own="base: dmo"))


def test_print_config_is_flat(tmp_path, capsys):
    file = write(tmp_path, own="base: demo\nmodel: {width: 16}")
    assert cli.main(["train", "videos", "--config", str(file), "--print_config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert "base" not in printed
    assert (printed["model"]["width"], printed["model"]["depth"]) == (16, 3)


def test_a_run_started_from_a_base_saves_all_of_it(tmp_path):
    config = load_config(write(tmp_path, own="base: demo\nmodel: {width: 16}"))
    saved = write(tmp_path, saved=config_text(config))
    assert load_config(saved) == config


def test_a_model_directory_is_a_configuration(tmp_path, capsys):
    """What `train --init DIR` builds where nothing else is said."""
    model = MBT(**SMALL_MBT)
    front_end = FrontEnd("mbt", AudioFrontEnd(num_frames=32, num_mels=16), VideoFrontEnd(height=16))
    model.info.front_end = front_end.to_dict()
    model.save_pretrained(tmp_path / "model")
    config = load_config(tmp_path / "model")
    assert config.model["width"] == SMALL_MBT["width"] and "heads" not in config.model
    assert build_front_end(config.front_end) == front_end
    argv = ["train", "videos", "--init", str(tmp_path / "model"), "--print_config"]
    assert cli.main(argv) == 0
    assert f"width: {SMALL_MBT['width']}\n" in capsys.readouterr().out
    assert cli.main([*argv, "--model.size", "tiny"]) == 0  # something else is said
    assert "size: tiny" in capsys.readouterr().out


def test_parts_of_a_front_end_are_tables():
    with pytest.raises(ValueError, match="front_end.video: expected a table of numbers, got 8"):
        check_front_end({"name": "mbt", "video": 8})


def test_another_backbone_starts_with_options_of_its_own(tmp_path):
    """UniFormer's widths mean nothing to a ViT."""
    options = "{widths: [8, 8, 8, 8]}"
    file = write(
        tmp_path,
        own="base: other\nmodel: {video_backbone: vit, video_options: {depth: 2}}",
        other=f"model: {{name: avt, video_backbone: uniformer, video_options: {options}, "
        "audio_options: {depth: 1}}",
    )
    model = read_values(file)["model"]
    assert model["video_options"] == {"depth": 2} and model["audio_options"] == {"depth": 1}
    same = write(tmp_path, same="base: other\nmodel: {video_backbone: uniformer}")
    assert read_values(same)["model"]["video_options"] == {"widths": [8, 8, 8, 8]}
