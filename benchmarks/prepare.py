"""What shards cost and what they give: `prepare` against decoding, and clips read from them.

    make benchmark-prepare    five minutes; best on an otherwise idle machine; needs ffmpeg

Clips are those of `throughput.py`, 10 s each. Decoding: the pictures that `prepare` stores, ten per
second, and all sound, read as arrays in one process; and, because files are usually decoded that
way, every frame. `prepare` does it with one and with two decoding processes and writes shards; with
one, everything is pinned to one core, as for decoding. Times are per clip, from the difference
between many clips and few, so that starting processes does not count; what is compared is processor
time of all processes together, which other work on the machine disturbs least. Reading: clips per
second on one core as a model of the paper takes them, 8 frames of 224 x 224 and 8 s of log-mel.

Writes benchmarks/prepare.json and prepare.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from runs import environment
from throughput import CLIPS, SECONDS, generated

from sightsound.config.settings import DataSettings, ShardSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.manifest import load_manifest
from sightsound.data.shards.prepare import prepare
from sightsound.media.logmel import FRONT_ENDS
from sightsound.media.probe import probe
from sightsound.media.reader import FileReader

COUNTS = {"340x256": (8, 40), "1280x720": (4, 12)}  # few and many clips
WAYS = ("decode", "decode every frame", "prepare, 1 process", "prepare, 2 processes")
STORED = ShardSettings()


def main() -> None:
    """Time, then write numbers and tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    costs, reading = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in CLIPS:
            few, many = (copies(Path(folder), name, count) for count in COUNTS[name])
            costs[name] = [per_clip(few, many) for _ in range(options.rounds)]
            reading[name] = read_back(many, many.with_name(f"{many.name} shards"))
    write(costs, reading)


def copies(folder: Path, name: str, count: int) -> Path:
    """A folder of one class with `count` times the same clip."""
    clips = folder / f"{name} {count}"
    (clips / "class").mkdir(parents=True)
    first = folder / f"{name}.mp4"
    first = first if first.is_file() else generated(folder, name)
    for number in range(count):
        shutil.copyfile(first, clips / "class" / f"{number:03d}.mp4")
    return clips


# --- cost ---------------------------------------------------------------------------------------


def per_clip(few: Path, many: Path) -> dict[str, dict[str, float]]:
    """{way: processor and wall seconds of one clip}, from `many` clips less `few`."""
    found = {}
    for way, call in calls().items():
        less, more = (timed(partial(call, folder)) for folder in (few, many))
        more_clips = len(files(many)) - len(files(few))
        found[way] = {kind: (more[kind] - less[kind]) / more_clips for kind in more}
    return found


def calls() -> dict[str, Callable[[Path], None]]:
    """What is timed, for a folder of clips."""
    ways = (
        partial(decode, rate=STORED.frames_per_second),
        partial(decode, rate=None),
        partial(write_shards, num_workers=1),
        partial(write_shards, num_workers=2),
    )
    return dict(zip(WAYS, ways, strict=True))


def files(folder: Path) -> list[Path]:
    """The clips of a folder."""
    return sorted((folder / "class").iterdir())


def decode(folder: Path, *, rate: float | None) -> None:
    """Pictures at `rate` per second (`None`: all) of the stored size, and sound, as arrays."""
    video = probe(files(folder)[0]).video  # all are the same
    scale = min(1.0, STORED.short_side / min(video.height, video.width))
    size = round(video.height * scale), round(video.width * scale)
    times = np.arange(0.0, SECONDS, 1 / (rate or video.frames_per_second)) + 1e-4
    with one_core():
        for path in files(folder):
            FileReader().frames(path, times, size)
            FileReader().sound(path, 0.0, SECONDS, STORED.rate_hz)


def write_shards(folder: Path, *, num_workers: int) -> None:
    """`prepare`, to a folder beside; one process on one core."""
    shards = folder.with_name(f"{folder.name} shards")
    shutil.rmtree(shards, ignore_errors=True)
    data = DataSettings(path=str(folder))
    with one_core(pinned=num_workers == 1):
        prepare(data, shards, STORED, num_workers=num_workers)


