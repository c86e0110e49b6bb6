"""What in a clip a model's answer rests on: one record and one call for every model and method.

`explain_maps(predictor, batch)` gives a `Maps` for each clip: how much each part of the frames and
of the spectrogram counts, and how much sound and pictures count against one another. The methods
are `METHODS`, each a file of this folder; what they say and do not say is in docs/explanation.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sightsound.data.loader import Loader
from sightsound.data.sampling import eval_batches
from sightsound.predict import Predictor, named_scores, probabilities
from sightsound.registry import resolve, unknown_name
from sightsound.types import AUDIO, VIDEO, Batch

METHODS = {
    "contributions": "sightsound.explain.shares:contribution_maps",
    "grad_cam": "sightsound.explain.grad_cam:grad_cam_maps",
    "leave_one_out": "sightsound.explain.shares:leave_one_out",
    "occlusion": "sightsound.explain.occlusion:occlusion_maps",
    "rollout": "sightsound.explain.rollout:rollout_maps",
    "shapley": "sightsound.explain.shares:shapley",
}
AUTO = "auto"
_AUTOMATIC = {"mafnet": "contributions", "linear_probe": "occlusion", "uniformer": "grad_cam"}
_OTHERWISE, _NO_ATTENTION = "rollout", "occlusion"
MAP_AXES = {VIDEO: 3, AUDIO: 2}


@dataclass(frozen=True)
class Maps:
    """What counts in one clip for one class.

    Cells cover the model's input evenly: cell t of T' stands for the frames from t * T / T' to
    (t + 1) * T / T', likewise rows, columns, spectrogram frames and mel bins. Cells of padding are
    0, as are all of an absent stream; a stream that the model or the method does not look at is
    `None`. Values of occlusion and contributions may be negative: they speak against the class.
    """

    id: str
    method: str
    shown: str  # the class asked about
    video: np.ndarray | None  # (T', H', W')
    audio: np.ndarray | None  # (F', M')
    shares: dict[str, float]  # of each modality, of absolute values; sums to 1
    probability: float = math.nan  # of the class asked about
    crossing: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of rollout, {stream: {modality: share}}: what a stream's vector took from each modality."""

    effects: dict[str, float] = field(default_factory=dict)
    """Of `shapley` and `leave_one_out`, {modality: what it adds to the probability}."""

    @property
    def streams(self) -> dict[str, np.ndarray]:
        """{modality: its map} of those there are."""
        maps = {VIDEO: self.video, AUDIO: self.audio}
        return {name: values for name, values in maps.items() if values is not None}


@torch.inference_mode(False)  # some methods ask for gradients, whatever the caller is in
def explain_maps(
    predictor: Predictor,
    batch: Batch,
    *,
    method: str = AUTO,
    shown: str | None = None,
    **options: Any,
) -> list[Maps]:
    """A `Maps` for each clip of a batch that is ready for the model (normalised or encoded).

    Args:
        method: key of `METHODS`; `auto`: what suits the model, see `automatic`.
        shown: the class asked about; `None`: each clip's likeliest.
        options: of the method, see its function.

    Raises:
        ValueError: an unknown method or class, or a method that this model cannot be asked by.
    """
    name = automatic(predictor.model) if method == AUTO else method
    explain = resolve(METHODS, name, kind="method of explanation")
    return explain(ask(predictor, batch, method=name, shown=shown), **options)


def automatic(model: nn.Module) -> str:
    """The method that `auto` stands for: rollout, where all tokens of a stream see one another.

    An encoder that looks at each frame alone, or at times and frames in turn, has no such weights.
    """
    if model.info.name in _AUTOMATIC:
        return _AUTOMATIC[model.info.name]
    streams = [getattr(model, name) for name in model.modalities]
    apart = [
        getattr(each, "attention", None) == "frame"
        or getattr(getattr(each, "family", None), "time_last", False)
        for each in streams
    ]
    return _NO_ATTENTION if any(apart) else _OTHERWISE


