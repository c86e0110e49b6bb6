"""Clips with one fault each, made from generated ones, for `sightsound doctor` to find."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soxr

from sightsound.data.manifest import write_manifest
from sightsound.data.rows import Row
from sightsound.data.synthetic import FRAMES_PER_SECOND, RATE_HZ, draw_clip, plan
from sightsound.media.encode import write_video

CLASSES = ("rising_chirp", "falling_chirp")
LATE_SECONDS = 0.5
REGULAR = tuple(k / FRAMES_PER_SECOND for k in range(16))


def write(path, frames, sound, *, times=REGULAR, sound_start=0.0):
    """Frames (T, H, W, 3) shown at `times`, and sound (channels, S), as mp4."""
    with av.open(str(path), "w") as container:
        packets = []
        if frames is not None:
            video = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "28"})
            video.height, video.width = frames.shape[1:3]
            video.pix_fmt, video.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        if sound is not None:
            layout = "stereo" if len(sound) == 2 else "mono"
            audio = container.add_stream("aac", rate=RATE_HZ, layout=layout)
            audio.bit_rate = 64000 * len(sound)
        for pixels, seconds in zip(frames if frames is not None else (), times, strict=False):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(seconds * 1000), Fraction(1, 1000)
            packets += video.encode(frame)
        packets += video.encode(None) if frames is not None else []
        container.mux(packets)
        if sound is not None:
            _write_sound(container, audio, sound, layout, round(sound_start * RATE_HZ))


def _damaged(path, frames, wave):
    """A file of which some packets of pictures were overwritten later."""
    write(path, frames, wave[None])
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for place, size in places[5:8]:
        data[place : place + size] = b"\xff" * size
    path.write_bytes(data)


def _write_sound(container, stream, sound, layout, offset):
    for start in range(0, sound.shape[1], 1024):
        chunk = np.ascontiguousarray(sound[:, start : start + 1024], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = RATE_HZ, offset + start
        frame.time_base = Fraction(1, RATE_HZ)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


# What is done to frames (T, H, W, 3) and a wave (S,) so that doctor finds this, and nothing else.
FAULTS: dict[str, Callable[[Path, np.ndarray, np.ndarray], None]] = {
    "unreadable": lambda path, frames, wave: path.write_bytes(
        np.random.default_rng(len(str(path))).bytes(3000)
    ),
    "damaged": _damaged,
    "no_sound": lambda path, frames, wave: write(path, frames, None),
    "no_pictures": lambda path, frames, wave: write(path, None, wave[None]),
    "silence": lambda path, frames, wave: write(path, frames, 0 * wave[None]),
    "antiphase": lambda path, frames, wave: write(path, frames, np.stack([wave, -wave])),
    "static_picture": lambda path, frames, wave: write(path, frames[:1].repeat(16, 0), wave[None]),
    "too_short": lambda path, frames, wave: write(path, frames[:2], wave[None, :4000]),
    "offset": lambda path, frames, wave: write(path, frames, wave[None], sound_start=LATE_SECONDS),
    "lengths": lambda path, frames, wave: write(path, frames, wave[None, : len(wave) // 2]),
    "variable_rate": lambda path, frames, wave: write(
        path, frames, wave[None], times=[t + 0.08 * (k % 3 == 1) for k, t in enumerate(REGULAR)]
    ),
    "stutter": lambda path, frames, wave: write(
        path, frames[:11], wave[None], times=[*REGULAR[:8], *REGULAR[13:]]
    ),
}


def plant(folder: Path, *, number: int, num_clean: int) -> tuple[Path, dict[str, set[str]]]:
    """A set with `number` clips of each fault; its manifest and {finding: ids that have it}."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = iter(list(plan("demo", numbers={"train": 4 * (num_clean + 40 * number)}, seed=7)))
    clips = (clip for clip in clips if clip.label in CLASSES)
    rows: list[Row] = []
    planted: dict[str, set[str]] = {}

    def add(name, *kinds, split="train", **changes):
        clip = next(clips)
        path = folder / f"{name}.mp4"
        rows.append(replace(Row(path.name, path, (clip.label,), split=split), **changes))
        for kind in kinds:
            planted.setdefault(kind, set()).add(path.name)
        return path, *draw_clip(clip)

    for k in range(num_clean):
        path, frames, wave = add(f"clean_{k}", split=("train", "train", "val", "test")[k // 2 % 4])
        write_video(path, frames, frames_per_second=FRAMES_PER_SECOND, waveform=wave)
    for kind, fault in FAULTS.items():
        for k in range(number):
            fault(*add(f"{kind}_{k}", kind))
    for k in range(number):
        add(f"missing_{k}", "missing_file")
        path, frames, wave = add(f"outside_{k}", "outside_file", start_seconds=5.0)
        write(path, frames, wave[None])
        path, frames, wave = add(f"past_{k}", "past_end", start_seconds=0.5, end_seconds=9.0)
        write(path, frames, wave[None])
        _plant_copies(add, k)
    write_manifest(rows, folder / "manifest.csv")
    return folder / "manifest.csv", planted


def _plant_copies(add, k):
    """Equal files and re-encodings, within and across splits, and under another label."""
    for kind, split in (("duplicate", "train"), ("leak", "test")):
        for way in ("equal", "coded"):
            first, frames, wave = add(f"{kind}_{way}_{k}a", kind, labels=CLASSES[:1])
            write(first, frames, wave[None])
            second, *_ = add(f"{kind}_{way}_{k}b", kind, split=split, labels=CLASSES[:1])
            if way == "equal":
                shutil.copyfile(first, second)
            else:
                _reencode(second, frames, wave)
    first, frames, wave = add(f"two_labels_{k}a", "two_labels", "duplicate", labels=CLASSES[:1])
    write(first, frames, wave[None])
    second, *_ = add(f"two_labels_{k}b", "two_labels", "duplicate", labels=CLASSES[1:])
    shutil.copyfile(first, second)


def _reencode(path, frames, wave):
    """Another rate, size of pictures, quality, and less of the sound's detail."""
    wave = soxr.resample(0.7 * wave, RATE_HZ, 22050)
    larger = frames.repeat(2, axis=1).repeat(2, axis=2)
    write_video(
        path,
        larger,
        frames_per_second=FRAMES_PER_SECOND,
        waveform=wave,
        rate_hz=22050,
        crf=34,
    )


def ids(findings) -> dict[str, set[str]]:
    """{finding: ids of the clips that have it}."""
    found: dict[str, set[str]] = {}
    for finding in findings:
        if finding.id:
            found.setdefault(finding.issue, set()).add(os.path.basename(finding.id))
    return found
