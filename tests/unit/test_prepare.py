"""Shards are written as planned, whole or not at all, and the same however often it is begun."""

import csv
import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
from media_files import regular, tone, write_clip

from sightsound.cli import main
from sightsound.config.settings import DataSettings, ShardSettings
from sightsound.data.manifest import load_manifest
from sightsound.data.shards.index import write_index
from sightsound.data.shards.prepare import plan_shards, prepare

SMALL = ShardSettings(short_side=16, clips_per_shard=4)


def run(data, output, settings=SMALL, *, limit=0.0, exclude="", **options):
    data = DataSettings(path=str(data), time_limit_seconds=limit, exclude=str(exclude))
    return prepare(data, output, settings, **options)


def content(folder):
    """{name: bytes} of everything below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Eleven clips with a split each: 9 and 2."""
    folder = tmp_path_factory.mktemp("clips") / "videos"
    for number in range(11):
        split = "val" if number > 8 else "train"
        path = folder / split / "ab"[number % 2] / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, levels=[20 * number] * 8, times=regular(8, rate=8), sound=tone(1.0))
    return folder


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory):
    """What an uninterrupted run writes."""
    folder = tmp_path_factory.mktemp("whole") / "shards"
    run(clips, folder)
    return content(folder)


# --- the plan -----------------------------------------------------------------------------------


def test_every_clip_is_in_one_shard_of_its_split(clips):
    manifest = load_manifest(DataSettings(path=str(clips)))
    plans = plan_shards(manifest, 4)
    sizes = {plan.name: len(plan.clips) for plan in plans}
    assert sizes == {
        "train-000000.tar": 4,
        "train-000001.tar": 4,
        "train-000002.tar": 1,
        "val-000000.tar": 2,
    }
    clips = [clip for plan in plans for clip in plan.clips]
    assert sorted(clip.row.id for clip in clips) == sorted(row.id for row in manifest.rows)
    assert [clip.key for clip in clips] == list(range(11))
    assert all(plan.name.startswith(c.row.split) for plan in plans for c in plan.clips)


def test_the_plan_depends_on_ids_only(clips):
    import dataclasses

    manifest = load_manifest(DataSettings(path=str(clips)))
    turned = dataclasses.replace(manifest, rows=manifest.rows[::-1])
    assert plan_shards(turned, 4) == plan_shards(manifest, 4)
    order = [clip.row.id for clip in plan_shards(manifest, 100)[0].clips]
    assert order != sorted(order)  # mixed, for those who read shard after shard


def test_clips_without_splits_stay_so(clips, tmp_path):
    run(clips / "train", tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("all-*.tar"))) == 3
    manifest = load_manifest(DataSettings(path=str(tmp_path / "shards")), draw=False)
    assert {row.split for row in manifest.rows} == {""}


# --- begun again --------------------------------------------------------------------------------


def test_a_summary_says_what_is_there(clips, tmp_path):
    seen = []
    summary = run(clips, tmp_path / "shards", progress=lambda *state: seen.append(state))
    shards = list((tmp_path / "shards").glob("*.tar"))
    assert (summary.num_clips, summary.num_shards, summary.faults) == (11, 4, ())
    assert summary.num_bytes == sum(shard.stat().st_size for shard in shards)
    assert seen == [(number, 11) for number in range(12)]


def test_processes_and_threads_write_the_same(clips, tmp_path, whole):
    run(clips, tmp_path / "shards", limit=60.0, num_workers=2)
    assert content(tmp_path / "shards") == whole


def test_a_second_run_adds_and_changes_nothing(clips, tmp_path, whole):
    for _ in range(2):
        run(clips, tmp_path / "shards")
    assert content(tmp_path / "shards") == whole


def test_finished_shards_are_not_written_again(clips, tmp_path, whole):
    folder = tmp_path / "shards"
    run(clips, folder)
    kept, lost = folder / "train-000000.tar", folder / "train-000001.tar"
    before = kept.stat()
    lost.unlink()
    (folder / "parts" / "val-000000.tar.json").unlink()
    (folder / "index.parquet").unlink()
    os.truncate(folder / "train-000002.tar", 700)
    (folder / ".writing-train-000001.tar-abc").write_bytes(b"half")
    (folder / "parts" / ".writing-x").write_bytes(b"half")
    seen = []
    run(clips, folder, progress=lambda *state: seen.append((*state, *folder.rglob(".writing-*"))))
    assert kept.stat() == before
    assert seen[0] == (4, 11)  # and what was half written is gone
    assert content(folder) == whole


def test_a_damaged_note_is_written_again(clips, tmp_path, whole):
    run(clips, tmp_path / "shards")
    (next((tmp_path / "shards" / "parts").iterdir())).write_text("{")
    run(clips, tmp_path / "shards")
    assert content(tmp_path / "shards") == whole


def test_two_runs_do_not_write_the_same_folder(clips, tmp_path, whole):
    folder = tmp_path / "shards"

    def again(done, total):
        if done < total:
            with pytest.raises(ValueError, match="another 'sightsound prepare' is writing to"):
                run(clips, folder)

    run(clips, folder, progress=again)
    assert content(folder) == whole


