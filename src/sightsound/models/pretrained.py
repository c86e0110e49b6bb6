"""Models on disk: `model.safetensors`, `config.json`, `README.md` in one directory.

Strict: no pickle, no network, no missing or left-over tensor.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sightsound.files import atomic_directory
from sightsound.library_errors import load_tensors, reading, save_tensors
from sightsound.models.explained import GradCamLayer, RolloutRows
from sightsound.registry import MODELS, nearest_path, resolve
from sightsound.types import Encoded, ModelInfo, Output

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
NAMED = 5  # tensors in a message


class Pretrained(nn.Module):
    """A model that knows its own `info`, can be saved, and says how it may be explained."""

    info: ModelInfo
    heads: dict[str, int]
    """{name: number of classes}; `Output.logits` holds them side by side, in this order."""
    modalities: tuple[str, ...]
    has_contributions: bool = False
    """Whether attention and contributions of every second are in an `Output` with maps."""

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Record what the model is made with.

        Args:
            name: key of `registry.MODELS`.
            arguments: the constructor's: its `locals()`, before it sets another name.
        """
        super().__init__()
        given = {key: x for key, x in arguments.items() if key not in ("self", "__class__")}
        if not given["heads"]:
            raise ValueError("heads is {}; give at least one head, such as {'label': 10}")
        self.info = ModelInfo(name, json.loads(json.dumps(given)))  # tuples become lists
        self.heads = dict(given["heads"])

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        *,
        present: Mapping[str, Tensor] | None = None,
        valid: Mapping[str, Tensor] | None = None,
        maps: bool = False,
    ) -> Output:
        """Logits and what led to them: `fuse(encode(inputs))`.

        Args:
            inputs: {"video": (B, T, C, H, W), "audio": (B, 1, F, M)} normalised, or features
                {modality: (B, T, ..., D)}, channels last. A modality that is not there is absent
                for all examples, one that the model does not read is left out.
            present: {modality: (B,) bool}; false: the example does not have this stream.
            valid: {"video": (B, T), "audio": (B, F)} bool, of features (B, T); false: padding. A
                stream without any valid frame counts as absent.
            maps: also return attention weights, {"audio.3": (B, h, N, N)} of the encoders, and what
                `fuse` adds; contributions, if the model has them.

        Raises:
            ValueError: an example has no stream at all, or a shape does not fit.
        """
        encoded = self.encode(inputs, present=present, valid=valid, maps=maps)
        return self.fuse(encoded, maps=maps)

    def encode(
        self,
        inputs: Mapping[str, Tensor],
        *,
        present: Mapping[str, Tensor] | None = None,
        valid: Mapping[str, Tensor] | None = None,
        token_mask: Mapping[str, Tensor] | None = None,
        maps: bool = False,
    ) -> Encoded:
        """The streams before fusion; arguments as of `forward`.

        Args:
            token_mask: {modality: (B, N) bool}; true: the token is hidden.
        """
        raise NotImplementedError

    def fuse(self, encoded: Encoded, *, maps: bool = False) -> Output:
        """What becomes of the encoded streams."""
        raise NotImplementedError

    def stream(self, name: str) -> nn.Module:
        """The part that belongs to one modality."""
        return getattr(self, name)

    @property
    def default_explanation(self) -> str:
        """The method of explanation that suits the model, which `auto` stands for."""
        return "occlusion"

    def grad_cam_layers(
        self, shapes: Mapping[str, tuple[int, ...]], *, stage: int
    ) -> list[GradCamLayer]:
        """The layers whose results Grad-CAM looks at.

        Args:
            shapes: {modality: (T, H, W) or (F, M)} of the inputs, in their order.
            stage: of UniFormer, 3 or 4.

        Raises:
            ValueError: there is no map to look into.
        """
        raise ValueError(
            f"{self.info.name!r} reads features of frozen encoders, so there is no map to look "
            "into; ask by auto or occlusion"
        )

    def rollout(self, rows: RolloutRows) -> dict[str, Tensor]:
        """What the classifier reads when rows go through the model in place of tokens.

        Returns:
            {stream: (B, 1)} of each stream's own vector, and under `ALL` of all together.

        Raises:
            ValueError: its attention is not known.
        """
        raise ValueError(
            f"{self.info.name!r} reads features of frozen encoders, whose attention is not "
            "known, so there is no rollout; ask by auto or occlusion"
        )

    def example_inputs(self, batch_size: int = 1) -> dict[str, Tensor]:
        """Zeros of the shapes the model is built for, on its device."""
        raise NotImplementedError

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute activations in the backward pass, where that saves memory: not here."""

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without decay: biases and norms."""
        return {name for name, parameter in self.named_parameters() if parameter.ndim == 1}

    def resize_state(self, name: str, tensor: Tensor, source: Pretrained) -> Tensor | None:
        """`source`'s tensor `name` made to fit; `None`: it fits, or cannot be made to."""
        return None

    def save_pretrained(self, directory: str | Path) -> Path:
        """Write the model to `directory`; the old content is replaced only when all is written."""
        directory = Path(directory)
        with atomic_directory(directory, last=CONFIG) as temporary:
            tensors = {key: value.contiguous() for key, value in self.state_dict().items()}
            save_tensors(tensors, temporary / WEIGHTS, metadata={"format": "pt"})
            (temporary / CONFIG).write_text(info_to_json(self.info))
            (temporary / CARD).write_text(model_card(self))
        return directory


