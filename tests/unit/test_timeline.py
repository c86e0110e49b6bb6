"""Scores over time: windows equal those read alone, events begin and end where they should."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from media_files import grey, tone, write_clip
from torch import nn

from sightsound.features.encoding import Encoding, feature_front_end
from sightsound.media.decode import DecodeError
from sightsound.media.front_end import AudioFrontEnd, FeatureFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.media.reader import FileReader
from sightsound.models.mafnet import MAFnet
from sightsound.models.mbt import MBT
from sightsound.predict import Predictor
from sightsound.timeline import text as words
from sightsound.timeline.events import cell_scores, cell_times, cues_of, find_events
from sightsound.timeline.score import Timeline, make_timeline, scores_of
from sightsound.timeline.strips import strips_of, ticks, timeline_page, timeline_picture
from sightsound.timeline.windows import Grid, front_end_for, plan_windows, window_clips
from sightsound.types import ModelInfo, Output

FRONT_END = FrontEnd(
    "tiny",
    AudioFrontEnd(num_frames=100, num_mels=16, log_offset=1e-6, mean=-3.0, deviation=4.0),
    VideoFrontEnd(num_frames=4, window_seconds=1.0, height=16, width=16, short_side=16),
)
LABELS = {"label": ["cat", "dog", "owl"]}
RATE = 16000


def with_info(model: nn.Module, front_end: FrontEnd, **changes) -> nn.Module:
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    info = dataclasses.replace(model.info, front_end=front_end.to_dict(), labels=LABELS)
    model.info = dataclasses.replace(info, **changes)
    return model


def make_predictor(*modalities: str) -> Predictor:
    model = MBT(
        heads={"label": 3},
        video_shape=(4, 16, 16),
        audio_shape=(100, 16),
        modalities=modalities or ("audio", "video"),
        width=16,
        depth=2,
        num_heads=2,
        mlp_width=32,
        fusion_layer=1,
        video_patch=(1, 8, 8),
        audio_patch=(20, 16),
    )
    return Predictor(with_info(model, FRONT_END), device="cpu")


@pytest.fixture(autouse=True)
def no_decoding_process(monkeypatch):
    """Windows read alone are read here: a process for each would take half a second."""
    monkeypatch.setattr("sightsound.data.dataset.open_reader", lambda *_, **__: FileReader())


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Six seconds of pictures and four of sound, which grow brighter and louder."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames = [np.roll(grey(20 + 3 * k), k, axis=1) for k in range(60)]
    frames = [frame + np.arange(64, dtype=np.uint8)[None, :, None] % 16 for frame in frames]
    sound = tone(4.0) * np.linspace(0.1, 1.0, 4 * RATE, dtype=np.float32)
    write_clip(path, frames=frames, times=np.arange(60) / 10, sound=sound)
    return path


def alone(predictor: Predictor, path: Path, grid: Grid, index: int) -> np.ndarray:
    """Scores of one window by what `predict --start_seconds --end_seconds` reads."""
    window = grid.window(index)
    span = {"start_seconds": window.start_seconds, "end_seconds": window.stop_seconds}
    return scores_of(predictor, predictor.clips(path, views=1, **span))[0]


# --- windows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "number", "last"),
    [
        (Grid(0.0, 60.0, 10.0, 1.0), 51, (50.0, 60.0)),
        (Grid(0.0, 60.4, 10.0, 1.0), 52, (51.0, 60.4)),
        (Grid(3.0, 5.0, 10.0, 1.0), 1, (3.0, 5.0)),
        (Grid(0.0, 1.0, 0.3, 0.1), 8, (0.7, 1.0)),
        (Grid(0.0, 10.0, 4.0, 4.0), 3, (8.0, 10.0)),
    ],
)
def test_windows_reach_the_end(grid, number, last):
    assert grid.num_windows == number
    window = grid.window(number - 1)
    assert (window.start_seconds, window.stop_seconds) == last


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0.0, 9.0, 1.0, 2.0), "window is 1 s and hop 2 s; accepted: a hop of at least 0.01 s"),
        ((0.0, 9.0, 1.0, 1e-7), "window is 1 s and hop 1e-07 s; accepted: a hop of at least 0.01"),
        ((0.0, 9.0, 0.0, 0.0), "window is 0 s and hop 0 s"),
        ((9.0, 9.0, 2.0, 1.0), "the stretch from 9 s to 9 s is empty; accepted: a start of 0 or"),
        ((-1.0, 9.0, 2.0, 1.0), "the stretch from -1 s to 9 s is empty"),
    ],
)
def test_windows_that_are_none(values, message):
    with pytest.raises(ValueError, match=message):
        Grid(*values)


@pytest.mark.parametrize("window", [1.0, 0.5, 0.8])
@pytest.mark.parametrize("modalities", [(), ("audio",), ("video",)])
def test_windows_are_scored_as_they_are_alone(film, modalities, window):
    """Of the model's own length and shorter ones; where there is sound, and where it has ended."""
    predictor = make_predictor(*modalities)
    timeline = make_timeline(predictor, film, window_seconds=window, hop_seconds=0.25)
    assert timeline.num_windows == timeline.grid.num_windows == len(timeline.scores)
    present = slice(0, 12) if modalities == ("audio",) else slice(None)
    for index in range(timeline.num_windows)[present][::3]:
        expected = alone(predictor, film, timeline.grid, index)
        np.testing.assert_allclose(timeline.scores[index], expected, atol=2e-6)
    silent = timeline.grid.window(timeline.num_windows - 1).start_seconds
    assert silent > 4.5
    missing = np.isnan(timeline.scores[-1]).all(1).tolist()
    assert missing == {0: [False, True, False], 1: [modalities == ("audio",)]}[len(modalities)]