def test_a_full_disk_leaves_no_half_index(tmp_path, monkeypatch):
    import pyarrow.parquet

    def full(table, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pyarrow.parquet, "write_table", full)
    with pytest.raises(OSError, match="No space left on device: .*index.parquet"):
        write_index(tmp_path / "index.parquet", [], task="single")
    assert not list(tmp_path.iterdir())


def test_other_settings_are_told(clips, tmp_path):
    run(clips, tmp_path / "shards")
    message = r"begun with --short_side 16 and not 32, --clips_per_shard 4 and not 128; give the"
    with pytest.raises(ValueError, match=message):
        run(clips, tmp_path / "shards", ShardSettings(short_side=32))


def test_other_clips_are_told(clips, tmp_path):
    run(clips, tmp_path / "shards")
    with pytest.raises(ValueError, match="of other clips: 11 clips then, 9 now, or other ids"):
        run(clips / "train", tmp_path / "shards")


def test_a_changed_label_is_another_clip(clips, tmp_path):
    table = tmp_path / "clips.csv"
    table.write_text(f"path,label,split\n{clips}/train/a/0.mp4,a,train\n")
    run(table, tmp_path / "shards")
    table.write_text(f"path,label,split\n{clips}/train/a/0.mp4,b,train\n")
    with pytest.raises(ValueError, match="of other clips: 1 clips then, 1 now, or other ids"):
        run(table, tmp_path / "shards")


def test_data_may_have_moved(clips, tmp_path, whole):
    (tmp_path / "moved").symlink_to(clips)
    run(tmp_path / "moved", tmp_path / "shards")
    assert content(tmp_path / "shards") == whole
    run(clips, tmp_path / "shards")


# --- interrupted --------------------------------------------------------------------------------


def started(clips, output):
    command = [sys.executable, "-m", "sightsound", "prepare", str(clips), "--output", str(output)]
    options = ["--short_side", "16", "--clips_per_shard", "4", "--num_workers", "1"]
    return subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def begun(output):
    """Waits until there is something of the shards."""
    while not (output / "parts").is_dir():
        time.sleep(0.005)


