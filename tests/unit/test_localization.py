"""Where a map lies, in words; and its picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from test_rollout import batch_of, mbt, predictor_of

from sightsound.explain.clips import ClipExplanation
from sightsound.explain.explanation import Explanation, explain_batch
from sightsound.explain.heatmap import smooth
from sightsound.explain.localization import best_band, best_region, best_second, localize
from sightsound.explain.split import SplitExplanation, split_text
from sightsound.explain.text import (
    as_table,
    cell_lines,
    clip_line,
    record,
    stream_words,
)
from sightsound.explain.timeline_plot import timeline_plot
from sightsound.media.clips import Window
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.media.logmel import band_edges, mel_matrix
from sightsound.preview.model_inputs import ModelInput

FRONT_END = FrontEnd(
    "places",
    AudioFrontEnd(num_frames=400, num_mels=64),
    VideoFrontEnd(num_frames=8, window_seconds=4.0, height=12, width=24),
)


def test_the_best_second_is_the_stretch_with_most():
    values = np.zeros((8, 2, 2))
    values[5:7] = 1
    values[0] = -9  # speaks against: no mass
    best = best_second(values, length_seconds=4.0)
    assert (best.start, best.stop, best.share, best.even) == (2.5, 3.5, 1.0, 0.25)
    coarse = best_second(values[:2], length_seconds=4.0)  # a cell of two seconds is the best
    assert coarse.even == 0.5
    short = best_second(np.ones((4, 1)), length_seconds=0.5)
    assert (short.share, short.even, short.stop) == (1.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ((0, 0), "upper left"),
        ((7, 4), "lower centre"),
        ((4, 4), "centre"),
        ((4, 8), "middle right"),
    ],
)
def test_the_best_region_is_a_ninth_of_the_frame(place, name):
    values = np.full((2, 8, 9), 0.001)
    values[(1, *place)] = 1
    best = best_region(values)
    assert best.name == name and best.share > 0.7 and best.even == pytest.approx(1 / 9)
    assert best_region(np.ones((4, 1, 1))) is None
    even = best_region(np.ones((1, 7, 5)))
    assert even.share == pytest.approx(1 / 9, abs=1e-9)


def test_the_best_band_is_in_hertz():
    audio = FRONT_END.audio
    values = np.zeros((10, 64))
    values[:, 20] = 1
    best = best_band(values, audio)
    centre = mel_matrix(audio)[:, 20].argmax() * audio.rate_hz / audio.fft_samples
    assert best.start < centre < best.stop and best.share == 1 and best.even == 0.25
    edges = band_edges(audio)
    assert len(edges) == 65 and audio.low_hz < edges[0] < edges[-1] < audio.high_hz
    peaks = mel_matrix(audio).argmax(0) * audio.rate_hz / audio.fft_samples
    wide = slice(30, None)  # where mel bins are wider than those of the FFT
    assert (edges[:-1][wide] < peaks[wide]).all() and (peaks[wide] < edges[1:][wide]).all()
    assert best_band(values, AudioFrontEnd(spectrum="waveform")) is None


def looked(**changes) -> ClipExplanation:
    """Pictures of cell (3, 0, 2), sound of its last quarter; times start at second 10."""
    predictor = predictor_of(mbt())
    batch = batch_of(predictor)
    video, audio = np.zeros((4, 2, 3), np.float32), np.zeros((4, 2), np.float32)
    video[3, 0, 2], audio[3, 1], audio[0, 0] = 2, 1, -0.5
    maps = Explanation(
        "a/b.mp4", "occlusion", "dog", video, audio, {"video": 0.6, "audio": 0.4}, 0.75
    )
    shapley = explain_batch(predictor, batch, method="shapley")[0]
    seen = ModelInput(
        row=None,
        labels="dog",
        labels_apart={},
        video=batch.video[0].repeat_interleave(2, 0)[:, :, :12].repeat_interleave(2, -1)[..., :24],
        audio=torch.randn(1, 400, 64),
        valid={},
        decoded={},
        times=None,
        starts={"video": 10.0, "audio": 10.0},
        lengths={"video": 4.0, "audio": 4.0},
        duration=20.0,
        clip_window=Window(0.0, 20.0),
        wrap=False,
    )
    return ClipExplanation(
        **{"explanation": maps, "shapley": shapley, "given": seen, "front_end": FRONT_END} | changes
    )


def of_split(clips: list[ClipExplanation]) -> str:
    return split_text(SplitExplanation("occlusion", [{} for _ in clips], clips=clips))


def test_pictures_say_what_streams_add_rather_than_their_share_of_a_map():
    effects = {"audio": 0.014, "video": 0.84}
    shapley = Explanation("a", "shapley", "dog", None, None, effects, effects=effects)
    assert stream_words(looked(shapley=shapley)) == "pictures +84 points, sound +1 points"
    assert stream_words(looked(shapley=None)) == "pictures 60 %, sound 40 %"


def test_a_clip_without_sound_makes_sound_no_less_important_in_the_others():
    effects = [{"audio": 0.4, "video": 0.2}, {"audio": 0.0, "video": 0.8}]
    clips = [
        looked(shapley=Explanation("a", "shapley", "dog", None, None, one, effects=one))
        for one in effects
    ]
    text = of_split(clips)
    assert text.startswith("By occlusion, mean over clips; shares over the 1 with both streams:\n")
    assert "\nof the probability: pictures +20 points, sound +40 points (Shapley)\n" in text
    assert of_split(clips[:1]).startswith("By occlusion, mean over clips:\nof the map")
    assert "Shapley" not in of_split(clips[1:])


@pytest.mark.parametrize("method", ["rollout", "occlusion"])
def test_the_picture_has_the_colours_of_the_film(tmp_path, method):
    """An even rollout stays grey; of another method it is all red."""
    one = looked()
    even = Explanation(
        "a",
        method,
        "dog",
        1 + 0 * one.explanation.video,
        1 + 0 * one.explanation.audio,
        {"video": 1.0},
    )
    page = imread(timeline_plot(tmp_path / "even.png", looked(explanation=even, shapley=None)))
    red = page[..., 0] - page[..., 2] > 0.3
    above = red[: len(page) // 3]  # the frames; further below, bars of sound are orange
    assert (above.mean() > 0.05) == (method == "occlusion")


def test_words_and_lines_say_where():
    one = looked(truth="dog")
    text = as_table([one])
    assert "dog (75.0 %), by occlusion; the true class is dog" in text
    assert "pictures  13-14 s" in text and "upper right" in text and "sound     13-14 s" in text
    line = clip_line(one)
    assert line["video_second_start_seconds"] == 13 and line["video_region_name"] == "upper right"
    assert line["audio_band_start_hz"] > 1000
    cells = list(cell_lines(one))
    assert len(cells) == 24 + 8
    best = max((cell for cell in cells if cell["modality"] == "video"), key=lambda x: x["value"])
    assert (best["start_seconds"], best["end_seconds"]) == (13, 14)
    assert (best["top"], best["bottom"]) == (0, 0.5) and best["left"] == pytest.approx(2 / 3)
    low, high = (cells[24 + place] for place in (0, 1))
    assert low["value"] == -0.5 and low["high_hz"] == high["low_hz"]
    assert record(one)["maps"]["audio"][0] == [-0.5, 0.0]
    assert localize(one.explanation, FRONT_END)["audio"]["second"].start == 3  # of the window


def test_a_map_of_nothing_is_said_to_be_so():
    one = looked()
    empty = Explanation(
        "a",
        "grad_cam",
        "dog",
        0 * one.explanation.video,
        -(one.explanation.audio**2),
        one.explanation.shares,
    )
    text = as_table([looked(explanation=empty)])
    assert "pictures: nothing speaks for dog" in text and "sound: nothing speaks for dog" in text


def test_a_map_is_smooth_between_the_middles_of_its_cells():
    values = np.array([[0.0, 1.0], [2.0, 3.0]])
    wide = smooth(values, (4, 8))
    assert wide.shape == (4, 8)
    np.testing.assert_allclose(wide[0], [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    np.testing.assert_allclose(wide[:, 0], [0, 0.5, 1.5, 2])


@pytest.mark.parametrize("missing", [None, "video", "audio"])
def test_the_picture_shows_frames_and_sound(tmp_path, missing):
    one = looked()
    if missing:
        one = looked(given=one.given.__class__(**one.given.__dict__ | {missing: None}))
    path = timeline_plot(tmp_path / "a" / "picture.png", one)
    assert imread(path).std() > 0.05
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]
