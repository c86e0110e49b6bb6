"""Parts of a report: media of clips, what other commands left, numbers in words."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image
from report_files import write_run

from sightsound.data.rows import Row
from sightsound.media.encode import write_video
from sightsound.metrics.statistics import Paired
from sightsound.models.mafnet import MAFnet
from sightsound.report import clips as clip_media
from sightsound.report import page
from sightsound.report.clips import media_of
from sightsound.report.embedding import PLACES, _of_batch
from sightsound.report.numbers import in_words, plain
from sightsound.report.page import percent, points, probability, report, results
from sightsound.types import Batch


def film(path: Path, *, seconds: float = 3.0, sound: bool = True) -> Row:
    """Red in the first half, blue in the second."""
    frames = np.zeros((int(10 * seconds), 40, 60, 3), np.uint8)
    half = len(frames) // 2
    frames[:half, ..., 0] = frames[half:, ..., 2] = 200
    waveform = 0.3 * np.sin(np.arange(int(16000 * seconds)) / 10) if sound else None
    write_video(path, frames, frames_per_second=10, waveform=waveform)
    return Row(path.name, path, ("a",))


def content(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


def test_pictures_and_players(tmp_path):
    whole = film(tmp_path / "whole.mp4")
    late = Row("late", whole.path, ("a",), start_seconds=2.0, end_seconds=3.0)
    mute = film(tmp_path / "mute.mp4", sound=False)
    found = media_of([whole, late, mute], players=True)
    assert [entry["problem"] for entry in found.values()] == ["", "", ""]
    picture = np.array(Image.open(io.BytesIO(content(found["late"]["picture"]))))
    assert picture.shape == (138, 208, 3) and picture[..., 2].mean() > 150 > picture[..., 0].mean()
    for name, seconds, streams in (("whole.mp4", 3, 2), ("late", 1, 2), ("mute.mp4", 3, 1)):
        with av.open(io.BytesIO(content(found[name]["player"]))) as player:
            assert len(player.streams) == streams
            assert player.duration / av.time_base == pytest.approx(seconds, abs=0.15)
            frame = next(player.decode(video=0)).to_ndarray(format="rgb24")
            assert frame[..., 2 if name == "late" else 0].mean() > 150


def test_the_block_around_film_is_shown_beside_the_streams():
    """MAFnet, figure 7: before and after FiLM, of the clips that have both streams."""
    model = MAFnet(heads={"label": 3}, video_shape=(2, 5), audio_shape=(2, 6), width=8).eval()
    present = {"video": torch.tensor([True, False, True]), "audio": torch.ones(3).bool()}
    batch = Batch(
        video=torch.randn(3, 2, 5),
        audio=torch.randn(3, 2, 6),
        present=present,
        valid={name: here[:, None].expand(3, 2) for name, here in present.items()},
        target=torch.eye(3),
        id=["a", "b", "c"],
        view=torch.zeros(3, dtype=torch.long),
        encoded=True,
    )
    predictor = SimpleNamespace(
        model=model, modalities=model.modalities, device="cpu", encoding=lambda given: given
    )
    with torch.inference_mode():
        places = {place: (ids, x) for place, ids, x in _of_batch(predictor, batch)}
        (before, after) = model.around_film(batch.inputs, **batch.masks)["audio"]
    assert set(places) <= set(PLACES)
    assert set(places) == {"audio", "video", "fused", "audio_before_film", "audio_after_film"}
    for place, values in (("audio_before_film", before), ("audio_after_film", after)):
        assert places[place][0] == ["a", "c"]
        np.testing.assert_array_equal(places[place][1], values[[0, 2]])
    assert "just before FiLM" in PLACES["audio_before_film"]


def test_players_stop_at_a_size(tmp_path, monkeypatch):
    rows = [film(tmp_path / f"{k}.mp4", seconds=1.0) for k in range(3)]
    (size, *_) = [len(content(e["player"])) for e in media_of(rows, players=True).values()]
    monkeypatch.setattr(clip_media, "MOST_PLAYER_BYTES", int(2.5 * size))
    found = media_of(rows, players=True)
    assert [bool(entry["player"]) for entry in found.values()] == [True, True, False]
    assert all(entry["picture"] for entry in found.values())
    assert not any(entry["player"] for entry in media_of(rows, players=False).values())


def test_clips_without_pictures_or_files(tmp_path):
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        samples = np.full((1, 16000), 1000, np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    gone = Row("gone", tmp_path / "gone.mp4", ("a",))
    found = media_of([Row("sound", sound, ("a",)), gone], players=True)
    assert found["sound"]["picture"] == "" and found["sound"]["player"].startswith("data:video/mp4")
    assert found["gone"] == {"picture": "", "player": "", "problem": "no such file"}


def test_pictures_of_other_commands_are_embedded_as_far_as_they_fit(tmp_path, monkeypatch):
    folder = tmp_path / "run" / "explanation" / "deep"
    folder.mkdir(parents=True)
    (folder / "a b.png").write_bytes(b"x" * 10)
    (folder / "large.png").write_bytes(b"x" * 100)
    (folder / "table.csv").write_text("a")
    (folder / "table.parquet").write_text("a")
    monkeypatch.setattr("sightsound.report.page.MOST_PICTURE_BYTES", 50)
    (found,) = results(tmp_path / "run", beside=tmp_path)
    assert found["name"] == "explanation"
    assert [picture["name"] for picture in found["pictures"]] == ["deep/a b.png"]
    links = ["run/explanation/deep/large.png", "run/explanation/deep/table.csv"]
    assert [link["link"] for link in found["links"]] == links


def test_numbers_in_words():
    assert [percent(share) for share in (0.9333, 1.0, None)] == ["93.3", "100.0", "–"]
    assert [points(s) for s in (0.032, -0.1, 0.0001, -0.0001, None)] == [
        "+3.2",
        "-10.0",
        "0.0",
        "0.0",
        "–",
    ]
    assert [probability(p) for p in (0.03125, 0.00001)] == ["0.0312", "< 0.0001"]
    said = [in_words(Paired(d, 0, 0, p)) for d, p in ((0.1, 0.01), (-0.1, 0.05), (0.1, 0.06))]
    assert said == ["both are better", "both are worse", "no clear difference"]
    assert plain({"a": np.array([1.0, np.nan]), "b": (np.float32(2), float("inf"))}) == {
        "a": [1.0, None],
        "b": [2.0, None],
    }


@pytest.mark.parametrize(
    "data, late, evaluates",
    [
        (None, None, False),
        ("gone.csv", None, False),
        ("other.csv", None, True),
        (None, ["audio", "video"], True),
    ],
)
def test_a_saved_evaluation_is_used_if_it_is_one_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data, late, evaluates: bool
):
    class Reached(Exception):
        """How far the report got."""

    def reaches(name: str):
        def stop(*_: object, **__: object):
            raise Reached(name)

        return stop

    folder = write_run(tmp_path / "run", labels={"label": ["a", "b"]}, num_clips=4, bootstrap=0)
    monkeypatch.setattr(page, "evaluate_saved", reaches("evaluates"))
    monkeypatch.setattr(page, "read_summary", reaches("reads"))
    monkeypatch.setattr(
        page.Predictor, "manifest", lambda self, path, **_: SimpleNamespace(source=folder / path)
    )
    with pytest.raises(Reached, match="evaluates" if evaluates else "reads"):
        report(folder, data, late=late)
    (folder / "evaluation" / "predictions.parquet").unlink()
    with pytest.raises(Reached, match="evaluates"):
        report(folder, data, late=late)
