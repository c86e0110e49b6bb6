"""Released checkpoints of UniFormer and AST: containers, names, gaps, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sightsound.cli import main
from sightsound.media.front_end import FrontEnd
from sightsound.models.pretrained import copy_matching, load_pretrained
from sightsound.models.unimodal import ASTClassifier, UniFormerClassifier
from sightsound.types import AUDIO, VIDEO
from sightsound.weights import load_foreign
from sightsound.weights.released import read_checkpoint
from sightsound.weights.tensors import is_pickled

CASES = Path(__file__).parents[1] / "parity" / "cases" / "avt"
INDEX = json.loads((CASES / "INDEX.json").read_text())
FILES = {"uniformer": "uniformer_tiny_a", "ast": "ast_tiny_a"}
every_kind = pytest.mark.parametrize("kind", FILES)


def entry(kind: str) -> dict:
    return INDEX[kind][FILES[kind]]


def tensors(kind: str) -> dict[str, Tensor]:
    """The state dict as its authors' program has it."""
    with np.load(CASES / f"{FILES[kind]}.npz") as archive:
        return {
            key.removeprefix("sd/"): torch.from_numpy(value)
            for key, value in archive.items()
            if key.startswith("sd/")
        }


def expected(kind: str):
    return load_foreign(kind, CASES / f"{FILES[kind]}.npz", entry(kind))


