"""Generated datasets of short real .mp4 files, in which it is known what each stream can tell.

`demo`, eight classes. Sound alone tells two (chirps under either picture), pictures alone two
(ring and cross under either tone), only the combination the other four:

    rising chirp            + red square or blue triangle      rising_chirp
    falling chirp           + red square or blue triangle      falling_chirp
    low or high tone        + yellow ring                      yellow_ring
    low or high tone        + green cross                      green_cross
    low | high tone         x red square | blue triangle       four classes

The best a single stream can do is 50 %: a quarter of the clips are of the two classes that it
tells, and each of its other cues fits three classes at best one third of the time. Averaging two
perfect streams reaches 100 %, so this set shows that the streams complement one another, not that
fusion inside the model is needed.

`xor`, four classes that no stream tells better than chance (50 %, since each stream shows which
pair it is) and that averaging two streams cannot tell better than 75 %: an additive score cannot
express "either both or neither".

    low tone = red square,     high tone = blue triangle       tone_fits      else  tone_differs
    rising chirp = yellow ring, falling chirp = green cross    chirp_fits     else  chirp_differs

A clip is a pure function of (seed, kind, split, number). Position, size, brightness, path,
background, loudness, pitch and onset vary; picture and sound are noisy. Free of torch: the
processes that write start fast.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sightsound.data.manifest import write_manifest
from sightsound.data.rows import LABEL, Row
from sightsound.files import csv_rows
from sightsound.media.encode import write_video
from sightsound.registry import unknown_name
from sightsound.seeding import stable_seed

SIZE = 64  # pixels, height and width
FRAMES_PER_SECOND = 8
NUM_FRAMES = 16  # 2 s
RATE_HZ = 16000
SECONDS = NUM_FRAMES / FRAMES_PER_SECOND

# What a clip can show and sound like.
PICTURES = ("red_square", "blue_triangle", "yellow_ring", "green_cross")
SOUNDS = ("low_tone", "high_tone", "rising_chirp", "falling_chirp")

# {class: (picture, sound) pairs it is drawn from, equally often}
KINDS: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {
    "demo": {
        "rising_chirp": (("red_square", "rising_chirp"), ("blue_triangle", "rising_chirp")),
        "falling_chirp": (("red_square", "falling_chirp"), ("blue_triangle", "falling_chirp")),
        "yellow_ring": (("yellow_ring", "low_tone"), ("yellow_ring", "high_tone")),
        "green_cross": (("green_cross", "low_tone"), ("green_cross", "high_tone")),
        "red_square_low_tone": (("red_square", "low_tone"),),
        "red_square_high_tone": (("red_square", "high_tone"),),
        "blue_triangle_low_tone": (("blue_triangle", "low_tone"),),
        "blue_triangle_high_tone": (("blue_triangle", "high_tone"),),
    },
    "xor": {
        "tone_fits": (("red_square", "low_tone"), ("blue_triangle", "high_tone")),
        "tone_differs": (("red_square", "high_tone"), ("blue_triangle", "low_tone")),
        "chirp_fits": (("yellow_ring", "rising_chirp"), ("green_cross", "falling_chirp")),
        "chirp_differs": (("yellow_ring", "falling_chirp"), ("green_cross", "rising_chirp")),
    },
}


@dataclass(frozen=True)
class SyntheticClip:
    """What one generated clip shows."""

    path: str  # relative to the set's folder: split/class/number.mp4
    label: str
    split: str
    picture: str
    sound: str
    seed: int


def write_demo(
    folder: str | Path,
    *,
    num_train: int = 480,
    num_val: int = 80,
    num_test: int = 240,
    seed: int = 0,
    kind: str = "demo",
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a set of clips as split/class/number.mp4; returns its `manifest.csv`.

    Beside it `labels.json` (order of classes), `truth.csv` (what each clip shows) and
    `synthetic.json` (these arguments). Classes are equally frequent to within one clip. A folder
    that already holds this very set, whole, is left as it is; an interrupted one is completed.
    `progress(clips written, clips in all)` is called as clips are finished.

    Raises:
        ValueError: an unknown kind; numbers out of range; a folder with anything else in it.
    """
    folder = Path(folder)
    numbers = {"train": num_train, "val": num_val, "test": num_test}
    settings = {"version": 1, "kind": kind, "seed": seed, **numbers}
    clips = list(plan(kind, numbers=numbers, seed=seed))
    manifest = folder / "manifest.csv"
    if _is_complete(folder, settings=settings, clips=clips):
        return manifest
    manifest.unlink(missing_ok=True)  # comes back when everything is there
    for parent in {(folder / clip.path).parent for clip in clips}:
        parent.mkdir(parents=True, exist_ok=True)
    for name, content in (("synthetic.json", settings), ("labels.json", list(KINDS[kind]))):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    columns = ("path", LABEL, "split", "picture", "sound")
    truth = [[getattr(clip, column) for column in columns] for clip in clips]
    (folder / "truth.csv").write_text(csv_rows([columns, *truth]))
    _write_clips(folder, clips, workers=workers, progress=progress)
    here = folder.absolute()
    rows = [Row(c.path, here / c.path, (c.label,), split=c.split) for c in clips]
    write_manifest(rows, manifest)
    return manifest


