"""Batches: collation, order, workers that come and go cleanly, the cache."""

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch

from sightsound.config.settings import DataSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader, collate
from sightsound.data.rows import Manifest, Row
from sightsound.data.sampling import epoch_batches, train_keys, with_turns
from sightsound.media.decode import DecodeError
from sightsound.media.encode import write_video
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.types import Batch, Clip, Problem

FRONT_END = FrontEnd(
    "tiny",
    AudioFrontEnd(num_frames=40, num_mels=16, log_offset=1e-6),
    VideoFrontEnd(num_frames=2, window_seconds=0.4, height=16, width=16, short_side=16),
)
NUM_CLIPS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    generator = np.random.default_rng(0)
    for index in range(NUM_CLIPS):
        frames = generator.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
        sound = generator.uniform(-0.5, 0.5, 16000).astype(np.float32)
        waveform = None if index == 3 else sound
        write_video(folder / f"{index}.mp4", frames, frames_per_second=8, waveform=waveform)
    (folder / "bad.mp4").write_bytes(b"no")
    return folder


def make_dataset(folder, *, names=None, train=True, views=1, **settings) -> ClipDataset:
    names = [f"{index}.mp4" for index in range(NUM_CLIPS)] if names is None else names
    rows = tuple(Row(name, folder / name, ("a",), split="train") for name in names)
    manifest = Manifest(rows, {"label": ["a"]}, "single", folder)
    options = DataSettings(**settings)
    return ClipDataset(manifest, rows, FRONT_END, options, train=train, seed=0, views=views)


def keys(*, epochs=(0,), num_rows=NUM_CLIPS, batch_size=5):
    return [
        batch
        for epoch in epochs
        for batch in train_keys(
            with_turns(
                epoch_batches(num_rows, seed=0, epoch=epoch, batch_size=batch_size, drop_last=False)
            ),
            epoch=epoch,
        )
    ]


def fixed(**settings):
    return {"windows": "centre", "crop": "full", **settings}


def same(first: Batch, second: Batch) -> bool:
    tensors = ("video", "audio", "target", "view")
    dicts = ("present", "valid")
    return (
        all(torch.equal(getattr(first, name), getattr(second, name)) for name in tensors)
        and all(
            torch.equal(getattr(first, n)[m], getattr(second, n)[m])
            for n in dicts
            for m in getattr(first, n)
        )
        and (first.id, first.complete, first.problems)
        == (second.id, second.complete, second.problems)
    )


# --- collate ------------------------------------------------------------------------------------


def make_clip(name: str, *, video=True, audio=True, problems=()) -> Clip:
    return Clip(
        id=name,
        video=torch.full((2, 3, 4, 4), 7, dtype=torch.uint8) if video else None,
        audio=torch.ones(1, 5, 3) if audio else None,
        video_valid=torch.ones(2, dtype=torch.bool) if video else None,
        audio_valid=torch.ones(5, dtype=torch.bool) if audio else None,
        target=torch.tensor([1.0, 0.0]),
        problems=problems,
    )


def test_collate_stacks_and_masks_absent_streams():
    batch = collate([make_clip("a"), make_clip("b", audio=False), make_clip("c", video=False)])
    assert batch.video.shape == (3, 2, 3, 4, 4) and batch.video.dtype == torch.uint8
    assert batch.audio.shape == (3, 1, 5, 3)
    assert batch.present["video"].tolist() == [True, True, False]
    assert batch.present["audio"].tolist() == [True, False, True]
    assert not batch.video[2].any() and not batch.audio[1].any()
    assert not batch.valid["video"][2].any() and not batch.valid["audio"][1].any()
    assert batch.valid["audio"][0].all()
    assert batch.id == ["a", "b", "c"] and batch.view.tolist() == [0, 0, 0]
    assert batch.target.shape == (3, 2)
    assert not batch.complete
    assert collate([make_clip("a"), make_clip("b")]).complete


