"""Files that hang or crash the decoder: they cost one clip each, and no process stays behind."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from odd_readers import OddReader

from sightsound.config.settings import DataSettings
from sightsound.data.dataset import ClipDataset, open_reader
from sightsound.data.loader import Loader
from sightsound.data.rows import Manifest, Row
from sightsound.media.decode import DecodeError
from sightsound.media.decode_process import DecodeProcessReader
from sightsound.media.encode import write_video
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.media.reader import FileReader

FRONT_END = FrontEnd(
    "tiny",
    AudioFrontEnd(num_frames=40, num_mels=16, log_offset=1e-6),
    VideoFrontEnd(num_frames=2, window_seconds=0.4, height=16, width=16, short_side=16),
)
NAMES = ["0.mp4", "crash.mp4", "1.mp4", "hang.mp4", "2.mp4"]
BATCHES = [[(e, index, 0) for index in part] for e in (0, 1) for part in ((0, 1), (2, 3, 4))]
SECONDS = 0.5
CAUSES = {
    "crash.mp4": "the decoder crashed (signal 11, SIGSEGV)",
    "hang.mp4": f"the decoder took longer than {SECONDS} s",
}

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    generator = np.random.default_rng(0)
    for name in NAMES:
        frames = generator.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
        sound = generator.uniform(-0.5, 0.5, 16000).astype(np.float32)
        write_video(folder / name, frames, frames_per_second=8, waveform=sound)
    return folder


def make_dataset(folder: Path, **settings) -> ClipDataset:
    rows = tuple(Row(name, folder / name, ("a",), split="train") for name in NAMES)
    manifest = Manifest(rows, {"label": ["a"]}, "single", folder)
    dataset = ClipDataset(manifest, rows, FRONT_END, DataSettings(**settings), train=True, seed=0)
    dataset.reader = DecodeProcessReader(OddReader(), SECONDS)
    return dataset


def decoding_processes() -> set[int]:
    """Of this process and of its workers, and of theirs."""
    parents, commands = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
            commands[int(stat.parent.name)] = stat.with_name("cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid for pid in found if b"decode_process import _serve" in commands[pid]}


@needs_proc
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_crash_and_a_hang_cost_one_clip_each(folder, num_workers):
    dataset = make_dataset(folder, bad_files="drop")
    others = decoding_processes()
    with Loader(dataset, num_workers=num_workers) as loader:
        found = [batch.id for batch in loader.iterate(BATCHES)]
        assert 1 <= len(decoding_processes() - others) <= max(1, num_workers)
    assert found == [["0.mp4"], ["1.mp4", "2.mp4"]] * 2  # the same in every epoch
    assert {p.id: p.cause for p in loader.problems} == CAUSES
    assert {p.action for p in loader.problems} == {"dropped"}
    deadline = time.monotonic() + 5
    while decoding_processes() - others:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_masking_drops_only_the_stream_that_failed(folder):
    dataset = make_dataset(folder, bad_files="mask")
    with Loader(dataset) as loader:
        (batch,) = loader.iterate([[(0, 0, 0), (0, 1, 0)]])
    # What took the decoder down once is not asked for its sound: it might do it again.
    assert batch.id == ["0.mp4"]
    assert {(p.modality, p.action) for p in loader.problems} == {
        ("video", "masked"),
        ("audio", "masked"),
        ("clip", "dropped"),
    }


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_error_arrives_as_a_decode_error(folder, num_workers):
    with Loader(make_dataset(folder), num_workers=num_workers) as loader:
        with pytest.raises(DecodeError, match=r"crash.mp4' from .*: the decoder crashed \(signal"):
            list(loader.iterate(BATCHES))


def test_the_time_limit_decides_where_files_are_decoded(folder):
    manifest = make_dataset(folder).manifest
    assert open_reader(manifest, DataSettings()) == DecodeProcessReader(FileReader(), 60.0)
    quick = DataSettings(time_limit_seconds=2.5, approximate=True)
    assert open_reader(manifest, quick) == DecodeProcessReader(FileReader(approximate=True), 2.5)
    assert open_reader(manifest, DataSettings(time_limit_seconds=0)) == FileReader()
    with pytest.raises(ValueError, match="--data.time_limit_seconds is -1; accepted: at least 0"):
        DataSettings(time_limit_seconds=-1)
