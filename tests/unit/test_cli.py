"""The command line: help, and every mistake as one sentence with exit code 2."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from sightsound import cli
from sightsound.commands.evaluate import _evaluate_parser
from sightsound.config.load import config_text, find_recipe, load_config, merge, recipe_names
from sightsound.config.parser import Parser, UsageError
from sightsound.registry import MODELS, WEIGHTS

HEAVY = ("torch", "lightning_fabric", "lightning", "torchmetrics", "kornia", "webdataset")


def complaint(capsys: pytest.CaptureFixture, *argv: str) -> str:
    """What a command that must fail writes: one line, exit code 2, no traceback."""
    assert cli.main([str(token) for token in argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and "Traceback" not in err
    return err


def test_overview_lists_every_command(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in cli.COMMANDS)
    assert "Start with 'sightsound demo'" in text


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("sightsound ")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_has_an_example_and_imports_nothing_heavy(command):
    code = f"""
        import sys
        from sightsound import cli
        assert cli.main([{command!r}, "--help"]) == 0
        assert not {set(HEAVY)!r} & set(sys.modules), set(sys.modules)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert f"usage: sightsound {command}" in result.stdout
    assert "Example" in result.stdout


def test_train_help_lists_constructor_arguments(capsys):
    assert cli.main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--model.NAME VALUE for model 'mbt'" in text and "bottleneck_tokens=4" in text
    assert "Clips per optimiser step" in text and "video_shape" not in text


def test_unknown_command(capsys):
    assert "unknown command 'trian'" in (text := complaint(capsys, "trian"))
    assert "Did you mean 'train'?" in text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--train.epoch", "3"], "unknown option '--train.epoch'. Did you mean '--train.epochs'?"),
        (["--train.learning_rat=1"], "'--train.learning_rat'. Did you mean '--train.learning_ra"),
        (["--epochs", "3"], "unknown option '--epochs'. Did you mean '--train.epochs'?"),
        (["--train.zzz=1"], "unknown option '--train.zzz'. Known in --train: accelerator,"),
        (["--zzz"], "unknown option '--zzz'. See 'sightsound train --help'."),
        (["a"], "unexpected argument 'a'; see 'sightsound train --help'"),
        (["--seed"], "option '--seed' needs a value: expected a whole number"),
        (["--config"], "option '--config' needs a value"),
        (["--model.width", "--print_config"], "option '--model.width' needs a value"),
        (["--seed", "1.5"], "seed cannot be '1.5': expected a whole number."),
        (["--train.epochs", "x"], "train.epochs cannot be 'x': expected a number or null."),
        (
            ["--train.precision", "fp23"],
            "train.precision cannot be 'fp23': expected one of fp32, bf16. Did you mean 'fp32'?",
        ),
        (["--data.crop_scale", "3"], "data.crop_scale cannot be '3': expected a list of 2 numbers"),
        (["--train.freeze", "a"], "train.freeze cannot be 'a': expected a list of names, [a,b]"),
        (["--overfit", "0"], "--overfit is 0; accepted: 1 clip or more"),
        (["--data.cache", "x"], "data.cache cannot be 'x': expected true or false."),
        (["--model.widht", "3"], "unknown setting 'model.widht'. Did you mean 'model.width'?"),
        (["--model.zzz", "3"], "unknown setting 'model.zzz'. Known in model: attention_dropout,"),
        (["--modle.width", "3"], "unknown option '--modle.width'. Did you mean '--model.width'?"),
        (["--model.width", "x"], "model.width cannot be 'x': expected a whole number or null."),
        (["--model.size", "bse"], "expected one of tiny, small, base, large. Did you mean 'base'?"),
        (["--model.heads", "3"], "model.heads follows from the data and the front end"),
        (
            ["--model", "mtb"],
            f"unknown model 'mtb'; known: {', '.join(sorted(MODELS))}. Did you mea",
        ),
        (["--objective", "clasification"], "Did you mean 'classification'?"),
        (["--front_end", "mtb"], "unknown front end 'mtb'; known: ast, mbt, vggish, yamnet. Did"),
        (["--front_end.audio.num_mel", "3"], "Did you mean 'front_end.audio.num_mels'?"),
        (["--front_end.audio.num_mels", "x"], "num_mels cannot be 'x': expected a whole number."),
    ],
)
def test_wrong_option(capsys, tmp_path, options, sentence):
    assert sentence in complaint(capsys, "train", tmp_path, *options)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("modle: {name: a}", "unknown setting 'modle.name'. Did you mean 'model.name'?"),
        ("train: {epocs: 3}", "unknown setting 'train.epocs'. Did you mean 'train.epochs'?"),
        ("data: 3", "data: expected a table of settings, got 3"),
        ("model: 3", "model: expected a name and its arguments, got 3"),
        ("train: {epochs: x}", "train.epochs cannot be 'x': expected a number or null."),
        ("model: {name: a", "recipe.yaml, line 2: not valid YAML: expected ',' or '}'"),
        ("- a", "recipe.yaml: expected sections such as 'model:' and 'train:', got ['a']"),
    ],
)
def test_wrong_recipe(capsys, tmp_path, text, sentence):
    file = tmp_path / "recipe.yaml"
    file.write_text(text + "\n")
    assert sentence in complaint(capsys, "train", tmp_path, "--config", file)


