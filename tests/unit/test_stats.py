"""Mean and deviation of one's own data: exact, without padding, the same however it is read."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from sightsound import cli
from sightsound.build import build_dataset, build_front_end
from sightsound.config.load import load_config, parse_run, settings_parser
from sightsound.config.settings import DataSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader
from sightsound.data.manifest import load_manifest
from sightsound.data.rows import Manifest, Row
from sightsound.data.sampling import eval_batches
from sightsound.data.stats import (
    CHANNELS,
    Moments,
    Statistics,
    as_json,
    as_table,
    measure,
    options,
    warnings,
)
from sightsound.media.encode import write_video
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.media.logmel import front_end as named_front_end
from sightsound.types import Batch, Problem

FRONT_END = FrontEnd(
    "tiny",
    AudioFrontEnd(num_frames=140, num_mels=16, log_offset=1e-3, mean=9.0, deviation=2.0),
    VideoFrontEnd(num_frames=3, window_seconds=1.5, height=16, width=16, short_side=16),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One-second clips; a window is longer, so all have padding. One lacks sound, one is silent."""
    folder = tmp_path_factory.mktemp("clips")
    generator = np.random.default_rng(0)
    for index in range(9):
        frames = generator.integers(0, 25 * index + 30, (8, 16, 16, 3), dtype=np.uint8)
        sound = generator.uniform(-0.1, 0.1, 16000).astype(np.float32) * index
        place = folder / "train" / ("even", "odd")[index % 2] / f"{index}.mp4"
        place.parent.mkdir(parents=True, exist_ok=True)
        waveform = None if index == 3 else sound
        write_video(place, frames, frames_per_second=8, waveform=waveform)
    return folder


def dataset(folder, **settings) -> ClipDataset:
    rows = tuple(
        Row(path.name, path, (path.parent.name,), split="train")
        for path in sorted(folder.rglob("*.mp4"))
    )
    manifest = Manifest(rows, {"label": ["even", "odd"]}, "single", folder)
    return ClipDataset(manifest, rows, FRONT_END, DataSettings(**settings), train=True, seed=0)


def measured(clips: ClipDataset, *, batch_size: int = 4, num_workers: int = 0) -> Statistics:
    keys = eval_batches(len(clips), batch_size=batch_size)
    with Loader(clips, num_workers=num_workers) as loader:
        return measure(loader.iterate(keys), clips.front_end, modalities=clips.modalities)


def numbers(found: Statistics) -> dict:
    return json.loads(as_json(found))


def make_batch(audio: torch.Tensor, valid: torch.Tensor) -> Batch:
    """Sound alone."""
    count = len(audio)
    return Batch(
        video=None,
        audio=audio,
        present={"audio": torch.ones(count, dtype=torch.bool)},
        valid={"audio": valid},
        target=torch.zeros(count, 2),
        id=[f"clip {index}" for index in range(count)],
        view=torch.zeros(count, dtype=torch.long),
    )


# --- the numbers --------------------------------------------------------------------------------


def test_moments_of_parts_are_those_of_the_whole():
    parts = [np.random.default_rng(n).normal(1e4 * n, 3, 100 * n) for n in (1, 2, 3)]
    found = Moments()
    for part in [np.empty(0), *parts]:
        found = found.joined(Moments.of(part))
    whole = np.concatenate(parts)
    assert found.count == len(whole)
    assert (found.mean, found.std) == pytest.approx((whole.mean(), whole.std()), rel=1e-13)
    assert (Moments().mean, Moments().std) == (0.0, 0.0)


def test_moments_of_levels_are_those_of_the_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, 1001)
    found = Moments.of_levels(np.bincount(pixels, minlength=256))
    assert (found.mean, found.std) == pytest.approx((pixels.mean(), pixels.std()), rel=1e-14)


