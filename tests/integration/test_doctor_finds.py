"""Doctor finds every fault that was planted, and nothing where none was; the command itself."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
from planted_faults import FAULTS, ids, plant

from sightsound import cli
from sightsound.config.settings import DataSettings
from sightsound.data.synthetic import draw_clip, plan
from sightsound.doctor.run import run


def check_planted(tmp_path, *, number, num_clean, num_workers):
    manifest, planted = plant(tmp_path / "clips", number=number, num_clean=num_clean)
    settings = DataSettings(str(manifest))
    checkup = run(settings, output=tmp_path / "doctor", num_workers=num_workers)
    found = ids(checkup.findings)
    assert found == planted
    assert all(len(found[kind]) >= number for kind in found) and len(found) == 18
    return checkup


def test_every_planted_fault_and_nothing_else(tmp_path):
    checkup = check_planted(tmp_path, number=1, num_clean=16, num_workers=0)
    excluded = set(checkup.excluded)
    assert excluded == {
        "missing_0.mp4",
        "outside_0.mp4",
        "unreadable_0.mp4",
        "leak_equal_0a.mp4",  # the copies in train
        "leak_coded_0a.mp4",
    }


@pytest.mark.slow
def test_ten_planted_faults_of_each_kind(tmp_path):
    check_planted(tmp_path, number=10, num_clean=200, num_workers=2)


# --- the media zoo ------------------------------------------------------------------------------

# What is wrong with its files, by their manifest; all others are well.
ZOO = {
    "unreadable": "x_first_100_bytes.mp4 x_lfs_pointer.mp4 x_random_bytes.mp4 x_text.mp4 "
    "x_truncated_moov_missing.mp4 x_unknown_video_codec.mp4 x_zero_length.mp4",
    "damaged": "x_bitflips_mdat.mp4 x_truncated_half.avi x_truncated_half.webm "
    "x_truncated_half_faststart.mp4",
    "no_sound": "a_none.mp4 c_animated.gif t_1frame_noaudio.mp4",
    "no_pictures": "a_audio_only.m4a a_audio_only.mp3 a_audio_only.mp4 a_audio_only_16k.wav",
    "silence": "a_silent_track.mp4",
    "antiphase": "a_antiphase_stereo.mp4",
    "static_picture": "g_all_black.mp4 t_long_15min_synthetic.mp4",
    "too_short": "t_1frame_2s_audio.mp4 t_1frame_noaudio.mp4 t_2frames.mp4",
    "offset": "a_starts_1s_late.mp4 v_starts_1s_late.mp4",
    "lengths": "a_10ms_audio.mp4 a_longer_6s_than_video.mp4 a_shorter_1s_than_video.mp4 "
    "t_0p5fps.mp4 x_truncated_half_faststart.mp4",  # at .5 fps the second frame lasts until 4 s
    # Pixels that are not square, by ffprobe.
    "reshaped": "c_h263_aac8k.3gp c_mpeg1_mp2.mpg g_16x16.mp4 g_2x2.mp4 g_322x178.mp4 "
    "g_odd_321x179_yuv444.mp4 g_portrait.mp4 g_sar_4_3.mp4 g_very_wide.mp4",
    "variable_rate": "t_vfr.mkv t_vfr.mp4",
    "several_tracks": "a_two_tracks.mp4 s_two_video_two_audio.mp4",
    "shorter": "g_4k_half_second.mp4 t_editlist_cut_nonkey.mp4 x_truncated_half.avi",
}
ORIGINAL = "base_h264_aac.mp4"
# The same stretch of the film, though cut, delayed, louder or cropped.
COPIES = "a_mono a_rate_8000 a_clipped c_av1_opus c_h264_aac c_wmv2_wmav2 g_sar_4_3 t_offset_10h"


@pytest.mark.data
def test_the_media_zoo(test_data, tmp_path):
    folder = test_data / "data" / "media_zoo"
    if not (folder / "manifest.csv").is_file():
        pytest.skip("no media_zoo among the test data")
    checkup = run(DataSettings(str(folder)), output=tmp_path)
    found = ids(checkup.findings)
    copies, same_sound = found.pop("duplicate"), found.pop("same_sound")
    assert found == {kind: set(names.split()) for kind, names in ZOO.items()}
    assert "needed: path, and label" in checkup.by_issue["refused"][0].detail
    stems = {name.split(".")[0] for name in copies}
    assert ORIGINAL in copies and stems.issuperset(COPIES.split())
    assert "a_audio_only.mp3" in same_sound  # it lacks the pictures
    silent = {"a_silent_track.mp4", "a_antiphase_stereo.mp4", "a_none.mp4"}
    assert not silent & (copies | same_sound)


@pytest.mark.data
@pytest.mark.slow
def test_sound_that_was_given_to_several_pictures(test_data, tmp_path):
    """drone_av: airplanes and birds share recordings, and no clip is there twice."""
    folder = test_data / "data" / "drone_av"
    if not folder.is_dir():
        pytest.skip("no drone_av among the test data")
    checkup = run(DataSettings(str(folder)), output=tmp_path, num_workers=2)
    found = ids(checkup.findings)
    assert set(found) == {"same_sound", "silence", "duplicate"} and not checkup.excluded
    assert len(found["same_sound"]) > 200
    assert any("airplane" in f.id and "bird" in f.detail for f in checkup.by_issue["same_sound"])
    # One bird against one sky under one recording: the same to anyone who does not know better.
    assert found["duplicate"] == {"v_bird_034_002.mp4", "v_bird_034_066.mp4"}


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Two classes of two clips, one of them silent, and a file with an unknown suffix."""
    for number, clip in enumerate(plan("demo", numbers={"train": 4}, seed=3)):
        path = tmp_path / "clips" / "ab"[number % 2] / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        FAULTS["silence" if number == 0 else "lengths" if number == 1 else "no_sound"](
            path, *draw_clip(clip)
        )
    (tmp_path / "clips" / "a" / "2.mp4").rename(tmp_path / "clips" / "a" / "2.mpeg4")
    return tmp_path / "clips"