def test_clips_of_windows_are_those_read_alone_to_the_bit(film):
    predictor = make_predictor()
    plan = plan_windows(predictor, film, window_seconds=1.0, hop_seconds=0.5)
    for index, clip in enumerate(window_clips(predictor, plan)):
        window = plan.grid.window(index)
        span = {"start_seconds": window.start_seconds, "end_seconds": window.stop_seconds}
        (expected,) = predictor.clips(film, views=1, **span)
        for name in ("video", "audio", "video_valid", "audio_valid"):
            found, wanted = getattr(clip, name), getattr(expected, name)
            assert (found is None) == (wanted is None) and (found is None or found.equal(wanted))
    assert index == 10


def test_a_stretch_of_a_file(film):
    predictor = make_predictor()
    span = {"start_seconds": 1.0, "end_seconds": 3.5}
    whole = make_timeline(predictor, film, window_seconds=1.0, hop_seconds=0.5)
    part = make_timeline(predictor, film, window_seconds=1.0, hop_seconds=0.5, **span)
    np.testing.assert_allclose(part.scores, whole.scores[2:6], atol=2e-6)
    assert (part.end_seconds, part.num_windows) == (3.5, 4)


def test_longer_windows_have_more_frames_and_interpolated_positions(film):
    predictor = make_predictor()
    longer = front_end_for(predictor, 2.5)
    assert longer.shapes == {"video": (10, 16, 16), "audio": (250, 16)}
    assert front_end_for(predictor, 0.7) is predictor.front_end
    timeline = make_timeline(predictor, film, window_seconds=2.5, hop_seconds=0.5)
    predictor.front_end = longer  # what reads a window alone
    predictor.encoding = Encoding(longer)
    for index in (0, 2, 5):
        expected = alone(predictor, film, timeline.grid, index)
        np.testing.assert_allclose(timeline.scores[index], expected, atol=2e-6)
    clip = predictor.clips(film, views=1, start_seconds=0.0, end_seconds=2.5)[0]
    assert clip.video.shape[0] == 10 and clip.video_valid.all()


