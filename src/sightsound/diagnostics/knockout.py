"""The exchange between sound and pictures cut, layer by layer, inside a trained model.

In a layer that is cut each stream goes on as if the other were not there:

    bottleneck        it reads the fusion tokens as they are at this layer without the other stream
    cross-attention   it attends to its own tokens only
    self-attention    likewise: attention from stream to stream is masked

What the other layers do stays. With every layer cut each stream's tokens are exactly those of the
stream alone; they still meet in the classifier. Layers are numbered as in attention maps, from 0.
MAFnet has no such layers: there FiLM is left out, and either stream.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from sightsound.diagnostics.finding import Check, answer, loss
from sightsound.diagnostics.trial import Trial, batches
from sightsound.models.pretrained import Pretrained
from sightsound.nn.film import FilmBlock
from sightsound.types import WORDS, Encoded

EVERYWHERE, LAYER = "all fusion layers", "layer "
CUT = "exchange cut in "

Layer = Callable[..., tuple[Tensor, Tensor | None]]


def knockout(trial: Trial) -> Check:
    """What the exchange is worth at each layer alone, and from each layer on."""
    model = trial.predictor.model
    if not trial.two_streams:
        word = WORDS[trial.predictor.modalities[0]]
        return Check("knockout", f"The model knows {word} alone: there is no exchange to cut.")
    if not len(trial.complete):
        return Check("knockout", "No clip has sound and pictures: there is no exchange to cut.")
    if strategy(model) is not None:
        return _of_layers(trial)
    if film_blocks(model):
        return _of_film(trial)
    return Check(
        "knockout",
        "The model's streams meet in its classifier alone: there is no exchange to cut.",
    )


# --- layers of fusion ---------------------------------------------------------------------------


def strategy(model: nn.Module) -> nn.Module | None:
    """The fusion strategy that routes tokens through the model's layers; `None`: it has none."""
    fusion = getattr(model, "fusion", None)
    return fusion if hasattr(fusion, "one_stack") else None


