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

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from sightsound.explain.maps import Maps, Question, by_parts
from sightsound.explain.token_maps import entering_cells, num_prefix, on_input
from sightsound.models.fusion.alone import pass_alone
from sightsound.nn.masking import join_masks, mean_of_present, per_example, pool, visible_to_others
from sightsound.registry import unknown_name
from sightsound.types import AUDIO, VIDEO

RESIDUAL = 0.5  # Abnar and Zuidema: as much from the residual as from attention
HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda weights: weights.mean(1),
    "min": lambda weights: weights.amin(1),
    "max": lambda weights: weights.amax(1),
}
Heads = Literal["mean", "min", "max"]
Rows = dict[str, Tensor]
ALL, FUSION = "all", "fusion"
_CLIPS_AT_ONCE = 2  # all attention weights of an MBT-B take 1.4 GB per clip


def rollout_maps(
    question: Question, *, heads: Heads = "mean", residual: float = RESIDUAL
) -> list[Maps]:
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
    return by_parts(lambda part: _maps(part, Mixer(heads, residual)), question, size=_CLIPS_AT_ONCE)


def _maps(question: Question, mixer: Mixer) -> list[Maps]:
    rows = rollout(question, mixer)
    patches = {reader: _patches(question.model, row) for reader, row in rows.items()}
    maps = {
        name: on_input(x, getattr(question.model, name), question.shape(name))
        for name, x in patches.pop(ALL).items()
    }
    maps = {name: question.blanked(name, x) for name, x in maps.items()}
    total = sum(x.flatten(1).sum(1) for x in maps.values())
    maps = {name: x / per_example(total, x) for name, x in maps.items()}
    return question.answer(maps, crossing=_crossing(question, patches))


def _crossing(question: Question, patches: Mapping[str, Rows]) -> list[dict[str, dict[str, float]]]:
    """Per clip {stream: {modality: share}} of what each stream's own vector is made of."""
    found: list[dict[str, dict[str, float]]] = [{} for _ in question.batch.id]
    for reader, parts in patches.items():
        sums = {name: values.sum(1) for name, values in parts.items()}
        total = sum(sums.values())
        for clip in question.present[reader].nonzero().flatten().tolist():
            found[clip][reader] = {n: float(x[clip] / total[clip]) for n, x in sums.items()}
    return found


def _patches(model: nn.Module, row: Rows) -> Rows:
    """The columns of a row that are patches: without CLS and fusion tokens."""
    return {
        name: values[:, num_prefix(getattr(model, name)) :]
        for name, values in row.items()
        if name != FUSION
    }


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
    """

    def __init__(self, question: Question, mixer: Mixer) -> None:
        model = question.model
        if question.batch.encoded:
            raise ValueError(
                f"{model.info.name!r} reads features of frozen encoders, whose attention is not "
                "known, so there is no rollout; ask by auto or occlusion"
            )
        with torch.no_grad():
            self.encoded = model.encode(question.inputs, **question.masks, maps=True)
            self.attention = model.fuse(self.encoded, maps=True).attention or {}
        self.question, self.model, self.mixer = question, model, mixer
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

    def own(self, name: str) -> list[int]:
        """Numbers of a stream's layers with weights "name.number"."""
        keys = [key.partition(".") for key in self.attention]
        return sorted(int(layer) for stream, _, layer in keys if stream == name and layer.isdigit())

    def fuse(
        self, fusion: nn.Module | None, rows: Rows, blocks: Mapping[str, Sequence[Callable]]
    ) -> Rows:
        """Rows after a fusion strategy, whose own tokens enter as `FUSION`; `None`: no fusion."""
        masks = {"present": self.encoded.present, "key_mask": self.encoded.key_mask}
        if fusion is None:
            return pass_alone(rows, blocks, **masks, maps=False)[0]
        given = {key: self.enter(FUSION, x.shape[1]) for key, x in fusion.named_parameters()}
        return functional_call(fusion, given, (rows, blocks), masks)[0]

    def row(self, read: Tensor) -> Rows:
        """{part: (B, n)}: what each token that entered adds to (B, 1), which one reads."""
        entered = list(self.entered.values())
        found = torch.autograd.grad(read.sum(), entered, retain_graph=True, materialize_grads=True)
        return {name: x[..., 0] for name, x in zip(self.entered, found, strict=True)}


def rollout(question: Question, mixer: Mixer | None = None) -> dict[str, Rows]:
    """{reader: {part: (B, n)}}: rows of what the classifier reads, of a batch.

    A reader is a stream, for its CLS or mean, or `ALL`: what the classifier reads of all of them.
    Parts are the streams' tokens as they enter, CLS first, and the fusion tokens. The numbers of a
    row sum to one over all parts.

    Raises:
        ValueError: a model without attention weights of all its tokens.
    """
    run = Run(question, mixer or Mixer())
    with torch.enable_grad():
        read = _READERS.get(question.model.info.name, _encoders)(run)
        return {reader: run.row(x) for reader, x in read.items()}