def plan(kind: str, *, numbers: dict[str, int], seed: int) -> Iterator[SyntheticClip]:
    """What every clip of a set shows; `numbers` {split: clips}.

    Raises:
        ValueError: an unknown kind, a negative number, no clips at all.
    """
    if kind not in KINDS:
        raise unknown_name("kind of synthetic set", kind, KINDS)
    if min(numbers.values()) < 0 or sum(numbers.values()) < 1:
        raise ValueError(f"numbers of clips are {numbers}; accepted: 0 or more, not all 0")
    classes = list(KINDS[kind].items())
    for split, number in numbers.items():
        for index in range(number):
            label, pairs = classes[index % len(classes)]
            picture, sound = pairs[index // len(classes) % len(pairs)]
            path = f"{split}/{label}/{index:05d}.mp4"
            clip_seed = stable_seed(seed, kind, split, index)
            yield SyntheticClip(path, label, split, picture, sound, clip_seed)


def draw_clip(clip: SyntheticClip) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, H, W, 3) uint8 and waveform (S,) float32 of one clip."""
    generator = np.random.default_rng(clip.seed)
    return (
        draw_picture(clip.picture, generator=generator),
        draw_sound(clip.sound, generator=generator),
    )


# --- writing ------------------------------------------------------------------------------------


def write_clip(clip: SyntheticClip, folder: Path) -> None:
    """Draw one clip and encode it below `folder`."""
    frames, waveform = draw_clip(clip)
    write_video(
        folder / clip.path,
        frames,
        frames_per_second=FRAMES_PER_SECOND,
        waveform=waveform,
        rate_hz=RATE_HZ,
    )


def _write_clips(
    folder: Path,
    clips: list[SyntheticClip],
    *,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    missing = [clip for clip in clips if not (folder / clip.path).is_file()]
    write = partial(write_clip, folder=folder)
    with ExitStack() as stack:
        written: Iterable[None] = map(write, missing)
        if workers >= 1 and len(missing) >= 16:  # as many are written while a process starts
            context = multiprocessing.get_context("spawn")
            executor = ProcessPoolExecutor(workers, mp_context=context)
            stack.callback(executor.shutdown, wait=True, cancel_futures=True)
            written = executor.map(write, missing, chunksize=8)
        for done, _ in enumerate(written, len(clips) - len(missing) + 1):
            if progress is not None:
                progress(done, len(clips))


def _is_complete(folder: Path, *, settings: dict, clips: list[SyntheticClip]) -> bool:
    """True if the set lies there, false if it may be written.

    A folder with other content is never written to.
    """
    record = folder / "synthetic.json"
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is a file; give a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return False
    if not record.is_file():
        raise ValueError(
            f"folder {str(folder)!r} is not empty and holds no synthetic set; give an empty or new "
            "folder"
        )
    found = json.loads(record.read_text())
    if found != settings:
        keys = [key for key in settings if found.get(key) != settings[key]]
        other = ", ".join(f"{key} {found.get(key)} instead of {settings[key]}" for key in keys)
        raise ValueError(
            f"folder {str(folder)!r} holds another synthetic set ({other}); delete it or give "
            "another folder"
        )
    files = [folder / "manifest.csv", *(folder / clip.path for clip in clips)]
    return all(path.is_file() for path in files)


# --- pictures -----------------------------------------------------------------------------------

COLOURS = {  # RGB in 0..1
    "red_square": (0.9, 0.15, 0.15),
    "blue_triangle": (0.2, 0.3, 0.95),
    "yellow_ring": (0.9, 0.85, 0.15),
    "green_cross": (0.15, 0.8, 0.25),
}


def draw_picture(name: str, *, generator: np.random.Generator) -> np.ndarray:
    """(T, H, W, 3) uint8: one object that drifts and bobs over a noisy grey gradient."""
    radius = generator.uniform(9.0, 16.0)
    x, y = _path(generator, margin=radius)
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    u = (columns - x[:, None, None]) / radius  # (T, H, W), object in about -1..1
    v = (rows - y[:, None, None]) / radius
    cover = np.clip(0.5 - _distance(name, u, v) * radius, 0.0, 1.0)[..., None]  # soft edge
    colour = np.array(COLOURS[name]) * generator.uniform(0.65, 1.0)
    colour = np.clip(colour + generator.normal(0.0, 0.04, 3), 0.0, 1.0)
    image = cover * colour + (1.0 - cover) * _background(generator)
    image = image + generator.normal(0.0, generator.uniform(0.02, 0.08), image.shape)
    return np.round(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def _path(generator: np.random.Generator, *, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Centres x, y (T,) float32: a line with a small circular motion on it, inside the frame."""
    t = np.linspace(0.0, 1.0, NUM_FRAMES)
    start, stop = generator.uniform(margin, SIZE - margin, (2, 2))
    phase, turns = generator.uniform(0.0, 2.0 * np.pi), generator.uniform(0.5, 2.0)
    angle = phase + 2.0 * np.pi * turns * t
    x = start[0] + (stop[0] - start[0]) * t + 2.0 * np.cos(angle)
    y = start[1] + (stop[1] - start[1]) * t + 2.0 * np.sin(angle)
    return x.astype(np.float32), y.astype(np.float32)


