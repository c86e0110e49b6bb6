"""Attention rollout (Abnar and Zuidema 2020) through fusion: what a token's vector is made of.

A token that leaves a layer is taken for half itself and half what it attended to, so that every
token is a mixture of the tokens that entered the first layer: a row of numbers that sum to one.
MBT's Fig. 6 is such a row, from the CLS tokens to the pictures.

The routing is the model's own. Its fusion strategy is run once more with rows in place of tokens
and layers that mix rows by the attention weights of the first run. So one matrix per layer joins
the tokens of all streams and the fusion tokens, in whichever way these are exchanged: averaged, one
stream after the other, AVT's chain; with nothing to exchange it is block-diagonal.

Choices, see docs/explanation.md: the residual counts a half; heads are averaged; classes are not
told apart; what norms, values and MLPs do is left out; convolutions stay in place, and merging
patches is their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sightsound.explain.explanation import Explanation, ExplanationTarget
from sightsound.explain.token_maps import backbone_of, on_input
from sightsound.models.explained import ALL
from sightsound.models.fusion.alone import pass_alone
from sightsound.nn.masking import per_example
from sightsound.registry import unknown_name

RESIDUAL = 0.5  # Abnar and Zuidema: as much from the residual as from attention
HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda weights: weights.mean(1),
    "min": lambda weights: weights.amin(1),
    "max": lambda weights: weights.amax(1),
}
Heads = Literal["mean", "min", "max"]
Rows = dict[str, Tensor]
FUSION = "fusion"
_CLIPS_AT_ONCE = 2  # all attention weights of an MBT-B take 1.4 GB per clip


def rollout(
    target: ExplanationTarget, *, heads: Heads = "mean", residual: float = RESIDUAL
) -> list[Explanation]:
    """What the tokens that the classifier reads are made of, as maps that sum to one together.

    Args:
        heads: how the weights of a layer's heads become one: `mean`, or `min` and `max`, after
            which rows are made to sum to one again.
        residual: share of a token that stays in a layer.

    Raises:
        ValueError: a model without attention weights, or an unknown way to join heads.
    """
    if heads not in HEADS:
        raise unknown_name("way to join heads", heads, HEADS)
    return target.by_parts(_CLIPS_AT_ONCE, lambda part: _maps(part, Mixer(heads, residual)))


def _maps(target: ExplanationTarget, mixer: Mixer) -> list[Explanation]:
    model = target.model
    patches = {  # the columns of each row that are patches: without CLS and fusion tokens
        reader: {
            name: values[:, backbone_of(model, name).num_prefix :]
            for name, values in row.items()
            if name != FUSION
        }
        for reader, row in rollout_rows(target, mixer).items()
    }
    maps = {}
    for name, values in patches.pop(ALL).items():
        stream, shape = backbone_of(model, name), target.shapes[name]
        values = on_input(values, stream, shape, cells=stream.attended_cells(shape))
        maps[name] = target.blanked(name, values)
    total = torch.stack([x.flatten(1).sum(1) for x in maps.values()]).sum(0)
    maps = {name: x / per_example(total, x) for name, x in maps.items()}
    crossing: list[dict[str, dict[str, float]]] = [{} for _ in target.batch.id]
    for reader, parts in patches.items():  # what each stream's own vector is made of
        sums = {name: values.sum(1) for name, values in parts.items()}
        whole = torch.stack([*sums.values()]).sum(0)
        for clip in target.present[reader].nonzero().flatten().tolist():
            crossing[clip][reader] = {n: float(x[clip] / whole[clip]) for n, x in sums.items()}
    return target.answer(maps, crossing=crossing)


# --- rows ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mixer:
    """What a layer's attention does to rows."""

    heads: Heads = "mean"
    residual: float = RESIDUAL

    def layer(self, weights: Tensor) -> Callable[..., tuple[Tensor, None]]:
        """A stand-in for the layer with these weights (B, h, N, J), called as a `Block` is.

        It turns rows (B, N, R) into `residual` of themselves and the rest of what they attend to. A
        token that attends to nothing stays as it is.
        """
        shares = HEADS[self.heads](weights.float())
        sums = shares.sum(-1, keepdim=True)
        shares = shares / sums.masked_fill(sums == 0, 1.0)
        kept = torch.where(sums == 0, 1.0, self.residual)

        def mixed(
            x: Tensor,
            *,
            others: Tensor | None = None,
            key_mask: Tensor | None = None,
            maps: bool = False,
        ) -> tuple[Tensor, None]:
            seen = x if others is None else torch.cat((others, x), dim=1)
            return kept * x + (1 - kept) * (shares @ seen), None

        return mixed