def test_a_window_longer_than_the_file_is_as_long_as_the_file(film):
    """Else hours of padding would be made and looked at."""
    long, all_of_it = (
        make_timeline(make_predictor_of(0), film, window_seconds=seconds, hop_seconds=1.0)
        for seconds in (1e9, 6.0)
    )
    np.testing.assert_array_equal(long.scores, all_of_it.scores)
    assert long.num_windows == 1
    assert words.extent(long).endswith(": 1 window of 1e+09 s every 1 s")


def make_predictor_of(seed: int) -> Predictor:
    torch.manual_seed(seed)
    return make_predictor()


def test_streams_of_different_lengths_grow_alike(film):
    predictor = make_predictor()
    video = dataclasses.replace(FRONT_END.video, stride_seconds=0.1, num_frames=4)
    predictor.front_end = dataclasses.replace(FRONT_END, video=video)
    assert front_end_for(predictor, 1.0) is predictor.front_end
    assert front_end_for(predictor, 3.0).shapes == {"video": (12, 16, 16), "audio": (300, 16)}


class Fixed(nn.Module):
    """Refuses clips of another length, as some video backbones do."""

    modalities, heads = ("video",), {"label": 3}
    info = ModelInfo("fixed", {}, front_end=FRONT_END.to_dict(), labels=LABELS)

    def forward(self, inputs, **masks):
        if inputs["video"].shape[1] != 4:
            raise ValueError("video of 8 frames; 4 are accepted")
        return Output(inputs["video"].mean((1, 3, 4)))


def test_a_model_that_cannot_look_at_more_says_what_it_can(film):
    predictor = Predictor(Fixed(), device="cpu")
    message = r"window is 2 s, and this model .* the 1 s that it is built for \(video of 8 frames"
    with pytest.raises(ValueError, match=message + ".*accepted: a window of up to 1 s"):
        make_timeline(predictor, film, window_seconds=2.0, hop_seconds=1.0)
    assert make_timeline(predictor, film, window_seconds=0.5, hop_seconds=0.5).num_windows == 12


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="it is a folder; name the files in it"):
        make_timeline(make_predictor(), tmp_path, window_seconds=1.0, hop_seconds=1.0)
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(DecodeError, match="text.mp4"):
        make_timeline(make_predictor(), tmp_path / "text.mp4", window_seconds=1.0, hop_seconds=1.0)


def test_damaged_stretches_are_counted_and_masked(tmp_path, capfd):
    """Every packet of the second second is rubbish; there is no sound at all."""
    path = tmp_path / "clip.mkv"
    write_clip(
        path,
        levels=range(20, 220, 5),
        times=np.arange(40) / 10,
        codec="mpeg4",
        options={"g": "1"},
        spoil=range(10, 20),
    )
    timeline = make_timeline(make_predictor(), path, window_seconds=1.0, hop_seconds=1.0)
    assert [bool(problem) for problem in timeline.problems] == [False, True, False, False]
    assert (
        "video: 10 damaged packet(s)" in timeline.problems[1] or "damaged" in timeline.problems[1]
    )
    assert words.notes(timeline)[0] == "no sound in any window"
    assert words.notes(timeline)[1].startswith("data with problems in 1 of 4 windows, such as: vi")
    capfd.readouterr()


def test_windows_without_anything(tmp_path):
    """Pictures go on for two seconds after the sound."""
    path = tmp_path / "clip.mp4"
    write_clip(path, levels=range(20, 118), times=np.arange(98) / 25, sound=tone(1.9))
    predictor = make_predictor("audio")
    timeline = make_timeline(predictor, path, window_seconds=1.0, hop_seconds=1.0)
    assert np.isnan(timeline.scores[:, 0, 0]).tolist() == [False, False, True, True]
    assert words.notes(timeline)[0] == "no sound in 2 of 4 windows"
    cells = cell_scores(timeline)
    assert np.isnan(cells[2:]).all() and np.isfinite(cells[:2]).all()
    assert all(event.end_seconds <= 2.0 for event in find_events(timeline, threshold=0.1))


