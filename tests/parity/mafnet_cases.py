"""Reading the released MAFnet's stored numbers, and how far ours are from them.

Training passes are compared in float64 as well: the batch norm over the three rows of logits
divides by deviations of 0.06 and so magnifies the rounding of float32, ours and theirs alike.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sightsound.models.mafnet import MAFnet
from sightsound.nn.cell_attention import CellAttention
from sightsound.nn.film import FilmBlock
from sightsound.train.skipping import ReleasedAdam, skip
from sightsound.types import AUDIO, VIDEO
from sightsound.weights import load_foreign
from sightsound.weights.mafnet import as_ours, their_names

FORWARD = 1e-5  # measured: 3.8e-6; in training 5.7e-6, all of it the stored numbers' rounding
FLOAT32 = 2e-5  # in training, ours in float32: measured 7.7e-6
GRADIENTS = 1e-4  # measured 1.2e-5
SMALL_GRADIENT = 1e-5  # below it Adam's first step is the sign of rounding
SKIPPED = {"all": None, "image": AUDIO, "sound": VIDEO}  # the path each training step leaves out


@dataclass
class Case:
    """One `.npz` file of weights, inputs and expected numbers, and its index entry."""

    path: Path
    entry: dict
    arrays: dict[str, np.ndarray]

    @classmethod
    def read(cls, folder: Path, name: str) -> Case:
        path = folder / "mafnet" / name
        entry = json.loads((folder / "mafnet" / "index.json").read_text())["files"][name]
        with np.load(path) as archive:
            return cls(path, entry, dict(archive))

    def model(self) -> MAFnet:
        return load_foreign("mafnet", self.path, self.entry)

    def tensor(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])

    def inputs(self, visual: str = "visual_gap") -> dict[str, Tensor]:
        """As stored: channels last. `visual_gap` is the mean that the released code feeds."""
        return {VIDEO: self.tensor(f"in/{visual}"), AUDIO: self.tensor("in/audio_map")}

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """{rest of the name: array} of those that start with `prefix`."""
        return {
            key.removeprefix(prefix): value
            for key, value in self.arrays.items()
            if key.startswith(prefix)
        }


def difference(ours: Tensor, expected: np.ndarray) -> float:
    return float(
        (ours.detach().double() - torch.from_numpy(expected).reshape(ours.shape)).abs().max()
    )


def loss_of(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy, the mean over the batch."""
    return -(target * logits.log_softmax(1)).sum(1).mean()


def differences(case: Case, mode: str, model: MAFnet, *, visual: str = "visual_gap") -> dict:
    """{array: largest difference} for everything stored under `mode`, "eval" or "train"."""
    expected = case.under(f"{mode}/")
    kind = model.head.linear.weight.dtype
    model.train(mode == "train")
    inner, hooks = {}, []
    if model.audio.block is not None:
        hooks = [_keep(model.audio.block, inner, "block_out")]
        hooks += [_keep(model.audio.block.norm, inner, "film_in")]
        if model.audio.block.film is not None:
            hooks += [_keep(model.audio.block.film, inner, "gamma", "film_beta")]
    with torch.no_grad():
        output = model({k: v.to(kind) for k, v in case.inputs(visual).items()}, maps=True)
    for hook in hooks:
        hook.remove()
    target = case.tensor("in/target").to(kind)
    right = output.logits.argmax(1) == target.argmax(1)
    ours = inner | {
        "logits": output.logits,
        "probs": output.logits.softmax(1),
        "lambda": output.attention["cells"],
        "loss": loss_of(output.logits, target),
        "acc": right.to(kind).mean(),
        "image_hidden": output.tokens[VIDEO],
        "sound_hidden": output.tokens[AUDIO],
        "fused": torch.cat([output.pooled[VIDEO], output.pooled[AUDIO]], dim=1),
    }
    known = set(ours) | {"film_out"}  # which lies between film_in and block_out
    assert set(expected) <= known, f"no rule for {set(expected) - known}"
    return {k: difference(ours[k], expected[k]) for k in set(expected) & set(ours)}


