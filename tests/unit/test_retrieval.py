"""Places, recall and chance by hand; embeddings of clips that lack a stream; an index on disk."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from small import SMALL_MBT

from sightsound.models.mbt import MBT
from sightsound.objectives.audio_visual.contrastive import Contrastive
from sightsound.retrieval import scores as scoring
from sightsound.retrieval.embedding import embed
from sightsound.retrieval.index import _stores, open_index
from sightsound.retrieval.scores import chance, ranks, recalls, score_table
from sightsound.types import AUDIO, VIDEO, Batch


def unit(*rows):
    values = np.array(rows, np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


VIDEOS = unit([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0])
SOUNDS = unit([1, 0, 0], [0.1, 0.2, 1], [0, 0.1, 1], [1, 0.9, 0])


@pytest.mark.parametrize("at_once", [1, 3, 2048])
def test_places_by_hand(monkeypatch, at_once):
    monkeypatch.setattr(scoring, "AT_ONCE", at_once)
    rows = np.arange(4)
    assert ranks(SOUNDS, VIDEOS, rows).tolist() == [1, 3, 1, 1]
    assert ranks(VIDEOS, SOUNDS, rows).tolist() == [1, 2, 1, 1]
    assert ranks(SOUNDS, VIDEOS, rows[:3]).tolist() == [1, 2, 1]  # the fourth is not there
    # of the same file as its rival, which no longer counts
    assert ranks(SOUNDS, VIDEOS, rows, sources=["a", "b", "b", "c"]).tolist() == [1, 2, 1, 1]
    assert ranks(VIDEOS[::-1], SOUNDS[::-1], np.array([2, 0])).tolist() == [2, 1]


@pytest.mark.parametrize("at_once", [3, 2048])
def test_a_model_that_tells_nothing_apart_finds_nothing(monkeypatch, at_once):
    monkeypatch.setattr(scoring, "AT_ONCE", at_once)
    vector = np.random.default_rng(0).normal(size=256)
    same = unit(*[vector] * 8)
    assert ranks(same, same, np.arange(8)).tolist() == [8] * 8
    assert recalls({VIDEO: same, AUDIO: same}, np.arange(8))["audio_to_video_r1"] == 0


def test_recall_and_chance():
    scores = recalls({VIDEO: VIDEOS, AUDIO: SOUNDS}, np.arange(4))
    assert scores["num_pairs"] == 4
    assert (scores["audio_to_video_r1"], scores["audio_to_video_r5"]) == (0.75, 1.0)
    assert (scores["audio_to_video_median_rank"], scores["video_to_audio_median_rank"]) == (1, 1)
    sounds = {VIDEO: VIDEOS[:2], AUDIO: unit([1, 0.9, 0], [0, 0.3, 1])}
    scores_apart = recalls(sounds, np.arange(2))
    assert scores_apart["audio_to_video_r1"] == 1.0  # each sound finds its pictures
    assert scores_apart["video_to_audio_r1"] == 0.5  # the second pictures the first sound
    assert chance(40) == {"r1": 0.025, "r5": 0.125, "r10": 0.25, "median_rank": 20.5}
    assert chance(4)["r5"] == 1.0
    table = score_table(scores).splitlines()
    assert table[1].split() == "sound finds pictures 75.0 % 100.0 % 100.0 % 1.0".split()
    assert table[3].split() == "chance 25.0 % 100.0 % 100.0 % 2.5".split()
    none = recalls({VIDEO: VIDEOS, AUDIO: SOUNDS}, np.arange(0))
    assert score_table(none) == "no clip has both streams: nothing to score"


def batch(present: dict[str, list[bool]]) -> Batch:
    inputs = {VIDEO: torch.randn(3, 4, 3, 16, 16), AUDIO: torch.randn(3, 1, 32, 16)}
    flags = {name: torch.tensor(here) for name, here in present.items()}
    lengths = {VIDEO: 4, AUDIO: 32}
    return Batch(
        video=inputs[VIDEO] if VIDEO in present else None,
        audio=inputs[AUDIO] if AUDIO in present else None,
        present=flags,
        valid={n: here[:, None].expand(-1, lengths[n]) for n, here in flags.items()},
        target=torch.zeros(3, 0),
        id=["a", "b", "c"],
        view=torch.zeros(3, dtype=torch.long),
        complete=all(bool(here.all()) for here in flags.values()),
    )


@pytest.mark.parametrize(
    ("present", "absent"),
    [
        ({VIDEO: [True] * 3, AUDIO: [True] * 3}, {VIDEO: [], AUDIO: []}),
        ({VIDEO: [True, False, True], AUDIO: [True, True, False]}, {VIDEO: [1], AUDIO: [2]}),
        ({AUDIO: [True] * 3}, {VIDEO: [0, 1, 2], AUDIO: []}),
        ({AUDIO: [True] * 3, VIDEO: [False] * 3}, {VIDEO: [0, 1, 2], AUDIO: []}),
    ],
)
def test_a_stream_that_is_absent_has_no_embedding(present, absent):
    model = MBT(**SMALL_MBT).eval()
    found = embed(model, Contrastive({VIDEO: 8, AUDIO: 8}, embedding_width=5), batch(present))
    for name, vectors in found.items():
        assert vectors.shape == (3, 5)
        gone = vectors.isnan().all(1).nonzero()[:, 0].tolist()
        assert gone == absent[name]
        lengths = vectors[~vectors.isnan().any(1)].norm(dim=1)
        torch.testing.assert_close(lengths, torch.ones(3 - len(gone)))


def test_embeddings_have_their_place_on_the_disk_before_they_are_made(tmp_path):
    """A file with a hole is filled through the memory: on a full disk that kills the process."""
    path = tmp_path / "embeddings.safetensors"
    stores = _stores(path, number=100, width=300)
    assert path.stat().st_blocks * 512 >= 2 * 100 * 300 * 4
    stores[AUDIO][99] = 1.0
    stores[AUDIO].flush()
    found = load_file(path)
    assert found["audio"].shape == found["video"].shape == (100, 300)
    assert found["audio"][99].all() and not found["audio"][:99].any() and not found["video"].any()


def test_what_is_no_index(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no index: it has no index.json; make one with"):
        open_index(tmp_path)
    (tmp_path / "index.json").write_text('{"version": 7}')
    with pytest.raises(ValueError, match="another version of sightsound .format 7 instead of 1"):
        open_index(tmp_path)
