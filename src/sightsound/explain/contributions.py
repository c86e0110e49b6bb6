"""What each second of each stream says about a clip: attention and exact contributions.

Behind its softmax over cells (a second of a stream) a trained MAFnet is linear, so that a logit is
a constant and one number per cell; that sum is exact. Attention alone hides whether a cell speaks
for or against a class. Neither is a cause: `deletion.py` measures what happens without a cell. With
FiLM, what the sound adds is heard in the light of what is seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader
from sightsound.data.rows import Row
from sightsound.data.sampling import eval_batches
from sightsound.media.clips import centre_window, wrapped_times
from sightsound.metrics.scores import head_slices
from sightsound.predict import Predictor, named_scores, probabilities
from sightsound.preview.model_inputs import clip_window
from sightsound.registry import unknown_name
from sightsound.types import Batch

MODELS = ("mafnet",)  # whose attention is a table of seconds and streams


@dataclass(frozen=True)
class Explanation:
    """What each second of each stream says about one clip: T seconds, K streams, C classes."""

    id: str
    modalities: tuple[str, ...]  # the K streams
    classes: tuple[str, ...]  # "head:class" where there are several heads
    shown: int  # the class explained: the likeliest, unless another is asked for
    rival: int | None  # the likeliest other class of its head
    truth: str  # the clip's own classes, if it is labelled
    logits: np.ndarray  # (C,)
    probabilities: np.ndarray  # (C,)
    attention: np.ndarray  # (T, K)
    contributions: np.ndarray | None  # (T, K, C); `None` behind `mcb` and `dmr`, not linear
    constant: np.ndarray | None  # (C,)
    padded: np.ndarray  # (T, K) bool: nothing is there
    starts: np.ndarray  # (T,) when each second starts, in seconds of the file

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
        return self.contribution - self.contributions[..., self.rival]

    @property
    def evidence(self) -> np.ndarray | None:
        """(T, K) what decides: the difference to the rival, if there is one."""
        return self.contribution if self.rival is None else self.difference

    @property
    def error(self) -> float:
        """How far contributions and constant are from the logits, at most."""
        total = self.contributions.sum((0, 1), dtype=np.float64) + self.constant
        return float(np.abs(total - self.logits).max())

    def cell(self, values: np.ndarray) -> tuple[int, int]:
        """(second, stream) of the largest of `values` (T, K), padding left out."""
        place = np.argmax(np.where(self.padded, -np.inf, values))
        return tuple(int(index) for index in np.unravel_index(place, values.shape))


def can_explain(model: nn.Module) -> bool:
    """Whether this model is a sum over seconds of its streams."""
    return model.info.name in MODELS


def check_explains(model: nn.Module) -> None:
    """`ValueError` unless this model is a sum over seconds of its streams."""
    if not can_explain(model):
        raise ValueError(
            f"models {model.info.name!r} are no sums of seconds; contributions are those of "
            f"{', '.join(MODELS)}; ask by rollout, grad_cam or occlusion"
        )


def explain_loader(
    predictor: Predictor, loader: Loader, *, batch_size: int = 32, shown: str | None = None
) -> Iterator[tuple[Batch, list[Explanation]]]:
    """Batches as the model reads them, with the explanation of every clip; see `explain_batch`."""
    clips = getattr(loader.dataset, "clips", loader.dataset)  # those behind features on disk
    for batch in loader.iterate(eval_batches(len(loader.dataset), batch_size=batch_size)):
        if batch is not None:
            batch = predictor.encoding(batch.to(predictor.device))
            yield batch, explain_batch(predictor, batch, clips, shown=shown)


@torch.inference_mode()
def explain_batch(
    predictor: Predictor, batch: Batch, clips: ClipDataset, *, shown: str | None = None
) -> list[Explanation]:
    """One explanation per clip of a batch that is ready for the model.

    Args:
        clips: what they were cut from.
        shown: the class to explain; `None`: each clip's likeliest.

    Raises:
        ValueError: a model without explanations, or a class that it does not have.
    """
    model = predictor.model
    check_explains(model)
    inputs = {name: x for name, x in batch.inputs.items() if name in predictor.modalities}
    output = model(inputs, **batch.masks, maps=True)
    scores = probabilities(output.logits.float(), predictor.task, model.heads)
    classes = tuple(named_scores(scores[0], predictor.labels))
    if shown is not None and shown not in classes:
        raise unknown_name("class", shown, classes)
    cells, shares = _numbers(output.attention["cells"]), output.contributions
    logits, scores, padded = _numbers(output.logits), _numbers(scores), _padded(predictor, batch)
    rows, found = {row.id: row for row in clips.rows}, []
    for index, clip in enumerate(batch.id):
        place = int(scores[index].argmax()) if shown is None else classes.index(shown)
        found.append(
            Explanation(
                id=clip,
                modalities=predictor.modalities,
                classes=classes,
                shown=place,
                rival=_rival(scores[index], place, model.heads),
                truth=_truth(batch.target[index], classes),
                logits=logits[index],
                probabilities=scores[index],
                attention=cells[index],
                contributions=None if shares is None else _numbers(shares["cells"][index]),
                constant=None if shares is None else _numbers(shares["constant"]),
                padded=padded[index],
                starts=second_starts(clips, rows[clip]),
            )
        )
    return found


def _numbers(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _padded(predictor: Predictor, batch: Batch) -> np.ndarray:
    """(B, T, K) bool: a stream that is absent, and seconds in which it has nothing."""
    there = {name: batch.valid[name] & batch.present[name][:, None] for name in batch.inputs}
    nothing = torch.zeros_like(next(iter(there.values())))
    table = torch.stack([there.get(name, nothing) for name in predictor.modalities], dim=2)
    return ~table.cpu().numpy()


def _rival(scores: np.ndarray, shown: int, heads: dict[str, int]) -> int | None:
    """The likeliest class of the same head but `shown`; `None`: there is no other."""
    columns = next(part for part in head_slices(heads).values() if part.start <= shown < part.stop)
    others = [place for place in range(columns.start, columns.stop) if place != shown]
    return max(others, key=lambda place: scores[place]) if others else None


def _truth(target: Tensor, classes: Sequence[str]) -> str:
    return " + ".join(classes[place] for place in target.nonzero().flatten().tolist())


def second_starts(clips: ClipDataset, row: Row) -> np.ndarray:
    """(T,) when each second that the model looks at starts, in seconds of the file."""
    count = clips.front_end.features.segments
    window, start = None, row.start_seconds
    if clips.settings.windows != "start" or clips.settings.wrap:
        window = clip_window(clips, row)
    if clips.settings.windows != "start":
        start += centre_window(window.length_seconds, count).start_seconds
    times = start + np.arange(count, dtype=float)
    return wrapped_times(times, window) if clips.settings.wrap else times
