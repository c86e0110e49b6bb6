"""What in a clip a model's answer rests on: one record and one call for every model and method.

`explain_batch(predictor, batch)` gives an `Explanation` for each clip: how much each part of the
frames and of the spectrogram counts, and how much sound and pictures count against one another.
The methods are `METHODS`, each a file of this folder; what they say and do not say is in
docs/explanation.md.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sightsound.models.pretrained import Pretrained
from sightsound.predict import Predictor, named_scores, probabilities
from sightsound.registry import resolve, unknown_name
from sightsound.types import AUDIO, VIDEO, Batch, Masks

METHODS = {
    "contributions": "sightsound.explain.contributions:contributions",
    "grad_cam": "sightsound.explain.grad_cam:grad_cam",
    "leave_one_out": "sightsound.explain.streams:leave_one_out",
    "occlusion": "sightsound.explain.occlusion:occlusion",
    "rollout": "sightsound.explain.rollout:rollout",
    "shapley": "sightsound.explain.streams:shapley",
}
AUTO = "auto"
MAP_AXES = {VIDEO: 3, AUDIO: 2}


@dataclass(frozen=True)
class SecondTable:
    """Of MAFnet: attention to each second of each stream, and what it adds to every logit.

    T seconds, K streams, C classes. Behind its softmax over cells (a second of a stream) a trained
    MAFnet is linear, so that a logit is a constant and one number per cell; that sum is exact.
    """

    modalities: tuple[str, ...]  # the K streams
    classes: tuple[str, ...]  # "head:class" where there are several heads
    shown: int  # the class explained
    rival: int | None  # the likeliest other class of its head
    logits: np.ndarray  # (C,)
    probabilities: np.ndarray  # (C,)
    attention: np.ndarray  # (T, K)
    contributions: np.ndarray | None  # (T, K, C); `None` behind `mcb` and `dmr`, not linear
    constant: np.ndarray | None  # (C,)
    padded: np.ndarray  # (T, K) bool: nothing is there

    @property
    def times_neutral(self) -> np.ndarray:
        """(T, K) attention over an even share: over all cells but those masked out."""
        counted = ~self.padded | (self.attention > 0)
        return self.attention * counted.sum() / self.attention.sum()

    @property
    def shares(self) -> dict[str, float]:
        """{modality: its share of the attention}."""
        shares = self.attention.sum(0) / self.attention.sum()
        return dict(zip(self.modalities, shares.tolist(), strict=True))

    @property
    def padded_share(self) -> float:
        """Share of the attention on padding: 0 where it is masked."""
        return float(self.attention[self.padded].sum() / self.attention.sum())

    @property
    def contribution(self) -> np.ndarray | None:
        """(T, K) to the logit of the class shown."""
        return None if self.contributions is None else self.contributions[..., self.shown]

    @property
    def difference(self) -> np.ndarray | None:
        """(T, K) to the logit of the class shown minus that of its rival."""
        if self.contributions is None or self.rival is None:
            return None
        return self.contributions[..., self.shown] - self.contributions[..., self.rival]

    @property
    def evidence(self) -> np.ndarray | None:
        """(T, K) what decides: the difference to the rival, if there is one."""
        return self.contribution if self.rival is None else self.difference

    @property
    def error(self) -> float | None:
        """How far contributions and constant are from the logits, at most."""
        if self.contributions is None or self.constant is None:
            return None
        total = self.contributions.sum((0, 1), dtype=np.float64) + self.constant
        return float(np.abs(total - self.logits).max())

    def cell(self, values: np.ndarray) -> tuple[int, int]:
        """(second, stream) of the largest of `values` (T, K), padding left out."""
        flat = int(np.argmax(np.where(self.padded, -np.inf, values)))
        second, stream = divmod(flat, values.shape[1])
        return second, stream


@dataclass(frozen=True)
class Explanation:
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

    seconds: SecondTable | None = None  # of `contributions`: the numbers behind the maps

    @property
    def streams(self) -> dict[str, np.ndarray]:
        """{modality: its map} of those there are."""
        maps = {VIDEO: self.video, AUDIO: self.audio}
        return {name: values for name, values in maps.items() if values is not None}


@torch.inference_mode(False)  # some methods ask for gradients, whatever the caller is in
def explain_batch(
    predictor: Predictor,
    batch: Batch,
    *,
    method: str = AUTO,
    shown: str | None = None,
    **options: Any,
) -> list[Explanation]:
    """An `Explanation` for each clip of a batch that is ready for the model.

    Args:
        batch: normalised or encoded, as `Predictor.read` gives it.
        method: key of `METHODS`; `auto`: the model's `default_explanation`.
        shown: the class asked about; `None`: each clip's likeliest.
        options: of the method, see its function.

    Raises:
        ValueError: an unknown method or class, or a method that this model cannot be asked by.
    """
    name = predictor.model.default_explanation if method == AUTO else method
    explain = resolve(METHODS, name, kind="method of explanation")
    return explain(make_target(predictor, batch, method=name, shown=shown), **options)


@dataclass(frozen=True)
class ExplanationTarget:
    """What is to be explained: clips that are ready for a model, and a class of each."""

    model: Pretrained
    task: str
    method: str
    batch: Batch
    classes: tuple[str, ...]
    shown: Tensor  # (B,) the class asked about, among the logits
    scores: Tensor  # (B,) its probability

    @property
    def inputs(self) -> dict[str, Tensor]:
        """{modality: tensor} of the streams that the model reads."""
        here = self.batch.inputs
        return {name: here[name] for name in self.model.modalities if name in here}

    @property
    def masks(self) -> Masks:
        """`present` and `valid` of the model, as of `Batch.masks`."""
        if self.batch.complete:
            return {}
        present, valid = self.batch.present, self.batch.valid
        return {
            "present": {name: present[name] for name in self.inputs},
            "valid": {name: valid[name] for name in self.inputs},
        }

    @cached_property
    def present(self) -> dict[str, Tensor]:
        """{modality: (B,) bool}: the clip has this stream, and in it something but padding."""
        batch = self.batch
        return {name: batch.present[name] & batch.valid[name].any(1) for name in self.inputs}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """{modality: (T, H, W) of the video, (F, M) of the sound}; features have (T,)."""
        if self.batch.encoded:
            return {name: (x.shape[1],) for name, x in self.inputs.items()}
        return {
            name: (x.shape[1], *x.shape[3:]) if name == VIDEO else tuple(x.shape[2:])
            for name, x in self.inputs.items()
        }

    def score(self, logits: Tensor) -> Tensor:
        """(B,) log odds of the class asked about: log p / (1 - p), of (B, K).

        Unlike the bare logit of a softmax it moves with what decides, the distance to the others.
        """
        return log_odds(logits, self.shown, task=self.task, heads=self.model.heads)

    def probability(self, logits: Tensor) -> Tensor:
        """(B,) of the class asked about, of logits (B, K)."""
        scores = probabilities(logits.float(), self.task, self.model.heads)
        return scores.gather(1, self.shown[:, None])[:, 0]

    def rows(self, index: Tensor) -> ExplanationTarget:
        """The same of the clips at `index` (n,); a clip may come more than once."""
        batch = rows_of_batch(self.batch, index)
        shown, scores = self.shown[index], self.scores[index]
        return dataclasses.replace(self, batch=batch, shown=shown, scores=scores)

    def parts(self, size: int) -> Iterator[ExplanationTarget]:
        """The clips, `size` at a time."""
        for index in torch.arange(len(self.batch), device=self.shown.device).split(size):
            yield self.rows(index)

    def by_parts(
        self, size: int, explain: Callable[[ExplanationTarget], list[Explanation]]
    ) -> list[Explanation]:
        """`explain` applied to `size` clips at a time, so that memory stays bounded."""
        return [explanation for part in self.parts(size) for explanation in explain(part)]

    def answer(self, maps: Mapping[str, Tensor], **others: Any) -> list[Explanation]:
        """Records of maps {modality: (B, ...)}; padding becomes 0.

        Maps of features, (B, T), get the axes of the others.

        Args:
            others: {field: one value per clip}, such as `shares` where these are no sums of maps.
        """
        arrays = {}
        for name, values in maps.items():
            values = values.reshape(*values.shape, *[1] * (MAP_AXES[name] + 1 - values.ndim))
            arrays[name] = self.blanked(name, values).float().cpu().numpy()
        found = []
        for row, clip in enumerate(self.batch.id):
            own = {name: values[row] for name, values in arrays.items()}
            given: dict[str, Any] = {"shares": shares_of(own)}
            given |= {key: values[row] for key, values in others.items()}
            found.append(
                Explanation(
                    clip,
                    self.method,
                    self.classes[int(self.shown[row])],
                    own.get(VIDEO),
                    own.get(AUDIO),
                    probability=float(self.scores[row]),
                    **given,
                )
            )
        return found

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


def make_target(
    predictor: Predictor, batch: Batch, *, method: str, shown: str | None
) -> ExplanationTarget:
    """`shown` of every clip of a batch that is ready, or each clip's likeliest class."""
    names = predictor.labels
    classes = tuple(named_scores(torch.zeros(sum(map(len, names.values()))), names))
    if shown is not None and shown not in classes:
        raise unknown_name("class", shown, classes)
    index = torch.full_like(batch.view, 0 if shown is None else classes.index(shown))
    model, task = predictor.model, predictor.task
    target = ExplanationTarget(model, task, method, batch, classes, index, index)
    with torch.no_grad():
        logits = model(target.inputs, **target.masks).logits.float()
        scores = probabilities(logits, task, model.heads)
    index = scores.argmax(1) if shown is None else index
    return dataclasses.replace(target, shown=index, scores=scores.gather(1, index[:, None])[:, 0])