# --- features -----------------------------------------------------------------------------------


class Pictures(nn.Module):
    """Means of the four quarters of a frame."""

    modality, reads_waveform, source, feature_shape = "video", False, "pictures", (2, 2, 3)
    front_end = VideoFrontEnd(num_frames=1, window_seconds=1.0, height=16, width=16, short_side=16)
    calls = 0

    def forward(self, x):
        self.calls += 1
        return nn.functional.avg_pool2d(x, 8).permute(0, 2, 3, 1)


class Sounds(nn.Module):
    """Means of the two halves of a second's log-mel."""

    modality, reads_waveform, source, feature_shape = "audio", False, "sounds", (2, 1, 8)
    front_end = AudioFrontEnd(num_frames=96, num_mels=8, log_offset=0.01)

    def forward(self, x):
        return x[:, 0].unflatten(1, (2, -1)).mean(2)[:, :, None]


@pytest.fixture
def pictures(monkeypatch) -> Pictures:
    table = {"pictures:": Pictures(), "sounds:": Sounds()}
    hashes = {"pictures": "1" * 64, "sounds": "2" * 64}
    monkeypatch.setattr("sightsound.features.load.load_encoder", table.__getitem__)
    monkeypatch.setattr("sightsound.features.load.weights_hash", hashes.__getitem__)
    return table["pictures:"]


def mafnet_predictor(*, wrap: bool = False) -> Predictor:
    encoders = {"video_encoder": "pictures:", "audio_encoder": "sounds:"}
    front_end = feature_front_end(FeatureFrontEnd(segments=3, frames_per_segment=2, **encoders))
    shapes = {f"{name}_shape": shape for name, shape in front_end.shapes.items()}
    model = MAFnet(heads={"label": 3}, width=8, **shapes)
    provenance = {"windows": "start", "wrap": wrap}
    return Predictor(with_info(model, front_end, provenance=provenance), device="cpu")


@pytest.mark.parametrize(("window", "hop"), [(3.0, 1.0), (2.0, 0.5), (4.0, 1.5)])
def test_windows_of_features_are_scored_as_they_are_alone(film, pictures, window, hop):
    predictor = mafnet_predictor()
    timeline = make_timeline(predictor, film, window_seconds=window, hop_seconds=hop)
    calls = pictures.calls
    predictor.front_end = front_end_for(predictor, window)
    predictor.encoding = Encoding(predictor.front_end)
    for index in range(timeline.num_windows):
        expected = alone(predictor, film, timeline.grid, index)
        np.testing.assert_allclose(timeline.scores[index], expected, atol=1e-5)
    starts = {timeline.grid.window(i).start_seconds for i in range(timeline.num_windows)}
    length = range(int(window))
    assert calls == len({s + second for s in starts for second in length if s + second < 5.6})


def test_short_windows_of_features_repeat_themselves_as_in_training(film, pictures):
    predictor = mafnet_predictor(wrap=True)
    span = {"start_seconds": 0.0, "end_seconds": 4.0}
    timeline = make_timeline(predictor, film, window_seconds=2.0, hop_seconds=2.0, **span)
    for index in range(timeline.num_windows):
        expected = alone(predictor, film, timeline.grid, index)
        np.testing.assert_allclose(timeline.scores[index], expected, atol=1e-5)


def test_features_are_of_whole_seconds(film, pictures):
    with pytest.raises(ValueError, match="window is 2.5 s, but this model reads features of whole"):
        make_timeline(mafnet_predictor(), film, window_seconds=2.5, hop_seconds=1.0)


# --- events -------------------------------------------------------------------------------------


