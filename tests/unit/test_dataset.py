"""Clips as a model sees them: shapes, absent streams, policies, the same clip for the same key."""

import dataclasses

import numpy as np
import pytest
import torch

from sightsound.config.settings import DataSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.rows import Manifest, Row
from sightsound.media.clips import Window
from sightsound.media.decode import DecodeError
from sightsound.media.encode import write_video
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.media.geometry import Box
from sightsound.media.logmel import samples_for
from sightsound.media.sound import read_audio

FRONT_END = FrontEnd(
    "tiny",
    AudioFrontEnd(num_frames=100, num_mels=32, log_offset=1e-6),
    VideoFrontEnd(num_frames=4, window_seconds=1.0, height=16, width=24, short_side=16),
)
CENTRE = DataSettings(windows="centre", crop="full")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three-second clips whose brightness is the frame number times 8."""
    folder = tmp_path_factory.mktemp("clips")
    frames = np.broadcast_to(
        np.arange(30, dtype=np.uint8)[:, None, None, None] * 8, (30, 32, 48, 3)
    )
    tone = (0.3 * np.sin(np.arange(48000) / 5)).astype(np.float32)
    write_video(folder / "both.mp4", frames, frames_per_second=10, waveform=tone)
    write_video(folder / "silent.mp4", frames, frames_per_second=10, waveform=None)
    write_video(folder / "short.mp4", frames[:5], frames_per_second=10, waveform=tone[:8000])
    ramp = np.broadcast_to(np.arange(48, dtype=np.uint8)[None, None, :, None] * 5, (30, 32, 48, 3))
    write_video(folder / "ramp.mp4", ramp, frames_per_second=10, waveform=tone)
    (folder / "bad.mp4").write_bytes(b"not a video at all")
    return folder


def make(folder, *names: str, settings=CENTRE, train=False, views=1, **options) -> ClipDataset:
    extra = {k: options.pop(k) for k in ("start_seconds", "end_seconds") if k in options}
    audio_path = options.pop("audio", None)
    audio_path = folder / audio_path if audio_path else None
    rows = tuple(
        Row(n, folder / n, ("b",), split="train", audio_path=audio_path, **extra) for n in names
    )
    manifest = Manifest(rows, {"label": ["a", "b"]}, "single", folder)
    seed = options.pop("seed", 0)
    return ClipDataset(
        manifest, rows, FRONT_END, settings, train=train, seed=seed, views=views, **options
    )


def brightness(clip) -> torch.Tensor:
    """Frame numbers seen, (T,)."""
    return clip.video.float().mean((1, 2, 3)) / 8


def equal(first, second) -> bool:
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return all(torch.equal(a, b) if torch.is_tensor(a) else a == b for a, b in pairs)


def test_a_clip_has_the_front_ends_shapes(folder):
    dataset = make(folder, "both.mp4")
    clip = dataset[0, 0, 0]
    assert dataset.shapes == {"video": (4, 3, 16, 24), "audio": (1, 100, 32)}
    assert {"video": clip.video.shape, "audio": clip.audio.shape} == dataset.shapes
    assert (clip.video.dtype, clip.audio.dtype) == (torch.uint8, torch.float32)
    assert clip.video_valid.all() and clip.audio_valid.all()
    assert (clip.id, clip.view, clip.problems) == ("both.mp4", 0, ())
    assert clip.target.tolist() == [0, 1]


def test_frames_come_from_the_centre_and_from_the_views(folder):
    dataset = make(folder, "silent.mp4", views=3, modalities=("video",))
    seen = [brightness(dataset[0, 0, view]).mean().item() for view in range(3)]
    # Windows [0, 1), [1, 2), [2, 3): the middles of four quarters average to 4.5 frames or so.
    assert np.allclose(seen, [4.25, 14.25, 24.25], atol=0.8)
    assert dataset[0, 0, 2].view == 2


def test_a_short_clip_is_padded_at_the_end(folder):
    clip = make(folder, "short.mp4")[0, 0, 0]
    assert clip.video_valid.tolist() == [True, True, False, False]
    assert clip.audio_valid[:48].all() and not clip.audio_valid[60:].any()
    assert not clip.audio[0, 60:].any()


def test_views_of_a_short_clip_are_read_once(folder, monkeypatch):
    clips, read = make(folder, "short.mp4", "both.mp4", views=3), []
    read_video = clips._read_video

    def counting(row, *args, **options):
        read.append(row.id)
        return read_video(row, *args, **options)

    monkeypatch.setattr(clips, "_read_video", counting)
    short = [clips[0, 0, view] for view in range(3)]
    assert len(read) == 1 and [clip.view for clip in short] == [0, 1, 2]
    assert torch.equal(short[0].video, short[2].video) and short[0].problems == short[2].problems
    assert [clips[0, 1, view].id for view in range(3)] == ["both.mp4"] * 3 and len(read) == 4


def test_a_row_sees_only_its_part_of_the_file(folder):
    dataset = make(folder, "both.mp4", start_seconds=2.0, end_seconds=2.5)
    clip = dataset[0, 0, 0]
    assert clip.video_valid.tolist() == [True, True, False, False]
    assert brightness(clip)[:2].min() > 19 and brightness(clip).max() < 25
    assert clip.audio_valid[:50].all() and not clip.audio_valid[55:].any()


def test_absent_stream_is_none_not_an_error(folder):
    clip = make(folder, "silent.mp4")[0, 0, 0]
    assert clip.audio is None and clip.audio_valid is None and clip.video is not None
    assert clip.problems == ()


def test_sound_from_another_file(folder):
    assert make(folder, "silent.mp4", audio="both.mp4")[0, 0, 0].audio.std() > 0.1


def test_same_key_same_clip_and_epochs_differ(folder):
    settings = DataSettings(windows="random", crop="random")
    dataset = make(folder, "both.mp4", settings=settings, train=True)
    again = make(folder, "both.mp4", settings=settings, train=True)
    again[5, 0, 0]
    assert equal(dataset[3, 0, 0], again[3, 0, 0])
    assert not equal(dataset[3, 0, 0], dataset[4, 0, 0])
    other = make(folder, "both.mp4", settings=settings, train=True, seed=1)
    assert not equal(dataset[3, 0, 0], other[3, 0, 0])


@pytest.mark.parametrize(
    ("windows", "crop", "train", "expected"),
    [
        ("random", "random", True, False),
        ("centre", "random", True, False),
        ("random", "full", True, False),
        ("official", "full", True, False),
        ("centre", "jitter", True, False),
        ("official", "jitter", False, True),
        ("centre", "centre", True, True),
        ("random", "random", False, True),
    ],
)
def test_deterministic(folder, windows, crop, train, expected):
    settings = DataSettings(windows=windows, crop=crop)
    dataset = make(folder, "ramp.mp4", settings=settings, train=train)
    assert dataset.deterministic is expected
    # Its pictures never change, so that a crop is seen as such; its sound does not repeat.
    assert equal(dataset[0, 0, 0], dataset[1, 0, 0]) is expected


def test_random_windows_are_synchronous(folder):
    settings = DataSettings(windows="random", crop="full")
    dataset = make(folder, "both.mp4", settings=settings, train=True)
    for epoch in range(5):
        windows = dataset.windows(dataset.rows[0], epoch=epoch, view=0)
        assert windows["video"] == windows["audio"]


def tone_at(clip, seconds: float) -> float:
    """The strongest mel bin at a time of the window."""
    return clip.audio[0, round(100 * seconds)].argmax().item()


@pytest.fixture(scope="module")
def staircase(tmp_path_factory):
    """A file whose every half second, of three, has a brightness and a tone of its own."""
    folder = tmp_path_factory.mktemp("staircase")
    levels = np.repeat(np.arange(6, dtype=np.uint8) * 40, 10)[:, None, None, None]
    frames = np.broadcast_to(levels, (60, 32, 48, 3))
    hertz = np.repeat([200, 500, 900, 1500, 2500, 4000], 8000)
    tone = (0.4 * np.sin(2 * np.pi * np.cumsum(hertz) / 16000)).astype(np.float32)
    write_video(folder / "both.mp4", frames, frames_per_second=20, waveform=tone)
    return folder


# Eight looks at two seconds of pictures, three seconds of sound.
LONG = dataclasses.replace(
    FRONT_END,
    audio=dataclasses.replace(FRONT_END.audio, num_frames=300),
    video=dataclasses.replace(FRONT_END.video, num_frames=8, window_seconds=2.0),
)


def read(folder, *, row: dict, epoch: int = 0, train: bool = False, **settings):
    settings = DataSettings(**{"windows": "centre", "crop": "full", "wrap": True, **settings})
    rows = [Row("both", folder / "both.mp4", ("a",), **row)]
    manifest = Manifest(tuple(rows), {"label": ["a"]}, "single", folder)
    dataset = ClipDataset(manifest, rows, LONG, settings, train=train, seed=0)
    return dataset, dataset[epoch, 0, 0]


def steps_seen(clip) -> list[int]:
    return (clip.video.float().mean((1, 2, 3)) / 40).round().int().tolist()


def test_a_short_row_repeats_itself(staircase):
    """From .5 to 1.5 s: steps 1 and 2, again and again, also where the file goes on."""
    _, clip = read(staircase, row={"start_seconds": 0.5, "end_seconds": 1.5})
    assert clip.video_valid.all() and clip.audio_valid.all()
    assert steps_seen(clip) == [1, 1, 2, 2, 1, 1, 2, 2]
    tones = [tone_at(clip, seconds) for seconds in (0.25, 0.75, 1.25, 1.75, 2.25, 2.75)]
    assert len(set(tones)) == 2 and tones == tones[:2] * 3
    _, padded = read(staircase, row={"start_seconds": 0.5, "end_seconds": 1.5}, wrap=False)
    assert padded.video_valid.tolist() == [True] * 4 + [False] * 4
    assert not padded.audio_valid[110:].any()
    torch.testing.assert_close(clip.audio[0, :90], padded.audio[0, :90])


def test_a_window_past_the_end_goes_on_at_the_start(staircase):
    """Official windows of three seconds: the sound always runs past the end."""
    for epoch in range(4):
        dataset, clip = read(staircase, row={}, epoch=epoch, train=True, windows="official")
        start = dataset.windows(dataset.rows[0], epoch=epoch, view=0)["audio"].start_seconds
        assert 0 < start < 1.1
        assert clip.video_valid.all() and clip.audio_valid.all()
        _, whole = read(staircase, row={})
        for seconds in (0.2, 1.2, 2.2, 2.8):
            assert tone_at(clip, seconds) == tone_at(whole, (seconds + start) % 3.0), seconds
        _, padded = read(staircase, row={}, epoch=epoch, train=True, windows="official", wrap=False)
        assert not padded.audio_valid.all()
        torch.testing.assert_close(clip.video, padded.video)  # pictures end before the clip does


def test_official_windows_start_together_and_sound_alone_stays_inside(staircase):
    settings = DataSettings(windows="official", crop="full")
    row = Row("both", staircase / "both.mp4", ("a",))
    manifest = Manifest((row,), {"label": ["a"]}, "single", staircase)
    long = dataclasses.replace(LONG, audio=dataclasses.replace(LONG.audio, num_frames=250))
    for modalities, together in ((("video", "audio"), True), (("audio",), False)):
        dataset = ClipDataset(
            manifest, [row], long, settings, modalities=modalities, train=True, seed=0
        )
        pairs = [dataset.windows(row, epoch=epoch, view=0) for epoch in range(50)]
        starts = [(pair["video"].start_seconds, pair["audio"].start_seconds) for pair in pairs]
        assert all(a == b for a, b in starts) is together
        assert all(pair["audio"].stop_seconds < 3.1 for pair in pairs) is not together


def test_sound_that_wraps_is_joined_without_a_gap(folder):
    """The joined samples are those of one long reading, taken modulo the clip."""
    dataset = make(folder, "both.mp4", settings=dataclasses.replace(CENTRE, wrap=True))
    row = dataclasses.replace(dataset.rows[0], start_seconds=0.25, end_seconds=1.0)
    sound = dataset._sound(row, Window(0.5, 1.5))
    whole = read_audio(row.path, 0.25, 1.0).samples
    expected = whole[(4000 + np.arange(len(sound.samples))) % 12000]
    assert len(sound.samples) == samples_for(FRONT_END.audio) and sound.valid.all()
    np.testing.assert_allclose(sound.samples, expected, rtol=0, atol=1e-6)


def test_jittered_crops_are_drawn_for_each_clip_and_epoch(folder):
    settings = DataSettings(windows="centre", crop="jitter", crop_jitter=(1.0, 1.33))
    dataset = make(folder, "ramp.mp4", settings=settings, train=True)
    box = dataset.crop(dataset.rows[0], epoch=0)(32, 48)
    assert box == dataset.crop(dataset.rows[0], epoch=0)(32, 48)
    assert box != dataset.crop(dataset.rows[0], epoch=1)(32, 48)
    # 32 x 48 scaled to 16 x 24, the size of the output, then by 1 to 1.33.
    assert 32 / 1.33 <= box.height <= 32 and 48 / 1.33 <= box.width <= 48
    still = make(folder, "ramp.mp4", settings=settings)
    assert still.crop(still.rows[0], epoch=0)(32, 48) == Box(0.0, 0.0, 32.0, 48.0)


def policy(name: str) -> DataSettings:
    return dataclasses.replace(CENTRE, bad_files=name)


def test_bad_file_stops_by_default(folder):
    with pytest.raises(DecodeError, match="bad.mp4"):
        make(folder, "bad.mp4")[0, 0, 0]


@pytest.mark.parametrize("name", ["drop", "mask"])
def test_bad_file_is_dropped_and_told(folder, name):
    clip = make(folder, "bad.mp4", settings=policy(name))[0, 0, 0]
    assert clip.video is None and clip.audio is None
    assert [(p.id, p.modality, p.action) for p in clip.problems] == [("bad.mp4", "clip", "dropped")]
    assert clip.problems[0].path == str(folder / "bad.mp4")


def test_bad_stream_is_masked(folder):
    clip = make(folder, "silent.mp4", audio="bad.mp4", settings=policy("mask"))[0, 0, 0]
    assert clip.video is not None and clip.audio is None
    assert [(p.modality, p.action) for p in clip.problems] == [("audio", "masked")]
    assert clip.problems[0].path == str(folder / "bad.mp4")
    dropped = make(folder, "silent.mp4", audio="bad.mp4", settings=policy("drop"))[0, 0, 0]
    assert dropped.video is None


def test_clip_without_the_wanted_stream_counts_as_bad(folder):
    with pytest.raises(DecodeError, match="silent.mp4.*no audio in this window"):
        make(folder, "silent.mp4", modalities=("audio",))[0, 0, 0]
    with pytest.raises(DecodeError, match="no video or audio in this window"):
        make(folder, "both.mp4", start_seconds=50.0)[0, 0, 0]


def test_mistakes_are_refused(folder):
    with pytest.raises(ValueError, match="no clips to read from .*: rows is empty"):
        make(folder)
    with pytest.raises(ValueError, match="unknown modality 'sound'"):
        make(folder, "both.mp4", modalities=("sound",))
    with pytest.raises(ValueError, match="views is 4; accepted: 1 in training"):
        make(folder, "both.mp4", train=True, views=4)


def test_a_clip_shorter_than_the_first_frame_time_still_shows_a_frame(tmp_path):
    frames = np.full((1, 32, 32, 3), 200, np.uint8)
    write_video(tmp_path / "short.mp4", frames, frames_per_second=24, waveform=None)
    row = Row("short", tmp_path / "short.mp4", ("a",))
    manifest = Manifest((row,), {"label": ["a"]}, "single", tmp_path)
    video = VideoFrontEnd(num_frames=2, window_seconds=4.0, height=32, width=32, short_side=32)
    front_end = FrontEnd("mbt", AudioFrontEnd(num_frames=8, num_mels=16), video)
    dataset = ClipDataset(manifest, [row], front_end, DataSettings(), train=False, seed=0)
    clip = dataset[0, 0, 0]
    assert clip.video_valid.tolist() == [True, False]
    assert clip.video[0].float().mean() > 150
