"""Models on disk, and starting one model from another."""

import json
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import SMALL_MBT

import sightsound
from sightsound.media.front_end import FrontEnd
from sightsound.models.mbt import MBT
from sightsound.models.pretrained import load_pretrained, model_card
from sightsound.weights.hub import initialise_from, load_model

SMALL = SMALL_MBT | {"heads": {"label": 2}}


@pytest.fixture
def model() -> MBT:
    model = MBT(**SMALL)
    torch.nn.init.normal_(model.head.weight)
    model.info.labels = {"label": ["cat", "dog"]}
    model.info.front_end = FrontEnd().to_dict()
    model.info.provenance = {"run": "first"}
    model.info.prevalence = [0.25, 0.5]
    return model


def test_round_trip(model: MBT, tmp_path):
    directory = model.save_pretrained(tmp_path / "model")
    assert sorted(p.name for p in directory.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    loaded = sightsound.load_model(directory)
    assert loaded.info == model.info
    assert FrontEnd.from_dict(loaded.info.front_end) == FrontEnd()
    config = json.loads((directory / "config.json").read_text())
    assert config["model"]["name"] == "mbt" and config["model"]["width"] == 8
    card = (directory / "README.md").read_text()
    assert "cat, dog" in card and "run: first" in card


def test_lists_in_the_card_are_lists(model: MBT):
    model.info.provenance = {"step": 3, "inferred": ["found: it", "assumed: that"], "dropped": []}
    assert model_card(model).endswith(
        "\n* step: 3\n* inferred:\n  * found: it\n  * assumed: that\n* dropped:\n  * nothing\n"
    )


def test_saving_again_replaces_the_files_and_leaves_nothing_else(model: MBT, tmp_path):
    model.save_pretrained(tmp_path / "model")
    with torch.no_grad():
        model.head.bias.fill_(3.0)
    model.save_pretrained(tmp_path / "model")
    assert load_model(tmp_path / "model").head.bias.tolist() == [3.0, 3.0]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_failed_save_leaves_the_old_model(model: MBT, tmp_path):
    model.save_pretrained(tmp_path / "model")
    before = load_file(tmp_path / "model" / "model.safetensors")
    with torch.no_grad():
        model.head.bias.fill_(3.0)
    with mock.patch("sightsound.models.pretrained.model_card", side_effect=OSError("disk full")):
        with pytest.raises(OSError, match="disk full"):
            model.save_pretrained(tmp_path / "model")
    after = load_file(tmp_path / "model" / "model.safetensors")
    assert torch.equal(before["head.bias"], after["head.bias"])
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_missing_directory_and_files(model: MBT, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere' does not exist; give the directory"):
        load_model(tmp_path / "nowhere")
    directory = model.save_pretrained(tmp_path / "run" / "model")
    with pytest.raises(FileNotFoundError, match="It is a run: give its model/ folder"):
        load_model(tmp_path / "run")
    (directory / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors; a model is a direc"):
        load_model(directory)


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda t: t.pop("norm.bias"), "tensors missing: norm.bias"),
        (lambda t: t.update(extra=torch.zeros(1)), "tensors not known to the model: extra"),
        (
            lambda t: t.update({"norm.bias": torch.zeros(9)}),
            r"of another shape: norm.bias \(9,\) instead of \(8,\)",
        ),
    ],
)
def test_weights_that_do_not_fit(model: MBT, tmp_path, change, text: str):
    file = model.save_pretrained(tmp_path / "model") / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    with pytest.raises(ValueError, match=text):
        load_pretrained(tmp_path / "model")


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "is not valid JSON"),
        ("null", "has no .model. with a .name."),
        ("[1]", "has no .model. with a .name."),
        ("{}", "has no 'model'"),
        ('{"model": {"name": "mbtt"}}', "unknown model 'mbtt'"),
        ('{"model": {"name": "mbt", "heads": {"label": 2}, "depht": 3}}', "depht"),
        ('{"model": {"name": "mbt"}, "colour": 1}', "colour"),
    ],
)
def test_broken_configuration(model: MBT, tmp_path, text: str, message: str):
    directory = model.save_pretrained(tmp_path / "model")
    (directory / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_model(directory)


def test_hub_names(model: MBT, tmp_path):
    directory = model.save_pretrained(tmp_path / "model")
    with mock.patch("huggingface_hub.snapshot_download", return_value=str(directory)) as download:
        loaded = load_model("hf:someone/mbt")
    assert download.call_args.args == ("someone/mbt",)
    assert torch.equal(loaded.head.weight, model.head.weight)
    for name in ("hf:mbt", "hf:a/b/c", "hf:/b"):
        with pytest.raises(ValueError, match="is not of the form 'hf:owner/name'"):
            load_model(name)


# ------------------------------------------------------------------------- initialise


def test_initialise_from_the_same_kind(model: MBT, tmp_path):
    directory = model.save_pretrained(tmp_path / "model")
    other = MBT(**SMALL)
    other.info.labels = model.info.labels
    report = initialise_from(other, directory)
    assert report.not_taken == {} and report.untouched == [] and report.interpolated == []
    state = model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())


