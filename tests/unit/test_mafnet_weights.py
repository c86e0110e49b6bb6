"""The released MAFnet's arrays: names, prefixes, what is inferred, and what is said of mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sightsound
from sightsound.cli import main
from sightsound.models.mafnet import MAFnet
from sightsound.types import AUDIO, VIDEO
from sightsound.weights import load_foreign
from sightsound.weights.mafnet import their_names

CASES = Path(__file__).parents[1] / "parity" / "cases" / "mafnet"
FULL = CASES / "full_T10.npz"
INDEX = json.loads((CASES / "index.json").read_text())
ENTRY = INDEX["files"][FULL.name]


def weights() -> dict[str, np.ndarray]:
    with np.load(FULL) as archive:
        return {k.removeprefix("param/"): v for k, v in archive.items() if k.startswith("param/")}


def saved(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(folder / "weights.npz", **arrays)
    return folder / "weights.npz"


@pytest.mark.parametrize(
    "name", ["param/{}", "params/{}", "sd/{}", "{}", "{}:0"], ids=lambda name: name or "bare"
)
def test_prefixes_and_siblings(tmp_path, name: str):
    arrays = {name.format(key): value for key, value in weights().items()}
    siblings = ("in/x", "inputs/x", "eval/x", "train/x", "train_stats/x", "grad/x", "step_all/x")
    arrays |= dict.fromkeys(siblings, np.zeros(2))
    model = load_foreign("mafnet", saved(tmp_path, arrays), ENTRY)
    expected = load_foreign("mafnet", FULL, ENTRY).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert model.info.provenance["dropped"] == []
    assert not model.training


def test_what_is_not_used_is_listed(tmp_path):
    arrays = weights() | {"beta1_power": np.zeros(()), "dense/kernel/Adam": np.zeros((8, 8))}
    model = load_foreign("mafnet", saved(tmp_path, arrays), ENTRY)
    assert model.info.provenance["dropped"] == ["beta1_power", "dense/kernel/Adam"]
    assert model.info.provenance["source"] == "mafnet: weights.npz"


def test_sizes_come_from_the_entry_or_the_index():
    for config in (ENTRY, INDEX, {"dims": {"T": 10, "HV": 7, "HA": 12, "WA": 8}}):
        model = load_foreign("mafnet", FULL, config)
        shapes = {name: model.stream(name).shape for name in model.modalities}
        assert shapes == {VIDEO: (10, 7, 7, 12), AUDIO: (10, 12, 8, 6)}
        assert model.info.provenance["inferred"] == []
    assert not model.masked and model.info.arguments["film"] == "audio"


def test_without_sizes_the_papers_are_assumed():
    model = load_foreign("mafnet", FULL)
    shapes = {name: model.stream(name).shape for name in model.modalities}
    assert shapes == {VIDEO: (10, 12), AUDIO: (10, 12, 8, 6)}
    assert model.info.provenance["inferred"] == [
        "assumed: video features are vectors; maps are accepted as well",
        "assumed: audio maps of 12 x 8, as in the paper; any size is accepted",
        "assumed: 10 seconds, as in the paper; any number is accepted",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"film": "both"},
        {"film": "video"},
        {"film": "none", "residual": "both"},
        {"film": "audio", "residual": "video", "logit_norm": False},
    ],
)
def test_parts_are_told_by_the_names(tmp_path, change: dict):
    """Names that the release builds for a block on the visual map are read as well."""
    shapes = {"video_shape": (4, 3, 3, 6), "audio_shape": (4, 3, 2, 5)}
    model = MAFnet(heads={"label": 3}, width=8, masked=False, **shapes, **change).eval()
    state, arrays = model.state_dict(), {}
    for ours, theirs in their_names(model).items():
        value = state[ours]
        if value.ndim == 2 and "_conv" in theirs:
            value = value[:, :, None, None]
        axes = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}[value.ndim]
        arrays[theirs] = value.permute(axes).numpy()
    dims = {"T": 4, "HV": 3, "HA": 3, "WA": 2, "H": 8, "C": 3}
    loaded = load_foreign("mafnet", saved(tmp_path, arrays), {"dims": dims})
    assert loaded.info.arguments == model.info.arguments
    inputs = {k: torch.randn_like(v) for k, v in model.example_inputs(2).items()}
    assert torch.equal(loaded(inputs).logits, model(inputs).logits)


def test_command(tmp_path, capsys):
    main(["convert", "mafnet", str(FULL), "--output", str(tmp_path / "model")])
    text = capsys.readouterr().out
    assert text.startswith("From mafnet: full_T10.npz:\nassumed: video features are vectors;")
    assert "It takes features of encoders that are not in the file" in text
    model = sightsound.load_model(tmp_path / "model")
    assert model.info.name == "mafnet" and model.heads == {"label": 5}


# ---------------------------------------------------------------------------- mistakes


def without(key: str) -> dict[str, np.ndarray]:
    return {k: v for k, v in weights().items() if k != key}


@pytest.mark.parametrize(
    "arrays, config, text",
    [
        (without("dense_1/bias"), ENTRY, "is no whole MAFnet: it has no 'dense_1/bias'; it holds"),
        (without("time_distributed/kernel"), None, "it has no 'time_distributed/kernel'"),
        (without("FILMed_block_sound_conv2/kernel"), None, "no 'FILMed_block_sound_conv2/kernel'"),
        (weights() | {"dense/kernel": np.zeros((8, 7))}, ENTRY, r"'dense/kernel' has shape \(8, 7"),
        (weights() | {"dense_1/bias": np.array([1])}, ENTRY, "has type int64; weights are floats"),
        (
            weights() | {"multimodal_fc_1/kernel": np.zeros(16)},
            ENTRY,
            r"has shape \(16,\); kernels have 2 or 4 axes",
        ),
        (weights(), {"dims": {"C": 28}}, "configuration says C is 28, the arrays 5; is it the"),
        (weights(), {"model": {}}, "is an index entry with sizes under 'dims', such as"),
        (weights(), [1], "is an index entry with sizes under 'dims', such as"),
    ],
)
def test_wrong_arrays_and_configurations(tmp_path, arrays: dict, config: object, text: str):
    with pytest.raises(ValueError, match=text):
        load_foreign("mafnet", saved(tmp_path, arrays), config)


def test_wrong_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_foreign("mafnet", tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(ValueError, match="save the variables of a MAFnet checkpoint with numpy"):
        load_foreign("mafnet", tmp_path / "text.npz")
    with pytest.raises(ValueError, match="it has no 'time_distributed/kernel'"):
        load_foreign("mafnet", CASES / "attention.npz")
