"""Reading the stored numbers of UniFormer and AST, and how far ours are from them.

The networks are compared in float32 and, with the same float32 weights, in float64: there a wrong
epsilon of a norm, which moves the logits by 1e-6 to 1e-5, cannot hide in rounding.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sightsound.models.unimodal import ASTClassifier, UniFormerClassifier
from sightsound.types import AUDIO, VIDEO
from sightsound.weights import load_foreign

FORWARD = 1e-5  # measured: 5.6e-6 where activations reach 8; logits 8.3e-7
FLOAT64 = 1e-10  # measured: 1.8e-15


@dataclass
class Case:
    """One `.npz` file of weights, input and expected numbers, and its index entry."""

    path: Path
    kind: str
    entry: dict
    arrays: dict[str, np.ndarray]

    @classmethod
    def read(cls, folder: Path, kind: str, name: str) -> Case:
        path = folder / "avt" / f"{name}.npz"
        with np.load(path) as archive:
            return cls(path, kind, index(folder)[kind][name], dict(archive))

    def model(self) -> UniFormerClassifier | ASTClassifier:
        return load_foreign(self.kind, self.path, self.entry)

    def inputs(self) -> dict[str, Tensor]:
        """As ours; stored are (B, C, T, H, W) and (B, time, mel)."""
        x = torch.from_numpy(self.arrays["in/x"])
        return {VIDEO: x.transpose(1, 2)} if self.kind == "uniformer" else {AUDIO: x.unsqueeze(1)}


def index(folder: Path) -> dict:
    return json.loads((folder / "avt" / "INDEX.json").read_text())


def difference(ours: Tensor, expected: np.ndarray) -> float:
    assert ours.shape == expected.shape
    return float((ours.detach().double() - torch.from_numpy(expected)).abs().max())


def differences(case: Case, model: nn.Module) -> dict[str, float]:
    """{stored array: largest difference} of everything under `out/` and `out64/`."""
    found = {}
    for prefix, kind in (("out/", torch.float32), ("out64/", torch.float64)):
        stored = {k: v for k, v in case.arrays.items() if k.startswith(prefix)}
        ours = computed(case, model.to(kind)) if stored else {}
        found |= {k: difference(ours[k.removeprefix(prefix)], v) for k, v in stored.items()}
    return found


def too_far(case: Case, model: nn.Module) -> dict[str, float]:
    """Those of `differences` above what is allowed."""
    allowed = {"out": FORWARD, "out64": FLOAT64}
    return {k: v for k, v in differences(case, model).items() if not v <= allowed[k.split("/")[0]]}


def computed(case: Case, model: nn.Module) -> dict[str, Tensor]:
    """What the stored arrays hold, by their names, in the stored order of axes."""
    kind = model.head.weight.dtype
    rule = _inside_uniformer if case.kind == "uniformer" else _inside_ast
    with rule(model) as inner, torch.no_grad():
        output = model({name: x.to(kind) for name, x in case.inputs().items()})
    return inner | {"logits": output.logits, "pooled": output.pooled[model.modality]}


@contextmanager
def _hooked(table: dict[str, tuple[nn.Module, Callable]]):
    """{name: result of a module, reordered}, once the model has run."""
    inner: dict[str, Tensor] = {}

    def keep(name: str, reorder: Callable, _module, _inputs, result) -> None:
        inner[name] = reorder(result)

    hooks = [m.register_forward_hook(partial(keep, name, r)) for name, (m, r) in table.items()]
    try:
        yield inner
    finally:
        for hook in hooks:
            hook.remove()


def _inside_uniformer(model: UniFormerClassifier):
    table = {"final_norm": (model.video.norm, lambda x: x)}
    for number, stage in enumerate(model.video.stages, start=1):
        table[f"patch_embed{number}"] = (stage.norm, lambda x: x.movedim(-1, 1))
        table[f"stage{number}"] = (stage, lambda result: result[0])
    return _hooked(table)


@contextmanager
def _inside_ast(model: ASTClassifier):
    time, mel = model.audio.grid

    def mel_first(x: Tensor) -> Tensor:
        body = x[:, 2:].unflatten(1, (time, mel)).transpose(1, 2).flatten(1, 2)
        return torch.cat((x[:, :2], body), dim=1)

    table = {
        "patch_embed": (model.audio.patches, lambda x: x.mT.flatten(2).mT),
        "final_norm": (model.audio.norm, mel_first),
    }
    for layer, block in enumerate(model.audio.blocks):
        table[f"block{layer}"] = (block, lambda result: mel_first(result[0]))

    def first_input(_module, inputs) -> None:
        inner["embedded"] = mel_first(inputs[0])

    hook = model.audio.blocks[0].register_forward_pre_hook(first_input)
    with _hooked(table) as inner:
        yield inner
    hook.remove()