def test_initialise_with_other_classes_and_sizes(model: MBT, tmp_path):
    directory = model.save_pretrained(tmp_path / "model")
    other = MBT(**SMALL | {"heads": {"label": 5}, "video_shape": (4, 32, 24), "depth": 3})
    other.info.front_end = model.info.front_end | {"audio": {"log_offset": 0.01}}
    before = other.head.weight.clone()
    report = initialise_from(other, directory)
    assert report.interpolated == ["video.positions.table"]
    assert report.not_taken == {"head.weight": "other classes", "head.bias": "other classes"}
    assert torch.equal(other.head.weight, before)
    assert torch.equal(
        other.video.blocks[1].mlp.expand.weight, model.video.blocks[1].mlp.expand.weight
    )
    assert torch.equal(other.audio.positions.table, model.audio.positions.table)
    corner = model.video.positions.table[0, 1]
    torch.testing.assert_close(other.video.positions.table[0, 1], corner)
    assert {name.split(".")[0] for name in report.untouched} == {"audio", "video", "head"}
    text = str(report)
    assert "positions interpolated: video.positions.table" in text
    assert "not taken over: head.weight (other classes)" in text
    assert "as before: " in text
    assert "front end differs: audio.log_offset: 0.0, now 0.01" in text


def test_classes_in_another_order_are_other_classes(model: MBT, tmp_path):
    directory = model.save_pretrained(tmp_path / "model")
    other = MBT(**SMALL)
    other.info.labels = {"label": ["dog", "cat"]}
    assert "head.weight" in initialise_from(other, directory).not_taken


def test_initialise_a_unimodal_model(model: MBT, tmp_path):
    directory = model.save_pretrained(tmp_path / "model")
    other = MBT(**SMALL | {"modalities": ("audio",), "width": 16})
    report = initialise_from(other, directory)
    assert report.not_taken["video.cls"] == "the model has no such part"
    assert report.not_taken["norm.weight"] == "its shape is (8,), the model's is (16,)"
    assert report.taken == []


def test_positions_of_another_grid_with_as_many_rows_are_interpolated(model: MBT, tmp_path):
    """4 x 2 x 2 and 4 x 4 x 1 patches fill tables of one shape, but other places."""
    directory = model.save_pretrained(tmp_path / "model")
    other = MBT(**SMALL | {"video_shape": (4, 32, 8)})
    assert initialise_from(other, directory).interpolated == ["video.positions.table"]


def test_unknown_attribute_of_the_package():
    with pytest.raises(AttributeError, match="module 'sightsound' has no attribute 'nothing'"):
        sightsound.nothing  # noqa: B018
    assert "load_model" in dir(sightsound)