def test_doctor_tells_and_writes(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["doctor", str(folder), "--num_workers", "0"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "3 clips, 6.0 seconds; 0 without a finding" in out
    assert "data refused" in out and "class 'a' has only one clip" in out
    assert "overlooked" in out and "silence" in out
    assert "Details: doctor/report.html" in out and "--data.exclude" not in out
    with (tmp_path / "doctor" / "findings.csv").open(newline="") as file:
        lines = [(line["id"], line["finding"]) for line in csv.DictReader(file)]
    assert ("a/0.mp4", "silence") in lines and ("b/1.mp4", "lengths") in lines
    assert sorted(os.listdir("doctor")) == ["exclude.csv", "findings.csv", "report.html"]


def test_strict_fails_where_something_hurts(folder, tmp_path, capsys):
    options = ["--num_workers", "0", "--strict", "--output", str(tmp_path / "report")]
    assert cli.main(["doctor", str(folder), *options]) == 1
    clean = folder / "b" / "3.mp4"
    assert cli.main(["doctor", str(clean), *options]) == 1  # no sound
    clip = next(plan("demo", numbers={"train": 1}, seed=3))
    FAULTS["variable_rate"](clean, *draw_clip(clip))
    assert cli.main(["doctor", str(clean), *options]) == 0  # worth knowing only
    assert "variable frame rate" in capsys.readouterr().out


def test_unreadable_clips_are_left_out_of_training(folder, tmp_path, capsys):
    (folder / "b" / "broken.mp4").write_bytes(b"nothing")
    output = tmp_path / "report"
    assert cli.main(["doctor", str(folder), "--num_workers", "0", "--output", str(output)]) == 0
    out = capsys.readouterr().out
    assert "Leave out what cannot be used (1 in exclude.csv)" in out
    assert "\n  unreadable" in out
    assert f"sightsound train {folder} --data.exclude {output}/exclude.csv" in out
    with (output / "exclude.csv").open(newline="") as file:
        assert [line["id"] for line in csv.DictReader(file)] == ["b/broken.mp4"]
    again = ["--exclude", str(output / "exclude.csv"), "--output", str(tmp_path / "again")]
    assert cli.main(["doctor", str(folder), "--num_workers", "0", *again]) == 0
    assert "\n  unreadable" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["nowhere"], "no such file or folder: 'nowhere'"),
        (["CLIPS", "--num_workers", "-1"], "--num_workers is -1; accepted: 0 or more"),
        (["CLIPS", "--time_limit_seconds", "0"], "--time_limit_seconds is 0; accepted: above 0"),
        (["CLIPS", "--output", "CLIP"], "is a file; name a folder for the report"),
        (["CLIPS", "--exclude", "none.csv"], "no exclude list 'none.csv'"),
    ],
)
def test_mistakes_are_told_in_one_sentence(folder, capsys, options, sentence):
    names = {"CLIPS": str(folder), "CLIP": str(folder / "b" / "3.mp4")}
    assert cli.main(["doctor", *(names.get(option, option) for option in options)]) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1


def test_ctrl_c_leaves_nothing(folder, tmp_path):
    rows = "".join(f"clips/b/3.mp4,x,{k / 1000}\n" for k in range(1500))
    (tmp_path / "long.csv").write_text("path,label,start_seconds\n" + rows)
    command = [sys.executable, "-m", "sightsound", "doctor", "long.csv"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    time.sleep(2.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "sightsound doctor: interrupted\n"
    assert sorted(os.listdir(tmp_path)) == ["clips", "long.csv"]
