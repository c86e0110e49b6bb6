"""Clips with gaps, and clips that lie in one: doctor, training and `prepare` judge them alike."""

from __future__ import annotations

import av
import pytest
from judged import SHORT, check_alike
from media_files import regular, spoiled, tone, write_clip

from sightsound.config.settings import DataSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.rows import Manifest, Row


def rewritten(source, target, change):
    """A copy of a file, its packets passed through `change(packet, seconds)`; `None`: left out."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            if packet.size == 0:
                continue
            index, is_keyframe = packet.stream_index, packet.is_keyframe
            packet = change(packet, float(packet.pts * packet.time_base))
            if packet is not None:
                packet.stream, packet.is_keyframe = streams[index], is_keyframe
                new.mux(packet)
    return target


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files with gaps: cut off, spoiled for a while, slides, streams of which one is spoiled."""
    folder = tmp_path_factory.mktemp("gaps")
    levels = [60 + k % 100 for k in range(120)]
    write_clip(folder / "whole.mkv", levels=levels, times=regular(120), sound=tone(5.0))
    write_clip(folder / "padded.mp4", levels=levels, times=regular(120), sound=tone(5.0))
    data = (folder / "whole.mkv").read_bytes()
    (folder / "cut.mkv").write_bytes(data[: len(data) // 3])  # its header says 5 s
    write_clip(folder / "slides.mkv", levels=[9, 90, 200], times=[0.0, 1.0, 9.0], sound=tone(1.0))
    write_clip(folder / "flash.mkv", levels=[9, 99], times=[0.0, 0.04], sound=tone(70.0))
    write_clip(folder / "long.mkv", levels=levels[:48], times=range(48), sound=tone(48.0))

    def spoil(packet, seconds):
        spoils = packet.stream.type == "audio" and 33 < seconds < 45
        return spoiled(packet) if spoils else packet

    rewritten(folder / "long.mkv", folder / "spoiled.mkv", spoil)
    write_clip(
        folder / "blind.mkv",
        levels=levels[:24],
        times=regular(24),
        sound=tone(1.0),
        spoil=range(24),
    )
    with av.open(str(folder / "raw.h264"), "w", format="h264") as raw:
        with av.open(str(folder / "whole.mkv")) as old:
            stream = raw.add_stream("libx264", rate=24, options={"crf": "20"})
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
            for frame in old.decode(video=0):
                raw.mux(stream.encode(frame))
            raw.mux(stream.encode(None))
    return folder


NOTHING = {"outside_file"}


@pytest.mark.parametrize(
    ("name", "start", "end", "kinds"),
    [
        ("cut.mkv", 0.0, None, {"damaged"}),  # most windows lie in what is lost
        ("cut.mkv", 0.2, 4.0, {"damaged"}),
        ("cut.mkv", 3.0, 4.0, NOTHING),  # within the length that its header promises
        ("whole.mkv", 4.9, None, {"too_short"}),
        ("padded.mp4", 5.0, None, NOTHING),  # what the codec fills its last packet up with
        ("padded.mp4", 5.0, 6.0, NOTHING),
        ("slides.mkv", 3.0, 6.0, {"no_sound"}),  # the second slide, shown from 1 s to 9 s
        ("slides.mkv", 0.0, None, {"lengths"}),
        ("flash.mkv", 64.0, 67.0, {"no_pictures"}),  # no player shows the last for so long
        ("spoiled.mkv", 0.0, None, {"damaged"}),
        ("spoiled.mkv", 36.0, 39.0, {"damaged"}),
        ("blind.mkv", 0.0, None, {"unreadable"}),
        ("raw.h264", 0.0, None, {"no_sound"}),  # no timestamps at all
    ],
)
def test_gaps(folder, name, start, end, kinds):
    row = Row(name, folder / name, ("a",), start, end, split="train")
    assert check_alike(row) >= kinds


@pytest.mark.parametrize(
    ("name", "audio", "kinds"),
    [
        ("whole.mkv", "blind.mkv", set()),  # its pictures are not asked for
        ("blind.mkv", "whole.mkv", {"unreadable"}),
        ("slides.mkv", "whole.mkv", set()),
        ("whole.mkv", "raw.h264", {"no_sound"}),
        ("whole.mkv", "none.wav", {"missing_file"}),
    ],
)
def test_sound_from_another_file(folder, name, audio, kinds):
    row = Row(name, folder / name, ("a",), split="train", audio_path=folder / audio)
    found = check_alike(row)
    assert found >= kinds and ("unreadable" in found) == ("unreadable" in kinds)


def test_a_moved_window_is_told_and_the_same_every_time(folder):
    row = Row("cut", folder / "cut.mkv", ("a",), split="train")
    data = DataSettings(time_limit_seconds=0)
    manifest = Manifest((row,), {"label": ["a"]}, "single", row.path)
    clips = ClipDataset(manifest, [row], SHORT, data, train=True, seed=1)
    first, again = ([clips[e, 0, 0] for e in range(6)] for _ in range(2))
    moved = [any("was moved" in problem.cause for problem in clip.problems) for clip in first]
    assert any(moved)
    for one, other in zip(first, again, strict=True):
        assert one.video is None or one.video.equal(other.video)
        assert one.problems == other.problems
