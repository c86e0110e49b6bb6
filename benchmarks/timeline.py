"""An hour of video over time: what does it cost beyond decoding once and inference, and what fits?

    python benchmarks/timeline.py RUN FOLDER    ten minutes on two cores

RUN is the demo's run (`sightsound demo`): windows of 2 s, here every second. FOLDER gets the video:
1,800 clips of the demo's kind, drawn for this and glued together, 320 x 240 at 24 frames a second
with sound, so that it is known what is there at any time.

Measured apart, each in a process of its own with one thread:
decoding     the same frames and the same sound, read once, as any clip is read
inference    the same windows from decoded frames and sound in memory: spectrograms, the model, and
             each stream alone
together     what `make_timeline` takes for both
command      `sightsound predict --window 2 --hop 1 --output`: from its start until all files are
             written, and its memory

Writes benchmarks/timeline.json and timeline.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from runs import environment

from sightsound.data.synthetic import FRAMES_PER_SECOND, RATE_HZ, SECONDS, draw_clip, plan

HEIGHT, WIDTH, REPEATS = 240, 320, 3  # each drawn frame is shown three times
WINDOW, HOP = 2.0, 1.0
LIMIT_BYTES = 1.5e9


def main() -> None:
    """Make the video, measure, then write numbers and table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=1800)
    parser.add_argument("--only", choices=list(MEASURES), help="measured in here")
    options = parser.parse_args()
    video = options.folder / f"{options.clips}.mp4"
    if options.only:
        print(json.dumps(MEASURES[options.only](options.run, video)))
        return
    labels = make_video(video, number=options.clips)
    found = {"clips": options.clips, "megabytes": video.stat().st_size / 1e6}
    for name in MEASURES:
        found[name] = json.loads(apart(options, name))
        print(name, found[name], flush=True)
    found["command"] = command(options.run, video, options.folder / f"{options.clips}")
    found["right"] = judged(options.folder / f"{options.clips}" / "timeline.json", labels)
    found["environment"] = environment()
    here = Path(__file__).parent
    (here / "timeline.json").write_text(json.dumps(found, indent=1) + "\n")
    (here / "timeline.md").write_text(table(found))


# --- the video ----------------------------------------------------------------------------------


def make_video(path: Path, *, number: int) -> list[str]:
    """Clips of the demo's classes in random order, one after the other; their labels."""
    clips = list(plan("demo", numbers={"test": number}, seed=7))
    np.random.default_rng(7).shuffle(clips)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part.mp4")
        with av.open(str(temporary), "w") as container:
            write_clips(container, clips)
        os.replace(temporary, path)
    return [clip.label for clip in clips]


