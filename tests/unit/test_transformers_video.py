"""Video transformers of `transformers`: their logits, what is taken over, and mistakes."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sightsound.cli import main
from sightsound.models.avt import AVT
from sightsound.models.backbones.transformers_video import FAMILIES, TransformersVideo
from sightsound.models.pretrained import copy_matching, load_pretrained
from sightsound.types import AUDIO, VIDEO
from sightsound.weights import load_foreign

SMALL = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
CLIP = SMALL | dict(num_frames=4, image_size=16)
PATCHES = dict(patch_size=8, tubelet_size=2)
CONFIGS = {
    "videomae": CLIP | PATCHES,
    "vivit": CLIP | {"tubelet_size": [2, 8, 8]},
    "timesformer": CLIP | {"patch_size": 8},
    "vjepa2": SMALL
    | PATCHES
    | dict(frames_per_clip=4, crop_size=16, mlp_ratio=2.0, num_pooler_layers=1)
    | dict(pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1),
}
PROCESSOR = {
    "image_mean": [0.5] * 3,
    "image_std": [0.25] * 3,
    "size": {"shortest_edge": 18},
    "do_center_crop": True,
    "crop_size": {"height": 16, "width": 16},
}
NAMES = ["archery", "bowling", "singing"]


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers")


def write(transformers, folder: Path, kind: str, *, head: str = "Classification", **config):
    """A folder as `save_pretrained` writes it, and the model in it, every weight random."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **CONFIGS[kind] | config)
    config.id2label = dict(enumerate(NAMES))
    auto = f"AutoModelFor{head}" if head else "AutoModel"
    model = getattr(transformers, auto.replace("Class", "VideoClass")).from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return model


def clips() -> Tensor:
    return torch.randn(2, 4, 3, 16, 16)


@torch.no_grad()
@pytest.mark.parametrize(
    "kind, config",
    [
        ("videomae", {}),
        ("videomae", {"use_mean_pooling": False}),
        ("vivit", {}),
        ("timesformer", {}),
        ("timesformer", {"attention_type": "joint_space_time"}),
    ],
)
def test_their_logits(transformers, tmp_path, kind, config):
    theirs = write(transformers, tmp_path / "theirs", kind, **config)
    ours = load_foreign("transformers_video", tmp_path / "theirs")
    x = clips()
    expected = theirs(x).logits
    assert expected.std() > 0.05
    torch.testing.assert_close(ours({VIDEO: x}).logits, expected, rtol=0, atol=1e-6)
    assert ours.info.provenance["dropped"] == [] and "untrained" not in ours.info.provenance
    numbers = ours.info.front_end["video"]
    assert (numbers["num_frames"], numbers["height"], numbers["short_side"]) == (4, 16, 18)
    assert (numbers["mean"][0], numbers["deviation"][0]) == (127.5, 63.75)

    shutil.rmtree(tmp_path / "theirs")  # the model stands for itself
    again = load_pretrained(ours.save_pretrained(tmp_path / "ours"))
    assert torch.equal(again({VIDEO: x}).logits, ours({VIDEO: x}).logits)


@torch.no_grad()
def test_v_jepa_2_without_its_own_pooling(transformers, tmp_path):
    theirs = write(transformers, tmp_path, "vjepa2")
    ours = load_foreign("transformers_video", tmp_path / "model.safetensors")
    tokens = theirs.vjepa2(clips(), skip_predictor=True).last_hidden_state
    assert ours.video(clips()).tokens.shape == tokens.shape
    x = clips()
    expected = theirs.vjepa2(x, skip_predictor=True).last_hidden_state
    torch.testing.assert_close(ours.video(x).tokens, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.video(x).pooled, expected.mean(1), rtol=0, atol=1e-6)
    dropped = ours.info.provenance["dropped"]
    assert {name.split(".")[0] for name in dropped} == {"vjepa2", "pooler", "classifier"}
    assert all(".predictor." in name for name in dropped if name.startswith("vjepa2"))
    assert ours.info.provenance["untrained"] == ["head.weight", "head.bias"]


@torch.no_grad()
def test_weights_without_a_classifier(transformers, tmp_path):
    theirs = write(transformers, tmp_path, "vivit", head="")
    ours, x = load_foreign("transformers_video", tmp_path), clips()
    expected = theirs(x).last_hidden_state
    torch.testing.assert_close(ours.video(x).tokens, expected, rtol=0, atol=1e-6)
    assert ours.info.provenance["dropped"] == ["pooler.dense.weight", "pooler.dense.bias"]
    assert ours.info.provenance["untrained"] == ["head.weight", "head.bias"]
    assert ours.heads == {"label": 3}


