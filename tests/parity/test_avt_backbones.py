"""UniFormer's and AST's stored numbers, reproduced."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from avt_cases import Case, difference, differences, index, too_far

from sightsound.flops import count_flops
from sightsound.models.backbones.ast import adapted_positions
from sightsound.models.unimodal import ASTClassifier, UniFormerClassifier
from sightsound.weights import ast, uniformer
from sightsound.weights.ast import turned_kernel, turned_positions
from sightsound.weights.released import Checkpoint
from sightsound.weights.uniformer import inflated


def test_uniformer(cases: Path, avt_uniformer: str):
    case = Case.read(cases, "uniformer", avt_uniformer)
    model = case.model()
    stages = {f"out/{kind}{n}" for kind in ("patch_embed", "stage") for n in (1, 2, 3, 4)}
    assert {*stages, "out/final_norm", "out/logits"} <= set(differences(case, model))
    assert too_far(case, model) == {}
    assert model.info.provenance["dropped"] == []


def test_ast(cases: Path, avt_ast: str):
    case = Case.read(cases, "ast", avt_ast)
    model = case.model()
    assert {"out/patch_embed", "out/block0", "out/logits"} <= set(differences(case, model))
    assert too_far(case, model) == {}
    assert all(n.startswith(("v.head.", "v.head_d")) for n in model.info.provenance["dropped"])


def test_ast_adaptation(cases: Path, avt_adaptation: str):
    """A DeiT's positions and kernel for a spectrogram: cut out, interpolated, added up."""
    arrays = np.load(cases / "avt" / f"{avt_adaptation}.npz")
    for entry in index(cases)["ast"][avt_adaptation]["cases"]:
        given = {
            name: torch.from_numpy(arrays[f"{entry['tag']}/{name}"])
            for name in ("in_pos_embed", "out_pos_embed", "in_proj_weight", "out_proj_weight")
        }
        old, new = (entry["image_grid"],) * 2, tuple(entry["f_t_grid"][::-1])
        ours = adapted_positions(turned_positions(given["in_pos_embed"], old), old, new)
        theirs = turned_positions(given["out_pos_embed"], new)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
        kernel = given["out_proj_weight"].transpose(2, 3)
        torch.testing.assert_close(
            turned_kernel(given["in_proj_weight"]), kernel, rtol=0, atol=1e-6
        )


def test_inflation(cases: Path):
    arrays = np.load(cases / "avt" / "misc.npz")
    names = [name.split("/")[0] for name in arrays.files if name.endswith("/in")]
    assert names
    for name in names:
        for method in ("mean", "center"):
            stored = arrays[f"{name}/out_{method}"]
            ours = inflated(torch.from_numpy(arrays[f"{name}/in"]), stored.shape[2], method=method)
            assert difference(ours, stored) <= 1e-7


@pytest.mark.parametrize(
    "convert, file, number, dead",
    [
        (uniformer.convert, "uniformer_b_k400_keys.json", 687, 0),
        (ast.convert, "ast_base_audioset_keys.json", 159, 1_538_000),
    ],
    ids=["uniformer", "ast"],
)
def test_names_of_the_released_checkpoints(cases: Path, convert, file: str, number: int, dead: int):
    """Every name is used, but for two classifiers of AST's that the authors do not use either."""
    listed = json.loads((cases / "avt" / file).read_text())
    with torch.device("meta"):
        tensors = {name: torch.empty(shape) for name, shape, *_ in listed["keys"]}
        model = convert(Checkpoint(Path(file), tensors), {})
    assert len(tensors) == number == listed["n_keys"]
    dropped = model.info.provenance["dropped"]
    unused = [f"module.v.{h}.{leaf}" for h in ("head", "head_dist") for leaf in ("weight", "bias")]
    assert sorted(dropped) == (sorted(unused) if dead else [])
    assert sum(p.numel() for p in model.parameters()) == listed["n_params"] - dead
    assert not model.info.provenance.get("untrained")


@pytest.mark.parametrize("size, letter", [("base", "B"), ("small", "S")])
@pytest.mark.parametrize("frames", [8, 16, 32])
def test_work_of_uniformer(cases: Path, size: str, letter: str, frames: int):
    shape = (frames, 224, 224)
    rows = count_flops(
        lambda: UniFormerClassifier(heads={"label": 400}, size=size, video_shape=shape)
    )
    stored = json.loads((cases / "avt" / "flops.json").read_text())["encoders_and_mbt"]
    name = f"UniFormer-{letter} {frames}x224x224 GMAC (torch flop_counter/2)"
    assert rows[-1].products / 2e9 == pytest.approx(stored[name], rel=1e-9)
    assert rows[-1].tokens == frames // 2 * 49


@pytest.mark.parametrize("stride, tokens", [(10, 1214), (16, 514)])
def test_work_of_ast(cases: Path, stride: int, tokens: int):
    rows = count_flops(lambda: ASTClassifier(heads={"label": 527}, stride=(stride, stride)))
    stored = json.loads((cases / "avt" / "flops.json").read_text())["encoders_and_mbt"]
    entry = stored[f"AST 1024x128 stride {stride}"]
    assert rows[0].tokens == entry["tokens"] == tokens
    assert rows[0].products / 2e9 == pytest.approx(entry["GMAC"], rel=1e-9)
