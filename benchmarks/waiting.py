"""How long a training run waits for its clips: from shards, and from the files they were made of.

    make benchmark-waiting    three minutes; best on an otherwise idle machine

Clips of 10 s, 340 x 256 at 25 frames per second, are generated and prepared; the recipe `first`, a
model of 1 M parameters, is then trained with one decoding process. What is reported is the share of
a step's time that is spent waiting, over all steps but the first ten.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from runs import environment, sightsound

from sightsound.media.encode import write_video

NUM_CLIPS, NUM_DIFFERENT = 96, 12
SKIPPED = 10  # steps until the decoding process runs


def main() -> None:
    """Generate, prepare, train twice, write numbers and table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos, shards = Path(folder) / "videos", Path(folder) / "shards"
        generate(videos)
        sightsound("prepare", str(videos), "--output", str(shards))
        rows = {}
        for name, data in {"shards": shards, "files": videos}.items():
            rows[name] = steps_of(data, Path(folder) / name / "run", steps=options.steps)
    write(rows)


def generate(folder: Path) -> None:
    """Clips of two classes: moving noise with a tone."""
    random = np.random.default_rng(0)
    for number in range(NUM_DIFFERENT):
        pattern = random.integers(0, 256, (256 + 250, 340, 3), dtype=np.uint8) // 4 + 60
        frames = np.stack([pattern[start : start + 256] for start in range(250)])
        tone = np.sin(np.arange(160_000) * 2 * np.pi * (200 + 50 * number) / 16_000)
        sound = (0.3 * tone + random.normal(0, 0.05, 160_000)).astype(np.float32)
        copies = range(number, NUM_CLIPS, NUM_DIFFERENT)
        for copy in copies:
            path = folder / "train" / f"class{number % 2}" / f"{copy:03d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            if copy == copies[0]:
                write_video(path, frames, frames_per_second=25, waveform=sound)
                first = path.read_bytes()
            path.write_bytes(first)


def steps_of(data: Path, run: Path, *, steps: int) -> list[dict[str, float]]:
    """What each step but the first ones took and waited."""
    command = ("train", str(data), "--config", "first", "--output", str(run))
    length = ("--train.steps", str(steps), "--train.evaluate_every", "1000")
    sightsound(*command, *length, "--data.num_workers", "1", "--train.accelerator", "cpu")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = [line for line in lines if line["kind"] == "step"][SKIPPED:]
    return [{key: line[key] for key in ("data_wait", "clips_per_second")} for line in found]


def write(rows: dict[str, list[dict[str, float]]]) -> None:
    """Raw numbers, and the table."""
    folder, where = Path(__file__).parent, environment()
    values = {"rows": rows, "environment": where}
    (folder / "waiting.json").write_text(json.dumps(values, indent=1) + "\n")
    lines = ["# Waiting for clips", "", f"`make benchmark-waiting`; {where}.", ""]
    lines += ["| recipe `first`, 1 decoding process | waiting, mean | clips/s, median |"]
    lines += ["|---|---|---|"]
    for name, steps in rows.items():
        waiting, speed = (
            [step[key] for step in steps] for key in ("data_wait", "clips_per_second")
        )
        lines.append(f"| {name} | **{np.mean(waiting):.1%}** | {np.median(speed):.0f} |")
    (folder / "waiting.md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