def write_clips(container: av.container.OutputContainer, clips: list) -> None:
    """Pictures and sound of each, scaled by repeating pixels."""
    rate = FRAMES_PER_SECOND * REPEATS
    video = container.add_stream("libx264", rate=rate, options={"crf": "28", "preset": "superfast"})
    video.height, video.width, video.pix_fmt = HEIGHT, WIDTH, "yuv420p"
    sound = container.add_stream("aac", rate=RATE_HZ, layout="mono")
    frames, samples = 0, 0
    for clip in clips:
        pictures, waveform = draw_clip(clip)
        for pixels in enlarged(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            for _ in range(REPEATS):
                frame.pts, frame.time_base = frames, Fraction(1, rate)
                container.mux(video.encode(frame))
                frames += 1
        block = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = RATE_HZ, samples, Fraction(1, RATE_HZ)
        container.mux(sound.encode(block))
        samples += len(waveform)
    container.mux(video.encode(None))
    container.mux(sound.encode(None))


def enlarged(pictures: np.ndarray) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) of (T, 64, 64, 3)."""
    rows = np.arange(HEIGHT) * pictures.shape[1] // HEIGHT
    columns = np.arange(WIDTH) * pictures.shape[2] // WIDTH
    for picture in pictures:
        yield np.ascontiguousarray(picture[rows][:, columns])


# --- measuring ----------------------------------------------------------------------------------


def apart(options: argparse.Namespace, name: str) -> str:
    """What this script prints in a process of its own."""
    arguments = [str(options.run), str(options.folder), "--clips", str(options.clips)]
    line = [sys.executable, __file__, *arguments, "--only", name]
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, env=env()).stdout


def env() -> dict[str, str]:
    """One thread for torch and numpy."""
    return os.environ | {"OMP_NUM_THREADS": "1"}


def decoding(run: Path, video: Path) -> dict:
    """Seconds to read all frames that some window looks at, and all sound, once."""
    from sightsound.media.clips import Window, frame_times
    from sightsound.media.reader import FileReader
    from sightsound.predict import Predictor

    predictor, reader = Predictor(run), FileReader()
    front = predictor.front_end
    number = int(reader.duration(video) // HOP)
    looks = [
        frame_times(Window(k * HOP, k * HOP + WINDOW), front.video.num_frames)
        for k in range(number)
    ]
    times = np.unique(np.round(np.concatenate(looks), 6))
    started = clocks()
    frames = reader.frames(video, times, (front.video.height, front.video.width))
    reader.sound(video, 0.0, reader.duration(video), front.audio.rate_hz)
    return since(started) | {"frames": len(frames.pixels)}


def inference(run: Path, video: Path) -> dict:
    """Seconds to score all windows, once from decoded frames and sound, once from ready inputs."""
    from sightsound.predict import Predictor
    from sightsound.timeline import windows
    from sightsound.timeline.score import BATCH_SIZE, score_windows, scores_of

    predictor = Predictor(run)
    plan = windows.plan_windows(predictor, video, window_seconds=WINDOW, hop_seconds=HOP)
    answers = []
    windows.SequentialReader = partial(recorder(), answers)
    clips = list(windows.window_clips(predictor, plan))
    scores_of(predictor, clips[:BATCH_SIZE])  # warm
    started = clocks()
    for first in range(0, len(clips), BATCH_SIZE):
        scores_of(predictor, clips[first : first + BATCH_SIZE])
    model = since(started)
    del clips
    windows.SequentialReader = lambda path: Replayed(iter(answers))
    started = clocks()
    number = sum(len(scored.problems) for scored in score_windows(predictor, plan))
    return since(started) | {"windows": number, "model": model}


def recorder() -> type:
    """A reader that keeps its answers."""
    from sightsound.media.sequential import SequentialReader

    class Recorder(SequentialReader):
        def __init__(self, answers: list, path: Path) -> None:
            super().__init__(path)
            self.answers = answers

        def duration(self, *question: object) -> float:
            self.answers.append(super().duration(*question))
            return self.answers[-1]

        def frames(self, *question: object, **options: object) -> object:
            self.answers.append(super().frames(*question, **options))
            return self.answers[-1]

        def sound(self, *question: object) -> object:
            self.answers.append(super().sound(*question))
            return self.answers[-1]

    return Recorder


class Replayed:
    """Gives the answers of another reader again."""

    def __init__(self, answers: Iterator) -> None:
        self.answers = answers

    def duration(self, *question: object, **options: object) -> object:
        """The next answer."""
        return next(self.answers)

    frames = sound = duration

    def close(self) -> None:
        """Nothing is held."""


def together(run: Path, video: Path) -> dict:
    """Seconds for the whole pass, once everything is loaded."""
    from sightsound.predict import Predictor
    from sightsound.timeline.score import make_timeline

    predictor = Predictor(run)
    lengths = {"window_seconds": WINDOW, "hop_seconds": HOP}
    make_timeline(predictor, video, **lengths, end_seconds=10.0)  # warm
    started = clocks()
    make_timeline(predictor, video, **lengths)
    return since(started)


MEASURES = {"decoding": decoding, "inference": inference, "together": together}


def clocks() -> tuple[float, float]:
    """Wall and processor seconds of this process."""
    return time.perf_counter(), time.process_time()


def since(started: tuple[float, float]) -> dict[str, float]:
    """Wall seconds, and those of the processor, which other programs disturb less."""
    wall, processor = (b - a for a, b in zip(started, clocks(), strict=True))
    return {"seconds": wall, "processor_seconds": processor}


def command(run: Path, video: Path, output: Path) -> dict:
    """The whole command: seconds, and the memory it had at most."""
    if (output / "timeline.csv").is_file():
        raise SystemExit(f"{output} holds a timeline; delete it")
    line = [sys.executable, "-m", "sightsound", "predict", str(video), "--model", str(run)]
    line += ["--window", str(WINDOW), "--hop", str(HOP), "--output", str(output)]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(line, env=env(), stdout=subprocess.DEVNULL)
    at_most, processes = 0, 1
    while process.poll() is None:
        sizes = tree(process.pid)
        at_most, processes = max(at_most, sum(sizes)), max(processes, len(sizes))
        time.sleep(0.1)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": seconds,
        "processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "bytes": at_most,
        "processes": processes,
        "status": process.returncode,
    }


def tree(pid: int) -> list[int]:
    """Most resident bytes so far of a process and of each that it started."""
    parents, sizes = {}, {}
    for file in Path("/proc").glob("[0-9]*/status"):
        try:
            values = dict(line.split(":", 1) for line in file.read_text().splitlines())
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        own = int(values["Pid"])
        parents[own] = int(values["PPid"])
        sizes[own] = 1024 * int(values.get("VmHWM", "0 kB").split()[0])
    members = {pid}
    while more := {own for own, parent in parents.items() if parent in members} - members:
        members |= more
    return [sizes[own] for own in members if own in sizes]


# --- what was found -----------------------------------------------------------------------------


def judged(file: Path, labels: list[str]) -> dict:
    """How often the events are right, and how many changes of class are told within a hop."""
    events = json.loads(file.read_text())["events"]["audio+video"]
    truth = [label for label in labels for _ in range(round(SECONDS))]
    said = [""] * len(truth)
    for event in events:
        for second in range(round(event["start_seconds"]), round(event["end_seconds"])):
            said[second] = event["label"]
    changes = [k * SECONDS for k in range(1, len(labels)) if labels[k] != labels[k - 1]]
    edges = sorted({event[key] for event in events for key in ("start_seconds", "end_seconds")})
    told = sum(min(abs(edge - change) for edge in edges) <= HOP for change in changes)
    right = sum(a == b for a, b in zip(truth, said, strict=True))
    return {
        "seconds_right": right / len(truth),
        "changes": len(changes),
        "changes_within_a_hop": told,
        "events": len(events),
    }


def table(found: dict) -> str:
    """Markdown."""
    read, scored = found["decoding"], found["inference"]
    whole, right = found["command"], found["right"]
    keys = ("seconds", "processor_seconds")
    apart = {key: read[key] + scored[key] for key in keys}
    work = apart["processor_seconds"]
    more = found["together"]["processor_seconds"] / work - 1
    command_more = whole["processor_seconds"] / work - 1
    model_work = read["processor_seconds"] + scored["model"]["processor_seconds"]
    bare = found["together"]["processor_seconds"] / model_work - 1
    return f"""# Scores over an hour of video