def written(scores, *, task="single", heads=None, window=2.0, hop=1.0, end=None) -> Timeline:
    """A timeline with these scores (N, K) of its only stream."""
    scores = np.asarray(scores, np.float32)
    end = (len(scores) - 1) * hop + window if end is None else end
    grid = Grid(0.0, end, window, hop)
    heads = heads or {"label": ["cat", "dog", "owl"][: scores.shape[1]]}
    problems = [""] * len(scores)
    return Timeline("a.mp4", grid, task, ("video",), heads, scores[:, None], problems)


def spans(timeline: Timeline, threshold: float = 0.5) -> list[tuple]:
    found = find_events(timeline, threshold=threshold)
    return [(event.start_seconds, event.end_seconds, event.label) for event in found]


def test_a_cell_is_the_mean_of_the_windows_that_hold_its_middle():
    timeline = written([[1, 0], [0.5, 0.5], [0, 1]])
    assert cell_times(timeline).tolist() == [0, 1, 2, 3, 4]
    assert cell_scores(timeline)[:, 0].tolist() == [1, 0.75, 0.25, 0]
    assert spans(timeline) == [(0, 2, "cat"), (2, 4, "dog")]


def test_an_event_must_reach_the_threshold_and_ends_at_half_its_height():
    scores = [[x, 1 - x] for x in (0.3, 0.3, 0.9, 0.9, 0.9, 0.48, 0.48)]
    timeline = written(scores, task="multi", window=1.0)
    assert spans(timeline)[0] == (0, 2, "dog") and (2, 7, "cat") in spans(timeline)
    assert spans(written([[0.4, 0.3, 0.3]] * 3)) == []
    assert spans(written([[0.4, 0.3, 0.3]] * 3), 0.4) == [(0, 4, "cat")]


def test_several_labels_at_once_and_several_heads():
    both = written([[0.9, 0.8, 0.1]] * 2, task="multi", window=1.0)
    assert spans(both) == [(0, 2, "cat"), (0, 2, "dog")]
    heads = {"verb": ["cut", "peel"], "noun": ["egg"]}
    timeline = written([[0.9, 0.1, 1], [0.1, 0.9, 1]], task="heads", heads=heads, window=1.0)
    assert spans(timeline) == [(0, 2, "noun:egg"), (0, 1, "verb:cut"), (1, 2, "verb:peel")]


@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_thresholds_that_are_none(threshold):
    with pytest.raises(ValueError, match="accepted: above 0, at most 1"):
        find_events(written([[1, 0]]), threshold=threshold)


class Brightness(nn.Module):
    """Three classes by the share of dark, grey and bright frames; like a score that is linear."""

    modalities, heads = ("video",), {"label": 3}
    front_end = FrontEnd(
        "grey",
        video=VideoFrontEnd(num_frames=20, window_seconds=4.0, height=8, width=8, short_side=8),
    )
    info = ModelInfo("grey", {}, front_end=front_end.to_dict(), labels=LABELS)

    def forward(self, inputs, **masks):
        levels = inputs["video"].mean((2, 3, 4))  # (B, T) in -1..1
        kinds = torch.bucketize(levels, torch.tensor([-0.33, 0.33]))
        valid = masks.get("valid", {}).get("video", torch.ones_like(kinds, dtype=torch.bool))
        shares = nn.functional.one_hot(kinds, 3) * valid[..., None]
        return Output((shares.sum(1) / valid.sum(1, keepdim=True)).clamp_min(1e-6).log())


