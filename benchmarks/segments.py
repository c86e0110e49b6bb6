"""What cutting a batch of spectrograms into segments of activity costs, beside SciPy clip by clip.

    make benchmark-segments       a minute, one thread

Spectrograms of AVT's size, 1024 x 128: noise around levels that change 49 times. Writes
benchmarks/segments.json (raw) and benchmarks/segments.md (the table).
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from runs import environment
from scipy.signal import savgol_filter
from torch import Tensor

from sightsound.objectives.audio_visual.segments import NUM_SEGMENTS, ORDER, WINDOW, number_segments

BATCHES = (1, 8, 32)
FRAMES, BINS = 1024, 128
REPEATS = 30
GOAL = 2.0  # milliseconds per clip


def main() -> None:
    """Measure in turns, so that a busy moment hits all alike, and write the table."""
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    batches = {size: clips(size) for size in BATCHES}
    times: dict[str, list[float]] = {}
    for _ in range(REPEATS):
        for size, batch in batches.items():
            whole = torch.ones(batch.shape[:2], dtype=torch.bool)
            padded = whole.clone()
            padded[::2, 998:] = False  # 10 s are 998 frames
            for text, valid in (("", None), (", half of them padded", padded)):
                name = f"{size} clip{'s' * (size > 1)}{text}"
                record(times, name, lambda b=batch, v=valid: number_segments(b, valid=v), size)
        record(times, "SciPy, 1 clip", lambda: with_scipy(batches[1][0].numpy()), 1)
    rows = {
        name: {"median": statistics.median(each), "fastest": min(each), "slowest": max(each)}
        for name, each in times.items()
    }
    result = {"rows": rows, "load": [load, os.getloadavg()[0]], "environment": environment()}
    write(result)


def clips(size: int) -> Tensor:
    """(size, F, M) spectrograms of as many levels as there are segments."""
    generator = torch.Generator().manual_seed(size)
    levels = torch.randn(size, NUM_SEGMENTS, BINS, generator=generator)
    levels = levels.repeat_interleave(-(-FRAMES // NUM_SEGMENTS), dim=1)[:, :FRAMES]
    return levels + 0.1 * torch.randn(size, FRAMES, BINS, generator=generator)


def record(times: dict[str, list[float]], name: str, task: Callable[[], object], size: int) -> None:
    """Add the milliseconds per clip of one call."""
    started = time.perf_counter()
    task()
    times.setdefault(name, []).append(1000 * (time.perf_counter() - started) / size)


def with_scipy(spectrogram: np.ndarray) -> np.ndarray:
    """The same curve of one clip (F, M), clip by clip as a loader would compute it."""
    smooth = savgol_filter(spectrogram.astype(np.float64), WINDOW, ORDER, axis=0)
    return savgol_filter(np.abs(np.gradient(smooth, axis=0)).mean(1), WINDOW, ORDER)


def write(result: dict) -> None:
    """The raw numbers and the table."""
    folder = Path(__file__).parent
    (folder / "segments.json").write_text(json.dumps(result, indent=1) + "\n")
    lines = [
        "# Segments of activity",
        "",
        f"`make benchmark-segments`; {result['environment']}; one thread; load of the machine "
        f"{result['load'][0]:.1f} before, {result['load'][1]:.1f} after.",
        "",
        f"Milliseconds per clip of {FRAMES} x {BINS}, {REPEATS} times in turns. Goal: median below "
        f"{GOAL:g}.",
        "",
        "| | median | fastest | slowest |",
        "|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        lines.append(f"| {name} | " + " | ".join(f"{row[k]:.2f}" for k in row) + " |")
    (folder / "segments.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