def test_collate_with_shapes_keeps_a_stream_that_no_clip_has():
    shapes = {"video": (2, 3, 4, 4), "audio": (1, 5, 3)}
    batch = collate([make_clip("a", audio=False)], shapes=shapes)
    assert batch.audio.shape == (1, 1, 5, 3) and not batch.audio.any()
    assert not batch.present["audio"].any() and batch.valid["audio"].shape == (1, 5)
    assert not batch.complete
    alone = collate([make_clip("a", audio=False)])
    assert alone.audio is None and alone.complete and set(alone.present) == {"video"}


def test_collate_leaves_dropped_clips_out_but_not_their_problems():
    problem = Problem("b", "/b.mp4", "clip", "broken", "dropped")
    dropped = make_clip("b", video=False, audio=False, problems=(problem,))
    batch = collate([make_clip("a"), dropped])
    assert batch.id == ["a"] and batch.problems == (problem,) and batch.complete
    assert collate([dropped]) is None


def test_collate_refuses_other_sizes():
    other = dataclasses.replace(make_clip("b"), audio=torch.ones(1, 6, 3))
    shapes = {"audio": (1, 5, 3)}
    with pytest.raises(ValueError, match=r"audio of clip 'b' has shape \(1, 6, 3\), the batch \(1"):
        collate([make_clip("a"), other], shapes=shapes)


# --- loading ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(folder) -> list[Batch]:
    """Two epochs of random windows and crops, loaded here."""
    with Loader(make_dataset(folder)) as loader:
        return list(loader.iterate(keys(epochs=(0, 1))))


def test_workers_give_the_same_batches_in_the_same_order(folder, expected):
    with Loader(make_dataset(folder), num_workers=2) as loader:
        first = list(loader.iterate(keys(epochs=(0,))))
        second = list(loader.iterate(keys(epochs=(1,))))
        assert len(multiprocessing.active_children()) == 2  # they outlive an epoch
    assert [batch.id for batch in first + second] == [batch.id for batch in expected]
    assert all(same(a, b) for a, b in zip(first + second, expected, strict=True))
    assert first[0].video.is_contiguous()
    first[0].video.zero_()  # memory of our own, writable
    assert multiprocessing.active_children() == []


def test_resuming_in_the_middle_gives_the_rest(folder, expected):
    rest = list(Loader(make_dataset(folder)).iterate(keys(epochs=(0, 1))[2:]))
    assert all(same(a, b) for a, b in zip(rest, expected[2:], strict=True))


def test_clip_without_sound_is_masked_in_its_batch(folder, expected):
    silent = [(b, b.id.index("3.mp4")) for b in expected if "3.mp4" in b.id]
    assert len(silent) == 2
    for batch, place in silent:
        assert not batch.complete and not batch.present["audio"][place]
        assert batch.present["audio"].sum() == len(batch) - 1
        assert not batch.audio[place].any()


def test_leaving_early_ends_the_workers(folder):
    for batch in Loader(make_dataset(folder), num_workers=1).iterate(keys(epochs=range(50))):
        assert len(batch) == 5
        break
    deadline = time.monotonic() + 5
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("num_workers", [0, 1])
def test_decode_error_arrives_as_itself(folder, num_workers):
    dataset = make_dataset(folder, names=["0.mp4", "bad.mp4"])
    with Loader(dataset, num_workers=num_workers) as loader:
        with pytest.raises(DecodeError, match="bad.mp4") as caught:
            list(loader.iterate(keys(num_rows=2)))
    assert caught.value.path == str(folder / "bad.mp4")
    assert multiprocessing.active_children() == []


def test_dropped_clips_are_counted_once_even_if_a_batch_vanishes(folder):
    dataset = make_dataset(folder, names=["0.mp4", "bad.mp4"], bad_files="drop")
    with Loader(dataset) as loader:
        batches = list(loader.iterate([[(0, 0, 0), (0, 1, 0)], [(0, 1, 0)], [(1, 0, 0)]]))
        assert [batch and batch.id for batch in batches] == [["0.mp4"], None, ["0.mp4"]]
        assert [(p.id, p.action) for p in loader.problems] == [("bad.mp4", "dropped")]
    assert batches[0].problems == tuple(loader.problems)


