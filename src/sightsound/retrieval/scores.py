"""Recall at k and median rank, from sound to pictures and from pictures to sound."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sightsound.data.loader import Loader
from sightsound.data.sampling import epoch_batches
from sightsound.models.pretrained import Pretrained
from sightsound.predict import Predictor
from sightsound.retrieval.embedding import embed
from sightsound.seeding import stable_seed
from sightsound.types import AUDIO, MODALITIES, VIDEO, Problem

DIRECTIONS = {"audio_to_video": (AUDIO, VIDEO), "video_to_audio": (VIDEO, AUDIO)}
DIRECTIONS_IN_WORDS = {
    "audio_to_video": "sound finds pictures",
    "video_to_audio": "pictures find sound",
}
RANKS = (1, 5, 10)
AT_ONCE = 2048  # embeddings that are compared with as many others at a time
_ALIKE = 1e-6  # similarities that differ by less are equal: rounding must not decide


def ranks(
    queries: np.ndarray,
    candidates: np.ndarray,
    rows: np.ndarray,
    *,
    sources: Sequence[str] | None = None,
) -> np.ndarray:
    """(n,) int: at which place each query finds its own candidate among those of all `rows`.

    1 is the best. Candidates that are as similar count as better: a model that tells nothing apart
    finds nothing. Other clips of the same source are left out: they match, too.

    Args:
        queries: (N, E), row i of the same clip as row i of `candidates` (N, E).
        rows: (n,) int, those that are looked at.
        sources: N names; `None`: every clip is its own.
    """
    found = np.ones(len(rows), int)
    numbers = np.arange(len(queries))
    if sources is not None:
        numbers = np.unique(sources, return_inverse=True)[1]
    for start in range(0, len(rows), AT_ONCE):
        mine = rows[start : start + AT_ONCE]
        asked = queries[mine]
        own = (asked * candidates[mine]).sum(1, keepdims=True)
        for other in range(0, len(rows), AT_ONCE):
            theirs = rows[other : other + AT_ONCE]
            better = asked @ candidates[theirs].T >= own - _ALIKE
            better &= numbers[mine][:, None] != numbers[theirs]
            found[start : start + len(mine)] += better.sum(1)
    return found


def recalls(
    embeddings: Mapping[str, np.ndarray], rows: np.ndarray, *, sources: Sequence[str] | None = None
) -> dict[str, float]:
    """Shares of queries that find their own clip among the first 1, 5, 10, and the median place.

    "audio_to_video_r1" is the share of sounds whose own pictures are the most similar of all
    `rows`, which have both streams; "num_pairs" is their number. See `ranks`.
    """
    scores: dict[str, float] = {"num_pairs": float(len(rows))}
    for key, (query, wanted) in DIRECTIONS.items() if len(rows) else ():
        places = ranks(embeddings[query], embeddings[wanted], rows, sources=sources)
        scores |= {f"{key}_r{k}": float((places <= k).mean()) for k in RANKS}
        scores[f"{key}_median_rank"] = float(np.median(places))
    return scores


def chance(num_pairs: int) -> dict[str, float]:
    """What guessing gives: {"r1", "r5", "r10", "median_rank"}."""
    shares = {f"r{k}": min(1.0, k / num_pairs) for k in RANKS}
    return shares | {"median_rank": (num_pairs + 1) / 2}


def score_table(scores: Mapping[str, float]) -> str:
    """Recall in both directions beside chance."""
    number = int(scores["num_pairs"])
    if not number:
        return "no clip has both streams: nothing to score"
    rows = {
        words: {name: scores[f"{key}_{name}"] for name in chance(1)}
        for key, words in DIRECTIONS_IN_WORDS.items()
    }
    lines = [f"{'':22}{'R@1':>8}{'R@5':>8}{'R@10':>8}{'median rank':>14}"]
    for name, values in (rows | {"chance": chance(number)}).items():
        shares = "".join(f"{100 * values[f'r{k}']:6.1f} %" for k in RANKS)
        lines.append(f"{name:22}{shares}{values['median_rank']:14.1f}")
    return "\n".join(lines)


def score_pairs(
    model: Pretrained, objective: nn.Module, loader: Loader, *, batch_size: int, seed: int
) -> tuple[dict[str, float], list[Problem]]:
    """Losses on the loader's clips and, of a contrastive loss, recall; and what went wrong.

    For use during training: the modes of both are restored. The losses are those of training, with
    the same share hidden, in batches that are the same every time; for recall nothing is hidden.

    Raises:
        ValueError: every clip was dropped.
    """
    modes = {part: part.training for part in (model, objective)}
    objective.eval()
    device = next(model.parameters()).device
    predictor = Predictor(model, device=device, classes=False)  # in evaluation mode
    contrastive = getattr(objective, "contrastive", None)
    losses, found, sources = [], [], []
    number = len(loader.dataset)
    order = epoch_batches(number, seed=seed, epoch=0, batch_size=batch_size, drop_last=False)
    for index, batch in enumerate(
        loader.iterate([[(0, row, 0) for row in rows] for rows in order])
    ):
        if batch is None:
            continue
        batch = predictor.encoding(batch.to(device))
        generator = torch.Generator(device).manual_seed(stable_seed(seed, index, "validation"))
        with torch.no_grad():
            losses.append((len(batch), objective(model, batch, generator=generator)[1]))
        if contrastive is not None:
            found.append(embed(model, contrastive, batch))
            sources += batch.source or batch.id
    for part, was_training in modes.items():
        part.train(was_training)
    if not losses:
        cause = loader.problems[0].cause
        raise ValueError(f"none of the {number} clips could be read: {cause}")
    scores = _means(losses)
    if found:
        both = {name: torch.cat([x[name] for x in found]).cpu().numpy() for name in MODALITIES}
        here = ~np.isnan(both[AUDIO][:, 0]) & ~np.isnan(both[VIDEO][:, 0])
        scores |= recalls(both, here.nonzero()[0], sources=sources)
    return scores, loader.problems


def _means(losses: Sequence[tuple[int, Mapping[str, Tensor]]]) -> dict[str, float]:
    """Each loss averaged over clips; (number of clips, {name: mean over them}) of each batch.

    What only some batches have is averaged over those.
    """
    sums: dict[str, float] = defaultdict(float)
    clips: dict[str, int] = defaultdict(int)
    for number, logs in losses:
        for name, value in logs.items():
            sums[name] += number * float(value)
            clips[name] += number
    return {name: value / clips[name] for name, value in sums.items()}
