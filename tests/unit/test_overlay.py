"""Films and contact sheets of maps: in step with the file, coloured where the map says."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from matplotlib.image import imread

from sightsound.config.settings import DataSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.rows import Manifest, Row
from sightsound.explain import contact_sheet as sheets
from sightsound.explain import overlay
from sightsound.explain.clips import ClipExplanation
from sightsound.explain.contact_sheet import contact_sheet
from sightsound.explain.explanation import Explanation
from sightsound.explain.heatmap import AGAINST, FOR, heatmap, strengths
from sightsound.explain.overlay import Curves, write_overlay
from sightsound.media.encode import write_video
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.media.probe import probe
from sightsound.media.sound import read_audio
from sightsound.preview.model_inputs import ModelInput, evaluation_view

FRONT_END = FrontEnd(
    "tiny",
    AudioFrontEnd(num_frames=100, num_mels=16, log_offset=1e-3, mean=6.0, deviation=2.0),
    VideoFrontEnd(num_frames=4, window_seconds=1.0, height=16, width=24, short_side=16),
)
SETTINGS = DataSettings(windows="centre", crop="centre", bad_files="mask", time_limit_seconds=0)
EVENT = 1.6  # seconds of the file: a flash, and a click
SCORES = {"cat": 0.9, "dog": 0.1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds at ten frames a second, grey and silent but for a flash with a click."""
    folder = tmp_path_factory.mktemp("clips")
    frames = np.full((30, 32, 48, 3), 100, np.uint8)
    frames[16] = 255
    sound = np.zeros(48000, np.float32)
    sound[round(EVENT * 16000) :][:400] = 0.9
    write_video(folder / "both.mp4", frames, frames_per_second=10, waveform=sound, crf=10)
    write_video(folder / "mute.mp4", frames, frames_per_second=10, waveform=None)
    return folder


def dataset(folder: Path, name: str, settings: DataSettings = SETTINGS, **options) -> ClipDataset:
    rows = (Row(name, folder / name, ("cat",), split="test"),)
    manifest = Manifest(rows, {"label": ["cat", "dog"]}, "single", folder)
    return ClipDataset(manifest, rows, FRONT_END, settings, train=False, seed=0, **options)


def looked(seen: ModelInput) -> ClipExplanation:
    """Of four moments, in the third the upper left counts; of the sound, the first half."""
    video, audio = np.zeros((4, 2, 3)), np.zeros((4, 2))
    video[2, 0, 0], audio[:2] = 1.0, 0.5
    streams = seen.streams()
    maps = Explanation(
        seen.row.id,
        "rollout",
        "cat",
        video if "video" in streams else None,
        audio if "audio" in streams else None,
        {"video": 0.7, "audio": 0.3},
        probability=0.83,
    )
    return ClipExplanation(maps, FRONT_END, "cat", given=seen)


def film(path: Path, clips: ClipDataset, **options) -> list[av.VideoFrame]:
    (seen,) = evaluation_view(clips)
    given = {"reader": clips.reader, "scores": SCORES} | options
    write_overlay(path, looked(seen), **given)
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


@pytest.fixture(scope="module")
def both(folder: Path) -> tuple[Path, list[av.VideoFrame]]:
    """The film of the second from 1 to 2."""
    path = folder / "film.mp4"
    times = np.array([1.0, 1.5, 2.0])
    curves = Curves(times, {"_ $^$": np.array([0.2, 0.9]), "dog": np.array([0.8, 0.1])})
    return path, film(path, dataset(folder, "both.mp4"), curves=curves)


