"""One pass over a file answers as reading each window alone does, and decodes nothing twice."""

from __future__ import annotations

from functools import partial

import av
import numpy as np
import pytest
from media_files import RATE, regular, tone, write_clip

from sightsound.media import sequential
from sightsound.media.clips import Window, frame_times
from sightsound.media.decode import DecodeError
from sightsound.media.geometry import centre_box
from sightsound.media.pixels import Converter
from sightsound.media.reader import FileReader
from sightsound.media.sequential import SequentialReader

SIZE = (24, 32)
NOISE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
CROP = partial(centre_box, out_height=24, out_width=32, short_side=32)


def moving(num: int) -> list[np.ndarray]:
    return [np.roll(NOISE, k, axis=1) for k in range(num)]


def windows(end: float, *, length: float = 2.0, hop: float = 0.5) -> list[Window]:
    return [Window(s, s + length) for s in np.arange(0.0, end, hop)]


def planned(path, looks: list[Window], number: int = 4) -> tuple[SequentialReader, list]:
    times = [frame_times(window, number) for window in looks]
    return SequentialReader(path, np.concatenate(times)), times


def compare(path, looks: list[Window]) -> list:
    """Every window read alone and in one pass; what was found in one pass."""
    alone = FileReader()
    reader, times = planned(path, looks)
    found = []
    for window, wanted in zip(looks, times, strict=True):
        expected = alone.frames(path, wanted, SIZE, crop=CROP)
        frames = reader.frames(path, wanted, SIZE, crop=CROP)
        for name in ("pixels", "times_seconds", "valid") if expected is not None else ():
            np.testing.assert_array_equal(getattr(frames, name), getattr(expected, name))
        ends = window.start_seconds, window.stop_seconds
        heard = alone.sound(path, *ends, RATE)
        sound = reader.sound(path, *ends, RATE)
        for name in ("samples", "valid") if heard is not None else ():
            np.testing.assert_array_equal(getattr(sound, name), getattr(heard, name))
        assert (frames is None, sound is None) == (expected is None, heard is None)
        found.append((frames, sound))
    reader.close()
    return found


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("x264", ["keyint=24:scenecut=0:bframes=3:open-gop=1", "intra-refresh=1"])
def test_windows_are_what_they_are_alone(tmp_path, suffix, x264):
    path = tmp_path / f"clip.{suffix}"
    options = {"crf": "20", "x264-params": x264}
    write_clip(path, frames=moving(120), times=regular(120), sound=tone(5.0), options=options)
    found = compare(path, windows(6.0))
    assert not found[-1][0].valid.any() and not found[-1][1].valid.any()
    assert found[0][0].valid.all() and found[0][1].valid.all()


def test_variable_rate_and_streams_that_start_late_and_end_early(tmp_path):
    path = tmp_path / "clip.mp4"
    times = [0.0, 0.04, 0.5, 0.55, 0.6, 2.0, 2.1, 3.9]
    write_clip(path, frames=moving(8), times=times, sound=tone(3.0), sound_start=0.7)
    found = compare(path, windows(5.0))
    assert not found[0][1].valid.all() and found[0][1].valid.any()


def test_damaged_packets_cost_what_they_hold(tmp_path, capfd):
    path = tmp_path / "clip.mkv"
    write_clip(
        path,
        frames=moving(96),
        times=regular(96),
        codec="mpeg4",
        options={"g": "12"},
        spoil=[30, 31, 36, 60],
    )
    found = compare(path, windows(4.0))
    assert any(frames.problems for frames, _ in found)
    assert not found[-1][0].problems
    capfd.readouterr()


def test_after_a_shortcut_fails_the_rest_is_read_without_it(tmp_path, monkeypatch):
    """Frames that nobody needs are left out until the first sign that this may be wrong."""
    path = tmp_path / "clip.mp4"
    write_clip(path, frames=moving(96), times=regular(96), options={"crf": "20", "bf": "3"})
    looks = windows(3.0)
    expected = [each.pixels for each, _ in compare(path, looks)]
    check = sequential.VideoTrack.check_skipped

    def doubtful(self, wanted, frames, **how):
        if self._skip is not None and wanted[0] > 1.5:
            raise sequential.NeedsAll
        check(self, wanted, frames, **how)

    monkeypatch.setattr(sequential.VideoTrack, "check_skipped", doubtful)
    reader, times = planned(path, looks)
    for wanted, pixels in zip(times, expected, strict=True):
        frames = reader.frames(path, wanted, SIZE, crop=CROP)
        np.testing.assert_array_equal(frames.pixels, pixels)
    assert reader._pictures._track._skip is None


