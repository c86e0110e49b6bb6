"""`sightsound convert`: what it writes and says, class names, and what is left after a mistake."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from flax_files import random_params, shrunken, write_checkpoint
from media_files import tone, write_clip

import sightsound
from sightsound import cli
from sightsound.data.datasets.classes import LISTS, class_names
from sightsound.registry import WEIGHTS
from sightsound.weights import load_foreign
from sightsound.weights.labels import read_labels

CASES = Path(__file__).parents[1] / "parity" / "cases" / "mbt"
CHECKPOINT = CASES / "checkpoint_5"
NAMES = ["bark", "meow", "music, loud", "speech", "rain", "train", "bell"]


def run(capsys: pytest.CaptureFixture, *argv: object) -> str:
    assert cli.main([str(token) for token in argv]) == 0
    return capsys.readouterr().out


def complaint(capsys: pytest.CaptureFixture, folder: Path, *argv: object) -> str:
    """The sentence of `convert` with a mistake; `folder` is as it was before."""
    before = sorted(folder.rglob("*"))
    assert cli.main(["convert", *(str(token) for token in argv)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("sightsound convert: ")
    assert sorted(folder.rglob("*")) == before
    return err


def labels_file(folder: Path, names: object = None) -> Path:
    path = folder / "names.json"
    path.write_text(json.dumps(NAMES if names is None else names))
    return path


def test_model_directory(tmp_path, capsys):
    output = tmp_path / "new" / "model"
    options = ("--config", CASES / "checkpoint_config.json", "--output", output)
    text = run(capsys, "convert", "scenic", CHECKPOINT, *options)
    assert text.startswith("From scenic: checkpoint_5:\nassumed: log-mel of front end mbt")
    assert "\ndropped: optimizer/state (not a parameter)\n" in text
    assert text.endswith(
        f"The model is in {output}. Use it, or train it further on your own videos:\n"
        f"  sightsound predict clip.mp4 --model {output}\n"
        f"  sightsound train videos/ --init {output}\n"
    )
    model = sightsound.load_model(output)
    config = json.loads((CASES / "checkpoint_config.json").read_text())
    original = load_foreign("scenic", CHECKPOINT, config)
    assert model.info.arguments == original.info.arguments and model.info.task == "multi"
    assert model.info.labels == {"label": [f"class_{index:03d}" for index in range(7)]}
    assert model.info.front_end == original.info.front_end
    for name, tensor in original.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    said = text.split("\nThe model is in")[0].splitlines()[1:]
    provenance = model.info.provenance
    assert said == provenance["inferred"] + [f"dropped: {each}" for each in provenance["dropped"]]
    assert sorted(path.name for path in output.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_fusion_layer(tmp_path, capsys):
    output = tmp_path / "model"
    text = run(capsys, "convert", "scenic", CHECKPOINT, "--output", output, "--fusion_layer", 1)
    assert sightsound.load_model(output).fusion_layer == 1
    assert "fusion from layer" not in text and "found: 5 fusion tokens" in text
    text = run(capsys, "convert", "scenic", CHECKPOINT, "--output", output)
    assert sightsound.load_model(output).fusion_layer == 2
    assert (
        "assumed: fusion from layer 2 of 3 on, two thirds, as in the paper; --fusion_layer changes"
        in text
    )
    config = CASES / "checkpoint_config.json"  # says 1
    options = ("--config", config, "--fusion_layer", 3)
    run(capsys, "convert", "scenic", CHECKPOINT, "--output", output, *options)
    assert sightsound.load_model(output).fusion_layer == 3
    entry = tmp_path / "entry.json"  # the same, as an index has it
    entry.write_text(json.dumps({"kind": "model", "config": json.loads(config.read_text())}))
    options = ("--config", entry, "--fusion_layer", 2)
    text = run(capsys, "convert", "scenic", CHECKPOINT, "--output", output, *options)
    assert sightsound.load_model(output).fusion_layer == 2 and "found: " not in text


def test_folder_of_checkpoints(tmp_path, capsys):
    shutil.copy(CHECKPOINT, tmp_path / "checkpoint_12")
    (tmp_path / "checkpoint_3").write_text("not opened")
    text = run(capsys, "convert", "scenic", tmp_path, "--output", tmp_path / "model")
    assert text.startswith("From scenic: checkpoint_12:\n")


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (NAMES, True),
        (NAMES[:-1], False),
        ([*NAMES[:-1], NAMES[0]], False),
        ([f"LABEL_{index}" for index in range(len(NAMES))], False),
    ],
    ids=["names", "too few", "one twice", "no names"],
)
def test_labels_beside_the_checkpoint(tmp_path, capsys, names, used):
    """As transformers writes them; what cannot be the names is passed over."""
    shutil.copy(CHECKPOINT, tmp_path / "checkpoint_5")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"id2label": dict(enumerate(names))}))
    text = run(
        capsys, "convert", "scenic", tmp_path / "checkpoint_5", "--output", tmp_path / "model"
    )
    labels = sightsound.load_model(tmp_path / "model").info.labels["label"]
    assert labels == (NAMES if used else [f"class_{index:03d}" for index in range(7)])
    assert (f"given: class names of {config}" in text) == used


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "\n".join([*NAMES, "", ""])),
        (
            "names.csv",
            "index,mid,display_name\n"
            + "".join(f'{i},/m/{i},"{n}"\n' for i, n in enumerate(NAMES)),
        ),
        ("names.csv", "\ufeffdisplay_name,mid\r\n" + "".join(f'"{n}",/m/0\r\n' for n in NAMES)),
        ("names.json", json.dumps(NAMES)),
        ("labels.json", json.dumps({"label": NAMES})),
        (
            "config.json",  # of transformers
            json.dumps({"id2label": {str(i): name for i, name in reversed([*enumerate(NAMES)])}}),
        ),
    ],
)
def test_labels(tmp_path, capsys, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    options = ("--labels", tmp_path / name, "--output", tmp_path / "model")
    text = run(capsys, "convert", "scenic", CHECKPOINT, *options)
    assert f"given: class names of {tmp_path / name}\n" in text
    assert sightsound.load_model(tmp_path / "model").info.labels == {"label": NAMES}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "a.txt",
            b"a\nb\n",
            "the model has 7 classes, but 'LABELS' has 2 classes; give a name for",
        ),
        ("a.txt", b"a\nb\na\n", "'LABELS' does not hold distinct class names; accepted: one per l"),
        ("a.txt", b"\xff\xfe\x00", "no class names can be read from 'LABELS': 'utf-8' codec"),
        ("a.json", b"{", "no class names can be read from 'LABELS': Expecting"),
        ("a.json", b"[1, 2]", "'LABELS' does not hold distinct class names"),
        ("a.json", b'{"label": 3}', "'LABELS' does not hold distinct class names"),
        ("a.json", b'"text"', "'LABELS' does not hold distinct class names"),
        ("a.json", b'{"verb": ["a"], "noun": ["b"]}', "has 1 classes of verb, 1 classes of noun"),
        ("a.csv", b"index,display_name\n0,a\n2,b\n", "row 2 has index 2 instead of 1"),
        ("a.csv", b"display_name\n,\n", "'LABELS' does not hold distinct class names"),
    ],
)
def test_wrong_labels(tmp_path, capsys, name, content, sentence):
    path = tmp_path / name
    path.write_bytes(content)
    options = ("--labels", path, "--output", tmp_path / "model")
    text = complaint(capsys, tmp_path, "scenic", CHECKPOINT, *options)
    assert sentence in text.replace(str(path), "LABELS")


def test_audioset_names(tmp_path, capsys):
    shapes = json.loads((CASES / "vitb_param_shapes.json").read_text())
    blocks = tuple(f"Transformer/encoderblock_{layer}" for layer in range(1, 12))
    smaller = {k: v for k, v in shrunken(shapes).items() if not k.startswith(blocks)}
    path = write_checkpoint(tmp_path / "checkpoint_1", random_params(smaller))
    text = run(capsys, "convert", "scenic", path, "--output", tmp_path / "model")
    assert "assumed: the 527 classes are AudioSet's, in the order of its list\n" in text
    labels = sightsound.load_model(tmp_path / "model").info.labels
    assert labels == {"label": class_names("audioset")} and labels["label"][0] == "Speech"
    assert read_labels(LISTS / "audioset.csv") == labels["label"]


def test_several_heads(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("dataset_configs:\n  class_splits: [3, 4]\n  split_names: [verb, noun]\n")
    options = ("--config", config, "--output", tmp_path / "model")
    names = {"noun": NAMES[3:], "verb": NAMES[:3]}
    run(capsys, "convert", "scenic", CHECKPOINT, *options, "--labels", labels_file(tmp_path, names))
    model = sightsound.load_model(tmp_path / "model")
    assert list(model.info.labels) == ["verb", "noun"] and model.info.labels == names
    run(capsys, "convert", "scenic", CHECKPOINT, *options)
    labels = sightsound.load_model(tmp_path / "model").info.labels
    assert labels["verb"] == ["class_000", "class_001", "class_002"]
    text = complaint(
        capsys, tmp_path, "scenic", CHECKPOINT, *options, "--labels", labels_file(tmp_path)
    )
    assert "the model has 3 classes of verb, 4 classes of noun, but" in text


def write_videos(folder: Path) -> Path:
    """Two classes with three clips each of the test split: a second of grey, and a tone."""
    for number, name in enumerate(("bark", "meow") * 3):
        path = folder / "test" / name / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        times = np.arange(10) / 10
        write_clip(path, levels=[20 * number + 40] * 10, times=times, sound=tone(1.0))
    return folder


def test_converted_model_predicts_and_is_evaluated(tmp_path, capsys):
    videos = write_videos(tmp_path / "videos")
    model = tmp_path / "model"
    options = ("--labels", labels_file(tmp_path), "--output", model)
    run(capsys, "convert", "scenic", CHECKPOINT, *options)
    clip = videos / "test" / "bark" / "0.mp4"
    records = json.loads(run(capsys, "predict", clip, "--model", model, "--format", "json"))
    assert sorted(records[0]["scores"]["audio+video"]) == sorted(NAMES)
    options = ("--num_workers", 0, "--bootstrap", 0, "--output", tmp_path / "scores")
    assert "mAP" in run(capsys, "evaluate", model, videos, *options)


def test_an_image_vit(tmp_path, capsys):
    output = tmp_path / "model"
    text = run(capsys, "convert", "vit", CASES / "vit_scenic_checkpoint_7", "--output", output)
    assert "\ndropped: optimizer/state (not a parameter)\n" in text
    assert f"\n  sightsound predict clip.mp4 --model {output}\n" in text
    assert sightsound.load_model(output).modalities == ("video",)


def test_an_untrained_start(tmp_path, capsys):
    told = json.loads((CASES / "INDEX.json").read_text())["vit_init.npz"]["variants"]
    config, output = tmp_path / "mbt.json", tmp_path / "model"
    config.write_text(json.dumps(told["sampling_token"]["config"]))
    options = ("--config", config, "--output", output)
    text = run(capsys, "convert", "vit", CASES / "vit_big_vision.npz", *options)
    assert "slips included" in text and "predict" not in text
    assert "\nuntrained, as the ViT does not give it: audio.cls, head.weight, head.bias\n" in text
    assert "\ndropped: opt/target/output_projection/kernel (other classes)\n" in text
    assert text.endswith(
        f"The model is in {output}. Its classifier is untrained. Train it on your own videos:\n"
        f"  sightsound train videos/ --init {output}\n"
    )
    assert sightsound.load_model(output).modalities == ("audio", "video")


def test_help_tells_the_kinds(capsys):
    text = run(capsys, "convert", "--help")
    assert "  scenic     an official MBT: " in text and "  vit        an image ViT of big" in text
    assert "alone\n" in text and "as the start of the MBT in --config" in text
    assert "slips included; 'faithful: false' in the file leaves them out" in text
    assert "[--fusion_layer N]" in text.split("\n\n")[0]
    assert "\n  sightsound convert vit ViT-B_16.npz --config mbt.json --output start/" in text
    assert all(f"\n  {kind} " in text for kind in WEIGHTS)


# ---------------------------------------------------------------------------- mistakes


def holds_something_else(path: Path) -> str:
    return (
        f"--output {str(path)!r} holds something else than a model; name a new folder, an empty "
        "one, or that of a model to replace"
    )


@pytest.mark.parametrize(
    "files",
    [
        {"README.md": "my project"},
        {"config.json": '{"name": "my app"}', "model.safetensors": "x"},
        {"config.json": '{"model_type": "vit"}', "model.safetensors": "x"},  # Hugging Face's
        {"config.json": '{"model": "vit"}', "model.safetensors": "x"},
        {"config.json": '{"model": {"name": "mbt"}}'},
        {"config.json": "no JSON", "model.safetensors": "x"},
    ],
)
def test_other_peoples_files_are_not_overwritten(tmp_path, capsys, files: dict[str, str]):
    output = tmp_path / "project"
    output.mkdir()
    for name, content in files.items():
        (output / name).write_text(content)
    broken = tmp_path / "checkpoint_9"
    broken.write_text("not opened")
    text = complaint(capsys, tmp_path, "scenic", broken, "--output", output)
    assert text == f"sightsound convert: {holds_something_else(output)}\n"
    assert {path.name: path.read_text() for path in output.iterdir()} == files


def test_an_empty_folder_is_filled(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    run(capsys, "convert", "scenic", CHECKPOINT, "--output", tmp_path / "model")
    assert sightsound.load_model(tmp_path / "model").info.name == "mbt"


def test_damaged_checkpoint_leaves_the_old_model(tmp_path, capsys):
    model = tmp_path / "model"
    run(capsys, "convert", "scenic", CHECKPOINT, "--output", model)
    before = (model / "model.safetensors").read_bytes()
    path = tmp_path / "checkpoint_6"
    path.write_bytes(CHECKPOINT.read_bytes()[:-1000])
    text = complaint(capsys, tmp_path, "scenic", path, "--output", model)
    assert f"{str(path)!r} is not a whole checkpoint of Flax: it ends too early" in text
    assert (model / "model.safetensors").read_bytes() == before
    text = complaint(capsys, tmp_path, "scenic", path, "--output", tmp_path / "other" / "model")
    assert "it ends too early" in text


def test_existing_model_is_replaced(tmp_path, capsys):
    model = tmp_path / "model"
    run(capsys, "convert", "scenic", CHECKPOINT, "--output", model)
    run(capsys, "convert", "scenic", CASES / "model_late_L4.npz", "--output", model)
    assert sightsound.load_model(model).info.arguments["depth"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_mistakes(tmp_path, capsys):
    output = ("--output", tmp_path / "model")
    text = complaint(capsys, tmp_path, "scenic", CASES / "checkpoint_4", *output)
    assert "no such file or folder: " in text and "Did you mean" in text
    text = complaint(capsys, tmp_path, "scenic", CASES / "INDEX.json", *output)
    assert "INDEX.json' is not a whole checkpoint of Flax: the file is not a table" in text
    text = complaint(capsys, tmp_path, "scenic", CASES, "--fusion_layer", 4, *output)
    assert "of 3 layers, so 0 (early fusion) to 3 (late fusion) is accepted" in text
    text = complaint(capsys, tmp_path, "scenic", CHECKPOINT, "--fusion_layer", "x", *output)
    assert "fusion_layer cannot be 'x': expected a whole number" in text
    (tmp_path / "file").touch()
    text = complaint(capsys, tmp_path, "scenic", CHECKPOINT, "--output", tmp_path / "file")
    assert f"--output {str(tmp_path / 'file')!r} is a file; name a folder for the model" in text
    text = complaint(capsys, tmp_path, "vit", CHECKPOINT, *output)
    assert "checkpoint_5' is an MBT of Scenic, no image ViT: it holds " in text
    (tmp_path / "config.yaml").write_text("a: [")
    config = ("--config", tmp_path / "config.yaml")
    text = complaint(capsys, tmp_path, "scenic", CHECKPOINT, *config, *output)
    assert "config.yaml' is neither JSON nor YAML: " in text
    (tmp_path / "config.yaml").write_text("[1]")
    text = complaint(capsys, tmp_path, "scenic", CHECKPOINT, *config, "--fusion_layer", 1, *output)
    assert "config.yaml' holds no table of settings with a part 'model'" in text
    text = complaint(capsys, tmp_path, "vit", CHECKPOINT, "--fusion_layer", 1, *output)
    assert "--fusion_layer goes with kind scenic, not with vit" in text
