"""The work of one forward pass, part by part.

Counted by torch's flop counter on the meta device: no memory, no time, and exact for attention
(on CPU tensors the counter takes SDPA for nothing). It counts matrix products and convolutions; a
multiply-add is two operations. Norms, softmax and GELU are left out, as in the literature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sightsound.registry import MODELS, resolve

if TYPE_CHECKING:
    from sightsound.run import RunConfig


@dataclass(frozen=True)
class PartFlops:
    """One row of the table, for one clip."""

    part: str  # "encode video", "encode audio", "fuse" or "total"
    flops: int  # operations
    tokens: int  # at the end of this part; fusion tokens excluded

    @property
    def multiply_adds(self) -> int:
        """Half of `flops`."""
        return self.flops // 2


def count_flops(build: Callable[[], nn.Module]) -> list[PartFlops]:
    """Rows for each stream up to fusion, for fusion with classifier, and for the whole.

    `build` makes the model; it is called on the meta device. The model needs `example_inputs`.
    """
    with torch.device("meta"):
        model = build().eval()
        inputs = model.example_inputs()
    rows = []
    with torch.inference_mode():
        for name, values in inputs.items():
            with FlopCounterMode(display=False) as counter:
                encoded = model.encode({name: values})
            tokens = encoded.tokens[name].shape[1]
            rows.append(PartFlops(f"encode {name}", counter.get_total_flops(), tokens))
        encoded = model.encode(inputs)
        with FlopCounterMode(display=False) as counter:
            model.fuse(encoded)
    tokens = sum(row.tokens for row in rows)
    rows.append(PartFlops("fuse", counter.get_total_flops(), tokens))
    return [*rows, PartFlops("total", sum(row.flops for row in rows), tokens)]


def count_parameters(build: Callable[[], nn.Module]) -> int:
    """Number of parameters of the model that `build` makes on the meta device."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters())


def flops_table(config: RunConfig, *, num_classes: int) -> str:
    """The table as text, for the model and front end of a configuration."""
    build = _builder(config, num_classes)
    lines = [f"{'part':<14}{'tokens':>8}{'multiply-adds':>16}{'FLOPs':>16}{'share':>8}"]
    rows = count_flops(build)
    for row in rows:
        share = row.flops / rows[-1].flops
        figures = f"{_giga(row.multiply_adds):>16}{_giga(row.flops):>16}{share:>8.1%}"
        lines.append(f"{row.part:<14}{row.tokens:>8}{figures}")
    lines.append(f"parameters: {count_parameters(build):,}; one clip, one view, forward pass")
    return "\n".join(lines)


def _builder(config: RunConfig, num_classes: int) -> Callable[[], nn.Module]:
    """Makes the model of `config` with one head of `num_classes`."""
    from sightsound.run import build_front_end

    front_end = build_front_end(config.front_end)
    video, audio = front_end.video, front_end.audio
    arguments = {key: value for key, value in config.model.items() if key != "name"} | {
        "heads": {"label": num_classes},
        "video_shape": (video.num_frames, video.height, video.width),
        "audio_shape": (audio.num_frames, audio.num_mels),
    }
    model_class = resolve(MODELS, config.model["name"], kind="model")
    return lambda: model_class(**arguments)


def _giga(number: float) -> str:
    """1234567890 -> "1.235 G"."""
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:.3f} {unit}"
    return f"{number / 1e3:.3f} k"
