"""Clips per second of one core: ours against the FFmpeg command line, and the log-mel front ends.

    make benchmark-throughput    two minutes; best on an otherwise idle machine; needs ffmpeg

Both decode the same generated clips of 10 s (H.264 with B frames, AAC): the same 8 frames, scaled
to a short side of 256 and cut to 224 x 224, and the same 8 s of sound, mono at 16 kHz, until they
lie in memory as arrays. Everything is pinned to one core. Ours and theirs take turns; the median
of the ratios counts. The command line writes frames and sound to one pipe each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from runs import environment

from sightsound.media.clips import centre_window, frame_times
from sightsound.media.geometry import centre_box
from sightsound.media.logmel import FRONT_ENDS, clip_log_mel
from sightsound.media.reader import FileReader

CLIPS = {"340x256": ("340x256", 25), "1280x720": ("1280x720", 30)}
SECONDS, WINDOW, RATE, SIZE, SHORT = 10, 8.0, 16000, 224, 256


def main() -> None:
    """Time, then write numbers and table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # children inherit it
    torch.set_num_threads(1)
    rows, late = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in CLIPS:
            path = generated(Path(folder), name)
            check_same(path)
            ways = {
                "ffmpeg": partial(command_line, path),
                "exact": partial(ours, path),
                "approximate": partial(ours, path, approximate=True),
            }
            rows[name] = in_turn(ways, rounds=options.rounds)
            late[name] = lateness(path)
    write(rows, late, log_mel_seconds())


def generated(folder: Path, name: str) -> Path:
    """A moving, noisy clip with noisy stereo tones."""
    size, rate = CLIPS[name]
    path = folder / f"{name}.mp4"
    sound = "0.3*sin(440*2*PI*t)+0.1*random(0)|0.3*sin(660*2*PI*t)+0.1*random(1)"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi"]
    command += ["-i", f"testsrc2=size={size}:rate={rate}:duration={SECONDS}"]
    command += ["-f", "lavfi", "-i", f"aevalsrc={sound}:s=44100:d={SECONDS}"]
    command += ["-vf", "noise=alls=8:allf=t", "-c:v", "libx264", "-crf", "23"]
    command += ["-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "128k", str(path)]
    subprocess.run(command, check=True)
    return path


def ours(path: Path, *, approximate: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, C, H, W) and sound (S,), by the reader that data sets use."""
    reader = FileReader(approximate=approximate)
    window = centre_window(reader.duration(path), WINDOW)
    crop = partial(centre_box, out_height=SIZE, out_width=SIZE, short_side=SHORT)
    frames = reader.frames(path, frame_times(window, 8), (SIZE, SIZE), crop=crop)
    sound = reader.sound(path, window.start_seconds, window.stop_seconds, RATE)
    return frames.pixels, sound.samples


def command_line(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The same by one call of ffmpeg, on one thread."""
    read, write_end = os.pipe()
    start = (SECONDS - WINDOW) / 2
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-filter_threads", "1"]
    command += ["-ss", str(start), "-t", str(WINDOW), "-i", str(path)]
    scaled = f"fps=1,scale=-2:{SHORT}:flags=bilinear,crop={SIZE}:{SIZE}"
    command += ["-map", "0:v", "-vf", scaled, "-pix_fmt", "gbrp", "-f", "rawvideo", "pipe:1"]
    command += ["-map", "0:a", "-ac", "1", "-ar", str(RATE), "-f", "f32le", f"pipe:{write_end}"]
    with tempfile.TemporaryFile() as video:  # a pipe each would block while the other fills
        process = subprocess.Popen(command, stdout=video, pass_fds=[write_end])
        os.close(write_end)
        with os.fdopen(read, "rb") as pipe:
            sound = np.frombuffer(pipe.read(), np.float32)
        if process.wait():
            raise RuntimeError(f"ffmpeg ended with {process.returncode}")
        video.seek(0)
        planes = np.frombuffer(video.read(), np.uint8).reshape(-1, 3, SIZE, SIZE)
    return np.ascontiguousarray(planes[:, [2, 0, 1]]), sound


def check_same(path: Path) -> None:
    """Both give as many frames and samples, and nearly the same sound."""
    (frames, sound), (their_frames, their_sound) = ours(path), command_line(path)
    assert frames.shape == their_frames.shape, (frames.shape, their_frames.shape)
    assert abs(len(sound) - len(their_sound)) <= 1024, (len(sound), len(their_sound))


def in_turn(ways: dict[str, Callable], *, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in every round, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(rounds + 1):
        for name, call in ways.items():
            taken = timed(call)
            if index:
                seconds[name].append(taken)
    return seconds


def timed(call: Callable) -> float:
    """Wall seconds of `call`."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def lateness(path: Path) -> dict[str, float]:
    """How much later than the right frame approximate decoding looks, in seconds."""
    times = np.arange(0.0, SECONDS, 0.04) + 0.02
    exact, rough = (
        FileReader(approximate=a).frames(path, times, (32, 32)).times_seconds for a in (False, True)
    )
    return {"mean": float((exact - rough).mean()), "most": float((exact - rough).max())}


def log_mel_seconds(calls: int = 50) -> dict[str, list[float]]:
    """{front end: seconds of each call} for 8 s of sound."""
    samples = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, int(WINDOW * RATE))).float()
    valid = torch.ones(len(samples), dtype=torch.bool)
    found = {}
    for name, front_end in FRONT_ENDS.items():
        call = partial(clip_log_mel, samples, valid, front_end.audio)
        found[name] = [timed(call) for _ in range(calls + 3)][3:]
    return found


def write(rows: dict, late: dict, log_mel: dict) -> None:
    """Raw seconds, and the tables."""
    folder, where = Path(__file__).parent, environment()
    values = {"rows": rows, "late": late, "log_mel": log_mel, "environment": where}
    (folder / "throughput.json").write_text(json.dumps(values, indent=1) + "\n")
    lines = ["# Decoding and log-mel on one core", "", f"`make benchmark-throughput`; {where}.", ""]
    lines += ["| 10 s clip, 8 frames + 8 s of sound | ms, median | speed over ffmpeg (quartiles) |"]
    lines += ["|---|---|---|"]
    for name, seconds in rows.items():
        for way, values in seconds.items():
            ratio = np.percentile(np.array(seconds["ffmpeg"]) / values, (25, 50, 75))
            shown = "" if way == "ffmpeg" else "**{1:.2f}** ({0:.2f} to {2:.2f})".format(*ratio)
            lines.append(f"| {name}, {way} | {1e3 * np.median(values):.0f} | {shown} |")
    lines += ["", "Frames of approximate decoding are late by, in seconds: "]
    lines[-1] += "; ".join(f"{n}: {v['mean']:.3f} (most {v['most']:.3f})" for n, v in late.items())
    lines += ["", "| log-mel front end, 8 s | ms, median |", "|---|---|"]
    lines += [f"| {name} | {1e3 * np.median(s):.2f} |" for name, s in log_mel.items()]
    (folder / "throughput.md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