def _keep(module: nn.Module, into: dict, *names: str):
    def hook(_module, _inputs, result):
        into.update(zip(names, result if isinstance(result, tuple) else (result,), strict=True))

    return module.register_forward_hook(hook)


def statistics_differences(case: Case) -> dict[str, float]:
    """{running statistic: largest difference} after one forward pass in training mode."""
    model = case.model().double().train()
    model({k: v.double() for k, v in case.inputs().items()})
    ours, names = model.state_dict(), their_names(model)
    stored = case.under("train_stats/")
    assert {n for n in names.values() if "/pop_" in n} == set(stored)
    return {k: difference(ours[k], stored[n]) for k, n in names.items() if n in stored}


def backward(case: Case, model: MAFnet) -> None:
    """The gradients of one training step."""
    model.zero_grad()
    logits = model(
        {k: v.to(model.head.linear.weight.dtype) for k, v in case.inputs().items()}
    ).logits
    loss_of(logits, case.tensor("in/target").to(logits.dtype)).backward()


def gradients(case: Case, kind: torch.dtype) -> dict[str, tuple[Tensor, Tensor]]:
    """{parameter: (our gradient, the stored one)}."""
    model = case.model().to(kind).train()
    backward(case, model)
    names = their_names(model)
    return {
        ours: (parameter.grad, as_ours(case.arrays[f"grad/{names[ours]}"]).to(kind))
        for ours, parameter in model.named_parameters()
    }


def new_optimizer(case: Case, model: MAFnet) -> ReleasedAdam:
    return ReleasedAdam([{"params": list(model.parameters())}], lr=case.entry["lr"])


def step(case: Case, model: MAFnet, optimizer: ReleasedAdam, kind: str) -> set[str]:
    """One step of the released training's Adam `kind`; names of the parameters that it changed."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    backward(case, model)
    skip(model, optimizer, SKIPPED[kind])
    optimizer.step()
    return {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}


def new_block(case: Case, *, kind: torch.dtype = torch.float32) -> FilmBlock:
    """The FiLM block alone of `filmblock_audio.npz` or `filmblock_visual.npz`."""
    stream, word = (
        (AUDIO, "sound") if "FILM_for_sound_fc/kernel" in _params(case) else (VIDEO, "image")
    )
    condition, twice = case.arrays[f"param/FILM_for_{word}_fc/kernel"].shape
    size = case.arrays[f"param/FILMed_block_{word}_conv1/kernel"].shape[2]
    block = FilmBlock(size, twice // 2, grid_axes=2, condition=condition)
    names = block_names(stream)
    block.load_state_dict({k: as_ours(_params(case)[name]) for k, name in names.items()})
    return block.to(kind)


def block_names(stream: str) -> dict[str, str]:
    """{name in `FilmBlock`: released name} for the block of one stream."""
    grid = (1, 2, 2, 1)
    model = MAFnet(heads={"label": 1}, width=1, video_shape=grid, audio_shape=grid, film="both")
    prefix = f"{stream}.block."
    return {
        k.removeprefix(prefix): v for k, v in their_names(model).items() if k.startswith(prefix)
    }


def new_attention(case: Case, kind: str, scorer: str) -> CellAttention:
    """The attention alone of `attention.npz` and `derived_attention_modes.npz`."""
    given = _params(case)
    attention = CellAttention(given["dense/kernel"].shape[0], kind=kind, scorer=scorer)
    if scorer == "released":
        names = {"0": ("dense/kernel", "dense/bias"), "2": ("dense_1/kernel", "dense_1/bias")}
    else:
        names = {"0": ("paper_W", "paper_b")}
    state = {}
    for layer, (weight, bias) in names.items():
        state[f"scorer.{layer}.weight"] = as_ours(given[weight])
        state[f"scorer.{layer}.bias"] = as_ours(given[bias])
    if attention.scorer is not None:
        attention.load_state_dict(state)
    return attention


def _params(case: Case) -> dict[str, np.ndarray]:
    return case.under("param/")