def saved(folder: Path, content: object, name: str = "weights.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def same(model: torch.nn.Module, other: torch.nn.Module) -> bool:
    wanted = other.state_dict()
    return all(torch.equal(value, wanted[key]) for key, value in model.state_dict().items())


@every_kind
@pytest.mark.parametrize("wrapper", [None, "model", "model_state", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."], ids=["alone", "parallel"])
def test_pytorch_files(tmp_path, kind: str, wrapper: str | None, prefix: str):
    content = {prefix + name: value for name, value in tensors(kind).items()}
    if wrapper:
        content = {"epoch": 3, wrapper: content, "optimizer_state": {"lr": 0.1}, "cfg": "text"}
    model = load_foreign(kind, saved(tmp_path, content), entry(kind))
    assert same(model, expected(kind))
    dropped = model.info.provenance["dropped"]
    assert ("epoch" in dropped and "cfg" in dropped) == bool(wrapper)
    assert not model.training


@every_kind
@pytest.mark.parametrize("prefix", ["sd/", "params/", ""], ids=["sd", "params", "bare"])
def test_archives(tmp_path, kind: str, prefix: str):
    arrays = {prefix + name: value.numpy() for name, value in tensors(kind).items()}
    np.savez(tmp_path / "x.npz", **arrays, **{"in/x": np.zeros(2), "out64/logits": np.zeros(2)})
    for config in (entry(kind), {"config": entry(kind)}):
        assert same(load_foreign(kind, tmp_path / "x.npz", config), expected(kind))


@every_kind
def test_the_whole_index_is_accepted(kind: str):
    assert same(load_foreign(kind, CASES / f"{FILES[kind]}.npz", INDEX), expected(kind))


@every_kind
def test_every_tensor_arrives(kind: str):
    """Each in one place: no two of ours are equal, and all but the dead ones are there."""
    sums = {round(float(v.double().sum()), 6) for v in tensors(kind).values() if v.ndim > 1}
    ours = expected(kind).state_dict()
    found = {round(float(v.double().sum()), 6) for v in ours.values() if v.ndim > 1}
    dead = 2 if kind == "ast" else 0
    assert found <= sums and len(found) == len(sums) - dead


@every_kind
def test_front_end_and_round_trip(tmp_path, kind: str):
    model = expected(kind)
    front_end = FrontEnd.from_dict(model.info.front_end)
    name = model.modality
    assert front_end.name == "ast" and front_end.shapes[name] == getattr(model, name).shape
    loaded = load_pretrained(model.save_pretrained(tmp_path / "model"))
    assert same(loaded, model)
    inputs = {k: torch.randn_like(v) for k, v in model.example_inputs().items()}
    assert torch.equal(loaded(inputs).logits, model(inputs).logits)


@every_kind
def test_other_classes_leave_the_classifier_out(tmp_path, kind: str):
    changes = {"num_classes": 5} if kind == "uniformer" else {"label_dim": 5}
    model = load_foreign(kind, CASES / f"{FILES[kind]}.npz", entry(kind) | changes)
    assert model.heads == {"label": 5}
    assert {"head.weight", "head.bias"} <= set(model.info.provenance["untrained"])
    left = [n for n in model.info.provenance["dropped"] if n.endswith("(other classes)")]
    assert len(left) == (2 if kind == "uniformer" else 4)


@every_kind
def test_a_file_without_classifier_is_a_start(tmp_path, kind: str):
    content = {k: v for k, v in tensors(kind).items() if not k.startswith(("head", "mlp_head"))}
    without = {k: v for k, v in entry(kind).items() if k not in ("num_classes", "label_dim")}
    model = load_foreign(kind, saved(tmp_path, content), without)
    assert model.heads == {"label": 400 if kind == "uniformer" else 527}
    assert model.info.provenance["untrained"]


# ---------------------------------------------------------------- UniFormer


def image_uniformer() -> dict[str, Tensor]:
    """A UniFormer of pictures: kernels without the axis of time."""
    return {
        name: value.sum(2) if value.ndim == 5 else value
        for name, value in tensors("uniformer").items()
    }


def test_pictures_become_clips(tmp_path):
    """A still clip goes through the inflated first kernel as the picture through its own."""
    path = saved(tmp_path, {"model": image_uniformer()})
    picture = torch.randn(1, 3, 8, 8)
    clip = picture[:, :, None].expand(-1, -1, 5, -1, -1)
    name = "patch_embed1.proj"
    given = image_uniformer()
    wanted = torch.nn.functional.conv2d(picture, given[f"{name}.weight"], given[f"{name}.bias"], 4)
    model = load_foreign("uniformer", path, entry("uniformer"))
    torch.testing.assert_close(model.video.stage1.patches(clip)[:, :, 1], wanted)
    assert "19 kernels got an axis of time (inflation mean)" in told(model)
    centred = load_foreign("uniformer", path, entry("uniformer") | {"inflation": "center"})
    torch.testing.assert_close(centred.video.stage1.patches(clip)[:, :, 1], wanted)
    kernel = centred.video.stage1.patches.weight
    assert torch.equal(kernel[:, :, 1], given[f"{name}.weight"]) and not kernel[:, :, 0].any()
    with pytest.raises(ValueError, match="unknown inflation 'repeat'.*center, mean"):
        load_foreign("uniformer", path, entry("uniformer") | {"inflation": "repeat"})


def told(model) -> str:
    return "; ".join(model.info.provenance["inferred"])


def test_what_a_uniformer_file_does_not_tell(tmp_path):
    model = load_foreign("uniformer", CASES / "uniformer_tiny_a.npz")
    assert model.video.shape == (16, 224, 224) and model.info.arguments["head_width"] == 64
    assert "heads 64 wide" in told(model) and "16 frames of 224 x 224" in told(model)


def test_queries_without_biases(tmp_path):
    content = {k: v for k, v in tensors("uniformer").items() if not k.endswith("qkv.bias")}
    path = saved(tmp_path, content)
    with pytest.raises(ValueError, match="missing: video.stage3.*qkv.bias"):
        load_foreign("uniformer", path, entry("uniformer"))
    model = load_foreign("uniformer", path, entry("uniformer") | {"qkv_bias": False})
    assert not model.video.stage3.layers[0].block.attention.qkv.bias.any()
    assert "no biases: zeros" in told(model)


# ---------------------------------------------------------------- AST


def deit() -> dict[str, Tensor]:
    """A DeiT with distillation, for 64 x 64 pictures of three channels: a grid of 4 x 4."""
    given = {k.removeprefix("v."): v for k, v in tensors("ast").items() if k.startswith("v.")}
    kernel = given["patch_embed.proj.weight"]
    positions = torch.randn(1, 2 + 16, kernel.shape[0])
    return given | {
        "patch_embed.proj.weight": torch.cat((kernel, 2 * kernel, 3 * kernel), dim=1),
        "pos_embed": positions,
    }


def test_a_deit_starts_an_ast(tmp_path):
    given, start = deit(), expected("ast")
    model = load_foreign("ast", saved(tmp_path, {"model": given}), entry("ast"))
    torch.testing.assert_close(model.audio.patches.weight, 6 * start.audio.patches.weight)
    assert torch.equal(
        model.audio.blocks[2].mlp.expand.weight, start.audio.blocks[2].mlp.expand.weight
    )
    assert model.audio.grid == (9, 12)
    assert torch.equal(model.audio.positions[:, :2], given["pos_embed"][:, :2])
    assert set(model.info.provenance["untrained"]) == {
        "head_norm.weight",
        "head_norm.bias",
        "head.weight",
        "head.bias",
    }
    assert "4 x 4 (time x mel) adapted to 9 x 12" in told(model) and "added up" in told(model)
    assert {"head.weight", "head_dist.weight"} <= set(model.info.provenance["dropped"])


def test_audioset_weights_for_another_length():
    """100 frames: nine columns of patches; of 60 frames: the five in the middle."""
    model = load_foreign("ast", CASES / "ast_tiny_a.npz", entry("ast") | {"input_tdim": 60})
    table = expected("ast").audio.positions
    start = 9 // 2 - 5 // 2
    assert model.audio.grid == (5, 12)
    assert torch.equal(model.audio.positions[:, 2:], table[:, 2 + 12 * start :][:, : 5 * 12])


def test_what_an_ast_file_does_not_tell():
    model = load_foreign("ast", CASES / "ast_tiny_a.npz")
    assert model.audio.shape == (96, 128) and model.info.arguments["num_heads"] == 1
    assert "96 frames of 128 mel bins, patches every 10" in told(model)
    assert "padding counts" in told(model)
    assert model.audio.padding == pytest.approx(0.46703, abs=1e-5)


# ---------------------------------------------------------------- errors


@every_kind
def test_files_that_are_none(tmp_path, kind: str):
    other = {"ast": "uniformer", "uniformer": "ast"}[kind]
    word = {"ast": "AST", "uniformer": "UniFormer"}[kind]
    with pytest.raises(ValueError, match=f"holds no {word}: names such as"):
        load_foreign(kind, CASES / f"{FILES[other]}.npz", None)
    with pytest.raises(FileNotFoundError, match="Did you mean"):
        load_foreign(kind, CASES / f"{FILES[kind]}.np", None)
    with pytest.raises(ValueError, match="holds no state dict of tensors"):
        load_foreign(kind, saved(tmp_path, {"epoch": 3}), None)
    with pytest.raises(ValueError, match="holds more than tensors and plain values.*torch.save"):
        load_foreign(kind, saved(tmp_path, {"model": Path("x")}), None)
    (tmp_path / "damaged.pth").write_bytes(saved(tmp_path, tensors(kind)).read_bytes()[:5000])
    with pytest.raises(ValueError, match="damaged.pth"):
        load_foreign(kind, tmp_path / "damaged.pth", None)


@every_kind
def test_missing_and_unknown_parts_of_layers(tmp_path, kind: str):
    given = tensors(kind)
    layer = "blocks3.1" if kind == "uniformer" else "v.blocks.1"
    extra = given | {f"{layer}.gamma_1": torch.ones(3)}
    with pytest.raises(ValueError, match=rf"another kind of model.*{layer}.gamma_1"):
        load_foreign(kind, saved(tmp_path, extra), entry(kind))
    less = {k: v for k, v in given.items() if k != f"{layer}.norm1.weight"}
    with pytest.raises(ValueError, match="missing: .*attention_norm.weight"):
        load_foreign(kind, saved(tmp_path, less), entry(kind))
    beside = given | {"logit_scale": torch.ones(1)}
    model = load_foreign(kind, saved(tmp_path, beside), entry(kind))
    assert "logit_scale" in model.info.provenance["dropped"]


def test_configurations_of_others(tmp_path):
    path = CASES / "uniformer_tiny_a.npz"
    with pytest.raises(ValueError, match=r"says dims is \[1, 2, 3, 4\], the tensors \[16, 32"):
        load_foreign("uniformer", path, entry("uniformer") | {"dims": [1, 2, 3, 4]})
    with pytest.raises(ValueError, match="a table of settings is accepted"):
        load_foreign("uniformer", path, {"uniformer": {"other": {}}})
    with pytest.raises(ValueError, match="positions are no grid with 13 places along mel"):
        load_foreign("ast", CASES / "ast_tiny_a.npz", entry("ast") | {"input_fdim": 140})
    given = {k: v for k, v in tensors("ast").items() if k != "v.dist_token"}
    with pytest.raises(ValueError, match="no distillation token"):
        load_foreign("ast", saved(tmp_path, given), entry("ast"))
    (tmp_path / "config.json").write_text("{")
    from safetensors.torch import save_file

    save_file(tensors("ast"), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="config.json' is not valid JSON"):
        load_foreign("ast", tmp_path)


# ---------------------------------------------------------------- models


@every_kind
def test_convert(tmp_path, capsys, kind: str):
    (tmp_path / "entry.json").write_text(json.dumps(entry(kind)))
    file, config = str(CASES / f"{FILES[kind]}.npz"), str(tmp_path / "entry.json")
    arguments = ["convert", kind, file, "--config", config, "--output", str(tmp_path / "model")]
    assert main(arguments) == 0
    assert f"From {kind}: {FILES[kind]}.npz:" in capsys.readouterr().out
    assert same(load_pretrained(tmp_path / "model"), expected(kind))


def test_starting_another_length_and_other_classes():
    source = expected("ast")
    arguments = source.info.arguments | {"heads": {"label": 3}, "audio_shape": (60, 128)}
    model = ASTClassifier(**arguments)
    report = copy_matching(model, source)
    assert report.interpolated == ["audio.positions"]
    assert set(report.untouched) == {"head.weight", "head.bias"}
    other = UniFormerClassifier(heads={"label": 3}, widths=(4, 8, 8, 16), head_width=4)
    assert "audio.positions" in copy_matching(other, source).not_taken


@every_kind
def test_inputs_that_do_not_fit(kind: str):
    model = expected(kind)
    name = model.modality
    wrong = {VIDEO: torch.zeros(1, 3, 8, 64, 64), AUDIO: torch.zeros(1, 100, 128)}[name]
    form = {VIDEO: r"\(B, T, C, H, W\) with 3", AUDIO: r"\(B, 1, F, M\) with 1"}[name]
    with pytest.raises(ValueError, match=f"{name} input has shape .*{form} channel"):
        model({name: wrong})
    with pytest.raises(ValueError, match="normalised floating point is accepted"):
        model({name: torch.zeros_like(model.example_inputs()[name]).byte()})
    with pytest.raises(ValueError, match="unknown modality 'smell'"):
        model({"smell": wrong})
    with pytest.raises(ValueError, match="inputs hold none of the model's modalities"):
        model({({VIDEO, AUDIO} - {name}).pop(): wrong})
    with pytest.raises(ValueError, match="heads is {}; give at least one head"):
        type(model)(**model.info.arguments | {"heads": {}})


def test_a_safetensors_file_may_start_like_a_pickle(tmp_path):
    """The first byte is that of the header's length: 0x80 in one file of 32."""
    path = tmp_path / "weights.safetensors"
    for spare in range(0, 256, 8):
        save_file({"a": torch.ones(2)}, path, metadata={"note": "x" * spare})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert not is_pickled(path)
    assert read_checkpoint(path).tensors["a"].tolist() == [1, 1]
