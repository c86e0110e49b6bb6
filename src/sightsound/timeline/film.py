"""Renders a film of one clip: its maps over the frames, and scores over time."""

from __future__ import annotations

from pathlib import Path

import torch

from sightsound.data.dataset import ClipDataset
from sightsound.explain.clips import ClipExplanation
from sightsound.explain.overlay import Curves, film_window, write_overlay
from sightsound.predict import Predictor, named_scores
from sightsound.preview.model_inputs import ModelInput
from sightsound.timeline.events import cell_scores, cell_times
from sightsound.timeline.score import make_timeline, scores_of

WINDOWS, HOPS = 4, 4  # of a window in a clip, of a hop in a window: guesses


def write_film(
    path: str | Path, predictor: Predictor, clips: ClipDataset, clip: ClipExplanation
) -> Path:
    """Write the film of an explained clip of `clips`; its path. See `write_overlay`.

    Its scores are those of windows a quarter as long; of the whole clip, where its window goes on
    at its start or its sound is in another file.
    """
    assert clip.given is not None
    index = next(i for i, row in enumerate(clips.rows) if row.id == clip.explanation.id)
    whole = scores_of(predictor, [clips[0, index, 0]])[0, 0]
    scores = named_scores(torch.from_numpy(whole), predictor.labels)
    curves = score_curves(predictor, clip.given)
    return write_overlay(path, clip, reader=clips.reader, scores=scores, curves=curves)


def score_curves(predictor: Predictor, given: ModelInput) -> Curves | None:
    """Scores of windows a quarter as long as the clip's; of features, of whole seconds."""
    start, stop = film_window(given)
    if given.wraps or given.row.audio_path:
        return None
    window = (stop - start) / WINDOWS
    if predictor.front_end.features is not None:
        window = float(max(1, round(window)))
    if window >= stop - start:
        return None
    timeline = make_timeline(
        predictor,
        given.row.path,
        window_seconds=window,
        hop_seconds=window / HOPS,
        start_seconds=start,
        end_seconds=stop,
    )
    scores = cell_scores(timeline).T
    what = f"what is said of windows of {window:.3g} s"
    return Curves(cell_times(timeline), dict(zip(timeline.classes, scores, strict=True)), what)