def test_statistics_are_those_of_all_valid_values_at_once(folder):
    clips = dataset(folder)
    read = [clips[0, index, 0] for index in range(len(clips))]
    sounds = [clip.audio[0][clip.audio_valid] for clip in read if clip.audio is not None]
    sound = torch.cat(sounds).double().numpy()
    pixels = torch.cat([clip.video[clip.video_valid] for clip in read]).double().numpy()
    found = measured(clips)
    assert found.frames == {"video": len(pixels), "audio": len(sound)}
    assert found.frames["video"] < 3 * 9 and found.frames["audio"] < 140 * 8, "there is padding"
    assert found.clips == {"video": 9, "audio": 8}
    got = (found.sound.mean, found.sound.std)
    assert got == pytest.approx((sound.mean(), sound.std()), rel=1e-12)
    for channel, name in enumerate(CHANNELS):
        values = found.pixels[name]
        expected = (pixels[:, channel].mean(), pixels[:, channel].std())
        assert (values.mean, values.std) == pytest.approx(expected, rel=1e-12)
    assert found.pixels["all"].mean == pytest.approx(pixels.mean(), rel=1e-12)
    assert found.normalised()["sound"][0] == pytest.approx((sound.mean() - 9) / 2, rel=1e-9)


def test_statistics_depend_neither_on_batches_nor_on_workers(folder):
    first = numbers(measured(dataset(folder)))
    assert numbers(measured(dataset(folder), batch_size=1)) == first
    assert numbers(measured(dataset(folder), batch_size=2, num_workers=1)) == first


def test_sound_alone_leaves_pictures_out(folder):
    clips = dataset(folder, bad_files="drop")
    clips.modalities = ("audio",)
    found = measured(clips)
    assert found.clips == {"audio": 8} and not found.pixels["all"].count
    assert list(found.section()) == ["audio"] and "pictures" not in as_table(found)
    assert not [line for line in warnings(found) if "pictures" in line]


# --- silence ------------------------------------------------------------------------------------


def test_digital_silence_is_counted(folder):
    found = measured(dataset(folder))
    assert found.silent_clips == 1, "the first clip"
    assert found.silence == pytest.approx(1 / 8)
    text = " ".join(warnings(found))
    assert "1 of 9 clips have no sound" in text and "1 of 8 clips with sound are silent" in text
    assert "12.5% of the sound is digital silence, which moves the mean" in text


def test_silence_everywhere_gives_no_numbers():
    silence = torch.full((2, 1, 40, 16), float(np.log(np.float32(1e-3))))
    batch = make_batch(silence, torch.ones(2, 40, dtype=torch.bool))
    found = measure([None, batch], FRONT_END, modalities=["audio"])
    assert found.section() == {} and options(found) == ""
    assert "the sound is digital silence in every clip" in warnings(found)[0]


def test_a_front_end_without_a_floor_is_refused():
    part = dataclasses.replace(FRONT_END.audio, log_offset=0.0)
    batch = make_batch(torch.full((1, 1, 40, 16), -torch.inf), torch.ones(1, 40, dtype=torch.bool))
    with pytest.raises(ValueError, match="clip 'clip 0': the logarithm of its sound is not finite"):
        measure([batch], dataclasses.replace(FRONT_END, audio=part))


# --- what is said -------------------------------------------------------------------------------


def test_ast_divides_by_two_deviations():
    ast = dataclasses.replace(FRONT_END, name=named_front_end("ast").name)
    values = torch.randn(1, 1, 40, 16, generator=torch.Generator().manual_seed(0)) * 3 - 5
    batch = make_batch(values, torch.ones(1, 40, dtype=torch.bool))
    single = measure([batch], FRONT_END, modalities=["audio"]).section()["audio"]["deviation"]
    double = measure([batch], ast, modalities=["audio"]).section()["audio"]["deviation"]
    assert double == pytest.approx(2 * single, abs=2e-4)


def test_numbers_far_off_are_told(folder):
    found = measured(dataset(folder))
    assert "far from mean 0 and deviation 1" in warnings(found)[-1]
    section = found.section()
    audio = dataclasses.replace(FRONT_END.audio, **section["audio"])
    video = {name: tuple(values) for name, values in section["video"].items()}
    video = dataclasses.replace(FRONT_END.video, **video)
    fitting = dataclasses.replace(found, front_end=FrontEnd("tiny", audio, video))
    assert not [line for line in warnings(fitting) if "far from" in line]
    for mean, deviation in fitting.normalised().values():
        assert (mean, deviation) == pytest.approx((0, 1), abs=1e-3)


# --- the command --------------------------------------------------------------------------------

SMALL = ["--config=demo", "--data.num_workers=0", "--data.time_limit_seconds=0"]


def run(*argv: object) -> int:
    return cli.main([str(token) for token in argv])


def front_end_of(*argv: str) -> FrontEnd:
    config, _ = parse_run(settings_parser("test"), argv)
    return build_front_end(config.front_end)