def test_misspelt_recipe(capsys, tmp_path):
    text = complaint(capsys, "train", tmp_path, "--config", "dmo")
    assert "no recipe or file called 'dmo'; recipes: " in text
    assert "Did you mean 'demo'?" in text


def test_missing_data(capsys, tmp_path):
    missing = str(tmp_path / "nothing")
    assert f"no such file or folder: {missing!r}" in complaint(capsys, "train", missing)
    assert f"no such file or folder: {missing!r}" in complaint(
        capsys, "predict", missing, "--model", tmp_path
    )
    assert f"no such file or folder: {missing!r}" in complaint(
        capsys, "evaluate", tmp_path, missing
    )
    assert "no data given: name a folder of class folders or a manifest" in complaint(
        capsys, "train"
    )


def test_misspelt_path(capsys, tmp_path):
    (tmp_path / "videos").mkdir()
    nearest = f"Did you mean {str(tmp_path / 'videos')!r}?"
    assert nearest in complaint(capsys, "train", tmp_path / "vidoes")
    assert nearest in complaint(capsys, "evaluate", tmp_path / "vidoes")


def test_late_models_may_be_on_the_hub(capsys, tmp_path):
    text = complaint(capsys, "evaluate", tmp_path, "--late", "hf:a/b", "hf:a/c")
    assert "has no config.json" in text  # the first model is looked at, not a file called hf:a/b