@pytest.mark.parametrize("missing", ["video", "audio"])
def test_files_of_one_stream(tmp_path, missing):
    path = tmp_path / "clip.mp4"
    pictures = {"frames": moving(48), "times": regular(48)} if missing == "audio" else {}
    write_clip(path, **pictures, sound=tone(2.0) if missing == "video" else None)
    found = compare(path, windows(2.0))
    place = ("video", "audio").index(missing)
    assert all(each[place] is None and each[1 - place] is not None for each in found)


def test_sound_in_the_middle_of_a_long_file(tmp_path):
    """Alone, a late window starts the decoder a second before it; here it has run all along."""
    path = tmp_path / "clip.mp4"
    write_clip(path, sound=tone(40.0))
    reader, alone = SequentialReader(path), FileReader()
    for start in (0.0, 28.0, 36.0):
        ends = start, start + 2.0
        sound, expected = reader.sound(path, *ends, RATE), alone.sound(path, *ends, RATE)
        np.testing.assert_allclose(sound.samples, expected.samples, atol=1e-5)
        assert sound.valid.all()


def test_a_single_sound_packet_with_a_false_time_hides_nothing(tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    write_clip(path, sound=tone(6.0))
    whole = FileReader().sound(path, 3.0, 4.0, RATE)
    sound = sequential.AudioTrack.sound

    def disturbed(self, *arguments):
        for number, piece in enumerate(sound(self, *arguments)):
            yield piece._replace(seconds=5000.0) if number == 10 else piece

    monkeypatch.setattr(sequential.AudioTrack, "sound", disturbed)
    reader = SequentialReader(path)
    reader.sound(path, 0.0, 1.0, RATE)
    np.testing.assert_array_equal(reader.sound(path, 3.0, 4.0, RATE).samples, whole.samples)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_a_single_frame_with_a_false_time_hides_nothing(tmp_path, suffix):
    """What follows a timestamp far ahead is seen all the same, alone and in one pass."""
    true, false = (tmp_path / f"{name}.{suffix}" for name in ("true", "false"))
    options = {"codec": "mpeg4", "options": {"g": "12"}}
    write_clip(true, frames=moving(96), times=regular(96), **options)
    with av.open(str(true)) as source, av.open(str(false), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux() if p.dts is not None):
            packet.pts += (number == 40) * round(5000 / packet.time_base)
            packet.stream = stream
            target.mux(packet)
    found, expected = compare(false, windows(3.0)), compare(true, windows(3.0))
    for (frames, _), (right, _) in zip(found, expected, strict=True):
        same = (frames.pixels == right.pixels).all((1, 2, 3))
        assert (same | (abs(right.times_seconds - regular(96)[40]) < 0.05)).all()


def test_every_frame_is_converted_once_and_the_file_opened_twice(tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    write_clip(path, frames=moving(100), times=regular(100, 10), sound=tone(10.0))
    calls = {"converted": 0, "opened": 0}

    def counted(name, function):
        def call(*args, **kwargs):
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(Converter, "__call__", counted("converted", Converter.__call__))
    monkeypatch.setattr(sequential, "opened", counted("opened", sequential.opened))
    looks = windows(8.5)
    reader, times = planned(path, looks)
    at_most = 0
    for window, wanted in zip(looks, times, strict=True):
        reader.frames(path, wanted, SIZE)
        reader.sound(path, window.start_seconds, window.stop_seconds, RATE)
        at_most = max(at_most, len(reader._pictures._kept), len(reader._sound._pieces))
    shown = {int(10 * time + 1e-6) for wanted in times for time in wanted}
    assert calls == {"converted": len(shown), "opened": 2}
    assert at_most <= 10  # four frames; eight pieces of half a second


def test_what_cannot_be_decoded_says_so_each_time(tmp_path, capfd):
    path = tmp_path / "clip.mkv"
    options = {"g": "1"}
    write_clip(
        path, frames=moving(10), times=regular(10), codec="mpeg4", options=options, spoil=range(10)
    )
    reader, times = planned(path, windows(1.0))
    for wanted in times:
        with pytest.raises(DecodeError, match="nothing of the video stream could be decoded"):
            reader.frames(path, wanted, SIZE)
    capfd.readouterr()


def test_it_only_goes_forward(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, frames=moving(48), times=regular(48), sound=tone(2.0))
    reader = SequentialReader(path, np.array([0.5, 1.0, 1.5]))
    reader.frames(path, np.array([1.0, 1.5]), SIZE)
    for times in ([0.5], [1.25]):
        with pytest.raises(ValueError, match="accepted: times that the reader was made for, none"):
            reader.frames(path, np.array(times), SIZE)
    reader.sound(path, 1.0, 1.5, RATE)
    with pytest.raises(ValueError, match="start_seconds: got 0.5; accepted: 1, the start of the"):
        reader.sound(path, 0.5, 1.0, RATE)


def test_it_reads_one_file(tmp_path):
    reader = SequentialReader(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="path is 'b.mp4'; this reader reads '.*a.mp4' only"):
        reader.duration("b.mp4")