@contextmanager
def one_core(pinned: bool = True) -> Iterator[None]:
    """Everything inside, and the processes that it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)} if pinned else before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def timed(call: Callable[[], None]) -> dict[str, float]:
    """Processor seconds of this process and those it started, and wall seconds."""
    processor, wall = processor_seconds(), time.perf_counter()
    call()
    return {"processor": processor_seconds() - processor, "wall": time.perf_counter() - wall}


def processor_seconds() -> float:
    """Of this process and those that it started and that ended."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


# --- reading ------------------------------------------------------------------------------------


def read_back(clips: Path, shards: Path, *, rounds: int = 5) -> dict[str, object]:
    """Clips per second of one core, from shards and from the files; bytes of a clip."""
    rates = {"shards": [], "files": []}
    with one_core():
        for _ in range(rounds):
            for kind, path in (("shards", shards), ("files", clips)):
                rates[kind].append(clips_per_second(path, 100 if kind == "shards" else 10))
    num_bytes = sum(tar.stat().st_size for tar in shards.glob("*.tar")) / len(files(clips))
    return rates | {"bytes": num_bytes, "file_bytes": files(clips)[0].stat().st_size}


def clips_per_second(path: Path, count: int) -> float:
    """Random windows and crops, with the front end of the paper."""
    settings = DataSettings(path=str(path), val_fraction=0.0, test_fraction=0.0)
    settings.time_limit_seconds = 0.0
    manifest = load_manifest(settings)
    front_end = FRONT_ENDS["mbt"]
    clips = ClipDataset(manifest, manifest.rows, front_end, settings, train=True, seed=0)
    clips[0, 0, 0]
    started = time.perf_counter()
    for number in range(count):
        clips[number, number % len(clips), 0]
    return count / (time.perf_counter() - started)


# --- results ------------------------------------------------------------------------------------


def write(costs: dict, reading: dict) -> None:
    """Raw numbers, and the tables."""
    folder, where = Path(__file__).parent, environment()
    values = {"costs": costs, "reading": reading, "environment": where}
    (folder / "prepare.json").write_text(json.dumps(values, indent=1) + "\n")
    lines = ["# Making shards and reading them", "", f"`make benchmark-prepare`; {where}.", ""]
    lines += [
        "Processor milliseconds of a 10 s clip, median (and each); gain in wall time.",
        "",
    ]
    lines += ["| clip | " + " | ".join(WAYS) + " | 1 process over decoding | gain of 2 processes |"]
    lines += ["|---" * (len(WAYS) + 3) + "|"]
    for name, rounds in costs.items():
        cells = [milliseconds([r[way]["processor"] for r in rounds]) for way in WAYS]
        shares = [r[WAYS[2]]["processor"] / r[WAYS[0]]["processor"] - 1 for r in rounds]
        gains = [r[WAYS[2]]["wall"] / r[WAYS[3]]["wall"] for r in rounds]
        cells += [f"{statistics.median(shares):+.0%}", f"{statistics.median(gains):.2f} x"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| clip | clips/s of one core, shards | from files | MB, stored | of the file |"]
    lines += ["|---|---|---|---|---|"]
    for name, found in reading.items():
        rates = [f"{statistics.median(found[kind]):.1f}" for kind in ("shards", "files")]
        sizes = [f"{found[kind] / 1e6:.2f}" for kind in ("bytes", "file_bytes")]
        lines.append(f"| {name} | " + " | ".join([*rates, *sizes]) + " |")
    (folder / "prepare.md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


def milliseconds(seconds: list[float]) -> str:
    """The median, and each."""
    each = " ".join(f"{1e3 * value:.0f}" for value in seconds)
    return f"{1e3 * statistics.median(seconds):.0f} ({each})"


if __name__ == "__main__":
    main()
