"""Starting an MBT from an image ViT, against what the official code made of the same ViT."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scenic_cases import LOGITS

from sightsound.models.mbt import MBT
from sightsound.types import VIDEO
from sightsound.weights import load_foreign, scenic
from sightsound.weights.flax import read_train_state
from sightsound.weights.image_vit import read_image_vit
from sightsound.weights.vit import Rules, initialise_from_vit

SENTINEL = 777.0  # in every tensor before the start: what still has it was not written

ADAPTED = {
    "Transformer/posembed_input/pos_embedding": "video.positions.table",
    "Transformer/posembed_input_spectrogram/pos_embedding": "audio.positions.table",
    "bottleneck": "fusion.tokens",
    "embedding/kernel": "video.patches.projection.weight",
}


def entry(cases: Path, name: str) -> dict:
    return json.loads((cases / "mbt" / "INDEX.json").read_text())[name]


def expected_model(arrays: dict, variant: str, told: dict) -> MBT:
    """What the official code made, put together from the stored parts, through our converter."""
    config = told["config"]
    ours = {official: arrays[f"vit/{of_vit}"] for official, of_vit in told["copied_verbatim"]}
    ours |= {key.removeprefix(f"{variant}/"): arrays[key] for key in told["adapted"]}
    width, classes = config["model"]["hidden_size"], config["dataset_configs"]["num_classes"]
    shapes = {
        "clsspectrogram": (1, 1, width),
        "output_projection/bias": (classes,),
        "output_projection/kernel": (width, classes),
    }
    ours |= {key: np.full(shapes[key], SENTINEL) for key in told["left_at_random_init"]}
    data = config["dataset_configs"]
    inputs = {
        "rgb": (1, data["num_frames"], data["crop_size"], data["crop_size"], 3),
        "spectrogram": (1, data["num_spec_frames"] * data["spec_shape"][0], data["spec_shape"][1]),
    }
    return scenic.convert(ours, config, input_shapes=inputs)


def test_every_variant_of_the_start(cases: Path, vit_start: str):
    path = cases / "mbt" / vit_start
    with np.load(path) as archive:
        arrays = dict(archive)
    for variant, told in entry(cases, vit_start)["variants"].items():
        wanted = expected_model(arrays, variant, told).state_dict()
        model = load_foreign("vit", path, told)
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, SENTINEL)
        initialise_from_vit(model, path, rules=Rules.of(told["config"]))
        adapted = {ADAPTED[key.removeprefix(f"{variant}/")] for key in told["adapted"]}
        for name, tensor in model.state_dict().items():
            bound = LOGITS if name in adapted else 0.0
            torch.testing.assert_close(tensor, wanted[name], rtol=0, atol=bound, msg=f"{name}")


def test_what_is_left_starts_as_in_a_fresh_model(cases: Path, vit_start: str):
    for told in entry(cases, vit_start)["variants"].values():
        torch.manual_seed(1)
        model = load_foreign("vit", cases / "mbt" / vit_start, told)
        torch.manual_seed(1)
        fresh = MBT(**model.info.arguments).state_dict()
        changed = {n for n, tensor in model.state_dict().items() if not tensor.equal(fresh[n])}
        two = "clsspectrogram" in told["left_at_random_init"]
        left = {"head.weight", "head.bias"} | ({"audio.cls"} if two else set())
        assert fresh.keys() - changed == left


def test_the_vit_itself(cases: Path, vit_start: str):
    path = cases / "mbt" / vit_start
    with np.load(path) as archive:
        image = torch.from_numpy(archive["vit_image"]).permute(0, 3, 1, 2)
        expected = archive["vit_logits"]
    with torch.no_grad():
        logits = load_foreign("vit", path)({VIDEO: image.unsqueeze(1)}).logits
    np.testing.assert_allclose(logits.numpy(), expected, rtol=0, atol=LOGITS)


def test_every_name_is_used_or_listed(cases: Path, vit_file: str):
    path = cases / "mbt" / vit_file
    vit = read_image_vit(path)
    state = None if vit_file.endswith(".npz") else read_train_state(path)
    names = [*state.params, *state.left_out] if state else np.load(path).files
    assert sorted([*vit.names, *vit.unread, *vit.beside]) == sorted(names)
    left = load_foreign("vit", path).info.provenance["dropped"]
    assert left == [f"{name} (not a parameter)" for name in vit.beside]


def test_every_format_gives_the_same_model(cases: Path, vit_file: str):
    """The files hold the ViT of one of the `vit_init` cases beside them."""
    model = load_foreign("vit", cases / "mbt" / vit_file)
    index = json.loads((cases / "mbt" / "INDEX.json").read_text())
    starts = [name for name, told in index.items() if told.get("kind") == "vit_init"]
    if not starts:
        pytest.skip("no vit_init case to compare with")
    state = model.state_dict()
    for name in starts:
        other = load_foreign("vit", cases / "mbt" / name).state_dict()
        if all(other[key].equal(tensor) for key, tensor in state.items()):
            return
    pytest.fail(f"{vit_file} holds another ViT than {', '.join(starts)}")
