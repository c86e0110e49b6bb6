#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg's swresample): how loud sound mixed to mono is depends on the format asked for.
#
# The same 5.1 or stereo sound, every channel the same tone at a quarter of full scale, mixed to mono:
# asked for as 16-bit integers it keeps its level (the mixing matrix is scaled so that nothing clips),
# asked for as floats it is sqrt(2) times as loud from stereo and 3.41 times from 5.1 (the matrix is
# left unscaled, since floats do not clip); the format of the input does not matter.
# Why it matters: AudioResampler(format="flt", layout="mono") is the usual way from a video to a model.
# A log-mel front end then sees stereo files 3 dB and 5.1 files 10.7 dB above what the same code gives
# with format="s16", above full scale where the mix is loud, and mono files at their own level, so that
# "number of channels" is something a classifier can learn.
# Exits 0 if it is so, 1 if it changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from fractions import Fraction

import av
import numpy as np

RATE, LEVEL = 16000, 0.25
tone = (LEVEL * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def gain(kind: str, layout: str, wanted: str) -> float:
    channels = np.stack([tone] * len(av.AudioLayout(layout).channels))
    if kind == "s16p":
        channels = (channels * 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format=kind, layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    mixer = av.AudioResampler(format=wanted, layout="mono", rate=RATE)
    mixed = np.concatenate([part.to_ndarray().ravel() for part in mixer.resample(frame)])
    return float(np.abs(mixed).max() / (1 if wanted == "flt" else 32768) / LEVEL)


seen = {
    (kind, layout, wanted): gain(kind, layout, wanted)
    for kind in ("fltp", "s16p")
    for layout in ("mono", "stereo", "5.1")
    for wanted in ("flt", "s16")
}
for (kind, layout, wanted), value in seen.items():
    print(f"{layout:6} {kind:4} -> mono {wanted:3}: {value:.3f} times as loud")
expected = {("stereo", "flt"): 2**0.5, ("5.1", "flt"): 2 + 2**0.5}
as_described = all(
    abs(value - expected.get((layout, wanted), 1.0)) < 0.01
    for (_, layout, wanted), value in seen.items()
)
sys.exit(0 if as_described else 1)
PYTHON