def info_to_json(info: ModelInfo) -> str:
    """The text of `config.json`."""
    values = dataclasses.asdict(info)
    model = {"name": values.pop("name"), **values.pop("arguments")}
    return json.dumps({"model": model, **values}, indent=2) + "\n"


def info_from_json(text: str, *, source: str = CONFIG) -> ModelInfo:
    """The inverse of `info_to_json`; a `ValueError` that names `source` if that cannot be."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is not valid JSON: {error}; save the model again") from error
    model = values.pop("model", None) if isinstance(values, dict) else None
    if not isinstance(model, dict) or "name" not in model:
        raise ValueError(f"{source} has no 'model' with a 'name'; save the model again")
    try:
        return ModelInfo(name=model.pop("name"), arguments=model, **values)
    except TypeError as error:
        raise ValueError(f"{source} holds an entry this version does not know: {error}") from error


def load_pretrained(directory: str | Path) -> Pretrained:
    """The model saved in `directory`, on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: the directory, its weights or its configuration are missing.
        ValueError: weights and configuration do not belong together.
    """
    directory = Path(directory)
    _check_files(directory)
    file = directory / CONFIG
    with reading(file, remedy="save the model again, or copy it again"):
        text = file.read_text(encoding="utf-8")
    info = info_from_json(text, source=str(file))
    model_class = resolve(MODELS, info.name, kind="model")
    try:
        inspect.signature(model_class).bind(**info.arguments)
    except TypeError as error:
        raise ValueError(f"{file} does not describe a {info.name!r} model: {error}") from error
    model: Pretrained = model_class(**info.arguments)
    tensors = load_tensors(directory / WEIGHTS, remedy="save the model again, or copy it again")
    _check_tensors(model.state_dict(), tensors, directory=directory)
    model.load_state_dict(tensors)
    model.info = info
    return model.eval()


def _check_files(directory: Path) -> None:
    if not directory.is_dir():
        raise FileNotFoundError(
            f"model directory {str(directory)!r} does not exist; give the directory that "
            f"save_pretrained or a training run (RUN/model) wrote.{nearest_path(directory)}"
        )
    for name in (CONFIG, WEIGHTS):
        if not (directory / name).is_file():
            inside = (
                " It is a run: give its model/ folder." if (directory / "model").is_dir() else ""
            )
            raise FileNotFoundError(
                f"model directory {str(directory)!r} has no {name}; a model is a directory "
                f"with {CONFIG} and {WEIGHTS}.{inside}"
            )


def _check_tensors(wanted: dict[str, Tensor], given: dict[str, Tensor], *, directory: Path) -> None:
    """Raise a `ValueError` that lists missing, left-over and misshapen tensors."""
    missing = sorted(set(wanted) - set(given))
    unknown = sorted(set(given) - set(wanted))
    shapes = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in sorted(set(wanted) & set(given))
        if wanted[key].shape != given[key].shape
    ]
    found = {"missing": missing, "not known to the model": unknown, "of another shape": shapes}
    words = []
    for what, names in found.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        words += [f"{what}: {', '.join(names[:NAMED])}{more}"] if names else []
    if words:
        raise ValueError(
            f"weights in {str(directory)!r} do not fit its {CONFIG}; tensors {'; '.join(words)}. "
            "Keep both files of one save together"
        )


@dataclass
class InitReport:
    """What starting a model from another one did, by parameter name; `str` gives it in words."""

    taken: list[str] = field(default_factory=list)
    interpolated: list[str] = field(default_factory=list)
    adapted: dict[str, str] = field(default_factory=dict)
    """{parameter: what was done to the tensor it got}, where that is not interpolation alone."""
    not_taken: dict[str, str] = field(default_factory=dict)
    """{name of a tensor of the other model: why it was left out}."""
    untouched: list[str] = field(default_factory=list)
    """Parameters of the model that keep the start they had."""
    front_end: list[str] = field(default_factory=list)
    """Numbers of the front end that differ: "audio.log_offset: 0.0, now 0.01"."""

    def __str__(self) -> str:
        lines = [f"taken over: {len(self.taken)} tensors"]
        if self.interpolated:
            lines.append(f"positions interpolated: {', '.join(self.interpolated)}")
        lines += [f"adapted: {name} ({how})" for name, how in self.adapted.items()]
        lines += [f"not taken over: {name} ({why})" for name, why in self.not_taken.items()]
        parts: dict[str, list[str]] = {}  # {top-level module: parameters}
        for name in self.untouched:
            parts.setdefault(name.split(".")[0], []).append(name)
        names = [
            name
            for top, members in parts.items()
            for name in (members if len(members) <= 3 else [f"{top}.* ({len(members)} tensors)"])
        ]
        lines += [f"as before: {', '.join(names)}"] if names else []
        lines += [f"front end differs: {text}" for text in self.front_end]
        return "\n".join(lines)


@torch.no_grad()
def copy_matching(model: Pretrained, source: Pretrained) -> InitReport:
    """Copy what fits from `source` into `model`, in place, and say what did not.

    A tensor fits if name and shape agree. A position table of another grid is interpolated
    (`model.resize_state`). The classifier is copied only as a whole, and if both models have the
    same classes in the same order.
    """
    report, old, new = InitReport(), source.info.front_end, model.info.front_end
    if old and new:
        report.front_end = [
            f"{part}.{key}: {value}, now {new[part].get(key)}"
            for part in ("audio", "video")
            for key, value in old[part].items()
            if new[part].get(key) != value
        ]
    wanted = model.state_dict()
    given = source.state_dict()
    same_classes = source.heads == model.heads and source.info.labels == model.info.labels
    why_no_head = "" if same_classes else "other classes"
    heads = [name for name in given.keys() & wanted.keys() if name.startswith("head.")]
    if same_classes and any(given[name].shape != wanted[name].shape for name in heads):
        why_no_head = "the classifier reads something else"
    for name, tensor in given.items():
        if name not in wanted:
            report.not_taken[name] = "the model has no such part"
        elif name.startswith("head.") and why_no_head:
            report.not_taken[name] = why_no_head
        elif (resized := model.resize_state(name, tensor, source)) is not None:
            wanted[name].copy_(resized)
            report.interpolated.append(name)
        elif tensor.shape == wanted[name].shape:
            wanted[name].copy_(tensor)
            report.taken.append(name)
        else:
            shapes = f"{tuple(tensor.shape)}, the model's is {tuple(wanted[name].shape)}"
            report.not_taken[name] = f"its shape is {shapes}"
    report.untouched = [n for n in wanted if n not in {*report.taken, *report.interpolated}]
    return report


def model_card(model: Pretrained) -> str:
    """The text of the model's `README.md`."""
    info = model.info
    classes = "\n".join(
        f"* {head}: {', '.join(info.labels.get(head, []) or [f'{count} classes'])}"
        for head, count in model.heads.items()
    )
    arguments = "\n".join(f"* {key}: {value}" for key, value in info.arguments.items())
    provenance = []
    for key, value in info.provenance.items():  # a list has a line for each of its entries
        listed = isinstance(value, list)
        provenance.append(f"* {key}:" if listed else f"* {key}: {value}")
        provenance += [f"  * {entry}" for entry in value or ["nothing"]] if listed else []
    return CARD_TEXT.format(
        name=info.name,
        task=info.task,
        parameters=sum(p.numel() for p in model.parameters()),
        front_end=(info.front_end or {}).get("name", "not stored"),
        classes="None: it was pre-trained without labels." if info.task == "none" else classes,
        arguments=arguments,
        provenance="\n".join(provenance) or "* not stored",
    )


CARD_TEXT = """\
---
library_name: sightsound
tags: [audio-visual, video-classification]
---

# {name}

An audio-visual video classifier made with sightsound. Task: {task}; {parameters:,} parameters;
front end: {front_end} (its numbers are in `config.json`).

```python
import sightsound

model = sightsound.load_model("DIRECTORY")
```

## Classes

{classes}

## Arguments

{arguments}

## Where it comes from

{provenance}
"""
