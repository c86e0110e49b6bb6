"""Reading the official MBT's stored numbers, and how close ours must come to them."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sightsound.types import AUDIO, VIDEO, Output
from sightsound.weights import load_foreign

OURS = {"rgb": VIDEO, "spectrogram": AUDIO}

# float32 noise between two libraries is about 1e-6 on these logits. LayerNorm epsilon 1e-5 in place
# of 1e-6 moves them by 1e-5 to 3e-5, exact GELU by 2e-4: a looser bound would miss the first.
LOGITS = 5e-6
SUMMED = 3e-5  # classifier gsp: a sum over all tokens, so sums of that noise
GRADIENTS = 1e-6
TRAINED = 1e-5  # parameters after five steps at learning rate 0.5


@dataclass
class Case:
    """One `.npz` file of weights, inputs and expected numbers, and the official configuration."""

    path: Path
    config: dict
    arrays: dict[str, np.ndarray]

    @classmethod
    def read(cls, folder: Path, name: str) -> Case:
        entry = json.loads((folder / "mbt" / "INDEX.json").read_text())[name]
        path = folder / "mbt" / name
        with np.load(path) as archive:
            return cls(path, entry["config"], dict(archive))

    @property
    def inputs(self) -> dict[str, Tensor]:
        """Channels last, as stored, to ours."""
        inputs = {}
        if "inputs/rgb" in self.arrays:
            rgb = torch.from_numpy(self.arrays["inputs/rgb"])
            inputs[VIDEO] = rgb.permute(0, 1, 4, 2, 3).contiguous()
        if "inputs/spectrogram" in self.arrays:
            spectrogram = torch.from_numpy(self.arrays["inputs/spectrogram"][..., :1])
            inputs[AUDIO] = spectrogram.permute(0, 3, 1, 2).contiguous()
        return inputs

    def changed(self, **model_settings: object) -> dict:
        """The configuration with other entries in its `model` part."""
        config = copy.deepcopy(self.config)
        config["model"].update(model_settings)
        return config

    def run(self, config: dict | None = None, *, train: bool = False) -> Output:
        model = load_foreign("scenic", self.path, config or self.config).train(train)
        with torch.no_grad():
            return model(self.inputs)


def differences(case: Case) -> dict[str, tuple[float, float]]:
    """{stored array: (largest difference of ours from it, bound)} for every stored output."""
    found = {}
    evaluated = case.run()
    still = {"dropout_rate": 0.0, "attention_dropout_rate": 0.0, "stochastic_droplayer_rate": 0.0}
    trained = case.run(case.changed(**still), train=True)
    for key, expected in case.arrays.items():
        if not key.startswith("out/"):
            continue
        name, bound = key.removeprefix("out/"), LOGITS
        if name == "eval_logits":
            ours = evaluated.logits
        elif name == "encoded_tokens":
            ours = torch.cat(tuple(evaluated.tokens.values()), dim=1)
        elif name == "train_logits":
            ours = trained.logits
        elif name.startswith("train_logits/"):
            ours = trained.modality_logits[OURS[name.split("/")[1]]]
        else:
            config, bound = _variant(case, name.removeprefix("eval_logits_"))
            ours = case.run(config).logits
        found[key] = (float(np.abs(ours.numpy() - expected).max()), bound)
    return found


def _variant(case: Case, name: str) -> tuple[dict, float]:
    """The configuration of a further stored evaluation with the same parameters."""
    if name in ("gap", "gmp", "gsp"):
        return case.changed(classifier=name), SUMMED if name == "gsp" else LOGITS
    if name.startswith("test_with_bottlenecks_"):
        return case.changed(test_with_bottlenecks=name.endswith("True")), LOGITS
    if name.startswith("modality_order_"):
        first = name.removeprefix("modality_order_").removesuffix("_first")
        order = sorted(case.config["model"]["modality_fusion"], key=lambda m: m != first)
        return case.changed(modality_fusion=order), LOGITS
    raise ValueError(f"{case.path.name}: no rule to reproduce out/eval_logits_{name}")


def too_far(case: Case) -> dict[str, tuple[float, float]]:
    """The entries of `differences` beyond their bound; nan is."""
    return {key: pair for key, pair in differences(case).items() if not pair[0] <= pair[1]}