@dataclass(frozen=True)
class Question:
    """Clips that are ready for a model, and the class asked about of each."""

    model: nn.Module
    task: str
    method: str
    batch: Batch
    classes: tuple[str, ...]
    places: Tensor  # (B,) of the class asked about, among the logits
    scores: Tensor  # (B,) its probability

    @property
    def clips(self) -> range:
        """Their places in the batch."""
        return range(len(self.batch))

    @property
    def inputs(self) -> dict[str, Tensor]:
        """{modality: tensor} of the streams that the model reads."""
        here = self.batch.inputs
        return {name: here[name] for name in self.model.modalities if name in here}

    @property
    def masks(self) -> dict[str, dict[str, Tensor]]:
        """`present` and `valid` of the model, as of `Batch.masks`."""
        masks = self.batch.masks
        return {key: {n: mask[n] for n in self.inputs} for key, mask in masks.items()}

    @cached_property
    def present(self) -> dict[str, Tensor]:
        """{modality: (B,) bool}: the clip has this stream, and in it something but padding."""
        batch = self.batch
        return {name: batch.present[name] & batch.valid[name].any(1) for name in self.inputs}

    def shape(self, name: str) -> tuple[int, ...]:
        """(T, H, W) of the video, (F, M) of the sound; features have (T,)."""
        x = self.inputs[name]
        if self.batch.encoded:
            return (x.shape[1],)
        return (x.shape[1], *x.shape[3:]) if name == VIDEO else tuple(x.shape[2:])

    def as_map(self, name: str, values: Tensor) -> Tensor:
        """Values (B, *cells) with the axes of a map: those of features, (B, T), get one cell."""
        return values.reshape(*values.shape, *[1] * (MAP_AXES[name] + 1 - values.ndim))

    def score(self, logits: Tensor) -> Tensor:
        """(B,) log odds of the class asked about: log p / (1 - p), of (B, K).

        Unlike the bare logit of a softmax it moves with what decides, the distance to the others.
        """
        return log_odds(logits, self.places, task=self.task, heads=self.model.heads)

    def probability(self, logits: Tensor) -> Tensor:
        """(B,) of the class asked about, of logits (B, K)."""
        scores = probabilities(logits.float(), self.task, self.model.heads)
        return scores.gather(1, self.places[:, None])[:, 0]

    def rows(self, index: Tensor) -> Question:
        """The same question about the clips at `index` (n,); a clip may come more than once."""
        return dataclasses.replace(
            self,
            batch=rows_of_batch(self.batch, index),
            places=self.places[index],
            scores=self.scores[index],
        )

    def about(self, places: Tensor, scores: Tensor) -> Question:
        """The question about the classes at `places` (B,), whose probabilities are in (B, K)."""
        scores = scores.gather(1, places[:, None])[:, 0]
        return dataclasses.replace(self, places=places, scores=scores)

    def parts(self, size: int) -> Iterator[Question]:
        """The clips, `size` at a time."""
        for index in torch.arange(len(self.batch), device=self.places.device).split(size):
            yield self.rows(index)

    def answer(self, streams: Mapping[str, Tensor], **others: Any) -> list[Maps]:
        """Records of maps {modality: (B, ...)}; padding becomes 0.

        Args:
            others: {field: one value per clip}, such as `shares` where these are no sums of maps.
        """
        arrays = {name: self.blanked(name, x).float().cpu().numpy() for name, x in streams.items()}
        return [
            self._record(
                row,
                {name: values[row] for name, values in arrays.items()},
                {key: values[row] for key, values in others.items()},
            )
            for row in self.clips
        ]

    def _record(self, row: int, maps: dict[str, np.ndarray], others: dict[str, Any]) -> Maps:
        given = {
            "id": self.batch.id[row],
            "method": self.method,
            "shown": self.classes[int(self.places[row])],
            "video": maps.get(VIDEO),
            "audio": maps.get(AUDIO),
            "shares": shares_of(maps),
            "probability": float(self.scores[row]),
        }
        return Maps(**given | others)

    def blanked(self, name: str, values: Tensor) -> Tensor:
        """A map (B, T', ...) with zeros where no frame of a cell is there."""
        here = self.batch.valid[name] & self.batch.present[name][:, None]
        count, length = values.shape[1], here.shape[1]
        steps = [
            here[:, cell * length // count : -(-(cell + 1) * length // count)].any(1)
            for cell in range(count)
        ]
        here = torch.stack(steps, dim=1)
        return values.masked_fill(~here.reshape(*here.shape, *[1] * (values.ndim - 2)), 0.0)


def ask(predictor: Predictor, batch: Batch, *, method: str, shown: str | None) -> Question:
    """The question about `shown`, or about each clip's likeliest class."""
    names = predictor.labels
    classes = tuple(named_scores(torch.zeros(sum(map(len, names.values()))), names))
    if shown is not None and shown not in classes:
        raise unknown_name("class", shown, classes)
    place = torch.full_like(batch.view, 0 if shown is None else classes.index(shown))
    question = Question(
        predictor.model, predictor.task, method, batch, classes, place, torch.zeros_like(place)
    )
    with torch.no_grad():
        logits = predictor.model(question.inputs, **question.masks).logits.float()
        scores = probabilities(logits, predictor.task, predictor.model.heads)
    return question.about(scores.argmax(1) if shown is None else place, scores)


def log_odds(logits: Tensor, places: Tensor, *, task: str, heads: dict[str, int]) -> Tensor:
    """(B,) log p / (1 - p) of the class at `places` (B,) of logits (B, K), within its head."""
    logits = logits.float()
    own = logits.gather(1, places[:, None])[:, 0]
    if task == "multi":
        return own
    sizes = torch.tensor(list(heads.values()), device=logits.device)
    head = torch.repeat_interleave(torch.arange(len(sizes), device=logits.device), sizes)
    others = head[None] == head[places][:, None]
    others = others.scatter(1, places[:, None], False)
    against = logits.masked_fill(~others, -torch.inf).logsumexp(1)
    return own - against.masked_fill(~others.any(1), 0.0)  # a head of one class has no others


def shares_of(maps: Mapping[str, np.ndarray | float]) -> dict[str, float]:
    """{modality: its part of the sum of absolute values}; alike where all is zero."""
    sums = {name: float(np.abs(values).sum()) for name, values in maps.items()}
    total = sum(sums.values())
    return {name: value / total if total else 1 / len(sums) for name, value in sums.items()}


def rows_of_batch(batch: Batch, index: Tensor) -> Batch:
    """The examples at `index` (n,); one may come more than once."""

    def chosen(value: object) -> object:
        if isinstance(value, Tensor):
            return value[index]
        if isinstance(value, dict):
            return {key: chosen(item) for key, item in value.items()}
        return value

    values = {f.name: chosen(getattr(batch, f.name)) for f in dataclasses.fields(batch)}
    return Batch(**values | {"id": [batch.id[place] for place in index.tolist()]})


def explain_loader(
    predictor: Predictor,
    loader: Loader,
    *,
    batch_size: int = 8,
    method: str = AUTO,
    shown: str | None = None,
    **options: Any,
) -> Iterator[tuple[Batch, list[Maps]]]:
    """Batches as the model reads them, with the maps of every clip; see `explain_maps`."""
    for batch in loader.iterate(eval_batches(len(loader.dataset), batch_size=batch_size)):
        if batch is not None:
            batch = predictor.encoding(batch.to(predictor.device))
            yield batch, explain_maps(predictor, batch, method=method, shown=shown, **options)


def by_parts(explain: Callable[..., list[Maps]], question: Question, *, size: int) -> list[Maps]:
    """`explain` applied to `size` clips at a time, so that memory stays bounded."""
    return [maps for part in question.parts(size) for maps in explain(part)]