def interrupted(clips, output, *, times, whole):
    """Runs that are killed at random moments add up to an uninterrupted one."""
    draw = random.Random(0)
    for _ in range(times):
        process = started(clips, output)
        begun(output)
        time.sleep(draw.uniform(0.0, 0.8))  # about as long as the rest takes
        process.kill()
        process.communicate()
        check_no_half_shard(output, whole)
        shards = sorted(output.glob("*.tar"))
        for shard in draw.sample(shards, k=len(shards) // 2):
            shard.unlink()  # so that there is always something left to do
    run(clips, output)
    assert content(output) == whole


def check_no_half_shard(folder, whole):
    """What has a name is whole."""
    for path in folder.glob("[!.]*"):
        if path.is_file():
            assert path.read_bytes() == whole[path.name], path


def test_killed_and_begun_again(clips, tmp_path, whole):
    interrupted(clips, tmp_path / "shards", times=2, whole=whole)


@pytest.mark.slow
def test_killed_at_twenty_moments(clips, tmp_path, whole):
    interrupted(clips, tmp_path / "shards", times=20, whole=whole)


def test_ctrl_c_says_how_to_go_on(clips, tmp_path, whole):
    process = started(clips, tmp_path / "shards")
    begun(tmp_path / "shards")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    told = "sightsound prepare: interrupted; the same command goes on where it stopped\n"
    assert errors == told
    assert not list((tmp_path / "shards").glob(".writing-*"))
    run(clips, tmp_path / "shards")
    assert content(tmp_path / "shards") == whole


def test_a_full_disk_leaves_no_half_shard(clips, tmp_path, whole):
    """The largest file that the process may write stands for the room on the disk."""
    folder = tmp_path / "shards"
    largest = max(map(len, whole.values()))
    code = (
        "import resource, sys; from sightsound.cli import main;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({largest - 1}, {largest - 1}));"
        "sys.exit(main(sys.argv[1:]))"
    )
    options = ["--short_side", "16", "--clips_per_shard", "4", "--num_workers", "1"]
    command = [sys.executable, "-c", code, "prepare", str(clips), "--output", str(folder)]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("sightsound prepare: File too large: '")
    assert ".tar'" in done.stderr and "Traceback" not in done.stderr
    assert not list(folder.rglob(".writing-*"))
    check_no_half_shard(folder, whole)
    assert not (folder / "index.parquet").exists()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


# --- quarantine ---------------------------------------------------------------------------------


@pytest.fixture
def spoiled(clips, tmp_path):
    """A table in which one clip is damaged, one missing and one lacks only its sound."""
    for name in ("bad", "silent", "good"):
        (tmp_path / f"{name}.mp4").write_bytes(b"not a video")
    good = clips / "train" / "a" / "0.mp4"
    rows = [
        ("damaged", "bad.mp4", ""),
        ("missing", "gone.mp4", ""),
        ("half", good, "silent.mp4"),
        ("good", good, ""),
        ("after", good, ""),
    ]
    lines = [f"{i},{path},x,train,{sound},{5 * (i == 'after')}" for i, path, sound in rows]
    header = "id,path,label,split,audio_path,start_seconds"
    (tmp_path / "clips.csv").write_text("\n".join([header, *lines]))
    return tmp_path / "clips.csv"


def quarantine(folder):
    with (folder / "quarantine.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def test_bad_clips_go_to_quarantine(spoiled, tmp_path):
    summary = run(spoiled, tmp_path / "shards")
    found = quarantine(tmp_path / "shards")
    assert {name: row["action"] for name, row in found.items()} == {
        "damaged": "dropped",
        "missing": "dropped",
        "half": "masked",
        "after": "dropped",
    }
    assert found["missing"]["cause"] == "no such file"
    assert found["after"]["cause"] == "no video and no audio in this stretch"
    assert found["half"]["path"] == "silent.mp4" and found["half"]["modality"] == "audio"
    assert "Invalid data" in found["damaged"]["cause"]
    assert summary.num_clips == 2 and len(summary.faults) == 4
    kept = load_manifest(DataSettings(path=str(tmp_path / "shards"))).rows
    assert [row.id for row in kept] == ["half", "good"]


def test_a_clip_that_takes_too_long_goes_to_quarantine(spoiled, tmp_path):
    run(spoiled, tmp_path / "shards", limit=1e-5)
    causes = {row["cause"] for row in quarantine(tmp_path / "shards").values()}
    assert causes == {"the decoder took longer than 1e-05 s"}
    with pytest.raises(ValueError, match="none of the clips in .* is in a shard; see quarantine"):
        load_manifest(DataSettings(path=str(tmp_path / "shards")))


def test_excluded_clips_are_left_out(clips, tmp_path):
    (tmp_path / "list.txt").write_text("train/a/0.mp4\ntrain/b/1.mp4\n")
    run(clips, tmp_path / "shards", exclude=tmp_path / "list.txt")
    rows = load_manifest(DataSettings(path=str(tmp_path / "shards"))).rows
    assert len(rows) == 9 and "train/a/0.mp4" not in {row.id for row in rows}


# --- mistakes -----------------------------------------------------------------------------------


def test_a_folder_with_something_else_in_it_is_left_alone(clips, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else than shards, 'notes.txt'; give"):
        run(clips, tmp_path)
    assert content(tmp_path) == {"notes.txt": b"mine"}


def test_shards_do_not_lie_among_the_clips(clips):
    with pytest.raises(ValueError, match="lies among the clips of .*; give a folder elsewhere"):
        run(clips, clips / "shards")
    assert not (clips / "shards").exists()
    run(clips, clips / ".." / "beside_shards")
    assert (clips.parent / "beside_shards" / "shards.json").is_file()


def test_shards_are_not_made_of_shards(clips, tmp_path):
    run(clips, tmp_path / "shards")
    with pytest.raises(ValueError, match="holds shards already; give what they were made of"):
        run(tmp_path / "shards", tmp_path / "more")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quality", "0"], "--quality is 0; accepted: between 1 and 100"),
        (["--frames_per_second", "-1"], "--frames_per_second is -1.0; accepted: at least 0"),
        (["--num_workers", "0"], "--num_workers is 0; accepted: at least 1"),
        (["--short_sid", "8"], "unknown option '--short_sid'. Did you mean '--short_side'?"),
    ],
)
def test_wrong_options(clips, tmp_path, capsys, options, message):
    assert main(["prepare", str(clips), "--output", str(tmp_path / "s"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_an_output_that_cannot_be_made(clips, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["prepare", str(clips), "--output", str(tmp_path / "file" / "s")]) == 2
    assert "Not a directory" in capsys.readouterr().err


# --- what the command says ----------------------------------------------------------------------


def test_the_command_says_what_there_is_and_what_is_missing(spoiled, tmp_path, capsys):
    options = ["--output", str(tmp_path / "s"), "--short_side", "16", "--time_limit_seconds", "0"]
    assert main(["prepare", str(spoiled), *options]) == 0
    output = capsys.readouterr().out
    assert output.startswith("2 clips in 1 shard, 35.8 kB\n3 clips left out: nothing of it could")
    assert "1 clip without one of its streams, which could not be read\n" in output
    assert "  2 x Invalid data found when processing input\n" in output
    assert "  1 x no such file\n" in output
    assert str(tmp_path / "s" / "quarantine.csv") in output
    assert output.endswith(f"  sightsound train {tmp_path / 's'} --config first --output runs/a\n")


def test_settings_and_labels_lie_beside_the_shards(clips, tmp_path):
    run(clips, tmp_path / "shards")
    about = json.loads((tmp_path / "shards" / "shards.json").read_text())
    assert about["version"] == 1 and about["task"] == "single" and about["num_clips"] == 11
    assert about["settings"]["short_side"] == 16
    labels = json.loads((tmp_path / "shards" / "labels.json").read_text())
    assert labels == {"label": ["a", "b"]}
