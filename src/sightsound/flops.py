"""FLOPs of one forward pass, part by part.

Counted by torch's flop counter on the meta device: no memory, no time, and exact for attention
(on CPU tensors the counter takes SDPA as 0). A multiply-add is two operations. Matrix
products and convolutions are counted by torch, norms, softmax, GELU, biases and sums by the table
below: 0.8 % of a ViT-B.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from sightsound.build import build_front_end, build_model
from sightsound.config.settings import RunConfig
from sightsound.data.rows import Manifest
from sightsound.models.pretrained import Pretrained

aten = torch.ops.aten
Argument = TypeVar("Argument")
Result = TypeVar("Result")

AUDIOSET, EPIC = {"label": 527}, {"verb": 97, "noun": 300}  # classes where nothing says how many

READ_FEATURES = ("linear_probe", "mafnet")  # models that do not look at pixels and spectrograms
COUNTED = (
    "multiply-adds: of matrix products and convolutions, which papers often call FLOPs\n"
    "FLOPs: two for each of these, and norms, softmax, GELU, biases, sums"
)

# Operations per element of the result; an exponential or a tanh is one.
PER_ELEMENT = {
    aten.addmm: 1,  # its bias: torch counts the product alone
    aten.add: 1,
    aten.sub: 1,
    aten.div: 1,
    aten.relu: 1,
    aten.native_layer_norm: 7,  # mean, difference, square, sum, times deviation, scale, shift
    aten._safe_softmax: 6,  # scale, largest, difference, exponential, sum, quotient
    aten._softmax: 5,  # the same of scores that are scaled already
    aten.gelu: 9,  # its tanh approximation, written out
}


@dataclass(frozen=True)
class PartFlops:
    """One row of the table, for one clip."""

    part: str  # "encode video", "encode audio", "fuse" or "total"
    flops: int  # operations, a multiply-add being two
    products: int  # those of matrix products and convolutions
    tokens: int  # at the end of this part; fusion tokens excluded

    @property
    def macs(self) -> int:
        """Half of `flops`, as multiply-adds are quoted."""
        return self.flops // 2


def count_flops(build: Callable[[], Pretrained]) -> list[PartFlops]:
    """Rows for each stream up to fusion, for fusion with classifier, and for the whole.

    `build` makes the model; it is called on the meta device. The model needs `example_inputs`.
    """
    with torch.device("meta"):
        model = build().eval().requires_grad_(False)
        inputs = model.example_inputs()
    rows = []
    with torch.inference_mode():
        for name, values in inputs.items():
            encoded, flops, products = _counted(model.encode, {name: values})
            tokens = encoded.tokens[name].shape[1]
            rows.append(PartFlops(f"encode {name}", flops, products, tokens))
        _, flops, products = _counted(model.fuse, model.encode(inputs))
    rows.append(PartFlops("fuse", flops, products, sum(row.tokens for row in rows)))
    flops, products = sum(row.flops for row in rows), sum(row.products for row in rows)
    return [*rows, PartFlops("total", flops, products, rows[-1].tokens)]


def _counted(call: Callable[[Argument], Result], argument: Argument) -> tuple[Result, int, int]:
    """`call(argument)`, all its operations, and those of matrix products and convolutions."""
    rules = {op: _per_element(number) for op, number in PER_ELEMENT.items()}
    everything = FlopCounterMode(display=False, custom_mapping=rules)
    with everything, FlopCounterMode(display=False) as counter:
        result = call(argument)
    products = counter.get_total_flops()
    counts = everything.get_flop_counts().get("Global", {})
    return result, products + sum(n for op, n in counts.items() if op in rules), products


def _per_element(number: int) -> Callable[..., int]:
    """A rule of torch's counter: `number` operations per element of the (first) result."""

    def rule(*_shapes: object, out_shape: Sequence[Any], **_given: object) -> int:
        shape = out_shape[0] if out_shape and not isinstance(out_shape[0], int) else out_shape
        return number * math.prod(shape or ())

    return rule


def assumed_heads(config: RunConfig) -> dict[str, int]:
    """{name: number of classes} to count with where no data says: AudioSet's, or verb and noun."""
    return EPIC if config.data.task == "heads" else AUDIOSET


def made_up_manifest(heads: Mapping[str, int]) -> Manifest:
    """Classes without clips: what a model's size and work are counted with."""
    labels = {head: [str(number) for number in range(size)] for head, size in heads.items()}
    return Manifest((), labels, "multi" if len(heads) == 1 else "heads", Path("no data"))


@dataclass(frozen=True)
class Work:
    """What one clip costs: the rows of the table and the size of the model."""

    rows: list[PartFlops]
    parameters: int
    num_classes: int

    @classmethod
    def of(cls, config: RunConfig, *, heads: Mapping[str, int] | None = None) -> Work:
        """Counted for the model and front end of a configuration.

        Args:
            heads: {name: number of classes}; assumed from the task if not given.

        Raises:
            ValueError: the model reads features, and the front end has none.
        """
        heads, name = heads or assumed_heads(config), config.model["name"]
        if name in READ_FEATURES and not config.front_end.get("features"):
            raise ValueError(
                f"model {name!r} reads features of frozen encoders, which front end "
                f"{config.front_end['name']!r} does not give; take a recipe that names them, such "
                "as --config mafnet/first"
            )
        front_end = build_front_end(config.front_end)
        with torch.device("meta"):
            model = build_model(config.model, made_up_manifest(heads), front_end)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        return cls(count_flops(lambda: model), parameters, sum(heads.values()))

    @property
    def total(self) -> PartFlops:
        """The row of the whole model."""
        return self.rows[-1]

    def text(self) -> str:
        """The table for a terminal."""
        lines = [f"{'part':<14}{'tokens':>8}{'multiply-adds':>16}{'FLOPs':>16}{'share':>8}"]
        for row in self.rows:
            share = row.flops / self.total.flops
            figures = f"{_giga(row.products // 2):>16}{_giga(row.flops):>16}{share:>8.1%}"
            lines.append(f"{row.part:<14}{row.tokens:>8}{figures}")
        size = f"parameters: {self.parameters:,} with {self.num_classes} classes"
        return "\n".join([*lines, f"{size}; one clip, one view, forward pass", COUNTED])

    def json(self) -> str:
        """One JSON object.

        `multiply_adds` are those of matrix products and convolutions, half of `product_flops`;
        `total_macs` is half of `total_flops`, which has norms, softmax and so on, too.
        """
        total = self.total
        values = {
            "total_flops": total.flops,
            "total_macs": total.macs,
            "product_flops": total.products,
            "multiply_adds": total.products // 2,
            "tokens": total.tokens,
            "parameters": self.parameters,
            "num_classes": self.num_classes,
            "parts": [
                dataclasses.asdict(row) | {"macs": row.macs, "multiply_adds": row.products // 2}
                for row in self.rows[:-1]
            ],
        }
        return json.dumps(values, indent=2)


def _giga(number: float) -> str:
    """1234567890 -> "1.235 G"."""
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:.3f} {unit}"
    return f"{number / 1e3:.3f} k"
