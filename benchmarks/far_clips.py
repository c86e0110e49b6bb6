"""What a clip costs far into a long file, against one near its start.

    make benchmark-far_clips    three minutes, 1.5 GB in the temporary folder; needs ffmpeg

Files of an hour; from each the same 8 frames and 4 s of sound at 60 s and at 3,500 s (sound alone
where there are no pictures). Near, far, and far read from the start take turns; the least processor
time of each counts, since others use the machine. Beside them: two calls of the ffmpeg command that
seek to the far clip, one for pictures and one for sound, with the time of their processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from runs import environment

from sightsound.media import seek
from sightsound.media.reader import FileReader

NEAR, FAR, HOUR, SECONDS, RATE, GOAL = 60.0, 3500.0, 3600, 4.0, 16000, 1.3
ONCE = 20  # seconds that are encoded; the hour repeats them
FRAGMENTS = ["-movflags", "frag_keyframe+empty_moov"]
FILES = {
    "hour.mp4": [],
    "fragmented.mp4": FRAGMENTS,
    "hour.mkv": [],
    "no_index.mkv": ["-live", "1"],
    "hour.m4a": ["-vn"],
    "hour.wav": ["-vn", "-c:a", "pcm_s16le"],
    "hour.flac": ["-vn", "-c:a", "flac"],
}


def main() -> None:
    """Time, then write numbers and table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        once = encoded(Path(folder))
        for name, how in FILES.items():
            path = Path(folder, name)
            ffmpeg("-stream_loop", str(HOUR // ONCE - 1), "-i", once, "-c", "copy", *how, path)
            ways = {
                "near": partial(ours, path, NEAR),
                "far": partial(ours, path, FAR),
                "far, from the start": partial(from_the_start, path),
                "ffmpeg, far": partial(command_line, path),
            }
            rows[name] = in_turn(ways, rounds=options.rounds)
            path.unlink()
    write(rows)


def encoded(folder: Path) -> Path:
    """A moving, noisy clip at 600 kbit/s with noise for sound."""
    path = folder / "once.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=s=640x360:r=30:d={ONCE}"),
        *("-f", "lavfi", "-i", f"anoisesrc=r=48000:d={ONCE}:a=0.2"),
        *("-vf", "noise=alls=6:allf=t", "-c:v", "libx264", "-preset", "ultrafast"),
        *("-b:v", "600k", "-maxrate", "600k", "-bufsize", "600k", "-g", "60"),
        *("-pix_fmt", "yuv420p", "-c:a", "aac", path),
    )
    return path


def ffmpeg(*arguments: object) -> None:
    """One call of the command, on one thread."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", *map(str, arguments)]
    subprocess.run(command, check=True)


def ours(path: Path, start: float) -> None:
    """Frames and sound by the reader that data sets use."""
    reader = FileReader()
    reader.frames(path, np.linspace(start, start + SECONDS, 8), (224, 224))
    reader.sound(path, start, start + SECONDS, RATE)


def from_the_start(path: Path) -> None:
    """The far clip without seeking."""
    with patch.object(seek, "can_seek", lambda track: False):
        ours(path, FAR)


def command_line(path: Path) -> None:
    """The far clip by the ffmpeg command."""
    cut = "-ss", FAR, "-i", path, "-t", SECONDS
    if path.suffix in (".mp4", ".mkv"):
        ffmpeg(*cut, "-vf", "fps=2,scale=224:224", "-f", "rawvideo", "-y", os.devnull)
    ffmpeg(*cut, "-vn", "-ac", "1", "-ar", RATE, "-f", "f32le", "-y", os.devnull)


def in_turn(ways: dict[str, Callable], *, rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each way in every round, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(rounds + 1):
        for name, call in ways.items():
            before = processor_seconds()
            call()
            if index:
                seconds[name].append(processor_seconds() - before)
    return seconds


def processor_seconds() -> float:
    """Of this process and those that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def write(rows: dict) -> None:
    """Raw seconds, and the table."""
    folder, where = Path(__file__).parent, environment()
    (folder / "far_clips.json").write_text(
        json.dumps({"rows": rows, "environment": where}, indent=1) + "\n"
    )
    lines = ["# A clip far into an hour", "", f"`make benchmark-far_clips`; {where}.", ""]
    lines += [f"Least processor time in ms of a clip at {NEAR:g} s and at {FAR:g} s; the goal is a"]
    lines += [f"ratio of at most {GOAL:g}.", "", "| file | near | far | ratio | far, read from the"]
    lines[-1] += " start | ffmpeg -ss, far |"
    lines += ["|---|---|---|---|---|---|"]
    for name, seconds in rows.items():
        near, far, whole, command = (1e3 * min(values) for values in seconds.values())
        line = f"| {name} | {near:.0f} | {far:.0f} | **{far / near:.2f}** | {whole:.0f} |"
        lines.append(f"{line} {command:.0f} |")
    (folder / "far_clips.md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