class Run:
    """A batch that went through a model, and what enters when rows go the same way.

    Rows (B, n, 1) are one column at a time: a zero for each token, whose gradient says how much of
    it arrives. So a token's row is the gradient of that token, at the cost of one vector per layer.
    See `models.explained.RolloutRows`.
    """

    def __init__(self, target: ExplanationTarget, mixer: Mixer) -> None:
        model = target.model
        with torch.no_grad():
            self.encoded = model.encode(target.inputs, **target.masks, maps=True)
            self.attention = model.fuse(self.encoded, maps=True).attention or {}
        self.shapes: Mapping[str, tuple[int, ...]] = target.shapes
        self.mixer = mixer
        self.entered: Rows = {}

    def enter(self, part: str, count: int) -> Tensor:
        """Zeros (B, count, 1) of the tokens that enter as `part`."""
        like = next(iter(self.encoded.tokens.values()))
        self.entered[part] = like.new_zeros(like.shape[0], count, 1, dtype=torch.float32)
        return self.entered[part].requires_grad_()

    def layer(self, *names: str) -> Callable[..., tuple[Tensor, None]]:
        """The stand-in for the layer whose weights have one of these names."""
        return self.mixer.layer(
            next(self.attention[name] for name in names if name in self.attention)
        )

    def own(self, stream: str) -> list[int]:
        """Numbers of a stream's layers with weights "name.number"."""
        keys = [key.partition(".") for key in self.attention]
        return sorted(int(layer) for name, _, layer in keys if name == stream and layer.isdigit())

    def num_tokens(self, layer: str) -> int:
        """Tokens that are attended to in the layer with the weights of this name."""
        return self.attention[layer].shape[-1]

    def fuse(
        self,
        fusion: nn.Module | None,
        rows: Mapping[str, Tensor],
        blocks: Mapping[str, Sequence[Callable]],
    ) -> Rows:
        """Rows after a fusion strategy, whose own tokens enter as `FUSION`; `None`: no fusion."""
        masks = {"present": self.encoded.present, "key_mask": self.encoded.key_mask}
        if fusion is None:
            return pass_alone(rows, blocks, **masks, maps=False)[0]
        given = {key: self.enter(FUSION, x.shape[1]) for key, x in fusion.named_parameters()}
        return functional_call(fusion, given, (rows, blocks), masks)[0]


def rollout_rows(target: ExplanationTarget, mixer: Mixer | None = None) -> dict[str, Rows]:
    """{reader: {part: (B, n)}}: rows of what the classifier reads, of a batch.

    A reader is a stream, for its CLS or mean, or `ALL`: what the classifier reads of all of them.
    Parts are the streams' tokens as they enter, CLS first, and the fusion tokens. The numbers of a
    row sum to one over all parts.

    Raises:
        ValueError: a model without attention weights of all its tokens.
    """
    run, rows = Run(target, mixer or Mixer()), {}
    with torch.enable_grad():
        for reader, read in target.model.rollout(run).items():
            entered = list(run.entered.values())
            columns = torch.autograd.grad(
                read.sum(), entered, retain_graph=True, materialize_grads=True
            )
            pairs = zip(run.entered, columns, strict=True)
            rows[reader] = {name: x[..., 0] for name, x in pairs}
    return rows