def test_a_dead_worker_is_explained(folder):
    with Loader(make_dataset(folder), num_workers=1) as loader:
        with pytest.raises(RuntimeError, match="a decoding process ended unexpectedly: out of mem"):
            for _ in loader.iterate(keys(epochs=range(100))):
                for process in multiprocessing.active_children():
                    process.kill()


def test_negative_workers_are_refused(folder):
    with pytest.raises(ValueError, match="data.num_workers is -1; accepted: 0 or more"):
        Loader(make_dataset(folder), num_workers=-1)


# --- cache --------------------------------------------------------------------------------------


def test_cache_decodes_once_and_serves_from_memory(folder, monkeypatch):
    dataset = make_dataset(folder, **fixed())
    plain = list(Loader(dataset).iterate(keys(epochs=(0, 1))))
    loader = Loader(dataset, num_workers=2, cache=True)
    first = list(loader.iterate(keys(epochs=(0,))))
    assert multiprocessing.active_children() == []

    def never(*arguments: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(ClipDataset, "__getitem__", never)
    second = list(loader.iterate(keys(epochs=(1,))))
    assert all(same(a, b) for a, b in zip(first + second, plain, strict=True))


def test_batches_from_the_cache_are_copies(folder):
    loader = Loader(make_dataset(folder, **fixed()), cache=True)
    next(iter(loader.iterate(keys()))).audio.zero_()
    assert next(iter(loader.iterate(keys()))).audio.any()


def test_cache_holds_every_view(folder):
    dataset = make_dataset(folder, train=False, views=2)
    loader = Loader(dataset, cache=True)
    (batch,) = loader.iterate([[(0, 1, 0), (0, 1, 1)]])
    assert batch.view.tolist() == [0, 1] and not torch.equal(batch.audio[0], batch.audio[1])


@pytest.mark.parametrize(
    "settings", [{"windows": "random"}, {"crop": "random"}, {"windows": "official"}]
)
def test_cache_refuses_random_cuts(folder, settings):
    with pytest.raises(
        ValueError, match="data.cache keeps decoded clips, but windows or crops are"
    ):
        Loader(make_dataset(folder, **fixed(**settings)), cache=True)


# --- processes ----------------------------------------------------------------------------------

# Everything below the guard: workers import the script, and this file would cost them a second.
SCRIPT = """
import sys

if __name__ == "__main__":
    sys.path.insert(0, {here!r})
    import multiprocessing
    from pathlib import Path
    from sightsound.data.loader import Loader
    from test_loader import keys, make_dataset

    with Loader(make_dataset(Path({folder!r})), num_workers=2) as loader:
        for index, batch in enumerate(loader.iterate(keys(epochs=range(100000)))):
            if index == 4:
                print(*[p.pid for p in multiprocessing.active_children()], flush=True)
"""


def start_script(folder, tmp_path) -> tuple[subprocess.Popen, list[int]]:
    script = tmp_path / "script.py"
    here = os.path.dirname(__file__)
    script.write_text(textwrap.dedent(SCRIPT.format(here=here, folder=str(folder))))
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Shells start background jobs with SIGINT ignored, and children inherit that.
    )
    return process, [int(pid) for pid in process.stdout.readline().split()]


def all_gone(pids: list[int], *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(is_running(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_no_worker_outlives_the_main_process(folder, tmp_path, name):
    process, pids = start_script(folder, tmp_path)
    try:
        assert len(pids) == 2 and all(is_running(pid) for pid in pids)
        if name == "SIGKILL":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGINT)  # as the terminal does: workers get it, too
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert all_gone(pids, seconds=5)
    if name == "SIGINT":
        assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")