@pytest.mark.parametrize(
    ("window", "hop"), [(4.0, 1.0), (2.0, 0.5), (2.5, 1.0), (1.0, 1.0), (4.0, 0.3)]
)
def test_events_begin_and_end_within_a_hop_of_the_truth(tmp_path, window, hop):
    path = tmp_path / "clip.mp4"
    edges, kinds = [0.0, 5.3, 9.9, 16.0, 21.4, 26.0], [0, 2, 1, 0, 1]
    times = np.arange(260) / 10
    levels = np.array([20, 128, 235])[np.array(kinds)[np.searchsorted(edges, times, "right") - 1]]
    write_clip(path, levels=levels.tolist(), times=times)
    lengths = {"window_seconds": window, "hop_seconds": hop}
    timeline = make_timeline(Predictor(Brightness(), device="cpu"), path, **lengths)
    found = find_events(timeline, threshold=0.5)
    assert [event.label for event in found] == [LABELS["label"][kind] for kind in kinds]
    for event, start, end in zip(found, edges, edges[1:], strict=False):
        assert abs(event.start_seconds - start) <= hop + 1e-6
        assert abs(event.end_seconds - end) <= hop + 1e-6
    cues = parsed_srt(words.as_srt(timeline, threshold=0.5))
    assert np.abs(np.array([cue[0] for cue in cues]) - edges[:-1]).max() <= hop + 1e-3


# --- as text ------------------------------------------------------------------------------------

TIME = r"(\d\d):(\d\d):(\d\d)[,.](\d\d\d)"


def seconds(parts: tuple[str, ...]) -> float:
    hours, minutes, whole, thousandths = map(int, parts)
    return 3600 * hours + 60 * minutes + whole + thousandths / 1000


def parsed(block: str, mark: str) -> tuple[float, float, list[str]]:
    time = TIME.replace("[,.]", re.escape(mark))
    first, *lines = block.split("\n")
    parts = re.fullmatch(f"{time} --> {time}", first).groups()
    assert lines and all(line.strip() for line in lines)
    return seconds(parts[:4]), seconds(parts[4:]), lines


def checked(cues: list) -> list:
    """In order, none empty, none over another."""
    assert all(start < end for start, end, _ in cues)
    assert all(a[1] <= b[0] for a, b in zip(cues, cues[1:], strict=False))
    return cues


def parsed_srt(text: str) -> list:
    blocks = text.rstrip("\n").split("\n\n")
    numbers, bodies = zip(*(block.split("\n", 1) for block in blocks), strict=True)
    assert [int(number) for number in numbers] == list(range(1, len(blocks) + 1))
    return checked([parsed(body, ",") for body in bodies])


def parsed_vtt(text: str) -> list:
    header, *blocks = text.rstrip("\n").split("\n\n")
    assert header == "WEBVTT"
    return checked([parsed(block, ".") for block in blocks])


def test_subtitles_follow_one_another():
    names = {"label": ["a <b> & c", "x -->\n\ny", "owl"]}
    scores = [[0.9, 0.1, 0.1], [0.9, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.1], [0.1, 0.1, 0.9]]
    timeline = written(scores, task="multi", heads=names, window=1.0)
    srt = parsed_srt(words.as_srt(timeline, threshold=0.5))
    assert [cue[:2] for cue in srt] == [(0, 1), (1, 2), (2, 3), (4, 5)]
    assert srt[1][2] == ["a <b> & c (90 %)", "x → y (80 %)"]
    vtt = parsed_vtt(words.as_vtt(timeline, threshold=0.5))
    assert [cue[:2] for cue in vtt] == [cue[:2] for cue in srt]
    assert vtt[0][2] == ["a &lt;b&gt; &amp; c (90 %)"]
    assert words.as_srt(written([[0.4, 0.3, 0.3]]), threshold=0.5) == ""
    assert words.as_vtt(written([[0.4, 0.3, 0.3]]), threshold=0.5) == "WEBVTT\n"


def test_times_of_day():
    assert (
        words.clock(3723.0456) == "01:02:03.046"
        and words.clock(59.9996, mark=",") == "00:01:00,000"
    )
    assert [words.short_clock(t) for t in (0, 61.5, 3600)] == ["0:00", "1:01.5", "1:00:00"]
    assert ticks(0, 60) == [0, 15, 30, 45, 60] and ticks(100, 3700)[:2] == [900, 1800]


