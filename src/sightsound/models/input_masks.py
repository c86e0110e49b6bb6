"""Which streams and frames of a batch are really there, before a model looks at them.

Absent streams and padding become exact zeros, so that what happens to stand there changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sightsound.registry import unknown_name
from sightsound.types import AUDIO, MODALITIES, VIDEO

# Axes of an input, their number, and which are the channels.
FORMS = {VIDEO: ("(B, T, C, H, W)", 5, 2), AUDIO: ("(B, 1, F, M)", 4, 1)}


def check_modalities(inputs: Mapping[str, Tensor], modalities: Sequence[str]) -> None:
    """`ValueError` unless `inputs` name modalities only, and one at least of the model's."""
    for name in inputs:
        if name not in MODALITIES:
            raise unknown_name("modality", name, MODALITIES)
    if not set(inputs) & set(modalities):
        raise ValueError(
            f"inputs hold none of the model's modalities {tuple(modalities)}; "
            "give at least one of them"
        )


def check_input(name: str, values: Tensor, *, channels: int) -> None:
    """`ValueError` if `values` cannot be the input of stream `name`."""
    form, dims, axis = FORMS[name]
    if values.ndim != dims or values.shape[axis] != channels:
        raise ValueError(
            f"{name} input has shape {tuple(values.shape)}; {form} with {channels} channel(s) is "
            "accepted"
        )
    if not values.is_floating_point():
        raise ValueError(
            f"{name} input is {values.dtype}; normalised floating point is accepted: "
            "apply the model's front end (data.augment.normalise) first"
        )


def present_streams(
    inputs: Mapping[str, Tensor],
    present: Mapping[str, Tensor] | None,
    valid: Mapping[str, Tensor] | None,
) -> dict[str, Tensor] | None:
    """{modality: (B,) bool} of the streams in `inputs`; `None` if every example has all of them."""
    if not present and not valid:
        return None
    streams = {}
    for name, values in inputs.items():
        here = values.new_ones(values.shape[0], dtype=torch.bool)
        if present and name in present:
            here = here & present[name]
        if valid and name in valid:
            here = here & valid[name].any(dim=1)
        streams[name] = here
    table = torch.stack(tuple(streams.values()))  # (streams, B)
    if bool(table.all()):
        return None
    if not bool(table.any(dim=0).all()):
        rows = (~table.any(dim=0)).nonzero().flatten().tolist()
        raise ValueError(
            f"examples {rows} of the batch have no stream: of {', '.join(inputs)} all are absent; "
            "leave such examples out"
        )
    return streams


def padded_streams(
    inputs: Mapping[str, Tensor],
    present: Mapping[str, Tensor] | None,
    valid: Mapping[str, Tensor] | None,
) -> dict[str, Tensor]:
    """{modality: `valid` (B, T) or (B, F)} of the streams that hold padding.

    An absent stream counts as whole: nobody reads it, and without a mask attention is faster.
    """
    padded = {}
    for name in inputs:
        if valid and name in valid:
            real = valid[name] if present is None else valid[name] | ~present[name][:, None]
            if not bool(real.all()):
                padded[name] = real
    return padded


def blanked(modality: str, values: Tensor, valid: Tensor) -> Tensor:
    """An input with exact zeros in place of its padding; `valid` (B, T) or (B, F) bool."""
    padding = ~valid
    axes = padding[:, :, None, None, None] if modality == VIDEO else padding[:, None, :, None]
    return values.masked_fill(axes, 0.0)