def test_the_command_names_the_classes_and_starts_avt(transformers, tmp_path, capsys):
    write(transformers, tmp_path / "theirs", "videomae")
    capsys.readouterr()  # of transformers' bars
    command = ["convert", "transformers_video", str(tmp_path / "theirs")]
    assert main([*command, "--output", str(tmp_path / "ours")]) == 0
    said = capsys.readouterr()
    assert f"given: class names of {tmp_path / 'theirs' / 'config.json'}" in said.out
    assert "assumed: 4 frames, 0.133 s apart" in said.out and said.err == ""
    source = load_pretrained(tmp_path / "ours")
    assert source.info.labels == {"label": NAMES}
    model = avt(config=str(tmp_path / "theirs"))
    report = copy_matching(model, source)
    assert set(report.not_taken) == {"head.weight", "head.bias"}
    for name, tensor in source.video.state_dict().items():
        assert torch.equal(model.video.state_dict()[name], tensor)
    options = model.info.arguments["video_options"]
    assert options["config"]["model_type"] == "videomae" and "id2label" not in options["config"]


def avt(shape=(4, 16, 16), **options) -> nn.Module:
    return AVT(
        heads={"label": 5},
        video_shape=shape,
        video_backbone="transformers_video",
        video_options=options,
        audio_shape=(36, 16),
        audio_options=dict(width=16, num_heads=2, depth=1, patch=(8, 8), stride=(5, 4)),
        num_heads=2,
    )


@torch.no_grad()
@pytest.mark.parametrize("kind", list(FAMILIES))
def test_avt_with_each_of_them(transformers, kind, tmp_path):
    config = {"model_type": kind, **CONFIGS[kind]}
    model = avt(config=config).eval()
    assert model.projections[VIDEO].in_features == 24
    inputs = {VIDEO: clips(), AUDIO: torch.randn(2, 1, 36, 16)}
    valid = {VIDEO: torch.tensor([[True, True, False, False], [True] * 4])}
    logits = model(inputs, valid=valid).logits
    again = load_pretrained(model.save_pretrained(tmp_path / "model"))
    assert torch.equal(again(inputs, valid=valid).logits, logits)


def test_stochastic_depth_where_there_is_one(transformers):
    for kind in FAMILIES:
        given = dict(config={"model_type": kind, **CONFIGS[kind]}, stochastic_depth=0.3)
        if kind == "vjepa2":
            assert TransformersVideo((4, 16, 16), **given).config.drop_path_rate == 0.3
            continue
        with pytest.raises(ValueError, match=f"stochastic_depth is 0.3, but {kind} takes none"):
            TransformersVideo((4, 16, 16), **given)


# ------------------------------------------------------------------- mistakes


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"'transformers'.*pip install 'sightsound\[hf\]'"
    ):
        TransformersVideo((4, 16, 16), config={"model_type": "videomae"})


@pytest.mark.parametrize(
    "shape, config, message",
    [
        ((4, 16, 16), None, "backbone transformers_video needs its option config: a local folder"),
        (
            (4, 16, 16),
            {"model_type": "swin"},
            "unknown model_type of a transformers_video 'swin'; ",
        ),
        ((4, 16, 16), {"hidden_size": 8}, "unknown model_type of a transformers_video None; known"),
        ((4, 16, 24), {"model_type": "vjepa2"}, "vjepa2 reads square pictures, not 16 x 24; set"),
        ((1, 16, 16), {"model_type": "videomae"}, "(1, 16, 16) is smaller than the patch (2, 16,"),
        (
            (4, 16, 16),
            {"model_type": "timesformer", "attention_type": "space_only"},
            "attention_type is 'space_only', which has no tokens in time; accepted: divided",
        ),
    ],
)
def test_a_configuration_that_does_not_do(transformers, shape, config, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        TransformersVideo(shape, config=config)


def test_clips_of_another_size(transformers):
    backbone = TransformersVideo((4, 16, 16), config={"model_type": "vivit", **CONFIGS["vivit"]})
    with pytest.raises(ValueError, match=re.escape("(4, 16, 24) was given, but vivit is built fo")):
        backbone(torch.zeros(1, 4, 3, 16, 24))


def test_a_folder_with_nothing_in_it(transformers, tmp_path):
    with pytest.raises(FileNotFoundError, match="which has no config.json; accepted: a folder as"):
        load_foreign("transformers_video", tmp_path)
    write(transformers, tmp_path, "vivit")
    (tmp_path / "model.safetensors").rename(tmp_path / "weights")
    with pytest.raises(FileNotFoundError, match="has no model.safetensors; fetch the whole folder"):
        load_foreign("transformers_video", tmp_path)


def test_weights_of_another_save(transformers, tmp_path):
    write(transformers, tmp_path, "vivit")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"have no vivit.layers.2.*, which its config.json wants"):
        load_foreign("transformers_video", tmp_path)


def test_an_option_that_the_backbone_does_not_have():
    with pytest.raises(ValueError, match="unknown option of backbone vit 'widths'; known: attenti"):
        AVT(heads={"label": 2}, video_backbone="vit", video_options={"widths": [8]})
