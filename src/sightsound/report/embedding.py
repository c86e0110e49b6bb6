"""Pooled vectors of clips before and after fusion, brought to two dimensions by t-SNE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from sightsound.data.loader import Loader
from sightsound.data.rows import Manifest, Row
from sightsound.data.sampling import eval_batches
from sightsound.evaluation.evaluate import stored
from sightsound.figures.tsne import tsne
from sightsound.predict import Predictor
from sightsound.types import AUDIO, VIDEO, WORDS, Batch, Output

MOST_CLIPS = 1000  # spread over the split: exact t-SNE of so many takes two seconds
FEWEST_CLIPS = 10
FILM_WORDS = {"before_film": "just before FiLM", "after_film": "just after FiLM"}
PLACES = {  # in a model, in words
    **{
        f"{name}_{place}": f"by the residual block of their {stream}, {words}"
        for name, stream in WORDS.items()
        for place, words in FILM_WORDS.items()
    },
    AUDIO: "by their sound, before fusion",
    VIDEO: "by their pictures, before fusion",
    "fused": "after fusion",
    "pooled": "before the classifier",
}

Vectors = dict[str, tuple[list[str], np.ndarray]]  # {one of `PLACES`: clips and (n, D)}


@torch.inference_mode()
def vectors(
    predictor: Predictor, manifest: Manifest, rows: Sequence[Row], *, num_workers: int
) -> Vectors:
    """The pooled vectors of up to 1,000 of `rows`, one view each.

    Of a model of two streams each stream before fusion, and all after it, side by side; of MAFnet
    also the block that FiLM modulates, just before and just after it (its figure 7). Clips that
    cannot be read, and those without the stream, are left out.
    """
    rows = [rows[k] for k in np.linspace(0, len(rows) - 1, min(len(rows), MOST_CLIPS)).astype(int)]
    cut = predictor.dataset(manifest, rows, views=1, bad_files="drop")
    clips = stored(cut, predictor, num_workers=num_workers)
    found: dict[str, tuple[list[str], list[np.ndarray]]] = {}
    with Loader(clips, num_workers=num_workers) as loader:
        for batch in loader.iterate(eval_batches(len(rows), batch_size=32)):
            if batch is not None:
                for place, ids, values in _of_batch(predictor, batch):
                    kept = found.setdefault(place, ([], []))
                    kept[0].extend(ids)
                    kept[1].append(values)
    return {place: (ids, np.concatenate(parts)) for place, (ids, parts) in found.items()}


def _of_batch(predictor: Predictor, batch: Batch) -> Iterator[tuple[str, list[str], np.ndarray]]:
    """(place in the model, ids, vectors (n, D)) of the clips that have what stands there."""
    batch = predictor.encoding(batch.to(predictor.device))
    inputs = {name: x for name, x in batch.inputs.items() if name in predictor.modalities}
    output: Output = predictor.model(inputs, **batch.masks)
    several = len(predictor.modalities) > 1
    if several:
        for name, values in output.encoded.items():
            here = batch.present[name].cpu()
            ids = [clip for clip, present in zip(batch.id, here, strict=True) if present]
            yield name, ids, values.float().cpu().numpy()[here]
    around_film = getattr(predictor.model, "around_film", None)  # of MAFnet
    if several and around_film is not None:
        here = torch.stack([batch.present[name] for name in inputs]).all(0).cpu()
        ids = [clip for clip, present in zip(batch.id, here, strict=True) if present]
        for name, pair in around_film(inputs, **batch.masks).items():
            for where, vectors in zip(FILM_WORDS, pair, strict=True):
                yield f"{name}_{where}", ids, vectors.float().cpu().numpy()[here]
    parts = [output.pooled[name].float().cpu() for name in sorted(output.pooled)]
    if parts:
        yield "fused" if several else "pooled", batch.id, torch.cat(parts, 1).numpy()


def on_the_plane(found: Vectors) -> Vectors:
    """{place: clips and points (n, 2)}, where there are ten clips at least."""
    return {
        place: (ids, tsne(values))
        for place, (ids, values) in found.items()
        if len(ids) >= FEWEST_CLIPS
    }
