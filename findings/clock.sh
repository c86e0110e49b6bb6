#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1): chained Ogg, which RFC 3533 and RFC 7845 allow (web radio, voice messages joined by cat).
# A good engineer would guess that a demuxer that reads on into the second link goes on in time, or says that it does
# not. It goes on, without a word, and the second link's packets are stamped from 0 again, so that its sound lies over
# the first's; all but the first of them, which follow the first link. The header's length is that of the last link.
# With Vorbis of another rate reading ends in "Not yet implemented", though ffmpeg 5.1 decodes both.
# Why it matters: whoever places sound by its timestamps hears the second message only, and is told of no problem.
# A way out: open each link alone, by FFmpeg's protocol "subfile".
set -eu
W=$(mktemp -d); trap 'rm -rf "$W"' EXIT; cd "$W"
python3 -m venv venv; venv/bin/pip -q install av==18.1.0 numpy==2.2.6
venv/bin/python - <<'PYEOF'
import sys
from fractions import Fraction
import av, numpy as np


def write(path, codec, rate):
    options = {"strict": "experimental"} if codec == "vorbis" else {}
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo", options=options)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4 * rate), np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux([*stream.encode(frame), *stream.encode(None)])


def chained(codec, *rates):
    data = b""
    for rate in rates:
        write("link.ogg", codec, rate)
        data += open("link.ogg", "rb").read()
    open("chained.ogg", "wb").write(data)
    return "chained.ogg"


with av.open(chained("libopus", 48000, 48000)) as container:
    length = container.duration / 1e6
    times = np.array([float(p.pts * p.time_base) for p in container.demux() if p.pts is not None])
last_of_first = int(np.argmax(np.diff(times) < -0.5))
print(f"two links of 2 s: length {length:.2f} s, last packet at {times.max():.2f} s; stamps go back at packet "
      f"{last_of_first + 1} of {len(times)}, from {times[last_of_first]:.2f} to {times[last_of_first + 1]:.2f} s")
restarts = length < 2.1 and times.max() < 2.1 and (np.diff(times) < -0.5).any()
try:
    with av.open(chained("vorbis", 44100, 22050)) as container:
        list(container.demux())
    fails = False
except av.FFmpegError as error:
    print("Vorbis of another rate:", error.strerror)
    fails = True
sys.exit(0 if restarts and fails else 1)
PYEOF
