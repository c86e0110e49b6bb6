"""What masked modelling masks, and where its loss looks (paper AVT, section 3.2.1).

Sound: whole segments of activity, all frequencies, are 0 in the normalised spectrogram. To mask
tokens would not do: patches overlap. Or, as the paper's ablation has it, random tokens.
Pictures: random tokens are 0 right after the first patch embedding; or the pixels they stand for.

The loss looks where nothing that is shown lets the model see. A masked token of UniFormer stands
for two frames, of which the second is seen by the token after it, too: there only the first one
counts. Padding and absent streams are neither masked nor looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from sightsound.models.backbone import Backbone, input_shape
from sightsound.models.explained import Cells
from sightsound.objectives.audio_visual.segments import number_segments
from sightsound.types import AUDIO, VIDEO, Batch

VIDEO_MASKING = ("tokens", "pixels", "none")
AUDIO_MASKING = ("segments", "tokens", "none")


@dataclass
class MaskedBatch:
    """The inputs of a batch with something masked, and where that is compared."""

    inputs: dict[str, Tensor]
    token_mask: dict[str, Tensor] = field(default_factory=dict)  # {modality: (B, N')}
    scored: dict[str, Tensor] = field(default_factory=dict)
    """{modality: bool (B, T, 1, H, W) or (B, 1, F, M)}: where reconstruction is compared."""


@dataclass(frozen=True)
class Masking:
    """What to mask, and how much of it.

    Args:
        video: `tokens`, `pixels` or `none`.
        audio: `segments`, `tokens` or `none`.
        share: of the segments, or of the tokens; at least one. A clip of one segment is left alone.
        num_segments: see `segments.py`, as `window`.
        everywhere: the loss looks at all valid places, masked or not.
    """

    video: str
    audio: str
    share: float
    num_segments: int
    window: int
    everywhere: bool

    def __call__(
        self,
        batch: Batch,
        streams: Mapping[str, Backbone],
        *,
        generator: torch.Generator | None,
    ) -> MaskedBatch:
        """`batch` with something masked, drawn from `generator`.

        Args:
            streams: {modality: backbone}. Of one that does not make tokens zero (`hides_tokens`)
                their places in the input become zero; its patches do not overlap.
        """
        masked = MaskedBatch(dict(batch.inputs))
        for name, kind in ((VIDEO, self.video), (AUDIO, self.audio)):
            if kind == "none" or name not in masked.inputs:
                continue
            values = masked.inputs[name]
            frames = batch.valid[name] & batch.present[name][:, None]  # (B, T) or (B, F)
            if kind == "segments":
                places = self._segments(values, frames, generator=generator)
            else:  # tokens whose frames are all valid
                shape, stream = input_shape(name, values), streams[name]
                cells, nothing = stream.embedded_cells(shape), (0,) * len(shape)
                tokens = drawn(whole_tokens(frames, cells), self.share, generator=generator)
                zero_tokens = kind == "tokens" and stream.hides_tokens
                before = cells.before or nothing if zero_tokens else nothing
                places = unseen(tokens, cells, shape, before)
                places = places.transpose(1, 2) if name == VIDEO else places
                if zero_tokens:
                    masked.token_mask[name] = tokens
            if name not in masked.token_mask:
                masked.inputs[name] = values.masked_fill(places, 0.0)
                places = places.expand_as(values) if name == AUDIO else places
            if self.everywhere:
                some = values[:, :, :1] if name == VIDEO else values
                places = torch.ones_like(some, dtype=torch.bool)
            masked.scored[name] = places & _along_time(name, frames)
        return masked

    def _segments(
        self, audio: Tensor, frames: Tensor, *, generator: torch.Generator | None
    ) -> Tensor:
        """(B, 1, F, 1) bool: true in the masked segments of audio (B, 1, F, M)."""
        numbers = number_segments(
            audio[:, 0], valid=frames, num_segments=self.num_segments, window=self.window
        )
        count = numbers.amax(1) + 1
        every = torch.arange(self.num_segments, device=audio.device) < count[:, None]
        chosen = drawn(every & (count > 1)[:, None], self.share, generator=generator)
        inside = chosen.gather(1, numbers.clamp(min=0)) & (numbers >= 0)
        return _along_time(AUDIO, inside)


def drawn(eligible: Tensor, share: float, *, generator: torch.Generator | None) -> Tensor:
    """(B, N) bool: `share` of the `eligible` (B, N) of each row, at least one where there is one.

    Drawn without replacement, all with the same chance.
    """
    number = eligible.sum(1)
    count = (share * number).round().clamp(min=1).minimum(number)
    noise = torch.rand(eligible.shape, generator=generator, device=eligible.device)
    rank = noise.masked_fill(~eligible, 2.0).argsort(1).argsort(1)
    return rank < count[:, None]


def unseen(tokens: Tensor, cells: Cells, shape: tuple[int, ...], before: tuple[int, ...]) -> Tensor:
    """(B, 1, *shape) bool: places in the patches of masked `tokens` (B, N) that no other sees.

    Args:
        before: places before its own patch that a token also sees, per axis.
    """
    spread = functional.conv_transpose2d if len(shape) == 2 else functional.conv_transpose3d
    kernel = torch.ones(1, 1, *(p + b for p, b in zip(cells.patch, before, strict=True)))

    def reached(mask: Tensor) -> Tensor:
        maps = mask.float().unflatten(1, cells.grid)[:, None]
        return spread(maps, kernel.to(maps), stride=cells.stride) > 0.5

    with torch.autocast(tokens.device.type, enabled=False):
        places = reached(tokens) & ~reached(~tokens)
    for axis, (skipped, size) in enumerate(zip(before, shape, strict=True), start=2):
        places = places.narrow(axis, skipped, min(size, places.shape[axis] - skipped))
    pads = [size - got for size, got in zip(shape, places.shape[2:], strict=True)]
    return functional.pad(places, [part for pad in reversed(pads) for part in (0, pad)])


def whole_tokens(frames: Tensor, cells: Cells) -> Tensor:
    """(B, N) bool: tokens without padding; `frames` (B, T) or (B, F) bool, false: padding.

    A token at the end of an odd number of frames has one frame less.
    """
    missing = (cells.grid[0] - 1) * cells.stride[0] + cells.patch[0] - frames.shape[1]
    if missing > 0:
        frames = torch.cat((frames, frames[:, -1:].expand(-1, missing)), dim=1)
    steps = frames.unfold(1, cells.patch[0], cells.stride[0]).all(-1)[:, : cells.grid[0]]
    return steps.repeat_interleave(torch.Size(cells.grid[1:]).numel(), dim=1)


def _along_time(name: str, frames: Tensor) -> Tensor:
    """(B, T) -> (B, T, 1, 1, 1), (B, F) -> (B, 1, F, 1)."""
    return frames[:, :, None, None, None] if name == VIDEO else frames[:, None, :, None]
