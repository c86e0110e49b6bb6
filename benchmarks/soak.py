"""Loading for a long time: does memory grow, does anything hang, are the same files left out?

    python benchmarks/soak.py FOLDER    20,000 loads, ten minutes on two cores

FOLDER holds odd and broken media files. They are loaded in passes, each in its own order, by a
`Loader` with two workers that keeps going (`bad_files drop`), with a small front end: 2 frames of
32 x 32 and half a second of sound, from the middle of a file. After every pass the resident memory
of the workers and their decoding processes is added up, and what was left out is noted.

Writes benchmarks/soak.json and soak.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from runs import environment

from sightsound.config.settings import DataSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader
from sightsound.data.manifest import Manifest, Row
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd

FRONT_END = FrontEnd(
    "soak",
    AudioFrontEnd(num_frames=48, num_mels=16, log_offset=1e-6),
    VideoFrontEnd(num_frames=2, window_seconds=0.5, height=32, width=32, short_side=32),
)
WARM_UP = 2000  # loads after which memory should not grow


@dataclass
class Soak:
    """What was seen after each pass over the files."""

    files: int
    workers: int
    seconds: float = 0.0
    loads: list[int] = field(default_factory=list)  # so far
    megabytes: list[float] = field(default_factory=list)  # of all processes together
    left_out: list[list[str]] = field(default_factory=list)

    def growth(self, warm_up: int = WARM_UP) -> float:
        """Memory at the end as a share of that after `warm_up`, less 1: medians of stretches.

        A stretch is a tenth of the passes, because memory goes up and down with the order of files.
        """
        after = [m for n, m in zip(self.loads, self.megabytes, strict=True) if n > warm_up]
        stretch = max(1, len(after) // 10)
        return statistics.median(after[-stretch:]) / statistics.median(after[:stretch]) - 1

    def same_left_out(self) -> bool:
        """True if every pass left out the same files."""
        return all(names == self.left_out[0] for names in self.left_out)


def main() -> None:
    """Load, then write numbers and table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--loads", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    found = soak(options.data, loads=options.loads, workers=options.workers, show=True)
    folder = Path(__file__).parent
    values = {"growth": found.growth(), "same_left_out": found.same_left_out(), **vars(found)}
    values |= {"left_out": found.left_out[0], "environment": environment()}
    (folder / "soak.json").write_text(json.dumps(values, indent=1) + "\n")
    (folder / "soak.md").write_text(table(found))


def soak(data: Path, *, loads: int, workers: int, show: bool = False) -> Soak:
    """At least `loads` loads of the files below `data`."""
    dataset = clips(data)
    found = Soak(len(dataset), workers)
    started = time.perf_counter()
    with Loader(dataset, num_workers=workers) as loader:
        batches = loader.iterate(endless(len(dataset)))
        while not found.loads or found.loads[-1] < loads:
            names = one_pass(batches, dataset)
            found.left_out.append(names)
            found.loads.append((len(found.loads) + 1) * len(dataset))
            found.megabytes.append(megabytes())
            if show and len(found.loads) % 10 == 1:
                print(f"{found.loads[-1]} loads: {found.megabytes[-1]:.0f} MB", flush=True)
        found.seconds = time.perf_counter() - started
    return found


def clips(data: Path) -> ClipDataset:
    """Every file below `data` as a clip without a meaning."""
    files = [path for path in sorted(data.rglob("*")) if path.is_file() and path.suffix != ".csv"]
    names = [str(path.relative_to(data)) for path in files]
    rows = tuple(Row(n, p, ("a",), split="train") for n, p in zip(names, files, strict=True))
    manifest = Manifest(rows, {"label": ["a"]}, "single", data)
    settings = DataSettings(bad_files="drop", windows="centre")
    return ClipDataset(manifest, rows, FRONT_END, settings, train=True, seed=0)


def endless(num_rows: int) -> Iterator[list]:
    """One key after another: batches of one clip, in another order in each pass."""
    for epoch in itertools.count():
        order = np.random.default_rng(epoch).permutation(num_rows)
        yield from ([(epoch, int(index), 0)] for index in order)


def one_pass(batches: Iterator, dataset: ClipDataset) -> list[str]:
    """Names of the files that were left out."""
    loaded = [next(batches) for _ in range(len(dataset))]
    there = {name for batch in loaded if batch is not None for name in batch.id}
    return sorted({row.id for row in dataset.rows} - there)


def megabytes() -> float:
    """Resident memory of the workers and of the processes that they started."""
    workers = {process.pid for process in multiprocessing.active_children()}
    found = 0.0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = status.read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        values = dict(line.split(":", 1) for line in lines if ":" in line)
        if workers & {int(values["Pid"]), int(values["PPid"])}:
            found += int(values.get("VmRSS", "0 kB").split()[0]) / 1024
    return found


def table(found: Soak) -> str:
    """Markdown."""
    last = found.loads[-1]
    same = "the same in every pass" if found.same_left_out() else "NOT the same in every pass"
    rows = [0, *(round(k * (len(found.loads) - 1) / 10) for k in range(1, 11))]
    lines = ["# Loading for a long time", ""]
    lines += [f"`benchmarks/soak.py`: {last} loads of {found.files} odd and broken files,"]
    lines += [f"{found.workers} workers, {found.seconds:.0f} s; {environment()}.", ""]
    lines += ["| loads | memory of workers and decoding processes, MB |", "|---|---|"]
    lines += [f"| {found.loads[row]} | {found.megabytes[row]:.0f} |" for row in rows]
    lines += ["", f"Growth after the first {WARM_UP} loads: {found.growth():+.1%}."]
    lines += [f"{len(found.left_out[0])} files were left out, {same}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