def panels(frame: av.VideoFrame) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) of what is seen, and of the same with its map."""
    image = frame.to_ndarray(format="rgb24").astype(int)
    top = overlay._HEADING + overlay._CAPTION
    width = (overlay._WIDTH - overlay._LEFT - overlay._GAP - overlay._RIGHT) // 2
    rows = slice(top + 4, top + width * 16 // 24 - 4)
    left = overlay._LEFT
    second = left + width + overlay._GAP
    return image[rows, left + 4 : left + width - 4], image[rows, second + 4 : second + width - 4]


def test_any_player_plays_it(both: tuple[Path, list[av.VideoFrame]]):
    path, frames = both
    info = probe(path)
    assert (info.video.codec, info.audio.codec) == ("h264", "aac")
    assert {frame.format.name for frame in frames} == {"yuv420p"}
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert frames[0].width == 960 and frames[0].height % 2 == 0
    assert info.duration_seconds == pytest.approx(1.0, abs=0.07)
    assert info.video.frames_per_second == 20 and len(frames) == 20  # twice the file's ten


def test_sound_and_frames_are_in_step_with_the_file(both: tuple[Path, list[av.VideoFrame]]):
    path, frames = both
    bright = [frame.time for frame in frames if panels(frame)[0].mean() > 200]
    assert bright == pytest.approx([EVENT - 1, EVENT - 1 + 0.05])  # as long as in the file
    sound = read_audio(path, 0.0, 1.0).samples
    loud = np.flatnonzero(np.abs(sound) > 0.4)
    assert loud[0] / 16000 == pytest.approx(EVENT - 1, abs=0.002)
    assert (loud[-1] - loud[0]) / 16000 == pytest.approx(400 / 16000, abs=0.002)


def test_the_map_is_shown_where_and_while_it_holds(both: tuple[Path, list[av.VideoFrame]]):
    for frame in both[1]:
        plain, coloured = panels(frame)
        assert abs(plain[..., 0] - plain[..., 2]).mean() < 6  # the file is grey
        red = coloured[..., 0] - coloured[..., 2]
        corner = red[: len(red) // 2, : red.shape[1] // 3]
        if 0.5 <= frame.time < 0.75:
            assert corner.mean() > 40 and red[-20:, -60:].mean() < 6
        else:
            assert np.abs(red).mean() < 6


def test_the_map_of_the_sound_lies_on_its_spectrogram(both: tuple[Path, list[av.VideoFrame]]):
    image = both[1][0].to_ndarray(format="rgb24").astype(int)
    height = len(panels(both[1][0])[0]) + 8
    top = overlay._HEADING + height + 3 * overlay._CAPTION + overlay._SOUND
    strip = image[top + 4 : top + overlay._SOUND - 4]
    red = (strip[..., 0] - strip[..., 2]).mean(0)
    assert red[60:400].min() > 60 and red[700:930].max() < 10


def test_a_line_marks_the_moment_on_spectrogram_map_and_scores(
    both: tuple[Path, list[av.VideoFrame]],
):
    for frame in both[1][::4]:
        image = frame.to_ndarray(format="rgb24").astype(int)
        green = image[..., 1] - image[..., [0, 2]].max(-1)
        below = green[overlay._HEADING + overlay._CAPTION + 300 :]
        columns = np.flatnonzero((below > 20).sum(0) > 2 * overlay._SOUND)
        width = overlay._WIDTH - overlay._LEFT - overlay._RIGHT
        assert columns.size and abs(columns.mean() - 0.5 - overlay._LEFT - width * frame.time) < 2


def test_without_sound_or_pictures(folder: Path, tmp_path: Path):
    frames = film(tmp_path / "mute.mp4", dataset(folder, "mute.mp4"))
    assert probe(tmp_path / "mute.mp4").missing == ("audio",)
    red = panels(frames[11])[1][..., 0] - panels(frames[11])[1][..., 2]
    assert red[: len(red) // 2, : red.shape[1] // 3].mean() > 40
    clips = dataset(folder, "both.mp4")
    (seen,) = evaluation_view(clips)
    damaged = dataclasses.replace(seen, audio=None)  # masked: asking again would raise
    options = {"reader": clips.reader, "scores": SCORES}
    write_overlay(tmp_path / "damaged.mp4", looked(damaged), **options)
    assert probe(tmp_path / "damaged.mp4").missing == ("audio",)
    odd = {"reader": clips.reader, "scores": {"_a $^$": 0.7, "b": 0.3}}  # no formulae
    write_overlay(tmp_path / "odd.mp4", looked(seen), **odd)
    listens = dataset(folder, "both.mp4", modalities=["audio"])
    assert film(tmp_path / "heard.mp4", listens)[0].height < frames[0].height
    assert probe(tmp_path / "heard.mp4").missing == ()


def test_a_window_that_wraps_goes_on_at_the_start(folder: Path, tmp_path: Path):
    settings = DataSettings(windows="start", crop="full", wrap=True, time_limit_seconds=0)
    clips = dataset(folder, "both.mp4", settings)
    clips.rows[0] = Row("x", folder / "both.mp4", ("cat",), start_seconds=1.5, end_seconds=2.0)
    frames = film(tmp_path / "wrapped.mp4", clips)
    bright = [frame.time for frame in frames if panels(frame)[0].mean() > 200]
    assert bright == pytest.approx([0.1, 0.15, 0.6, 0.65])
    sound = np.abs(read_audio(tmp_path / "wrapped.mp4", 0.0, 1.0).samples)
    starts = np.flatnonzero((sound > 0.4) & (np.roll(sound, 400) < 0.3))
    assert {round(start / 16000, 1) for start in starts} == {0.1, 0.6}


def test_what_cannot_be_filmed(folder: Path, tmp_path: Path):
    clips = dataset(folder, "mute.mp4", modalities=["audio"])
    clips.settings.bad_files = "drop"
    (seen,) = evaluation_view(clips)
    with pytest.raises(ValueError, match="nothing of 'mute.mp4' could be read, so there is no"):
        write_overlay(tmp_path / "x.mp4", looked(seen), reader=clips.reader, scores=SCORES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "rate, expected", [(8, 24), (10, 20), (25, 25), (30000 / 1001, 30000 / 1001), (60, 30)]
)
def test_the_rate_is_a_multiple_or_a_part_of_the_files(folder, tmp_path, rate, expected):
    path = tmp_path / "clip.mp4"
    frames = np.zeros((4, 16, 16, 3), np.uint8)
    write_video(path, frames, frames_per_second=rate, waveform=None)
    (seen,) = evaluation_view(dataset(tmp_path, "clip.mp4"))
    assert overlay._frame_rate(seen) == pytest.approx(Fraction(expected), rel=1e-4)


# --- colour -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method, values, expected",
    [
        ("rollout", [0.0, 1, 2, 3, 5], [0, 0, 0, 1 / 3, 1]),  # from the median on
        ("rollout", [0.3, 0.3, 0.3], [0, 0, 0]),
        ("occlusion", [-4.0, 0, 2], [-1, 0, 0.5]),
        ("contributions", [1.0, 2, 4], [0.25, 0.5, 1]),
        ("grad_cam", [0.0, 0, 0], [0, 0, 0]),
    ],
)
def test_strength_of_colours(method: str, values: list[float], expected: list[float]):
    found = strengths(Explanation("a", method, "cat", None, np.array([values]), {"audio": 1.0}))
    np.testing.assert_allclose(found["audio"], [expected], rtol=0, atol=1e-12)
    assert list(found) == ["audio"]


def test_red_is_for_and_blue_against():
    picture = np.full((20, 39, 3), (200, 100, 50), np.uint8)
    found = heatmap(picture, np.array([[1.0, 0.0, -1.0]]))[10].astype(int)
    assert found[2, 0] > found[2, 2] + 100 and found[-3, 2] > found[-3, 0] + 100
    assert len(set(found[19].tolist())) == 1  # grey between
    black = heatmap(0 * picture, np.array([[1.0, 0.0, -1.0]]))[10] / 255
    for place, colour in ((0, FOR), (-1, AGAINST)):
        np.testing.assert_allclose(black[place], 0.75 * np.array(colour), atol=1 / 255)
    assert not heatmap(0 * picture, np.zeros((1, 1))).any()
    alone = heatmap(picture, np.array([[1.0]]))[10, 2].astype(int)
    assert found[2, 0] > alone[0] > alone[2] + 50


# --- many clips ---------------------------------------------------------------------------------


def test_contact_sheet(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written = []
    monkeypatch.setattr(sheets, "write_at", lambda f, place, text, **s: written.append((text, s)))
    views = [evaluation_view(dataset(folder, name))[0] for name in ("both.mp4", "mute.mp4")]
    tiles = [looked(seen) for seen in views]
    wrong = Explanation("c", "rollout", "dog", None, None, {"video": 1.0}, probability=0.4)
    tiles.append(ClipExplanation(wrong, FRONT_END, "cat", given=views[0]))
    image = imread(contact_sheet(tmp_path / "a" / "sheet.png", tiles, columns=2))
    one = imread(contact_sheet(tmp_path / "one.png", tiles[:1], columns=2))
    assert image.shape[0] > 1.5 * one.shape[0] and image.shape[1] > 1.5 * one.shape[1]
    texts = dict(written)
    assert texts["cat 83 %"]["color"] == "black"
    assert texts["dog 40 %, not cat"]["color"] != "black"
    assert "pictures 70 %, sound 30 %; both.mp4" in texts and "3 clips" in texts
    red = image[..., 0] - image[..., 2] > 0.2
    assert red[:, : red.shape[1] // 2].any() and red[:, red.shape[1] // 2 :].any()
    with pytest.raises(ValueError, match="no clips to draw on a contact sheet"):
        contact_sheet(tmp_path / "none.png", [])