def test_cues_of_many_events_keep_their_order():
    timeline = written(np.eye(2)[np.arange(400) % 2], window=1.0)
    cues = cues_of(find_events(timeline, threshold=0.5))
    assert [cue.start_seconds for cue in cues] == list(range(400))


def test_csv_and_json_hold_every_window(film):
    timeline = make_timeline(make_predictor(), film, window_seconds=1.0, hop_seconds=1.0)
    rows = list(csv.DictReader(io.StringIO(words.as_csv(timeline))))
    assert len(rows) == 3 * 6 and [row["stream"] for row in rows[:3]] == list(timeline.streams)
    assert [float(rows[3][name]) for name in LABELS["label"]] == pytest.approx(
        timeline.scores[1, 0].tolist(), abs=1e-6
    )
    assert rows[3]["label"] == LABELS["label"][timeline.scores[1, 0].argmax()]
    assert (rows[3]["start_seconds"], rows[3]["end_seconds"]) == ("1", "2")
    assert rows[-2]["stream"] == "audio" and rows[-2]["score"] == rows[-2]["cat"] == ""
    found = json.loads(words.as_json(timeline, threshold=0.5))
    assert found["num_windows"] == found["num_planned"] == len(found["windows"]) == 6
    assert list(found["windows"][-1]["scores"]) == ["audio+video", "video"]
    assert found["windows"][1]["scores"]["audio"] == pytest.approx(
        timeline.scores[1, 1].tolist(), abs=1e-6
    )
    assert set(found["events"]) == set(timeline.streams)


def test_table_shows_the_longest_events_and_says_what_is_left_out():
    lines = words.as_table(written([[1, 0], [0, 1]], window=1.0), threshold=0.5).splitlines()
    assert lines[0] == "a.mp4, 0:00 to 0:02: 2 windows of 1 s every 1 s"
    assert lines[1].split() == ["from", "to", "class", "mean", "highest"]
    assert lines[2].split() == ["0:00", "0:01", "cat", "100", "%", "100", "%"]
    many = written(np.eye(2)[np.arange(50) % 2], window=1.0)
    assert "and 10 shorter events; --format csv" in words.as_table(many, threshold=0.5)
    none = words.as_table(written([[0.4, 0.3, 0.3]]), threshold=0.5)
    assert "no class reaches 0.5; take a lower --threshold" in none
    unfinished = written([[1, 0], [0, 1]], window=1.0, end=5.0)
    unfinished.scores = np.concatenate([unfinished.scores] * 3)[:5]
    assert words.extent(unfinished) == "0:00 to 0:02: 2 windows of 1 s every 1 s, of 5"


# --- pictures -----------------------------------------------------------------------------------


def test_strips_show_the_strongest_classes_and_the_highest_score_of_a_column():
    scores = np.full((3000, 20), 0.01)
    scores[1234, 7] = 0.9
    heads = {"label": [f"class {k}" for k in range(20)]}
    strips = strips_of(written(scores, heads=heads, window=1.0))
    assert len(strips.classes) == 12 and "class 7" in strips.classes
    assert len(strips.scores["video"]) == len(strips.edges) - 1 == 1000
    column = np.searchsorted(strips.edges, 1234.5) - 1
    assert strips.scores["video"][column, strips.classes.index("class 7")] == pytest.approx(0.9)


def test_picture_and_page(film, tmp_path):
    timeline = make_timeline(make_predictor(), film, window_seconds=1.0, hop_seconds=0.5)
    picture = imread(timeline_picture(tmp_path / "a.png", timeline))
    assert picture.shape[1] > 1000 and picture.std() > 0.05
    timeline_page(tmp_path / "a.html", timeline, threshold=0.1)
    text = (tmp_path / "a.html").read_text()
    assert text.count("data:image/png;base64,") == 3
    assert not re.search(r"(src|href)=\"(?!data:)", text) and "http" not in text
    for event in find_events(timeline, threshold=0.1):
        assert f'data-from="{event.start_seconds}"' in text and event.label in text