@contextmanager
def cut(model: nn.Module, layers: Collection[int]) -> Iterator[None]:
    """Within it, the fusion layers of `model` with these numbers exchange nothing.

    They are counted from the first fusion layer on.
    """

    def without_exchange(fusion: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        tokens, blocks = args
        return (tokens, _cut_blocks(fusion, tokens, blocks, layers, kwargs)), kwargs

    fusing = strategy(model)
    assert fusing is not None
    handle = fusing.register_forward_pre_hook(without_exchange, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _cut_blocks(
    fusion: nn.Module,
    tokens: Mapping[str, Tensor],
    blocks: Mapping[str, Sequence[Layer]],
    layers: Collection[int],
    kwargs: dict,
) -> dict[str, list[Layer]]:
    """`blocks` with those at `layers` replaced."""
    lengths = [x.shape[1] for x in tokens.values()]

    def apart(block: Layer) -> Layer:
        """`block` on each of the streams that lie side by side."""

        def passed(x: Tensor, *, key_mask: Tensor | None, maps: bool) -> tuple[Tensor, None]:
            masks = [None] * len(lengths) if key_mask is None else key_mask.split(lengths, dim=1)
            parts = zip(x.split(lengths, dim=1), masks, strict=True)
            return torch.cat([block(part, key_mask=mask)[0] for part, mask in parts], dim=1), None

        return passed

    def without_others(block: Layer) -> Layer:
        """`block` on its own tokens; those of the others come first in the mask."""

        def passed(
            x: Tensor, *, others: Tensor | None, key_mask: Tensor | None, maps: bool
        ) -> tuple[Tensor, Tensor | None]:
            own = None if key_mask is None else key_mask[:, -x.shape[1] :]
            return block(x, key_mask=own, maps=maps)

        return passed

    def reading(block: Layer, fusion_tokens: Tensor) -> Layer:
        """`block` with these fusion tokens (B, Z, D), which come last, in place of its own."""

        def passed(
            x: Tensor, *, key_mask: Tensor | None, maps: bool
        ) -> tuple[Tensor, Tensor | None]:
            own = x[:, : -fusion_tokens.shape[1]]
            return block(torch.cat((own, fusion_tokens), dim=1), key_mask=key_mask, maps=maps)

        return passed

    replaced: dict[str, list[Layer]] = {}
    for name in tokens:
        if fusion.one_stack:
            new = map(apart, blocks[name])
        elif hasattr(fusion, "tokens"):
            alone = _read_alone(fusion, name, tokens, blocks, kwargs)
            new = map(reading, blocks[name], alone)
        else:
            new = map(without_others, blocks[name])
        pairs = enumerate(zip(blocks[name], new, strict=True))
        replaced[name] = [other if layer in layers else block for layer, (block, other) in pairs]
    return replaced


def _read_alone(
    fusion: nn.Module,
    name: str,
    tokens: Mapping[str, Tensor],
    blocks: Mapping[str, Sequence[Layer]],
    kwargs: dict,
) -> list[Tensor]:
    """The fusion tokens (B, Z, D) that each layer of a stream reads when there is no other."""
    read: list[Tensor] = []

    def noting(block: Layer) -> Layer:
        def passed(x: Tensor, **options: object) -> tuple[Tensor, Tensor | None]:
            read.append(x[:, -fusion.get_parameter("tokens").shape[1] :])
            return block(x, **options)

        return passed

    stream, layers = {name: tokens[name]}, {name: [noting(block) for block in blocks[name]]}
    fusion.forward(stream, layers, **kwargs | {"present": None, "maps": False})
    return read


def depth(model: Pretrained, encoded: Encoded) -> int:
    """How many layers fuse `encoded`; 0 for a model that fuses in training only."""
    counts = [0]

    def count(fusion: nn.Module, args: tuple) -> None:
        counts.append(len(next(iter(args[1].values()))))

    fusing = strategy(model)
    assert fusing is not None
    handle = fusing.register_forward_pre_hook(count)
    try:
        model.fuse(encoded)
    finally:
        handle.remove()
    return counts[-1]


def variants(num_layers: int, *, first: int = 0) -> dict[str, range]:
    """{which layers, numbered from `first` on: the same, counted from the first fusion layer}."""
    if not num_layers:
        return {}
    found, last = {EVERYWHERE: range(num_layers)}, first + num_layers - 1
    for start in range(1, num_layers - 1):
        found[f"layers {first + start} to {last}"] = range(start, num_layers)
    for layer in range(num_layers) if num_layers > 1 else ():
        found[f"{LAYER}{first + layer}"] = range(layer, layer + 1)
    return found


def _of_layers(trial: Trial) -> Check:
    targets, found = trial.complete.target.numpy(), _decisions(trial)
    if not found:
        return Check("knockout", "Its streams pass its layers apart: there is no exchange to cut.")
    findings = [
        trial.compare(f"{CUT}{what}", trial.whole, decisions, targets)
        for what, decisions in found.items()
    ]
    text = answer(
        findings[0], uses="the exchange of its streams", without="with it cut in every layer"
    )
    alone = [finding for finding in findings if LAYER in finding.what]
    if findings[0].shrinks and alone:
        most = max(alone, key=lambda finding: finding.cost)
        text += (
            f" Of single layers {most.what.removeprefix(CUT)} matters most, with {loss(most)}."
            if most.shrinks
            else " No single layer is missed for certain."
        )
    return Check("knockout", text, tuple(findings))


@torch.inference_mode()
def _decisions(trial: Trial) -> dict[str, np.ndarray]:
    """{what is cut: decisions on the complete clips}; layers below fusion are passed once."""
    model, layers = trial.predictor.model, dict[str, range]()
    logits: dict[str, list[np.ndarray]] = {}
    for batch in batches(trial.complete, trial.batch_size):
        batch = trial.predictor.encoding(batch.to(trial.predictor.device))
        encoded = model.encode(batch.inputs, **batch.masks)
        if not logits:
            layers = variants(depth(model, encoded), first=getattr(model, "fusion_layer", 0))
            logits = {what: [] for what in layers}
        for what in logits:
            with cut(model, layers[what]):
                logits[what].append(model.fuse(encoded).logits.float().cpu().numpy())
    return {what: trial.decisions(np.concatenate(parts)) for what, parts in logits.items()}


# --- FiLM ---------------------------------------------------------------------------------------


def film_blocks(model: nn.Module) -> list[FilmBlock]:
    """The blocks of `model` in which one stream modulates the other."""
    blocks = [module for module in model.modules() if isinstance(module, FilmBlock)]
    return [block for block in blocks if block.film is not None]


@contextmanager
def without_film(model: nn.Module) -> Iterator[None]:
    """Within it, no stream of `model` modulates the other."""

    def unmodulated(block: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return args, kwargs | {"condition": None}

    handles = [
        block.register_forward_pre_hook(unmodulated, with_kwargs=True)
        for block in film_blocks(model)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _of_film(trial: Trial) -> Check:
    clips, targets = trial.complete, trial.complete.target.numpy()
    with without_film(trial.predictor.model):
        found = {"FiLM": trial.decide(clips)}
    for name in trial.predictor.modalities:
        others = [other for other in trial.predictor.modalities if other != name]
        found[WORDS[name]] = trial.decisions(trial.logits(clips, others))
    findings = [
        trial.compare(f"without {what}", trial.whole, decisions, targets)
        for what, decisions in found.items()
    ]
    text = answer(findings[0], uses="FiLM", without="without FiLM")
    return Check("knockout", text, tuple(findings))
