#!/usr/bin/env bash
# PyAV 18.1.0: recordings joined byte by byte (MPEG-TS pieces, chained Ogg) start their clock again.
#
# Two recordings of five seconds in one file: the `ffmpeg` command plays ten seconds, since the command
# itself, not the library, bridges jumps of the clock. PyAV gives what the library gives: timestamps of
# the second recording lie on top of the first one's, and the duration is that of one recording. In
# Ogg, where joining is in the format's specification (RFC 3533), the stream even stays the same.
# Why it matters: who places sound and pictures by their timestamps, as one should, writes the second
# recording over the first (dashcams, DVR, HLS pieces, voice messages), and no error says so.
# Exits 0 if it is so, 1 if it changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE, SECONDS, FRAME = 48000, 5, 960


def record(path: str, codec: str) -> None:
    with av.open(path, "w") as out:
        stream = out.add_stream(codec, rate=RATE, layout="stereo")
        for start in range(0, RATE * SECONDS, FRAME):
            phase = 2 * np.pi * 440 * np.arange(start, start + FRAME) / RATE
            sound = np.stack([np.sin(phase) * 8000] * 2, axis=1).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def look(path: str) -> tuple[float, float, float]:
    """Seconds that decode, the range of their timestamps, the duration of the container."""
    with av.open(path) as media:
        times, heard = [], 0
        for frame in media.decode(audio=0):
            times.append(float(frame.pts * frame.time_base))
            heard += frame.samples
        return heard / RATE, max(times) - min(times), media.duration / av.time_base


seen = {}
for suffix, codec in {"ts": "mp2", "ogg": "libopus"}.items():
    record(f"one.{suffix}", codec)
    one = Path(f"one.{suffix}").read_bytes()
    Path(f"joined.{suffix}").write_bytes(one + one)
    seen[suffix] = look(f"joined.{suffix}")
    heard, spread, duration = seen[suffix]
    print(
        f"{suffix}: {heard:.1f} s decode, their timestamps span {spread:.1f} s, "
        f"the duration is {duration:.1f} s"
    )
as_described = all(
    heard > 9.9 and spread < 5.2 and duration < 5.5 for heard, spread, duration in seen.values()
)
sys.exit(0 if as_described else 1)
PYTHON
