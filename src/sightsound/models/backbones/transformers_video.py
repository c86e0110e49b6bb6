"""A video transformer of Hugging Face's `transformers` (extra `hf`): a clip -> a grid of tokens.

| `model_type` | positions | attention | the clip's vector |
|---|---|---|---|
| `videomae` | fixed sines | all tokens | mean of the tokens, or the first one |
| `vivit` | learned | all tokens | CLS |
| `timesformer` | learned | over time, then over a frame; or all tokens | CLS |
| `vjepa2` | rotary | all tokens | mean of the tokens |

(The package has no Video Swin and no MViT.) The networks are theirs, built for the size of the
clips: sizes other than that are an error. They take no mask, so that frames of padding are zeros
which other tokens do see; what stands there still changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sightsound.models.backbone import Backbone, Tokens, input_shape
from sightsound.models.explained import Cells
from sightsound.models.input_masks import blanked
from sightsound.nn.masking import pool
from sightsound.optional import require
from sightsound.registry import unknown_name
from sightsound.types import VIDEO

CONFIG = "config.json"
EXTRAS = ("pooler", "predictor")  # parts that the tokens do not come from
# Of a configuration: classes and what wrote it. They make no difference to the network.
NOT_SIZES = ("architectures", "id2label", "label2id", "transformers_version", "dtype")


def _tubelet(config: Any) -> tuple[int, int, int]:
    size = config.patch_size
    size = (size, size) if isinstance(size, int) else tuple(size)
    return (getattr(config, "tubelet_size", 1), *size)


@dataclass(frozen=True)
class Family:
    """What differs between the models, for this purpose."""

    frames: str = "num_frames"  # their names of the clip's length and size
    size: str = "image_size"
    patch: Callable[[Any], tuple[int, int, int]] = _tubelet  # (frames, height, width)
    has_cls: bool = True
    square: bool = False  # it reads square pictures only
    drops: bool = False  # it takes a rate of stochastic depth (TimeSformer's must be whole)
    time_last: bool = False  # tokens are ordered by row, then column, then time


FAMILIES = {
    "timesformer": Family(square=True, time_last=True),
    "videomae": Family(has_cls=False),
    "vivit": Family(patch=lambda config: tuple(config.tubelet_size)),
    "vjepa2": Family(
        frames="frames_per_clip", size="crop_size", has_cls=False, square=True, drops=True
    ),
}


class TransformersVideo(Backbone):
    """A `Backbone` of video.

    Args:
        shape: (T, H, W) of the clips; it replaces the configuration's.
        config: the model's configuration with its `model_type`, or a local folder with
            `config.json`. No weight is read: `sightsound convert transformers_video` does.
        stochastic_depth: drop rate of the last layer; V-JEPA 2 alone takes one.

    Raises:
        ValueError: another model, or arguments it has no use for.
        ModuleNotFoundError: `transformers` is not installed.
    """

    modality = VIDEO
    tables = ("_token", "_embeddings")
    network: Any  # a `PreTrainedModel`: transformers is optional

    def __init__(
        self,
        shape: Sequence[int] = (16, 224, 224),
        *,
        config: Mapping[str, Any] | str | None = None,
        stochastic_depth: float = 0.0,
    ) -> None:
        super().__init__()
        if not config:
            raise ValueError(
                "backbone transformers_video needs its option config: a local folder as "
                "transformers writes it, or the configuration with its model_type"
            )
        transformers = require("transformers", extra="hf")
        values = dict(config) if isinstance(config, Mapping) else read_config(config)
        name = values.get("model_type")
        if name not in FAMILIES:
            raise unknown_name("model_type of a transformers_video", name, FAMILIES)
        self.family, self.shape = FAMILIES[name], tuple(shape)
        frames, height, width = self.shape
        if self.family.square and height != width:
            raise ValueError(
                f"{name} reads square pictures, not {height} x {width}; set the front end's height "
                "and width"
            )
        if stochastic_depth and not self.family.drops:
            raise ValueError(
                f"stochastic_depth is {stochastic_depth}, but {name} takes none; give the backbone "
                "its own, 0 (video_options.stochastic_depth)"
            )
        values[self.family.frames] = frames
        values[self.family.size] = height if height == width else [height, width]
        if stochastic_depth:
            values["drop_path_rate"] = stochastic_depth
        values = {key: value for key, value in values.items() if key not in NOT_SIZES}
        kind = {key: value for key, value in values.items() if key != "model_type"}
        self.config = transformers.AutoConfig.for_model(name, **kind)
        self.options = {"config": json.loads(json.dumps(values))}
        self.options["stochastic_depth"] = stochastic_depth
        if getattr(self.config, "attention_type", "") == "space_only":
            raise ValueError(
                "attention_type is 'space_only', which has no tokens in time; accepted: "
                "divided_space_time, joint_space_time"
            )
        self.patch = self.family.patch(self.config)
        self.cells(self.shape)  # not too small
        self.network = without_extras(transformers.AutoModel.from_config(self.config))
        self.width = self.config.hidden_size
        self.channels = getattr(self.config, "num_channels", 3)
        self.num_prefix = int(self.family.has_cls)
        self.global_attention = not self.family.time_last
        self.norm: nn.Module = nn.Identity()
        if getattr(self.config, "use_mean_pooling", False):
            self.norm = nn.LayerNorm(self.width)  # VideoMAE's classifier has it, epsilon 1e-5

    def forward(
        self,
        x: Tensor,
        *,
        valid: Tensor | None = None,
        token_mask: Tensor | None = None,
        maps: bool = False,
    ) -> Tokens:
        """Tokens (B, P + N, D) of x (B, T, C, H, W); arguments as of `Backbone`.

        A token counts if one of its frames is valid. Maps are those of attention to all tokens.
        """
        shape, mask = input_shape(VIDEO, x), None
        if shape != self.shape:
            raise ValueError(
                f"video of shape {shape} was given, but {self.config.model_type} is built for "
                f"{self.shape}; set the front end's frames, height and width to that"
            )
        if valid is not None:
            x, mask = blanked(VIDEO, x, valid), self.valid_tokens(valid, shape)
        found = self._run(x, token_mask=token_mask, maps=maps)
        raw = found.last_hidden_state
        if self.family.time_last:  # by time, then row, then column
            first, rest = raw[:, :1], raw[:, 1:].unflatten(1, (-1, self.cells(shape).grid[0]))
            raw = torch.cat((first, rest.transpose(1, 2).flatten(1, 2)), dim=1)
        tokens = self.norm(raw)
        if self.family.has_cls or not getattr(self.config, "use_mean_pooling", True):
            pooled = tokens[:, 0]
        else:
            pooled = self.norm(pool(raw, mask, kind="gap"))
        weights = found.attentions if maps and not self.family.time_last else ()
        return Tokens(tokens, pooled, mask, dict(enumerate(weights)))

    @property
    def _patches(self) -> nn.Module:
        """The patch embedding: the only convolution there is."""
        return next(
            part for part in self.network.modules() if isinstance(part, nn.Conv2d | nn.Conv3d)
        )

    def _run(self, x: Tensor, *, token_mask: Tensor | None, maps: bool) -> Any:
        """What the network says, its patch tokens zero where `token_mask` (B, N) is true."""
        hooks = []
        if token_mask is not None:
            masked = token_mask.unflatten(1, self.cells(self.shape).grid)  # (B, T', H', W')

            def hide(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
                where = masked.flatten(0, 1) if output.ndim == 4 else masked  # frames one by one
                return output.masked_fill(where[:, None], 0.0)

            hooks.append(self._patches.register_forward_hook(hide))
        used = self.config._attn_implementation
        if maps:  # the fast ones keep no weights
            self.network.set_attn_implementation("eager")
        extra = {"skip_predictor": True} if self.config.model_type == "vjepa2" else {}
        try:
            return self.network(x, output_attentions=maps, return_dict=True, **extra)
        finally:
            for hook in hooks:
                hook.remove()
            if maps:
                self.network.set_attn_implementation(used)

    def cells(self, shape: Sequence[int]) -> Cells:
        """The patches of a clip of `shape`, (T, H, W)."""
        grid = tuple(size // part for size, part in zip(shape, self.patch, strict=True))
        if 0 in grid:
            raise ValueError(
                f"video of shape {tuple(shape)} is smaller than the patch {self.patch} of "
                f"{self.config.model_type}; take longer or larger clips"
            )
        return Cells(grid, self.patch, self.patch)

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute each layer's activations in the backward pass: less memory, same numbers."""
        network, prefix = self.network, "gradient"
        if hasattr(network, "activation_checkpointing_enable"):  # its name from version 5 on
            prefix = "activation"
        if enabled:
            getattr(network, f"{prefix}_checkpointing_enable")({"use_reentrant": False})
        else:
            getattr(network, f"{prefix}_checkpointing_disable")()


def read_config(folder: str | Path) -> dict[str, Any]:
    """The content of `config.json` in a local folder.

    Raises:
        FileNotFoundError: there is none.
    """
    file = Path(folder) / CONFIG
    if not file.is_file():
        raise FileNotFoundError(
            f"config is {str(folder)!r}, which has no {CONFIG}; accepted: a folder as transformers "
            "writes it, or the configuration itself with its model_type"
        )
    return json.loads(file.read_text())


def without_extras(network: nn.Module) -> nn.Module:
    """`network` without `EXTRAS`."""
    for name in EXTRAS:
        if getattr(network, name, None) is not None:
            setattr(network, name, None)
    return network