def test_stats_prints_options_and_writes_a_file_that_training_takes(folder, tmp_path, capsys):
    output = tmp_path / "new" / "stats.yaml"
    assert run("stats", folder, *SMALL, "--output", output) == 0
    text, told = capsys.readouterr()
    assert "sound, log-mel" in text and "pictures: 18 frames of 9 clips" in text
    assert "sightsound stats: 1 of 9 clips have no sound" in told
    assert f"give --config {output} after the recipe" in text
    printed = next(line for line in text.splitlines() if "--front_end.audio.mean" in line)
    by_options = front_end_of("--config", "demo", *printed.replace("'", "").split())
    by_file = front_end_of("--config", "demo", "--config", str(output))
    assert by_options == by_file
    assert by_file.audio.mean != build_front_end(load_config("demo").front_end).audio.mean
    assert by_file.audio.num_mels == 64, "of the recipe"
    capsys.readouterr()
    assert run("train", folder, "--config=demo", "--config", output, "--print_config") == 0
    assert f"mean: {by_file.audio.mean}" in capsys.readouterr().out
    assert [path.name for path in output.parent.iterdir()] == ["stats.yaml"]


def test_stats_as_json_of_some_clips(folder, capsys):
    assert run("stats", folder, *SMALL, "--clips=4", "--format=json", "--seed=1") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["num_clips"] == 4 and values["measured_with"]["name"] == "mbt"
    assert set(values["measured"]) == {"sound", *CHANNELS, "all"}
    assert set(values["front_end"]["video"]) == {"mean", "deviation"}


def test_stats_tells_of_bad_files(folder, tmp_path, capsys):
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "bad.mp4").write_bytes(b"no video")
    for path in folder.rglob("*.mp4"):
        (tmp_path / "train" / "a" / path.name).symlink_to(path)
    assert run("stats", tmp_path, *SMALL) == 2
    assert "bad.mp4" in capsys.readouterr().err
    assert run("stats", tmp_path, *SMALL, "--data.bad_files=drop") == 0
    assert "1 file with problems; the first: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "no data given"),
        (["missing"], "no such file or folder: 'missing'"),
        (["DATA", "--clips=0"], "--clips is 0; accepted: 1 or more"),
        (["DATA", "--split=val"], "has no clips of split val; its splits are train"),
        (["DATA", "--output=stats.txt"], "accepted: a file name that ends in .yaml"),
        (["DATA", "--clip=3"], "unknown option '--clip'. Did you mean '--clips'?"),
        (["DATA", "--front_end.audio.mels=3"], "unknown setting 'front_end.audio.mels'"),
    ],
)
def test_mistakes_are_told_in_one_sentence(folder, capsys, argv, sentence):
    argv = [str(folder) if token == "DATA" else token for token in argv]
    assert run("stats", *argv) == 2
    told = capsys.readouterr().err
    assert sentence in told and told.count("\n") == 1


def test_a_problem_says_which_file(folder):
    clips = dataset(folder, bad_files="mask")
    clips.rows[0] = dataclasses.replace(clips.rows[0], path=folder / "gone.mp4")
    keys = eval_batches(len(clips), batch_size=3)
    with Loader(clips) as loader:
        found = measure(loader.iterate(keys), FRONT_END)
        assert [type(problem) for problem in loader.problems][:1] == [Problem]
    assert found.num_clips == 8


@pytest.mark.slow
def test_the_recipe_of_drone_av_states_what_is_measured(test_data):
    """Of whole frames: the recipe came to cut their centre only later. Its sound is rounded."""
    changes = {"data.path": str(test_data / "data" / "drone_av"), "data.crop": "full"}
    config = load_config("small/drone_av", overrides=changes | {"data.time_limit_seconds": 0})
    front_end = build_front_end(config.front_end)
    manifest = load_manifest(config.data)
    modalities = ("video", "audio")
    clips = build_dataset(config, manifest, front_end, "train", modalities=modalities, train=True)
    found = measured(clips)
    pixels = found.pixels["all"]
    assert (round(pixels.mean), round(pixels.std)) == (142, 38)
    assert (front_end.video.mean[0], front_end.video.deviation[0]) == (142, 38)
    assert (round(found.sound.mean), round(found.sound.std)) == (1, 2)
    assert (front_end.audio.mean, front_end.audio.deviation) == (1, 2)