def test_nothing_to_resume(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/first").mkdir(parents=True)
    text = complaint(capsys, "train", "--resume", "--output", "runs/frist")
    assert "nothing to resume in 'runs/frist'" in text and "Did you mean 'runs/first'?" in text
    assert "nothing to resume in 'runs/default'" in complaint(capsys, "train", "--resume")


def test_flops_of_no_classes(capsys):
    assert "--classes is 0; accepted: 1 or more" in complaint(capsys, "flops", "--classes", 0)


def test_subset(capsys, tmp_path):
    lines = [f"{i}.mp4,{'rain|wind' if i % 4 else 'bell'},train" for i in range(40)]
    (tmp_path / "all.csv").write_text("\n".join(["path,label,split", *lines]))
    argv = ["subset", tmp_path / "all.csv", "--output", tmp_path / "some.csv", "--per_class", 7]
    assert cli.main([str(token) for token in argv]) == 0
    assert "after   14" in capsys.readouterr().out
    assert len((tmp_path / "some.csv").read_text().splitlines()) == 15
    argv[-1] = 0
    assert "--per_class is 0; accepted: 1 or more" in complaint(capsys, *argv)
    assert "how large? Give --clips" in complaint(capsys, *argv[:-2])
    assert "no such file or folder" in complaint(capsys, "subset", "x.csv", "--output", "y.csv")


def test_configuration_that_is_no_table(capsys, tmp_path):
    (tmp_path / "a.npz").touch()
    (tmp_path / "a.yaml").write_text("text")
    text = complaint(
        capsys,
        "convert",
        "scenic",
        tmp_path / "a.npz",
        "--config",
        tmp_path / "a.yaml",
        "--output",
        tmp_path / "model",
    )
    assert "config has no 'model' part but 'text'" in text


def test_empty_folder(capsys, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    text = complaint(capsys, "train", folder, "--train.epochs", 1, "--output", tmp_path / "run")
    assert "no clips in" in text and str(folder) in text
    assert not (tmp_path / "run").exists()


def test_class_with_one_clip(capsys, tmp_path):
    for name in ("cat/a.mp4", "cat/b.mp4", "cat/c.mp4", "dog/a.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    text = complaint(
        capsys, "train", tmp_path / "videos", "--train.epochs", 1, "--output", tmp_path / "run"
    )
    assert "'dog'" in text


def test_model_directory_without_weights(capsys, tmp_path):
    clip = tmp_path / "clip.mp4"
    clip.touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    text = complaint(capsys, "predict", clip, "--model", tmp_path / "model")
    assert "has no model.safetensors" in text
    assert "does not exist" in complaint(capsys, "predict", clip, "--model", tmp_path / "none")


def test_required_options(capsys, tmp_path):
    assert "missing: --model (A run, a model directory," in complaint(capsys, "predict", tmp_path)
    assert "missing: --output (" in complaint(capsys, "convert", "scenic", "x.npz")
    assert "missing: MODEL" in complaint(capsys, "evaluate")
    assert "missing: --output (The new manifest" in complaint(capsys, "subset", "a.csv")
    assert "missing: KIND" in complaint(capsys, "convert")


def test_wrong_choice(capsys, tmp_path):
    text = complaint(capsys, "convert", "scenix", "x.npz", "--output", "x")
    known = ", ".join(sorted(WEIGHTS))
    assert f"KIND cannot be 'scenix': expected one of {known}. Did you mean 'scenic'?" in text
    text = complaint(capsys, "predict", tmp_path, "--model", "x", "--format", "jsn")
    assert "--format cannot be 'jsn': expected one of table, json, csv, srt, vtt. Did you" in text


def test_print_config_is_accepted_back(capsys, tmp_path):
    options = ["--model.width=96", "--front_end.audio.num_frames", "200", "--overfit", "4"]
    assert cli.main(["train", "videos", *options, "--train.freeze=[a,b]", "--print_config"]) == 0
    text = capsys.readouterr().out
    values = yaml.safe_load(text)
    assert values["model"]["width"] == 96 and values["model"]["fusion"] == "bottleneck"
    audio = {"num_frames": 200, "downmix": "itu"}
    assert values["front_end"] == {"name": "mbt", "audio": audio, "video": {"picture": "displayed"}}
    assert values["data"]["path"] == "videos" and values["train"]["freeze"] == ["a", "b"]
    assert values["train"]["overfit"] == 4
    (tmp_path / "saved.yaml").write_text(text)
    assert cli.main(["train", "--config", str(tmp_path / "saved.yaml"), "--print_config"]) == 0
    assert capsys.readouterr().out == text


def test_options_come_after_files_and_replace_the_length(capsys, tmp_path):
    (tmp_path / "a.yaml").write_text("train: {epochs: 3, batch_size: 4}\nmodel: {width: 8}\n")
    (tmp_path / "b.yaml").write_text("model: {depth: 2}\n")
    config = load_config(
        tmp_path / "a.yaml", tmp_path / "b.yaml", overrides={"train.steps": 7, "model.width": 16}
    )
    assert (config.train.epochs, config.train.steps, config.train.batch_size) == (None, 7, 4)
    assert (config.model["width"], config.model["depth"]) == (16, 2)
    argv = ["train", "x", "--config", tmp_path / "a.yaml", "--train.steps", 7, "--print_config"]
    assert cli.main([str(token) for token in argv]) == 0
    train = yaml.safe_load(capsys.readouterr().out)["train"]
    assert (train["epochs"], train["steps"]) == (None, 7)


def test_resume_finds_the_configuration_of_the_run(capsys, tmp_path):
    config = load_config(overrides={"model.width": 24, "output": str(tmp_path), "seed": 5})
    (tmp_path / "config.yaml").write_text(config_text(config))
    assert cli.main(["train", "--resume", f"--output={tmp_path}", "--print_config"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert values["model"]["width"] == 24 and values["seed"] == 5


def test_merge_starts_afresh_for_another_name():
    first = {"model": {"name": "a", "width": 3}, "seed": 1}
    assert merge(first, {"model": {"width": 4}})["model"] == {"name": "a", "width": 4}
    assert merge(first, {"model": {"name": "b"}})["model"] == {"name": "b"}
    assert first == {"model": {"name": "a", "width": 3}, "seed": 1}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid(name):
    config = load_config(name)
    assert config.model["name"] in MODELS
    assert find_recipe(name).read_text().startswith("#"), "a recipe's header says what it is for"


def test_wrong_override_in_python():
    with pytest.raises(UsageError, match="unknown setting 'train.epocs'. Did you mean 'train.ep"):
        load_config(overrides={"train.epocs": 3})


def run_command(monkeypatch, function) -> int:
    monkeypatch.setitem(cli.COMMANDS, "train", function)
    return cli.main(["train"])


def test_interrupt_is_one_line(monkeypatch, capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    assert run_command(monkeypatch, interrupted) == 130
    err = capsys.readouterr().err
    assert err == (
        "sightsound train: interrupted; the same command with --resume goes on from the last "
        "checkpoint, if there is one\n"
    )


def test_reader_that_stops_is_no_error():
    command = f"{sys.executable} -m sightsound train --help | true; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert result.returncode in (0, 141) and result.stderr == ""


def test_defects_keep_their_traceback(monkeypatch):
    def defect(argv):
        return [][0]

    with pytest.raises(IndexError):
        run_command(monkeypatch, defect)


def test_errors_of_other_packages_keep_their_traceback(monkeypatch):
    import torch

    def foreign(argv):
        torch.zeros(2) @ torch.zeros(3)

    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        run_command(monkeypatch, foreign)


def test_media_errors_are_mistakes_wherever_they_are_raised(monkeypatch, capsys):
    from sightsound.media.decode import DecodeError

    def undecodable(argv):
        raise DecodeError("a.mp4", 1.0, "no stream")

    assert run_command(monkeypatch, undecodable) == 2
    assert "cannot decode 'a.mp4' from 1.000 s: no stream" in capsys.readouterr().err


def test_unreadable_file_is_named(monkeypatch, capsys, tmp_path):
    def unreadable(argv):
        Path(tmp_path / "none.csv").read_text()

    assert run_command(monkeypatch, unreadable) == 2
    assert f"No such file or directory: {str(tmp_path / 'none.csv')!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        "run --output out data --num_workers 1",
        "--output out run data --num_workers=1",
        "--num_workers=1 --output out run data",
        "run --late a v data --output out --num_workers 1",
    ],
)
def test_places_may_stand_between_options(argv):
    options = _evaluate_parser().parse_args(argv.split())
    assert (options.model, options.path, options.output) == ("run", "data", "out")
    assert options.num_workers == 1


def test_several_values_end_at_the_next_option():
    options = _parser_with_many().parse_args(["--many", "a", "b", "--flag", "c", "d"])
    assert (options.many, options.flag, options.files) == (["a", "b"], True, ["c", "d"])


def _parser_with_many() -> Parser:
    parser = Parser(prog="x")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--many", nargs="+")
    parser.add_argument("--flag", action="store_true")
    return parser