def _mbt(run: Run) -> Rows:
    """What the classifier of an `MBT` reads (B, 1), by stream and of all."""
    model, encoded = run.model, run.encoded
    rows = {name: run.enter(name, x.shape[1]) for name, x in encoded.tokens.items()}
    for name in rows:
        for layer in range(model.fusion_layer):
            rows[name], _ = run.layer(f"{name}.{layer}")(rows[name])
    later = range(model.fusion_layer, model.size.depth)
    blocks = {
        name: [run.layer(f"{name}.{layer}", f"joint.{layer}") for layer in later] for name in rows
    }
    fused = model.fusion is not None and model.test_with_bottlenecks
    rows = run.fuse(model.fusion if fused else None, rows, blocks)
    if model.classifier == "token":
        read = {name: x[:, 0] for name, x in rows.items()}
        return read | {ALL: mean_of_present(read, encoded.present)}
    masks = visible_to_others(rows, encoded.present, encoded.key_mask)
    own = encoded.key_mask or {}
    read = {name: pool(x, own.get(name), kind="gap") for name, x in rows.items()}
    joint = torch.cat(tuple(rows.values()), dim=1)
    return read | {ALL: pool(joint, join_masks(masks, rows), kind="gap")}


def _avt(run: Run) -> Rows:
    """Likewise of an `AVT`, whose classifier reads both streams side by side: alike much."""
    model, encoded, rows, first = run.model, run.encoded, {}, {}
    for name in encoded.tokens:
        tokens, pooled = _through(run, name)
        prefix = num_prefix(getattr(model, name))
        both = name == AUDIO and model.audio_token == "both"
        lead = tokens[:, :prefix] if both else pooled[:, None]
        rows[name] = torch.cat((lead, tokens[:, prefix:]), dim=1)
        first[name] = slice(0, lead.shape[1])
    if model.fusion is not None:
        blocks = {
            name: [run.layer(f"{name}.fusion.{layer}") for layer in range(len(layers))]
            for name, layers in model.fusion_layers.items()
            if name in rows
        }
        rows = run.fuse(model.fusion, rows, blocks)
    read = {name: x[:, first[name]].mean(1) for name, x in rows.items()}
    if VIDEO in rows and model.video_token == "pooled_again":
        mask = (encoded.key_mask or {}).get(VIDEO)
        mask = None if mask is None else mask[:, 1:]
        read[VIDEO] = pool(rows[VIDEO][:, 1:], mask, kind="gap")
    return read | {ALL: mean_of_present(read, encoded.present)}


def _encoders(run: Run) -> Rows:
    """Likewise of encoders that never meet: of one stream, or with the mean of their logits."""
    read = {name: _through(run, name)[1] for name in run.encoded.tokens}
    return read | {ALL: mean_of_present(read, run.encoded.present)}


def _through(run: Run, name: str) -> tuple[Tensor, Tensor]:
    """Rows of a backbone's tokens (B, P + N, 1), and of its vector (B, 1)."""
    backbone, shape = getattr(run.model, name), run.question.shape(name)
    numbers = run.own(name)
    if not numbers:
        raise no_attention(run.model, name)
    entering, grid = entering_cells(backbone, shape).grid, backbone.cells(shape).grid
    prefix = num_prefix(backbone)
    rows = run.enter(name, prefix + math.prod(entering))
    for number in numbers:
        layer = run.layer(f"{name}.{number}")
        if rows.shape[1] != run.attention[f"{name}.{number}"].shape[-1]:
            rows = _merged(rows, entering, grid)
        rows, _ = layer(rows)
    if prefix:
        return rows, rows[:, :prefix].mean(1)
    # Of AVT, the mask has one more token in front, the vector itself.
    mask = (run.encoded.key_mask or {}).get(name)
    return rows, pool(rows, None if mask is None else mask[:, -rows.shape[1] :], kind="gap")


def no_attention(model: nn.Module, stream: str) -> ValueError:
    """The error of a model whose tokens do not all look at one another."""
    return ValueError(
        f"{model.info.name!r} has no attention weights over all tokens of its {stream}, so there "
        "is no rollout; ask by occlusion, or by grad_cam"
    )


def _merged(rows: Tensor, before: tuple[int, ...], after: tuple[int, ...]) -> Tensor:
    """Rows (B, N', 1) of a coarser grid (t, h', w'): means over what one of its tokens merges."""
    step, size = before[1] // after[1], before[2] // after[2]
    grid = rows[..., 0].unflatten(1, before)
    return functional.avg_pool2d(grid, (step, size)).flatten(1)[..., None]


_READERS = {"mbt": _mbt, "avt": _avt}