def log_odds(logits: Tensor, shown: Tensor, *, task: str, heads: dict[str, int]) -> Tensor:
    """(B,) log p / (1 - p) of the class `shown` (B,) of logits (B, K), within its head."""
    logits = logits.float()
    own = logits.gather(1, shown[:, None])[:, 0]
    if task == "multi":
        return own
    sizes = torch.tensor(list(heads.values()), device=logits.device)
    head = torch.repeat_interleave(torch.arange(len(sizes), device=logits.device), sizes)
    others = head[None] == head[shown][:, None]
    others = others.scatter(1, shown[:, None], False)
    against = logits.masked_fill(~others, -torch.inf).logsumexp(1)
    return own - against.masked_fill(~others.any(1), 0.0)  # a head of one class has no others


def shares_of(values: Mapping[str, np.ndarray] | Mapping[str, float]) -> dict[str, float]:
    """{modality: its part of the sum of absolute values}; alike where all is zero."""
    sums = {name: float(np.abs(each).sum()) for name, each in values.items()}
    total = sum(sums.values())
    return {name: value / total if total else 1 / len(sums) for name, value in sums.items()}


def rows_of_batch(batch: Batch, index: Tensor) -> Batch:
    """The examples at `index` (n,); one may come more than once."""

    def chosen(value: object) -> Any:
        if isinstance(value, Tensor):
            return value[index]
        if isinstance(value, dict):
            return {key: chosen(item) for key, item in value.items()}
        return value

    values = {f.name: chosen(getattr(batch, f.name)) for f in dataclasses.fields(batch)}
    return Batch(**values | {"id": [batch.id[row] for row in index.tolist()]})


_OLD_NAMES = {"Maps": "Explanation", "explain_maps": "explain_batch"}


def __getattr__(name: str) -> object:
    if name not in _OLD_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = _OLD_NAMES[name]
    text = f"{__name__}.{name} is now {new}; the old name goes with version 0.3"
    warnings.warn(text, DeprecationWarning, stacklevel=2)
    return globals()[new]