def _background(generator: np.random.Generator) -> np.ndarray:
    """(H, W, 3) grey gradient with a slight tint."""
    ramp = np.linspace(-0.5, 0.5, SIZE)
    slope = generator.uniform(-0.25, 0.25, 2)
    grey = generator.uniform(0.2, 0.6) + slope[0] * ramp[:, None] + slope[1] * ramp[None, :]
    return grey[..., None] + generator.normal(0.0, 0.03, 3)


def _distance(name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """About the distance to the outline, negative inside; `u` right, `v` down, (T, H, W)."""
    if name == "red_square":
        return np.maximum(np.abs(u), np.abs(v)) - 0.85
    if name == "blue_triangle":  # upright: base at v = .7, apex at v = -1
        return np.maximum(0.86 * np.abs(u) - 0.5 * v - 0.5, v - 0.7)
    if name == "yellow_ring":
        return np.abs(np.hypot(u, v) - 0.75) - 0.25
    if name == "green_cross":
        across = np.maximum(np.abs(u) - 0.3, np.abs(v) - 1.0)
        return np.minimum(across, np.maximum(np.abs(u) - 1.0, np.abs(v) - 0.3))
    raise unknown_name("picture", name, PICTURES)


# --- sounds -------------------------------------------------------------------------------------


def draw_sound(name: str, *, generator: np.random.Generator) -> np.ndarray:
    """(S,) float32 in [-1, 1]: tones or chirps with two overtones, off and on, in noise."""
    t = np.arange(int(SECONDS * RATE_HZ)) / RATE_HZ
    frequency = _frequency(name, t, generator=generator)
    phase = 2.0 * np.pi * np.cumsum(frequency) / RATE_HZ + generator.uniform(0.0, 2.0 * np.pi)
    overtones = generator.uniform(0.0, 0.3, 2)
    wave = np.sin(phase) + overtones[0] * np.sin(2 * phase) + overtones[1] * np.sin(3 * phase)
    wave = generator.uniform(0.1, 0.4) * wave * _loudness(t, generator=generator)
    noise = generator.uniform(0.005, 0.04) * generator.standard_normal(len(t))
    return np.clip(wave + noise, -1.0, 1.0).astype(np.float32)


def _frequency(name: str, t: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """(S,) Hz over time; chirps sweep repeatedly, once or twice a second."""
    if name not in SOUNDS:
        raise unknown_name("sound", name, SOUNDS)
    if name.endswith("_tone"):
        low, high = (280.0, 450.0) if name == "low_tone" else (1100.0, 1800.0)
        return np.full(len(t), generator.uniform(low, high))
    share = (t * generator.uniform(1.0, 2.0) + generator.uniform()) % 1.0
    share = share if name == "rising_chirp" else 1.0 - share
    return generator.uniform(250.0, 450.0) * generator.uniform(4.0, 6.0) ** share


def _loudness(t: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """(S,) between 0 and 1: silence before a random onset, then a slow tremolo."""
    onset = generator.uniform(0.0, 0.25 * SECONDS)
    tremolo = 1.0 - generator.uniform(0.0, 0.5) * (
        0.5 + 0.5 * np.sin(2.0 * np.pi * generator.uniform(1.0, 4.0) * t)
    )
    return np.clip((t - onset) / 0.05, 0.0, 1.0) * tremolo