`benchmarks/timeline.py`: {2 * found["clips"]} s of {WIDTH} x {HEIGHT} video at
{FRAMES_PER_SECOND * REPEATS} frames a second with sound ({found["megabytes"]:.0f} MB), the demo's
model, windows of {WINDOW:g} s every {HOP:g} s, one thread; {found["environment"]}.

| | seconds | of processor time |
|---|---|---|
| decoding {read["frames"]} frames and all sound, once | {_cells(read)} |
| inference, {scored["windows"]} windows from memory | {_cells(scored)} |
| of it the model, from ready spectrograms | {_cells(scored["model"])} |
| decoding and inference | {_cells(apart)} |
| together, in one pass | {_cells(found["together"])} |
| the command: loading, the pass, writing all files | {_cells(whole)} |

By processor time one pass takes {more:+.1%} of decoding and inference, {bare:+.1%} of decoding and
the model, and the command {command_more:+.1%} of decoding and inference. Where both
columns differ, other programs ran meanwhile.
Memory of the command at most: {whole["bytes"] / 1e6:.0f} MB (limit: {LIMIT_BYTES / 1e6:.0f} MB), in
{whole["processes"]} process.

{right["seconds_right"]:.1%} of all seconds have the right class, though a class may last no longer
than a window. {right["events"]} events; of {right["changes"]} changes of class
{right["changes_within_a_hop"]} have one's edge within a hop.
"""


def _cells(found: dict) -> str:
    return f"{found['seconds']:.1f} | {found['processor_seconds']:.1f}"


if __name__ == "__main__":
    main()
